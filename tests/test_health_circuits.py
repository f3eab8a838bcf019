"""Circuits: what opens them, who may probe, how a node comes back, and what says nothing about health."""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.graph import Goal, Graph, Need, Node
from orchestrator.health import Circuits, Evidence, Outcome
from orchestrator.policy import Circuit, Policy, RetryPolicy
from tests.circuits import Ward, calls, circuit, substitutes

HEALTH = Path(__file__).parent.parent / "orchestrator" / "health"

# ---------------------------------------------------------------------------------------------------------- opening


def test_failures_in_a_row_open_a_circuit() -> None:
    """The fifth failure in a row opens it, however long apart; a success starts the row again."""
    ward = Ward()
    ward.saw("a1", *["external"] * 4, every=3600)
    assert ward.circuits.state("a1") == "closed"
    assert ward.saw("a1", "external", every=3600)
    assert ward.circuits.state("a1") == "open"
    other = Ward()
    other.saw("a1", *["external"] * 4, "ok", *["external"] * 4, every=3600)
    assert other.circuits.state("a1") == "closed"


def test_a_poor_rate_opens_a_circuit() -> None:
    """Less than four in five calls that succeed open it although they never fail in a row."""
    ward = Ward()
    ward.saw("a1", "ok", "external", "ok", "ok", every=1)
    assert ward.circuits.state("a1") == "closed"
    assert ward.saw("a1", "external", every=1)
    assert (ward.circuits.blocked("a1") or "").endswith("failures: only 59% of calls succeeded")


def test_one_failure_is_no_rate() -> None:
    """A failure after four successes that have faded a little opens nothing."""
    ward = Ward()
    ward.saw("a1", *["ok"] * 4, "external", every=1)
    assert ward.circuits.state("a1") == "closed"


def test_a_rate_needs_volume() -> None:
    """Two failures among four calls say too little, and so do many that came too slowly to be a window's worth."""
    ward = Ward()
    ward.saw("a1", "ok", "external", "ok", "external")
    assert ward.circuits.state("a1") == "closed"
    ward.saw("a2", *["ok", "external"] * 50, every=30)
    assert ward.circuits.state("a2") == "closed"


def test_an_open_circuit_says_why() -> None:
    """The reason of a block names the trigger and does not change while the block holds."""
    ward = Ward()
    ward.open("a1")
    said = ward.circuits.blocked("a1")
    assert said is not None
    assert said.startswith("circuit open for ")
    assert said.endswith("s: 5 failures in a row")
    ward.saw("a1", "external", every=0.1)
    assert ward.circuits.blocked("a1") == said


def test_figures_of_one_node_are_its_own() -> None:
    """An override holds for the node that it names and for no other."""
    clock = lambda: 0.0  # noqa: E731  (a name for the reader)
    circuits = Circuits(substitutes(2), Policy(), clock=clock, overrides={"a2": Circuit(failures=2)})
    for node in ("a1", "a2"):
        circuits.record(Outcome(node, "external", 0.0))
        circuits.record(Outcome(node, "external", 0.0))
    assert (circuits.state("a1"), circuits.state("a2")) == ("closed", "open")


def test_a_suspect_needs_half_as_much() -> None:
    """The others of a failing domain open after three failures; suspicion alone opens none, and it ends."""
    ward = Ward(substitutes(4))
    ward.saw("a1", *["external"] * 3)
    ward.circuits.suspect(["a1", "a2", "gone"], "two nodes of region-eu failed", until=60.0)
    assert set(ward.states().values()) == {"closed"}
    ward.saw("a2", *["external"] * 3)
    assert ward.circuits.state("a2") == "open"
    ward.time = 61.0
    ward.saw("a1", "external")
    assert ward.circuits.state("a1") == "closed"


# ------------------------------------------------------------------------------------------------------- returning


def test_cooldowns_double_up_to_the_longest() -> None:
    """Each failed probe doubles the cooldown, half of it jitter, and none is longer than the policy's longest."""
    ward, policy = Ward(), Circuit()
    ward.open("a1")
    waits = []
    for _ in range(12):
        waits.append(ward.circuits.open_for("a1"))
        ward.time += waits[-1]
        assert ward.circuits.lease("a1", "run", seconds=30)
        ward.saw("a1", "external", run_id="run")
    for doublings, wait in enumerate(waits):
        ceiling = min(policy.cooldown * 2**doublings, policy.max_cooldown)
        assert ceiling / 2 <= wait <= ceiling
    assert waits[-1] > policy.max_cooldown / 2 > policy.cooldown
    assert len(set(waits)) == len(waits)


def test_substitutes_are_probed_apart() -> None:
    """Nodes that open at one moment do not end their cooldowns at one moment, and a seed says when they do."""
    ward, again = Ward(substitutes(6)), Ward(substitutes(6))
    for each in (ward, again):
        for node in ("a1", "a2", "a3"):
            each.open(node)
    waits = [ward.circuits.open_for(node) for node in ("a1", "a2", "a3")]
    assert len(set(waits)) == 3
    assert waits == [again.circuits.open_for(node) for node in ("a1", "a2", "a3")]


def test_time_in_use_shortens_cooldowns_again() -> None:
    """Every longest cooldown in use takes back one doubling, not all at once, and single failures do not stop it."""
    ceilings = []
    for healthy in (0.0, 99.0, 101.0, 201.0, 1e9):
        ward = Ward(policy=Policy(circuit=Circuit(max_cooldown="100s")))
        ward.open("a1")
        for _ in range(3):
            ward.time += ward.circuits.open_for("a1")
            ward.saw("a1", "external", run_id="run", probe=True)
        ward.time += ward.circuits.open_for("a1")
        ward.saw("a1", "ok", probe=True)
        ward.time += healthy / 2
        ward.saw("a1", "external", "ok")
        ward.time += healthy / 2
        ward.open("a1")
        wait = ward.circuits.open_for("a1")
        ceilings.append(next(ceiling for ceiling in (5, 10, 20, 40, 80) if wait <= ceiling))
    assert ceilings == [80, 80, 40, 20, 5]


def test_a_node_that_flaps_stays_at_its_longest_cooldown() -> None:
    """Healthy spells that are shorter than its cooldown take nothing back, however many there are."""
    ward = Ward()
    waits = []
    for _ in range(12):
        ward.open("a1")
        waits.append(ward.circuits.open_for("a1"))
        ward.time += waits[-1]
        ward.saw("a1", "ok", probe=True)
        ward.time += 40.0
    longest = Circuit().max_cooldown
    assert min(waits[5:]) >= longest / 2 > waits[0]
    assert max(waits) <= longest


def test_what_says_nothing_about_health_makes_no_group_dark() -> None:
    """Failures and timeouts of every node do; callers' errors, rate limits and timeouts under a late loop do not."""
    ward = Ward()
    for node in ("a1", "a2"):
        ward.saw(node, *["caller", "rate_limited", "cancelled", "contract", "inapplicable"] * 5)
        ward.saw(node, *["timeout"] * 5, lagging=True)
    assert ward.circuits.dark() == ()
    for node in ("a1", "a2"):
        ward.saw(node, *["external", "timeout"] * 3)
    assert ward.circuits.dark() == ("value-a",)
    ward.saw("a2", "ok")
    assert ward.circuits.dark() == ()


def test_who_has_just_come_back_needs_half_as_much() -> None:
    """Until it was in use for a longest cooldown, three failures in a row take a node out again; then five."""
    for used, needed in ((0.0, 3), (59.0, 3), (61.0, 5)):
        ward = Ward()
        ward.half_open("a1")
        ward.saw("a1", "ok", run_id="run")
        ward.time += used
        ward.saw("a1", *["external"] * (needed - 1))
        assert ward.circuits.state("a1") == "closed"
        ward.saw("a1", "external")
        assert ward.circuits.state("a1") == "open"


def test_a_success_while_open_closes_early() -> None:
    """A call that began after the opening and succeeds (an active probe, a last chance) is as good as a probe."""
    ward = Ward()
    ward.open("a1")
    assert not ward.saw("a1", "ok", every=1, seconds=5)
    assert ward.circuits.state("a1") == "open"
    assert ward.saw("a1", "ok", every=1, seconds=0.5)
    assert ward.circuits.state("a1") == "closed"


def test_late_failures_do_not_lengthen_a_cooldown() -> None:
    """Calls that were in flight when the circuit opened end as they like."""
    ward = Ward()
    ward.open("a1")
    wait = ward.circuits.open_for("a1")
    ward.saw("a1", *["external"] * 20, seconds=10)
    assert ward.circuits.open_for("a1") == wait
    ward.time += wait
    ward.saw("a1", "external", seconds=wait + 1)
    assert ward.circuits.state("a1") == "half_open"


def test_a_circuit_that_closed_is_judged_afresh() -> None:
    """The failures before a probe's success do not open it again; they still lower what is measured."""
    ward = Ward()
    ward.half_open("a1")
    ward.saw("a1", "ok", run_id="run")
    ward.saw("a1", "external", "external")
    assert ward.circuits.state("a1") == "closed"
    assert ward.circuits.figures("a1").success < 0.8


def test_traffic_comes_back_slowly() -> None:
    """A node comes back with a tenth of its share and has the whole after thirty seconds, in proportion."""
    ward = Ward()
    assert ward.circuits.share("a1") == 1.0
    ward.half_open("a1")
    ward.saw("a1", "ok")
    shares = []
    for _ in range(32):
        shares.append(ward.circuits.share("a1"))
        ward.time += 1
    assert shares[0] == 0.1
    assert shares[15] == pytest.approx(0.5)
    assert shares[-1] == 1.0
    assert all(earlier <= later for earlier, later in pairwise(shares))


def test_the_next_change_is_told() -> None:
    """Whoever wants to know when to look again is told of cooldowns, leases, quotas and slow starts."""
    ward = Ward()
    assert ward.circuits.next_change() is None
    ward.open("a1")
    opens = ward.circuits.next_change()
    assert opens == ward.time + ward.circuits.open_for("a1")
    ward.saw("a2", "rate_limited", retry_after=1.0)
    assert ward.circuits.next_change() == ward.time + 1.0
    ward.time = opens
    ward.circuits.lease("a1", "run", seconds=7)
    ward.saw("a2", "ok")
    changes = [ward.circuits.next_change()]
    ward.saw("a1", "ok", every=1, run_id="run")
    changes.append(ward.circuits.next_change())
    ward.time += 1e6
    assert changes[0] is not None
    assert changes[0] <= opens + 7
    assert changes[1] is not None
    assert ward.circuits.next_change() is None


# ----------------------------------------------------------------------------------------------------------- probes


def test_one_holder_at_a_time_may_probe() -> None:
    """Nobody has the permit of a closed or open node; of a half-open one the first has it, and may ask again."""
    ward = Ward()
    assert not ward.circuits.lease("a1", "one", seconds=10)
    ward.open("a1")
    assert not ward.circuits.lease("a1", "one", seconds=10)
    ward.time += ward.circuits.open_for("a1")
    assert ward.circuits.lease("a1", "one", seconds=10)
    assert not ward.circuits.lease("a1", "two", seconds=10)
    assert ward.circuits.lease("a1", "one", seconds=10)
    ward.circuits.release("a1", "two")
    assert not ward.circuits.lease("a1", "two", seconds=10)
    ward.circuits.release("a1", "one")
    assert ward.circuits.lease("a1", "two", seconds=10)


def test_a_lost_permit_expires() -> None:
    """A holder that never says how it went keeps the permit for its time, and says nothing about the node."""
    ward = Ward()
    ward.half_open("a1")
    assert ward.circuits.lease("a1", "lost", seconds=10)
    ward.time += 9.9
    assert not ward.circuits.lease("a1", "next", seconds=10)
    ward.time += 0.1
    assert ward.circuits.lease("a1", "next", seconds=10)


def test_only_the_holder_of_the_permit_fails_the_probe() -> None:
    """While one run probes, a failure of another's call leaves the verdict to the probe."""
    ward = Ward()
    ward.half_open("a1")
    ward.circuits.lease("a1", "prober", seconds=30)
    ward.saw("a1", "external", every=1, run_id="other")
    assert ward.circuits.state("a1") == "half_open"
    assert ward.saw("a1", "external", every=1, run_id="prober")
    assert ward.circuits.state("a1") == "open"


# ------------------------------------------------------------------------------------------------- quotas, credentials


def test_a_rate_limit_waits_as_long_as_it_is_told() -> None:
    """Retry-After is the time before which no call is made; the circuit stays closed."""
    ward = Ward()
    assert ward.saw("a1", "rate_limited", retry_after=12)
    assert ward.circuits.blocked("a1") == "rate limited for 12.0s"
    assert ward.circuits.state("a1") == "closed"
    ward.time += 12
    assert ward.circuits.blocked("a1") is None


def test_a_rate_limited_probe_is_none() -> None:
    """A half-open node that answers with a rate limit is neither up nor down: it is probed when the limit is over."""
    ward = Ward()
    ward.half_open("a1")
    ward.circuits.lease("a1", "run", seconds=1000)
    ward.saw("a1", "rate_limited", retry_after=20, run_id="run")
    assert not ward.circuits.lease("a1", "run", seconds=30)
    ward.time += 20
    assert ward.circuits.lease("a1", "next", seconds=30)
    ward.saw("a1", "ok", run_id="next")
    assert ward.circuits.state("a1") == "closed"


def test_no_credentials_block_until_a_probe_or_for_the_longest_cooldown() -> None:
    """A 401 blocks at once; a successful probe ends that; else they are tried again in time."""
    ward = Ward(substitutes(1))
    assert ward.saw("a1", "unauthorised", every=1, seconds=0.5)
    ward.time += ward.circuits._nodes["a1"].circuit.policy.max_cooldown
    assert ward.circuits.blocked("a1") is None
    ward.saw("a1", "unauthorised", every=1, seconds=0.5)
    ward.time += 9.0
    assert ward.circuits.blocked("a1") == "unauthorised"
    ward.saw("a1", "ok", seconds=20)
    assert ward.circuits.blocked("a1") == "unauthorised"
    assert ward.circuits.lease("a1", "probe", seconds=5)
    assert not ward.circuits.lease("a1", "other", seconds=5)
    assert ward.saw("a1", "ok", probe=True)
    assert ward.circuits.blocked("a1") is None


def test_credentials_that_are_accepted_are_awaited_no_more() -> None:
    """Nobody is woken for them, in this process or the next."""
    ward = Ward()
    ward.saw("a1", "unauthorised")
    assert ward.circuits.next_change() == ward.circuits._nodes["a1"].circuit.policy.max_cooldown
    assert ward.restarted().circuits.next_change() == ward.circuits.next_change()
    ward.saw("a1", "ok")
    assert ward.circuits.next_change() is None
    assert ward.restarted().circuits.next_change() is None


def test_a_failed_probe_of_missing_credentials_gives_its_permit_back() -> None:
    """A node that is unauthorised and now also down keeps nobody waiting for the permit."""
    ward = Ward(substitutes(1))
    ward.saw("a1", "unauthorised")
    assert ward.circuits.lease("a1", "probe", seconds=1e6)
    ward.saw("a1", "external", run_id="probe", probe=True)
    assert ward.circuits.lease("a1", "next", seconds=5)


def test_whoever_tries_credentials_keeps_the_permit_when_the_circuit_opens() -> None:
    """Another process tells of an outage meanwhile, or calls from before fail: nobody is let in beside the one."""
    heard, failed = Ward(), Ward()
    for ward in (heard, failed):
        ward.saw("a1", "unauthorised")
        assert ward.circuits.lease("a1", "one", seconds=60)
    heard.time += 5
    heard.circuits.hear("a1", "open", 2.0, "another process says: down")
    failed.saw("a1", *["external"] * 5, run_id="before")
    for ward in (heard, failed):
        assert ward.circuits.state("a1") == "open"
        assert not ward.circuits.lease("a1", "other", seconds=5)


# ----------------------------------------------------------------------------------------------------------- groups


def test_a_node_is_ejected_only_if_each_of_its_groups_can_spare_it() -> None:
    """Who alone provides one needed value is never ejected; a value that nothing needs is no group."""
    nodes = (
        Node("both", provides=("shared", "own")),
        Node("log", provides=("shared", "unread")),
        Node("use", needs=(Need("own", "own"),), provides=("end",)),
    )
    ward = Ward(Graph(nodes=nodes, goals=(Goal("g", ("shared", "end")),)))
    for node in ("both", "log", "use"):
        ward.saw(node, *["external"] * 9)
    assert ward.states() == {"both": "closed", "log": "open", "use": "closed"}


def test_a_node_waits_for_room_in_its_group() -> None:
    """Of a pair one is open; the other opens with its next failure once the first is back."""
    ward = Ward()
    ward.open("a1")
    ward.saw("a2", *["external"] * 9)
    assert ward.states() == {"a1": "open", "a2": "closed"}
    ward.time += ward.circuits.open_for("a1")
    ward.saw("a1", "ok", probe=True)
    assert ward.circuits.state("a2") == "closed"
    ward.saw("a2", "external")
    assert ward.states() == {"a1": "closed", "a2": "open"}


def test_who_lacks_credentials_takes_room_in_the_group() -> None:
    """Where one of a pair is unauthorised the other is the last, and is not ejected by rate."""
    ward = Ward()
    ward.saw("a1", "unauthorised")
    ward.saw("a2", *["external"] * 9)
    assert ward.circuits.blocked("a2") is None
    ward.saw("a1", "ok")
    ward.saw("a2", "external")
    assert ward.circuits.state("a2") == "open"


# ---------------------------------------------------------------------------------------------------------- budgets


def test_retries_end_at_half_of_the_budget() -> None:
    """Five failures of a group end its retries, first attempts go on, and successes earn them back."""
    ward = Ward(substitutes(2, 1))
    ward.saw("a1", *["external"] * 3)
    ward.saw("a2", "external")
    assert ward.circuits.retryable("a1")
    ward.saw("a2", "timeout")
    assert not ward.circuits.retryable("a1")
    assert not ward.circuits.retryable("a2")
    assert ward.circuits.retryable("b1")
    assert ward.circuits.blocked("a1") is None
    assert ward.circuits.blocked("a2") is None
    ward.saw("a2", "ok")
    assert ward.circuits.retryable("a1")


def test_probes_are_not_paid_from_the_budget() -> None:
    """A prober that goes on all night leaves the budget as it is."""
    ward = Ward()
    ward.saw("a1", *["external"] * 100, probe=True)
    assert ward.circuits.retryable("a2")


# -------------------------------------------------------------------------------------------------- across restarts


def test_an_open_circuit_whose_time_has_passed_is_half_open_after_a_restart() -> None:
    """A restart neither forgets an outage nor keeps it longer; another clock counts on from the same moment."""
    ward = Ward(start=1e6)
    ward.open("a1")
    left = ward.circuits.open_for("a1")
    assert ward.restarted(age=left / 2, start=3.0).circuits.open_for("a1") == pytest.approx(left / 2)
    after = ward.restarted(age=left + 1, start=-50.0)
    assert after.circuits.state("a1") == "half_open"
    assert after.circuits.lease("a1", "run", seconds=5)


def test_cooldowns_go_on_growing_after_a_restart() -> None:
    """A restart is no healthy time: the next opening lasts as long as it would have lasted without."""
    ward = Ward()
    ward.half_open("a1")
    for _ in range(3):
        ward.saw("a1", "external", probe=True)
        ward.time += ward.circuits.open_for("a1")
    after = ward.restarted(start=7.0)
    for each in (ward, after):
        each.saw("a1", "external", probe=True)
    assert after.circuits.open_for("a1") == pytest.approx(ward.circuits.open_for("a1"))
    assert after.circuits.open_for("a1") > 20


def test_figures_fade_while_nobody_runs() -> None:
    """Counts are decayed by the age of the snapshot, and their time is told on the new clock."""
    ward = Ward()
    ward.saw("a1", *["external"] * 3, error="http_503")
    before, after = ward.circuits.figures("a1"), ward.restarted(age=30.0, start=100.0).circuits.figures("a1")
    assert after.n == pytest.approx(before.n / 2.718281828)
    assert before.success < after.success < 1
    assert (after.measured_at, after.last_error, after.last_error_at) == (70.0, "http_503", 70.0)


def test_credentials_are_still_missing_after_a_restart() -> None:
    """A restart is no repair: what was unauthorised is still blocked, until it is tried again in time."""
    ward = Ward()
    ward.saw("a1", "unauthorised")
    after = ward.restarted(age=1.0)
    assert after.circuits.blocked("a1") == "unauthorised"
    after.saw("a2", *["external"] * 9)
    assert after.circuits.state("a2") == "closed"
    assert ward.restarted(age=1e5).circuits.blocked("a1") is None


def test_another_graph_takes_over_what_it_knows() -> None:
    """Nodes that are gone are left aside, new ones begin afresh, and a group that shrank keeps its last node."""
    ward = Ward(substitutes(4))
    ward.open("a1")
    ward.open("a2")
    data = ward.circuits.snapshot()
    for graph, open_now in ((substitutes(2), ["a1"]), (substitutes(1, 2), []), (substitutes(6), ["a1", "a2"])):
        after = Ward(graph)
        after.circuits.restore(data, age=0)
        assert [node for node, state in after.states().items() if state == "open"] == open_now


def test_a_snapshot_of_another_version_is_left_aside() -> None:
    """Health can be measured again, so that data nobody can read is no error."""
    ward = Ward()
    ward.open("a1")
    after = Ward()
    after.circuits.restore({**ward.circuits.snapshot(), "version": 0}, age=0)
    assert after.circuits.state("a1") == "closed"


# ---------------------------------------------------------------------------------------------- traps met by others


def test_trap_2_a_node_that_recovered_is_probed() -> None:
    """A half-open node is usable by whoever asks, with its usual weight: no penalty keeps it from ever being tried."""
    ward = Ward()
    ward.half_open("a1")
    assert ward.circuits.blocked("a1") is None
    assert ward.circuits.share("a1") == 1.0
    assert ward.circuits.lease("a1", "run", seconds=30)
    ward.saw("a1", "ok", every=1, seconds=1, run_id="run")
    assert ward.circuits.state("a1") == "closed"


def test_trap_3_a_cancelled_probe_gives_its_permit_back() -> None:
    """However many probes are cancelled, the next may go at once; none of them counts."""
    ward = Ward()
    ward.half_open("a1")
    for attempt in range(10):
        assert ward.circuits.lease("a1", f"run {attempt}", seconds=1e9)
        ward.saw("a1", "cancelled", run_id=f"run {attempt}")
    assert ward.circuits.lease("a1", "last", seconds=1e9)
    ward.saw("a1", "ok", run_id="last")
    assert ward.circuits.state("a1") == "closed"


def test_trap_4_no_herd_at_readmission() -> None:
    """Of two hundred that wait for a node one probes it, and it comes back with a tenth of its traffic."""
    ward = Ward()
    ward.half_open("a1")
    granted = [run for run in range(200) if ward.circuits.lease("a1", str(run), seconds=30)]
    assert granted == [0]
    ward.saw("a1", "ok", run_id="0")
    assert ward.circuits.share("a1") == 0.1


@pytest.mark.parametrize("size", range(1, 8))
def test_trap_5_never_is_everything_ejected(size: int) -> None:
    """When all substitutes fail at most half of them are open, and of any group at least one stays usable."""
    ward = Ward(substitutes(size))
    for _ in range(20):
        for node in ward.graph.by_name:
            ward.saw(node, "external", "timeout", every=0.01)
    closed = [node for node in ward.graph.by_name if ward.circuits.state(node) == "closed"]
    assert len(closed) == size - size // 2
    assert all(ward.circuits.blocked(node) is None for node in closed)


def test_trap_6_no_calendar_minute() -> None:
    """What is seen does not depend on where in a minute it falls, and nothing is forgotten at its turn."""
    found = []
    for start in (0.0, 29.5, 57.0, 58.5, 59.75, 1e6):
        ward = Ward(start=start)
        ward.saw("a1", "ok", "external", "ok", every=0.5)
        figures = ward.circuits.figures("a1")
        ward.saw("a1", "external", "external", every=0.5)
        found.append((round(figures.n, 6), round(figures.success, 6), ward.circuits.state("a1")))
    assert found == [found[0]] * 6
    ward = Ward(start=0.0)
    ward.saw("a1", *["external"] * 4)
    left = []
    for _ in range(1200):
        ward.time += 0.1
        left.append(ward.circuits.figures("a1").n)
    assert all(later < earlier for earlier, later in pairwise(left))
    assert max(earlier - later for earlier, later in pairwise(left)) < 0.02


def test_trap_7_the_newest_counts_most() -> None:
    """A thousand old successes do not outweigh what happens now, and old failures do not either."""
    ward = Ward()
    ward.saw("a1", *["ok"] * 1000, every=1, seconds=9.0)
    for _ in range(10):
        ward.saw("a1", "external", every=1, seconds=0.1)
        if ward.circuits.state("a1") == "open":
            break
        ward.saw("a1", "ok", every=1, seconds=0.1)
    assert ward.circuits.state("a1") == "open"
    ward.saw("a1", *["ok"] * 120, every=1, seconds=0.1)
    ward.saw("a2", *["external"] * 4, "ok", every=1)
    ward.saw("a2", *["ok"] * 300, every=1, seconds=0.1)
    assert ward.circuits.figures("a2").success > 0.99
    latency = ward.circuits.figures("a1").latency
    assert latency is not None
    assert latency < 0.2


def test_trap_8_learning_never_ends() -> None:
    """After a hundred thousand outcomes the figures move as fast as after a hundred."""
    moves = []
    for outcomes in (1_000, 100_000):
        ward = Ward(substitutes(1))
        ward.saw("a1", *["ok"] * outcomes, every=1)
        before = ward.circuits.figures("a1").success
        ward.saw("a1", *["external"] * 10, every=1)
        moves.append(before - ward.circuits.figures("a1").success)
    assert moves[0] > 0.1
    assert moves[1] == pytest.approx(moves[0])


NO_EVIDENCE: tuple[Evidence, ...] = ("rate_limited", "caller", "cancelled", "inapplicable", "contract", "unauthorised")


@pytest.mark.parametrize("evidence", NO_EVIDENCE)
def test_trap_10_what_says_nothing_about_health_ejects_nobody(evidence: Evidence) -> None:
    """Rate limits, mistakes of the caller, cancellations and broken contracts never open a circuit or move figures."""
    ward = Ward()
    ward.saw("a1", "external", "external", "external", "external")
    before = ward.circuits.figures("a1")
    ward.saw("a1", *[evidence] * 500)
    assert ward.circuits.state("a1") == "closed"
    after = ward.circuits.figures("a1")
    assert (after.n, after.ok, after.success) == (before.n, before.ok, before.success)
    ward = Ward()
    ward.half_open("a2")
    ward.circuits.lease("a2", "run", seconds=30)
    ward.saw("a2", evidence, run_id="run")
    assert ward.circuits.state("a2") == "half_open"


def test_trap_15_no_wall_clock() -> None:
    """No module of health reads a clock; one that steps back or leaps on loses no node for ever."""
    for path in sorted(HEALTH.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert not imported & {"time", "datetime", "asyncio", "anyio"}, path.name
    ward = Ward(start=1e9)
    ward.open("a1")
    wait = ward.circuits.open_for("a1")
    ward.time -= 86_400
    assert ward.circuits.open_for("a1") == pytest.approx(wait)
    ward.time += wait + 1e-3
    assert ward.circuits.state("a1") == "half_open"
    figures = ward.circuits.figures("a1")
    assert figures.measured_at is not None
    assert 0 < ward.time - figures.measured_at <= 5.01
    ward.time += 1e9
    assert ward.circuits.lease("a1", "run", seconds=5)
    ward.saw("a1", "ok", run_id="run")
    assert ward.circuits.state("a1") == "closed"


@pytest.mark.parametrize("evidence", ["external", "timeout", "unknown"])
def test_trap_19_a_lone_node_is_never_ejected(evidence: Evidence) -> None:
    """There is nobody to take its place; only a certain refusal, a quota or missing credentials, blocks it."""
    ward = Ward(substitutes(1), circuit(share=1.0))
    ward.saw("a1", *[evidence] * 100, every=0.1)
    assert ward.circuits.state("a1") == "closed"
    assert ward.circuits.blocked("a1") is None
    ward.saw("a1", "rate_limited", retry_after=5)
    assert ward.circuits.blocked("a1") is not None
    ward.time += 5
    assert ward.circuits.blocked("a1") is None


def test_trap_22_our_own_short_deadline_ejects_nobody() -> None:
    """A timeout below the declared time, or while our own loop is late, says nothing about the node."""
    ward = Ward(substitutes(2, seconds=2.0))
    ward.saw("a1", *["timeout"] * 100, seconds=1.5)
    ward.saw("a1", *["timeout"] * 100, seconds=30, lagging=True)
    assert ward.circuits.state("a1") == "closed"
    assert ward.circuits.figures("a1").n == 0
    ward.half_open("a2")
    ward.circuits.lease("a2", "run", seconds=30)
    ward.saw("a2", "timeout", seconds=30, lagging=True, run_id="run")
    assert ward.circuits.state("a2") == "half_open"
    assert ward.circuits.lease("a2", "next", seconds=30)


def test_trap_22_timeouts_are_counted_apart() -> None:
    """Four failures and four timeouts are two rows of four; five of one kind open, whatever stands between."""
    ward = Ward(substitutes(6))
    for node in ("a1", "a2", "a3"):
        ward.saw(node, *["external", "timeout"] * 4, every=2)
        assert ward.circuits.state(node) == "closed"
    ward.saw("a2", "timeout")
    assert (ward.circuits.blocked("a2") or "").endswith("5 timeouts in a row")
    ward.saw("a3", "unknown")
    assert (ward.circuits.blocked("a3") or "").endswith("5 failures in a row")


# ------------------------------------------------------------------------------------------------------- complexity


def test_work_does_not_grow() -> None:
    """Recording and asking cost the same in a graph of ten and of ten thousand nodes, at first and after long use."""
    costs = []
    for groups, history in ((2, 10), (2, 5_000), (16, 10)):
        size = 2 if groups == 2 else 600
        ward = Ward(substitutes(*[size] * groups))
        ward.saw("a1", *["ok"] * history, "external", "ok", every=0.01)
        costs.append(
            (
                calls(lambda ward=ward: ward.saw("a1", *["external", *["ok"] * 9] * 30, every=1)),  # type: ignore[misc]
                calls(lambda ward=ward: [ward.circuits.blocked("a1") for _ in range(300)]),  # type: ignore[misc]
            )
        )
    assert max(cost for cost, _ in costs) <= min(cost for cost, _ in costs) * 1.01
    assert len({cost for _, cost in costs}) == 1
    assert costs[0][0] / 300 < 80
    assert costs[0][1] / 300 < 10


def test_what_is_awaited_is_bounded() -> None:
    """Years of openings that nobody asks about leave nothing behind, and the next change is still known."""
    ward = Ward(policy=replace_circuit(cooldown=1.0, max_cooldown=1.0))
    work = []
    for _ in range(20):
        work.append(calls(*[lambda: open_and_close(ward)] * 20))
    assert max(work[1:]) <= 2 * min(work[1:])
    ward.open("a1")
    assert ward.circuits.next_change() is not None
    assert len(ward.circuits._due) <= 16 * len(ward.graph.nodes)


def replace_circuit(**figures: float) -> Policy:
    """Return the default policy, but with other figures of the circuit and a budget that never ends."""
    policy = Policy(retry=RetryPolicy(tokens=1e9))
    return policy.model_copy(update={"circuit": policy.circuit.model_copy(update=figures)})


def open_and_close(ward: Ward) -> None:
    """Take `a1` through its states once."""
    ward.half_open("a1")
    ward.circuits.lease("a1", "run", seconds=3)
    ward.saw("a1", "ok", every=1, run_id="run")


def test_outcomes_of_unknown_nodes_are_left_aside() -> None:
    """A node that the graph does not hold is nobody's concern; an outcome from the future is one of now."""
    ward = Ward()
    assert not ward.saw("elsewhere", "external")
    ward.circuits.record(replace(Outcome("a1", "ok", 0.0), at=1e9))
    assert ward.circuits.figures("a1").measured_at == 0.0
