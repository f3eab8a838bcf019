"""Monitors: each watches one thing about nodes, and says in signals what holds now.

The monitors of the runtime are fed with outcomes and asked when they are needed; they never wait and never fail. Those
of users are called in the background (`orchestrator.health.monitors.users`). No monitor sees a run, and no run sees a
monitor: what they say reaches runs as views only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal

__all__ = ("Says", "Watch")


class Says(Protocol):
    """Whatever has signals."""

    def signals(self, now: float) -> Iterable[Signal]:
        """Return what holds at *now*, nodes by name."""

    def next_change(self, now: float) -> float | None:
        """Return when time alone will change what holds; None: never."""


class Watch(Says, Protocol):
    """What the monitors of the runtime have in common."""

    def record(self, outcome: Outcome) -> bool:
        """Take note of how an attempt or a probe went; True if more than a factor may follow from it."""
