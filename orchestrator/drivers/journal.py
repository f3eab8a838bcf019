"""The journal of one run: its records on their way to the run log, under the claim that keeps other processes off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError
from orchestrator.events import Record

if TYPE_CHECKING:
    from orchestrator.store import Claim, Store

__all__ = ("Journal",)


class Journal:
    """Writes what one run does; the first write accepts the run, or goes on under a *claim*.

    Args:
        store: Where the run log is.
        run_id: The run.
        graph: The graph's name.
        goal: The asked goal.
        source: The path of the graph file, if there is one.
        trace_id: The run's trace.
        claim: The claim of a run that is taken over.
        prepare: Awaited before a run is accepted.
        unreleased: Takes the claim, where the run could not be let go.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        graph: str,
        goal: str,
        source: str | None = None,
        trace_id: str = "",
        claim: Claim | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        unreleased: Callable[[Claim], None] = lambda claim: None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._graph = graph
        self._goal = goal
        self._source = source
        self._trace_id = trace_id
        self._claim = claim
        self._prepare = prepare
        self._unreleased = unreleased
        self._released = False

    async def write(
        self, records: Sequence[Record], values: Sequence[tuple[str, str, bytes, str]], *, last: bool = False
    ) -> None:
        """Record; when this returns, it is durable. With the *last* records the run is let go, as by `release`.

        Raises:
            FencedError: Another process has taken the run over.
            StoreError: It could not be recorded.
        """
        from orchestrator.store import StoredValue

        stored = [StoredValue(*value) for value in values]
        if self._claim is None:
            if self._prepare is not None:
                await self._prepare()
            self._claim = await self._store.accept(
                self._run_id,
                self._graph,
                self._goal,
                records,
                stored,
                source=self._source,
                trace_id=self._trace_id,
            )
        else:
            await self._store.append(self._claim, records, stored, release=last)
            self._released = last

    async def release(self) -> None:
        """Let others take the run over; where that cannot be recorded, they can once this process has ended."""
        if self._claim is None or self._released:
            return
        try:
            await self._store.release(self._claim)
        except StoreError:
            self._unreleased(self._claim)
