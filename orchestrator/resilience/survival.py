"""How many losses at once a goal survives, and the smallest set that breaks it.

Every set that breaks a goal must hit every way to it. So the sets of one loss more are grown from a set that the
goal survives by what hits a way round it, and by nothing else: all smallest breaking sets are met, after at most as
many sets as a way has losses, to the power of their number, however large the graph is. Ways that have no loss in
common settle it at once: four of them survive any three losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.resilience.losses import MOST, bits
from orchestrator.resilience.ways import Way, Ways

__all__ = ("Stopped", "Survival", "survival")

Stopped = Literal["budget", "unproved"]


@dataclass(frozen=True, slots=True)
class Survival:
    """What a goal survives; sets are bit masks of losses."""

    survives: int
    exact: bool = True
    """Whether one loss more can break it, or `survives` is `MOST`."""
    stopped: Stopped | None = None
    """Why not every set of one loss more was judged."""
    single: tuple[int, ...] = ()
    breaking: int | None = None


def survival(ways: Ways, first: Way) -> Survival:
    """Return what a goal survives.

    The sets that are left when the budget of *ways* is spent are not looked at.

    Args:
        ways: The ways to the goal.
        first: One way to it with nothing lost.
    """
    level = {0: first}
    single: tuple[int, ...] = ()
    # Sets smaller than this are all judged: an unproved one may be broken or not.
    judged = 1 if first.proved else 0
    stopped: Stopped | None = None if first.proved else "unproved"
    for size in range(1, MOST + 1):
        if ways.disjoint() > MOST:
            return Survival(MOST, single=single)
        following, broken, complete = _grow(ways, level)
        if not complete:
            stopped = "budget"
        elif not all(way.proved for way in following.values()):
            stopped = "unproved"
        if size == 1:
            single = tuple(broken)
        if broken:
            least = max(judged, ways.disjoint(), 1)
            breaking = min(broken, key=lambda mask: list(bits(mask)))
            return Survival(least - 1, judged > 0 and least == size, stopped, single, breaking)
        if not complete:
            break
        if stopped is None:
            judged = size + 1
        level = following
    if stopped is None:
        return Survival(MOST, single=single)
    return Survival(max(judged, ways.disjoint(), 1) - 1, False, stopped, single)


def _grow(ways: Ways, level: dict[int, Way]) -> tuple[dict[int, Way], list[int], bool]:
    """Return the sets of one loss more that the goal survives, those that break it, and whether those are all."""
    following: dict[int, Way] = {}
    broken: dict[int, None] = {}
    for lost, way in level.items():
        for i in bits(way.hit):
            more = lost | 1 << i
            if more in following or more in broken:
                continue
            if ways.work.spent:
                return following, list(broken), False
            ways.work.spend(1)
            other = ways.round(more)
            if other is None:
                broken[more] = None
            else:
                following[more] = other
    return following, list(broken), True
