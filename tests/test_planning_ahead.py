"""Planning ahead decides nothing: it only makes a reroute whose situation was foreseen a look-up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
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
from orchestrator.planner import Limits as Left
from orchestrator.planner import Planner, Situation, explain
from orchestrator.planner.backups import Backup, Detour
from orchestrator.planner.improve import legal_tree
from orchestrator.policy import Limits, Objective, Policy
from orchestrator.run import Foreseen, Run, Step
from orchestrator.weight import declared_view
from tests.planning import planner_situation
from tests.running import ByHand, graph, node, of
from tests.strategies import Case, cases, graphs
from tests.test_planner_backups import SHOP

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
@given(cases(max_nodes=9), st.integers(0, 60) | st.just(20_000), st.integers(0, 40), st.floats(0.0, 3.0), st.booleans())
def test_what_is_remembered_is_what_would_be_planned(
    case: Case, budget: int, expansions: int, later: float, paths: bool
) -> None:
    """Planned ahead or asked twice, with calls that still take as long as they take: the route is the same."""
    now = planner_situation(case.graph, case.situation, case.goal, case.limits)
    then = replace(now, in_flight={name: left + later for name, left in reversed(list(now.in_flight.items()))})
    remembering = Planner(case.graph, expansions=budget)
    remembering.plan_ahead(case.view, case.goal.name, now, expansions=expansions, paths=paths)
    for situation in (then, now, then):
        afresh = Planner(case.graph, expansions=budget, remember=0).plan(case.view, case.goal.name, situation)
        assert remembering.foreseen(case.view, case.goal.name, situation) in (None, afresh)
        assert remembering.plan(case.view, case.goal.name, situation) == afresh


def test_nothing_is_remembered_of_another_view() -> None:
    """Where weights have moved, what was solved before is no answer."""
    planner, view = Planner(SHARED), declared_view(SHARED, Objective())
    situation = Situation()
    assert planner.plan(view, "g", situation).nodes[0] == "crm"
    moved = replace(view, id="moved", weights=tuple((n, 9_000_000 if n == "crm" else w) for n, w in view.weights))
    assert planner.plan(moved, "g", situation).nodes[0] == "crm2"


def test_a_path_is_solved_ahead_only_for_those_who_ask() -> None:
    """A reroute gains nothing by it; once somebody wants to know, it is found and then looked up."""
    path = graph(node("crm"), node("crm2", provides="crm"), node("mail", "crm"), goals="g: mail")
    planner, view, without = Planner(path), declared_view(path, Objective()), Situation(excluded={"crm": "failed"})
    assert not planner.plan_ahead(view, "g", without, expansions=10)
    assert planner.foreseen(view, "g", without) is None
    assert planner.plan_ahead(view, "g", without, expansions=10, paths=True)
    assert planner.foreseen(view, "g", without) == planner.plan(view, "g", without)


def test_nothing_is_foreseen_where_a_limit_calls_for_a_search() -> None:
    """What is remembered is the cheapest way without regard to limits; one within them is looked for when it counts."""
    planner, view = Planner(SHARED), declared_view(SHARED, Objective())
    for calls, known in ((3, True), (2, False)):
        situation = Situation(excluded={"crm": "failed"}, left=Left(calls=calls))
        planner.plan_ahead(view, "g", situation, expansions=10)
        assert (planner.foreseen(view, "g", situation) is not None) == known


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
            one.plan_ahead(watched=data.draw(st.booleans()))
        name, flight = data.draw(st.sampled_from(flights))
        one.foresee(name, at)
        at += data.draw(st.floats(0.0, 1.5))
        fact = _end(drawn.by_name[name], flight.attempt, data.draw(st.sampled_from(("succeeded", "failed", "failed"))))
        assert repr(one.feed(fact, at)) == repr(other.feed(fact, at))


@slow_to_draw
@given(graphs(max_nodes=9), st.data())
def test_what_is_foreseen_is_where_the_run_goes(drawn: Any, data: st.DataObject) -> None:
    """A call fails that the route needs: the run goes the way that was told, and not another one if none was left."""
    calls, reroutes = data.draw(st.sampled_from((None, None, 6))), data.draw(st.sampled_from((None, None, 1)))
    limits = Limits.model_validate({"calls": calls, "reroutes": reroutes})
    run, _ = _begun(drawn, Policy(limits=limits), 256)
    at = 0.0
    for _ in range(30):
        flights = list(run.state.flights.items())
        if run.finished or not flights:
            break
        while run.plan_ahead(watched=True):
            pass
        name, flight = data.draw(st.sampled_from(flights))
        at += data.draw(st.floats(0.0, 1.5))
        foreseen = run.foresee(name, at)
        fact = _end(drawn.by_name[name], flight.attempt, data.draw(st.sampled_from(("succeeded", "failed", "failed"))))
        ways = [record.event.after for record in run.feed(fact, at).records if isinstance(record.event, Rerouted)]
        if foreseen is None or fact.outcome == "succeeded":
            continue
        assert (foreseen.node, foreseen.attempt, foreseen.at) == (name, flight.attempt, at)
        assert ways in ([], [foreseen.backup.node.route] if foreseen.backup.node is not None else [])


def _foreseen(run: ByHand, name: str) -> Foreseen | None:
    """Return what is foreseen of a call once there is nothing left to be planned ahead."""
    while run.machine.plan_ahead(watched=True):
        pass
    return run.machine.foresee(name, 7.0)


def test_what_is_foreseen_is_what_an_explanation_tells() -> None:
    """Without the node and without all of its domain, in the words of a plan; the only CRM has nobody in its place."""
    run = ByHand(SHOP)
    assert _foreseen(run, "crm") == Foreseen(7.0, "crm", 1, Backup(None, None))
    run.succeed("crm")
    apart = Backup(Detour(("visa",), ("amex", "mail"), 4.0), Detour(("visa", "amex", "mail"), ("bank", "sms"), 13.0))
    assert _foreseen(run, "visa") == Foreseen(7.0, "visa", 1, apart, ("amex", "mail"))
    told = explain(Planner(SHOP), declared_view(SHOP, Objective()), "g", Situation()).backups
    assert told["visa"] == apart


def test_nothing_is_foreseen_before_it_is_planned_ahead_or_of_a_call_that_is_over() -> None:
    """It is a look-up: what is not known is not searched for, and who is not in flight has nothing to be told."""
    run = ByHand(SHOP)
    assert run.machine.foresee("crm", 0.0) is None
    assert not run.machine.plan_ahead(), "paths gain nothing by it"
    assert run.machine.foresee("crm", 0.0) is None
    assert run.machine.foresee("visa", 0.0) is None
    run.succeed("crm")
    assert _foreseen(run, "crm") is None


def test_a_run_that_may_not_be_rerouted_any_more_has_no_backup() -> None:
    """However many ways there are: it goes none of them."""
    run = ByHand(SHOP, {"limits": {"reroutes": 1}})
    run.succeed("crm")
    run.fail("visa")
    assert _foreseen(run, "amex") == Foreseen(7.0, "amex", 1, Backup(None, None))


def test_others_of_a_domain_in_flight_are_lost_with_it() -> None:
    """If the domain of a call goes, the calls beside it that share it bring nothing either."""
    beside = graph(
        node("a", domains=("west",)),
        node("b", domains=("west",)),
        node("c", provides="a", units=5.0),
        node("d", provides="b", units=7.0),
        goals="g: a b",
    )
    run = ByHand(beside)
    assert run.in_flight == ["a", "b"]
    apart = Backup(Detour(("a",), ("c",), 5.0), Detour(("a", "b"), ("c", "d"), 12.0))
    assert run.machine.plan_ahead(watched=True), "both ways round a call are found in one turn"
    assert run.machine.foresee("a", 7.0) == Foreseen(7.0, "a", 1, apart, ("b",))
    assert _foreseen(run, "a") == Foreseen(7.0, "a", 1, apart, ("b",))


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

    def plan_ahead(self, *, watched: bool) -> bool:
        """Find one of the ways that are left."""
        assert not watched
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
        looking = ahead.Ahead(machine, now=lambda: 0.0)
        looking.soon()
        looking.soon()
        await machine.enough.wait()
        await anyio.lowlevel.checkpoint()
        assert machine.asked == asked
        looking.close()


class Watched:
    """A machine with calls in flight, of which this or that is known."""

    def __init__(self, **flights: int) -> None:
        self.state = SimpleNamespace(flights={})
        self.known: dict[str, Foreseen] = {}
        self.looks = 0
        self.start(**flights)

    def start(self, **flights: int) -> None:
        """Have calls in flight: the node and the attempt."""
        self.state.flights.update({name: SimpleNamespace(attempt=attempt) for name, attempt in flights.items()})

    def knows(self, name: str, *route: str) -> None:
        """Know a way round a call."""
        way = Detour((name,), route, 1.0)
        self.known[name] = Foreseen(0.0, name, self.state.flights[name].attempt, Backup(way, way))

    def plan_ahead(self, *, watched: bool) -> bool:
        """Find nothing new."""
        assert watched
        self.looks += 1
        return False

    def foresee(self, name: str, at: float) -> Foreseen | None:
        """Return what is known of a call."""
        return replace(self.known[name], at=at) if name in self.known else None


async def test_news_is_told_once_and_again_where_it_changes(monkeypatch: Any) -> None:
    """Of each attempt what was planned ahead, as of when; of one that nobody has heard of yet, nothing."""
    monkeypatch.setattr(ahead, "MOMENT", 0.0)
    machine: Any = Watched(a=1, b=1)
    told: list[tuple[str, int, float, Any]] = []
    times = iter(range(100))

    def tell(found: Foreseen) -> None:
        assert found.backup.node is not None
        told.append((found.node, found.attempt, found.at, found.backup.node.route))

    looking = ahead.Ahead(machine, tell, now=lambda: float(next(times)))

    async def looked(*expected: tuple[str, int, tuple[str, ...]]) -> None:
        """Wait until nothing more is to be seen, and compare what was told."""
        seen = -1
        while seen != machine.looks:
            seen = machine.looks
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
        assert [(name, attempt, way) for name, attempt, _, way in told] == list(expected)
        ats = [at for _, _, at, _ in told]
        assert ats == sorted(ats)
        told.clear()

    machine.knows("a", "c")
    looking.soon()
    await looked(("a", 1, ("c",)))
    looking.soon()
    await looked()
    machine.knows("a", "d")
    machine.knows("b", "d")
    looking.soon()
    await looked(("a", 1, ("d",)), ("b", 1, ("d",)))
    looking.soon()
    machine.start(a=2, late=1)  # a step of which nobody has heard yet
    machine.knows("a", "e")
    machine.knows("late", "e")
    await looked()
    looking.soon()
    await looked(("a", 2, ("e",)), ("late", 1, ("e",)))
    looking.close()


async def test_a_wide_fan_out_is_told_of_bit_by_bit(monkeypatch: Any) -> None:
    """Of a few calls in each look, and of all in the end, also where nothing is known of those before them."""
    monkeypatch.setattr(ahead, "MOMENT", 0.0)
    names = [f"n{number:02d}" for number in range(14)]
    machine: Any = Watched(**dict.fromkeys(names, 1))
    known = names[6:]
    for name in known:
        machine.knows(name, "d")
    told: list[list[str]] = [[]]
    all_told = anyio.Event()

    def look(*, watched: bool) -> bool:
        told.append([])
        return False

    def tell(found: Foreseen) -> None:
        told[-1].append(found.node)
        if found.node == known[-1]:
            all_told.set()

    machine.plan_ahead = look
    looking = ahead.Ahead(machine, tell, now=lambda: 0.0)
    looking.soon()
    with anyio.fail_after(30):
        await all_told.wait()
    looking.close()
    assert [name for look in told for name in look] == known
    assert max(map(len, told)) == ahead.TOLD_AT_ONCE


async def test_a_run_plans_ahead_while_a_call_takes_its_time(monkeypatch: Any) -> None:
    """The driver has the way round a slow call found before it fails, and the run goes that way."""
    foreseen = anyio.Event()
    original = Run.plan_ahead

    def observed(self: Run, **options: bool) -> bool:
        found = original(self, **options)
        if found:
            foreseen.set()
        return found

    monkeypatch.setattr(Run, "plan_ahead", observed)

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
