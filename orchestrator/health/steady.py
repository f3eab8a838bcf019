"""Times that can be compared: they lie on a grid, and their clock never goes back.

A process has a clock of its own, and takes over from another what happened some seconds ago. In plain floats, adding
and subtracting such ages rounds each time differently: what began when a circuit opened may then have begun before it,
in one process and not in the other, and what was over may be so no longer. The grid is binary, because sums and
differences of whole ticks are exact for floats (up to 2**33 seconds, 272 years). Where a time or a duration enters, it
is rounded once, and everything after that is compared as it is.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ("SteadyClock", "on_grid", "time_of")

TICK = 2.0**-20
"""Seconds, about one millionth: what is closer together happened at the same time."""
FAR = 2.0**33
"""Seconds from which on floats are coarser than the grid."""


def on_grid(seconds: float) -> float:
    """Return a time or a duration, rounded to whole ticks; an infinite one stays as it is.

    >>> on_grid(0.1 + 0.2) == on_grid(0.3), on_grid(2.5)
    (True, 2.5)
    """
    return round(seconds / TICK) * TICK if -FAR < seconds < FAR else seconds


def time_of(age: float, now: float) -> float:
    """Return the time that was *age* seconds before *now*."""
    return now - on_grid(age)


class SteadyClock:
    """Seconds on the grid that never go back, whatever the clock that is read does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._reading = clock
        self._last = on_grid(clock())
        self._ahead = 0.0

    @property
    def stepped_back(self) -> bool:
        """Whether the clock ever went back, so that a reading and the steady time differ."""
        return self._ahead != 0.0

    def now(self) -> float:
        """Return the steady time."""
        read = on_grid(self._reading())
        if read < self._last:
            self._ahead += self._last - read
        self._last = read
        return read + self._ahead

    def steady(self, read: float) -> float:
        """Return the steady time of a reading."""
        return on_grid(read) + self._ahead

    def read(self, steady: float) -> float:
        """Return the reading that a steady time will have."""
        return steady - self._ahead
