"""What a route really costs: the union of what it takes, each node once and each edge once.

The tree sum that a search minimises counts a shared result once per use. Here a route is weighed as it is run: every
unfinished node once, at the best trail of the edges that it serves; every (provider, consumer) edge once; every price
of doing without; the undo of every finished effect that the route abandons and replaces.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from orchestrator.planner.index import Index
from orchestrator.planner.search import Choice, Ground

__all__ = ("Union", "abandoned", "bearing", "conflict", "order", "rivals", "seconds", "union_weight")


def unfinished(index: Index, ground: Ground, choice: Choice) -> list[int]:
    """Return the nodes that a route has still to start, by number."""
    standing = ground.standing
    return sorted({p for p in choice.values() if p != index.null and p not in standing})


def bearing(ground: Ground, p: int) -> int:
    """Return, as a bit mask, a provider and the effects that what it holds was made from."""
    return 1 << p | ground.rests.get(p, 0)


def rivals(index: Index, ground: Ground, p: int) -> int:
    """Return, as a bit mask, what may not serve beside a provider, or beside an effect that its values rest on."""
    mask, bits = index.conflict[p], ground.rests.get(p, 0)
    while bits:
        mask |= index.conflict[(bits & -bits).bit_length() - 1]
        bits &= bits - 1
    return mask


def abandoned(index: Index, ground: Ground, choice: Choice) -> list[int]:
    """Return the finished effects to undo because the route starts another provider and does not rest on them."""
    if not ground.undo:
        return []
    used = 0
    for p in choice.values():
        used |= bearing(ground, p)
    due = {effect for p in unfinished(index, ground, choice) for effect in ground.undo.get(p, ())}
    return sorted(effect for effect in due if not used >> effect & 1)


def union_weight(index: Index, ground: Ground, choice: Choice) -> int:
    """Return the weight of a route in micro-units."""
    standing = ground.standing
    null, consumer = index.null, index.consumer
    total = 0
    nodes: dict[int, int] = {}
    pairs: set[tuple[int, int]] = set()
    for m, p in choice.items():
        if p == null:
            price = index.price[m]
            assert price is not None
            total += price
            continue
        c = consumer[m]
        if p not in standing:
            cost = index.node_cost(p, c)
            nodes[p] = min(nodes.get(p, cost), cost)
        pairs.add((p, c))
    total += sum(nodes.values())
    if index.edge:
        total += sum(index.edge.get(pair, 0) for pair in pairs)
    return total + sum(ground.undo_cost[effect] for effect in abandoned(index, ground, choice))


def conflict(index: Index, ground: Ground, choice: Choice) -> tuple[int, int] | None:
    """Return two providers that may not serve in one route: they share a value, and one of them is `once`.

    A value that was made from an effect counts as that effect: a letter about a payment is of no use beside another
    payment.
    """
    if not index.effects:
        return None
    providers = sorted(set(choice.values()) - {index.null})
    used = 0
    for p in providers:
        used |= bearing(ground, p)
    for p in providers:
        shut = rivals(index, ground, p)
        if used & shut:
            return p, next(q for q in providers if bearing(ground, q) & shut)
    return None


def order(index: Index, ground: Ground, choice: Choice) -> tuple[int, ...]:
    """Return the unfinished nodes in an order that can be run: each after what it needs, ties by name."""
    todo = set(unfinished(index, ground, choice))
    waits: dict[int, int] = {}
    feeds: dict[int, list[int]] = {}
    for p in todo:
        needed = {choice[m] for m in index.needs[p]} & todo
        waits[p] = len(needed)
        for q in needed:
            feeds.setdefault(q, []).append(p)
    ready = [p for p, count in waits.items() if not count]
    heapify(ready)
    ordered = []
    while ready:
        p = heappop(ready)
        ordered.append(p)
        for consumer in feeds.get(p, ()):
            waits[consumer] -= 1
            if not waits[consumer]:
                heappush(ready, consumer)
    return tuple(ordered)


def seconds(index: Index, ground: Ground, choice: Choice, goal: int) -> int:
    """Return the critical path of a route in billionths of a second, by declared figures."""
    done: dict[int, int] = {}
    for p in order(index, ground, choice):
        done[p] = index.seconds[p] + _ready_at(index, ground, choice, p, done)
    return _ready_at(index, ground, choice, goal, done)


def _ready_at(index: Index, ground: Ground, choice: Choice, consumer: int, done: dict[int, int]) -> int:
    latest = 0
    for m in index.needs[consumer]:
        p = choice[m]
        latest = max(latest, done.get(p, 0), ground.in_flight.get(p, 0))
    return latest


class Union:
    """A route as it is weighed: what it takes, and its figures."""

    __slots__ = ("calls", "choice", "seconds", "usd", "weight")

    def __init__(self, index: Index, ground: Ground, choice: Choice, goal: int, *, timed: bool = True) -> None:
        todo = unfinished(index, ground, choice)
        self.choice = choice
        self.weight = union_weight(index, ground, choice)
        self.usd = sum(index.usd[p] for p in todo)
        self.seconds = seconds(index, ground, choice, goal) if timed else 0
        self.calls = len(todo)
