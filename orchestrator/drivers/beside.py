"""What a run has beside it in its process: places for its calls, and a link to the board where health has a say."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.drivers.lanes import Lanes
from orchestrator.drivers.link import Link
from orchestrator.events import AttemptEnded, Fact
from orchestrator.planner import Route
from orchestrator.run import Run
from orchestrator.weight import View

__all__ = ("Beside",)


class Beside:
    """One run's surroundings.

    Args:
        run_id: The run.
        lanes: How many calls, and runs, may be under way at once.
        link: The run's side of the board; None: nothing is told or heard of health.
    """

    def __init__(self, run_id: str, lanes: Lanes, link: Link | None = None) -> None:
        self.lanes = lanes
        self._run_id = run_id
        self._link = link
        self._headroom: dict[str, float] = {}
        self._counts = False
        self._route: Route | None = None
        self._uses: frozenset[str] = frozenset()

    def begin(self, post: Callable[[Fact], None]) -> View | None:
        """The run begins: it counts, and hears what is news for it.

        Returns:
            The view that it begins with; None where health has no say.

        Raises:
            OverloadedError: The process has as many runs as it may have.
        """
        self.lanes.begin()
        self._counts = True
        return None if self._link is None else self._link.begin(post)

    def wants(self, run: Run) -> None:
        """Say which nodes the run goes by."""
        if self._link is not None:
            state = run.state
            if state.route is not self._route:
                self._route = state.route
                self._uses = frozenset() if state.route is None else state.route.uses
            self._link.wants(self._uses if self._uses.issuperset(state.flights) else self._uses.union(state.flights))

    def calls(self, node: str) -> None:
        """Say that it is a call's turn, and it is made now.

        Raises:
            HeldOff: It must not be.
        """
        if self._link is not None:
            self._link.calls(node)

    def tries(self, node: str) -> bool:
        """Whether the run is the one that tries a half-open node: by one call."""
        return self._link is not None and self._link.tries(node)

    def noted(self, node: str, headroom: float) -> None:
        """Keep what a node said of its rate limit until its attempt ends."""
        self._headroom[node] = headroom

    def ended(self, fact: AttemptEnded) -> None:
        """Say how an attempt went."""
        self.lanes.ended(fact)
        if self._link is not None:
            self._link.ended(fact, headroom=self._headroom.pop(fact.node, None))

    def end(self) -> None:
        """The run is over, or nobody drives it any more."""
        if self._link is not None:
            self._link.end()
        if self._counts:
            self._counts = False
            self.lanes.end(self._run_id)
