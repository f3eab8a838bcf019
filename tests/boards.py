"""A board under a clock that a test moves, and short words for what runs and monitors make of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Circuits, Evidence, Outcome, Signal
from orchestrator.health.board import Board
from orchestrator.policy import Policy
from orchestrator.testing.clock import VirtualClock, VirtualLoop
from orchestrator.weight import View

__all__ = ("Desk", "Says", "pair")


def pair(**declared: Any) -> Graph:
    """Return a graph of two equal substitutes, `a` and `b`, and a node `alone` that nobody stands in for."""
    nodes = [Node(name, provides=("v",), **{"effect": "read", **declared}) for name in ("a", "b")]
    return Graph((*nodes, Node("alone", provides=("w",))), (Goal("both", ("v", "w")),))


class Says:
    """A user's monitor that says what a test has it say: signals, or an error to raise."""

    def __init__(self, *said: Signal) -> None:
        self.said: Iterable[Any] | Exception = said

    async def check(self) -> Iterable[Signal]:
        """Return or raise it."""
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


class Desk:
    """A board, its circuits and clock, and runs that remember what they were shown.

    Args:
        graph: The graph; `pair` unless given.
        policy: The policy, in words; the default one unless given.
        options: Of the board.
    """

    def __init__(self, graph: Graph | None = None, policy: dict[str, Any] | None = None, **options: Any) -> None:
        self.graph = graph or pair()
        self.policy = Policy.model_validate(policy or {})
        self.clock = VirtualClock()
        self.circuits = Circuits(self.graph, self.policy, clock=self.clock.time)
        self.troubles: list[str] = []
        self.board = Board(
            self.graph,
            self.policy,
            self.circuits,
            clock=self.clock.time,
            report=self.troubles.append,
            **options,
        )
        self.shown: dict[str, list[View]] = {}

    @property
    def now(self) -> float:
        """The time."""
        return self.clock.now

    def saw(self, node: str, *evidence: str, every: float = 0.0, seconds: float = 0.1, **details: Any) -> None:
        """Record outcomes of *node*, waiting *every* seconds before each, and tick as a driver does."""
        for each in evidence:
            self.wait(every)
            self.board.record(Outcome(node, cast(Evidence, each), self.now, seconds, **details))
            self.board.tick()

    def wait(self, seconds: float) -> None:
        """Let time pass, ticking whenever the board asks for it."""
        until = self.now + seconds
        for _ in range(100_000):
            due = self.board.tick()
            if due is None or self.now + due > until:
                break
            self.clock.advance(max(due, 1e-6))
        else:
            raise AssertionError("the board asks to be looked at without end")
        self.clock.advance(max(until - self.now, 0.0))
        self.board.tick()

    def start(self, run_id: str, route: Collection[str] | None = None) -> View:
        """Start a run that goes along *route*, if one is given, and return its first view."""
        view = self.board.view(run_id)
        self.shown[run_id] = [view]
        self.board.subscribe(run_id, self.shown[run_id].append)
        if route is not None:
            self.board.settle(run_id, route)
        return view

    def calls(self, run_id: str, node: str) -> bool:
        """Have a run call a node, unless the board says that it must not."""
        return self.board.call(run_id, node) is None

    def check(self) -> None:
        """Have every user's monitor asked once."""
        loop = VirtualLoop(self.clock)
        try:
            for watcher in self.board.watchers:
                loop.run_until_complete(watcher.check())
        finally:
            loop.close()
        self.board.tick()

    def vetoed(self, run_id: str) -> list[str]:
        """Return the nodes that a run may not use as far as it knows."""
        return [name for name, _ in self.shown[run_id][-1].vetoes]

    def weight(self, node: str, run_id: str = "somebody") -> float:
        """Return what *node* weighs for a new run, in units."""
        weight = dict(self.board.view(run_id).weights)[node] / 1e6
        self.board.release(run_id)
        return weight
