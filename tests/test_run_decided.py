"""The contracts of a run that models and people decide about, over generated graphs, faults, answers and crashes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    Absorbed,
    Answered,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    Escalated,
    Event,
    LastChance,
    LateResult,
    ModelAnswered,
    ModelAsked,
    NodeExcluded,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RunEnded,
    RunFinished,
    RunResumed,
    RunStarted,
    Settled,
    Woken,
    record_from_dict,
    record_to_dict,
)
from orchestrator.graph import INPUT, Node
from orchestrator.policy import Policy
from orchestrator.run import AskModel, Call, Cancel, Run, Start, Step
from orchestrator.simulate import Simulation
from tests import oracle
from tests.conftest import check_replay
from tests.deciding import Drive, Scene
from tests.strategies import scenes
from tests.test_run_contracts import check_route, moment, remaining

ROOT = Path(__file__).parents[1]
ANSWERS = (Absorbed, Retried, Rerouted, LastChance, Escalated, RunEnded)

slow_to_draw = settings(suppress_health_check=list(HealthCheck))


def of(log: Iterable[Record], *kinds: type) -> list[Any]:
    """Return the events of some kinds, in order."""
    return [record.event for record in log if isinstance(record.event, kinds)]


# --------------------------------------------------------------------------------------- 1: every failure, every end


def check_answers(log: list[Record]) -> None:
    """Check that every failed attempt has exactly one answer."""
    answered = [answer for decision in of(log, *ANSWERS) for answer in decision.answers]
    flying = {(start.node, start.attempt) for start in of(log, AttemptStarted)}
    ended = {(end.node, end.attempt): end for end in of(log, AttemptEnded) if (end.node, end.attempt) in flying}
    failed = {key for key, end in ended.items() if end.outcome == "failed"}
    assert sorted(answered) == sorted(failed)


@slow_to_draw
@given(scenes())
def test_every_run_ends_and_every_failure_has_exactly_one_answer(scene: Scene) -> None:
    """Whatever models and people say or do not say, a run is over or waits, within a bounded number of facts."""
    drive = Drive(scene)
    log = drive.run()
    finished = of(log, RunFinished)[-1]
    assert finished.outcome in ("met", "demoted", "failed", "cancelled", "waiting")
    assert finished.reason != "nothing is left to start"
    check_answers(log)
    check_replay(log)
    if finished.outcome == "waiting":
        assert drive.machine.questions()
    event(f"{finished.outcome}, models asked: {len(of(log, ModelAsked))}, people asked: {len(of(log, QuestionAsked))}")


@slow_to_draw
@given(scenes())
def test_a_run_that_is_over_decides_nothing_more(scene: Scene) -> None:
    """Late answers, views and strays change nothing after the end."""
    drive = Drive(scene)
    drive.run()
    if drive.machine.state.phase == "finished":
        facts: list[Any] = [fact for _, fact in scene.news]
        facts += [Answered(q.question, "yes") for q in of(drive.log, QuestionAsked)]
        facts += [ModelAnswered(q.n, "give_up") for q in of(drive.log, ModelAsked)]
        for fact in [*facts, RunResumed(), Woken()]:
            step = drive.machine.feed(fact, drive.at + 1e6)
            assert (len(step.records), step.commands) == (1, ())


# ----------------------------------------------------------------------------------------------- 2 and 3: along a route


@slow_to_draw
@given(scenes(allow_checks=False))
def test_a_decision_is_waited_for_only_while_there_is_no_route(scene: Scene) -> None:
    """A model or a person is asked, and waited for, exactly while the oracle finds no feasible route to the goal.

    With no reroute left a route that has opened meanwhile is none that the run could take.
    """
    graph, limit = scene.graph, scene.simulation.blueprint.policy.limits.reroutes
    for run, step in Drive(scene).steps():
        state = run.state
        goal = graph.goal_by_name[state.goal]
        if of(step.records, ModelAsked):
            assert state.pending is not None
            assert of(step.records, ModelAsked)[-1] == state.pending.asked
        spent = limit is not None and state.counts.get("reroute", 0) >= limit
        if state.pending is not None and not spent:
            # While the run waits for people, its time does not run.
            now = remaining(run)
            assert not oracle.feasible(graph, goal, state.view, moment(run), now)
            event(f"waits for a decision: {'a model' if state.pending.asked else state.phase}")
        elif state.phase == "running" and state.pending is None:
            check_route(graph, goal, run)


@slow_to_draw
@given(scenes(by="model", allow_checks=False))
def test_what_is_offered_leads_on_and_nothing_else_is_done(scene: Scene) -> None:
    """Each option that a model is given makes a route in the oracle's eyes; what it decides was listed."""
    graph, policy = scene.graph, scene.simulation.blueprint.policy
    offered: dict[int, ModelAsked] = {}
    for run, step in Drive(scene).steps():
        for question in of(step.records, ModelAsked):
            offered[question.n] = question
            for option in question.options:
                now, left = moment(run), remaining(run)
                goal = graph.goal_by_name[option.names[0] if option.decision == "demote" else question.goal]
                if option.decision in ("retry", "supply", "demote"):
                    lifted = frozenset(option.names if option.decision == "retry" else ())
                    if option.decision == "demote" and not run.state.last_chance_taken:
                        lifted = frozenset(n for n, found in run.state.excluded.items() if found.transient)
                    held = {**now.held}
                    if option.decision == "supply":
                        (value,) = option.names
                        assert value in policy.escalation.supply
                        held[value] = (*held.get(value, ()), INPUT)
                    then = replace(now, excluded=now.excluded - lifted, held=held)
                    assert oracle.feasible(graph, goal, run.state.view, then, left), option
        fact = step.records[0].event
        for decision in of(step.records, Escalated):
            if decision.by == "model":
                assert isinstance(fact, ModelAnswered)
                assert fact.choice in [option.id for option in offered[fact.n].options]
                event(f"a model decides: {decision.decision}")


# --------------------------------------------------------------------------------- 3: what models and people may do


@slow_to_draw
@given(scenes(by="model"))
def test_a_model_is_asked_within_its_limits(scene: Scene) -> None:
    """In number, and not any more once its money is spent; no gate and no limit ever asks one."""
    escalation = scene.simulation.blueprint.policy.escalation
    log = Drive(scene).run()
    asked = of(log, ModelAsked)
    assert len(asked) <= escalation.calls
    spent, numbers = 0.0, set()
    for record in log:
        if isinstance(record.event, ModelAsked):
            assert escalation.usd is None or spent < escalation.usd
            assert not record.event.reason.startswith("limit:")
            numbers.add(record.event.n)
        elif isinstance(record.event, ModelAnswered) and record.event.n in numbers:
            spent += record.event.usd
            numbers.discard(record.event.n)


def repeatable(node: Node) -> bool:
    """Whether a node may be repeated without a person's word."""
    return node.effect in ("read", "idempotent")


def check_starts(scene: Scene, log: list[Record]) -> None:
    """Check that no node starts which may not, however often, and with nobody's word but who may say it."""
    nodes = scene.graph.by_name
    finished: set[str] = set()
    excluded: set[str] = set()
    started: dict[str, int] = {}
    permitted: dict[str, int] = {}
    for record in log:
        match record.event:
            case AttemptStarted(node=node):
                assert node in nodes
                assert node not in finished
                assert node not in excluded
                started[node] = started.get(node, 0) + 1
                if not repeatable(nodes[node]):
                    assert started[node] <= 1 + permitted.get(node, 0), f"{node} is repeated without a person's word"
            case AttemptEnded(node=node, outcome="succeeded", attempt=attempt) if attempt < 900:
                finished.add(node)
            case Settled(node=node, done=True):
                finished.add(node)
            case NodeExcluded(node=node):
                excluded.add(node)
            case LastChance(nodes=names):
                assert all(repeatable(nodes[name]) for name in names)
                excluded -= set(names)
            case Escalated(decision="retry", nodes=names, by=by):
                assert by == "person" or all(repeatable(nodes[name]) for name in names)
                assert set(names) <= excluded
                excluded -= set(names)
                for name in names:
                    permitted[name] = permitted.get(name, 0) + (by == "person")


@slow_to_draw
@given(scenes())
def test_nothing_is_called_that_may_not_be_whatever_anybody_says(scene: Scene) -> None:
    """No node outside the graph, none that finished or is excluded, no effect repeated without a person's word."""
    drive = Drive(scene)
    check_starts(scene, drive.run())
    assert all(times == 1 for times in drive.clock.happened.values()), drive.clock.happened


@slow_to_draw
@given(scenes())
def test_values_come_from_nodes_inputs_and_listed_supplies_only(scene: Scene) -> None:
    """What a model supplies was listed by the policy; nothing else that anybody names is ever held or passed."""
    drive = Drive(scene)
    log = drive.run()
    given = {value.name for value in drive.first.inputs}
    supplied = {decision.value: decision.by for decision in of(log, Escalated) if decision.decision == "supply"}
    listed = scene.simulation.blueprint.policy.escalation.supply
    assert all(by == "person" or value in listed for value, by in supplied.items())
    for value, providers in drive.machine.state.held.items():
        assert set(providers) <= {*scene.graph.providers.get(value, ()), INPUT}
        assert INPUT not in providers or value in given or value in supplied
    for start in of(log, AttemptStarted):
        for parameter, value, provider in start.inputs:
            edit = f"{start.node}.{parameter}"
            assert provider != INPUT or value in given or value in supplied or value == edit
            assert provider in (INPUT, None) or value == edit or value in scene.graph.by_name[provider].provides


def needs_a_yes(node: Node, policy: Policy) -> bool:
    """Whether every call of a node needs a person's yes, whatever was spent."""
    limits = policy.approval
    return (
        node.gate == "always"
        or (limits.risk is not None and limits.risk > 0 and node.risk >= limits.risk)
        or (limits.usd is not None and (node.usd or 0.0) > limits.usd)
    )


@slow_to_draw
@given(scenes())
def test_no_call_that_needs_a_yes_is_made_without_one(scene: Scene) -> None:
    """Each had its question with these very inputs, and a yes to it, before it started; a refused one never starts."""
    policy, nodes = scene.simulation.blueprint.policy, scene.graph.by_name
    shown: dict[str, QuestionAsked] = {}
    allowed: dict[str, set[Any]] = {}
    spent, flying = 0.0, dict[tuple[str, int], float]()
    for record in Drive(scene).run():
        match record.event:
            case QuestionAsked(kind="approve") as question:
                shown[question.node] = question
            case Answered(question=question_id, answer=("yes" | "edit") as answer, values=values) as fact:
                name = question_id.partition(":")[2]
                if question_id.startswith("approve:") and name in shown and fact.by.isdigit():
                    edits = {value.name for value in values} if answer == "edit" else set()
                    inputs = tuple(
                        (p, f"{name}.{p}", provider or INPUT) if f"{name}.{p}" in edits else (p, value, provider)
                        for p, value, provider in shown[name].inputs
                    )
                    allowed.setdefault(name, set()).add(inputs)
            case AttemptStarted(node=name, inputs=inputs) as start:
                node = nodes[name]
                stopped = needs_a_yes(node, policy) or (node.gate == "function" and name in scene.stops)
                price, budget = node.usd or 0.0, policy.approval.budget
                over = budget is not None and price > 0 and spent + sum(flying.values()) + price > budget + 1e-9
                if stopped or over:
                    assert inputs in allowed.get(name, ()), name
                    event("a call is made after a yes")
                flying[name, start.attempt] = price
            case AttemptEnded(node=name, attempt=attempt, usd=usd) if (name, attempt) in flying:
                del flying[name, attempt]
                spent += usd


@slow_to_draw
@given(scenes(by="model", useless=True))
def test_a_model_of_no_use_changes_no_decision(scene: Scene) -> None:
    """Absent, or answering anything but what was listed: the run is the one that the policy decides alone."""
    blueprint = scene.simulation.blueprint
    data = blueprint.policy.model_dump(mode="json")
    data["escalation"]["by"] = "policy"
    plain = Simulation(Blueprint(blueprint.graph, Policy.model_validate(data)), scene.simulation.faults)
    with_model = Drive(scene).run()
    without = Drive(replace(scene, simulation=plain)).run()

    def decisions(log: list[Record]) -> list[tuple[float, Event]]:
        apart = (ModelAsked, ModelAnswered, RunStarted)
        return [(record.at, record.event) for record in log if not isinstance(record.event, apart)]

    assert decisions(with_model) == decisions(without)
    event(f"models asked: {len(of(with_model, ModelAsked))}")


# ----------------------------------------------------------------------------------------------- 5: replay, hash seeds


@slow_to_draw
@given(scenes())
def test_outstanding_commands_are_those_not_yet_answered(scene: Scene) -> None:
    """A run restored after any fact asks for exactly what was in flight; a model only while it is waited for."""
    pending: dict[Any, Any] = {}
    for run, step in Drive(scene).steps():
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
        restored = Run.restore(json.loads(json.dumps(run.snapshot())))
        asked = [c for c in restored.outstanding() if isinstance(c, Start | Call | Cancel)]
        assert sorted(map(repr, asked)) == sorted(map(repr, pending.values()))
        models = [c for c in restored.outstanding() if isinstance(c, AskModel)]
        assert [c.n for c in models] == ([run.state.pending.n] if run.state.asking_model and run.state.pending else [])
        assert restored.questions() == run.questions()


@slow_to_draw
@given(scenes())
def test_a_decided_log_survives_json(scene: Scene) -> None:
    """Questions, answers and decisions of models and people read back from JSON lines are the same."""
    log = Drive(scene).run()
    read = [record_from_dict(json.loads(json.dumps(record_to_dict(record)))) for record in log]
    assert read == log


def fingerprint() -> str:
    """Drive a fixed set of drawn scenes and hash every log, command and snapshot."""
    digest = hashlib.sha256()

    @settings(derandomize=True, database=None, max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scenes())
    def collect(scene: Scene) -> None:
        for run, step in Drive(scene).steps():
            digest.update(json.dumps([record_to_dict(record) for record in step.records]).encode())
            digest.update(repr(step.commands).encode())
            digest.update(json.dumps(run.snapshot()).encode())

    collect()
    return digest.hexdigest()


def test_decided_runs_do_not_depend_on_the_hash_seed() -> None:
    """Two processes under different hash seeds write the same logs, commands and snapshots, byte for byte."""
    code = "from tests.test_run_decided import fingerprint; print(fingerprint())"
    prints = set()
    for seed in ("1", "20261122"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )
        prints.add(done.stdout.strip())
    assert len(prints) == 1


# --------------------------------------------------------------------------------------------------- crash and resume


def in_flight(run: Run) -> bool:
    """Whether anything is in flight that a crash loses or repeats."""
    return bool(run.state.flights or run.state.calls or run.state.unanswered)


def decided(log: Iterable[Record]) -> list[tuple[float, Event]]:
    """Return what a log decides, with the times."""
    return [(round(record.at, 9), record.event) for record in log if not record.is_fact]


@dataclass(frozen=True)
class Cut:
    """The end of a step, at which a process may die."""

    length: int
    step: Step
    quiet: bool
    """Whether nothing is in flight that a crash would lose or repeat."""
    happened: dict[str, int]
    truth: dict[str, bool]


def cuts_of(drive: Drive) -> list[Cut]:
    """Drive a run to its end and return where it can be cut."""
    found = []
    for run, step in drive.steps():
        happened, truth = dict(drive.clock.happened), dict(drive.clock.truth)
        found.append(Cut(len(drive.log), step, not in_flight(run), happened, truth))
    return found


@slow_to_draw
@given(scenes(), st.data())
def test_a_run_that_is_cut_at_any_fact_goes_on(scene: Scene, data: st.DataObject) -> None:
    """After a crash at the end of any step the run ends, answers every failure, and repeats no effect."""
    drive = Drive(scene)
    cut = data.draw(st.sampled_from(cuts_of(drive)))
    # The last step was recorded, and its commands perhaps not carried out.
    for command in cut.step.commands:
        if isinstance(command, Start) and scene.graph.by_name[command.node].effect == "once":
            if data.draw(st.booleans()):
                cut.happened.pop(command.node, None)
                cut.truth[command.node] = False
            event("crash right after a once attempt was recorded")
    resumed = Drive.resumed(scene, drive.log[: cut.length], cut.happened, cut.truth)
    if resumed.machine.state.phase == "finished":
        return
    goal_checks = any(goal.check for goal in scene.graph.goals)
    for run, _ in resumed.go_on():
        if run.state.phase == "running" and run.state.pending is None and not goal_checks:
            check_route(scene.graph, scene.graph.goal_by_name[run.state.goal], run)
    check_answers(resumed.log)
    check_starts(scene, resumed.log)
    check_replay(resumed.log)
    assert all(times == 1 for times in resumed.clock.happened.values()), resumed.clock.happened


@slow_to_draw
@given(scenes())
def test_a_run_that_is_cut_while_nothing_is_in_flight_decides_what_it_would_have_decided(scene: Scene) -> None:
    """Waits for a retry, for a verify and for people, and all that is held and excluded, go through the crash."""
    drive = Drive(scene)
    for cut in [cut for cut in cuts_of(drive) if cut.quiet]:
        rest = drive.log[cut.length :]
        resumed = Drive.resumed(scene, drive.log[: cut.length], cut.happened, cut.truth)
        if not rest or of(rest, LateResult):
            continue  # a call that was given up is lost for good
        asked = {question.question: question for question in of(resumed.log, QuestionAsked)}
        same, taken_over = True, cut.length
        for _, step in resumed.go_on():
            if resumed.asked_again:
                # Who is shown other options, because a view has changed, is told more than without the crash.
                same = all(asked[question.question] == question for question in of(step.records, QuestionAsked))
                taken_over += len(step.records)
        if same:
            assert decided(resumed.log[taken_over:]) == decided(rest)
            event(f"went on from {'waiting' if taken_over > cut.length else 'running'}")
