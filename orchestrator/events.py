"""What happened: the one record of a run.

A run's log is a sequence of `Record` (seq, at, event). Two families of events share it: *facts*, which a driver
feeds to the run machine, and *decisions*, which the machine answers with. Replaying the facts gives the same
decisions, in any process; result, traces, log lines and reports are all folded from the log.

Times are seconds on the run's own clock. Events never hold a value, only its name, digest and size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter

from orchestrator.weight import View

__all__ = (
    "CALL_KINDS",
    "FACTS",
    "Absorbed",
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallStarted",
    "CancelRequested",
    "Decision",
    "Escalated",
    "Event",
    "Fact",
    "Failure",
    "LastChance",
    "LateResult",
    "NodeExcluded",
    "QuestionAsked",
    "Record",
    "Rerouted",
    "Retried",
    "RoutePlanned",
    "RunEnded",
    "RunFinished",
    "RunStarted",
    "Settled",
    "Value",
    "ViewChanged",
    "Warned",
    "Woken",
    "record_from_dict",
    "record_to_dict",
)


@dataclass(frozen=True, slots=True)
class Value:
    """A reference to a value that a driver holds: what it is called, what it hashes to, how many bytes it takes."""

    name: str
    digest: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed.

    ``type`` is of low cardinality: `timeout`, `connection`, `http_5xx` and the like, else the exception's class name.
    ``transient``: the same call may succeed later. ``happened``: whether the side effect took place, if that is known.
    """

    type: str
    message: str = ""
    transient: bool = False
    happened: Literal["no", "yes", "unknown"] = "no"
    retry_after: float | None = None


CallKind = Literal["guard", "gate", "check", "verify", "undo"]
CALL_KINDS: Mapping[str, CallKind] = {kind: kind for kind in get_args(CallKind)}
Trigger = Literal["start", "failed", "unknown", "inapplicable", "check", "view", "limit", "undo_failed", "demoted"]
Answers = tuple[tuple[str, int], ...]
"""The failed attempts, as (node, attempt), that a decision answers."""


# --------------------------------------------------------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first record: everything a resumed or replayed run needs, and no secret."""

    run_id: str
    goal: str
    graph: dict[str, Any]
    policy: dict[str, Any]
    seed: int
    inputs: tuple[Value, ...]
    view: View
    source: str = ""
    """The graph file's text before ``${…}`` was filled in."""
    down: tuple[tuple[str, str], ...] = ()
    """Nodes that this run may not use from the start, with the reason."""
    event: Literal["run_started"] = "run_started"


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt is over. ``seconds``, ``usd`` and ``tokens`` are what it really took."""

    node: str
    part: int
    attempt: int
    outcome: Literal["succeeded", "failed", "inapplicable", "cancelled"]
    values: tuple[Value, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0
    usd: float = 0.0
    tokens: int = 0
    event: Literal["attempt_ended"] = "attempt_ended"


@dataclass(frozen=True, slots=True)
class LateResult:
    """A result came after its attempt had been given up; it settles an open `once` attempt and nothing else."""

    node: str
    part: int
    attempt: int
    outcome: Literal["succeeded", "failed"]
    values: tuple[Value, ...] = ()
    failure: Failure | None = None
    event: Literal["late_result"] = "late_result"


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call other than an attempt is over: a guard, a gate, a goal's check, a verify or an undo.

    ``ok`` is None where nothing could be found out; ``reason`` says why a gate stops, a check failed, or what raised.
    """

    kind: CallKind
    n: int
    subject: str
    ok: bool | None
    reason: str | None = None
    values: tuple[Value, ...] = ()
    event: Literal["call_ended"] = "call_ended"


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """Health or learning moved: a new view of all weights and vetoes."""

    view: View
    event: Literal["view_changed"] = "view_changed"


@dataclass(frozen=True, slots=True)
class Woken:
    """The time of a wake came."""

    event: Literal["woken"] = "woken"


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked the run to stop."""

    reason: str = "cancelled"
    event: Literal["cancel_requested"] = "cancel_requested"


# ----------------------------------------------------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class RoutePlanned:
    """A route was chosen at the start or after a demotion; weights in micro-units, the rest as declared."""

    goal: str
    route: tuple[str, ...]
    weight: int
    bound: int
    verdict: str
    trigger: Trigger
    usd: float
    seconds: float
    calls: int
    nodes: int
    event: Literal["route_planned"] = "route_planned"


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt is to be made. ``inputs`` names, per parameter, the value and its provider; None is done without."""

    node: str
    part: int
    attempt: int
    inputs: tuple[tuple[str, str, str | None], ...]
    key: str
    """Idempotency key, the same for every attempt of this node in this run."""
    effect: str | None
    event: Literal["attempt_started"] = "attempt_started"


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A guard, gate, check, verify or undo is to be called."""

    kind: CallKind
    n: int
    subject: str
    event: Literal["call_started"] = "call_started"


@dataclass(frozen=True, slots=True)
class NodeExcluded:
    """A node is not called again in this run, except in the last-chance stage or by a decision to retry."""

    node: str
    reason: str
    transient: bool
    event: Literal["node_excluded"] = "node_excluded"


@dataclass(frozen=True, slots=True)
class Absorbed:
    """A failed attempt whose value is no longer needed, or that another decision already covers."""

    n: int
    answers: Answers
    event: Literal["absorbed"] = "absorbed"


@dataclass(frozen=True, slots=True)
class Retried:
    """The node is tried again at time ``until``."""

    n: int
    answers: Answers
    node: str
    until: float
    event: Literal["retried"] = "retried"


@dataclass(frozen=True, slots=True)
class Rerouted:
    """A new route to the same goal, from the work already done. Weights are micro-units of what was left to do."""

    n: int
    answers: Answers
    trigger: Trigger
    node: str | None
    cause: str | None
    goal: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    weight_before: int
    weight_after: int
    verdict: str
    event: Literal["rerouted"] = "rerouted"


@dataclass(frozen=True, slots=True)
class LastChance:
    """No route was left: nodes excluded for transient reasons get one more attempt each, once per run."""

    n: int
    answers: Answers
    nodes: tuple[str, ...]
    goal: str
    after: tuple[str, ...]
    weight_after: int
    event: Literal["last_chance"] = "last_chance"


@dataclass(frozen=True, slots=True)
class Escalated:
    """No feasible route is left. What was decided instead, and by whom."""

    n: int
    answers: Answers
    by: Literal["policy"]
    decision: Literal["demote", "give_up", "ask"]
    goal: str
    goal_after: str | None
    reason: str
    blocked: tuple[tuple[str, str], ...]
    event: Literal["escalated"] = "escalated"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run stops for a limit or because it was cancelled."""

    n: int
    answers: Answers
    reason: str
    event: Literal["run_ended"] = "run_ended"


@dataclass(frozen=True, slots=True)
class Settled:
    """An unknown outcome of a `once` attempt is known now: it was done, or it was not."""

    node: str
    attempt: int
    done: bool
    by: Literal["verify", "late_result"]
    event: Literal["settled"] = "settled"


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """Only a person can go on: approve a call, or say whether an effect happened."""

    question: str
    kind: Literal["approve", "settle"]
    node: str
    reason: str
    event: Literal["question_asked"] = "question_asked"


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know; nothing failed."""

    node: str | None
    message: str
    event: Literal["warned"] = "warned"


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The end, or a wait for people. ``route`` names the nodes whose results stand, in order of completion.

    ``values`` names the provider of each value of the goal that was reached. ``undone`` holds every undo that was
    called, in order, and whether it worked.
    """

    outcome: Literal["met", "demoted", "failed", "waiting", "cancelled"]
    goal: str | None
    route: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    undone: tuple[tuple[str, bool], ...]
    reason: str | None = None
    event: Literal["run_finished"] = "run_finished"


Fact = RunStarted | AttemptEnded | LateResult | CallEnded | ViewChanged | Woken | CancelRequested
Decision = (
    RoutePlanned
    | AttemptStarted
    | CallStarted
    | NodeExcluded
    | Absorbed
    | Retried
    | Rerouted
    | LastChance
    | Escalated
    | RunEnded
    | Settled
    | QuestionAsked
    | Warned
    | RunFinished
)
Event = Fact | Decision
FACTS = (RunStarted, AttemptEnded, LateResult, CallEnded, ViewChanged, Woken, CancelRequested)


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a run's log. ``seq`` counts from 1; ``at`` is seconds on the run's clock."""

    seq: int
    at: float
    event: Annotated[Event, Field(discriminator="event")]

    @property
    def is_fact(self) -> bool:
        """Whether a driver fed this; everything else the machine decided."""
        return isinstance(self.event, FACTS)


_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def record_to_dict(record: Record) -> dict[str, Any]:
    """Return a record as one flat JSON-ready object: seq, at, event, and the event's own fields."""
    data = _RECORD.dump_python(record, mode="json")
    fields = data["event"]
    return {"seq": data["seq"], "at": data["at"], "event": fields.pop("event"), **fields}


def record_from_dict(data: dict[str, Any]) -> Record:
    """Read a record written by `record_to_dict`. Raises pydantic's ValidationError on anything else."""
    return _RECORD.validate_python({"seq": data["seq"], "at": data["at"], "event": data})
