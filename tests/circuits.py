"""Circuits under a clock that a test moves, and short words for what happens to a node."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Circuits, Evidence, Outcome
from orchestrator.policy import Circuit, Policy

__all__ = ("Ward", "calls", "circuit", "substitutes")


def substitutes(*sizes: int, **declared: Any) -> Graph:
    """Return a graph with one group of substitutes per size: `a1`, `a2`, … for the first, `b1`, … for the second."""
    nodes: list[Node] = []
    values: list[str] = []
    for letter, size in zip("abcdefghijklmnop", sizes, strict=False):
        values.append(f"value-{letter}")
        nodes += [Node(f"{letter}{i}", provides=(values[-1],), **declared) for i in range(1, size + 1)]
    return Graph(nodes=tuple(nodes), goals=(Goal("all", tuple(values)),))


class Ward:
    """Circuits, their clock and what a test does to them.

    Args:
        graph: The graph; a pair of substitutes, `a1` and `a2`, unless given.
        policy: The policy; the default one unless given.
        start: What the clock reads first.
    """

    def __init__(self, graph: Graph | None = None, policy: Policy | None = None, start: float = 0.0) -> None:
        self.graph = graph or substitutes(2)
        self.policy = policy or Policy()
        self.time = start
        self.circuits = Circuits(self.graph, self.policy, clock=lambda: self.time)

    def saw(
        self,
        node: str,
        *evidence: str,
        every: float = 0.0,
        seconds: float = 0.0,
        lagging: bool = False,
        **details: Any,
    ) -> bool:
        """Record outcomes of *node*, waiting *every* seconds before each; return whether the last changed its state."""
        changed = False
        for each in evidence:
            self.time += every
            outcome = Outcome(node, cast(Evidence, each), self.time, seconds, **details)
            changed = self.circuits.record(outcome, lagging=lagging)
        return changed

    def open(self, node: str) -> None:
        """Have *node* fail until its circuit is open."""
        self.saw(node, *["external"] * 5, error="http_503")
        assert self.circuits.state(node) == "open"

    def half_open(self, node: str) -> None:
        """Open the circuit of *node* and wait until it may be probed."""
        self.open(node)
        self.time += self.circuits.open_for(node)
        assert self.circuits.state(node) == "half_open"

    def states(self) -> dict[str, str]:
        """Return the state of every node."""
        return {node.name: self.circuits.state(node.name) for node in self.graph.nodes}

    def restarted(self, age: float = 0.0, start: float | None = None) -> Ward:
        """Return a ward in another process, *age* seconds later, whose clock begins at *start*."""
        ward = Ward(self.graph, self.policy, self.time + age if start is None else start)
        ward.circuits.restore(json.loads(json.dumps(self.circuits.snapshot())), age=age)
        return ward


def circuit(**figures: Any) -> Policy:
    """Return the default policy with other figures of the circuit."""
    return Policy(circuit=Circuit(**figures))


def calls(*steps: Callable[[], object]) -> int:
    """Count the Python calls that *steps* make: work, measured without a clock."""
    count = 0

    def watch(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        for step in steps:
            step()
    finally:
        sys.setprofile(before)
    return count
