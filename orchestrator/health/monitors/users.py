"""Monitors of users: called in the background, each with a bound, and none of them able to harm a run.

One that raises, hangs or says what cannot be is reported once until it works again. What it said before holds on:
factors and vetoes until they are stale, gates until it says otherwise, because to ask a person is the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import anyio

from orchestrator.health.signal import Monitor, Signal

__all__ = ("Report", "UserMonitor")

Report = Callable[[str], object]
"""Takes a line about a monitor that is in trouble."""

EFFECTS = ("none", "factor", "veto", "gate")


class UserMonitor:
    """One monitor of a user, and what it last said.

    Args:
        monitor: Has one method, ``async check()``.
        nodes: The names that it may speak of.
        clock: Seconds that only rise.
        bound: Seconds for one check.
        stale: Seconds for which its word holds when it says nothing more.
        report: Is told of trouble, once.
        changed: Is called when what it says has changed.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        nodes: Collection[str],
        clock: Callable[[], float],
        bound: float,
        stale: float,
        report: Report,
        changed: Callable[[], object],
    ) -> None:
        self.name = type(monitor).__name__
        self._monitor = monitor
        self._nodes = frozenset(nodes)
        self._clock = clock
        self._bound = bound
        self._stale = stale
        self._report = report
        self._changed = changed
        self._said: tuple[Signal, ...] = ()
        self._heard_at = -math.inf
        self._reported = False

    async def check(self) -> None:
        """Ask the monitor once. Raises nothing of its own making: trouble is reported."""
        said: tuple[object, ...] | None = None
        try:
            with anyio.move_on_after(self._bound):
                said = tuple(await self._monitor.check())
        except Exception as error:
            # Only the type: a message may hold what nobody should read.
            self._in_trouble(f"monitor {self.name} raised {type(error).__name__}")
            return
        if said is None:
            self._in_trouble(f"monitor {self.name} gave no answer within {self._bound:g}s")
            return
        sound = tuple(signal for signal in said if isinstance(signal, Signal) and self._is_sound(signal))
        if len(sound) < len(said):
            self._in_trouble(
                f"monitor {self.name} returned {len(said) - len(sound)} signals that cannot be: each needs a known "
                "node, a score from 0 to 1, one of the effects, and a factor of at least 1"
            )
        else:
            self._reported = False
        before, self._said, self._heard_at = self.signals(self._clock()), sound, self._clock()
        if before != sound:
            self._changed()

    def _is_sound(self, signal: Signal) -> bool:
        try:
            return (
                signal.node in self._nodes
                and 0 <= signal.score <= 1
                and signal.effect in EFFECTS
                and 1 <= signal.factor < math.inf
                and not (signal.open and signal.effect != "veto")
            )
        except TypeError:
            return False

    def _in_trouble(self, line: str) -> None:
        if not self._reported:
            self._reported = True
            self._report(line)

    def signals(self, now: float) -> tuple[Signal, ...]:
        """Return what holds at *now* of what it last said."""
        if now - self._heard_at <= self._stale:
            return self._said
        return tuple(signal for signal in self._said if signal.effect == "gate")

    def next_change(self, now: float) -> float | None:
        """Return when its word is stale."""
        until = math.nextafter(self._heard_at + self._stale, math.inf)
        return until if now < until and any(signal.effect != "gate" for signal in self._said) else None
