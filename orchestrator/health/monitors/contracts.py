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
    mistakes: int = 0
    """Calls in a row that were nobody else's fault than the caller's, or so it seemed."""
    mistaken_at: float = 0.0

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

    A mistake of the caller says nothing about a node. But where every call is one, as many in a row as failures open a
    circuit, the node itself may be what is wrong (a ``KeyError`` for whatever it is given), and it gets a factor too:
    for `circuit.window` after the last of them, and until the first success. It is never taken out of use for that,
    and where callers are wrong, its substitutes get as much: then nothing moves.

    Args:
        policy: How long vetoes last, and how many results they need.
        peers: The substitutes of each node.
    """

    def __init__(self, policy: Circuit, peers: Mapping[str, tuple[str, ...]]) -> None:
        self._policy = policy
        self._peers = peers
        self._counts: dict[str, _Count] = {}

    def record(self, outcome: Outcome) -> bool:
        """Count a result that keeps or breaks its contract, or a mistake; True if the node is vetoed from now on."""
        broken, mistake = outcome.evidence == "contract", outcome.evidence == "caller"
        if outcome.probe or not (broken or mistake or (outcome.evidence == "ok" and outcome.node in self._counts)):
            return False
        count = self._counts.setdefault(outcome.node, _Count(outcome.at))
        if mistake:
            count.mistakes, count.mistaken_at = count.mistakes + 1, outcome.at
            return False
        if not broken:
            count.mistakes = 0
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
        """Yield a veto or a factor for each node that breaks its contract, or gets nothing right."""
        for node, count in sorted(self._counts.items()):
            share = count.share
            if now < count.until:
                yield Signal(MONITOR, node, VETO_SCORE, f"{share:.0%} break its output contract", "veto", open=True)
            elif share >= WORTH_TELLING and fading(now - count.at, self._policy.window) > WORTH_TELLING:
                factor = 1 / max(1 - share, WORTH_TELLING)
                yield Signal(MONITOR, node, SCORE, f"{share:.0%} break its output contract", "factor", factor)
            if self._is_never_right(count, now):
                reason = f"{count.mistakes} calls in a row failed as mistakes"
                yield Signal(MONITOR, node, SCORE, reason, "factor", 1.0 + count.mistakes)

    def next_change(self, now: float) -> float | None:
        """Return when a veto ends, or a factor for mistakes."""
        ends = [count.until for count in self._counts.values()]
        ends += [
            count.mistaken_at + self._policy.window
            for count in self._counts.values()
            if self._is_never_right(count, now)
        ]
        return min((at for at in ends if at > now), default=None)

    def _is_never_right(self, count: _Count, now: float) -> bool:
        return count.mistakes >= self._policy.failures and now < count.mistaken_at + self._policy.window
