"""The run log that an orchestrator writes to: opened when a run needs it, pruned once, closed with its owner."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.drivers.journal import Journal
from orchestrator.errors import InputError, StoreError
from orchestrator.events import RunStarted

if TYPE_CHECKING:
    from orchestrator.store import Claim, RunRow, Store, StoredRun

__all__ = ("Runs",)


class Runs:
    """A run log, or none.

    Args:
        store: A path, a URL, an open store (which stays open), what opens one, or None.
        keep: Seconds that finished runs are kept; None: for ever.
        source: The path of the graph file that runs are started from.
        now: Returns wall-clock seconds.
    """

    def __init__(
        self,
        store: Store | str | Path | Callable[[], Store] | None,
        *,
        keep: float | None = None,
        source: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._given = store
        self._keep = keep
        self._source = source
        self._store: Store | None = None
        self._opened_in = 0
        self._unreleased: list[Claim] = []
        self.now = now

    @property
    def durable(self) -> bool:
        """Whether runs are recorded."""
        return self._given is not None

    def open(self) -> Store:
        """Return the store.

        Raises:
            InputError: There is none.
        """
        from orchestrator.store import Store

        if self._given is None:
            raise InputError("this orchestrator records nothing; give it a store, such as store='runs.db'")
        if self._store is None or self._opened_in != os.getpid():
            # A forked process has neither the threads nor the connections of its parent's.
            self._opened_in = os.getpid()
            given = self._given() if callable(self._given) else self._given
            self._store = given if isinstance(given, Store) else Store.open(given)
        return self._store

    def journal(self, first: RunStarted, graph: str, trace_id: str) -> Journal | None:
        """Return the journal of a new run; None where nothing is recorded."""
        if self._given is None:
            return None
        return Journal(
            self.open(),
            first.run_id,
            graph=graph,
            goal=first.goal,
            source=self._source,
            trace_id=trace_id,
            prepare=self._prune,
            unreleased=self._unreleased.append,
        )

    async def find(self, run_id: str) -> str:
        """Return the whole id of a recorded run, given it or a beginning of it that no other run has."""
        return await self.open().find(run_id)

    async def claimed(self, run_id: str, *, steal: bool) -> tuple[StoredRun, Journal]:
        """Claim a recorded run; return all that is held of it, and its journal.

        Raises:
            RunTakenError: A live process has it.
            StoreError: It cannot be claimed or read.
        """
        store = self.open()
        await self._let_go(store)
        claim = await store.claim(run_id, steal=steal)
        try:
            stored = await store.load(run_id)
        except BaseException:
            await store.release(claim)
            raise
        row, unreleased = stored.row, self._unreleased.append
        return stored, Journal(store, run_id, graph=row.graph, goal=row.goal, claim=claim, unreleased=unreleased)

    async def _let_go(self, store: Store) -> None:
        """Release what could not be released before: else this process would keep its own runs from itself."""
        while self._unreleased:
            claim = self._unreleased.pop()
            try:
                await store.release(claim)
            except StoreError:
                self._unreleased.append(claim)
                raise

    async def load(self, run_id: str) -> StoredRun:
        """Return a recorded run, by its id or a beginning of it that no other run has."""
        return await self.open().load(await self.find(run_id))

    async def resumable(self, graph: str) -> list[RunRow]:
        """Return the unfinished runs of a graph that no live process drives, oldest first."""
        return [row for row in await self.open().resumable() if row.graph == graph]

    async def _prune(self) -> None:
        """Delete, once, what the policy does not keep."""
        keep, self._keep = self._keep, None
        if keep is not None:
            await self.open().prune(self.now() - keep)

    async def aclose(self) -> None:
        """Close the store, unless it was given open."""
        store, self._store = self._store, None
        if store is not None and store is not self._given and self._opened_in == os.getpid():
            await store.aclose()
