"""Bridges between the planner's records and those of the oracle."""

from __future__ import annotations

from orchestrator.graph import Goal, Graph, Node
from orchestrator.planner import Limits, Route, Situation
from tests import oracle

__all__ = ("oracle_route", "planner_limits", "planner_situation")


def planner_situation(graph: Graph, situation: oracle.Situation, goal: Goal, limits: oracle.Left) -> Situation:
    """Write the oracle's situation as the planner's."""
    stands = situation.finished_effects | {name for name in situation.finished if graph.by_name[name].undo}
    taken = {provider for value, provider in situation.withdrawn if value in goal.values}
    return Situation(
        held=situation.held,
        in_flight=dict.fromkeys(sorted(situation.in_flight), 0.0),
        excluded=dict.fromkeys(sorted(situation.excluded), "excluded"),
        effects={name: graph.by_name[name].undo and name not in situation.undo_failed for name in sorted(stands)},
        unresolved=situation.unresolved - situation.in_flight,
        finished=situation.finished,
        withdrawn=frozenset((provider, goal.name) for provider in taken),
        left=planner_limits(limits),
    )


def planner_limits(limits: oracle.Left) -> Limits:
    """Write the oracle's limits as the planner's."""
    return Limits(limits.usd, limits.seconds, limits.calls)


def oracle_route(graph: Graph, goal: Goal, situation: oracle.Situation, route: Route) -> oracle.Route:
    """Read the planner's route as the oracle's choices."""
    sources = {**route.sources, goal.name: route.goal_sources}
    consumers: list[Node | Goal] = [*(graph.by_name[name] for name in sorted(route.sources)), goal]
    choices = {
        want: source
        for consumer in consumers
        for (want, _), source in zip(oracle.wants_of(consumer), sources[consumer.name], strict=True)
    }
    return oracle.route_of(graph, goal, situation, choices)
