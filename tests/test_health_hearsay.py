"""What other processes say of a node: believed for as long as they say, never counted, and outweighed by evidence."""

from __future__ import annotations

import pytest

from orchestrator.weight import View
from tests.boards import Desk
from tests.circuits import Ward, circuit, substitutes

SAYS = "another process says: 5 failures in a row"


def heard(ward: Ward | None = None, seconds: float | None = 20.0) -> Ward:
    """Return a ward, a new one unless given, that has heard of an outage of `a1`."""
    ward = ward or Ward()
    ward.circuits.hear("a1", "open", seconds, SAYS)
    return ward


def test_an_outage_that_others_tell_of_opens_a_circuit_until_then() -> None:
    """A node that was never called here is out of use for as long as they say; then one call may try it."""
    ward = heard()
    assert (ward.circuits.state("a1"), ward.circuits.open_for("a1")) == ("open", 20.0)
    assert ward.circuits.blocked("a1") == f"circuit open for 20.0s: {SAYS}"
    ward.time += 20.0
    assert ward.circuits.state("a1") == "half_open"
    assert ward.circuits.lease("a1", "run", seconds=5)
    ward.saw("a1", "ok", run_id="run")
    assert ward.circuits.state("a1") == "closed"
    assert ward.circuits.share("a1") == pytest.approx(0.1)


@pytest.mark.parametrize("seconds", [None, 1e9, float("inf")])
def test_a_word_holds_no_longer_than_the_longest_cooldown(seconds: float | None) -> None:
    """Whatever they say, or if they do not say: after `circuit.max_cooldown` this process looks for itself."""
    ward = heard(Ward(policy=circuit(max_cooldown="40s")), seconds)
    assert ward.circuits.open_for("a1") == 40.0


@pytest.mark.parametrize("seconds", [0.0, -3.0, float("nan")])
def test_what_is_over_is_no_news(seconds: float) -> None:
    """An outage that ended on the way here changes nothing."""
    assert heard(seconds=seconds).circuits.state("a1") == "closed"


def test_a_word_is_not_counted() -> None:
    """No figure moves, and the first failure of one's own opens the circuit for the first cooldown, not a later one."""
    ward, other = Ward(), Ward()
    for _ in range(10):
        ward.saw("a1", "ok", seconds=0.1)
        ward.time += 300.0
        before = ward.circuits.figures("a1")
        heard(ward, 2.0)
        assert ward.circuits.figures("a1") == before
        ward.time += 2.0
    other.time = ward.time
    ward.saw("a1", "ok", run_id="run")
    ward.time += 300.0
    assert heard(ward).circuits.state("a1") == "open"
    ward.time += 20.0
    assert ward.circuits.lease("a1", "run", seconds=5)
    ward.saw("a1", "external", run_id="run")
    other.open("a1")
    assert ward.circuits.open_for("a1") == other.circuits.open_for("a1") <= 5.0


def test_what_is_heard_is_not_told_on() -> None:
    """Only what this process has found itself is for others: not an outage that it heard of, nor the end of that."""
    ward = heard()
    assert ward.circuits.word("a1") is None
    ward.circuits.hear("a1", "closed", None, "")
    assert ward.circuits.word("a1") is None
    ward.saw("a1", "external", run_id="run")  # nobody else has the permit
    word = ward.circuits.word("a1")
    assert word is not None
    assert (word[0], word[2]) == ("open", "a probe failed: external")
    ward.time += word[1]
    ward.saw("a1", "ok", probe=True)
    assert ward.circuits.word("a1") == ("closed", 0.0, "")
    assert heard(ward).circuits.state("a1") == "open"
    assert ward.circuits.word("a1") is None


def test_no_more_of_a_group_are_out_of_use_for_a_word() -> None:
    """Of two substitutes one may be out, and a lone node none: it is suspect, so that half of the failures open it."""
    ward = Ward(substitutes(2, 1))
    ward.open("a2")
    for node in ("a1", "b1"):
        assert not ward.circuits.hear(node, "open", 200.0, SAYS)
    assert ward.states() == {"a1": "closed", "a2": "open", "b1": "closed"}
    ward.time += ward.circuits.open_for("a2")
    ward.saw("a2", "ok", probe=True)
    ward.saw("a1", *["external"] * 3)
    assert ward.circuits.state("a1") == "open"
    ward.saw("b1", *["external"] * 9)
    assert ward.circuits.state("b1") == "closed"


def test_others_cannot_put_off_a_probe() -> None:
    """An outage that they tell of again and again does not keep this process from its own probe."""
    ward = heard()
    for _ in range(4):
        ward.time += 5.0
        heard(ward, 40.0)
    assert ward.circuits.state("a1") == "half_open"
    assert ward.circuits.lease("a1", "run", seconds=5)


def test_own_evidence_outweighs_words() -> None:
    """Neither the end nor a longer duration of an outage that was found here is taken from others."""
    ward = Ward()
    ward.open("a1")
    left = ward.circuits.open_for("a1")
    for state, seconds in (("closed", None), ("open", 100.0), ("open", 0.5), ("half_open", 1.0)):
        assert not ward.circuits.hear("a1", state, seconds, SAYS)
    assert ward.circuits.open_for("a1") == left


def test_the_end_of_a_heard_outage_lets_one_call_try() -> None:
    """Half-open, not closed: others may reach it where this process cannot, and a herd would break it again."""
    ward = heard()
    assert ward.circuits.hear("a1", "closed", None, "")
    assert ward.circuits.state("a1") == "half_open"
    assert ward.circuits.lease("a1", "one", seconds=5)
    assert not ward.circuits.lease("a1", "two", seconds=5)


def test_a_success_of_this_moment_outweighs_a_word() -> None:
    """A node that answered within the last second stays in use and is suspect; one that fails since is taken out."""
    ward = Ward()
    ward.saw("a1", "ok")
    ward.time += 0.9
    assert heard(ward).circuits.state("a1") == "closed"
    ward.saw("a1", *["external"] * 3)
    assert ward.circuits.state("a1") == "open"
    for evidence, later in (("ok", 1.5), ("external", 0.1)):
        other = Ward()
        other.saw("a1", "ok", evidence)
        other.time += later
        assert heard(other).circuits.state("a1") == "open", evidence


def test_who_lost_its_network_does_not_take_the_node_from_all() -> None:
    """One process cannot reach a node and says so at each of its probes, for ever longer; another can, and uses it."""
    ward = Ward()
    closed, seconds = 0.0, 5.0
    for _ in range(12):
        heard(ward, seconds)
        end = ward.time + seconds
        while ward.time < end:
            if ward.circuits.state("a1") == "closed" and ward.circuits.blocked("a1") is None:
                ward.saw("a1", "ok")
                closed += 2.5
            ward.time += 2.5
        if ward.circuits.lease("a1", "run", seconds=5):
            ward.saw("a1", "ok", run_id="run")
        ward.time += 1.1
        seconds = min(seconds * 2, 60.0)
    assert closed > 0.95 * (ward.time - 5.0 - 12 * 1.1)


def test_who_was_wrong_once_is_believed_again_when_the_node_fails() -> None:
    """A failure seen here ends the doubt: the next word opens the circuit."""
    ward = heard()
    ward.time += 20.0
    ward.saw("a1", "ok", run_id="run")
    ward.time += 2.0
    assert heard(ward, 5.0).circuits.state("a1") == "closed"
    ward.time += 2.0
    ward.saw("a1", *["external"] * 3)
    ward.time += ward.circuits.open_for("a1")
    ward.saw("a1", "ok", probe=True)
    ward.time += 2.0
    assert heard(ward, 5.0).circuits.state("a1") == "open"


def test_what_was_heard_is_known_after_a_restart() -> None:
    """The next process has the circuit open as long, and knows that this is nothing of its own."""
    ward = heard().restarted(age=5.0, start=1e6)
    assert ward.circuits.open_for("a1") == pytest.approx(15.0)
    assert ward.circuits.word("a1") is None
    ward.circuits.hear("a1", "closed", None, "")
    assert ward.circuits.state("a1") == "half_open"


def test_a_word_of_an_unknown_node_is_left_aside() -> None:
    """Others may run a newer graph of the same name."""
    assert not Ward().circuits.hear("new", "open", 10.0, SAYS)


# ----------------------------------------------------------------------------------------------------------- the board


def test_a_run_under_way_is_told_of_what_was_heard() -> None:
    """Soon, though nothing is recorded here: its next step goes past the node; and a new run never tries it."""
    desk = Desk()
    seen: list[View] = []
    desk.board.view("under way")
    desk.board.subscribe("under way", seen.append)
    desk.circuits.hear("a", "open", 20.0, SAYS)
    desk.board.look()
    desk.wait(0.06)
    desk.board.tick()
    for view in (*seen, desk.board.view("new")):
        assert dict(view.vetoes) == {"a": f"circuit open for 20.0s: {SAYS}"}
        assert view.open == ("a",)  # the last chance may pass it
    assert len(seen) == 1


def test_figures_of_earlier_processes_weigh_in_the_first_run() -> None:
    """A node that failed every other call is dearer from the next process's first run on, before it is called again."""
    before, after = Desk(), Desk()
    # Nothing stands in for it, so that no circuit and no slow start have a say.
    before.saw("alone", *["ok", "external"] * 20, every=0.1)
    after.circuits.restore(before.circuits.snapshot(), age=1.0)
    declared = dict(Desk().board.view("first").weights)
    after.board.look(restored=True)
    assert dict(after.board.view("first").weights)["alone"] > declared["alone"]


# ---------------------------------------------------------------------------------------------------------- own probes


def test_a_probe_says_nothing_of_calls() -> None:
    """A cheap page that is answered, or not, moves neither success nor latency, and ends no rate limit."""
    ward = Ward()
    ward.saw("a1", "ok", "ok", seconds=3.0)
    before = ward.circuits.figures("a1")
    ward.saw("a1", *["ok"] * 50, probe=True, seconds=0.001)
    ward.saw("a1", *["external"] * 4, probe=True)
    ward.saw("a1", "timeout", probe=True, seconds=60.0)
    after = ward.circuits.figures("a1")
    assert (after.success, after.n, after.ok, after.latency) == (before.success, before.n, before.ok, before.latency)
    other = Ward()
    other.saw("a1", "rate_limited", retry_after=30.0)
    other.time += 1.0
    other.saw("a1", "ok", probe=True)
    assert (other.circuits.blocked("a1") or "").startswith("rate limited")


def test_probes_that_fail_in_a_row_open_a_circuit() -> None:
    """With failed calls between them or without; one that passes begins their row anew."""
    ward = Ward()
    ward.saw("a1", *["external"] * 4, "ok", *["external"] * 4, probe=True)
    assert ward.circuits.state("a1") == "closed"
    ward.saw("a1", "external")
    assert ward.circuits.state("a1") == "open"
    other = Ward()
    other.saw("a1", *["timeout", "external"] * 3, probe=True)
    assert other.circuits.state("a1") == "open"


def test_a_green_health_page_does_not_hide_failing_calls() -> None:
    """Calls that fail are a row though every probe between them passes, and no probe dilutes their rate."""
    ward = Ward()
    for _ in range(5):
        ward.saw("a1", *["ok"] * 20, probe=True, every=1.0)
        ward.saw("a1", "external")
    assert ward.circuits.state("a1") == "open"
    other = Ward()
    for evidence in ("ok", "external", "ok", "ok", "external"):
        other.saw("a1", *["ok"] * 20, probe=True)
        other.saw("a1", evidence)
    assert other.circuits.state("a1") == "open"
