"""Rate limits: a node weighs more the nearer it is to its limit, so that others take over before it refuses."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal

__all__ = ("Headroom", "headroom_factor")

SCORE = 0.6
REFILL = 60.0
"""Seconds in which an empty allowance is full again if nobody says otherwise: most limits are per minute."""
HEAVIEST = 100.0
WORTH_TELLING = 1.01


def headroom_factor(headroom: float) -> float:
    """Return by how much a node weighs more with this share of its rate limit left.

    The published router's table: nothing while there is plenty, about twice at 95 % used, without bound at 100 %. It
    stops at 100 here: a full limit is no reason that a node must not be used, a refusal is.

    >>> [round(headroom_factor(left), 2) for left in (1.0, 0.5, 0.2, 0.1, 0.05, 0.01, 0.0)]
    [1.0, 1.0, 1.06, 1.34, 2.05, 8.16, 100.0]
    """
    used = 1.0 - min(max(headroom, 0.0), 1.0)
    return min(1.0 / max(1.0 - used**13, 1e-9), HEAVIEST)


class Headroom:
    """What nodes say is left of their rate limits. What refusals teach is in the circuits, as a share of traffic."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, float]] = {}
        """(share that was left, when) by node."""

    def record(self, outcome: Outcome) -> bool:
        """Take note of what an answer says is left."""
        left = outcome.headroom
        if left is not None and left == left:
            self._told[outcome.node] = (left, outcome.at)
        return False

    def _left(self, node: str, now: float) -> float:
        left, at = self._told[node]
        return min(left + max(now - at, 0.0) / REFILL, 1.0)

    def factors(self, now: float) -> dict[str, float]:
        """Return by how much nodes that are near their limits weigh more at *now*."""
        found = {node: headroom_factor(self._left(node, now)) for node in self._told}
        for node in [node for node in found if self._left(node, now) >= 1.0]:
            del self._told[node]
        return {node: factor for node, factor in found.items() if factor >= WORTH_TELLING}

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a factor for each node that is near its limit."""
        for node, factor in sorted(self.factors(now).items()):
            reason = f"about {self._left(node, now):.0%} of its rate limit is left"
            yield Signal("headroom", node, SCORE, reason, "factor", factor)

    def next_change(self, now: float) -> float | None:
        """Return None: what is left rises all the time, and each view takes the figure of its moment."""
        return None
