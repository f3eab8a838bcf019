"""Limits on a route: money and calls by the union, time by the critical path.

A search that prunes a scalar label at a limit forgets the dearer but lighter way and reports a false "no route". So
the cheapest route is planned first; where it breaks a limit, a proved lower bound on each resource is taken
(impossible, if it exceeds the limit), then routes that are light in each resource and in mixtures of them, then the
branch and bound under the limits.
"""

from __future__ import annotations

from orchestrator.planner.bound import Sharing
from orchestrator.planner.improve import Frontier, Work, legal_tree
from orchestrator.planner.index import NANO, Index
from orchestrator.planner.route import LimitFigures, Limits
from orchestrator.planner.search import Ground
from orchestrator.planner.union import Union

__all__ = ("Allowance", "Within")

MIXTURES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""How strongly a limited resource counts beside the weight, in the routes that are tried before the exact search."""


class Within:
    """A route within the limits, and a lower bound on the cheapest such route."""

    __slots__ = ("bound", "union")

    def __init__(self, union: Union, bound: int) -> None:
        self.union = union
        self.bound = bound


class Allowance:
    """What is left of a run's limits, as integers."""

    def __init__(self, left: Limits) -> None:
        self.left: dict[str, int] = {}
        if left.usd is not None:
            self.left["usd"] = round(left.usd * NANO)
        if left.seconds is not None:
            self.left["seconds"] = round(left.seconds * NANO)
        if left.calls is not None:
            self.left["calls"] = left.calls

    @property
    def unlimited(self) -> bool:
        """Whether nothing is limited."""
        return not self.left

    def fits(self, union: Union) -> bool:
        """Whether a route stays within every limit."""
        return all(getattr(union, name) <= left for name, left in self.left.items())

    def judge(
        self, index: Index, ground: Ground, goal: int, cheapest: Union, work: Work
    ) -> tuple[str, Within | None, dict[str, int]]:
        """Return the verdict, the cheapest route within the limits where it is another one, and the least figures."""
        sharing = Sharing(index, ground, goal)
        least = {name: self._least(name, index, ground, goal, sharing) for name in self.left}
        if self.fits(cheapest):
            return "found", None, least
        if any(least[name] > left for name, left in self.left.items()):
            return "impossible", None, least
        best: Union | None = None
        for weight in self._mixtures(index):
            choice = legal_tree(index, ground, goal, work, weight=weight)
            if choice is not None:
                union = Union(index, ground, choice, goal)
                if self.fits(union) and (best is None or union.weight < best.weight):
                    best = union
        usd, seconds, calls = self.left.get("usd"), self.left.get("seconds"), self.left.get("calls")
        frontier = Frontier(
            index,
            ground,
            sharing,
            best,
            work,
            lambda spent, made: (usd is None or spent <= usd) and (calls is None or made <= calls),
            None if seconds is None else lambda taken: taken <= seconds,
        )
        frontier.run()
        if frontier.best is not None:
            return "found", Within(frontier.best, frontier.bound), least
        return ("impossible" if frontier.complete else "unproved"), None, least

    def _least(self, name: str, index: Index, ground: Ground, goal: int, sharing: Sharing) -> int:
        """Return a proved lower bound on what any route takes of one resource."""
        if name == "seconds":
            return critical_path(index, ground, goal, sharing)
        figures = index.usd if name == "usd" else [1] * index.size
        return Sharing(index, ground, goal, weight=figures).least(index.needs[goal])

    def _mixtures(self, index: Index) -> list[list[int]]:
        resources = {"usd": index.usd, "seconds": index.seconds, "calls": [NANO] * index.size}
        found = []
        for name in self.left:
            figures = resources[name]
            # One more than nothing, so that of equally light routes the shorter is taken.
            found.append([figure * index.size + 1 for figure in figures])
            scale = sum(index.weight) / max(sum(figures), 1)
            for factor in MIXTURES:
                found.append(
                    [w + round(factor * scale * figure) for w, figure in zip(index.weight, figures, strict=True)]
                )
        return found

    def figures(self, route: Union | None, least: dict[str, int]) -> dict[str, LimitFigures]:
        """Return each limit for people: dollars, seconds, calls."""
        found = {}
        for name, left in self.left.items():
            scale = 1 if name == "calls" else NANO
            taken = None if route is None else getattr(route, name) / scale
            found[name] = LimitFigures(left / scale, taken, least[name] / scale)
        return found

    def broken(self, cheapest: Union, least: dict[str, int]) -> str:
        """Name the limit that stands in the way: the first one proved broken, else that of the cheapest route."""
        for name, left in self.left.items():
            if least[name] > left:
                return f"limit:{name}"
        return next(f"limit:{name}" for name, left in self.left.items() if getattr(cheapest, name) > left)


def critical_path(index: Index, ground: Ground, goal: int, sharing: Sharing) -> int:
    """Return the least time in which the goal can be had, by declared figures.

    The maximum over the needs is a superior function like their sum, so the same settling order would do; over this
    small sub-graph a plain fixpoint from below is simpler, and exact, because time only grows along a route.
    """
    ready: dict[int, int] = {}

    def earliest(consumer: int) -> int | None:
        latest = 0
        for m in index.needs[consumer]:
            times = [0] if index.price[m] is not None else []
            for p, _ in sharing.options[m]:
                if p in ground.in_flight:
                    times.append(ground.in_flight[p])
                elif p in sharing.standing:
                    times.append(0)
                elif p in ready:
                    times.append(ready[p])
            if not times:
                return None
            latest = max(latest, min(times))
        return latest

    changed = True
    while changed:
        changed = False
        for p in sharing.nodes:
            start = earliest(p)
            if start is not None and (p not in ready or start + index.seconds[p] < ready[p]):
                ready[p] = start + index.seconds[p]
                changed = True
    return earliest(goal) or 0
