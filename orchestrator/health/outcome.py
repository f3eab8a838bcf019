"""What the outcome of an attempt is evidence of, before anything counts it.

Infrastructure is judged by what infrastructure did. A mistake of the caller, a call that was cancelled, and a node that
had no part in the run say nothing about health; a rate limit speaks of capacity, not of health; a deadline of our own
is kept apart from a failure of the other side, because it may have been too short (Envoy: local and external origin).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.events import Evidence, Failure

__all__ = ("Evidence", "Outcome", "evidence_of")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt, or one probe, went. Times are seconds on the board's clock.

    ``seconds`` are those of the node: a wait in a queue of this process is none of them.
    """

    node: str
    evidence: Evidence
    at: float
    seconds: float = 0.0
    error: str | None = None
    """The failure's type."""
    retry_after: float | None = None
    headroom: float | None = None
    """Share of its rate limit that the node says is left, 0..1."""
    run_id: str = ""
    probe: bool = False
    """Whether it was an active probe, outside runs."""


def evidence_of(outcome: str, failure: Failure | None) -> Evidence:
    """Return what an attempt's end is evidence of.

    Of a failure that is what it says itself; else what its type stands for; else an unknown outcome is that, and what
    may pass is the other side's while what may not is the caller's.

    Args:
        outcome: succeeded, failed, cancelled or inapplicable.
        failure: Of a failed one.
    """
    if outcome == "succeeded":
        return "ok"
    if outcome != "failed" or failure is None:
        return "inapplicable" if outcome == "inapplicable" else "cancelled"
    if failure.evidence is not None:
        return failure.evidence
    known: dict[str, Evidence] = {
        "rate_limited": "rate_limited",
        "unauthorised": "unauthorised",
        "timeout": "timeout",
        "invalid_output": "contract",
        "not_recordable": "caller",
        "cancelled": "cancelled",
        "interrupted": "cancelled",
        "overloaded": "cancelled",
        "held_off": "cancelled",
    }
    if failure.type in known:
        return known[failure.type]
    if failure.happened == "unknown":
        return "unknown"
    return "external" if failure.transient else "caller"
