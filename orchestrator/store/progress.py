"""How far a run has come, folded from its records: what stands in its row beside the log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.events import IDLE, Answered, QuestionAsked, Record, RunFinished

__all__ = ("OPEN", "Progress", "fold", "legible")

OPEN = ("running", "waiting")
"""The outcomes of a run that is not over."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The fold of a run's records so far.

    ``asked`` holds the (id, wall time until) of the questions that were asked since the run last went on.
    """

    last_seq: int = 0
    outcome: str = "running"
    reached: str | None = None
    reason: str | None = None
    asked: tuple[tuple[str, float | None], ...] = ()

    @property
    def until(self) -> float | None:
        """When the first open question is overdue, while the run waits."""
        times = [until for _, until in self.asked if until is not None]
        return min(times) if times and self.outcome == "waiting" else None

    def columns(self) -> dict[str, Any]:
        """Return the progress as columns of the run's row."""
        return {
            "last_seq": self.last_seq,
            "outcome": self.outcome,
            "reached": self.reached,
            "reason": self.reason,
            "questions": json.dumps(self.asked) if self.asked else "[]",
            "until": self.until,
        }

    @classmethod
    def of_row(cls, row: Any) -> Progress:
        """Read the progress from a run's row."""
        asked = tuple((question, until) for question, until in json.loads(row.questions))
        return cls(row.last_seq, row.outcome, row.reached, row.reason, asked)


def fold(progress: Progress, records: Iterable[Record], now: float) -> Progress:
    """Return the progress after more records, which are written at the wall time *now*.

    A waiting run goes on with whatever happens next. A run that is over stays so: a late result is still
    recorded, and changes nothing.
    """
    seq, asked = progress.last_seq, progress.asked
    outcome, reached, reason = progress.outcome, progress.reached, progress.reason
    for record in records:
        seq, event = record.seq, record.event
        if isinstance(event, RunFinished):
            outcome, reached = event.outcome, event.goal
            reason = None if event.reason is None else legible(event.reason)
        elif outcome in OPEN:
            if outcome == "waiting" and not isinstance(event, IDLE):
                outcome, reached, reason, asked = "running", None, None, ()
            if isinstance(event, QuestionAsked):
                until = None if event.until is None else now + event.until - record.at
                asked = (*(each for each in asked if each[0] != event.question), (event.question, until))
            elif isinstance(event, Answered):
                asked = tuple(each for each in asked if each[0] != event.question)
    return Progress(seq, outcome, reached, reason, asked)


def legible(text: str) -> str:
    """Return *text* as any database takes it: without what is no character, and without NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
