"""Output contracts: a node that answers, but with what it may not answer, is worth less than its success rate says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
    at: float
    kept: float = 0.0
    broken: float = 0.0
    row: int = 0
    """Broken ones since the last one that was kept."""
    until: float = -math.inf
    """When a veto ends."""
    vetoes: int = 0
    mistakes: int = 0
    """Calls in a row that were nobody else's fault than the caller's, or so it seemed."""
    mistaken_at: float = -math.inf

    def forget(self, now: float, window: float) -> None:
        left = fading(now - self.at, window)
        self.kept, self.broken, self.at = self.kept * left, self.broken * left, max(now, self.at)

    @property
    def share(self) -> float:
        return self.broken / (self.kept + self.broken) if self.broken else 0.0

    def expected(self, now: float, window: float, prior: int) -> float:
        """Return the share of broken ones to be reckoned with, *prior* results being taken to have kept theirs."""
        left = fading(now - self.at, window)
        return self.broken * left / (prior + (self.kept + self.broken) * left)


class Contracts:
    """The rate of results that break their output contract: first a factor, then a veto for a while.

    The factor is that of a node which fails as often. As with the success rate it is reckoned from a prior, so that one
    bad answer is no rate. A veto follows, as an open circuit does, from bad answers in a row, or where more than half
    of the latest were bad. It lasts for the circuit's cooldown, doubling each time up to its longest; a run's last
    chance may pass it, as with an open circuit, because this rate too is a guess about the next call.
    A node without substitutes only gets the factor: to take it out of use would help nobody.

    A mistake of the caller says nothing about a node. But where every call is one, as many in a row as failures open a
    circuit, the node itself may be what is wrong (a ``KeyError`` for whatever it is given), and it gets a factor too:
    for `circuit.window` after the last of them, and until the first success. It is never taken out of use for that,
    and where callers are wrong, its substitutes get as much: then nothing moves.

    Args:
        policy: How long vetoes last, and how many results they need.
        peers: The substitutes of each node.
        prior: Results that a node is taken to have kept its contract in before anything is seen.
    """

    def __init__(self, policy: Circuit, peers: Mapping[str, tuple[str, ...]], prior: int) -> None:
        self._policy = policy
        self._peers = peers
        self._prior = prior
        self._counts: dict[str, _Count] = {}

    def record(self, outcome: Outcome) -> bool:
        """Count a result that keeps or breaks its contract, or a mistake; True if the node is vetoed from now on."""
        broken = outcome.evidence == "contract"
        mistake = outcome.evidence == "caller" and outcome.error != "conflict"  # contention is nobody's mistake
        if outcome.probe or not (broken or mistake or outcome.evidence == "ok"):
            return False
        count = self._counts.setdefault(outcome.node, _Count(outcome.at))
        if mistake:
            count.mistakes, count.mistaken_at = count.mistakes + 1, outcome.at
            return False
        if not broken:
            count.mistakes = 0
        count.forget(outcome.at, self._policy.window)
        if not broken:
            count.kept, count.row = count.kept + 1, 0
            if count.share < WORTH_TELLING:
                count.vetoes = 0
            return False
        count.broken, count.row = count.broken + 1, count.row + 1
        enough = count.kept + count.broken > self._policy.volume - 1 and count.share > WORST
        bad = (enough or count.row >= self._policy.failures) and bool(self._peers.get(outcome.node))
        if not bad or outcome.at < count.until:
            return False
        count.vetoes += 1
        wait = self._policy.cooldown * 2 ** min(count.vetoes - 1, 30)
        count.until = outcome.at + min(wait, max(self._policy.max_cooldown, self._policy.cooldown))
        return True

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a veto or a factor for each node that breaks its contract, or gets nothing right."""
        for node, count in sorted(self._counts.items()):
            if now < count.until:
                reason = f"{count.share:.0%} break its output contract"
                yield Signal(MONITOR, node, VETO_SCORE, reason, "veto", open=True)
                continue
            share = count.expected(now, self._policy.window, self._prior)
            if share >= WORTH_TELLING:
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

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the counts as JSON-ready data, by node, with every time as an age."""
        return {
            node: {**asdict(count), **{name: _age(getattr(count, name), now) for name in _TIMES}}
            for node, count in self._counts.items()
        }

    def restore(self, data: Mapping[str, Any], then: float) -> None:
        """Take over what `snapshot` wrote; *then* is the time at which its ages hold."""
        for node, each in data.items():
            times = {name: -math.inf if each[name] is None else then - each[name] for name in _TIMES}
            self._counts[node] = _Count(**{**each, **times})

    def _is_never_right(self, count: _Count, now: float) -> bool:
        return count.mistakes >= self._policy.failures and now < count.mistaken_at + self._policy.window


_TIMES = ("at", "until", "mistaken_at")


def _age(at: float, now: float) -> float | None:
    return None if at == -math.inf else now - at
