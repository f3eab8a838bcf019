"""What an error means: one row of the tables by which errors are classified, shipped or a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from orchestrator.events import Evidence

if TYPE_CHECKING:
    from orchestrator.spec.models import ErrorSpec

__all__ = (
    "CONFLICT",
    "LATE",
    "LATE_TO_CONNECT",
    "LOST",
    "MISTAKE",
    "NO_CONNECTION",
    "REFUSED",
    "UNAUTHORISED",
    "UNREADABLE",
    "Meaning",
    "meanings",
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of errors means; ``type`` None stands for the error's own class name.

    ``evidence`` None: it follows from the others, see `orchestrator.health.evidence_of`.
    """

    type: str | None
    transient: bool
    happened: Literal["no", "yes", "unknown"]
    evidence: Evidence | None = None


NO_CONNECTION = Meaning("connection", transient=True, happened="no")
LOST = Meaning("connection", transient=True, happened="unknown")
LATE = Meaning("timeout", transient=True, happened="unknown")
LATE_TO_CONNECT = Meaning("timeout", transient=True, happened="no")
UNAUTHORISED = Meaning("unauthorised", transient=False, happened="no")
REFUSED = Meaning(None, transient=False, happened="no", evidence="caller")
"""The other side, or the client before it sent anything, refused what it was asked for."""
MISTAKE = Meaning(None, transient=False, happened="no", evidence="caller")
"""Of the tool, or of whoever called it; when it was made, and so what had happened by then, nobody says."""
UNREADABLE = Meaning(None, transient=True, happened="unknown", evidence="contract")
"""There was an answer, and not the one that was agreed on."""
CONFLICT = Meaning("conflict", transient=True, happened="no", evidence="caller")
"""Rolled back for the sake of another transaction: the other side is well, and the same may succeed now."""

_OF_EVIDENCE: Mapping[str, Meaning] = MappingProxyType(
    {
        "external": Meaning(None, transient=True, happened="unknown", evidence="external"),
        "timeout": Meaning(None, transient=True, happened="unknown", evidence="timeout"),
        "rate_limited": Meaning(None, transient=True, happened="no", evidence="rate_limited"),
        "unauthorised": Meaning(None, transient=False, happened="no", evidence="unauthorised"),
        "contract": UNREADABLE,
        "caller": REFUSED,
    }
)


def meanings(errors: Mapping[str, ErrorSpec]) -> dict[str, Meaning]:
    """Return what the classes under ``errors:`` mean; keys that are not written follow from the evidence."""
    found = {}
    for name, spec in errors.items():
        usual = _OF_EVIDENCE[spec.evidence]
        found[name] = Meaning(
            spec.type,
            usual.transient if spec.transient is None else spec.transient,
            spec.happened or usual.happened,
            spec.evidence,
        )
    return found
