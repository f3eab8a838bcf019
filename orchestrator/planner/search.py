"""One search: Dijkstra, in Knuth's generalisation to AND-joins.

    have(j) = sum over the needs of j of min over their providers i of have(i) + use(i, j)

Knuth, "A Generalization of Dijkstra's Algorithm" (1977): the sum of the needs is a superior function, so consumers
settle in the order of their cost. A graph in which every node has at most one need is the plain edge-weighted graph,
and has a path of its own here. Held values are sources at cost zero that keep their provider; a node in flight is a
source whose node cost is paid. Ties are decided per need: cost, number of unfinished nodes in the provider's tree,
provider's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush

from orchestrator.planner.index import INFINITY, Index

__all__ = ("Choice", "Found", "Ground", "search", "shortest_path")

Choice = dict[int, int]
"""What a route takes: per need its provider's number, or `Index.null` for done without."""


@dataclass(frozen=True)
class Ground:
    """What a search stands on, in the index's numbers: what is held, in flight, and may not be used."""

    held: Mapping[str, tuple[int, ...]]
    """Providers of each held value."""
    in_flight: Mapping[int, int] = field(default_factory=dict)
    """Nodes in flight, and the billionths of a second that they still take."""
    barred: frozenset[int] = frozenset()
    """Nodes that may not be started: excluded, vetoed, finished, in flight, or kept out by an effect."""
    undo: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Finished effects that must be undone before a node may start."""
    undo_cost: Mapping[int, int] = field(default_factory=dict)
    """What undoing each of them costs."""
    surcharge: Mapping[int, int] = field(default_factory=dict)
    """Per node, the undo cost of the `once` effects that it would replace; a search adds it to the node's cost."""
    rests: Mapping[int, int] = field(default_factory=dict)
    """Per provider that holds values, a bit mask of the effects that these were made from."""
    withdrawn: Collection[tuple[int, int]] = ()
    """(provider, consumer) pairs that a failed check withdrew from a goal."""

    @cached_property
    def standing(self) -> frozenset[int]:
        """Providers that need not be run: they hold a value, or are in flight."""
        return frozenset(self.in_flight).union(*self.held.values())


@dataclass(frozen=True, slots=True)
class Found:
    """A search's answer: the value that it minimised, what the route takes, and the work that it took."""

    have: int
    choice: Choice
    expansions: int


def shortest_path(index: Index, ground: Ground, goal: int) -> Found | None:
    """Find the goal's cheapest route on a graph of single needs: plain Dijkstra.

    A heap entry is one integer, the distance above the consumer's number: half the cost of a tuple.
    """
    bits, size, hops = index.bits, index.size, index.hops
    mask = (1 << bits) - 1
    distance = [INFINITY] * index.total
    before = [-1] * index.total
    # Unfinished nodes in each provider's tree, itself included; found only when a tie asks for it.
    count: dict[int, int] = dict.fromkeys(ground.in_flight, 1)
    sources = _sources(index, ground, distance, before)
    for c in ground.barred:
        distance[c] = -1
    heap = [distance[c] << bits | c for c in sources if distance[c] >= 0]
    heapify(heap)
    pop, push = heappop, heappush
    while heap:
        key = pop(heap)
        u = key & mask
        reached = key >> bits
        if distance[u] != reached:
            continue
        if u >= size:
            if u == goal:
                choice = _path(index, ground, goal, before)
                return Found(reached, choice, len(choice))
            continue
        for v, use in hops[u]:
            cost = reached + use
            known = distance[v]
            if cost < known:
                distance[v] = cost
                before[v] = u
                push(heap, cost << bits | v)
            elif cost == known and _smaller(u, before[v], before, count, ground.standing):
                before[v] = u
    return None


def _sources(index: Index, ground: Ground, distance: list[int], before: list[int]) -> list[int]:
    """Set what can start at once, and what is fed by something held or in flight; return those consumers."""
    found: dict[int, None] = dict.fromkeys(index.roots)
    for c in index.roots:
        distance[c] = 0
    consumer, plain = index.consumer, not (index.forbidden or ground.withdrawn or index.edge)
    for value, providers in ground.held.items():
        for m in index.wanted.get(value, ()):
            c = consumer[m]
            for p in providers:
                if not plain and ((p, c) in index.forbidden or (p, c) in ground.withdrawn):
                    continue
                cost = 0 if plain else index.edge.get((p, c), 0)
                if cost < distance[c] or (cost == distance[c] and p < before[c]):
                    distance[c], before[c] = cost, p
                    found[c] = None
    for p in ground.in_flight:
        for m, cost, _ in index.out[p]:
            c = consumer[m]
            # What is held wins a tie against what is only in flight.
            if cost < distance[c] or (cost == distance[c] and before[c] in ground.in_flight and p < before[c]):
                distance[c], before[c] = cost, p
                found[c] = None
    return list(found)


def _smaller(one: int, other: int, before: list[int], count: dict[int, int], standing: frozenset[int]) -> bool:
    """Whether *one* wins a tie of equal costs: fewer unfinished nodes in its tree, then the first by name."""
    ours, theirs = _count(one, before, count, standing), _count(other, before, count, standing)
    return ours < theirs or (ours == theirs and one < other)


def _count(node: int, before: list[int], count: dict[int, int], standing: frozenset[int]) -> int:
    """Return the unfinished nodes in a settled provider's tree, itself included; remembers them for its whole chain."""
    chain = []
    while node >= 0 and node not in count:
        if node in standing:
            count[node] = 0
            break
        chain.append(node)
        node = before[node]
    size = count.get(node, 0)
    for link in reversed(chain):
        size += 1
        count[link] = size
    return size


def _path(index: Index, ground: Ground, goal: int, before: list[int]) -> Choice:
    standing, needs = ground.standing, index.needs
    choice: Choice = {}
    c = goal
    while needs[c]:
        provider = choice[needs[c][0]] = before[c]
        if provider in standing:
            break
        c = provider
    return choice


def search(
    index: Index,
    ground: Ground,
    goal: int,
    *,
    without: Collection[int] = (),
    free: Collection[int] = (),
    weight: list[int] | None = None,
) -> Found | None:
    """Find the route of least tree sum, or None where the goal cannot be had.

    Args:
        index: The graph and view.
        ground: What is held, in flight, and barred.
        goal: The goal's number.
        without: Nodes that may neither be started nor serve with what they hold.
        free: Nodes whose own cost is paid already.
        weight: Node costs to use instead of the view's, where another resource is minimised; edges then cost nothing.
    """
    total, consumer, needs = index.total, index.consumer, index.needs
    cost = list(index.first_cost)
    size = [0] * len(cost)
    pick = list(index.first_pick)
    missing = list(index.required)
    settled = bytearray(total)
    for c in ground.barred:
        settled[c] = 1
    for c in without:
        settled[c] = 1
    touched: dict[int, None] = dict.fromkeys(index.ready)
    for value, providers in ground.held.items():
        for m in index.wanted.get(value, ()):
            c = consumer[m]
            for p in providers:
                if (p, c) in index.forbidden or (p, c) in ground.withdrawn or p in without:
                    continue
                edge = index.edge.get((p, c), 0) if weight is None else 0
                if edge < cost[m] or (edge == cost[m] and p < pick[m]):
                    if pick[m] < 0:
                        missing[c] -= 1
                    cost[m], pick[m] = edge, p
                    touched[c] = None
    for p in ground.in_flight:
        if p in without:
            continue
        for m, edge, _ in index.out[p]:
            edge = edge if weight is None else 0
            if edge < cost[m] or (edge == cost[m] and (1, p) < (size[m], pick[m])):
                if pick[m] < 0:
                    missing[consumer[m]] -= 1
                cost[m], size[m], pick[m] = edge, 1, p
                touched[consumer[m]] = None
    heap = [sum([cost[m] for m in needs[c]]) * total + c for c in touched if not missing[c] and not settled[c]]
    heapify(heap)
    expansions = 0
    while heap:
        key = heappop(heap)
        c = key % total
        have = key // total
        if settled[c] or have != sum([cost[m] for m in needs[c]]):
            continue
        settled[c] = 1
        if c == goal:
            return Found(have, _tree(index, ground, goal, pick, size), expansions)
        if c >= index.size:
            continue
        expansions += 1
        own = 1 + sum([size[m] for m in needs[c]])
        paid = c in free
        extra = ground.surcharge.get(c, 0)
        for m, edge, use in index.out[c]:
            t = consumer[m]
            if settled[t]:
                continue
            if weight is not None:
                now = have + weight[c]
            else:
                now = have + extra + (edge if paid else use)
            known = cost[m]
            if now < known or (now == known and (own, c) < (size[m], pick[m])):
                if pick[m] < 0:
                    missing[t] -= 1
                cost[m], size[m], pick[m] = now, own, c
                if not missing[t] and now < known:
                    heappush(heap, sum([cost[k] for k in needs[t]]) * total + t)
    return None


def _tree(index: Index, ground: Ground, goal: int, pick: list[int], size: list[int]) -> Choice:
    choice: Choice = {}
    seen = {goal}
    stack = [goal]
    while stack:
        for m in index.needs[stack.pop()]:
            p = pick[m]
            choice[m] = p
            # Only an unfinished node has a size; a node in flight has its inputs already.
            if size[m] and p not in ground.in_flight and p not in seen:
                seen.add(p)
                stack.append(p)
    return choice
