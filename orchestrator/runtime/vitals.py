"""The health of one process: circuits, the board, and what goes on beside runs.

It outlives runs and belongs to no one of them. Runs see it only as views, and tell it only how attempts went. With a
store it also outlives the process, and is shared with all that run the same graph on that store.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.drivers.link import Link
from orchestrator.drivers.probing import Probing
from orchestrator.drivers.sharing import Heard, Sharing
from orchestrator.graph import Graph
from orchestrator.health import Monitor, Outcome
from orchestrator.health.board import Board
from orchestrator.health.circuits import Circuits
from orchestrator.health.stored import circuits_of, document
from orchestrator.nodes.binding import BoundProbe
from orchestrator.nodes.meaning import Meaning
from orchestrator.policy import Circuit, Policy
from orchestrator.spec.defaults import inherited
from orchestrator.spec.models import GraphSpec
from orchestrator.weight import View

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.telemetry.metrics import HealthMetrics

__all__ = ("Vitals",)

MEASURED = 1.0
"""Seconds between two measurements of how nodes are, where somebody collects metrics."""
TOLD = 200
"""Characters of another process's reason."""


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
        errors: What classes of exceptions mean, beside what is known of them anyway.
        report: Takes a text about what does not work beside runs.
        store: Opens what health is saved in and shared over; None: it stays in this process.
        now: Returns wall-clock seconds: those of the store.
        redact: Applied to all that leaves this process.
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
        errors: Mapping[str, Meaning],
        report: Callable[[str], None],
        store: Callable[[], Store] | None = None,
        now: Callable[[], float],
        redact: Callable[[Any], Any],
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
        self._redact = redact
        self._report = report
        self._graph_name = graph.name
        self._seen: set[str] = set()
        """Nodes that were called before it was known how they were in earlier processes."""
        self._metrics: HealthMetrics | None = None
        self._measured_at: float | None = None
        self._sharing: Sharing | None = None
        if store is not None:
            self._sharing = Sharing(
                store,
                graph.name,
                snapshot=self._document,
                restore=self._restore,
                heard=self._hear,
                now=now,
                report=report,
            )
        self._beside = Probing(
            probes,
            self._record,
            clock=clock,
            report=report,
            tick=self._tick,
            watchers=self.board.watchers,
            lagged=self.board.lag,
            errors=errors,
            seed=seed,
        )

    def start(self) -> None:
        """Begin what goes on beside runs, on the running event loop; at best nothing is to be done."""
        self._beside.start()
        if self._sharing is not None:
            self._sharing.start()

    async def ready(self) -> None:
        """Wait, for a moment at most, for what earlier processes knew and others say."""
        if self._sharing is not None:
            await self._sharing.begin()

    def link(self, run_id: str) -> Link:
        """Return one run's side of the board."""
        return Link(self.board, run_id, clock=self._clock, recorded=self._recorded)

    async def aclose(self) -> None:
        """End what goes on beside runs; what is known of nodes is kept, and saved where there is a store."""
        await self._beside.aclose()
        if self._sharing is not None:
            await self._sharing.aclose()

    # ------------------------------------------------------------------------------------------------- what is recorded

    def _record(self, outcome: Outcome) -> None:
        """Take the outcome of a probe."""
        self._recorded(outcome, self.board.record(outcome))

    def _recorded(self, outcome: Outcome, news: bool) -> None:
        """Go on from what the board has been told."""
        self._beside.look(news=news)
        if self._sharing is not None:
            self._seen.add(outcome.node)
            self._sharing.touch()
            word = self.circuits.word(outcome.node)
            if word is not None:
                state, seconds, reason = word
                self._sharing.note(outcome.node, state, seconds, self._redact(reason))
        metrics = self._measuring()
        if metrics is not None:
            try:
                metrics.record(outcome)
            except Exception as error:
                self._report(f"metrics of health raised {type(error).__name__}; runs go on without them")

    # --------------------------------------------------------------------------------------------------- beyond here

    def _document(self) -> dict[str, Any]:
        board = self.board
        saved: dict[str, Any] = self._redact(document(self.circuits.snapshot(), board.rows(), board.attention))
        return saved

    def _restore(self, data: Mapping[str, Any], age: float) -> None:
        """Take over what was saved, beside what has been seen here since: that is newer."""
        circuits = circuits_of(data)
        if circuits is not None:
            nodes = {name: each for name, each in circuits.get("nodes", {}).items() if name not in self._seen}
            budgets = {} if self._seen else circuits.get("budgets", {})
            self.circuits.restore({**circuits, "nodes": nodes, "budgets": budgets}, age=age)
            self.board.look(restored=True)
            self._beside.look()

    def _hear(self, heard: Heard) -> None:
        reason = f"another process says: {heard.reason[:TOLD]}"
        self.circuits.hear(heard.node, heard.state, heard.seconds, reason)
        self.board.look()
        self._beside.look()

    # -------------------------------------------------------------------------------------------------------- metrics

    def _tick(self) -> float | None:
        wait = self.board.tick()
        metrics = self._measuring()
        if metrics is not None:
            now = self._clock()
            if self._measured_at is None or now >= self._measured_at + MEASURED:
                self._measured_at = now
                metrics.observe(self.board.rows(), self.board.attention)
            left = self._measured_at + MEASURED - now
            wait = left if wait is None else min(wait, left)
        return wait

    def _measuring(self) -> HealthMetrics | None:
        """Return the metrics where the application has some: it has imported them then, and nobody else does."""
        if self._metrics is None and "opentelemetry.metrics" in sys.modules:
            from orchestrator.telemetry.metrics import HealthMetrics

            self._metrics = HealthMetrics(self._graph_name)
        return self._metrics


def _overrides(spec: GraphSpec, policy: Policy) -> dict[str, Circuit]:
    """Return the circuits of the nodes that declare one, or whose file does."""
    found = {}
    for name, node in {**spec.tools, **spec.agents}.items():
        circuit = inherited(node, spec.defaults).circuit
        if circuit is not None:
            found[name] = policy.circuit.model_copy(update=circuit.model_dump(exclude_none=True))
    return found
