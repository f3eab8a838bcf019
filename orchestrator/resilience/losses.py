"""Losses: what can fail as one, a node or a fault domain, as far as it could serve a goal.

A set of losses is a bit mask over the goal's losses, nodes by name first and then domains by name; that is also the
order in which sets are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.graph import Graph
from orchestrator.planner.behind import nodes_behind

__all__ = ("MOST", "Loss", "bits", "losses_of")

MOST = 3
"""Most failures at once that are looked at."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A node, or a domain that fails as a whole: one failure, however many nodes it takes."""

    name: str
    nodes: tuple[str, ...]
    """The nodes that are gone with it, as far as they could serve the goal."""
    domain: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the loss as JSON-ready data."""
        return {"kind": "domain" if self.domain else "node", "name": self.name, "nodes": list(self.nodes)}


def losses_of(graph: Graph, goal: str) -> tuple[Loss, ...]:
    """Return everything whose loss could matter to a goal: nodes by name, then domains by name."""
    nodes = nodes_behind(graph, goal)
    domains: dict[str, list[str]] = {}
    for name in nodes:
        for domain in dict.fromkeys(graph.by_name[name].domains):
            domains.setdefault(domain, []).append(name)
    whole = (Loss(domain, tuple(names), domain=True) for domain, names in sorted(domains.items()))
    return (*(Loss(name, (name,)) for name in nodes), *whole)


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits of a mask, lowest first."""
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
