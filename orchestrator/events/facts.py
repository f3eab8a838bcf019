"""Facts: what a driver tells a run machine.

Times are seconds on the run's own clock. Events never hold a value, only its name, digest and size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from orchestrator.weight import View

__all__ = (
    "CALL_KINDS",
    "Answered",
    "AttemptEnded",
    "CallEnded",
    "CallKind",
    "CancelRequested",
    "Evidence",
    "Failure",
    "LateResult",
    "ModelAnswered",
    "RunResumed",
    "RunStarted",
    "Value",
    "ViewChanged",
    "Woken",
)


@dataclass(frozen=True, slots=True)
class Value:
    """A reference to a value that a driver holds: what it is called, what it hashes to, how many bytes it takes."""

    name: str
    digest: str = ""
    size: int = 0


Evidence = Literal[
    "ok",
    "external",
    "timeout",
    "rate_limited",
    "unauthorised",
    "contract",
    "caller",
    "unknown",
    "cancelled",
    "inapplicable",
]
"""external: the other side failed; timeout: our own deadline; contract: a result that breaks its output contract, or
cannot be read; caller: our own mistake; unknown: the answer was lost; the last two say nothing."""


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
    evidence: Evidence | None = None
    """What it is evidence of, where the other fields do not say it: see `orchestrator.health.evidence_of`."""


CallKind = Literal["guard", "gate", "check", "verify", "undo"]
CALL_KINDS: Mapping[str, CallKind] = {kind: kind for kind in get_args(CallKind)}


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
    """An attempt is over. ``seconds``, ``usd`` and ``tokens`` are what it really took, all calls made for it together.

    ``waited`` is the part of ``seconds`` in which it waited for its turn in this process, before its node was called.
    ``calls`` counts the calls that were made: 2 where a slow read was hedged, 0 where its turn did not come.
    Of an attempt that was cancelled, what it cost is not known and counts as nothing.
    """

    node: str
    part: int
    attempt: int
    outcome: Literal["succeeded", "failed", "inapplicable", "cancelled"]
    values: tuple[Value, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0
    usd: float = 0.0
    tokens: int = 0
    waited: float = 0.0
    calls: int = 1
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


@dataclass(frozen=True, slots=True)
class Answered:
    """A person answered a question.

    ``answer`` is yes, no or edit for an approval (*edit* is a yes with other inputs, in ``values``), yes or no for a
    settlement (with the result in ``values`` where it is known), and the id of an option for a decision.
    """

    question: str
    answer: str
    values: tuple[Value, ...] = ()
    by: str = ""
    """Who answered, as they wish to be called."""
    reason: str | None = None
    event: Literal["answered"] = "answered"


@dataclass(frozen=True, slots=True)
class ModelAnswered:
    """The model that was asked what to decide has answered, or will not.

    ``choice`` is the id of one of the options that it was given; None with the ``error`` where there is no usable
    answer. ``calls`` counts requests that were really made, ``usd`` and ``tokens`` what they took.
    """

    n: int
    choice: str | None
    reason: str = ""
    """The model's own words, cut."""
    values: tuple[Value, ...] = ()
    """The value that it supplies."""
    error: str | None = None
    """As timeout, connection, http_5xx, refused, invalid, not_listed, budget, not_configured."""
    calls: int = 0
    usd: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    event: Literal["model_answered"] = "model_answered"


@dataclass(frozen=True, slots=True)
class RunResumed:
    """Another driver goes on with the run; the time since the last record does not count against its limit."""

    driver: str = ""
    event: Literal["run_resumed"] = "run_resumed"
