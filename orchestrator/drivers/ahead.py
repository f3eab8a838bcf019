"""When a run plans ahead: once its calls have taken a moment, one situation at a time, between turns of the loop."""

from __future__ import annotations

import asyncio

from orchestrator.run import Run

__all__ = ("Ahead",)

MOMENT = 0.02
"""Seconds for which calls are under way before ways round them are looked for: the quick ones never pay for it."""
AT_ONCE = 16
"""Situations that are looked at between two steps of a run: a wide fan-out must not keep the loop busy."""


class Ahead:
    """Has a run plan ahead while it has to wait anyway.

    Args:
        machine: The run.
    """

    def __init__(self, machine: Run) -> None:
        self._machine = machine
        # Not the run's own timer: what is planned ahead, and when, is no part of what happens in it.
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0

    def soon(self) -> None:
        """Look ahead in a moment: the run has taken a step."""
        self._left = AT_ONCE
        if self._timer is None:
            self._timer = self._loop.call_later(MOMENT, self._look)

    def close(self) -> None:
        """Look no further."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        self._left -= 1
        if self._machine.plan_ahead() and self._left:
            self._timer = self._loop.call_later(MOMENT, self._look)
