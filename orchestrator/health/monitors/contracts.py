"""Output contracts: a node that answers, but with what it may not answer, is worth less than its success rate says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal
from orchestrator.health.window import fading
from orchestrator.policy import Circuit

__all__ = ("Contracts",)

MONITOR = "contract"
SCORE = 0.8
VETO_SCORE = 0.98
WORST = 0.5
"""Share of broken contracts above which the node is taken out of use: more often wrong than right."""
WORTH_TELLING = 0.02


@dataclass(slots=True)
class _Count:
    at: float = 0.0
    kept: float = 0.0
    broken: float = 0.0
    until: float = 0.0
    """When a veto ends."""
    vetoes: int = 0

    def forget(self, now: float, window: float) -> None:
        left = fading(now - self.at, window)
        self.kept, self.broken, self.at = self.kept * left, self.broken * left, max(now, self.at)

    @property
    def share(self) -> float:
        return self.broken / (self.kept + self.broken) if self.broken else 0.0


class Contracts:
    """The rate of results that break their output contract: first a factor, then a veto for a while.

    The factor is that of a node that fails as often. A veto lasts for the circuit's cooldown, doubling each time up to
    its longest; a run's last chance may pass it, as with an open circuit, because this rate too is a guess about the
    next call.
    A node without substitutes only gets the factor: to take it out of use would help nobody.

    Args:
        policy: How long vetoes last, and how many results they need.
        peers: The substitutes of each node.
    """

    def __init__(self, policy: Circuit, peers: Mapping[str, tuple[str, ...]]) -> None:
        self._policy = policy
        self._peers = peers
        self._counts: dict[str, _Count] = {}

    def record(self, outcome: Outcome) -> bool:
        """Count a result that keeps or breaks its contract; True if the node is vetoed from now on."""
        broken = outcome.evidence == "contract"
        if outcome.probe or not (broken or (outcome.evidence == "ok" and outcome.node in self._counts)):
            return False
        count = self._counts.setdefault(outcome.node, _Count(outcome.at))
        count.forget(outcome.at, self._policy.window)
        count.broken += broken
        count.kept += not broken
        enough = count.kept + count.broken > self._policy.volume - 1 and bool(self._peers.get(outcome.node))
        if broken and enough and count.share > WORST and outcome.at >= count.until:
            count.vetoes += 1
            wait = self._policy.cooldown * 2 ** min(count.vetoes - 1, 30)
            count.until = outcome.at + min(wait, max(self._policy.max_cooldown, self._policy.cooldown))
            return True
        if not broken and count.share < WORTH_TELLING:
            count.vetoes = 0
        return False

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a veto or a factor for each node that breaks its contract."""
        for node, count in sorted(self._counts.items()):
            share = count.share
            if now < count.until:
                yield Signal(MONITOR, node, VETO_SCORE, f"{share:.0%} break its output contract", "veto", open=True)
            elif share >= WORTH_TELLING and fading(now - count.at, self._policy.window) > WORTH_TELLING:
                factor = 1 / max(1 - share, WORTH_TELLING)
                yield Signal(MONITOR, node, SCORE, f"{share:.0%} break its output contract", "factor", factor)

    def next_change(self, now: float) -> float | None:
        """Return when a veto ends."""
        return min((count.until for count in self._counts.values() if count.until > now), default=None)
