"""From a tree's route towards the cheapest union: legality, local search, then an exact branch and bound.

All work is counted in node expansions, never in time, so that a plan depends on nothing but its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heappop, heappush
from itertools import count

from orchestrator.planner.bound import Sharing
from orchestrator.planner.index import INFINITY, Index
from orchestrator.planner.search import Choice, Found, Ground, search
from orchestrator.planner.union import Union, bearing, conflict, rivals

__all__ = ("Frontier", "Work", "legal_tree", "local_search")

HOPELESS = INFINITY >> 64
"""A bound above this means that some need cannot be served at all."""

DEPTH = 400
"""The branch and bound recurses once per need, far below Python's limit; deeper branches are left to their bound."""


class Work:
    """A budget of node expansions."""

    def __init__(self, expansions: int) -> None:
        self.left = expansions

    def spend(self, expansions: int) -> None:
        """Take *expansions* off the budget."""
        self.left -= expansions

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0


def legal_tree(
    index: Index,
    ground: Ground,
    goal: int,
    work: Work,
    *,
    without: Collection[int] = (),
    weight: list[int] | None = None,
) -> Choice | None:
    """Return the tree route of least sum in which no two providers conflict, or None.

    A `once` provider of a value is its only one. Where the search's tree breaks that, one of the two providers has to
    go: both ways are searched, cheapest first, so a legal route is found whenever there is one. This part is never
    cut short by the budget: whether a route exists must not depend on it.
    """
    first = search(index, ground, goal, without=without, weight=weight)
    if first is None:
        return None
    number = count()
    queue: list[tuple[int, int, frozenset[int], Found]] = [(first.have, next(number), frozenset(without), first)]
    seen = {frozenset(without)}
    while queue:
        _, _, barred, found = heappop(queue)
        work.spend(found.expansions)
        clash = conflict(index, ground, found.choice)
        if clash is None:
            return found.choice
        for p in clash:
            further = barred | {p}
            if further in seen:
                continue
            seen.add(further)
            other = search(index, ground, goal, without=further, weight=weight)
            if other is not None:
                heappush(queue, (other.have, next(number), further, other))
    return None


def local_search(index: Index, ground: Ground, goal: int, start: Union, shared: list[int], work: Work) -> Union:
    """Improve a route by dropping one node, or by paying for one shared node, until neither helps.

    Dropping: one chosen node is forbidden and the search runs again with the other chosen ones free. Sharing: one
    node that could serve several needs is taken as paid, which a sum over uses never sees the point of.
    """
    best = start
    improved = True
    while improved and not work.spent:
        improved = False
        chosen = set(best.choice.values()) - ground.standing - {index.null}
        moves: list[tuple[tuple[int, ...], set[int]]] = [((p,), chosen - {p}) for p in sorted(chosen)]
        moves += [((), chosen | {p}) for p in shared if p not in chosen]
        moves += [((), {p}) for p in shared]
        for without, free in moves:
            if work.spent:
                break
            found = search(index, ground, goal, without=without, free=free)
            if found is None:
                continue
            work.spend(found.expansions + 1)
            candidate = Union(index, ground, found.choice, goal, timed=False)
            if candidate.weight < best.weight and conflict(index, ground, found.choice) is None:
                best, improved = candidate, True
                break
    return Union(index, ground, best.choice, goal)


class Frontier:
    """Exact branch and bound over the open needs of a partial route, from the goal backwards.

    After `run`, `best` is the cheapest union found (None: nothing within the limits), and `bound` a proved lower
    bound; `complete` says that the search space was exhausted.
    """

    def __init__(
        self,
        index: Index,
        ground: Ground,
        sharing: Sharing,
        best: Union | None,
        work: Work,
        fits: Callable[[int, int], bool] | None = None,
        fits_time: Callable[[int], bool] | None = None,
    ) -> None:
        self.index, self.ground, self.sharing = index, ground, sharing
        self.goal = sharing.goal
        self.best = best
        self.work = work
        self.fits, self.fits_time = fits, fits_time
        self.abandoned = INFINITY
        self.standing = ground.standing
        self.choice: Choice = {}
        self.paid: set[int] = set()
        self.ring = self._has_ring()
        self.guess = self._guess()

    @property
    def complete(self) -> bool:
        """Whether every branch was searched or proved worse."""
        return self.abandoned == INFINITY

    @property
    def bound(self) -> int:
        """A lower bound on the cheapest union within the limits."""
        return self.abandoned if self.best is None else min(self.abandoned, self.best.weight)

    def run(self) -> None:
        """Search until done or out of budget."""
        self._dive(tuple(self.index.needs[self.goal]), 0, 0, 0, 0, 0, 0)

    def _has_ring(self) -> bool:
        """Whether values go round in a circle: some node may serve one that comes before it."""
        place = {p: i for i, p in enumerate(self.sharing.nodes)}
        return any(
            place.get(p, -1) >= place[c]
            for c in self.sharing.nodes
            for m in self.index.needs[c]
            for p, _ in self.sharing.options[m]
        )

    def _guess(self) -> dict[int, int]:
        """Estimate what each node costs with all its needs; the order of branching, nothing else, depends on it."""
        sharing = self.sharing
        guess: dict[int, int] = {}
        for p in sharing.nodes:
            total = sharing.cost[p]
            for m in self.index.needs[p]:
                price = self.index.price[m]
                least = [edge + guess.get(q, 0) for q, edge in sharing.options[m]] + ([] if price is None else [price])
                total += min(least, default=0)
            guess[p] = total
        return guess

    def _dive(
        self, opened: tuple[int, ...], used: int, shut: int, spent: int, usd: int, calls: int, depth: int
    ) -> None:
        index = self.index
        if not opened:
            self._leaf()
            return
        least = spent + self.sharing.least(opened, self.paid, shut)
        self.work.spend(len(self.sharing.nodes) - len(self.paid) + 1)
        if least >= HOPELESS or (self.best is not None and least >= self.best.weight):
            return
        if self.work.spent or depth > DEPTH:
            self.abandoned = min(self.abandoned, least)
            return
        m, options = self._branch(opened, used, shut)
        rest = tuple(k for k in opened if k != m)
        for p in options:
            self.choice[m] = p
            if p == index.null:
                self._dive(rest, used, shut, spent + (index.price[m] or 0), usd, calls, depth + 1)
            else:
                # Each need is charged its share of an edge that could serve several, as the bound charges it.
                edge = next(cost for q, cost in self.sharing.options[m] if q == p)
                if p in self.standing or p in self.paid:
                    closed = shut | rivals(index, self.ground, p)
                    self._dive(rest, used | 1 << p, closed, spent + edge, usd, calls, depth + 1)
                elif self.fits is None or self.fits(usd + index.usd[p], calls + 1):
                    self.paid.add(p)
                    self._dive(
                        (*rest, *index.needs[p]),
                        used | 1 << p,
                        shut | index.conflict[p],
                        spent + self.sharing.cost[p] + edge,
                        usd + index.usd[p],
                        calls + 1,
                        depth + 1,
                    )
                    self.paid.discard(p)
            del self.choice[m]

    def _branch(self, opened: tuple[int, ...], used: int, shut: int) -> tuple[int, list[int]]:
        """Choose the need to decide next and the order of its options.

        A provider that the route uses already and that costs nothing more is as good as any other: no branching,
        unless a time limit makes an earlier one better.
        """
        best: tuple[int, list[int]] | None = None
        index = self.index
        for m in opened:
            c = index.consumer[m]
            options = []
            for p, _ in self.sharing.options[m]:
                if shut & bearing(self.ground, p) or (p in self.paid and self._depends(p, c)):
                    continue
                if (p, c) not in index.edge and self._costs_nothing_more(p, c, used):
                    return m, [p]
                options.append(p)
            if best is None or len(options) < len(best[1]):
                best = m, options
        assert best is not None
        m, options = best
        c = index.consumer[m]
        options.sort(key=lambda p: (self._price_now(p, c), p))
        price = index.price[m]
        if price is not None:
            at = next((i for i, p in enumerate(options) if self._price_now(p, c) > price), len(options))
            options.insert(at, index.null)
        return m, options

    def _costs_nothing_more(self, p: int, consumer: int, used: int) -> bool:
        # In a ring of values a node that is paid may still have to be fed by this very consumer.
        if self.ring and p not in self.standing and consumer != self.goal:
            return False
        if p in self.standing and p not in self.ground.in_flight:
            return bool(used >> p & 1) or not rivals(self.index, self.ground, p)
        return bool(used >> p & 1) and self.fits_time is None and not self.index.through

    def _price_now(self, p: int, consumer: int) -> int:
        edge = self.index.edge.get((p, consumer), 0)
        return edge if p in self.standing or p in self.paid else edge + self.guess[p]

    def _depends(self, p: int, consumer: int) -> bool:
        """Whether *p* waits, through what is chosen so far, for *consumer*."""
        stack, seen = [p], {p}
        while stack:
            for m in self.index.needs[stack.pop()]:
                q = self.choice.get(m, self.index.null)
                if q == self.index.null:
                    continue
                if q == consumer:
                    return True
                if q in self.paid and q not in seen:
                    seen.add(q)
                    stack.append(q)
        return False

    def _leaf(self) -> None:
        union = Union(self.index, self.ground, dict(self.choice), self.goal, timed=self.fits_time is not None)
        if self.fits_time is not None and not self.fits_time(union.seconds):
            return
        if self.best is None or union.weight < self.best.weight:
            self.best = Union(self.index, self.ground, union.choice, self.goal)
