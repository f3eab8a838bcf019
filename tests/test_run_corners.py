"""Corners of planning and running that once went wrong: each of them small, and found by somebody who looked for it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import NotApplicable, Orchestrator, tool
from orchestrator.events import RunFinished
from orchestrator.graph import Edge, Node
from orchestrator.planner import Limits, Planner, Situation
from orchestrator.policy import Objective
from orchestrator.weight import declared_view
from tests import oracle
from tests.running import ByHand, graph, node, simulated, started, view


def once(name: str, needs: str = "", provides: str | None = None, **more: Any) -> Node:
    """Return a `once` node."""
    return node(name, needs, provides, effect="once", **more)


def test_done_without_is_no_dependency_on_the_goal() -> None:
    """A node that does without an optional need may serve the goal and another node of the same route."""
    found = graph(
        node("p", "o?0.1", "x", units=1.0, usd=0.02),
        node("q", "x", "y", units=20.0, usd=0.02),
        node("w", "", "v", units=1.0),
        node("y3", "v", "y", units=1.0, usd=0.03),
        node("y2", "", "y", units=1.0, usd=0.1),
        node("x2", "", "x", units=50.0, usd=0.05),
        node("low"),
        goals="g: y x; l: low",
        edges=[Edge("x2", "q", forbid=True), Edge("p", "g", cost=0.5)],
    )
    left = Limits(usd=0.05, calls=2)
    route = Planner(found).plan(declared_view(found, Objective()), "g", Situation(left=left))
    assert (route.verdict, route.nodes) == ("found", ("p", "q"))


@pytest.mark.parametrize("shared", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("breaker", ["h", "z"])
def test_a_ring_of_values_is_planned_exactly(shared: float, breaker: str) -> None:
    """Where two nodes could feed each other, the cheapest way into the ring is found, and proved only if it is."""
    for dear in (2.0, 3.0, 5.0):
        found = graph(
            node("c", "P", "C", units=1.0),
            node("p", "C", "P", units=1.0),
            node("s", "", "S", units=shared),
            node("h", "S", "P", units=1.0 if breaker == "h" else dear),
            node("z", "", "C", units=dear if breaker == "h" else 1.0),
            node("b", "S", "B", units=1.0),
            node("b2", "", "B", units=shared + 0.5),
            goals="g: C P B",
            edges=[Edge("h", "g", forbid=True), Edge("z", "g", forbid=True)],
        )
        seen = declared_view(found, Objective())
        route = Planner(found).plan(seen, "g", Situation())
        best = oracle.cheapest(found, found.goals[0], seen, oracle.Situation())
        assert best is not None
        assert (route.weight, route.bound) == (best[0], best[0])


def test_a_value_whose_undo_is_under_way_is_not_held() -> None:
    """A reroute during an undo does not go back to what is being undone, and the run does not get stuck."""
    found = graph(
        once("E", "", "x", undo=True),
        node("P1", "x", "done"),
        node("R", "", "x"),
        node("Q", "x s", "done"),
        node("S", "", "s", attempts=1),
        node("T", "", "t", units=50.0),
        node("P2", "x t", "done"),
        node("R2", "x", "done", units=90.0),
        node("low"),
        goals="main: done; lower: low",
        edges=[
            Edge("R", "P1", forbid=True),
            Edge("R", "P2", forbid=True),
            Edge("E", "Q", forbid=True),
            Edge("E", "R2", forbid=True),
        ],
    )
    run = ByHand(found)
    run.succeed("E")
    run.fail("P1")
    assert run.calls == [("undo", "E")]
    run.fail("S")
    run.answer("undo", "E", True)
    run.succeed("R")
    run.succeed("R2")
    assert (run.outcome, run.result().goal) == ("met", "main")


@pytest.mark.parametrize(
    ("limits", "more", "faults"),
    [
        ({"calls": 2}, {}, "a: [raise, ok]"),
        ({"usd": 0.2}, {"usd": 0.1}, "a: [wrong, ok]"),
        ({"seconds": "16s"}, {"seconds": 6.0}, "a: [raise, ok]"),
    ],
)
def test_a_retry_that_would_break_a_limit_gives_way_to_a_route_that_fits(
    limits: dict[str, object], more: dict[str, float], faults: str
) -> None:
    """Another attempt must leave room for the rest of the route; else a dearer route that fits is taken."""
    found = graph(
        node("a", "", "x", **more), node("c", "x", "y", **more), node("d", "", "y", units=90.0, usd=0.1), goals="g: y"
    )
    result = simulated(found, faults, {"limits": limits})
    assert (result.outcome, result.route) == ("met", ("d",))


def test_a_vetoed_node_is_not_tried_again() -> None:
    """A node that health took out while it was in flight is gone round when it fails, not repeated."""
    run = ByHand(graph(node("a", "", "x"), node("b", "", "x", units=5.0), goals="g: x"))
    run.see(view(run.machine.graph, a="circuit open"))
    run.fail("a", transient=True)
    assert run.in_flight == ["b"]


def test_an_open_outcome_bars_only_its_own_values() -> None:
    """While a payment's fate is unknown, a way round by another effect is taken at once."""
    found = graph(
        once("pay"), node("p", "pay", "done"), once("ship", units=5.0), node("q", "ship", "done"), goals="g: done"
    )
    run = ByHand(found)
    run.fail("pay", type="timeout", transient=True, happened="unknown")
    assert run.in_flight == ["ship"]


def test_a_person_is_asked_where_the_way_round_breaks_a_limit() -> None:
    """An open outcome that a person can settle is asked about before the run ends for money."""
    found = graph(once("pay"), node("p", "pay", "done"), node("dear", "", "done", usd=5.0), goals="g: done")
    run = ByHand(found, {"limits": {"usd": 1.0}})
    run.fail("pay", type="timeout", transient=True, happened="unknown")
    assert run.outcome == "waiting"


def test_a_better_view_does_not_end_a_run_without_reroutes_left() -> None:
    """With no reroute left, a cheaper route elsewhere is left alone; the one in hand goes on."""
    found = graph(node("a", "", "x"), node("c", "x", "y"), node("d", "x", "y", units=2.0), goals="g: y")
    run = ByHand(found, {"limits": {"reroutes": 0}})
    calm = view(found)
    run.see(replace(calm, weights=tuple((n, 9_000_000 if n == "c" else w) for n, w in calm.weights)))
    run.succeed("a", "c")
    assert run.outcome == "met"


def test_effects_are_undone_by_their_latest_completion() -> None:
    """An effect that was repeated counts as of its last attempt."""
    effect: dict[str, Any] = {"effect": "idempotent", "undo": True}
    found = graph(node("a", seconds=1.0, **effect), node("b", seconds=1.5, **effect), node("c", "a b"), goals="g: c")
    result = simulated(found, "a: [wrong, ok], c: {raise: permanent}")
    assert [undone.node for undone in result.undone] == ["a", "b"]


def test_a_gated_read_and_a_gated_effect_are_asked_about_together() -> None:
    """All open questions come at once, also where one of them holds the other back."""
    found = graph(node("a", gate="always"), once("b", gate="always"), goals="g: a b")
    assert [question.id for question in simulated(found).questions] == ["approve:a", "approve:b"]
    assert started(simulated(found)) == []


@pytest.mark.anyio
async def test_an_inapplicable_attempt_costs_nothing() -> None:
    """A tool that has no part in the run is not charged, and its price does not stand in the way of another."""

    @tool(provides="v", usd=0.5, effect="read")
    def shy() -> str:
        raise NotApplicable

    @tool(provides="v", usd=0.9, effect="read")
    def bold() -> str:
        return "bold"

    result = await Orchestrator(tools=[shy, bold], goals={"g": ["v"]}, policy={"limits": {"usd": 1.0}}).run()
    assert (result.outcome, result.usd) == ("met", 0.9)


@pytest.mark.anyio
async def test_a_late_answer_does_not_overwrite_a_value() -> None:
    """A value is written once: the answer of an attempt that was given up is dropped."""
    first_may_answer, attempts = threading.Event(), []

    @tool(provides="v", effect="idempotent", timeout="30ms", retry={"attempts": 2, "backoff": "0ms"})
    def fetch() -> str:
        attempts.append("x")
        if len(attempts) == 1:
            first_may_answer.wait(30)
            return "attempt 1"
        return "attempt 2"

    @tool(provides="done", effect="read")
    def use(v: str) -> str:
        first_may_answer.set()
        return f"used {v}"

    orchestrator = Orchestrator(tools=[fetch, use], goals={"g": ["done", "v"]})
    result = await orchestrator.run()
    assert dict(result.values) == {"done": "used attempt 2", "v": "attempt 2"}


@pytest.mark.anyio
async def test_a_reader_may_leave_a_stream() -> None:
    """Closing a stream early cancels its run and harms nobody else."""

    @tool(provides="v", effect="read")
    async def quick() -> str:
        return "v"

    seen: list[str] = []
    orchestrator = Orchestrator(
        tools=[quick], goals={"g": ["v"]}, sinks=[lambda run_id, record: seen.append(record.event.event)]
    )
    async with contextlib.aclosing(orchestrator.stream()) as records:
        async for record in records:
            assert record.seq == 1
            break
    last = [record async for record in orchestrator.stream()][-1].event
    assert isinstance(last, RunFinished)
    assert last.outcome == "met"
    await orchestrator.aclose()
