"""The graph that is planned over: nodes that need and provide values, goals, and the exceptions to implied edges.

A graph is frozen and holds no secret: how a node is *called* lives elsewhere. Nodes are sorted by name, so the
order of a file can never change a route. An edge goes from every provider of a value to every node that needs it;
only exceptions (an extra cost, a forbidden pair) are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import TypeAdapter

__all__ = ("INPUT", "Edge", "Effect", "Goal", "Graph", "Need", "Node", "RunInput")

INPUT = "input"
"""The provider of every run input. No node may have this name."""

Effect = Literal["read", "idempotent", "once"]
"""What repeating a call does; a node without one is *unmarked* and never repeated."""


@dataclass(frozen=True, slots=True)
class Need:
    """One value that a node needs before it can run."""

    parameter: str
    value: str
    optional: float | None = None
    """Price, in cost units, of doing without (the node is then given null); None: the value is required."""
    passed: bool = True
    """Whether the value is handed to the node; `after:` needs are not."""


@dataclass(frozen=True, slots=True)
class Node:
    """A tool or an agent, as planning and running see it. Times are seconds, `units` cost units."""

    name: str
    kind: str = "declared"
    needs: tuple[Need, ...] = ()
    provides: tuple[str, ...] = ()
    """Values; a pure effect provides a null value of its own name."""
    pure: bool = False
    effect: Effect | None = None
    units: float | None = None
    usd: float | None = None
    seconds: float | None = None
    success: float = 1.0
    risk: float = 0.0
    undo: bool = False
    undo_units: float | None = None
    """Price of the undo in units; None: the node's own cost."""
    verify: bool = False
    output: bool = False
    """Whether an output contract is declared."""
    guard: bool = False
    gate: Literal["never", "always", "function"] = "never"
    timeout: float = 30.0
    attempts: int = 2
    backoff: float = 0.2
    max_backoff: float = 5.0
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """An exception to the implied edges: an extra cost in units, or a forbidden pair with its reason."""

    source: str
    target: str
    """A node or a goal."""
    cost: float = 0.0
    forbid: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """A set of values to reach, and whether a check must pass on them."""

    name: str
    values: tuple[str, ...]
    check: bool = False

    @property
    def needs(self) -> tuple[Need, ...]:
        """The goal's values as needs: a goal is a consumer like any other."""
        return tuple(Need(value, value) for value in self.values)


@dataclass(frozen=True, slots=True)
class RunInput:
    """A declared run input: a JSON Schema for it, and whether a default exists."""

    name: str
    schema: dict[str, Any] = field(default_factory=dict)
    default: Any = None
    required: bool = True


@dataclass(frozen=True)
class Graph:
    """Nodes, goals (best first), written edges and declared inputs."""

    nodes: tuple[Node, ...]
    goals: tuple[Goal, ...]
    edges: tuple[Edge, ...] = ()
    inputs: tuple[RunInput, ...] = ()
    name: str = "graph"

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(sorted(self.nodes, key=lambda node: node.name)))

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def goal_by_name(self) -> dict[str, Goal]:
        """Goals by name, best first."""
        return {goal.name: goal for goal in self.goals}

    @cached_property
    def providers(self) -> dict[str, tuple[str, ...]]:
        """The nodes that provide each value, by name."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            for value in node.provides:
                found.setdefault(value, []).append(node.name)
        return {value: tuple(names) for value, names in sorted(found.items())}

    @cached_property
    def written_edges(self) -> dict[tuple[str, str], Edge]:
        """Written edges by (source, target)."""
        return {(edge.source, edge.target): edge for edge in self.edges}

    @cached_property
    def run_inputs(self) -> tuple[str, ...]:
        """Values that something needs, required, and nothing provides: the run must be given them."""
        wanted = {need.value for node in self.nodes for need in node.needs if need.optional is None}
        wanted.update(value for goal in self.goals for value in goal.values)
        return tuple(sorted(wanted - set(self.providers)))

    @cached_property
    def values(self) -> tuple[str, ...]:
        """Every value that a node or goal needs or provides, sorted."""
        found = set(self.providers)
        found.update(need.value for node in self.nodes for need in node.needs)
        found.update(value for goal in self.goals for value in goal.values)
        return tuple(sorted(found))

    def implied_edges(self) -> Iterator[tuple[str, str, str]]:
        """Yield (provider, consumer, value) for every permitted pair; goals are consumers too."""
        consumers = [(node.name, node.needs, True) for node in self.nodes]
        consumers += [(goal.name, goal.needs, False) for goal in self.goals]
        for consumer, needs, is_node in consumers:
            for need in needs:
                for provider in self.providers.get(need.value, ()):
                    # A node and a goal may share a name; a written edge then means the node.
                    written = self.written_edges.get((provider, consumer))
                    meant = is_node or consumer not in self.by_name
                    itself = is_node and provider == consumer
                    if not itself and not (meant and written is not None and written.forbid):
                        yield provider, consumer, need.value

    def as_dict(self) -> dict[str, Any]:
        """Return the graph as JSON-ready data; `from_dict` reads it back."""
        data: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Graph:
        """Read a graph written by `as_dict`."""
        return _ADAPTER.validate_python(data)


_ADAPTER: TypeAdapter[Graph] = TypeAdapter(Graph)
