"""The graph as a `networkx.DiGraph` and as node-link JSON, both ways.

An edge runs from each provider to each consumer that it may serve; an edge that is not there is forbidden. So
networkx's own algorithms see what the planner sees, and a graph edited with them can be read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import Problem, SpecError
from orchestrator.export.flow import Consumer, flows, given
from orchestrator.graph import INPUT, Edge, Goal, Graph, Node, RunInput
from orchestrator.policy import Objective
from orchestrator.units import MICRO, micro
from orchestrator.weight import declared_view

if TYPE_CHECKING:
    import networkx as nx

__all__ = ("from_networkx", "from_node_link", "to_networkx", "to_node_link")

Record = TypeVar("Record")

_NODE = TypeAdapter(Node)
_GOAL = TypeAdapter(Goal)
_EDGES = TypeAdapter(tuple[Edge, ...])
_INPUTS = TypeAdapter(tuple[RunInput, ...])


def to_networkx(graph: Graph, *, objective: Objective | None = None) -> nx.DiGraph[str]:
    """Return *graph* as a directed graph that `from_networkx` reads back to an equal one.

    Nodes are tools and agents, goals, and ``"input"`` where a run is given values; the attribute ``role`` tells them
    apart, the others are the fields of `Node`, `Goal` and `RunInput` as JSON-ready data. A goal that shares its name
    with a node is keyed ``"goal NAME"``. Every edge has ``values`` (what flows), ``cost`` (written extra cost, units)
    and ``weight`` (``cost`` plus the provider's declared expected cost, units). The graph's attribute
    ``written_edges`` holds the exceptions as they were written, forbidden pairs with their reasons among them.

    Args:
        graph: The graph.
        objective: Rates for ``weight``; None: the default ones.

    Raises:
        ValueError: Two names collide (a node named ``input``, or two goals of one name).
    """
    import networkx as nx

    _check_names(graph)
    data = graph.as_dict()
    digraph: nx.DiGraph[str] = nx.DiGraph(name=graph.name, written_edges=data["edges"])
    for node in data["nodes"]:
        digraph.add_node(node["name"], role="node", **node)
    values = given(graph)
    if values:
        digraph.add_node(INPUT, role="input", name=INPUT, provides=list(values), inputs=data["inputs"])
    for rank, goal in enumerate(data["goals"], start=1):
        digraph.add_node(_key(graph, Consumer(goal["name"], rank)), role="goal", rank=rank, **goal)
    weights = dict(declared_view(graph, objective or Objective()).weights)
    for source, target, flowing, cost in _pairs(graph):
        weight = (micro(cost) + weights.get(source, 0)) / MICRO
        digraph.add_edge(source, target, values=flowing, cost=cost, weight=weight)
    return digraph


def from_networkx(digraph: nx.DiGraph[str]) -> Graph:
    """Read a graph from a `networkx.DiGraph` with the attributes that `to_networkx` writes.

    A node without ``role`` is a tool; goals are ordered by ``rank``. An edge's ``cost`` counts; ``values`` and
    ``weight`` follow from the rest and are not read. A pair that could be joined and is not becomes forbidden.

    Raises:
        SpecError: An attribute does not fit, or an edge joins nodes between which no value may flow.
    """
    nodes: list[Node] = []
    ranked: list[tuple[float, Goal]] = []
    inputs: tuple[RunInput, ...] = ()
    for key, data in digraph.nodes(data=True):
        match data.get("role", "node"):
            case "node":
                nodes.append(_read(_NODE, {**data, "name": key}, f"node {key!r}"))
            case "goal":
                ranked.append((data.get("rank", float("inf")), _read(_GOAL, {"name": key, **data}, f"goal {key!r}")))
            case "input":
                inputs = _read(_INPUTS, data.get("inputs", ()), "the run inputs")
            case role:
                problem = Problem("bad-attribute", f"{key!r} has the unknown role {role!r}", help="node, goal or input")
                raise SpecError((problem,))
    goals = tuple(goal for _, goal in sorted(ranked, key=lambda pair: pair[0]))
    written = _read(_EDGES, digraph.graph.get("written_edges", ()), "written_edges")
    graph = Graph(tuple(nodes), goals, written, inputs, digraph.graph.get("name", "graph"))
    return replace(graph, edges=_edges_of(digraph, graph))


def to_node_link(graph: Graph) -> dict[str, Any]:
    """Return *graph* as JSON-ready node-link data: ``nodes`` with ``id``, ``edges`` with ``source`` and ``target``."""
    import networkx as nx

    data: dict[str, Any] = nx.node_link_data(to_networkx(graph), edges="edges")
    return data


def from_node_link(data: dict[str, Any]) -> Graph:
    """Read a graph from the node-link data that `to_node_link` writes.

    Raises:
        SpecError: As `from_networkx`, or the data is no node-link data.
    """
    import networkx as nx

    try:
        digraph: nx.DiGraph[str] = nx.DiGraph(nx.node_link_graph(data, directed=True, multigraph=False, edges="edges"))
    except (KeyError, TypeError, AttributeError, nx.NetworkXError) as error:
        message = f"this is no node-link data: {type(error).__name__} {error}"
        raise SpecError((Problem("bad-node-link", message, help="it needs `nodes` and `edges`"),)) from error
    return from_networkx(digraph)


def _check_names(graph: Graph) -> None:
    goals = [_key(graph, Consumer(goal.name, rank)) for rank, goal in enumerate(graph.goals, start=1)]
    keys = [INPUT, *(node.name for node in graph.nodes), *goals]
    key, count = Counter(keys).most_common(1)[0]
    if count > 1:
        raise ValueError(f"two nodes of the exported graph would have the name {key!r}")


def _key(graph: Graph, consumer: Consumer) -> str:
    shared = consumer.name == INPUT or consumer.name in graph.by_name
    return f"goal {consumer.name}" if consumer.rank is not None and shared else consumer.name


def _pairs(graph: Graph) -> Iterator[tuple[str, str, list[str], float]]:
    """Yield every permitted pair once: provider, consumer's key, the values that flow, the written cost."""
    found: dict[tuple[str, str], tuple[list[str], float]] = {}
    for flow in flows(graph):
        extra = dict(flow.extra)
        target = _key(graph, flow.consumer)
        for source in flow.providers:
            values, _ = found.setdefault((source, target), ([], extra.get(source, 0.0)))
            if flow.need.value not in values:
                values.append(flow.need.value)
    for (source, target), (values, cost) in found.items():
        yield source, target, values, cost


def _edges_of(digraph: nx.DiGraph[str], graph: Graph) -> tuple[Edge, ...]:
    """Return the written edges of *graph* with what the edges of *digraph* say instead."""
    implied = {(source, target): cost for source, target, _, cost in _pairs(graph)}
    costs = {(source, target): float(data.get("cost", 0.0)) for source, target, data in digraph.edges(data=True)}
    problems = [
        Problem("edge-without-value", f"no value may flow from {source!r} to {target!r}", help="give the pair a value")
        for source, target in costs
        if (source, target) not in implied
    ]
    edges = list(graph.edges)
    for pair, cost in implied.items():
        if costs.get(pair) == cost:
            continue
        source, target = pair
        if target not in graph.by_name and target not in graph.goal_by_name:
            problems.append(
                Problem("ambiguous-edge", f"{target!r} shares its name with a node", help="rename the goal")
            )
        elif pair in costs:
            edges = [edge for edge in edges if (edge.source, edge.target) != pair]
            edges += [Edge(source, target, costs[pair])] if costs[pair] else []
        else:
            reason = "no such edge in the imported graph"
            edges = [edge for edge in edges if (edge.source, edge.target) != pair]
            edges.append(Edge(source, target, forbid=True, reason=reason))
    if problems:
        raise SpecError(tuple(problems))
    return tuple(edges)


def _read(adapter: TypeAdapter[Record], data: Any, what: str) -> Record:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        raise SpecError(
            tuple(
                Problem("bad-attribute", f"{what}: {'.'.join(map(str, found['loc'])) or 'data'}: {found['msg']}")
                for found in error.errors()
            )
        ) from error
