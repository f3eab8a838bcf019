"""The one thread of a store that writes: whatever waits is written in one transaction, then everybody is told.

Many runs then share what the disk takes to make a transaction durable, and each waits for no more than the one that
was under way when it came. The thread starts with the first write. While this store has runs, it also gives the signs
of life by which others know that those runs are taken.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import anyio
import anyio.to_thread
from sqlalchemy import Connection

from orchestrator.errors import StoreError
from orchestrator.store.database import Database
from orchestrator.store.faults import StillFailing, collides
from orchestrator.store.liveness import Process
from orchestrator.store.operations import Append, Beat, Leave, Operation, Transaction, append_all, fenced
from orchestrator.store.progress import Progress
from orchestrator.store.statements import Statements

__all__ = ("Writer",)


class _Misfit(Exception):
    """Operations that cannot share a transaction: each gets one of its own."""


@dataclass(slots=True, eq=False)
class _Job:
    """An operation, and who waits for it."""

    operation: Operation
    done: asyncio.Future[None] | None = None
    result: Any = None
    error: Exception | None = None


class Writer:
    """Writes operations, in the order in which they come.

    Args:
        database: Where to.
        process: Who this is.
        clock: Returns wall time, in seconds.
        beat: Seconds between two signs of life.
        lease: Seconds for which one counts.
    """

    def __init__(
        self, database: Database, process: Process, *, clock: Callable[[], float], beat: float, lease: float
    ) -> None:
        self._database = database
        self._process = process
        self._clock = clock
        self._began = clock()
        self._beat = beat
        self._lease = lease
        self._due: float | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._statements: Statements | None = None
        self._known: dict[str, tuple[int, Progress]] = {}

    async def write(self, operation: Operation, *, undo: Operation | None = None) -> Any:
        """Return what the operation gives, once that is durable.

        It is carried out also where the caller is cancelled meanwhile; *undo* is then carried out after it.

        Raises:
            StoreError: It was refused, or could not be written.
        """
        done = asyncio.get_running_loop().create_future()
        job = _Job(operation, done)
        self._put(job)
        try:
            await done
        except BaseException:
            if undo is not None and not self._closed:
                self._put(_Job(undo))
            raise
        if job.error is not None:
            raise job.error
        return job.result

    async def close(self) -> None:
        """Write what waits, take leave, and end the thread."""
        with self._gate:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._jobs.put(None)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join)

    def _put(self, job: _Job) -> None:
        with self._gate:
            if self._closed:
                raise StoreError(f"the store {self._database.address.shown} is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="orchestrator-store", daemon=True)
                self._thread.start()
            self._jobs.put(job)

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs, ending = self._gather()
            self._settle(jobs)
            _tell(jobs)
            del jobs  # a thread that waits must not keep what was written
        if self._due is not None:
            self._settle([_Job(Leave())])

    def _gather(self) -> tuple[list[_Job], bool]:
        """Wait for a job, or for the time of a sign of life; return all jobs that are there, and whether to end."""
        jobs: list[_Job] = []
        # Nobody asks for the life of a process that has no run.
        wait = max((self._due or 0.0) - self._database.monotonic(), 0.0) if self._known else None
        try:
            job = self._jobs.get(timeout=wait)
            while job is not None:
                jobs.append(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _settle(self, jobs: Sequence[_Job]) -> None:
        """Write all jobs, and note what became of each."""
        try:
            self._write(jobs)
        except StillFailing as error:
            for job in jobs:
                job.error = StoreError(str(error))
        except Exception as error:
            if len(jobs) > 1:
                # One that cannot be written must not be the end of the others.
                for job in jobs:
                    self._settle([job])
            elif jobs:
                jobs[0].error = _collision(jobs[0]) if collides(error) else error
        if not jobs:
            # A sign of life that could not be given is given the next time.
            self._due = self._database.monotonic() + self._beat

    def _write(self, jobs: Sequence[_Job]) -> None:
        def transaction(connection: Connection) -> tuple[Transaction, list[Any]]:
            self._statements = self._statements or Statements(connection.dialect)
            to = Transaction(
                connection,
                connection.connection.cursor(),
                self._statements,
                self._process,
                self._began,
                self._clock(),
                self._lease,
                self._known,
            )
            if due:
                Beat().apply(to)
            results: list[Any] = []
            for appends, some in groupby((job.operation for job in jobs), lambda each: isinstance(each, Append)):
                if appends:
                    results += _append(to, list(some), alone=len(jobs) == 1)
                else:
                    results += [_apply(to, operation) for operation in list(some)]
            return to, results

        due = self._due is None or self._database.monotonic() >= self._due
        to, results = self._database.write(transaction)
        if due:
            self._due = self._database.monotonic() + self._beat
        for run_id, known in to.moved.items():
            if known is None:
                self._known.pop(run_id, None)
            else:
                self._known[run_id] = known
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, StoreError):
                job.error = result
            else:
                job.result = result


def _apply(to: Transaction, operation: Operation) -> Any:
    """Carry an operation out; return what it gives, or the error with which it is refused."""
    try:
        return operation.apply(to)
    except StoreError as error:
        return error


def _append(to: Transaction, appends: list[Any], *, alone: bool) -> list[Any]:
    if append_all(to, appends):
        return [None] * len(appends)
    if not alone:
        raise _Misfit
    return [_apply(to, appends[0])]


def _collision(job: _Job) -> StoreError:
    operation = job.operation
    claim = operation.claim if isinstance(operation, Append) else None
    return StoreError("the store holds it already") if claim is None else fenced(claim.run_id)


def _tell(jobs: Sequence[_Job]) -> None:
    """Tell everybody who waits, each event loop once."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for job in jobs:
        if job.done is not None:
            waiting.setdefault(job.done.get_loop(), []).append(job.done)
    for loop, futures in waiting.items():
        try:
            loop.call_soon_threadsafe(_wake, futures)
        except RuntimeError:
            continue  # the event loop has ended: nobody waits any more


def _wake(futures: Sequence[asyncio.Future[None]]) -> None:
    for done in futures:
        if not done.done():  # else whoever waited was cancelled
            done.set_result(None)
