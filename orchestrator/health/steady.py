"""A clock that never goes back."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ("SteadyClock",)


class SteadyClock:
    """Seconds that never go back, whatever the clock that is read does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._reading = clock
        self._last = clock()
        self._ahead = 0.0

    @property
    def stepped_back(self) -> bool:
        """Whether the clock ever went back, so that a reading and the steady time differ."""
        return self._ahead != 0.0

    def now(self) -> float:
        """Return the steady time."""
        read = self._reading()
        if read < self._last:
            self._ahead += self._last - read
        self._last = read
        return read + self._ahead

    def steady(self, read: float) -> float:
        """Return the steady time of a reading."""
        return read + self._ahead

    def read(self, steady: float) -> float:
        """Return the reading that a steady time will have."""
        return steady - self._ahead
