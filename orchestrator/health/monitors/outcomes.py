"""Circuits as signals: a node whose circuit is open, whose quota is used up, or that refuses who we are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.health.attention import FAILURE
from orchestrator.health.circuits import Circuits
from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal

__all__ = ("Outcomes",)

REFUSED = 0.96
"""The score of a quota that is used up: below a failure, because it is known when it ends."""


class Outcomes:
    """Vetoes of nodes that may not be used now. An open circuit may be passed by a run's last chance; others not.

    Of a node that nothing can stand in for, neither is said: its own answer tells a run better what to wait for.

    Args:
        circuits: They know.
        peers: The substitutes of each node.
    """

    def __init__(self, circuits: Circuits, peers: Mapping[str, tuple[str, ...]]) -> None:
        self._peers = peers
        self._circuits = circuits

    def record(self, outcome: Outcome) -> bool:
        """Take no note: the circuits have."""
        return False

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a veto for each blocked node."""
        blocked = {name: reason for name in self._peers if (reason := self._circuits.blocked(name)) is not None}
        for name, reason in blocked.items():
            # An open circuit may be unauthorised or out of quota as well, and that is certain: it is told first.
            is_open = reason.startswith("circuit open")
            if is_open or any(peer not in blocked for peer in self._peers[name]):
                score = REFUSED if reason.startswith("rate limited") else FAILURE
                yield Signal("circuit", name, score, reason, "veto", open=is_open)

    def next_change(self, now: float) -> float | None:
        """Return when a circuit may be probed or a quota is there again."""
        return self._circuits.next_change()
