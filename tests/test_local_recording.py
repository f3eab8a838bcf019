"""A step that is on its way to the disk while its caller is cancelled is recorded whole, and the run ends in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import Orchestrator, tool
from orchestrator.drivers.journal import Journal
from orchestrator.events import Record
from orchestrator.store import Store


@tool(provides="found", effect="read")
async def search(question: str) -> str:
    """Search at once."""
    return question


@tool(provides="answer", effect="read")
async def write(found: str) -> str:
    """Write at once."""
    return found


class Held:
    """A journal that is held at its *n*-th step until it is let go: before it writes it, while it does, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n: int, when: str) -> None:
        self.writes: list[list[int]] = []
        self.held = asyncio.Event()
        self.go = asyncio.Event()
        write = Journal.write

        async def slow(journal: Journal, records: Sequence[Record], values: Any, *, last: bool) -> None:
            self.writes.append([record.seq for record in records])
            if len(self.writes) != n:
                await write(journal, records, values, last=last)
                return
            if when == "after":
                await write(journal, records, values, last=last)
            self.held.set()
            if when != "while":
                await self.go.wait()
            await write(journal, records, values, last=last)

        monkeypatch.setattr(Journal, "write", slow)


async def by_task(run: Callable[[], Awaitable[Any]], held: Held) -> None:
    """Cancel the task of a run."""
    task = asyncio.ensure_future(run())
    await held.held.wait()
    task.cancel()
    await asyncio.sleep(0)
    held.go.set()
    with suppress(asyncio.CancelledError):
        await task


async def by_scope(run: Callable[[], Coroutine[Any, Any, Any]], held: Held) -> None:
    """Cancel a scope around a run, which cancels it again and again."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await held.held.wait()
        tasks.cancel_scope.cancel()
        held.go.set()


@pytest.mark.parametrize("cancel", [by_task, by_scope])
@pytest.mark.parametrize("when", ["before", "while", "after"])
@pytest.mark.parametrize("n", [1, 2, 3])
async def test_a_step_is_recorded_whole_though_its_caller_is_cancelled(
    n: int, when: str, cancel: Callable[..., Awaitable[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the first, a middle or the last step is on its way: every record is there once, and the run is over."""
    path = tmp_path / "runs.db"
    held = Held(monkeypatch, n, when)
    async with Orchestrator(tools=[search, write], goals={"answered": ["answer"]}, store=path) as orchestrator:
        await cancel(lambda: orchestrator.run({"question": "why"}, run_id="run"), held)
    async with Store.open(path) as store:
        stored = await store.load("run")
    assert [record.seq for record in stored.records] == list(range(1, len(stored.records) + 1))
    assert stored.row.outcome == ("met" if n == 3 else "cancelled")
    assert stored.row.owner is None
    assert held.writes.count(held.writes[n - 1]) == 2  # the write that was on its way, once more
