"""The store as an application sees it: runs are accepted, claimed, appended to, read and pruned."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import sqlalchemy as sa

from orchestrator.errors import RunNotFoundError, StoreError
from orchestrator.events import Record, record_to_json
from orchestrator.store import health, reading
from orchestrator.store.address import read_address
from orchestrator.store.database import Database
from orchestrator.store.liveness import Process
from orchestrator.store.operations import Accept, Append, ClaimRun, Prune, Release, Withdraw
from orchestrator.store.rows import Claim, Outage, RunRow, Sizes, StoredHealth, StoredRun, StoredValue
from orchestrator.store.writer import Writer

__all__ = ("Store",)

T = TypeVar("T")

AT_A_TIME = 100
"""Runs that are deleted in one transaction, so that appends do not have to wait for long."""


class Store:
    """The append-only log of every run, in SQLite or PostgreSQL; see `open`.

    Any number of processes, and of event loops in a process, may use one store at once. What a method that writes has
    returned from is durable. Whatever a read returns was there at one moment: all of a transaction, or nothing of it.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float], beat: float, lease: float) -> None:
        self.url = database.address.shown
        self._database = database
        self._clock = clock
        self._lease = lease
        self._process = Process.current()
        self._writer = Writer(database, self._process, clock=clock, beat=beat, lease=lease)

    @property
    def process(self) -> str:
        """The name under which others know this store, opened by this process."""
        return self._process.id

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        clock: Callable[[], float] = time.time,  # noqa: TID251  # the clock of whoever passes none
        monotonic: Callable[[], float] = time.monotonic,  # noqa: TID251  # as above
        beat: float = 2.0,
        lease: float = 10.0,
        patience: float = 10.0,
    ) -> Store:
        """Return the store at *url*, which is looked at when it is first used.

        Args:
            url: A path, ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``. An SQLite file is created
                with its folder, for this user alone.
            clock: Returns wall time, in seconds.
            monotonic: Returns seconds, of which only differences matter.
            beat: Seconds between two signs of life of a process that has runs.
            lease: Seconds after its last sign of life for which a process counts as alive.
            patience: Seconds for which a locked file, a lost connection or a server that starts is waited for.

        Raises:
            StoreError: The URL is none of a database that can be used.
        """
        database = Database(read_address(url), patience=patience, monotonic=monotonic)
        return cls(database, clock=clock, beat=beat, lease=lease)

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Write what waits and close all connections; whatever is still claimed may be claimed by others at once."""
        await self._writer.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._database.close)

    # -------------------------------------------------------------------------------------------------------- writing

    async def accept(
        self,
        run_id: str,
        graph: str,
        goal: str,
        records: Iterable[Record],
        values: Iterable[StoredValue] = (),
        *,
        source: str | None = None,
        trace_id: str = "",
    ) -> Claim:
        """Write a new run with its first records and claim it. The run is accepted once this returns.

        Raises:
            StoreError: There is a run of this name, or it cannot be written.
        """
        append = _append(Claim(run_id, 1, self._process.id), records, values)
        if append.records and append.records[0].seq != 1:
            raise StoreError(f"the run {run_id} begins at record 1, not at {append.records[0].seq}")
        operation = Accept(append, graph, goal, source, trace_id)
        claim: Claim = await self._writer.write(operation, undo=Withdraw(operation))
        return claim

    async def append(
        self, claim: Claim, records: Iterable[Record], values: Iterable[StoredValue] = (), *, release: bool = False
    ) -> None:
        """Write more records of a run, and values; a value of the same name and provider is replaced.

        Writing again what was written under this claim changes nothing. With *release* the run is let go in the same
        transaction, as by `release`.

        Raises:
            FencedError: Another process has taken the run over.
            StoreError: It cannot be written; nothing of it was, or all of it, and the same may be tried again.
        """
        await self._writer.write(_append(claim, records, values, release=release))

    async def claim(self, run_id: str, *, steal: bool = False) -> Claim:
        """Claim a run, so that this process may go on with it and nobody else may.

        Args:
            run_id: The run's whole id.
            steal: Also from a process that lives; it can append nothing from then on.

        Raises:
            RunNotFoundError: There is no such run.
            RunTakenError: A process that lives has it.
        """
        if self._database.absent:
            raise reading.missing(run_id)
        operation = ClaimRun(run_id, steal)
        claim: Claim = await self._writer.write(operation, undo=Withdraw(operation))
        return claim

    async def release(self, claim: Claim) -> None:
        """Let a run go. Nothing happens if another process has it by now."""
        await self._writer.write(Release(claim))

    async def prune(self, older_than: float) -> int:
        """Delete finished runs that were last written to before this wall time, and return how many.

        Runs that are running or waiting are never deleted.
        """
        pruned = 0
        while not self._database.absent:
            some: int = await self._writer.write(Prune(older_than, AT_A_TIME))
            pruned += some
            if some < AT_A_TIME:
                break
        return pruned

    # --------------------------------------------------------------------------------------------------------- health

    async def save_health(self, graph: str, data: dict[str, Any]) -> None:
        """Keep what is known of the health of a graph's nodes, in place of what was known before.

        Args:
            graph: Its name.
            data: Plain data; what is told of time in it holds for now.
        """
        await self._writer.write(health.SaveHealth(graph, data))

    async def load_health(self, graph: str) -> tuple[dict[str, Any], float] | None:
        """Return what was saved last of a graph, and how many seconds ago; None where nothing was."""
        found = await self.healths(graph)
        return (found[0].data, found[0].age) if found else None

    async def healths(self, graph: str | None = None) -> tuple[StoredHealth, ...]:
        """Return what was saved last of each graph, or of one, by name."""
        if self._database.absent:
            return ()
        return await self._read(lambda connection: health.saved(connection, self._clock(), graph))

    async def announce(self, graph: str, node: str, state: str, until: float | None, reason: str) -> int:
        """Tell other processes what became of a node, and return the number of that.

        Args:
            graph: The graph's name.
            node: The node.
            state: As of its circuit.
            until: Wall time until which that holds; None: until something else is announced.
            reason: Why.
        """
        number: int = await self._writer.write(health.Announce(graph, node, state, until, reason))
        return number

    async def outages_since(self, graph: str | None, seq: int) -> tuple[Outage, ...]:
        """Return what was announced of a graph's nodes after number *seq*, by this process and others, in order.

        None instead of a graph: of all graphs.
        """
        if self._database.absent:
            return ()
        return await self._read(lambda connection: health.announced(connection, graph, seq))

    # -------------------------------------------------------------------------------------------------------- reading

    async def load(self, run_id: str) -> StoredRun:
        """Return all that is held of a run.

        Raises:
            RunNotFoundError: There is no such run.
            RecordError: Its records cannot be read.
        """
        return await self._read(
            lambda connection: reading.run_stored(connection, run_id, self._clock(), self._lease), run_id
        )

    async def records_after(self, run_id: str, seq: int) -> tuple[Record, ...]:
        """Return the records of a run that follow the one numbered *seq*.

        Raises:
            RunNotFoundError: There is no such run.
            RecordError: A record cannot be read.
        """
        return await self._read(lambda connection: reading.tail_of(connection, run_id, seq), run_id)

    async def runs(
        self, *, limit: int | None = 100, outcome: str | None = None, graph: str | None = None
    ) -> tuple[RunRow, ...]:
        """Return runs, the newest first: at most *limit*, with this outcome, of the graph of this name."""
        if self._database.absent:
            return ()
        return await self._read(
            lambda connection: reading.all_runs(
                connection, self._clock(), self._lease, limit=limit, outcome=outcome, graph=graph
            )
        )

    async def find(self, prefix: str) -> str:
        """Return the id of the only run whose id begins with *prefix*.

        Raises:
            RunNotFoundError: There is none, or there are several: the message names them; or *prefix* is empty, as an
                unset variable of a shell is.
        """
        if not prefix:
            raise RunNotFoundError("name a run, or a beginning of its id")
        return await self._read(lambda connection: reading.run_named(connection, prefix), prefix)

    async def resumable(self) -> tuple[RunRow, ...]:
        """Return runs that nobody drives and that could go on, the oldest first.

        Those that are running but whose process is gone, and those that wait for an answer that is overdue.
        """
        if self._database.absent:
            return ()
        return await self._read(lambda connection: reading.open_runs(connection, self._clock(), self._lease))

    async def sizes(self) -> Sizes:
        """Return how much the store holds."""
        if self._database.absent:
            return Sizes()
        return await self._read(lambda connection: reading.sizes_of(connection, self._bytes()))

    async def _read(self, query: Callable[[sa.Connection], T], run_id: str | None = None) -> T:
        if run_id is not None and self._database.absent:
            raise reading.missing(run_id)
        return await anyio.to_thread.run_sync(self._database.read, query)

    def _bytes(self) -> int:
        path = self._database.address.path
        files = [Path(f"{path}{ending}") for ending in ("", "-wal", "-shm")] if path is not None else []
        return sum(os.stat(file).st_size for file in files if file.exists())


def _append(claim: Claim, records: Iterable[Record], values: Iterable[StoredValue], *, release: bool = False) -> Append:
    written = tuple(records)
    for before, record in itertools.pairwise(written):
        if record.seq != before.seq + 1:
            raise StoreError(f"record {record.seq} of the run {claim.run_id} does not follow record {before.seq}")
    return Append(claim, written, [record_to_json(record) for record in written], tuple(values), release)
