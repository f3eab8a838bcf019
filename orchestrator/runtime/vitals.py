"""The health of one process: circuits, the board, and what goes on beside runs.

It outlives runs and belongs to no one of them. Runs see it only as views, and tell it only how attempts went.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from orchestrator.drivers.link import Link
from orchestrator.drivers.probing import Probing
from orchestrator.graph import Graph
from orchestrator.health import Monitor
from orchestrator.health.board import Board
from orchestrator.health.circuits import Circuits
from orchestrator.nodes.binding import BoundProbe
from orchestrator.policy import Circuit, Policy
from orchestrator.spec.defaults import inherited
from orchestrator.spec.models import GraphSpec
from orchestrator.weight import View

__all__ = ("Vitals",)


class Vitals:
    """What one process knows of the nodes of one graph.

    Args:
        graph: The graph.
        policy: The policy.
        spec: What the graph was made from: nodes may have circuits of their own.
        base: The declared view.
        clock: Returns seconds; only differences matter.
        monitors: Of users.
        probes: How nodes are probed.
        report: Takes a text about what does not work beside runs.
    """

    def __init__(
        self,
        graph: Graph,
        policy: Policy,
        spec: GraphSpec,
        *,
        base: View,
        clock: Callable[[], float],
        monitors: Iterable[Monitor] = (),
        probes: Mapping[str, BoundProbe],
        report: Callable[[str], None],
    ) -> None:
        seed = os.getpid()  # processes that fail together shall not come back together
        self.circuits = Circuits(graph, policy, clock=clock, seed=seed, overrides=_overrides(spec, policy))
        self.board = Board(
            graph,
            policy,
            self.circuits,
            clock=clock,
            monitors=monitors,
            base=base,
            probed=tuple(probes),
            report=report,
        )
        self._clock = clock
        self._beside = Probing(
            probes,
            self.board.record,
            clock=clock,
            report=report,
            tick=self.board.tick,
            watchers=self.board.watchers,
            lagged=self.board.lag,
            seed=seed,
        )

    def start(self) -> None:
        """Begin what goes on beside runs, on the running event loop; at best nothing is to be done."""
        self._beside.start()

    def link(self, run_id: str) -> Link:
        """Return one run's side of the board."""
        return Link(self.board, run_id, clock=self._clock, recorded=self._beside.look)

    async def aclose(self) -> None:
        """End what goes on beside runs; what is known of nodes is kept."""
        await self._beside.aclose()


def _overrides(spec: GraphSpec, policy: Policy) -> dict[str, Circuit]:
    """Return the circuits of the nodes that declare one, or whose file does."""
    found = {}
    for name, node in {**spec.tools, **spec.agents}.items():
        circuit = inherited(node, spec.defaults).circuit
        if circuit is not None:
            found[name] = policy.circuit.model_copy(update=circuit.model_dump(exclude_none=True))
    return found
