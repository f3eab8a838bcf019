"""Event-loop lag: while our own loop is late, a timeout says nothing about the other side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal

__all__ = ("Lag",)

MONITOR = "lag"
SCORE = 0.65
KEPT = 64


class Lag:
    """When the loop was late.

    Args:
        most: Seconds of lag from which timeouts of our own are no evidence.
        hold: Seconds for which a lag is told after it was seen.
    """

    def __init__(self, most: float, hold: float) -> None:
        self._most = most
        self._hold = hold
        self._late: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """(from, until) of the latest lags."""

    def measured(self, lag: float, at: float) -> None:
        """The loop came *lag* seconds late to a wait that ended at *at*."""
        if lag >= self._most:
            self._late.append((at - lag, at))

    def excuses(self, outcome: Outcome, deadline: float) -> bool:
        """Return whether *outcome* is a timeout of our own for which the loop may be to blame.

        It is when the loop was late while the attempt ran, and when the attempt ended late after its own *deadline*
        (seconds): then the loop is late now, whether or not anybody has measured it yet.
        """
        if outcome.evidence != "timeout":
            return False
        return outcome.seconds >= deadline + self._most or self.slowed(outcome)

    def slowed(self, outcome: Outcome) -> bool:
        """Return whether the loop was late while this attempt ran."""
        if not self._late:
            return False
        begun = outcome.at - outcome.seconds
        return any(start <= outcome.at and end >= begun for start, end in self._late)

    def record(self, outcome: Outcome) -> bool:
        """Take no note: lag is measured, not concluded from outcomes."""
        return False

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield one signal about no node (its name is empty) while the loop is or just was late."""
        if self._late and now < self._late[-1][1] + self._hold:
            start, end = self._late[-1]
            yield Signal(MONITOR, "", SCORE, f"the event loop was {end - start:.2g}s late: timeouts are no evidence")

    def next_change(self, now: float) -> float | None:
        """Return when the lag is no longer told."""
        until = self._late[-1][1] + self._hold if self._late else now
        return until if until > now else None
