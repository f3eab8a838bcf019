"""One weight: health, price and pheromone meet here, as integer micro-units.

    node(i)   = max(cost(i), 0.001) / success(i)
    use(i, j) = edge(i, j) + node(i) / trail(i, j)

``cost / success`` is the expected cost of a node that is tried until it works (ETX: De Couto et al., 2003). A `View`
is one frozen picture of all weights; runs never read health or trails live. ``node / trail`` and the edge cost are
rounded apart, half up, once per view. A node that must not be used is vetoed and thereby absent, never heavy: an
infinite weight would be a route like any other to a shortest-path search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.graph import Graph, Node
from orchestrator.policy import Objective
from orchestrator.units import micro

__all__ = ("FLOOR", "Concern", "View", "declared_cost", "declared_view", "declared_weight", "undo_cost")

FLOOR = 0.001
"""Least cost of a node, in units: a free node is still a step."""


@dataclass(frozen=True, slots=True)
class Concern:
    """What matters most of all that monitors say: it takes attention, and nothing follows from it."""

    monitor: str
    node: str
    """Empty: it is about no node."""
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class View:
    """A picture of every node's weight at one moment, in micro-units.

    ``weights`` holds ``node(i)`` for every node. ``trails`` holds ``node(i) / trail(i, j)`` for the edges whose trail
    is not 1. ``vetoes`` holds nodes that must not be used, with the reason; ``open`` names those of them whose circuit
    is open, which the last chance of a run may pass. ``gates`` holds nodes of which each call needs a person's yes,
    with the reason. ``spent`` names nodes that are not to be retried, because their retry budget is spent. ``concern``
    is what took attention when the view was made: for people and traces. No run goes by it, so that views which differ
    in that alone are equal, and what is kept for one serves the other.
    """

    id: str
    weights: tuple[tuple[str, int], ...]
    trails: tuple[tuple[str, str, int], ...] = ()
    vetoes: tuple[tuple[str, str], ...] = ()
    open: tuple[str, ...] = ()
    gates: tuple[tuple[str, str], ...] = ()
    spent: tuple[str, ...] = ()
    concern: Concern | None = field(default=None, compare=False)


def declared_cost(node: Node, objective: Objective) -> float:
    """Return the declared cost of one attempt in units; 1 where nothing is declared."""
    if node.units is None and node.usd is None and node.seconds is None:
        return 1.0
    return (
        (node.units or 0.0) * objective.units
        + (node.usd or 0.0) * objective.usd
        + (node.seconds or 0.0) * objective.seconds
    )


def declared_weight(node: Node, objective: Objective) -> int:
    """Return what a node weighs by its declared figures, in micro-units: its cost until it works, at least 1."""
    return max(micro(max(declared_cost(node, objective), FLOOR) / node.success), 1)


def undo_cost(node: Node, objective: Objective) -> int:
    """Return the cost of a node's undo in micro-units: as declared, else the node's own cost."""
    units = declared_cost(node, objective) if node.undo_units is None else node.undo_units * objective.units
    return micro(max(units, FLOOR))


def declared_view(
    graph: Graph,
    objective: Objective,
    *,
    vetoes: Mapping[str, str] | None = None,
    id: str = "declared",
) -> View:
    """Return the view of the declared figures, where nothing has been measured or learnt."""
    weights = tuple((node.name, declared_weight(node, objective)) for node in graph.nodes)
    return View(id, weights, vetoes=tuple(sorted((vetoes or {}).items())))
