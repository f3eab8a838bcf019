"""The result of a run, folded from its log and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.events import (
    IDLE,
    Absorbed,
    Answered,
    AttemptEnded,
    AttemptStarted,
    Escalated,
    Event,
    LastChance,
    ModelAnswered,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RunEnded,
    RunFinished,
    RunStarted,
    Settled,
)

__all__ = ("Attempt", "Question", "RunResult", "Undone", "fold")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of one node, how it ended, and which decision answered it if it failed.

    ``seconds`` is what the run waited for it, the wait for its turn included; ``usd`` is the price of all calls that
    were made for it, two where it was hedged. A call that a person refused was never made: it has the number 0.
    """

    node: str
    attempt: int
    outcome: str
    """succeeded, failed, unknown, cancelled, inapplicable, refused; running where the run stopped first."""
    error: str | None = None
    message: str | None = None
    settled: str | None = None
    """For an unknown outcome: done, not done, or None while nobody knows."""
    answer: str | None = None
    seconds: float = 0.0
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked: approve a call, say whether an effect happened, or decide what to do without a route.

    ``inputs`` is what the call would be given, by parameter; ``options`` is what may be answered; after ``until``, in
    seconds on the run's clock, the policy answers.
    """

    id: str
    kind: str
    node: str
    reason: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    until: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the question as data for JSON; values are left as they are."""
        return _as_dict(self)


@dataclass(frozen=True, slots=True)
class Undone:
    """An undo that was called, and whether it worked."""

    node: str
    outcome: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    ``outcome`` is met (the asked goal), demoted (a lower one), failed, waiting or cancelled. ``route`` names the nodes
    whose results stand, in order of completion. ``model_calls`` counts calls of a model for control only; what they
    took is part of ``usd`` and ``tokens``. ``questions`` are those that a waiting run is waiting for. Times are seconds
    on the run's clock, money is in US dollars.
    """

    run_id: str
    outcome: str
    goal: str | None
    values: Mapping[str, Any]
    route: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    retries: int = 0
    reroutes: int = 0
    escalations: int = 0
    demotions: int = 0
    last_chances: int = 0
    undone: tuple[Undone, ...] = ()
    model_calls: int = 0
    intent_calls: int = 0
    judge_calls: int = 0
    usd: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    reason: str | None = None
    questions: tuple[Question, ...] = ()
    trace_id: str = ""
    records: tuple[Record, ...] = field(default=(), repr=False, compare=False)
    """The whole log of the run."""

    def __str__(self) -> str:
        """Say in one line how the run went: outcome, goal, route, what is asked."""
        told = [self.outcome if self.goal is None else f"{self.outcome} {self.goal}", " > ".join(self.route)]
        told.append(self.reason or "")
        told += [f"? {question.id}: {question.reason}" for question in self.questions]
        return f"run {self.run_id}: {'; '.join(filter(None, told))}"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as data for JSON; values are left as they are."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        plain["values"] = dict(self.values)
        plain["route"] = list(self.route)
        plain["attempts"] = [_as_dict(attempt) for attempt in self.attempts]
        plain["undone"] = [_as_dict(undone) for undone in self.undone]
        plain["questions"] = [_as_dict(question) for question in self.questions]
        return {name: plain[name] for name in _ORDER}


_PLAIN = (
    "run_id",
    "outcome",
    "goal",
    "retries",
    "reroutes",
    "escalations",
    "demotions",
    "last_chances",
    "model_calls",
    "intent_calls",
    "judge_calls",
    "usd",
    "tokens",
    "seconds",
    "reason",
    "trace_id",
)
_ORDER = (*_PLAIN[:3], "values", "route", "attempts", *_PLAIN[3:8], "undone", *_PLAIN[8:15], "questions", "trace_id")


def _as_dict(record: Attempt | Question | Undone) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}


def fold(
    records: Iterable[Record],
    *,
    lookup: Callable[[str, str], Any] = lambda value, provider: None,
    trace_id: str = "",
) -> RunResult:
    """Fold a run's log into its result.

    Args:
        records: The log, from `run_started` on.
        lookup: Gives the value that a provider made, by (value, provider).
        trace_id: The run's trace, if it has one.
    """
    log = tuple(records)
    folding = _Folding(lookup)
    for record in log:
        folding.take(record.event)
    finished = folding.finished
    return RunResult(
        folding.run_id,
        finished.outcome if finished else "running",
        finished.goal if finished else None,
        {value: lookup(value, provider) for value, provider in (finished.values if finished else ())},
        finished.route if finished else (),
        tuple(Attempt(**fields) for fields in folding.attempts.values()),
        retries=folding.count("retry"),
        reroutes=folding.count("reroute"),
        escalations=folding.count("escalation"),
        demotions=folding.demotions,
        last_chances=folding.count("last-chance"),
        undone=tuple(Undone(node, "undone" if ok else "failed") for node, ok in (finished.undone if finished else ())),
        model_calls=folding.model_calls,
        usd=folding.usd,
        tokens=folding.tokens,
        seconds=log[-1].at - log[0].at if log else 0.0,
        reason=finished.reason if finished else None,
        questions=tuple(folding.questions) if finished and finished.outcome == "waiting" else (),
        trace_id=trace_id,
        records=log,
    )


DECISIONS: Mapping[type, str] = {
    Absorbed: "absorb",
    Retried: "retry",
    Rerouted: "reroute",
    LastChance: "last-chance",
    Escalated: "escalation",
    RunEnded: "end",
}
"""The decisions that answer failures; ``reroute-1`` is the first reroute of its run."""


class _Folding:
    """What a log has come to so far."""

    def __init__(self, lookup: Callable[[str, str], Any]) -> None:
        self._lookup = lookup
        self.run_id = ""
        self.attempts: dict[tuple[str, int], dict[str, Any]] = {}
        self.finished: RunFinished | None = None
        self.questions: list[Question] = []
        self.demotions = 0
        self.model_calls = 0
        self.usd = 0.0
        self.tokens = 0
        self._effects: dict[tuple[str, int], str | None] = {}
        self._counts: dict[str, int] = {}

    def count(self, decision: str) -> int:
        """Return how often a decision was taken."""
        return self._counts.get(decision, 0)

    def take(self, event: Event) -> None:
        """Take in one event."""
        if self.finished is not None and self.finished.outcome == "waiting" and not isinstance(event, IDLE):
            # The run goes on; what is still open is asked again when it waits again.
            self.finished, self.questions = None, []
        match event:
            case Absorbed() | Retried() | Rerouted() | LastChance() | Escalated() | RunEnded():
                self._decided(event)
            case AttemptStarted():
                key = (event.node, event.attempt)
                self._effects[key] = event.effect
                self.attempts[key] = {"node": event.node, "attempt": event.attempt, "outcome": "running"}
            case AttemptEnded():
                self._ended(event)
            case Settled():
                self._settled(event)
            case ModelAnswered():
                self.model_calls += event.calls
                self.usd += event.usd
                self.tokens += event.tokens
            case QuestionAsked():
                inputs = {name: provider and self._lookup(value, provider) for name, value, provider in event.inputs}
                self.questions.append(
                    Question(event.question, event.kind, event.node, event.reason, inputs, event.options, event.until)
                )
            case Answered():
                self._answered(event)
            case RunFinished():
                self.finished = event
            case RunStarted():
                self.run_id = event.run_id

    def _answered(self, event: Answered) -> None:
        kind, _, node = event.question.partition(":")
        if kind == "approve" and event.answer == "no":
            self.attempts[node, 0] = {"node": node, "attempt": 0, "outcome": "refused", "message": event.reason}

    def _decided(self, event: Absorbed | Retried | Rerouted | LastChance | Escalated | RunEnded) -> None:
        decision = DECISIONS[type(event)]
        self._counts[decision] = self.count(decision) + 1
        self.demotions += isinstance(event, Escalated) and event.decision == "demote"
        for key in event.answers:
            self.attempts[key]["answer"] = f"{decision}-{event.n}"

    def _settled(self, event: Settled) -> None:
        attempt = self.attempts[event.node, event.attempt]
        attempt["settled"] = "done" if event.done else "not done"
        if not event.done:
            # Until it was known, the attempt had to be taken as paid for.
            self.usd -= attempt["usd"]
            attempt["usd"] = 0.0

    def _ended(self, event: AttemptEnded) -> None:
        key = (event.node, event.attempt)
        if key not in self.attempts or self.attempts[key]["outcome"] != "running":
            return
        self.usd += event.usd
        self.tokens += event.tokens
        self.attempts[key] |= {"outcome": event.outcome, "seconds": event.seconds, "usd": event.usd}
        if event.failure is not None:
            self.attempts[key] |= {"error": event.failure.type, "message": event.failure.message or None}
            if event.failure.happened == "unknown" and self._effects[key] == "once":
                self.attempts[key]["outcome"] = "unknown"
