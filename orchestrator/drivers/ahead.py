"""When a run plans ahead: once its calls have taken a moment, one situation at a time, between turns of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from orchestrator.run import Foreseen, Run

__all__ = ("Ahead",)

MOMENT = 0.02
"""Seconds for which calls are under way before ways round them are looked for: the quick ones never pay for it."""
AT_ONCE = 16
"""Situations that are looked at between two steps of a run: a wide fan-out must not keep the loop busy."""
TOLD_AT_ONCE = 4
"""Calls of which is told in one go, where somebody watches; the others have to wait for the next one."""


class Ahead:
    """Has a run plan ahead while it has to wait anyway, and tells of what it found.

    Args:
        machine: The run.
        tell: Called with what was planned ahead for a call, and again where that has changed; must neither block nor
            raise. None: nobody watches, and nothing is worked out that would only be told.
        now: Returns the time on the run's clock.
    """

    def __init__(
        self, machine: Run, tell: Callable[[Foreseen], None] | None = None, *, now: Callable[[], float]
    ) -> None:
        self._machine = machine
        self._tell = tell
        self._now = now
        # Not the run's own timer: what is planned ahead, and when, is no part of what happens in it.
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self._untold: dict[str, int] = {}
        self._told: dict[str, Foreseen] = {}

    def soon(self) -> None:
        """Look ahead in a moment: the run has taken a step, and its records have been told."""
        self._left = AT_ONCE
        if self._tell is not None:
            # Of a call that starts in the next step nothing is told before that step itself is.
            self._untold = {name: flight.attempt for name, flight in self._machine.state.flights.items()}
        if self._timer is None:
            self._timer = self._loop.call_later(MOMENT, self._look)

    def close(self) -> None:
        """Look no further."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        self._left -= 1
        more = self._machine.plan_ahead(watched=self._tell is not None)
        if self._tell is not None:
            more |= self._tell_what_is_known(self._tell)
        if more and self._left:
            self._timer = self._loop.call_later(MOMENT, self._look)

    def _tell_what_is_known(self, tell: Callable[[Foreseen], None]) -> bool:
        """Tell of some calls what was planned ahead for them, if that is news; return whether anything was known."""
        known = 0
        for name, attempt in list(islice(self._untold.items(), AT_ONCE)):
            if known == TOLD_AT_ONCE:
                break
            del self._untold[name]
            found = self._machine.foresee(name, self._now())
            if found is None:
                self._untold[name] = attempt  # the others first, then it again
            elif found.attempt == attempt:
                known += 1
                if not found.same_as(self._told.get(name)):
                    self._told[name] = found
                    tell(found)
        return known > 0
