"""Replaying a recorded run under another graph or policy: what would have been decided, without calling anything.

A simulation of today's graph is told what the record says: how every attempt, guard, gate, check, verify and undo
went and how long it took, what the model chose and what people answered. Nodes that the record never called answer as
they declare, and a question that it never asked stays open. What then differs is due to the graph, its costs or the
policy, and not to the world.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.drivers.first import Blueprint
from orchestrator.errors import InputError
from orchestrator.events import (
    IDLE,
    Answered,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    Failure,
    LateResult,
    ModelAnswered,
    QuestionAsked,
    Record,
    RunFinished,
    RunStarted,
    Value,
)
from orchestrator.graph import Graph
from orchestrator.policy import Policy
from orchestrator.result import RunResult, fold
from orchestrator.run import AskModel, Call, Start
from orchestrator.simulate import Coming, Simulation

__all__ = ("Replay", "replay")


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded run beside the run that it would be today."""

    recorded: RunResult
    today: RunResult
    unknown: tuple[str, ...]
    """Nodes of the record that today's graph does not have."""

    @property
    def same(self) -> bool:
        """Whether today's run would go the same way: the same calls in the same order, the same end."""
        return _way(self.recorded) == _way(self.today)


def replay(
    records: Sequence[Record],
    graph: Graph | None = None,
    policy: Policy | None = None,
    *,
    goal: str | None = None,
    down: Iterable[str] = (),
) -> Replay:
    """Replay a run's record under another graph or policy.

    Args:
        records: The record, from `run_started` on.
        graph: Default: the run's own.
        policy: Default: the run's own.
        goal: Default: the run's own, if the graph has it, else the graph's best one.
        down: Nodes to do without.

    Raises:
        InputError: The graph has no such goal, or no such node.
    """
    first = records[0].event
    if not isinstance(first, RunStarted):
        raise ValueError("a run's record begins with run_started")
    graph = graph or Graph.from_dict(first.graph)
    policy = policy or Policy.model_validate(first.policy)
    down = tuple(down)
    _check(graph, goal, down)
    wanted = goal or (first.goal if first.goal in graph.goal_by_name else None)
    excluded = {**dict(first.down), **dict.fromkeys(down, "down")}
    given = {value.name for value in first.inputs}
    today = Simulation(Blueprint(graph, policy)).run(
        goal=wanted,
        inputs=sorted(given | set(graph.run_inputs)),
        down={name: reason for name, reason in excluded.items() if name in graph.by_name},
        seed=first.seed,
        run_id=first.run_id,
        script=_Told(records, graph),
    )
    called = {record.event.node: None for record in records if isinstance(record.event, AttemptEnded)}
    return Replay(fold(records), today, tuple(name for name in called if name not in graph.by_name))


def _way(result: RunResult) -> tuple[object, ...]:
    calls = tuple((attempt.node, attempt.attempt, attempt.outcome) for attempt in result.attempts if attempt.attempt)
    return calls, result.outcome, result.goal


def _check(graph: Graph, goal: str | None, down: Iterable[str]) -> None:
    if goal is not None and goal not in graph.goal_by_name:
        raise InputError(f"there is no goal {goal!r}; the goals are {', '.join(graph.goal_by_name)}")
    for name in down:
        if name not in graph.by_name:
            raise InputError(f"there is no node {name!r}; the nodes are {', '.join(graph.by_name)}")


class _Told:
    """What a record says of whatever happens in a run.

    The first call of a node goes as its first one in the record, the second as the second; one that is called more
    often than it was does its last again. So do guards, gates, checks, verifies and undos.
    """

    def __init__(self, records: Iterable[Record], graph: Graph) -> None:
        self.graph = graph
        self.attempts: dict[str, list[tuple[AttemptEnded, tuple[tuple[float, LateResult], ...]]]] = {}
        self.calls: dict[tuple[str, str], list[tuple[float, CallEnded]]] = {}
        self.model: list[ModelAnswered] = []
        self.people: dict[str, list[tuple[float, Answered]]] = {}
        self.asked: set[str] = set()
        self.waits = False
        self.counts: dict[tuple[str, str], int] = {}
        self._read(records)

    # Reading

    def _read(self, records: Iterable[Record]) -> None:
        began: dict[tuple[str, str, int], float] = {}
        late: dict[tuple[str, int], list[tuple[float, LateResult]]] = {}
        options: dict[str, tuple[str, ...]] = {}
        ended: list[AttemptEnded] = []
        for record in records:
            event, at = record.event, record.at
            match event:
                case AttemptStarted():
                    began["attempt", event.node, event.attempt] = at
                case AttemptEnded() if event.outcome != "cancelled":
                    ended.append(event)
                case LateResult():
                    seconds = at - began["attempt", event.node, event.attempt]
                    late.setdefault((event.node, event.attempt), []).append((seconds, event))
                case CallStarted():
                    began[event.kind, event.subject, event.n] = at
                case CallEnded():
                    seconds = at - began.get((event.kind, event.subject, event.n), at)
                    self.calls.setdefault((event.kind, event.subject), []).append((seconds, event))
                case ModelAnswered():
                    self.model.append(event)
                case QuestionAsked():
                    # Asked again, it is answered as late as it was after the first time.
                    began.setdefault(("question", event.question, 0), at)
                    options[event.question] = event.options
                case Answered():
                    seconds = at - began.pop(("question", event.question, 0), at)
                    said = _explicit(event, options.get(event.question, ()))
                    self.people.setdefault(_kind(event.question), []).append((seconds, said))
            if not isinstance(event, IDLE):
                self.waits = isinstance(event, RunFinished) and event.outcome == "waiting"
        self.asked = {_kind(question) for question in options}
        for event in ended:
            results = tuple(late.get((event.node, event.attempt), ()))
            self.attempts.setdefault(event.node, []).append((event, results))

    # Telling

    def __call__(self, happens: Start | Call | AskModel | QuestionAsked) -> Coming | None:
        match happens:
            case Start():
                return self._attempt(happens)
            case Call():
                return self._call(happens)
            case AskModel():
                return self._model(happens)
            case QuestionAsked():
                return self._person(happens)

    def _count(self, kind: str, subject: str) -> int:
        """Return how often something happened before."""
        count = self.counts.get((kind, subject), 0)
        self.counts[kind, subject] = count + 1
        return count

    def _attempt(self, start: Start) -> Coming | None:
        known = self.attempts.get(start.node)
        if known is None:
            return None
        event, late = known[min(self._count("attempt", start.node), len(known) - 1)]
        coming: list[tuple[float, AttemptEnded | LateResult]] = [
            (seconds, replace(result, attempt=start.attempt, values=self._values(start.node, result.values)))
            for seconds, result in late
        ]
        values = self._values(start.node, event.values)
        event = replace(event, attempt=start.attempt, part=start.part, values=values)
        if event.seconds - event.waited > start.timeout:
            # Today it is waited for less long; what came then comes too late.
            if event.outcome == "succeeded":
                result = LateResult(start.node, start.part, start.attempt, "succeeded", event.values)
                coming.append((event.seconds, result))
            failure = Failure("timeout", f"no answer within {start.timeout:g} s", transient=True, happened="unknown")
            event = replace(event, outcome="failed", values=(), failure=failure, seconds=event.waited + start.timeout)
        return ((event.seconds, event), *coming)

    def _values(self, node: str, recorded: Iterable[Value]) -> tuple[Value, ...]:
        """Return the values that the node provides today, as they were where they were."""
        known = {value.name: value for value in recorded}
        return tuple(known.get(name, Value(name)) for name in self.graph.by_name[node].provides) if known else ()

    def _call(self, call: Call) -> Coming | None:
        known = self.calls.get((call.kind, call.subject))
        if known is None:
            return None
        seconds, event = known[min(self._count(call.kind, call.subject), len(known) - 1)]
        values = self._values(call.subject, event.values) if event.values else ()
        return ((seconds, replace(event, n=call.n, values=values)),)

    def _model(self, ask: AskModel) -> Coming | None:
        count = self._count("model", "")
        if count >= len(self.model):
            return None
        event = self.model[count]
        return ((event.seconds, replace(event, n=ask.n)),)

    def _person(self, question: QuestionAsked) -> Coming | None:
        kind = _kind(question.question)
        known = self.people.get(kind, [])
        count = self.counts.get(("person", kind), 0)
        if count < len(known):
            seconds, event = known[count]
            if event.answer in question.options:
                self._count("person", kind)
                return ((seconds, replace(event, question=question.question)),)
            return None
        # Nobody answered it then, and the run went on: it was overdue.
        return () if kind in self.asked and not known and not self.waits else None


def _kind(question: str) -> str:
    """Return what a question is remembered by: decisions are numbered, and may have other numbers today."""
    return "decide" if question.startswith("decide:") else question


def _explicit(event: Answered, options: Sequence[str]) -> Answered:
    """Return an answer that means the same whatever is listed: a yes to a decision is its first option, no gives up."""
    if not event.question.startswith("decide:") or event.answer not in ("yes", "no"):
        return event
    meant = {"yes": options[2] if len(options) > 2 else "yes", "no": "give_up"}
    return replace(event, answer=meant[event.answer])
