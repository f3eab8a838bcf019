"""A run as a pure state machine: facts in, records and commands out.

The machine does no input or output, has no clock and draws no random numbers. The same first record and the same
facts give the same records and commands, byte for byte, in any process and under any hash seed. That is what makes a
run replayable, testable with generated failures, and resumable after a crash, whatever drives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from orchestrator.errors import RecordError
from orchestrator.events import (
    FACTS,
    Answered,
    AttemptEnded,
    CallEnded,
    CancelRequested,
    Fact,
    Failure,
    LateResult,
    ModelAnswered,
    QuestionAsked,
    Record,
    RunResumed,
    RunStarted,
    ViewChanged,
    Woken,
)
from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Planner, Route
from orchestrator.policy import Policy
from orchestrator.run.ahead import Foreseen, foresee, plan_ahead
from orchestrator.run.closing import close
from orchestrator.run.commands import Command
from orchestrator.run.context import CHECKS, Context
from orchestrator.run.escalation import end, escalate
from orchestrator.run.outstanding import outstanding
from orchestrator.run.people import (
    go_on_meanwhile,
    model_answered,
    overdue,
    questions,
    take_answer,
    wait_for_people,
)
from orchestrator.run.recovery import absorb, begin, exclude, fail, replan
from orchestrator.run.routing import go_on, watch_time
from orchestrator.run.settling import late_result, unknown, verified, verify_due
from orchestrator.run.starting import call, start_ready, stops, undo
from orchestrator.run.state import Approvable, Exclusion, RunState

__all__ = ("Run", "Step")

_FIRST: TypeAdapter[RunStarted] = TypeAdapter(RunStarted)


@dataclass(frozen=True, slots=True)
class Step:
    """What one fact led to: the records to append to the log, the fact's own first, and the commands to carry out."""

    records: tuple[Record, ...]
    commands: tuple[Command, ...]


class Run:
    """One run of a graph.

    Args:
        first: The first record; everything else follows from it and the facts.
        graph: The graph of the first record, if the caller has it in hand already.
        policy: Its policy, likewise.
        planner: A planner for that graph, to share an index among runs.
    """

    def __init__(
        self,
        first: RunStarted,
        *,
        graph: Graph | None = None,
        policy: Policy | None = None,
        planner: Planner | None = None,
        state: RunState | None = None,
    ) -> None:
        graph = graph or Graph.from_dict(first.graph)
        policy = policy or Policy.model_validate(first.policy)
        planner = planner or Planner(graph, policy.objective, expansions=policy.planning.expansions)
        state = state or RunState(asked=first.goal, goal=first.goal, view=first.view)
        self._context = Context(first, graph, policy, planner, state)

    # ----------------------------------------------------------------------------------------------------- inspection

    @property
    def state(self) -> RunState:
        """The run's state. Read it; only facts change it."""
        return self._context.state

    @property
    def graph(self) -> Graph:
        """The graph that this run goes over."""
        return self._context.graph

    @property
    def policy(self) -> Policy:
        """The policy that this run obeys."""
        return self._context.policy

    def questions(self) -> dict[str, QuestionAsked]:
        """Return what people are asked now, by the id of the question."""
        if self.state.phase != "waiting":
            return {}
        return {asked.question: asked for asked in questions(self._context)}

    @property
    def finished(self) -> bool:
        """Whether the run is over or waits for people."""
        return self.state.phase in ("finished", "waiting")

    def snapshot(self) -> dict[str, Any]:
        """Return the run as JSON-ready data; `restore` goes on from it."""
        return {"first": _FIRST.dump_python(self._context.first, mode="json"), "state": self.state.as_dict()}

    @classmethod
    def restore(cls, snapshot: dict[str, Any]) -> Run:
        """Return the run that `snapshot` was taken of.

        Raises:
            RecordError: The data is no snapshot.
        """
        try:
            return cls(_FIRST.validate_python(snapshot["first"]), state=RunState.from_dict(snapshot["state"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"this is no snapshot of a run: {error}") from error

    @classmethod
    def replay(cls, records: Iterable[Record]) -> tuple[Run, tuple[Record, ...]]:
        """Feed the facts of a log to a new run; return it and the log that it writes.

        Raises:
            RecordError: The log does not begin with `run_started`.
        """
        facts = [(record.at, record.event) for record in records if isinstance(record.event, FACTS)]
        if not facts or not isinstance(facts[0][1], RunStarted):
            raise RecordError("a run's log begins with run_started")
        run = cls(facts[0][1])
        written: list[Record] = []
        for at, fact in facts:
            written.extend(run.feed(fact, at).records)
        return run, tuple(written)

    def outstanding(self) -> tuple[Command, ...]:
        """Return the commands that are not answered yet, for a driver that takes a restored run over.

        A `once` attempt among them must not be made again: its answer is a failure whose effect is unknown.
        """
        return outstanding(self._context)

    def plan_ahead(self, *, watched: bool = False) -> bool:
        """Find a way round one call in flight, for when it fails; return whether there was still one to be found.

        Where the run is *watched*, ways are found that serve only to be told.
        """
        return plan_ahead(self._context, watched=watched)

    def foresee(self, node: str, at: float) -> Foreseen | None:
        """Return what was planned ahead, by time *at*, for a call in flight; None where nothing was."""
        return foresee(self._context, node, at)

    # ---------------------------------------------------------------------------------------------------------- facts

    def feed(self, fact: Fact, at: float) -> Step:
        """Take in one fact at time *at* and return what follows from it."""
        run, state = self._context, self.state
        run.records, run.commands = [], []
        before, state.at = state.at, max(state.at, at)
        pending = state.pending
        run.emit(fact)
        self._take_in(fact, state.at - before)
        waits = pending is not None and state.pending is pending and state.phase == "running"
        if waits and not isinstance(fact, Woken | ViewChanged):
            # Whatever has happened may have opened a way for which nobody needs to decide anything.
            go_on_meanwhile(run)
        self._advance()
        return Step(tuple(run.records), tuple(run.commands))

    def _take_in(self, fact: Fact, passed: float) -> None:
        """Take in a fact, *passed* seconds after the one before."""
        run, state = self._context, self.state
        match fact:
            case RunStarted():
                self._started(fact)
            case AttemptEnded():
                self._attempt_ended(fact)
            case LateResult():
                late_result(run, fact)
            case CallEnded():
                self._call_ended(fact)
            case ViewChanged():
                state.view = fact.view
                if state.phase in ("running", "waiting"):
                    self._view_changed()
            case CancelRequested():
                go_on(run)
                if state.phase == "running":
                    end(run, fact.reason, cancelled=True)
            case Answered():
                take_answer(run, fact)
            case ModelAnswered():
                model_answered(run, fact)
            case RunResumed():
                self._resumed(passed)

    def _resumed(self, passed: float) -> None:
        run, state = self._context, self.state
        if state.phase == "running":
            state.waited += passed
            watch_time(run)
        overdue(run)
        go_on(run)  # what is still open is asked again

    def _started(self, fact: RunStarted) -> None:
        run, state = self._context, self.state
        run.first, state.view = fact, fact.view  # a driver may have a newer one than it was made with
        state.began = state.at
        for value in fact.inputs:
            state.held.setdefault(value.name, {})[INPUT] = value
        for name, reason in fact.down:
            state.excluded[name] = Exclusion(reason, transient=False)
        watch_time(run)
        begin(run)

    def _attempt_ended(self, fact: AttemptEnded) -> None:
        run, state = self._context, self.state
        flight = state.flights.get(fact.node)
        if flight is None or flight.attempt != fact.attempt:
            return
        node = run.node(fact.node)
        del state.flights[fact.node]
        state.usd += fact.usd
        if fact.outcome == "succeeded":
            run.hold(fact.node, fact.attempt, fact.values)
        elif fact.outcome == "inapplicable":
            exclude(run, fact.node, "inapplicable")
            self._replan_if_used(fact.node)
        elif fact.outcome == "failed" or not flight.cancelling:
            # A cancellation that this run did not ask for says nothing about what had happened by then.
            failure = fact.failure or Failure(fact.outcome, transient=True, happened="unknown")
            if failure.happened == "unknown" and node.effect == "once":
                unknown(run, fact)
                return
            if failure.happened == "yes" and (node.effect == "once" or node.undo):
                run.note_effect(fact.node, fact.attempt)
            fail(run, fact, failure)

    def _replan_if_used(self, name: str) -> None:
        state = self.state
        if state.phase == "running" and state.route is not None and name in state.route.uses:
            replan(self._context, "inapplicable", name, "inapplicable")

    # ---------------------------------------------------------------------------------------------------- other calls

    def _call_ended(self, fact: CallEnded) -> None:
        run, state = self._context, self.state
        if state.calls.pop(f"{fact.kind}:{fact.n}", None) != fact.subject:
            return
        name = fact.subject
        match fact.kind:
            case "guard":
                if fact.ok:
                    state.cleared[f"guard:{name}"] = repr(state.inputs[name])
                else:
                    exclude(run, name, "inapplicable" if fact.reason is None else f"inapplicable: {fact.reason}")
                    self._replan_if_used(name)
            case "gate":
                if fact.ok:
                    state.cleared[f"gate:{name}"] = repr(state.inputs[name])
                else:
                    self._stopped(name, fact.reason or "its gate stopped it")
            case "verify":
                verified(run, fact)
            case "undo":
                self._undone(fact)
            case "check":
                self._checked(fact)

    def _stopped(self, name: str, reason: str) -> None:
        """Have a person asked about a call that a gate stopped, if it is still the one that is to be made."""
        run, state = self._context, self.state
        if run.offered(name) == state.inputs[name]:
            reasons = [reason, *stops(run, run.node(name))]
            state.asked_for[name] = Approvable("; ".join(reasons), state.inputs[name])

    def _undone(self, fact: CallEnded) -> None:
        run, state, name = self._context, self.state, fact.subject
        if fact.ok:
            state.undone.append((name, True))
            del state.effects[name]
            # What was made from it does not stand without it.
            for lost in (name, *run.made_from(name)):
                for providers in state.held.values():
                    providers.pop(lost, None)
        elif state.undo_tries[name] < run.policy.effects.undo_attempts:
            undo(run, name)
        else:
            state.undone.append((name, False))
            state.stuck[name] = True
            if state.phase == "running":
                replan(run, "undo_failed", name, fact.reason)

    def _checked(self, fact: CallEnded) -> None:
        run, state = self._context, self.state
        if state.phase != "running" or fact.subject != state.goal:
            return
        inputs = run.goal_inputs() or ()
        if fact.ok:
            state.check_passed = repr(inputs)
            return
        goal = state.goal
        state.failed_checks[goal] = state.failed_checks.get(goal, 0) + 1
        providers = [provider for _, _, provider in inputs if provider is not None]
        state.withdrawn.setdefault(goal, []).extend(providers)
        for provider in providers:
            if provider != INPUT and provider not in state.excluded:
                exclude(run, provider, f"excluded: the check of {goal} failed")
        if state.failed_checks[goal] > CHECKS:
            escalate(run, Route(goal, "impossible", reason="check"))
        else:
            replan(run, "check", None, fact.reason or "the goal's check failed")

    def _view_changed(self) -> None:
        """Take over a new view: plan again only where that moves the rest of the route."""
        run, state = self._context, self.state
        if state.pending is not None:
            go_on_meanwhile(run, "view", state.view.id)
            return
        route = run.plan(state.goal)
        if not route.feasible and state.unresolved:
            route = run.plan(state.goal, settled=True)  # the route that it is on while an outcome is open
        if state.route is not None and route.feasible:
            todo = [n for n in state.route.nodes if n not in state.finished and n not in state.flights]
            if {*todo, *state.backoff} == set(route.nodes):
                return
            # A better route is no reason to end a run that has no reroutes left.
            vetoed = dict(run.view().vetoes)
            if run.rerouted_enough and not any(name in vetoed for name in (*todo, *state.backoff)):
                return
        go_on(run)
        replan(run, "view", None, state.view.id)

    # ------------------------------------------------------------------------------------------------------- progress

    def _advance(self) -> None:
        run, state = self._context, self.state
        if state.phase == "waiting":
            overdue(run)
        verify_due(run)
        while state.phase == "running":
            if run.deadline is not None and state.at > run.deadline and not state.expired:
                state.expired = True
                if not self._complete():
                    replan(run, "limit", None, "limit:seconds")
                    continue
            if state.pending is not None:
                break
            if self._complete():
                self._met()
                break
            if state.route is None or not start_ready(run):
                break
        if state.phase == "running" and state.idle and not self._complete() and not wait_for_people(run):
            escalate(run, Route(state.goal, "impossible", reason="nothing is left to start"))
            self._advance()
        if state.phase == "closing":
            close(run)

    def _complete(self) -> bool:
        # While a decision is waited for there is no route: what the old one names is withdrawn, perhaps.
        return self.state.pending is None and self._context.goal_inputs() is not None

    def _met(self) -> None:
        run, state = self._context, self.state
        goal = run.graph.goal_by_name[state.goal]
        inputs = run.goal_inputs() or ()
        if goal.check and state.check_passed != repr(inputs):
            if not any(key.startswith("check:") for key in state.calls):
                call(run, "check", goal.name, inputs, run.policy.timeout)
            return
        absorb(run)
        state.phase = "closing"
        state.outcome = "met" if state.goal == state.asked else "demoted"
