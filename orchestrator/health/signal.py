"""Signals: what monitors say about a node, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ("Effect", "Monitor", "Signal")

Effect = Literal["none", "factor", "veto", "gate"]
"""factor: the node weighs more or less; veto: it may not be used; gate: a person is asked before each call."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One monitor's word on one node."""

    monitor: str
    node: str
    score: float
    """How much it matters now, 0..1: the highest of all signals takes attention; effects count regardless of it."""
    reason: str
    effect: Effect = "none"
    factor: float = 1.0
    """By which the node's weight is multiplied, for the effect *factor*; at least 1."""
    open: bool = False
    """Of a veto: that it comes from an open circuit, which the last chance of a run may pass."""


class Monitor(Protocol):
    """Anything that watches nodes. `Orchestrator(monitors=[...])` has it called in the background, outside runs."""

    async def check(self) -> Iterable[Signal]:
        """Return what holds now; what is not returned any more no longer holds."""
