"""The contracts of a run, over generated graphs and scripted faults, judged by the exhaustive oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    Absorbed,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    Escalated,
    LastChance,
    NodeExcluded,
    Record,
    Rerouted,
    Retried,
    RunEnded,
    RunFinished,
    Settled,
)
from orchestrator.faults import FaultPlan
from orchestrator.graph import Goal, Graph
from orchestrator.policy import Limits, Policy
from orchestrator.result import fold
from orchestrator.run import Call, Cancel, Run, Start
from orchestrator.simulate import Simulation
from tests import oracle
from tests.strategies import fate, fault_scripts, graphs, pick

ANSWERS = (Absorbed, Retried, Rerouted, LastChance, Escalated, RunEnded)

slow_to_draw = settings(suppress_health_check=list(HealthCheck))


@st.composite
def scenarios(draw: st.DrawFn, /, *, limited: bool = False, instant: bool = False, **shape: Any) -> Simulation:
    """Draw a graph, a fault script and a policy, as a simulation; in an instant one everything happens at time 0."""
    graph = draw(graphs(max_nodes=8, **shape))
    times: dict[str, Any] = {"seconds": None, "backoff": 0.0, "max_backoff": 1e9} if instant else {}
    graph = replace(graph, nodes=tuple(replace(node, timeout=2.5, **times) for node in graph.nodes))
    script = draw(fault_scripts(graph))
    limits = Limits()
    if limited:
        limits = Limits.model_validate(
            {
                "usd": pick(draw, (None, 0.0, 0.03, 0.06, 0.1)),
                "seconds": pick(draw, (None, None, "1s", "2500ms", "6s")),
                "calls": pick(draw, (None, 1, 2, 4, 7)),
                "reroutes": pick(draw, (None, None, 0, 1, 2)),
            }
        )
    policy = Policy(limits=limits)
    return Simulation(Blueprint(graph, policy), FaultPlan.from_text(yaml.safe_dump(script, allow_unicode=True)))


def log_of(simulation: Simulation, **more: Any) -> tuple[Record, ...]:
    """Simulate a run and return its log."""
    return simulation.run(**more).records


def moment(run: Run, *, lifted: frozenset[str] = frozenset()) -> oracle.Situation:
    """Return where a run stands, in the oracle's words."""
    state = run.state
    return oracle.Situation(
        held={value: tuple(providers) for value, providers in state.held.items() if providers},
        in_flight=frozenset(name for name, flight in state.flights.items() if not flight.cancelling)
        | frozenset(name for name, found in state.unresolved.items() if found.verifying),
        # A node that was undone has finished and never runs again.
        excluded=frozenset(set(state.excluded) - lifted)
        | frozenset(name for name in state.finished if name in {n for n, ok in state.undone if ok}),
        finished_effects=frozenset(name for name in state.effects if run.graph.by_name[name].effect == "once"),
        unresolved=frozenset(state.unresolved),
        undo_failed=frozenset(state.stuck),
    )


def remaining(run: Run) -> oracle.Left:
    """Return what is left of a run's limits, in the oracle's words."""
    left = run._context.left()
    return oracle.Left(left.usd, left.seconds, left.calls)


# --------------------------------------------------------------------------------------------------- 1: every failure


@slow_to_draw
@given(scenarios(limited=True))
def test_every_failed_attempt_is_answered_by_exactly_one_decision(simulation: Simulation) -> None:
    """Absorbed, retried, rerouted, last chance, escalated or run ended: one of them, once, for every failure."""
    log = log_of(simulation)
    finished = log[-1].event
    assert isinstance(finished, RunFinished)
    answered: dict[tuple[str, int], int] = {}
    for record in log:
        if isinstance(record.event, ANSWERS):
            for key in record.event.answers:
                answered[key] = answered.get(key, 0) + 1
    failed = {
        (record.event.node, record.event.attempt)
        for record in log
        if isinstance(record.event, AttemptEnded) and record.event.outcome == "failed"
    }
    assert answered == dict.fromkeys(failed, 1)
    assert finished.reason != "nothing is left to start"
    result = fold(log)
    for attempt in result.attempts:
        assert (attempt.answer is not None) == (attempt.outcome in ("failed", "unknown"))


@slow_to_draw
@given(scenarios(limited=True))
def test_run_ended_is_for_limits_only(simulation: Simulation) -> None:
    """Without a cancellation, a run ends by `run_ended` only where it has a limit, and names it."""
    log = log_of(simulation)
    for record in log:
        if isinstance(record.event, RunEnded):
            name = record.event.reason.removeprefix("limit:")
            assert getattr(simulation.blueprint.policy.limits, name) is not None
            assert isinstance(log[-1].event, RunFinished)
            assert log[-1].event.reason == record.event.reason


# ------------------------------------------------------------------------------------------------ 2: along a route


@slow_to_draw
@given(scenarios(limited=True))
def test_a_run_goes_along_a_legal_route_while_there_is_one(simulation: Simulation) -> None:
    """At every decision point a running run has a legal route, and leaves a goal only when the oracle finds none."""
    graph, view = simulation.blueprint.graph, simulation.blueprint.view
    goal: Goal | None = None
    for run, step in simulation.steps(simulation.first_record()):
        for record in step.records:
            if isinstance(record.event, Escalated):
                event(f"escalated: {record.event.decision}")
                left_goal = graph.goal_by_name[record.event.goal]
                reached = record.event.goal_after
                goals = graph.goals[graph.goals.index(left_goal) :]
                if record.event.reason == "limit:reroutes":
                    continue
                now, left = moment_before_lift(run), remaining(run)
                for skipped in goals:
                    if skipped.name == reached or record.event.decision == "ask":
                        break
                    if run.state.expired:
                        continue
                    assert not oracle.feasible(graph, skipped, view, now, left), skipped.name
        if run.state.phase == "running":
            assert run.state.route is not None
            goal = graph.goal_by_name[run.state.goal]
            check_route(graph, goal, run)
    assert run.finished


def moment_before_lift(run: Run) -> oracle.Situation:
    """Return the moment of an escalation; what the last chance has lifted since counts as excluded then."""
    now = moment(run)
    never_again = {n for n in run.state.lifted if n not in run.state.excluded and n not in run.state.flights}
    lifted_now = any(isinstance(r.event, LastChance) for r in run._context.records)
    started = {r.event.node for r in run._context.records if isinstance(r.event, AttemptStarted)}
    # Nodes that this very step started after it had escalated were not in flight when it did.
    now = replace(now, in_flight=now.in_flight - started, unresolved=now.unresolved - started)
    return replace(now, excluded=now.excluded | never_again | (started & set(run.state.lifted))) if lifted_now else now


def check_route(graph: Graph, goal: Goal, run: Run) -> None:
    """Check that what is left of the run's route can be run from where it stands."""
    state, route = run.state, run.state.route
    assert route is not None
    standing = {p for providers in state.held.values() for p in providers} | set(state.unresolved)
    # What was in flight when the route was planned is none of its nodes, also while it waits for its retry.
    standing |= set(state.flights) | set(state.backoff)
    for consumer, sources in [*route.sources.items(), (goal.name, route.goal_sources)]:
        needs = goal.needs if consumer == goal.name else graph.by_name[consumer].needs
        if consumer in state.finished:
            continue
        for need, source in zip(needs, sources, strict=True):
            if source is None:
                assert need.optional is not None
            elif source not in standing:
                assert source in route.nodes
                assert source not in state.excluded, source
                assert source not in state.finished, source
            if source is not None and source != "input":
                assert oracle.permitted(graph, source, consumer)


@slow_to_draw
@given(scenarios(allow_once=False))
def test_a_run_reaches_the_best_goal_that_can_be_reached(simulation: Simulation) -> None:
    """Without effects and limits, met, demoted and failed are exactly what the oracle says of the nodes that work."""
    graph = simulation.blueprint.graph
    result = simulation.run()
    script = {name: [describe(fault) for fault in faults] for name, faults in simulation.faults.nodes.items()}
    fates = {node.name: fate(node, {"nodes": script}) for node in graph.nodes}
    dead = [name for name, how in fates.items() if how == "dead"]
    doubtful = [name for name, how in fates.items() if how == "open"]
    last = len(graph.goals)
    best = oracle.recoverable(graph, graph.goals, dead, graph.run_inputs)
    sure = oracle.recoverable(graph, graph.goals, [*dead, *doubtful], graph.run_inputs)
    names = [goal.name for goal in graph.goals]
    reached = last if result.goal is None else names.index(result.goal)
    assert (last if best is None else best) <= reached <= (last if sure is None else sure)
    assert result.outcome == ("failed" if reached == last else "demoted" if reached else "met")
    event(f"{result.outcome}, {'some fates are open' if doubtful else 'all fates are known'}")


def describe(fault: Any) -> Any:
    """Write a fault back as a fault file does."""
    return {
        "permanent": {"raise": "permanent"},
        "slow": {"slow": f"{getattr(fault, 'factor', 1)}x"},
        "rate_limited": {"rate_limited": {"retry_after": f"{getattr(fault, 'retry_after', 0)}s"}},
        "hang": "hang" if fault.seconds is None else {"hang": f"{fault.seconds}s"},
    }.get(fault.kind, fault.kind)


# ------------------------------------------------------------------------------- 4 and 6: never twice, never excluded


@slow_to_draw
@given(scenarios(limited=True))
def test_nothing_that_finished_or_is_excluded_runs_again(simulation: Simulation) -> None:
    """Finished nodes, excluded ones outside the last chance, and started `once` nodes never start again."""
    once = {node.name for node in simulation.blueprint.graph.nodes if node.effect == "once"}
    finished: set[str] = set()
    excluded: set[str] = set()
    started: list[str] = []
    for record in log_of(simulation):
        match record.event:
            case AttemptStarted(node=node):
                assert node not in finished
                assert node not in excluded
                assert node not in once or node not in started
                started.append(node)
            case AttemptEnded(node=node, outcome="succeeded"):
                finished.add(node)
            case Settled(node=node, done=True):
                finished.add(node)
            case NodeExcluded(node=node):
                excluded.add(node)
            case LastChance(nodes=nodes):
                assert set(nodes) <= excluded
                excluded -= set(nodes)
    assert len([r for r in log_of(simulation) if isinstance(r.event, LastChance)]) <= 1


@slow_to_draw
@given(scenarios())
def test_effects_come_one_at_a_time_and_never_beside_a_rival(simulation: Simulation) -> None:
    """`once` nodes run alone among their kind, and no provider of a value starts beside another's standing effect."""
    graph = simulation.blueprint.graph
    for run, step in simulation.steps(simulation.first_record()):
        flying = [n for n in run.state.flights if graph.by_name[n].effect == "once"]
        assert len(flying) + len(run.state.unresolved) <= 1
        for record in step.records:
            if isinstance(record.event, AttemptStarted):
                node = record.event.node
                for effect in [*run.state.effects, *run.state.unresolved]:
                    if graph.by_name[effect].effect == "once" and effect != node:
                        assert not oracle.share_a_value(graph, node, effect)


@slow_to_draw
@given(scenarios(limited=True))
def test_what_does_not_stand_is_undone_in_reverse_order(simulation: Simulation) -> None:
    """After the end no undoable effect stands off the route that was met, and undos at the end go backwards."""
    graph = simulation.blueprint.graph
    closing: list[str] | None = None
    ended: list[str] = []
    for run, step in simulation.steps(simulation.first_record()):
        fact = step.records[0].event
        if closing is not None and isinstance(fact, CallEnded) and fact.kind == "undo" and fact.ok:
            ended.append(fact.subject)
        if run.state.phase in ("closing", "finished") and not run.state.flights and closing is None:
            closing = list(run.state.effects)
    finished = step.records[-1].event
    assert isinstance(finished, RunFinished)
    if finished.outcome == "waiting":
        assert closing is None
        return
    stands = set(run._context.standing()) if finished.outcome in ("met", "demoted") else set()
    assert {name for name in run.state.effects if graph.by_name[name].undo} <= stands
    assert closing is not None
    assert ended == [name for name in reversed(closing) if name in ended]
    event(f"undone at the end: {len(ended)}")


# ------------------------------------------------------------------------------------ 5: replay, snapshots, a crash


@slow_to_draw
@given(scenarios(limited=True))
def test_a_log_replays_to_itself_and_from_a_snapshot_at_every_event(simulation: Simulation) -> None:
    """The facts of a log give the same log and commands again, from the start and from a snapshot after each fact."""
    first = simulation.first_record()
    steps, snapshots = [], []
    for run, step in simulation.steps(first):
        steps.append(step)
        snapshots.append(run.snapshot())
    log = tuple(record for step in steps for record in step.records)
    again, written = Run.replay(log)
    assert written == log
    assert again.snapshot() == snapshots[-1]
    for number, snapshot in enumerate(snapshots):
        restored = Run.restore(snapshot)
        assert restored.snapshot() == snapshot
        for step in steps[number + 1 :]:
            fact = step.records[0]
            assert restored.feed(fact.event, fact.at) == step  # type: ignore[arg-type]
        assert restored.snapshot() == snapshots[-1]


@slow_to_draw
@given(scenarios(allow_once=True))
def test_outstanding_commands_after_a_crash_are_those_not_yet_answered(simulation: Simulation) -> None:
    """A run restored after any step still asks for exactly what was in flight, under the same ids."""
    pending: dict[Any, Any] = {}
    for run, step in simulation.steps(simulation.first_record()):
        fact = step.records[0].event
        if isinstance(fact, AttemptEnded):
            pending.pop((fact.node, fact.attempt), None)
        elif isinstance(fact, CallEnded):
            pending.pop((fact.kind, fact.n), None)
        for command in step.commands:
            if isinstance(command, Start | Cancel):
                pending[command.node, command.attempt] = command
            elif isinstance(command, Call):
                pending[command.kind, command.n] = command
        asked = [c for c in Run.restore(run.snapshot()).outstanding() if isinstance(c, Start | Call | Cancel)]
        assert sorted(map(repr, asked)) == sorted(map(repr, pending.values()))
