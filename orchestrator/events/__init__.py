"""What happened: the one record of a run.

A run's log is a sequence of `Record` (seq, at, event). Two families of events share it: *facts*, which a driver
feeds to the run machine, and *decisions*, which the machine answers with. Replaying the facts gives the same
decisions, in any process; result, traces, log lines and reports are all folded from the log.

Times are seconds on the run's own clock. Events never hold a value, only its name, digest and size.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json

from orchestrator.events.decisions import (
    Absorbed,
    Answers,
    AttemptStarted,
    CallStarted,
    Escalated,
    LastChance,
    ModelAsked,
    NodeExcluded,
    Option,
    QuestionAsked,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunFinished,
    Settled,
    Trigger,
    Warned,
)
from orchestrator.events.facts import (
    CALL_KINDS,
    Answered,
    AttemptEnded,
    CallEnded,
    CallKind,
    CancelRequested,
    Evidence,
    Failure,
    LateResult,
    ModelAnswered,
    RunResumed,
    RunStarted,
    Value,
    ViewChanged,
    Woken,
)

__all__ = (
    "CALL_KINDS",
    "FACTS",
    "IDLE",
    "Absorbed",
    "Answered",
    "Answers",
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallKind",
    "CallStarted",
    "CancelRequested",
    "Decision",
    "Escalated",
    "Event",
    "Evidence",
    "Fact",
    "Failure",
    "LastChance",
    "LateResult",
    "ModelAnswered",
    "ModelAsked",
    "NodeExcluded",
    "Option",
    "QuestionAsked",
    "Record",
    "Rerouted",
    "Retried",
    "RoutePlanned",
    "RunEnded",
    "RunFinished",
    "RunResumed",
    "RunStarted",
    "Settled",
    "Trigger",
    "Value",
    "ViewChanged",
    "Warned",
    "Woken",
    "record_from_dict",
    "record_to_dict",
    "record_to_json",
)

Fact = (
    RunStarted
    | AttemptEnded
    | LateResult
    | CallEnded
    | ViewChanged
    | Woken
    | CancelRequested
    | Answered
    | ModelAnswered
    | RunResumed
)

IDLE = (ViewChanged, Woken)
"""Facts after which a run that waits for people may still wait: what else follows from them says that it goes on."""

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
    | ModelAsked
    | RunEnded
    | Settled
    | QuestionAsked
    | Warned
    | RunFinished
)
Event = Fact | Decision
FACTS = (
    RunStarted,
    AttemptEnded,
    LateResult,
    CallEnded,
    ViewChanged,
    Woken,
    CancelRequested,
    Answered,
    ModelAnswered,
    RunResumed,
)


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
_JSON = json.JSONEncoder(separators=(",", ":"))


def record_to_dict(record: Record) -> dict[str, Any]:
    """Return a record as one flat JSON-ready object: seq, at, event, and the event's own fields."""
    data = _RECORD.dump_python(record, mode="json")
    fields = data["event"]
    return {"seq": data["seq"], "at": data["at"], "event": fields.pop("event"), **fields}


def record_to_json(record: Record) -> str:
    """Return a record as JSON text in ASCII: what `record_to_dict` gives, its fields perhaps in another order."""
    if not isfinite(record.at):
        return _JSON.encode(record_to_dict(record))
    try:
        event = to_json(record.event, inf_nan_mode="constants", ensure_ascii=True)
    except PydanticSerializationError:  # a text holds what is no character; it is kept as it came
        return _JSON.encode(record_to_dict(record))
    return f'{{"seq":{record.seq},"at":{record.at!r},{event[1:].decode("ascii")}'


def record_from_dict(data: dict[str, Any]) -> Record:
    """Read a record written by `record_to_dict`. Raises pydantic's ValidationError on anything else."""
    return _RECORD.validate_python({"seq": data["seq"], "at": data["at"], "event": data})
