"""Backups: what would take the place of each step of a route if it failed, from the work done by then.

Two for each step: without the node, and without everything that shares a fault domain with it. They are told when
somebody asks; a run plans from where it really stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.graph import Graph
from orchestrator.planner.plan import Planner
from orchestrator.planner.route import Route, Situation
from orchestrator.units import MICRO
from orchestrator.weight import View

__all__ = ("Backup", "Detour", "backups", "detour", "sharing")


@dataclass(frozen=True, slots=True)
class Detour:
    """What is left to be done without some nodes, and its weight in units."""

    without: tuple[str, ...]
    route: tuple[str, ...]
    weight: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {"without": list(self.without), "route": list(self.route), "weight": self.weight}


@dataclass(frozen=True, slots=True)
class Backup:
    """What follows if a step fails; None where nothing leads to the goal then."""

    node: Detour | None
    """Without the node."""
    domain: Detour | None
    """Without the unfinished nodes of its fault domains; the same as `node` where it shares none."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "node": None if self.node is None else self.node.as_dict(),
            "domain": None if self.domain is None else self.domain.as_dict(),
        }


def backups(planner: Planner, view: View, route: Route, situation: Situation) -> dict[str, Backup]:
    """Return the backups of each step of *route*, in its order."""
    found = {}
    for name, then in _moments(planner.graph, route, situation):
        alone = _planned(planner, view, route.goal, then, (name,))
        shared = sharing(planner.graph, name, then)
        found[name] = Backup(alone, alone if len(shared) == 1 else _planned(planner, view, route.goal, then, shared))
    return found


def _planned(planner: Planner, view: View, goal: str, then: Situation, without: tuple[str, ...]) -> Detour | None:
    excluded = {**then.excluded, **dict.fromkeys(without, "failed")}
    return detour(without, planner.plan(view, goal, replace(then, excluded=excluded)))


def detour(without: tuple[str, ...], route: Route) -> Detour | None:
    """Return a route that was planned without some nodes as what would follow; None where it is none."""
    return Detour(without, route.nodes, route.weight / MICRO) if route.feasible else None


def sharing(graph: Graph, name: str, then: Situation) -> tuple[str, ...]:
    """Return a node and, by name, the unfinished others that share a fault domain with it."""
    domains = set(graph.by_name[name].domains)
    others = (node.name for node in graph.nodes if domains.intersection(node.domains) and node.name != name)
    return (name, *sorted(other for other in others if other not in then.finished))


def _moments(graph: Graph, route: Route, situation: Situation) -> Iterable[tuple[str, Situation]]:
    """Yield each step with where the run stands if those before it have finished."""
    then = situation
    for name in route.nodes:
        yield name, then
        node = graph.by_name[name]
        held = {value: (*then.held.get(value, ()), name) for value in node.provides}
        effects = {name: node.undo} if node.effect == "once" or node.undo else {}
        made_from = {
            effect: None
            for source in route.sources[name]
            if source is not None
            for effect in (*((source,) if source in then.effects else ()), *then.rests.get(source, ()))
        }
        then = replace(
            then,
            held={**then.held, **held},
            finished=then.finished | {name},
            effects={**then.effects, **effects},
            rests={**then.rests, **({name: tuple(made_from)} if made_from else {})},
        )
