"""How many runs are on their way to each node: a tie-break between substitutes that are nearly equal.

If all runs take the lighter of two equal nodes, it gets slow and all take the other one: shortest paths on measured
latency swing. So of substitutes that are nearly as light as the lightest, a new run is shown those with the fewest runs
as the lighter ones. Nearly is within `NEAR`, or within `ALIKE` for those that are declared within `NEAR`: what is
measured of equal nodes differs by as much. A weight that is clearly less is never overruled, and a run that is alone
sees no load.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.graph import Graph

__all__ = ("ALIKE", "NEAR", "Load")

NEAR = 1.1
"""How much heavier a node may be that shares the load of a lighter one: every call of it costs so much more."""
ALIKE = 1.25
"""How far chance alone takes the measured weights of equal nodes apart."""


class Load:
    """The runs that still want each node."""

    def __init__(self, graph: Graph) -> None:
        self._groups = {value: names for value, names in graph.providers.items() if len(names) > 1}
        self._of = {node.name: [value for value in node.provides if value in self._groups] for node in graph.nodes}
        self._wanted: dict[str, dict[str, None]] = {}
        self._runs: dict[str, int] = {}

    def settle(self, run_id: str, wanted: Collection[str]) -> None:
        """The run is now on its way to these nodes, and to no others."""
        self.drop(run_id)
        if wanted:
            self._wanted[run_id] = dict.fromkeys(wanted)
            for name in self._wanted[run_id]:
                self._runs[name] = self._runs.get(name, 0) + 1

    def ended(self, run_id: str, node: str) -> None:
        """The run has called the node."""
        if node in self._wanted.get(run_id, {}):
            del self._wanted[run_id][node]
            self._less(node)

    def drop(self, run_id: str) -> None:
        """The run is over, or takes another route."""
        for name in self._wanted.pop(run_id, {}):
            self._less(name)

    def of(self, node: str) -> int:
        """Return how many runs are on their way to *node*."""
        return self._runs.get(node, 0)

    def busier(
        self, weights: Mapping[str, int], declared: Mapping[str, int], barred: Collection[str]
    ) -> tuple[str, ...]:
        """Return the nodes that have a nearly equal substitute with fewer runs.

        Args:
            weights: Of every node, in micro-units.
            declared: The weights that these were measured from.
            barred: Nodes that cannot be used.
        """
        found: dict[str, None] = {}
        for value in dict.fromkeys(value for name in self._runs for value in self._of.get(name, ())):
            usable = [name for name in self._groups[value] if name not in barred]
            if len(usable) > 1:
                lightest = min(usable, key=lambda name: (weights[name], name))
                near = [name for name in usable if _nearly(name, lightest, weights, declared)]
                least = min(self.of(name) for name in near)
                found.update((name, None) for name in near if self.of(name) > least)
        return tuple(found)

    def _less(self, node: str) -> None:
        self._runs[node] -= 1
        if not self._runs[node]:
            del self._runs[node]


def _nearly(name: str, lightest: str, weights: Mapping[str, int], declared: Mapping[str, int]) -> bool:
    """Return whether a node is nearly as light as the lightest one."""
    alike = declared[name] <= declared[lightest] * NEAR
    return weights[name] <= weights[lightest] * (ALIKE if alike else NEAR)
