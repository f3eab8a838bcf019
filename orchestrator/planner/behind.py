"""What lies behind a goal by values alone, whatever is forbidden, excluded or dear."""

from __future__ import annotations

from orchestrator.graph import Graph

__all__ = ("nodes_behind", "values_behind")


def nodes_behind(graph: Graph, goal: str) -> tuple[str, ...]:
    """Return the nodes that could serve a goal, by name."""
    return tuple(sorted(_behind(graph, graph.goal_by_name[goal].values)[0]))


def values_behind(graph: Graph, goal: str | None = None) -> frozenset[str]:
    """Return the values that could matter to *goal* or a lower one; default: to any."""
    goals = list(graph.goals)
    if goal is not None:
        goals = goals[goals.index(graph.goal_by_name[goal]) :]
    return frozenset(_behind(graph, tuple(value for each in goals for value in each.values))[1])


def _behind(graph: Graph, values: tuple[str, ...]) -> tuple[dict[str, None], dict[str, None]]:
    nodes: dict[str, None] = {}
    seen: dict[str, None] = {}
    stack = list(values)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen[value] = None
        for name in graph.providers.get(value, ()):
            if name not in nodes:
                nodes[name] = None
                stack.extend(need.value for need in graph.by_name[name].needs)
    return nodes, seen
