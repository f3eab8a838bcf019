"""Runs for tests written by hand: graphs in a few words, simulated runs, and a machine that is fed fact by fact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    Answered,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CancelRequested,
    Event,
    Fact,
    Failure,
    LateResult,
    ModelAnswered,
    ModelAsked,
    QuestionAsked,
    Record,
    RunFinished,
    RunResumed,
    Value,
    ViewChanged,
    Woken,
)
from orchestrator.faults import FaultPlan
from orchestrator.graph import Edge, Goal, Graph, Need, Node
from orchestrator.policy import Policy
from orchestrator.result import Attempt, RunResult, fold
from orchestrator.run import Call, Cancel, Command, Run, Start, Step, WakeAt
from orchestrator.simulate import simulate
from orchestrator.weight import View, declared_view

__all__ = ("ByHand", "attempts", "began", "ended", "graph", "node", "of", "simulated", "started", "view")

Kind = TypeVar("Kind", bound=Event)


# --------------------------------------------------------------------------------------------------------------- graphs


def node(name: str, needs: str = "", provides: str | None = None, **more: Any) -> Node:
    """Return a node that costs one unit and only reads, unless said otherwise; ``score?5`` is optional at 5 units."""
    wants = []
    for word in needs.split():
        value, _, price = word.partition("?")
        wants.append(Need(value, value, optional=float(price) if price else None))
    values = (name,) if provides is None else tuple(provides.split())
    return Node(name, needs=tuple(wants), provides=values, **{"effect": "read", "units": 1.0, **more})


def graph(*nodes: Node, goals: str | Iterable[Goal], edges: Iterable[Edge] = ()) -> Graph:
    """Return a graph; goals in words, ``"both: a b; one: a"``, best first."""
    if isinstance(goals, str):
        named = (text.split(":") for text in goals.split(";"))
        goals = [Goal(name.strip(), tuple(values.split())) for name, values in named]
    return Graph(tuple(nodes), tuple(goals), tuple(edges))


def view(of_graph: Graph, policy: Policy | None = None, *, id: str = "later", **vetoes: str) -> View:
    """Return the view of the declared figures with some nodes vetoed."""
    return declared_view(of_graph, (policy or Policy()).objective, vetoes=vetoes, id=id)


# ----------------------------------------------------------------------------------------------------------- simulation


def simulated(of_graph: Graph, faults: str = "", policy: dict[str, Any] | None = None, **more: Any) -> RunResult:
    """Simulate a run under faults, written as the inside of a map: ``"a: down, b: [raise, ok]"``."""
    plan = FaultPlan.from_text(f"nodes: {{{faults}}}")
    return simulate(of_graph, Policy.model_validate(policy or {}), faults=plan, **more)


def of(log: RunResult | ByHand | Iterable[Record], kind: type[Kind]) -> list[Kind]:
    """Return the events of one kind, in order."""
    records = log.records if isinstance(log, RunResult) else log.log if isinstance(log, ByHand) else log
    return [record.event for record in records if isinstance(record.event, kind)]


def started(log: RunResult | ByHand) -> list[str]:
    """Return the nodes in the order of their attempts, each as often as it was called."""
    return [event.node for event in of(log, AttemptStarted)]


def began(result: RunResult, name: str, attempt: int = 1) -> float:
    """Return when an attempt started, on the run's clock."""
    return next(
        record.at
        for record in result.records
        if isinstance(record.event, AttemptStarted) and (record.event.node, record.event.attempt) == (name, attempt)
    )


def ended(result: RunResult, name: str, attempt: int = 1) -> float:
    """Return when an attempt ended, on the run's clock."""
    return next(
        record.at
        for record in result.records
        if isinstance(record.event, AttemptEnded) and (record.event.node, record.event.attempt) == (name, attempt)
    )


def attempts(result: RunResult, name: str) -> list[Attempt]:
    """Return the attempts of one node."""
    return [attempt for attempt in result.attempts if attempt.node == name]


# -------------------------------------------------------------------------------------------------------------- by hand


class ByHand:
    """A run machine that is told every fact by the test, at times that the test names."""

    def __init__(
        self, of_graph: Graph, policy: dict[str, Any] | None = None, *, goal: str | None = None, seed: int = 0
    ) -> None:
        self.blueprint = Blueprint(of_graph, Policy.model_validate(policy or {}))
        inputs = [Value(name) for name in of_graph.run_inputs]
        self.first = self.blueprint.first_record("by-hand", goal=goal, inputs=inputs, seed=seed)
        self.machine = self.blueprint.run(self.first)
        self.at = 0.0
        self.log: list[Record] = []
        self.commands: list[Command] = []
        self.feed(self.first)

    # Looking

    @property
    def in_flight(self) -> list[str]:
        """The nodes in flight, in the order in which they started."""
        return list(self.machine.state.flights)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The guards, gates, checks, verifies and undos in flight, as (kind, subject)."""
        return [(key.partition(":")[0], subject) for key, subject in self.machine.state.calls.items()]

    @property
    def cancelled(self) -> list[str]:
        """The nodes whose attempt was to be cancelled, in order."""
        return [command.node for command in self.commands if isinstance(command, Cancel)]

    @property
    def wakes(self) -> list[float]:
        """When the machine asked to be woken, in order."""
        return [command.at for command in self.commands if isinstance(command, WakeAt)]

    @property
    def outcome(self) -> str | None:
        """How the run ended; None while it runs."""
        finished = of(self.log, RunFinished)
        return finished[-1].outcome if finished and self.machine.finished else None

    @property
    def questions(self) -> list[str]:
        """The ids of the questions that people are asked now."""
        return list(self.machine.questions())

    def asked(self, question: str) -> QuestionAsked:
        """Return a question as it was asked last."""
        return next(event for event in reversed(of(self.log, QuestionAsked)) if event.question == question)

    @property
    def offered(self) -> tuple[str, ...]:
        """What the model that was asked last may choose."""
        return tuple(option.id for option in of(self.log, ModelAsked)[-1].options)

    def result(self) -> RunResult:
        """Return the result so far."""
        return fold(self.log)

    # Telling

    def feed(self, fact: Fact, *, after: float = 0.0) -> Step:
        """Tell the machine a fact, *after* seconds."""
        self.at += after
        step = self.machine.feed(fact, self.at)
        self.log += step.records
        self.commands += step.commands
        return step

    def succeed(self, *names: str, usd: float = 0.0, after: float = 0.0) -> None:
        """Let the attempts in flight of these nodes succeed, one after the other."""
        for name in names:
            values = tuple(Value(value) for value in self.machine.graph.by_name[name].provides)
            self.end(name, "succeeded", values=values, usd=usd, after=after)

    def fail(self, *names: str, after: float = 0.0, **failure: Any) -> None:
        """Let the attempts in flight of these nodes fail: for good and with nothing done, unless said otherwise."""
        for name in names:
            self.end(name, "failed", failure=Failure(**{"type": "raised", **failure}), after=after)

    def end(self, name: str, outcome: Any, *, after: float = 0.0, **more: Any) -> Step:
        """Let the attempt in flight of a node end."""
        attempt = self.machine.state.flights[name].attempt
        return self.feed(AttemptEnded(name, 0, attempt, outcome, **more), after=after)

    def late(self, name: str, attempt: int = 1, outcome: Any = "succeeded", **more: Any) -> Step:
        """Let the result of an attempt come that was given up."""
        values = tuple(Value(value) for value in self.machine.graph.by_name[name].provides)
        return self.feed(LateResult(name, 0, attempt, outcome, values if outcome == "succeeded" else (), **more))

    def answer(self, kind: Any, subject: str, ok: bool | None, reason: str | None = None) -> Step:
        """Answer a guard, gate, check, verify or undo in flight."""
        key = next(key for key, name in self.machine.state.calls.items() if key.startswith(kind) and name == subject)
        done = kind == "verify" and ok
        values = tuple(Value(value) for value in self.machine.graph.by_name[subject].provides) if done else ()
        return self.feed(CallEnded(kind, int(key.partition(":")[2]), subject, ok, reason, values))

    def say(self, question: str, answer: str, *values: str, reason: str | None = None, after: float = 0.0) -> Step:
        """Let a person answer a question, with values of these names."""
        given = tuple(Value(value) for value in values)
        return self.feed(Answered(question, answer, given, "ann", reason), after=after)

    def decide(self, choice: str | None, *values: str, n: int | None = None, after: float = 0.0, **more: Any) -> Step:
        """Let the model that was asked last choose, with values of these names; None is no usable answer."""
        asked = of(self.log, ModelAsked)[-1].n if n is None else n
        return self.feed(ModelAnswered(asked, choice, values=tuple(map(Value, values)), **more), after=after)

    def resume(self, *, after: float = 0.0) -> Step:
        """Let another driver go on, *after* seconds in which nobody drove the run."""
        self.crash()
        return self.feed(RunResumed("by hand"), after=after)

    def see(self, later: View) -> Step:
        """Let the view change."""
        return self.feed(ViewChanged(later))

    def wake(self, at: float) -> Step:
        """Let it be *at* seconds."""
        return self.feed(Woken(), after=at - self.at)

    def cancel(self) -> Step:
        """Ask the run to stop."""
        return self.feed(CancelRequested())

    # Crashing

    def crash(self) -> None:
        """Go on from a snapshot, as another machine would."""
        self.machine = Run.restore(self.machine.snapshot())

    def issued(self, kind: type[Start] | type[Call]) -> list[Any]:
        """Return the commands of one kind, in order."""
        return [command for command in self.commands if isinstance(command, kind)]
