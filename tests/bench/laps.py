"""Timing side by side: every candidate in turn, round after round, and only ratios within a round are compared.

A shared machine changes its speed by a factor of two within minutes. What is measured at different moments cannot be
compared; what is measured in the same round can. Garbage collection is off while a clock runs, as in `timeit`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter
from typing import Generic, TypeVar

__all__ = ("Laps", "Spread", "percentile", "spread", "time_sync")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of several measurements."""

    median: float
    least: float
    greatest: float

    def text(self, digits: int = 2) -> str:
        """Return ``median [least..greatest]``."""
        return f"{self.median:,.{digits}f} [{self.least:,.{digits}f}..{self.greatest:,.{digits}f}]"


def spread(figures: Sequence[float]) -> Spread:
    """Return median and range of *figures*."""
    return Spread(median(figures), min(figures), max(figures))


def percentile(figures: Sequence[float], percent: int) -> float:
    """Return a percentile of *figures*, between 1 and 99; of a single figure, itself."""
    return quantiles(figures, n=100, method="inclusive")[percent - 1] if len(figures) > 1 else figures[0]


@dataclass
class Laps(Generic[T]):
    """Times candidates in turn: A, B, A, B, and so on.

    Args:
        candidates: What is timed, by name.
        rounds: How often each has its turn, after one round that is not counted.
        batch: How many operations a turn is made of.
    """

    candidates: Mapping[str, T]
    rounds: int
    batch: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Per candidate and round: seconds of one operation."""

    def turns(self) -> Iterator[T]:
        """Yield the candidates in turn; the time until the next one is asked for is the lap of this one."""
        self.seconds = {name: [] for name in self.candidates}
        enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            for number in range(self.rounds + 1):
                for name, candidate in self.candidates.items():
                    began = perf_counter()
                    yield candidate
                    taken = perf_counter() - began
                    if number:
                        self.seconds[name].append(taken / self.batch)
        finally:
            if enabled:
                gc.enable()

    def time(self, name: str, scale: float = 1.0) -> Spread:
        """Return the time of one operation, in seconds times *scale*."""
        return spread([taken * scale for taken in self.seconds[name]])

    def ratio(self, name: str, other: str) -> Spread:
        """Return how many times longer *name* took than *other*, round by round."""
        return spread([one / two for one, two in zip(self.seconds[name], self.seconds[other], strict=True)])


def time_sync(
    candidates: Mapping[str, Callable[[], object]], rounds: int, batch: int = 1
) -> Laps[Callable[[], object]]:
    """Time plain functions in turn."""
    laps = Laps(candidates, rounds, batch)
    for call in laps.turns():
        for _ in range(batch):
            call()
    return laps
