"""Monitors: each says what it sees in signals; those of users may do anything and harm nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Outcome, Signal
from orchestrator.health.monitors.contracts import Contracts
from orchestrator.health.monitors.headroom import headroom_factor
from orchestrator.health.monitors.latency import Latency
from orchestrator.health.window import Window
from orchestrator.policy import Circuit, Health, Policy
from tests.boards import Desk, Says, pair


def said(desk: Desk, monitor: str) -> dict[str, Signal]:
    """Return what a monitor says now, by node."""
    return {signal.node: signal for signal in desk.board.signals() if signal.monitor == monitor}


# --------------------------------------------------------------------------------------------------------- outcomes


def test_an_open_circuit_may_be_passed_and_certainty_may_not() -> None:
    """The last chance may pass a circuit; not a quota, not credentials, not even if the circuit is open as well."""
    desk = Desk()
    desk.saw("a", *["external"] * 5)
    assert said(desk, "circuit")["a"].open
    desk.saw("a", "unauthorised")
    signals = said(desk, "circuit")
    assert {name: (signal.effect, signal.open) for name, signal in signals.items()} == {"a": ("veto", False)}
    assert desk.start("run").open == ()


def test_what_nothing_stands_in_for_is_not_vetoed_by_quota_or_credentials() -> None:
    """Its own answer tells a run better: a retry goes on that waits for its time. So it is where all are limited."""
    desk = Desk()
    desk.saw("alone", "rate_limited", retry_after=60.0)
    assert said(desk, "circuit") == {}
    desk.saw("alone", "unauthorised")
    assert said(desk, "circuit") == {}
    desk.saw("a", "rate_limited", retry_after=60.0)
    assert set(said(desk, "circuit")) == {"a"}
    others = desk.board._watching._others[0]._peers["a"]  # type: ignore[attr-defined]
    for name in others:
        desk.saw(name, "rate_limited", retry_after=60.0)
    assert said(desk, "circuit") == {}


# ---------------------------------------------------------------------------------------------------------- latency


def test_a_slow_node_is_compared_with_itself() -> None:
    """A node that takes five times as long as it did counts as slow after a few calls, not after one."""
    desk = Desk()
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=1.0)
    desk.saw("a", "ok", every=1.0, seconds=30.0)
    assert said(desk, "latency") == {}
    desk.saw("a", "ok", every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 3, every=1.0, seconds=5.0)
    assert said(desk, "latency")["a"].factor > 2
    assert said(desk, "latency")["a"].effect == "factor"


def test_what_nobody_waits_for_is_not_slow() -> None:
    """Milliseconds are no delay, however many times more of them there are; what is one is told in plain units."""
    desk = Desk()
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=0.00185)
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=0.0095)
    assert said(desk, "latency") == {}
    desk = Desk()
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=0.25)
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=1.5)
    assert re.fullmatch(r"takes 1\.\ds now, mostly 2\d\dms", said(desk, "latency")["a"].reason)


def test_a_group_that_slows_down_together_has_no_slow_node() -> None:
    """Where the peers have become slow alike, nobody is to blame."""
    desk = Desk()
    for seconds in [1.0] * 20 + [5.0] * 6:
        desk.saw("a", "ok", every=1.0, seconds=seconds)
        desk.saw("b", "ok", seconds=seconds)
    assert said(desk, "latency") == {}


def test_a_node_that_was_always_slow_is_not_slow() -> None:
    """Slower than its peers from the first call is what it is; its cost says so, if it declares any."""
    desk = Desk()
    for _ in range(30):
        desk.saw("a", "ok", every=1.0, seconds=9.0)
        desk.saw("b", "ok", seconds=1.0)
    assert said(desk, "latency") == {}


def test_slow_to_blame_and_quick_to_forgive() -> None:
    """After a pause one quick call clears a node; what is older than `stale` is held against nobody."""
    desk = Desk()
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 6, every=1.0, seconds=5.0)
    assert "a" in said(desk, "latency")
    desk.saw("a", "ok", every=30.0, seconds=1.0)
    assert said(desk, "latency") == {}
    desk.saw("a", *["ok"] * 6, every=1.0, seconds=5.0)
    assert "a" in said(desk, "latency")
    desk.wait(181)
    assert said(desk, "latency") == {}


def test_timeouts_are_slow_calls_and_probes_are_none() -> None:
    """A timeout took at least its time; a probe is a call of another kind."""
    desk = Desk()
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 9, every=1.0, seconds=8.0, probe=True)
    assert said(desk, "latency") == {}
    desk.saw("a", *["timeout"] * 3, every=1.0, seconds=8.0)
    assert "a" in said(desk, "latency")


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 1000)), max_size=60))
def test_figures_stay_within_what_was_seen(calls: list[tuple[float, float]]) -> None:
    """The usual and the present latency lie between the shortest and the longest call."""
    latency, now = Latency(Policy(), {}), 0.0
    for gap, seconds in calls:
        now += gap
        latency.record(Outcome("a", "ok", now, seconds))
        took = [each for _, each in calls]
        recent = latency.recent("a", now)
        assert recent is not None
        assert min(took) - 1e-9 <= recent <= max(took) + 1e-9
        assert latency.usual("a") is None or min(took) - 1e-9 <= (latency.usual("a") or 0.0) <= max(took) + 1e-9


# ---------------------------------------------------------------------------------------------------- rate limits


@given(st.floats(0, 1), st.floats(0, 1))
def test_less_headroom_never_weighs_less(one: float, other: float) -> None:
    """The factor rises as headroom falls: nothing above a half, about twice at 95 % used, never without bound."""
    low, high = sorted((one, other))
    assert headroom_factor(low) >= headroom_factor(high) >= 1
    assert headroom_factor(0.5) < 1.001
    assert headroom_factor(0.05) == pytest.approx(2, rel=0.05)
    assert headroom_factor(0.0) == headroom_factor(-3.0) == 100


def test_what_is_left_fills_up_again() -> None:
    """A node near its limit weighs more than `movement` allows, and its limit is taken to be full after a minute."""
    desk = Desk()
    desk.saw("a", "ok", headroom=0.01)
    assert said(desk, "headroom")["a"].factor > 8
    assert desk.weight("a") > 8 > desk.policy.health.movement
    desk.wait(30)
    assert said(desk, "headroom") == {}
    desk.saw("a", "ok", headroom=float("nan"))
    assert said(desk, "headroom") == {}


# ------------------------------------------------------------------------------------------------ output contracts


def test_broken_contracts_weigh_more_and_then_bar() -> None:
    """Some broken: the factor of so many failures. Most of them: out of use for a cooldown, which then doubles."""
    desk = Desk()
    desk.saw("a", "contract", "ok", "ok")
    assert said(desk, "contract")["a"].effect == "factor"
    assert said(desk, "contract")["a"].factor == pytest.approx((20 + 3) / (20 + 2))
    desk.saw("a", *["contract"] * 4)
    assert (said(desk, "contract")["a"].effect, said(desk, "contract")["a"].open) == ("veto", True)
    assert desk.circuits.state("a") == "closed"
    desk.wait(5)
    assert said(desk, "contract")["a"].effect == "factor"
    desk.saw("a", *["contract"] * 3)
    desk.wait(9)
    assert said(desk, "contract")["a"].effect == "veto"
    desk.wait(2)
    desk.saw("a", *["ok"] * 30, every=5.0)
    assert said(desk, "contract") == {}


@given(st.integers(1, 60), st.lists(st.booleans(), max_size=60), st.floats(0, 90))
def test_a_broken_contract_weighs_as_much_as_a_failure(prior: int, results: list[bool], age: float) -> None:
    """The factor is that of the posterior success rate over the same results, now and later, if worth a word."""
    contracts, window = Contracts(Circuit(), {}, prior), Window(Circuit().window, Health().latency)
    for at, kept in enumerate(results):
        contracts.record(Outcome("a", "ok" if kept else "contract", float(at)))
        if kept:
            window.succeeded(float(at), 0.0)
        else:
            window.failed(float(at), "external", 0.0)
    now = len(results) + age
    expected = 1 / window.figures(now, 1.0, prior).success
    found = [signal.factor for signal in contracts.signals(now)]
    assert found == ([pytest.approx(min(expected, 50.0))] if expected >= 1 / 0.98 else [])


def test_one_bad_answer_of_many_is_no_rate() -> None:
    """After two hundred good answers a bad one is not worth a word; the first answer of all is worth a little."""
    desk = Desk()
    desk.saw("a", *["ok"] * 200, every=0.1)
    desk.saw("a", "contract")
    assert said(desk, "contract") == {}
    desk.saw("b", "contract")
    assert 1 < said(desk, "contract")["b"].factor < 1.1
    desk.wait(60)
    assert said(desk, "contract") == {}


def test_a_node_that_was_good_is_barred_for_bad_answers_in_a_row() -> None:
    """As many as open a circuit do, however many good ones came before; one good one between them ends the row."""
    desk = Desk()
    desk.saw("a", *["ok"] * 50, every=0.1)
    desk.saw("a", *["contract"] * 4)
    desk.saw("a", "ok", *["contract"] * 4)
    assert said(desk, "contract")["a"].effect == "factor"
    desk.saw("a", "contract")
    assert said(desk, "contract")["a"].effect == "veto"


def test_a_lone_node_is_not_barred_for_its_contracts() -> None:
    """To take the only provider out of use would help nobody: it weighs more, and is there."""
    desk = Desk()
    desk.saw("alone", *["contract"] * 20)
    assert said(desk, "contract")["alone"].effect == "factor"


def test_a_node_that_gets_nothing_right_weighs_more_and_is_never_barred() -> None:
    """Five mistakes in a row and no success between: a factor, within `movement`; no number of them is a veto."""
    desk = Desk()
    plain = desk.weight("a")
    desk.saw("a", *["caller"] * 4)
    assert said(desk, "contract") == {}
    desk.saw("a", "caller")
    assert (said(desk, "contract")["a"].effect, said(desk, "contract")["a"].factor) == ("factor", 6.0)
    desk.saw("a", *["caller"] * 50, every=0.2)
    assert said(desk, "contract")["a"].effect == "factor"
    assert desk.weight("a") == pytest.approx(plain * desk.policy.health.movement)
    assert (desk.circuits.state("a"), desk.circuits.figures("a").n) == ("closed", 0.0)
    desk.saw("a", "ok")
    assert said(desk, "contract") == {}
    desk.saw("a", *["caller"] * 4)
    assert said(desk, "contract") == {}


def test_contention_is_no_mistake() -> None:
    """Calls that a database rolled back because of each other say nothing against it, however many."""
    desk = Desk()
    desk.saw("a", *["caller"] * 9, error="conflict")
    assert said(desk, "contract") == {}


def test_what_weighs_for_its_mistakes_is_tried_again() -> None:
    """Nobody calls what is heavy: a window after the last mistake it weighs as before, and one more is enough."""
    desk = Desk()
    plain = desk.weight("a")
    desk.saw("a", *["caller"] * 5)
    desk.wait(29)
    assert desk.weight("a") > plain
    desk.wait(30)
    assert (said(desk, "contract"), desk.weight("a")) == ({}, plain)
    desk.saw("a", "caller")
    assert said(desk, "contract")["a"].effect == "factor"


def test_where_callers_are_wrong_nothing_moves() -> None:
    """What fails wherever it is sent weighs alike on all: their order stays."""
    desk = Desk()
    for _ in range(20):
        desk.saw("a", "caller", every=0.2)
        desk.saw("b", "caller", every=0.2)
    desk.wait(10)
    assert desk.weight("a") == desk.weight("b")


# --------------------------------------------------------------------------------------------------- fault domains

CLOUDS = Graph(
    (
        Node("a1", provides=("v",), domains=("east",)),
        Node("a2", provides=("v",), domains=("east",)),
        Node("a3", provides=("v",), domains=("east",)),
        Node("b1", provides=("v",), domains=("west",)),
    ),
    (Goal("g", ("v",)),),
)


def test_two_failures_of_a_domain_are_one_incident() -> None:
    """Trap 20: a backup in the same domain becomes suspect with it; one in another domain does not."""
    desk = Desk(CLOUDS)
    desk.saw("a1", "external")
    assert said(desk, "domain") == {}
    desk.saw("a2", "external", every=2.0)
    assert {signal.effect for signal in said(desk, "domain").values()} == {"factor"}
    assert list(said(desk, "domain")) == ["a1", "a2", "a3"]
    assert [signal.node for signal in desk.board.signals() if signal.score == 0.97] == ["a1"]
    desk.wait(1)
    assert desk.weight("a3") > 1.9 > 1.1 > desk.weight("b1")
    desk.saw("a3", *["external"] * 3, every=0.1)
    assert desk.circuits.state("a3") == "open"
    desk.saw("b1", *["external"] * 3, every=0.1)
    assert desk.circuits.state("b1") == "closed"


def test_failures_far_apart_are_no_incident() -> None:
    """Nor are two of one node, two of different domains, two beside which the first has worked, or our own faults."""
    for second, gap, between in [("a2", 6.0, ""), ("a1", 1.0, ""), ("b1", 1.0, ""), ("a2", 1.0, "ok")]:
        desk = Desk(CLOUDS)
        desk.saw("a1", "external", *between.split())
        desk.saw(second, "external", every=gap)
        assert said(desk, "domain") == {}, (second, gap, between)
    desk = Desk(CLOUDS)
    for name in ("a1", "a2"):
        desk.saw(name, "caller", "cancelled", "inapplicable", "rate_limited", "contract")
    assert said(desk, "domain") == {}


def test_an_incident_ends() -> None:
    """It is over when all but one of its nodes work, or a window after the last failure; who works is no suspect."""
    desk = Desk(CLOUDS)
    desk.saw("a1", "external")
    desk.saw("a2", "external")
    desk.saw("a3", "ok", every=1.0)
    assert set(said(desk, "domain")) == {"a1", "a2"}
    desk.saw("a2", "ok")
    assert said(desk, "domain") == {}
    desk.saw("a2", "external")
    assert set(said(desk, "domain")) == {"a1", "a2"}
    desk.wait(31)
    assert said(desk, "domain") == {}
    desk.saw("a3", "external", every=3600.0)
    assert said(desk, "domain") == {}


# ------------------------------------------------------------------------------------------------------------- lag


def test_a_late_loop_is_not_held_against_nodes() -> None:
    """Trap 22: timeouts that ended while the loop was late open no circuit, and calls under it are not slow."""
    late, well = Desk(), Desk()
    for desk in (late, well):
        desk.saw("a", *["ok"] * 20, every=1.0, seconds=1.0)
        for _ in range(8):
            desk.wait(1)
            if desk is late:
                desk.board.lag(0.6)
            desk.saw("a", "timeout", seconds=30.0)
    assert (late.circuits.state("a"), well.circuits.state("a")) == ("closed", "open")
    assert [late.board.rows()[0].factor, well.board.rows()[0].factor > 1.1] == [1.0, True]
    assert [signal.monitor for signal in late.board.signals()] == ["lag"]
    assert "domain" not in {signal.monitor for signal in late.board.signals()}
    late.wait(11)
    assert late.board.signals() == ()


def test_a_timeout_that_came_late_shows_the_lag_itself() -> None:
    """An attempt that ended 300 ms after its deadline is no evidence, even before anybody has measured the lag."""
    desk = Desk(pair(timeout=2.0))
    desk.saw("a", *["timeout"] * 9, seconds=2.3)
    assert desk.circuits.state("a") == "closed"
    desk.saw("a", *["timeout"] * 9, seconds=2.0)
    assert desk.circuits.state("a") == "open"


def test_little_lag_is_the_weather() -> None:
    """Lag below `health.lag` changes nothing."""
    desk = Desk()
    for _ in range(5):
        desk.board.lag(0.2)
        desk.saw("a", "timeout", seconds=30.0)
    assert desk.circuits.state("a") == "open"


# ----------------------------------------------------------------------------------------------------------- users


class Hangs:
    """A monitor that never answers."""

    async def check(self) -> Iterable[Signal]:
        """Wait for ever."""
        await anyio.sleep_forever()
        return ()


def test_a_monitor_that_hangs_is_reported_once() -> None:
    """Contract 9: each check is bounded, the others are asked, and the trouble is told once until it works again."""
    works = Says(Signal("mine", "a", 0.5, "no", "veto"))
    desk = Desk(monitors=[Hangs(), works])
    desk.check()
    desk.check()
    assert desk.now == pytest.approx(10)
    assert desk.troubles == ["monitor Hangs gave no answer within 5s"]
    assert desk.start("run").vetoes == (("a", "no"),)


def test_a_monitor_that_raises_is_reported_once() -> None:
    """It is told by type, never by message, and again only after it has worked in between."""
    monitor = Says()
    desk = Desk(monitors=[monitor])
    for trouble in (ValueError("token=hunter2"), ValueError(), None, ValueError()):
        monitor.said = trouble or ()
        desk.check()
    assert desk.troubles == ["monitor Says raised ValueError"] * 2


def test_a_report_that_fails_harms_nobody() -> None:
    """Not even who is told of the trouble can make more of it."""
    desk = Desk(monitors=[Says(*[Signal("m", "nowhere", 0.5, "")])])
    desk.board._report = lambda line: 1 / 0
    desk.check()
    assert desk.start("run").id == "declared"


NONSENSE: list[Any] = [
    None,
    "veto",
    Signal("m", "nowhere", 0.5, "unknown", "veto"),
    Signal("m", "a", 1.5, "too high", "veto"),
    Signal("m", "a", float("nan"), "none", "veto"),
    Signal("m", "a", 0.5, "light", "factor", 0.5),
    Signal("m", "a", 0.5, "infinite", "factor", float("inf")),
    Signal("m", "a", 0.5, "what", "explode"),  # type: ignore[arg-type]
    Signal("m", "a", "high", "text", "veto"),  # type: ignore[arg-type]
    Signal("m", "a", 0.5, "an open gate", "gate", open=True),
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_nonsense_is_left_aside(nonsense: Any) -> None:
    """A signal that cannot be is told of and ignored; sound ones beside it hold."""
    monitor = Says(Signal("m", "b", 0.5, "sound", "veto"))
    monitor.said = [nonsense, *monitor.said]  # type: ignore[misc]  # it holds no error
    desk = Desk(monitors=[monitor])
    desk.check()
    assert len(desk.troubles) == 1
    assert [name for name, _ in desk.start("run").vetoes] == ["b"]


def test_what_is_not_said_any_more_no_longer_holds() -> None:
    """Signals hold until the next check; of a monitor that fell silent, vetoes until they are stale, gates for ever."""
    monitor = Says(Signal("m", "a", 0.5, "no", "veto"), Signal("m", "alone", 0.9, "ask", "gate"))
    desk = Desk(monitors=[monitor])
    desk.check()
    monitor.said = ValueError()
    desk.check()
    assert (len(desk.start("one").vetoes), len(desk.start("two").gates)) == (1, 1)
    desk.wait(181)
    assert (desk.start("three").vetoes, len(desk.start("four").gates)) == ((), 1)
    assert desk.vetoed("one") == []
    monitor.said = ()
    desk.check()
    assert desk.start("five").gates == ()
