"""The published competition: of all signals the one with the highest score takes attention.

It says what matters most now, for people and traces, and nothing else follows from it. In the published router the
winner is also the only signal that has an effect, so that a broken tool hides a doubtful payment; here effects are
combined without looking at scores (see `orchestrator.health.effects`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.health.signal import Signal

__all__ = ("FAILURE", "INTENT", "PROGRESS", "RISK", "RISK_FLAG", "Attended", "Attention", "rank", "winner")

FAILURE = 0.99
RISK = 0.95
INTENT = 0.90
RISK_FLAG = 0.85
PROGRESS = 0.50
"""The published scores: a broken tool, a payment above its limit, a recognised intent, a flagged call, progress."""

KEPT = 100
"""Changes of attention that are remembered."""


def winner(signals: Iterable[Signal]) -> Signal | None:
    """Return the signal that takes attention: the highest score, then monitor and node by name; None without any.

    >>> winner([Signal("risk", "pay", 0.95, "above the limit"), Signal("circuit", "mail", 0.99, "open")]).monitor
    'circuit'
    """
    return min(signals, key=rank, default=None)


def rank(signal: Signal) -> tuple[float, str, str, str, str, float, bool]:
    """Return what signals are ordered by: the highest score, then monitor and node by name, then all the rest."""
    return -signal.score, signal.monitor, signal.node, signal.reason, signal.effect, signal.factor, signal.open


@dataclass(frozen=True, slots=True)
class Attended:
    """What took attention, and when; None: nothing any more."""

    at: float
    signal: Signal | None


class Attention:
    """The competition over time: who has attention, and who had it."""

    def __init__(self) -> None:
        self.signal: Signal | None = None
        self._past: deque[Attended] = deque(maxlen=KEPT)

    @property
    def past(self) -> tuple[Attended, ...]:
        """The latest changes of attention, oldest first."""
        return tuple(self._past)

    def compete(self, signals: Iterable[Signal], now: float) -> None:
        """Let *signals* compete; a change is remembered."""
        won = winner(signals)
        before, self.signal = self.signal, won
        if (won and (won.monitor, won.node)) != (before and (before.monitor, before.node)):
            self._past.append(Attended(now, won))
