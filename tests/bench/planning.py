"""Cold planning of single-need graphs, against the shortest paths of networkx and rustworkx.

All sides start from what they have built: our index, their graph. Planning has no table or path to fall back on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import networkx as nx

from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Planner, Situation
from orchestrator.planner.search import shortest_path
from orchestrator.policy import Objective
from orchestrator.weight import View, declared_view
from tests.bench.laps import time_sync
from tests.bench.report import Bar, Section, Table
from tests.bench.shapes import GOAL, QUESTION, layered, staged

__all__ = ("Planning", "as_digraph", "measure")

SHAPES: dict[str, Callable[[int, int], Graph]] = {"layers": layered, "stages": staged}
SIZES = {20: (101, 40), 100: (101, 10), 1_000: (41, 2), 10_000: (11, 1)}
"""Per number of nodes: rounds, and how many plans make a turn. Short turns, so that all sides see the same weather."""

START = Situation(held={QUESTION: (INPUT,)})


def as_digraph(graph: Graph, view: View) -> nx.DiGraph[str]:
    """Return the same problem as a plain weighted graph: from the question to the goal.

    Whoever uses a node's value pays for the node, so a node's cost lies on the edges that leave it, and the edges
    that leave the question cost nothing.
    """
    weights = dict(view.weights)
    digraph: nx.DiGraph[str] = nx.DiGraph()
    for node in graph.nodes:
        if any(need.value == QUESTION for need in node.needs):
            digraph.add_edge(QUESTION, node.name, weight=0)
    for provider, consumer, _ in graph.implied_edges():
        digraph.add_edge(provider, consumer, weight=weights[provider])
    return digraph


@dataclass(frozen=True, slots=True)
class Planning:
    """One problem, ready to be solved by everybody."""

    graph: Graph
    planner: Planner
    view: View
    digraph: nx.DiGraph[str]

    @classmethod
    def of(cls, graph: Graph) -> Planning:
        """Build index and graph."""
        view, planner = declared_view(graph, Objective()), Planner(graph, remember=0)
        planner.index(view)
        return cls(graph, planner, view, as_digraph(graph, view))

    def ours(self) -> dict[str, Callable[[], Any]]:
        """Return what of ours is timed."""
        index = self.planner.index(self.view)
        ground, goal = self.planner.ground(index, START), index.goal_number[GOAL]
        return {
            "plan": lambda: self.planner.plan(self.view, GOAL, START),
            "shortest_path": lambda: shortest_path(index, ground, goal),
        }

    def networkx(self) -> Callable[[], list[str]]:
        """Return the search of networkx."""
        return lambda: nx.dijkstra_path(self.digraph, QUESTION, GOAL)

    def rustworkx(self) -> Callable[[], Any]:
        """Return the search of rustworkx."""
        import rustworkx as rx

        graph = rx.PyDiGraph()
        number = {name: graph.add_node(name) for name in self.digraph}
        weighted: Any = self.digraph.edges(data="weight")
        graph.add_edges_from([(number[a], number[b], float(weight)) for a, b, weight in weighted])
        start, goal = number[QUESTION], number[GOAL]
        return lambda: rx.digraph_dijkstra_shortest_paths(graph, start, target=goal, weight_fn=float)

    def check(self) -> int:
        """Return the weight that planner and networkx agree on."""
        route = self.planner.plan(self.view, GOAL, START)
        theirs = nx.path_weight(self.digraph, self.networkx()(), "weight")
        if not (route.weight == route.bound == theirs == self.ours()["shortest_path"]().have):
            raise AssertionError(f"{self.graph.name}: {route.weight} and {theirs} are not the same weight")
        return route.weight


def measure() -> Section:
    """Measure every shape at every size."""
    rows, bars = [], []
    for shape, draw in SHAPES.items():
        for size, (rounds, batch) in SIZES.items():
            planning = Planning.of(draw(size, 1))
            planning.check()
            calls = {**planning.ours(), "networkx": planning.networkx(), "rustworkx": planning.rustworkx()}
            path = calls["rustworkx"]()
            hops = len(next(iter(path.values())))
            laps = time_sync(calls, rounds, batch)
            gain = laps.ratio("networkx", "plan")
            rows.append(
                (
                    shape,
                    f"{size:,}",
                    f"{planning.digraph.number_of_edges() / size:.1f}",
                    f"{hops:,}",
                    *(laps.time(name, 1e6).text(0) for name in calls),
                    gain.text(),
                    laps.ratio("networkx", "shortest_path").text(),
                    laps.ratio("rustworkx", "plan").text(),
                    laps.ratio("rustworkx", "shortest_path").text(),
                )
            )
            bars.append(
                Bar(f"{shape}, {size:,} nodes: at least 2x faster than networkx", f"{gain.text()}x", gain.median >= 2)
            )
    header = (
        *("shape", "nodes", "degree", "hops", "`plan`, us", "`shortest_path`, us", "networkx, us", "rustworkx, us"),
        *("networkx / `plan`", "networkx / `shortest_path`", "rustworkx / `plan`", "rustworkx / `shortest_path`"),
    )
    text = (
        "Cold, from built indexes and graphs, towards one goal; equal weights are asserted. `plan` is `Planner.plan`\n"
        "with the `Route` that it returns, `shortest_path` its search alone; against `networkx.dijkstra_path` and\n"
        "`rustworkx.digraph_dijkstra_shortest_paths(weight_fn=float)`. *Layers*: a random layered graph, every edge a\n"
        "value of its own. *Stages*: a long chain of single values with four alternatives each."
    )
    return Section("Cold planning of single-need graphs", text, [Table(header, rows)], bars)
