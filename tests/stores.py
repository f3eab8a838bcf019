"""Opened stores and short logs for the tests of the store."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import sqlalchemy as sa
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from orchestrator.events import Event, QuestionAsked, Record, RunFinished, RunStarted, Warned
from orchestrator.store import Claim, Store
from orchestrator.weight import View

__all__ = ("Child", "Clock", "accept", "asked", "child", "finished", "opened", "started", "tamper", "warned", "written")

ROOT = Path(__file__).resolve().parent.parent
NEVER = 1e6


class Clock:
    """Wall time that stands still until it is moved."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@asynccontextmanager
async def opened(url: str | Path, **options: Any) -> AsyncIterator[Store]:
    """Open a store, and close it at the end; without signs of life in between, unless they are asked for."""
    store = Store.open(url, **{"beat": NEVER, "patience": 5.0, **options})
    try:
        yield store
    finally:
        await store.aclose()


@dataclass
class Child:
    """A process of its own that writes to a store."""

    process: Process
    output: BufferedByteReceiveStream

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.process.pid

    async def line(self) -> str | None:
        """Return the next line that it says; None where it has nothing more to say."""
        try:
            return (await self.output.receive_until(b"\n", 10_000)).decode()
        except (anyio.EndOfStream, anyio.IncompleteRead):
            return None

    async def rest(self) -> list[str]:
        """Return all lines that it still says."""
        lines = []
        while (line := await self.line()) is not None:
            lines.append(line)
        return lines


@asynccontextmanager
async def child(*arguments: str, module: str = "tests.store_child") -> AsyncIterator[Child]:
    """Start a module, ``tests.store_child``, as a process, and kill it at the end if it is not over."""
    command = [sys.executable, "-m", module, *arguments]
    process = await anyio.open_process(command, cwd=ROOT, stderr=None)
    async with process:
        assert process.stdout is not None
        try:
            yield Child(process, BufferedByteReceiveStream(process.stdout))
        finally:
            if process.returncode is None:
                process.kill()


def started(run_id: str = "r") -> Record:
    """The first record of a run."""
    return Record(1, 0.0, RunStarted(run_id, "refunded", {"nodes": []}, {}, 7, (), View("declared", ())))


def warned(first: int, last: int | None = None, text: str = "") -> list[Record]:
    """Records that say nothing of importance, from one seq to another."""
    return [Record(seq, seq / 8, Warned(None, f"{text}{seq}")) for seq in range(first, (last or first) + 1)]


def written(seq: int, event: Event, at: float = 0.0) -> list[Record]:
    """One record of an event."""
    return [Record(seq, at, event)]


def finished(seq: int, outcome: str = "met", goal: str | None = "refunded") -> list[Record]:
    """The end of a run."""
    return written(seq, RunFinished(cast(Any, outcome), goal, (), (), ()))


def asked(seq: int, question: str, until: float | None = None, at: float = 0.0) -> list[Record]:
    """A question to a person."""
    return written(seq, QuestionAsked(question, "approve", "stripe", "over 10,000", until=until), at)


async def accept(
    store: Store, run_id: str = "r", more: Iterable[Record] = (), values: Sequence[Any] = (), **options: Any
) -> Claim:
    """Accept a run with its first record, and some more."""
    return await store.accept(run_id, "refund", "refunded", [started(run_id), *more], values, **options)


def tamper(url: str, *statements: str) -> None:
    """Change a database behind the back of its store."""
    database = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with database.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    database.dispose()
