"""Circuits as signals: a node whose circuit is open, whose quota is used up, or that refuses who we are."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.graph import Graph
from orchestrator.health.attention import FAILURE
from orchestrator.health.circuits import Circuits
from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal

__all__ = ("Outcomes",)

REFUSED = 0.96
"""The score of a quota that is used up: below a failure, because it is known when it ends."""


class Outcomes:
    """Vetoes of nodes that may not be used now. An open circuit may be passed by a run's last chance; others not."""

    def __init__(self, graph: Graph, circuits: Circuits) -> None:
        self._names = tuple(node.name for node in graph.nodes)
        self._circuits = circuits

    def record(self, outcome: Outcome) -> bool:
        """Take no note: the circuits have."""
        return False

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a veto for each blocked node."""
        for name in self._names:
            reason = self._circuits.blocked(name)
            if reason is not None:
                # An open circuit may be unauthorised or out of quota as well, and that is certain: it is told first.
                is_open = reason.startswith("circuit open")
                score = REFUSED if reason.startswith("rate limited") else FAILURE
                yield Signal("circuit", name, score, reason, "veto", open=is_open)

    def next_change(self, now: float) -> float | None:
        """Return when a circuit may be probed or a quota is there again."""
        return self._circuits.next_change()
