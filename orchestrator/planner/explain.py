"""Why this route: the terms of each weight, why each other candidate was left, and the runner-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.graph import Graph, Need, Node
from orchestrator.planner.backups import Backup, backups
from orchestrator.planner.behind import nodes_behind
from orchestrator.planner.bound import Sharing
from orchestrator.planner.index import Index
from orchestrator.planner.plan import Planner
from orchestrator.planner.route import Route, Situation
from orchestrator.planner.search import Ground
from orchestrator.units import MICRO, micro
from orchestrator.weight import FLOOR, View, declared_cost, declared_weight, undo_cost

__all__ = ("Explanation", "NodeWeight", "RunnerUp", "explain")

RUNNER_UP_EXPANSIONS = 2_000
"""Budget for improving each of the routes among which the runner-up is found, and each backup."""


@dataclass(frozen=True, slots=True)
class NodeWeight:
    """What one node adds to the route's weight, in units, and who serves its needs."""

    weight: float
    cost: float
    success: float
    trail: float
    edge: float
    price: float
    undo: float
    inputs: Mapping[str, str | None]
    health: float = 1.0
    """By which what is measured differs from what is declared."""

    def as_dict(self) -> dict[str, Any]:
        """Return the weight as JSON-ready data; terms that are mostly zero are left out when they are."""
        terms = {"cost": self.cost, "success": self.success, "trail": self.trail, "edge": self.edge}
        if self.health != 1:
            terms["health"] = self.health
        if self.price:
            terms["price"] = self.price
        if self.undo:
            terms["undo"] = self.undo
        return {"weight": self.weight, "terms": terms, "inputs": dict(self.inputs)}


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The cheapest route found with one chosen node removed."""

    route: tuple[str, ...]
    weight: float
    without: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A route with its reasons."""

    route: Route
    nodes: Mapping[str, NodeWeight]
    into_goal: float
    unused: Mapping[str, str]
    runner_up: RunnerUp | None
    goals: tuple[Route, ...] = field(default=())
    """The route of every listed goal, best first."""
    backups: Mapping[str, Backup] = field(default_factory=dict)
    """What would take the place of each step if it failed."""

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as the data that ``plan --json`` prints."""
        route = self.route
        feasible = route.feasible
        return {
            "goal": route.goal,
            "feasible": feasible,
            "verdict": route.verdict,
            "weight": route.weight / MICRO if feasible else None,
            "exact": route.exact if feasible else None,
            "bound": route.bound / MICRO if feasible else None,
            "route": list(route.nodes),
            "nodes": {name: found.as_dict() for name, found in self.nodes.items()},
            "into_goal": self.into_goal,
            "usd": route.usd,
            "seconds": route.seconds,
            "calls": route.calls,
            "limits": {
                name: {"left": figures.left, "route": figures.route, "least": figures.least}
                for name, figures in route.limits.items()
            },
            "unused": dict(self.unused),
            "runner_up": None
            if self.runner_up is None
            else {
                "route": list(self.runner_up.route),
                "weight": self.runner_up.weight,
                "without": self.runner_up.without,
            },
            "backups": {name: backup.as_dict() for name, backup in self.backups.items()},
            "reason": route.reason,
            "goals": [
                {
                    "name": other.goal,
                    "feasible": other.feasible,
                    "weight": other.weight / MICRO if other.feasible else None,
                }
                for other in self.goals
            ],
        }


def explain(planner: Planner, view: View, goal: str, situation: Situation) -> Explanation:
    """Plan a route to *goal* and say why it is the one."""
    route = planner.plan(view, goal, situation)
    index = planner.index(view)
    ground = planner.ground(index, situation)
    return Explanation(
        route,
        _weights(planner, index, route),
        _into_goal(planner.graph, route),
        _unused(planner.graph, index, ground, route, situation),
        _runner_up(planner, view, route, situation),
        tuple(
            route if other.name == goal else planner.plan(view, other.name, situation) for other in planner.graph.goals
        ),
        backups(_rival(planner), view, route, situation),
    )


def _weights(planner: Planner, index: Index, route: Route) -> dict[str, NodeWeight]:
    graph = planner.graph
    uses: dict[str, list[int]] = {}
    consumers = [(index.number[name], sources) for name, sources in route.sources.items()]
    for c, sources in [*consumers, (index.goal_number[route.goal], route.goal_sources)]:
        for source in sources:
            if source is not None:
                uses.setdefault(source, []).append(c)
    undone: set[str] = set()
    found = {}
    for name in route.nodes:
        node, sources = graph.by_name[name], route.sources[name]
        number = index.number[name]
        own = min(index.node_cost(number, c) for c in uses[name])
        edge = _edges(graph, name, sources)
        price = _prices(node.needs, sources)
        undo = 0
        for effect in route.abandons:
            if effect not in undone and set(graph.by_name[effect].provides) & set(node.provides):
                undone.add(effect)
                undo += undo_cost(graph.by_name[effect], planner.objective)
        found[name] = NodeWeight(
            weight=(own + edge + price + undo) / MICRO,
            cost=max(declared_cost(node, planner.objective), FLOOR),
            success=node.success,
            trail=index.weight[number] / own,
            edge=edge / MICRO,
            price=price / MICRO,
            undo=undo / MICRO,
            inputs={need.parameter: source for need, source in zip(node.needs, sources, strict=True)},
            health=index.weight[number] / declared_weight(node, planner.objective),
        )
    return found


def _edges(graph: Graph, consumer: str, sources: tuple[str | None, ...]) -> int:
    written = (graph.written_edges.get((source, consumer)) for source in {s for s in sources if s is not None})
    return sum(micro(edge.cost) for edge in written if edge is not None)


def _prices(needs: tuple[Need, ...], sources: tuple[str | None, ...]) -> int:
    return sum(micro(need.optional or 0.0) for need, source in zip(needs, sources, strict=True) if source is None)


def _into_goal(graph: Graph, route: Route) -> float:
    return _edges(graph, route.goal, route.goal_sources) / MICRO


# --------------------------------------------------------------------------------------------------- not on the route


def _unused(graph: Graph, index: Index, ground: Ground, route: Route, situation: Situation) -> dict[str, str]:
    goal = graph.goal_by_name[route.goal]
    sharing = Sharing(index, ground, index.goal_number[goal.name])
    tree = _trees(index, sharing)
    taken = set(route.nodes) | set(situation.finished) | set(situation.in_flight)
    return {
        name: _reason(graph, index, sharing, tree, route, situation, name)
        for name in nodes_behind(graph, goal.name)
        if name not in taken
    }


def _trees(index: Index, sharing: Sharing) -> dict[int, int]:
    """Return what each usable node costs with all its needs, shared results counted once per use."""
    found: dict[int, int] = {}
    for p in sharing.nodes:
        total = sharing.cost[p]
        for m in index.needs[p]:
            price = index.price[m]
            options = [edge + found.get(q, 0) for q, edge in sharing.options[m]] + ([] if price is None else [price])
            total += min(options, default=0)
        found[p] = total
    return found


def _reason(
    graph: Graph,
    index: Index,
    sharing: Sharing,
    tree: Mapping[int, int],
    route: Route,
    situation: Situation,
    name: str,
) -> str:
    node, number = graph.by_name[name], index.number[name]
    if name in situation.excluded:
        return situation.excluded[name]
    if number in index.vetoed:
        return f"vetoed: {index.vetoed[number]}"
    if number in sharing.ground.barred:
        return "excluded: an effect for the same value stands or is open"
    shut = _forbidden(graph, node)
    if shut is not None:
        return shut
    if number not in sharing.alive:
        missing = [index.value[m] for m in index.needs[number] if not _had(index, sharing, m)]
        return f"unmet: {', '.join(missing)}"
    if route.reason is not None and route.reason.startswith("limit:"):
        return f"limit: {route.reason.removeprefix('limit:')}"
    if not route.feasible:
        # It could run, and yet leads nowhere: the goal lacks something else.
        lacking = [index.value[m] for m in index.needs[index.goal_number[route.goal]] if not _had(index, sharing, m)]
        return f"unmet: {', '.join(lacking) or route.goal}"
    for consumer, sources in [*route.sources.items(), (route.goal, route.goal_sources)]:
        needs = graph.goal_by_name[consumer].needs if consumer == route.goal else graph.by_name[consumer].needs
        for need, source in zip(needs, sources, strict=True):
            if need.value in node.provides and number in tree and source is not None:
                chosen = tree.get(index.number[source], 0)
                if tree[number] > chosen:
                    ours, theirs = tree[number] / MICRO, chosen / MICRO
                    return f"dearer: {need.value} costs {ours:g} through it, {theirs:g} through {source}"
    return "dearer: the route without it costs less as a whole"


def _forbidden(graph: Graph, node: Node) -> str | None:
    """Return why written edges alone keep a node out: they shut off one of its needs, or everything that it feeds."""
    for need in node.needs:
        providers = [p for p in graph.providers.get(need.value, ()) if p != node.name]
        edges = [graph.written_edges.get((p, node.name)) for p in providers]
        if need.optional is None and edges and all(edge is not None and edge.forbid for edge in edges):
            return _because(edges[0].reason if edges[0] else None, f"nothing that makes {need.value} may feed it")
    names = [other.name for other in graph.nodes if any(n.value in node.provides for n in other.needs)]
    names += [goal.name for goal in graph.goals if any(value in node.provides for value in goal.values)]
    edges = [graph.written_edges.get((node.name, name)) for name in names if name != node.name]
    if edges and all(edge is not None and edge.forbid for edge in edges):
        return _because(edges[0].reason if edges[0] else None, "it may not feed anything that needs it")
    return None


def _because(reason: str | None, otherwise: str) -> str:
    return f"forbidden: {reason or otherwise}"


def _had(index: Index, sharing: Sharing, m: int) -> bool:
    """Whether some source may serve a need."""
    ground, c = sharing.ground, index.consumer[m]
    held = ground.held.get(index.value[m], ())
    return (
        index.price[m] is not None
        or any((p, c) not in index.forbidden for p in held)
        or any(p in sharing.alive or p in ground.in_flight for p, _, _ in index.candidates[m])
    )


def _rival(planner: Planner) -> Planner:
    """Return a planner that soon has an answer."""
    return Planner(planner.graph, planner.objective, expansions=min(planner.expansions, RUNNER_UP_EXPANSIONS))


def _runner_up(planner: Planner, view: View, route: Route, situation: Situation) -> RunnerUp | None:
    rival = _rival(planner)
    best: RunnerUp | None = None
    for name in sorted(route.nodes):
        without = replace(situation, excluded={**situation.excluded, name: "excluded: to find the runner-up"})
        other = rival.plan(view, route.goal, without)
        if other.verdict == "found" and (best is None or other.weight / MICRO < best.weight):
            best = RunnerUp(other.nodes, other.weight / MICRO, name)
    return best
