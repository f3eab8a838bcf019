"""Lower bounds on the cheapest union, by sharing costs.

A node's cost can be paid once and used often, so a sum over its uses is no bound. Two quantities are:

- *share*: what a node costs is split evenly among all the needs that it could serve. However many of them it does
  serve, no more than its cost is charged.
- *dearest*: of several needs, only the dearest is charged.

Both are swept once over the nodes, providers first, from zero upwards; a sweep in any order stays below the truth,
so cycles among values do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.planner.index import INFINITY, Index
from orchestrator.planner.search import Ground

__all__ = ("Sharing",)


class Sharing:
    """The usable sub-graph behind one goal, and lower bounds over it."""

    def __init__(self, index: Index, ground: Ground, goal: int, weight: list[int] | None = None) -> None:
        self.index = index
        self.ground = ground
        self.goal = goal
        self.standing = ground.standing
        self.weight = weight
        self.options: dict[int, list[tuple[int, int]]] = {}
        """Per need: (provider, edge cost) of everything that may serve it."""
        self.alive = self._alive()
        self.nodes = self._behind()
        self.uses = dict.fromkeys(self.nodes, 0)
        for m in self.options:
            for p, _ in self.options[m]:
                if p in self.uses:
                    self.uses[p] += 1
        self.cost = {p: self._least_cost(p) for p in self.nodes}

    def _least_cost(self, p: int) -> int:
        if self.weight is not None:
            return self.weight[p]
        return min([self.index.node_cost(p, self.index.consumer[m]) for m, _, _ in self.index.out[p]])

    def _alive(self) -> set[int]:
        """Return the nodes that can be run at all: a plain fixpoint from what is held."""
        index, ground = self.index, self.ground
        missing = list(index.required)
        met = bytearray(len(index.value))
        queue: list[int] = []
        alive: set[int] = set()

        def serve(m: int) -> None:
            if not met[m]:
                met[m] = 1
                if index.price[m] is None:
                    c = index.consumer[m]
                    missing[c] -= 1
                    if not missing[c]:
                        queue.append(c)

        queue.extend(index.ready)
        for value, providers in ground.held.items():
            for m in index.wanted.get(value, ()):
                c = index.consumer[m]
                if any((p, c) not in index.forbidden and (p, c) not in ground.withdrawn for p in providers):
                    serve(m)
        for p in ground.in_flight:
            for m, _, _ in index.out[p]:
                serve(m)
        while queue:
            c = queue.pop()
            if c >= index.size or c in ground.barred or c in alive:
                continue
            alive.add(c)
            for m, _, _ in index.out[c]:
                serve(m)
        return alive

    def _behind(self) -> list[int]:
        """Collect what may serve the goal; return its unfinished nodes, providers before their consumers."""
        index, ground = self.index, self.ground
        post: list[int] = []
        seen: set[int] = set()
        stack: list[tuple[int, bool]] = [(self.goal, False)]
        while stack:
            c, left = stack.pop()
            if left:
                post.append(c)
                continue
            # Marked when it is entered, not when it is found: else a node could come before its providers.
            if c in seen:
                continue
            seen.add(c)
            stack.append((c, True))
            for m in index.needs[c]:
                found: list[tuple[int, int]] = []
                for p in ground.held.get(index.value[m], ()):
                    if (p, c) not in index.forbidden and (p, c) not in ground.withdrawn:
                        found.append((p, index.edge.get((p, c), 0)))
                for p, edge, _ in index.candidates[m]:
                    if p in ground.in_flight or p in self.alive:
                        found.append((p, edge))
                    if p in self.alive and p not in seen:
                        stack.append((p, False))
                self.options[m] = found
            if index.edge or self.weight is not None:
                self._split_edges(c)
        return [p for p in post if p != self.goal]

    def _split_edges(self, consumer: int) -> None:
        """Charge an edge that serves several needs of one consumer no more than once; another resource has none."""
        needs = self.index.needs[consumer]
        uses: dict[int, int] = {}
        for m in needs:
            for p, _ in self.options[m]:
                uses[p] = uses.get(p, 0) + 1
        for m in needs:
            self.options[m] = [(p, 0 if self.weight is not None else edge // uses[p]) for p, edge in self.options[m]]

    def disjoint(self) -> bool:
        """Whether no unfinished node can serve two needs of one consumer: then the tree is the cheapest union."""
        index = self.index
        behind: dict[int, int] = {}
        for c in [*self.nodes, self.goal]:
            mask = 0
            for m in index.needs[c]:
                one = 0
                for p, edge in self.options[m]:
                    if p in self.standing:
                        one |= (1 << p) if edge else 0
                    elif p in behind:
                        one |= behind[p] | 1 << p
                    else:
                        return False
                if mask & one:
                    return False
                mask |= one
            behind[c] = mask
        return True

    def least(self, opened: Iterable[int], paid: Collection[int] = (), shut: int = 0) -> int:
        """Return a lower bound, in micro-units, on what serving the open needs still costs.

        Args:
            opened: Needs still to be served.
            paid: Nodes whose cost is paid and whose own needs are accounted for elsewhere.
            shut: Bit mask of nodes that may not be used.
        """
        index, standing, uses, cost, options = self.index, self.standing, self.uses, self.cost, self.options
        price = index.price
        share: dict[int, int] = {}
        dearest: dict[int, int] = {}

        def need(m: int) -> tuple[int, int]:
            least_share = least_dearest = (
                INFINITY if price[m] is None else (0 if self.weight is not None else price[m] or 0)
            )
            for p, edge in options[m]:
                if shut >> p & 1:
                    continue
                if p in standing or p in paid:
                    low = high = edge
                else:
                    low = edge + share.get(p, 0) // uses[p]
                    high = edge + dearest.get(p, 0)
                if low < least_share:
                    least_share = low
                if high < least_dearest:
                    least_dearest = high
            return least_share, least_dearest

        for p in self.nodes:
            if p in paid or shut >> p & 1:
                continue
            low = high = 0
            for m in index.needs[p]:
                one_low, one_high = need(m)
                low += one_low
                high = max(high, one_high)
            share[p] = cost[p] + low
            dearest[p] = cost[p] + high
        total = top = 0
        for m in opened:
            one_low, one_high = need(m)
            total += one_low
            top = max(top, one_high)
        return max(total, top)
