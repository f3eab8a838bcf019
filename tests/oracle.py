"""An exhaustive oracle for small graphs: every legal route, found by trying every choice.

The planner and the run machine are judged by this module, so it is written to be obviously right and shares nothing
with them but the records of a graph, a view and a policy. A *route* is one permitted source for every need of every
node that it contains, and of its goal; there is no heap, no bound and no table behind `enumerate_routes`. The rules:

- A source is a held provider, a node in flight, or an unfinished node that is usable now, where the edge is not
  forbidden; an optional need may also be done without (``None``) at its price.
- A route has no cycle, and a finished node never runs again.
- A `once` node and any other provider of any of its values never stand in one route, whether they are to be started
  or only give a value that they hold or are about to hold. A run input is no effect and conflicts with nothing.
- Next to a `once` node that is in flight, of unknown outcome, or finished for good, no other provider of its values
  may start. Finished for good means: it has no undo, or its undo has failed.
- A route that starts a provider beside a finished node that could be undone, and does not use that finished node,
  pays for the undo, once.

Weights are integer micro-units. A goal is a consumer like any node; its name must differ from every node's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from orchestrator.graph import INPUT, Goal, Graph, Need, Node
from orchestrator.policy import Objective
from orchestrator.units import micro
from orchestrator.weight import View, undo_cost

__all__ = (
    "Choices",
    "Figures",
    "Left",
    "Route",
    "Situation",
    "Tree",
    "Want",
    "abandoned",
    "best_goal",
    "cheapest",
    "choices_by_parameter",
    "enumerate_routes",
    "feasible",
    "figures",
    "have",
    "objections",
    "recoverable",
    "route_of",
    "sources",
    "tree_route",
    "union_weight",
    "usable_now",
    "within",
)

DECLARED = Objective()
TOLERANCE = 1e-9
"""Dollars and seconds are floats: 0.1 + 0.2 dollars fit into a limit of 0.3."""

Want = tuple[str, int]
"""A consumer and the position of one of its needs; a parameter's name may occur twice, once as `after:`."""

Choices = Mapping[Want, str | None]
"""The source of every want; None is done without."""


@dataclass(frozen=True)
class Situation:
    """What a run has got so far, as far as planning cares.

    An undone node belongs to ``excluded`` and no longer to ``held``: it happened, and never runs again.
    """

    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Providers whose result is held, by value: `INPUT` or names of finished nodes."""
    in_flight: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    """Nodes that must not be started: excluded, refused, inapplicable or out of attempts."""
    finished_effects: frozenset[str] = frozenset()
    """`once` nodes that have finished and have not been undone."""
    unresolved: frozenset[str] = frozenset()
    """`once` nodes whose outcome is unknown; those in flight count whether they are listed or not."""
    undo_failed: frozenset[str] = frozenset()
    """Finished nodes whose undo has been tried in vain."""
    withdrawn: frozenset[tuple[str, str]] = frozenset()
    """(value, provider) pairs that the goal may not take, because its check failed on them; nodes still may."""

    @classmethod
    def at_start(cls, graph: Graph, *more: str, excluded: Iterable[str] = ()) -> Situation:
        """Return the situation before anything ran: every run input of *graph* is held, and *more* values."""
        given = sorted({*graph.run_inputs, *more})
        return cls(held=dict.fromkeys(given, (INPUT,)), excluded=frozenset(excluded))

    @property
    def finished(self) -> frozenset[str]:
        """Nodes that have finished and whose results stand."""
        holders = {provider for providers in self.held.values() for provider in providers if provider != INPUT}
        return frozenset(holders) | self.finished_effects


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a run's limits; None where there is no limit."""

    usd: float | None = None
    seconds: float | None = None
    calls: int | None = None


@dataclass(frozen=True)
class Route:
    """One choice of sources that reaches a goal."""

    goal: str
    choices: Choices
    nodes: frozenset[str]
    """Unfinished nodes: what the route starts."""
    sources: frozenset[str]
    """Finished nodes and nodes in flight whose values it takes."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a route needs of each limited resource, in declared figures of one attempt; undeclared is 0."""

    usd: float
    seconds: float
    """Length of the critical path."""
    calls: int


# -------------------------------------------------------------------------------------------------------- who may serve


def permitted(graph: Graph, provider: str, consumer: str) -> bool:
    """Return whether the edge from *provider* to *consumer* is not forbidden."""
    written = graph.written_edges.get((provider, consumer))
    return written is None or not written.forbid


def share_a_value(graph: Graph, one: str, other: str) -> bool:
    """Return whether two different nodes provide a common value."""
    return one != other and bool(set(graph.by_name[one].provides) & set(graph.by_name[other].provides))


def stands_in_the_way(graph: Graph, situation: Situation, effect: Node) -> bool:
    """Return whether *effect* keeps every other provider of its values from starting."""
    if effect.effect != "once":
        return False
    pending = effect.name in situation.unresolved or effect.name in situation.in_flight
    for_good = effect.name in situation.finished_effects and (not effect.undo or effect.name in situation.undo_failed)
    return pending or for_good


def usable_now(graph: Graph, situation: Situation, view: View | None = None) -> frozenset[str]:
    """Return the unfinished nodes that may be started now or once other usable nodes have served them.

    A vetoed node is absent like an excluded one. Nodes that only need each other, in a cycle, are not usable.
    """
    vetoed = {name for name, _ in view.vetoes} if view else set()
    absent = situation.finished | situation.in_flight | situation.excluded | situation.unresolved | vetoed
    obstacles = [node.name for node in graph.nodes if stands_in_the_way(graph, situation, node)]
    candidates = [
        node
        for node in graph.nodes
        if node.name not in absent and not any(share_a_value(graph, node.name, other) for other in obstacles)
    ]
    usable: frozenset[str] = frozenset()
    while True:
        grown = frozenset(
            node.name
            for node in candidates
            if all(sources(graph, situation, usable, node.name, need) for need in node.needs)
        )
        if grown == usable:
            return usable
        usable = grown


def sources(
    graph: Graph, situation: Situation, usable: frozenset[str], consumer: str, need: Need
) -> tuple[str | None, ...]:
    """Return every permitted source of one need: held, in flight, to be started, or None for done without."""
    found: list[str | None] = []
    for provider in situation.held.get(need.value, ()):
        kept_from_the_goal = consumer not in graph.by_name and (need.value, provider) in situation.withdrawn
        if not kept_from_the_goal and (provider == INPUT or permitted(graph, provider, consumer)):
            found.append(provider)
    for provider in graph.providers.get(need.value, ()):
        if provider in situation.in_flight | usable and provider != consumer and permitted(graph, provider, consumer):
            found.append(provider)
    if need.optional is not None:
        found.append(None)
    return tuple(found)


# ---------------------------------------------------------------------------------------------------------- every route


def enumerate_routes(
    graph: Graph, goal: Goal, view: View, situation: Situation, limits: Left | None = None
) -> Iterator[Route]:
    """Yield every legal route to *goal* exactly once, within what is left of the *limits*."""
    usable = usable_now(graph, situation, view)

    def extend(choices: dict[Want, str | None], wants: tuple[tuple[Want, Need], ...]) -> Iterator[Route]:
        if not wants:
            route = route_of(graph, goal, situation, choices)
            if not conflicts(graph, route) and within(graph, route, limits):
                yield route
            return
        (want, need), *others = wants
        for source in sources(graph, situation, usable, want[0], need):
            if source is not None and leads_to(choices, want[0], source):
                continue
            further: tuple[tuple[Want, Need], ...] = ()
            if source is not None and source in usable and source not in choices.values():
                further = wants_of(graph.by_name[source])
            yield from extend({**choices, want: source}, (*others, *further))

    return extend({}, wants_of(goal))


def wants_of(consumer: Node | Goal) -> tuple[tuple[Want, Need], ...]:
    """Return the needs of a node or goal with their keys."""
    return tuple(((consumer.name, position), need) for position, need in enumerate(consumer.needs))


def leads_to(choices: Choices, start: str, target: str) -> bool:
    """Return whether *target* takes something, directly or through others, from *start*; or is *start* itself."""
    taken = {source for (consumer, _), source in choices.items() if consumer == target and source is not None}
    return start == target or any(leads_to(choices, start, source) for source in taken)


def conflicts(graph: Graph, route: Route) -> list[tuple[str, str]]:
    """Return the pairs of nodes of a route that may not stand together, because one of them is a `once` node."""
    return [
        (one, other)
        for one, other in combinations(sorted(route.nodes | route.sources), 2)
        if share_a_value(graph, one, other) and "once" in (graph.by_name[one].effect, graph.by_name[other].effect)
    ]


def route_of(graph: Graph, goal: Goal, situation: Situation, choices: Choices) -> Route:
    """Return the route of *choices*, legal or not: see `objections`."""
    chosen = {source for source in choices.values() if source is not None and source != INPUT}
    ready = chosen & (situation.finished | situation.in_flight)
    return Route(goal.name, dict(choices), frozenset(chosen - ready), frozenset(ready))


def choices_by_parameter(graph: Graph, goal: Goal, inputs: Mapping[str, Mapping[str, str | None]]) -> Choices:
    """Return the choices of a route that somebody else wrote as consumer to parameter to provider."""
    consumers: list[Node | Goal] = [*(graph.by_name[name] for name in sorted(inputs) if name in graph.by_name), goal]
    return {want: inputs[consumer.name][need.parameter] for consumer in consumers for want, need in wants_of(consumer)}


def objections(graph: Graph, goal: Goal, view: View, situation: Situation, route: Route) -> tuple[str, ...]:
    """Return everything that makes a route illegal, limits apart; empty for a legal one."""
    found: list[str] = []
    usable = usable_now(graph, situation, view)
    found += [f"{name} cannot be started" for name in sorted(route.nodes - usable)]
    wants: dict[Want, Need] = {}
    consumers: list[Node | Goal] = [goal, *(graph.by_name[name] for name in sorted(route.nodes))]
    for member in consumers:
        wants |= dict(wants_of(member))
    found += [
        f"{consumer} is not of the route" for consumer, position in route.choices if (consumer, position) not in wants
    ]
    for want, need in wants.items():
        if want not in route.choices:
            found.append(f"{want[0]} has no source of {need.value}")
        elif route.choices[want] not in sources(graph, situation, usable, want[0], need):
            found.append(f"{want[0]} may not take {need.value} from {route.choices[want]}")
    done = {source for source in route.choices.values() if source not in route.nodes}
    waiting = sorted(route.nodes)
    while ready := [name for name in waiting if {s for (c, _), s in route.choices.items() if c == name} <= done]:
        done.update(ready)
        waiting = [name for name in waiting if name not in done]
    found += [f"{name} waits for itself" for name in waiting]
    found += [f"{one} and {other} may not stand together" for one, other in conflicts(graph, route)]
    return tuple(found)


# -------------------------------------------------------------------------------------------------- weights and figures


def union_weight(graph: Graph, view: View, situation: Situation, route: Route, objective: Objective = DECLARED) -> int:
    """Return what a route really costs, in micro-units: each node, edge, price and undo once."""
    pairs = {(source, consumer) for (consumer, _), source in route.choices.items() if source not in (None, INPUT)}
    nodes = sum(
        min(node_weight(view, provider, consumer) for provider, consumer in pairs if provider == name)
        for name in route.nodes
    )
    edges = sum(edge_weight(graph, provider, consumer) for provider, consumer in pairs)
    consumers = {consumer for consumer, _ in route.choices}
    everybody: tuple[Node | Goal, ...] = (*graph.nodes, *graph.goals)
    prices = sum(
        micro(need.optional or 0.0)
        for consumer in everybody
        if consumer.name in consumers
        for want, need in wants_of(consumer)
        if route.choices[want] is None
    )
    undos = sum(undo_cost(graph.by_name[name], objective) for name in abandoned(graph, situation, route))
    return nodes + edges + prices + undos


def node_weight(view: View, provider: str | None, consumer: str) -> int:
    """Return ``node / trail`` of the edge from *provider* to *consumer*."""
    trails = {(source, target): weight for source, target, weight in view.trails}
    return trails.get((provider or "", consumer), dict(view.weights)[provider or ""])


def edge_weight(graph: Graph, provider: str | None, consumer: str) -> int:
    """Return the extra cost of the edge from *provider* to *consumer*."""
    written = graph.written_edges.get((provider or "", consumer))
    return micro(written.cost) if written else 0


def abandoned(graph: Graph, situation: Situation, route: Route) -> list[str]:
    """Return the finished nodes that are undone because the route starts another provider of their values."""
    return [
        node.name
        for node in graph.nodes
        if node.name in situation.finished - route.sources - situation.undo_failed
        and node.undo
        and any(share_a_value(graph, node.name, started) for started in route.nodes)
    ]


def figures(graph: Graph, route: Route) -> Figures:
    """Return what the route needs: money of all nodes it starts, time of its critical path, number of calls."""

    def ready_at(consumer: str) -> float:
        taken = {source for (name, _), source in route.choices.items() if name == consumer}
        return max((ready_at(name) + (graph.by_name[name].seconds or 0.0) for name in route.nodes & taken), default=0.0)

    usd = sum(graph.by_name[name].usd or 0.0 for name in sorted(route.nodes))
    return Figures(usd=usd, seconds=ready_at(route.goal), calls=len(route.nodes))


def within(graph: Graph, route: Route, limits: Left | None) -> bool:
    """Return whether a route fits into what is left of the limits."""
    if limits is None:
        return True
    need = figures(graph, route)
    return (
        (limits.usd is None or need.usd <= limits.usd + TOLERANCE)
        and (limits.seconds is None or need.seconds <= limits.seconds + TOLERANCE)
        and (limits.calls is None or need.calls <= limits.calls)
    )


# ------------------------------------------------------------------------------------------------------------- verdicts


def cheapest(
    graph: Graph,
    goal: Goal,
    view: View,
    situation: Situation,
    limits: Left | None = None,
    objective: Objective = DECLARED,
) -> tuple[int, Route] | None:
    """Return the least union weight within the limits and one route that has it; None where there is no route."""
    weighed = (
        (union_weight(graph, view, situation, route, objective), route)
        for route in enumerate_routes(graph, goal, view, situation, limits)
    )
    return min(weighed, key=lambda pair: pair[0], default=None)


def feasible(graph: Graph, goal: Goal, view: View, situation: Situation, limits: Left | None = None) -> bool:
    """Return whether there is any route to *goal* now, within the limits."""
    return any(True for _ in enumerate_routes(graph, goal, view, situation, limits))


def best_goal(
    graph: Graph, goals: Sequence[Goal], view: View, situation: Situation, limits: Left | None = None
) -> int | None:
    """Return the index of the first goal that is feasible now: the check for one decision point of a run.

    On graphs with `once` nodes what a run reaches depends on what it has already done, so that no verdict about the
    whole run can be given beforehand; this one can be given at each of its decision points.
    """
    return next((i for i, goal in enumerate(goals) if feasible(graph, goal, view, situation, limits)), None)


def recoverable(graph: Graph, goals: Sequence[Goal], dead: Iterable[str], inputs: Iterable[str]) -> int | None:
    """Return the index of the first goal that a run can reach when the *dead* nodes never work; None for none.

    Args:
        graph: A graph without `once` nodes: there nothing that a run has done can close a way that was open.
        goals: Best first, from the asked goal down.
        dead: Nodes that fail at every attempt the run could make.
        inputs: Values that the run is given.

    Raises:
        ValueError: If the graph has a `once` node; use `best_goal` at each decision point instead.
    """
    if any(node.effect == "once" for node in graph.nodes):
        raise ValueError("what a run with `once` nodes can still reach depends on what it has done")
    situation = Situation(held=dict.fromkeys(inputs, (INPUT,)), excluded=frozenset(dead))
    usable = usable_now(graph, situation)
    for index, goal in enumerate(goals):
        if all(sources(graph, situation, usable, goal.name, need) for need in goal.needs):
            return index
    return None


# --------------------------------------------------------------------------------------------------------- the tree sum


@dataclass(frozen=True, slots=True)
class Tree:
    """The cheapest tree below one consumer, by the tie rule; shared nodes count once per use."""

    cost: int
    """Micro-units of all that the consumer needs, its own weight not included."""
    nodes: int
    """Nodes that have not finished, those in flight included, with multiplicity."""
    choices: tuple[str | None, ...]
    """The source of each need, in the order of the needs."""


def have(graph: Graph, view: View, situation: Situation, objective: Objective = DECLARED) -> dict[str, Tree]:
    """Return the tree sum of every usable node and every goal that can be had, by fixpoint iteration.

    ``have(j)`` sums over the needs of j the least ``have(i) + edge(i, j) + node(i) / trail(i, j)``. Held sources and
    nodes in flight cost their edge, run inputs nothing, doing without its price. Providers beside a finished `once`
    node carry the cost of its undo. Ties go by cost, then nodes in the tree that have not finished (one in flight has
    not), then name, done without being the last. Conflicts of `once` nodes are no matter of a tree: its route may be
    an illegal one.
    """
    usable = usable_now(graph, situation, view)
    consumers: list[Node | Goal] = [*(node for node in graph.nodes if node.name in usable), *graph.goals]
    table: dict[str, Tree] = {}

    def rank(consumer: str, need: Need, source: str | None) -> tuple[int, int, bool, str]:
        if source is None:
            return micro(need.optional or 0.0), 0, True, ""
        if source == INPUT:
            return 0, 0, False, INPUT
        cost = edge_weight(graph, source, consumer)
        if source not in usable:
            return cost, int(source in situation.in_flight), False, source
        cost += node_weight(view, source, consumer) + table[source].cost
        cost += sum(
            undo_cost(graph.by_name[effect], objective)
            for effect in situation.finished_effects
            if share_a_value(graph, effect, source)
        )
        return cost, table[source].nodes + 1, False, source

    def best_tree(consumer: Node | Goal) -> Tree | None:
        ranked = []
        for need in consumer.needs:
            known = [s for s in sources(graph, situation, usable, consumer.name, need) if s not in usable or s in table]
            if not known:
                return None
            ranked.append(min((*rank(consumer.name, need, source), source) for source in known))
        return Tree(sum(best[0] for best in ranked), sum(best[1] for best in ranked), tuple(best[4] for best in ranked))

    while True:
        after = {consumer.name: tree for consumer in consumers if (tree := best_tree(consumer))}
        if after == table:
            return table
        table = after


def tree_route(
    graph: Graph, goal: Goal, view: View, situation: Situation, objective: Objective = DECLARED
) -> Route | None:
    """Return the route that the tree sum picks, which a `once` conflict may forbid; None where there is none."""
    table = have(graph, view, situation, objective)
    if goal.name not in table:
        return None
    choices: dict[Want, str | None] = {}
    below = [goal.name]
    while below:
        consumer = below.pop()
        for position, source in enumerate(table[consumer].choices):
            choices[consumer, position] = source
            if source in table:
                below.append(source)
    return route_of(graph, goal, situation, choices)
