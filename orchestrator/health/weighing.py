"""From measured figures to weights: how far a node is from what it declares, within bounds and step by step.

    measured(i) = cost(i) with the seconds that it mostly takes, over cost(i) as declared
                  x declared success / posterior success, as far as it is beyond `WEATHER`
    ratio(i)    = measured(i) x the factors of monitors, within `health.movement` of 1 either way

A ratio moves by at most `STEP` per publication (the revised metric of the ARPANET: a bounded range and a bounded step
are what ended its oscillation). A slow node's factor and its measured seconds tell of the same delay, so that the
larger one counts. Slow start and rate limits are apart from this: they say how much traffic a node may get, not what
it is worth. A heavy node gets no calls and could never be seen to have become better, so that once in a while a run is
to try it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from orchestrator.graph import Graph, Node
from orchestrator.health.circuits import Circuits
from orchestrator.health.monitors.latency import Latency
from orchestrator.policy import Objective, Policy
from orchestrator.units import MICRO, micro
from orchestrator.weight import FLOOR, declared_cost

__all__ = ("STEP", "TRIED", "WEATHER", "Weighing", "peers_of", "scaled")

STEP = 1.5
"""The most by which one publication moves a weight: half as much again, as in the ARPANET's revised metric."""
WEATHER = 1.25
"""What is measured within this factor of what is declared is chance, and following it swings: only the rest counts."""
TRIED = 0.8
"""What a heavy node is for the run that is to try it: lighter than declared, so that no near equal takes its place."""
NEWS = 1.1
"""How far a ratio has to move before it is worth a publication of its own."""
RARE = 1e-6


def scaled(weight: int, factor: float) -> int:
    """Return a weight in micro-units times *factor*; at least 1, and the very same for the factor 1.

    >>> scaled(3, 1.0), scaled(1_000_000, 1.5), scaled(1, 0.1)
    (3, 1500000, 1)
    """
    return max(micro(weight / MICRO * factor), 1)


def peers_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return the substitutes of each node: the others that provide a value of its own."""
    found: dict[str, dict[str, None]] = {node.name: {} for node in graph.nodes}
    for providers in graph.providers.values():
        for name in providers:
            found[name].update((other, None) for other in providers if other != name)
    return {name: tuple(sorted(others)) for name, others in found.items()}


class Weighing:
    """The published ratio of each node, and where it is going.

    Args:
        graph: The nodes and what they declare.
        policy: Its groups `objective` and `health`.
        circuits: For the success rates.
        latency: For the seconds.
        peers: The substitutes of each node.
    """

    def __init__(
        self, graph: Graph, policy: Policy, circuits: Circuits, latency: Latency, peers: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._nodes = graph.by_name
        self._objective = policy.objective
        self._health = policy.health
        self._circuits = circuits
        self._latency = latency
        self._peers = peers
        self.ratios: dict[str, float] = dict.fromkeys(self._nodes, 1.0)
        """What is published."""
        self._between = policy.circuit.window
        self._tried: dict[str, float] = {}

    def trials(self, now: float, barred: Collection[str]) -> tuple[str, ...]:
        """Return the heavy nodes that the run which asks is to try, each one once per `circuit.window`.

        What is heavy gets no calls, and what gets no calls is never seen to have become better.
        """
        found = []
        for name, ratio in self.ratios.items():
            if ratio <= NEWS or name in barred:
                continue
            at = self._circuits.figures(name).measured_at
            if at is not None and now - max(at, self._tried.get(name, at)) >= self._between:
                self._tried[name] = now
                found.append(name)
        return tuple(found)

    def target(self, name: str, now: float, factor: float = 1.0) -> float:
        """Return the ratio that *name* should have, *factor* being the product of its monitors' factors."""
        bound = self._health.movement
        return min(max(self._measured(name, now) * factor, 1 / bound), bound)

    def is_news(self, name: str, now: float, factor: float = 1.0) -> bool:
        """Return whether the ratio of *name* has moved enough to be published."""
        moved = self.target(name, now, factor) / self.ratios[name]
        return not 1 / NEWS < moved < NEWS

    def publish(self, now: float, factors: Mapping[str, float]) -> bool:
        """Move every ratio towards its target, by at most one step; True if all are there."""
        arrived = True
        for name, old in self.ratios.items():
            target = self.target(name, now, factors.get(name, 1.0))
            self.ratios[name] = new = min(max(target, old / STEP), old * STEP)
            arrived = arrived and new == target
        return arrived

    def restless(self, now: float) -> bool:
        """Return whether time alone will change a ratio: figures fade, and become stale."""
        return self._health.measure and any(self._is_fresh(name, now) for name in self._nodes)

    def _measured(self, name: str, now: float) -> float:
        if not self._health.measure:
            return 1.0
        figures = self._circuits.figures(name)
        if figures.measured_at is None:
            # What was never measured is worth what it declares: it has to be tried to be known.
            return 1.0
        if now - figures.measured_at > self._health.stale:
            return self._usual_of_group(name, now)
        node = self._nodes[name]
        slow = _cost_ratio(node, self._objective, self._seconds(node, now))
        delay = self._latency.factor(name, now)
        if delay > 1.0:
            slow = max(slow, delay)
        ratio = slow * (max(node.success, RARE) / max(figures.success, RARE))
        # Without a jump at the edge of the band: it would take two equal nodes apart.
        return max(ratio / WEATHER, 1.0) if ratio > 1 else min(ratio * WEATHER, 1.0)

    def _seconds(self, node: Node, now: float) -> float | None:
        """Return the seconds that a node takes: as mostly; more than declared only if the latest calls say so too.

        The latest calls alone are the weather. What they alone can take back is a bad past, which a node without calls
        would never live down.
        """
        usual, recent = self._latency.usual(node.name), self._latency.recent(node.name, now)
        if usual is None or recent is None or node.seconds is None or usual <= node.seconds:
            return usual
        return max(node.seconds, min(usual, recent))

    def _is_fresh(self, name: str, now: float) -> bool:
        at = self._circuits.figures(name).measured_at
        return at is not None and now - at <= self._health.stale

    def _usual_of_group(self, name: str, now: float) -> float:
        """Return how far off the declared figures of the group are, in the mean of those that are measured.

        By their usual latency: what goes wrong with one of them now is no figure of the others. If it were, a node
        that becomes slow would take with it those that could stand in.
        """
        ratios = [
            _cost_ratio(self._nodes[peer], self._objective, self._latency.usual(peer))
            for peer in self._peers.get(name, ())
            if self._is_fresh(peer, now) and self._latency.usual(peer) is not None
        ]
        return math.fsum(ratios) / len(ratios) if ratios else 1.0


def _cost_ratio(node: Node, objective: Objective, seconds: float | None) -> float:
    """Return the cost of *node* with these seconds, over what it declares; 1 where it declares no seconds."""
    if seconds is None or node.seconds is None:
        return 1.0
    declared = max(declared_cost(node, objective), FLOOR)
    return max(declared + (seconds - node.seconds) * objective.seconds, FLOOR) / declared
