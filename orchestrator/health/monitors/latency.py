"""Latency: a node that only gets slow loses traffic before it fails.

A node is compared with itself, by its own baseline, and with its peers: where all of a group have become slow alike,
the cause is somewhere else and nobody is to blame. Peers are compared as a ratio; a rule of standard deviations needs
more nodes than a group of substitutes ever has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal
from orchestrator.policy import Policy

__all__ = ("Latency",)

SCORE = 0.7
SLOW = 2.0
"""Times its baseline from which a node counts as slow: less is the weather."""
UPWARD = 0.2
"""The most that one slow call moves the present figure: one says little, three say enough."""
RULE = 0.02
"""The most that one call moves a baseline, so that a bad hour never becomes the rule. Seconds of a model's answers
deviate by as much as their mean: a baseline of fifty calls is within a quarter of the truth, of twenty often not."""
FEW, MANY = 5, 20
"""First calls whose plain mean is the present figure, and the baseline."""
CLIP = 5.0
"""A call counts as at most this many times the present figure."""
LEAST = 0.01
"""Seconds; what takes less is quick, however many times slower it has become: nobody waits for it."""


@dataclass(slots=True)
class _Seen:
    """What one node takes: mostly, and now."""

    usual: float
    recent: float
    at: float
    n: int = 1

    def learn(self, seconds: float, now: float, health_latency: float, stale: float) -> None:
        age = max(now - self.at, 0.0)
        self.n, self.at = self.n + 1, max(now, self.at)
        if age > stale:
            # What was seen so long ago is held against nobody.
            self.recent = self.usual
        seconds = min(seconds, CLIP * max(self.recent, LEAST))
        # Slow to blame, quick to forgive.
        most = UPWARD if seconds > self.recent else 1.0
        self.recent += (seconds - self.recent) * max(min(_part(age, health_latency), most), self._mean_of(FEW))
        if self.n > MANY:
            # While it is slow, what is usual hardly moves.
            seconds = min(seconds, SLOW * max(self.usual, LEAST))
        self.usual += (seconds - self.usual) * max(min(_part(age, stale), RULE), self._mean_of(MANY))

    def _mean_of(self, first: int) -> float:
        """Return the part of one call in the mean of the first so many."""
        return 1 / self.n if self.n <= first else 0.0


def _part(age: float, time: float) -> float:
    return 1 - math.exp(-age / time) if time > 0 else 1.0


def _text(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"


class Latency:
    """How slow nodes are now, against their own baselines and their peers.

    The present figure decays over `health.latency`, the baseline over `health.stale`. It is a mean, not the circuits'
    peak: the peak of a handful of calls of a model says nothing yet.

    Args:
        policy: For the times.
        peers: The substitutes of each node, itself left out.
    """

    def __init__(self, policy: Policy, peers: Mapping[str, tuple[str, ...]]) -> None:
        self._health = policy.health
        self._volume = policy.circuit.volume
        self._peers = peers
        self._seen: dict[str, _Seen] = {}

    def record(self, outcome: Outcome) -> bool:
        """Learn from calls that worked, and that a timeout took at least its time; probes are calls of another kind."""
        seen = self._seen.get(outcome.node)
        late = outcome.evidence == "timeout" and seen is not None and outcome.seconds > seen.recent
        if outcome.probe or not (outcome.evidence == "ok" or late):
            return False
        seconds = max(outcome.seconds, 0.0)
        if seen is None:
            self._seen[outcome.node] = _Seen(seconds, seconds, outcome.at)
        else:
            seen.learn(seconds, outcome.at, self._health.latency, self._health.stale)
        return False

    def usual(self, node: str) -> float | None:
        """Return the seconds that *node* mostly takes; None before enough is known."""
        seen = self._seen.get(node)
        return seen.usual if seen is not None and seen.n >= self._volume else None

    def recent(self, node: str, now: float) -> float | None:
        """Return the seconds that *node* takes now; None if that is not known, or not any more."""
        seen = self._seen.get(node)
        return seen.recent if seen is not None and now - seen.at <= self._health.stale else None

    def stale_at(self, node: str) -> float | None:
        """Return when the present figure is too old to go by."""
        seen = self._seen.get(node)
        return None if seen is None else math.nextafter(seen.at + self._health.stale, math.inf)

    def factor(self, node: str, now: float) -> float:
        """Return how many times slower *node* is than it was, beyond what its peers are; 1 where it is not slow."""
        own = self._slowness(node, now)
        if own is None or own < SLOW:
            return 1.0
        peers = [ratio for peer in self._peers.get(node, ()) if (ratio := self._slowness(peer, now)) is not None]
        beyond = own / max(median(peers), 1.0) if peers else own
        return beyond if beyond >= SLOW else 1.0

    def _slowness(self, node: str, now: float) -> float | None:
        usual, recent = self.usual(node), self.recent(node, now)
        return None if usual is None or recent is None else recent / max(usual, LEAST)

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a factor for each slow node."""
        for node in sorted(self._seen):
            factor = self.factor(node, now)
            if factor > 1.0:
                seen = self._seen[node]
                reason = f"takes {_text(seen.recent)} now, mostly {_text(seen.usual)}"
                yield Signal("latency", node, SCORE, reason, "factor", factor)

    def next_change(self, now: float) -> float | None:
        """Return when the figure of a slow node is too old to hold against it."""
        slow = [seen.at for node, seen in self._seen.items() if self.factor(node, now) > 1.0]
        return min((math.nextafter(at + self._health.stale, math.inf) for at in slow), default=None)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return baselines and present figures as JSON-ready data, by node, with every time as an age."""
        return {node: {**asdict(seen), "at": now - seen.at} for node, seen in self._seen.items()}

    def restore(self, data: Mapping[str, Any], then: float) -> None:
        """Take over what `snapshot` wrote; *then* is the time at which its ages hold."""
        for node, each in data.items():
            self._seen[node] = _Seen(**{**each, "at": then - each["at"]})
