"""Weighing: measured figures move weights, within bounds, step by step, and are forgotten when they are old."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Signal
from orchestrator.health.weighing import STEP, WEATHER, scaled
from tests.boards import Desk, Says, pair


def factor(desk: Desk, node: str) -> float:
    """Return the published factor of a node."""
    return next(row.factor for row in desk.board.rows() if row.node == node)


def test_measured_seconds_take_the_place_of_declared_ones() -> None:
    """A node of 4 cents and 1 second that takes 4 seconds costs 8 instead of 5; one that is quick costs less."""
    desk = Desk(pair(usd=0.01, seconds=4.0))
    desk.saw("a", *["ok"] * 30, every=1.0, seconds=7.0)
    desk.saw("b", *["ok"] * 30, every=1.0, seconds=1.0)
    desk.wait(30)
    assert factor(desk, "a") == pytest.approx(8 / 5 / WEATHER)
    assert factor(desk, "b") == pytest.approx(2 / 5 * WEATHER)


def test_what_chance_makes_of_few_calls_moves_nothing() -> None:
    """Up to `WEATHER` off in either way, a node weighs what it declares; beyond, the excess counts, without a jump."""
    for seconds, expected in ((1.0, 1.0), (1.24, 1.0), (1.26, 1.008), (0.81, 1.0), (0.79, 0.9875)):
        desk = Desk(pair(seconds=1.0))
        desk.saw("a", *["ok"] * 30, every=1.0, seconds=seconds)
        desk.wait(30)
        assert factor(desk, "a") == pytest.approx(expected)


def test_a_few_slow_calls_are_the_weather() -> None:
    """What a node mostly takes is what it costs: four calls of twice the seconds move nothing."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("a", *["ok"] * 60, every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 4, every=1.0, seconds=1.9)
    desk.wait(10)
    assert factor(desk, "a") == 1.0


def test_a_bad_past_is_lived_down() -> None:
    """A node that was slow from the first call is not dear any more once its latest calls are as declared."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("a", *["ok"] * 60, every=1.0, seconds=3.0)
    desk.wait(10)
    assert factor(desk, "a") > 2
    desk.saw("a", *["ok"] * 3, every=20.0, seconds=1.0)
    desk.wait(30)
    assert factor(desk, "a") < 1.3


def test_a_slow_hour_does_not_become_the_rule() -> None:
    """While a node is slow its baseline hardly learns: after two hundred slow calls it still counts as slow."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("a", *["ok"] * 60, every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 200, every=1.0, seconds=30.0)
    assert any(signal.monitor == "latency" for signal in desk.board.signals())


def test_a_heavy_node_is_tried_once_per_window() -> None:
    """What is heavy gets no calls: one run per `circuit.window` sees it as lighter than its equal, no other."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("a", *["ok"] * 60, every=1.0, seconds=9.0)
    tried = []
    for second in range(100):
        desk.wait(1)
        weights = dict(desk.board.view(f"run {second}").weights)
        if weights["a"] < weights["b"]:
            tried.append(second)
        desk.board.release(f"run {second}")
    assert len(tried) == 3
    assert {later - sooner for sooner, later in pairwise(tried)} == {30}


def test_a_barred_node_is_not_tried() -> None:
    """A trial is not spent on a node that the run may not use."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("a", *["ok"] * 60, every=1.0, seconds=9.0)
    desk.saw("a", *["external"] * 5)
    assert desk.board._weighing.trials(desk.now + 100, ("a",)) == ()
    assert desk.board._weighing.trials(desk.now + 100, ()) == ("a",)


def test_seconds_that_are_not_declared_cost_nothing() -> None:
    """Units, or nothing at all, are the measure itself: there is no second in them to replace."""
    desk = Desk(pair(units=2.0))
    desk.saw("a", *["ok"] * 30, every=1.0, seconds=9.0)
    desk.wait(30)
    assert factor(desk, "a") == 1.0


def test_failures_make_a_node_dearer() -> None:
    """By declared over posterior success: twenty failures and no success, beside a prior of twenty successes."""
    desk = Desk()
    desk.saw("alone", *["external"] * 20)
    desk.wait(1)
    assert factor(desk, "alone") == pytest.approx(40 / 20 / WEATHER, rel=0.1)


def test_a_slow_node_counts_once() -> None:
    """Its measured seconds and the latency monitor tell of the same delay: the larger counts, not the product."""
    desk = Desk(pair(seconds=1.0, usd=0.09), {"health": {"movement": 100.0}})
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=5.0)
    slow = next(signal.factor for signal in desk.board.signals() if signal.monitor == "latency")
    desk.wait(6)
    assert slow > 2
    assert factor(desk, "a") == pytest.approx(slow / WEATHER, rel=0.1)


def test_what_is_old_is_forgotten() -> None:
    """After `stale` a slow node is worth what its group is; what was never measured is worth what it declares."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=9.0)
    desk.wait(10)
    assert (factor(desk, "a"), factor(desk, "b")) == (3.0, 1.0)
    desk.wait(160)
    desk.saw("b", *["ok"] * 10, every=1.0, seconds=2.0)
    desk.wait(10)
    assert factor(desk, "a") == pytest.approx(2.0)
    desk.wait(200)
    assert (factor(desk, "a"), factor(desk, "b")) == (1.0, 1.0)
    assert desk.board.tick() is None


def test_a_slow_node_does_not_take_its_stale_peer_with_it() -> None:
    """What goes wrong with one now is no figure of the others: the backup that idled stands at its usual worth."""
    desk = Desk(pair(seconds=1.0))
    desk.saw("b", *["ok"] * 10, every=1.0, seconds=1.0)
    desk.saw("a", *["ok"] * 60, every=4.0, seconds=1.0)
    desk.saw("a", *["ok"] * 6, every=1.0, seconds=8.0)
    desk.wait(6)
    assert factor(desk, "a") > 2
    assert factor(desk, "b") < 1.3


def test_measuring_can_be_switched_off() -> None:
    """With `measure: false` only monitors move weights."""
    desk = Desk(
        pair(seconds=1.0), {"health": {"measure": False}}, monitors=[Says(Signal("m", "b", 0.5, "", "factor", 2))]
    )
    desk.saw("a", *["ok"] * 20, every=1.0, seconds=9.0)
    desk.check()
    desk.wait(10)
    assert (factor(desk, "a"), factor(desk, "b")) == (1.0, 2.0)


def test_factors_multiply_within_the_bound() -> None:
    """Two monitors that say 1.5 make 2.25; a third one more meets the bound of 3."""
    says = [Says(Signal(f"m{i}", "a", 0.5, "", "factor", 1.5)) for i in range(3)]
    for count, expected in ((1, 1.5), (2, 2.25), (3, 3.0)):
        desk = Desk(monitors=says[:count])
        desk.check()
        desk.wait(30)
        assert factor(desk, "a") == pytest.approx(expected)


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "alone"]),
        st.sampled_from(["ok", "external", "timeout", "contract"]),
        st.sampled_from([0.01, 1.0, 30.0]),
        st.sampled_from([0.0, 0.05, 1.0, 30.0, 300.0]),
    ),
    max_size=40,
)


@settings(max_examples=50)
@given(CALLS)
def test_no_publication_moves_a_weight_by_more_than_a_step(calls: list[tuple[str, str, float, float]]) -> None:
    """From one publication to the next each factor moves by a step at most, and never past the bound."""
    desk = Desk(pair(seconds=1.0))
    weighing = desk.board._weighing
    publish = weighing.publish
    moved: list[tuple[float, float]] = []

    def watched(now: float, factors: Mapping[str, float]) -> bool:
        before = dict(weighing.ratios)
        arrived = publish(now, factors)
        moved.extend((weighing.ratios[name], before[name]) for name in before)
        return arrived

    weighing.publish = watched  # type: ignore[method-assign]  # to look on
    for node, evidence, seconds, gap in calls:
        desk.saw(node, evidence, seconds=seconds, every=gap)
    desk.wait(1)
    assert all(1 / STEP - 1e-9 <= after / before <= STEP + 1e-9 and 1 / 3 <= after <= 3 for after, before in moved)


@given(st.integers(1, 10**12), st.floats(0.01, 100), st.floats(0.01, 100))
def test_scaled_weights_keep_their_order(weight: int, low: float, high: float) -> None:
    """A weight times a larger factor is no smaller, never nothing, and the same for the factor 1."""
    low, high = sorted((low, high))
    assert 1 <= scaled(weight, low) <= scaled(weight, high)
    assert scaled(weight, 1.0) == weight


def test_a_graph_of_one_node_is_weighed_too() -> None:
    """No peers, no group: its own figures alone."""
    desk = Desk(Graph((Node("only", provides=("v",), seconds=1.0),), (Goal("g", ("v",)),)))
    desk.saw("only", *["ok"] * 10, every=1.0, seconds=2.0)
    desk.wait(10)
    assert factor(desk, "only") == pytest.approx(2.0 / WEATHER)
