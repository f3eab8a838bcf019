"""The state of a run: plain data, equal to the fold of its events.

Nothing here reads a clock, a graph or the outside. Sets are kept as dicts, so that every iteration has an order that
the events alone decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from orchestrator.events import Answers, ModelAsked, Option, Value
from orchestrator.planner import Route
from orchestrator.run.commands import Inputs
from orchestrator.weight import View

__all__ = ("Approvable", "Exclusion", "Flight", "Pending", "RunState", "Unresolved")


REMEMBERED = 20
"""How many failed attempts are told to whoever decides; more would not be read."""
MESSAGE = 300
"""Characters of each one's message."""


@dataclass(slots=True)
class Flight:
    """An attempt in flight."""

    attempt: int
    started: float
    usd: float
    cancelling: bool = False


@dataclass(slots=True)
class Exclusion:
    """Why this run may not start a node."""

    reason: str
    transient: bool


@dataclass(slots=True)
class Unresolved:
    """A `once` attempt whose outcome is unknown. While it is being verified nothing is decided about it."""

    attempt: int
    verifying: bool
    usd: float
    """What it is taken to have cost, until it is known that it was not done."""
    tries: int = 0
    verify_at: float | None = None
    """When it is verified again."""
    asked: bool = False
    """Whether a person has been asked, and until when that is in time."""
    until: float | None = None


@dataclass(slots=True)
class Approvable:
    """A call that may not start before a person said yes: why, and what it would be given."""

    reason: str
    inputs: Inputs
    asked: bool = False
    """Whether a person has been asked, and until when that is in time."""
    until: float | None = None


@dataclass(slots=True)
class Pending:
    """An escalation that a model or a person is to decide; nothing new starts before that.

    ``asked`` is the question to the model; None where a person decides. What a person may choose is found out when
    they are asked.
    """

    n: int
    reason: str
    options: tuple[Option, ...] = ()
    asked: ModelAsked | None = None
    until: float | None = None


@dataclass(slots=True)
class RunState:
    """Everything that a run remembers."""

    asked: str
    goal: str
    view: View
    seq: int = 0
    at: float = 0.0
    began: float = 0.0
    phase: Literal["running", "closing", "waiting", "finished"] = "running"

    held: dict[str, dict[str, Value]] = field(default_factory=dict)
    """Per value, what each provider made of it, in order of arrival."""
    finished: dict[str, int] = field(default_factory=dict)
    """Nodes that never run again, by the attempt that ended them, in order of completion."""
    inputs: dict[str, Inputs] = field(default_factory=dict)
    """What each node's latest attempt was given, `after:` needs included."""
    effects: dict[str, int] = field(default_factory=dict)
    """Nodes whose effect stands, in order of completion."""
    undone: list[tuple[str, bool]] = field(default_factory=list)

    flights: dict[str, Flight] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    backoff: dict[str, float] = field(default_factory=dict)
    """Nodes that wait for another attempt, and until when."""
    failed: list[tuple[str, int, str, str]] = field(default_factory=list)
    """The latest failed attempts: node, attempt, type, message."""
    excluded: dict[str, Exclusion] = field(default_factory=dict)
    lifted: dict[str, bool] = field(default_factory=dict)
    """Nodes of the last-chance stage: one more attempt each."""
    last_chance_taken: bool = False
    passing: dict[str, bool] = field(default_factory=dict)
    """Nodes whose open circuit this run passes, as its last chance."""
    unresolved: dict[str, Unresolved] = field(default_factory=dict)
    open_failures: dict[str, int] = field(default_factory=dict)
    """Failed attempts that no decision has answered yet."""

    cleared: dict[str, str] = field(default_factory=dict)
    """What a guard, a gate or a person (``yes:node``) has passed, with the inputs that they saw."""
    asked_for: dict[str, Approvable] = field(default_factory=dict)
    edits: dict[str, dict[str, tuple[str, str | None]]] = field(default_factory=dict)
    """Per node and parameter, the value that a person gave instead, and whose value it was made from."""
    pending: Pending | None = None
    left_open: dict[str, bool] = field(default_factory=dict)
    """Unknown outcomes that nobody settled in time; they are not asked about again."""
    waited: float = 0.0
    """Seconds in which nobody drove the run, or it waited for people: they do not count against its limit."""
    waiting_since: float = 0.0
    model_usd: float = 0.0
    unanswered: list[int] = field(default_factory=list)
    """Questions to the model that have no answer yet, also those whose answer is not waited for any more."""
    calls: dict[str, str] = field(default_factory=dict)
    """Calls in flight, as ``kind:n`` to their subject."""
    undo_tries: dict[str, int] = field(default_factory=dict)
    stuck: dict[str, bool] = field(default_factory=dict)
    """Effects whose undo failed for good."""
    withdrawn: dict[str, list[str]] = field(default_factory=dict)
    """Per goal, the providers that a failed check took from it."""
    failed_checks: dict[str, int] = field(default_factory=dict)
    check_passed: str | None = None

    route: Route | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """How many decisions of each kind were taken; also numbers the calls."""
    warned: dict[str, bool] = field(default_factory=dict)
    usd: float = 0.0
    calls_made: int = 0
    expired: bool = False
    outcome: Literal["met", "demoted", "failed", "cancelled"] | None = None
    reason: str | None = None

    def count(self, kind: str) -> int:
        """Return the next number of a kind of decision or call."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return self.counts[kind]

    def take_open(self) -> Answers:
        """Return the unanswered failures and take them as answered."""
        answers = tuple(self.open_failures.items())
        self.open_failures = {}
        return answers

    def note_failure(self, node: str, attempt: int, type: str, message: str) -> None:
        """Keep what failed, for whoever decides what to do instead."""
        self.failed = [*self.failed[1 - REMEMBERED :], (node, attempt, type, message[:MESSAGE])]

    def holds(self, value: str, provider: str) -> bool:
        """Whether *provider*'s result for *value* is held."""
        return provider in self.held.get(value, {})

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is waited for, people excepted."""
        return not (self.flights or self.calls or self.retrying or self.verifying_later or self.asking_model)

    @property
    def retrying(self) -> bool:
        """Whether a node waits for another attempt, and for nobody's word before it."""
        return self.pending is None and any(name not in self.asked_for for name in self.backoff)

    @property
    def asking_model(self) -> bool:
        """Whether a model is being asked what to decide."""
        return self.pending is not None and self.pending.asked is not None

    @property
    def verifying_later(self) -> bool:
        """Whether an unknown outcome waits to be verified again."""
        return any(found.verify_at is not None for found in self.unresolved.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""
        data: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunState:
        """Read a state written by `as_dict`."""
        return _ADAPTER.validate_python(data)


_ADAPTER: TypeAdapter[RunState] = TypeAdapter(RunState)
