"""Planning ahead decides nothing: it only makes a reroute whose situation was foreseen a look-up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import Orchestrator, tool
from orchestrator.drivers import ahead
from orchestrator.drivers.first import Blueprint
from orchestrator.events import AttemptEnded, Failure, Record, Rerouted, Value
from orchestrator.graph import INPUT
from orchestrator.planner import Planner, Situation
from orchestrator.planner.improve import legal_tree
from orchestrator.policy import Limits, Objective, Policy
from orchestrator.run import Run, Step
from orchestrator.weight import declared_view
from tests.planning import planner_situation
from tests.running import ByHand, graph, node, of
from tests.strategies import Case, cases, graphs

slow_to_draw = settings(suppress_health_check=list(HealthCheck))

# Two needs share a result, so that the route is no mere path.
SHARED = graph(
    node("crm", provides="order"),
    node("crm2", provides="order", units=3.0),
    node("score", "order", "rating"),
    node("letter", "order", "text"),
    goals="g: rating text",
)


# ---------------------------------------------------------------------------------------------------------- the planner


@slow_to_draw
@given(cases(max_nodes=9), st.integers(0, 60) | st.just(20_000), st.integers(0, 40), st.floats(0.0, 3.0))
def test_what_is_remembered_is_what_would_be_planned(case: Case, budget: int, expansions: int, later: float) -> None:
    """Planned ahead or asked twice, with calls that still take as long as they take: the route is the same."""
    now = planner_situation(case.graph, case.situation, case.goal, case.limits)
    then = replace(now, in_flight={name: left + later for name, left in reversed(list(now.in_flight.items()))})
    remembering = Planner(case.graph, expansions=budget)
    remembering.plan_ahead(case.view, case.goal.name, now, expansions=expansions)
    for situation in (then, now, then):
        afresh = Planner(case.graph, expansions=budget, remember=0).plan(case.view, case.goal.name, situation)
        assert remembering.plan(case.view, case.goal.name, situation) == afresh


def test_nothing_is_remembered_of_another_view() -> None:
    """Where weights have moved, what was solved before is no answer."""
    planner, view = Planner(SHARED), declared_view(SHARED, Objective())
    situation = Situation()
    assert planner.plan(view, "g", situation).nodes[0] == "crm"
    moved = replace(view, id="moved", weights=tuple((n, 9_000_000 if n == "crm" else w) for n, w in view.weights))
    assert planner.plan(moved, "g", situation).nodes[0] == "crm2"


@pytest.mark.parametrize("remember", [0, 1, 2])
def test_no_more_is_remembered_than_is_allowed(remember: int) -> None:
    """However many situations are planned, the planner does not grow."""
    planner, view = Planner(SHARED, remember=remember), declared_view(SHARED, Objective())
    for name in ("crm", "crm2", "score", "letter"):
        planner.plan(view, "g", Situation(excluded={name: "down"}))
        assert len(planner.index(view).solved) <= remember


# ------------------------------------------------------------------------------------------------------------- the runs


@slow_to_draw
@given(graphs(max_nodes=9), st.data())
def test_a_run_that_plans_ahead_writes_the_same_log(drawn: Any, data: st.DataObject) -> None:
    """However its calls end, and with any limits: byte for byte the records and commands of one that does not."""
    seconds, calls = data.draw(st.sampled_from((None, None, "4s"))), data.draw(st.sampled_from((None, 6)))
    policy = Policy(limits=Limits.model_validate({"seconds": seconds, "calls": calls}))
    machines = [_begun(drawn, policy, remember) for remember in (256, 0)]
    (one, said), (other, also) = machines
    assert repr(said) == repr(also)
    at = 0.0
    for _ in range(30):
        flights = list(one.state.flights.items())
        if one.finished or not flights:
            break
        for _ in range(data.draw(st.integers(0, 4))):
            one.plan_ahead()
        name, flight = data.draw(st.sampled_from(flights))
        at += data.draw(st.floats(0.0, 1.5))
        fact = _end(drawn.by_name[name], flight.attempt, data.draw(st.sampled_from(("succeeded", "failed", "failed"))))
        assert repr(one.feed(fact, at)) == repr(other.feed(fact, at))


def _begun(drawn: Any, policy: Policy, remember: int) -> tuple[Run, Step]:
    blueprint = Blueprint(drawn, policy)
    blueprint.planner.remember = remember
    first = blueprint.first_record("run", inputs=tuple(Value(name) for name in drawn.run_inputs))
    machine = blueprint.run(first)
    return machine, machine.feed(first, 0.0)


def _end(of_node: Any, attempt: int, outcome: Any) -> AttemptEnded:
    if outcome == "succeeded":
        values = tuple(Value(value) for value in of_node.provides)
        return AttemptEnded(of_node.name, 0, attempt, outcome, values)
    return AttemptEnded(of_node.name, 0, attempt, outcome, failure=Failure("raised"))


def test_a_reroute_that_was_foreseen_solves_nothing(monkeypatch: Any) -> None:
    """Once the way round a call in flight is found, its failure needs no search."""
    run = ByHand(SHARED)
    solved: list[Any] = []

    def counted(*arguments: Any) -> Any:
        solved.append(arguments)
        return legal_tree(*arguments)

    monkeypatch.setattr("orchestrator.planner.plan.legal_tree", counted)
    assert run.machine.plan_ahead()
    assert len(solved) == 1
    assert not run.machine.plan_ahead(), "there is nothing more to find"
    run.fail("crm")
    assert of(run, Rerouted)[-1].after == ("crm2", "letter", "score")
    assert len(solved) == 1


def test_what_takes_long_is_not_planned_ahead_and_not_tried_again() -> None:
    """A situation that needs a longer search is left for when it is needed, and solved with the whole budget then."""
    from tests.bench.shapes import GOAL, QUESTION, joined

    hard = joined(60, 4)
    planner, view = Planner(hard), declared_view(hard, Objective())
    situation = Situation(held={QUESTION: (INPUT,)})
    assert planner.plan_ahead(view, GOAL, situation, expansions=1)
    assert not planner.plan_ahead(view, GOAL, situation, expansions=1)
    assert planner.plan(view, GOAL, situation) == Planner(hard, remember=0).plan(view, GOAL, situation)


# ----------------------------------------------------------------------------------------------------------- the driver


class Calls:
    """Counts how often a machine plans ahead."""

    def __init__(self, ways: int) -> None:
        self.ways = ways
        self.asked = 0
        self.enough = anyio.Event()

    def plan_ahead(self) -> bool:
        """Find one of the ways that are left."""
        self.asked += 1
        self.ways -= 1
        if self.ways < 0 or self.asked == ahead.AT_ONCE:
            self.enough.set()
        return self.ways >= 0


async def test_looking_ahead_ends(monkeypatch: Any) -> None:
    """One situation after the other, until there is none left, or the run has taken its share of the loop."""
    monkeypatch.setattr(ahead, "MOMENT", 0.0)
    for ways, asked in ((3, 4), (1_000, ahead.AT_ONCE)):
        machine: Any = Calls(ways)
        looking = ahead.Ahead(machine)
        looking.soon()
        looking.soon()
        await machine.enough.wait()
        await anyio.lowlevel.checkpoint()
        assert machine.asked == asked
        looking.close()


async def test_a_run_plans_ahead_while_a_call_takes_its_time(monkeypatch: Any) -> None:
    """The driver has the way round a slow call found before it fails, and the run goes that way."""
    foreseen = anyio.Event()
    original = Run.plan_ahead

    def watched(self: Run) -> bool:
        found = original(self)
        if found:
            foreseen.set()
        return found

    monkeypatch.setattr(Run, "plan_ahead", watched)

    @tool(provides="order", effect="read", latency="10ms")
    async def crm() -> str:
        await foreseen.wait()
        raise ConnectionError("gone")

    @tool(provides="order", effect="read", latency="90ms")
    async def archive() -> str:
        return "order"

    @tool(provides="rating", effect="read")
    async def score(order: str) -> int:
        return len(order)

    records: list[Record] = []
    async with Orchestrator(
        tools=[crm, archive, score], goals={"g": ["rating", "order"]}, policy={"retry": {"attempts": 1}}
    ) as orchestrator:
        async for record in orchestrator.stream():
            records.append(record)
    (rerouted,) = [record.event for record in records if isinstance(record.event, Rerouted)]
    assert rerouted.after == ("archive", "score")
