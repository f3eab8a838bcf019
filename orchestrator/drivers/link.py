"""What one run tells the board of its process, and what it hears of it: the only way between health and a run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from orchestrator.errors import NotCalled
from orchestrator.events import AttemptEnded, Fact, ViewChanged
from orchestrator.health import Outcome, evidence_of
from orchestrator.weight import View

__all__ = ("Board", "HeldOff", "Link")


class HeldOff(NotCalled):
    """A call was not made: another run is trying what it would have tried, or the node is barred by now."""

    failure_type = "held_off"


class Board(Protocol):
    """The board, as a run needs it; see `orchestrator.health.Board`."""

    def view(self, run_id: str) -> View:
        """Return the view of one run."""

    def settle(self, run_id: str, wanted: Collection[str]) -> None:
        """Keep the run's permits to probe only for these nodes."""

    def call(self, run_id: str, node: str) -> str | None:
        """Have the run try a node now, or return why it must not."""

    def tries(self, run_id: str, node: str) -> bool:
        """Whether the run is the one that tries a half-open node."""

    def release(self, run_id: str) -> None:
        """Give back all that the run has."""

    def record(self, outcome: Outcome) -> bool:
        """Take in how an attempt went; True if runs may have to be told."""

    def subscribe(self, run_id: str, changed: Callable[[View], None]) -> Callable[[], None]:
        """Call *changed* with every view that is news for the run; the answer ends that."""


class Link:
    """One run's side of the board.

    Args:
        board: The process's board.
        run_id: The run.
        clock: The board's clock.
        recorded: Called with every outcome that the board has been told, and whether runs may have to be told.
    """

    def __init__(
        self,
        board: Board,
        run_id: str,
        *,
        clock: Callable[[], float],
        recorded: Callable[[Outcome, bool], object] = lambda outcome, news: None,
    ) -> None:
        self._board = board
        self._run_id = run_id
        self._clock = clock
        self._recorded = recorded
        self._wanted: frozenset[str] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def begin(self, post: Callable[[Fact], None]) -> View:
        """Return the view that the run begins with, and have news posted to it from now on."""
        view = self._board.view(self._run_id)
        self._unsubscribe = self._board.subscribe(self._run_id, lambda view: post(ViewChanged(view)))
        return view

    def wants(self, nodes: Collection[str]) -> None:
        """Say which nodes the run goes by; permits to probe others are given back."""
        wanted = frozenset(nodes)
        if wanted != self._wanted:
            self._wanted = wanted
            self._board.settle(self._run_id, wanted)

    def calls(self, node: str) -> None:
        """Say that a call is made now.

        Raises:
            HeldOff: It must not be.
        """
        reason = self._board.call(self._run_id, node)
        if reason is not None:
            raise HeldOff(reason)

    def tries(self, node: str) -> bool:
        """Whether the run is the one that tries a half-open node: by one call."""
        return self._board.tries(self._run_id, node)

    def ended(self, fact: AttemptEnded, *, headroom: float | None = None) -> None:
        """Say how an attempt went; a wait for its turn here is no time that its node took."""
        failure = fact.failure
        outcome = Outcome(
            fact.node,
            evidence_of(fact.outcome, failure),
            self._clock(),
            max(fact.seconds - fact.waited, 0.0),
            None if failure is None else failure.type,
            None if failure is None else failure.retry_after,
            headroom,
            self._run_id,
        )
        self._recorded(outcome, self._board.record(outcome))

    def end(self) -> None:
        """The run is over, or nobody drives it any more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._board.release(self._run_id)
