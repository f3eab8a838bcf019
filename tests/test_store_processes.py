"""Many processes on one store, and processes that are killed in the middle of their work."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stores import child, finished, opened, started, warned


async def test_many_processes_share_a_store(store_url: str) -> None:
    """Processes that write side by side to one database, new at that, all get their records in, in order."""
    async with anyio.create_task_group() as group:

        async def drive(tag: str) -> None:
            async with child(store_url, "drive", "4", "15", tag) as driver:
                assert await driver.rest() == ["done"]

        for tag in "abc":
            group.start_soon(drive, tag)
    async with opened(store_url) as store:
        rows = await store.runs()
        assert sorted(row.run_id for row in rows) == sorted(f"{tag}-{number}" for tag in "abc" for number in range(4))
        assert {(row.outcome, row.last_seq, row.owner) for row in rows} == {("met", 15, None)}
        for row in rows:
            stored = await store.load(row.run_id)
            assert stored.records == (started(row.run_id), *warned(2, 14, row.run_id), *finished(15))


@pytest.fixture
def number() -> list[int]:
    """Count the examples of one test, which share a store."""
    return [0]


@given(lines=st.integers(1, 25))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_told_durable_survives_a_kill(store_url: str, number: list[int], lines: int) -> None:
    """After SIGKILL between or inside appends, all that was told is there, what is there is whole, and the next
    process goes on from it at once.
    """
    number[0] += 1
    run_id = f"r{number[0]}"

    async def main() -> None:
        async with child(store_url, "append", run_id) as writer:
            told = 0
            for _ in range(lines):
                line = await writer.line()
                assert line is not None
                told = int(line)
            writer.process.kill()
            # It may have said more before it was gone.
            told = max([told, *(int(line) for line in (await writer.rest()) if line)])
            await writer.process.wait()
        async with opened(store_url) as store:
            stored = await store.load(run_id)
            last = len(stored.records)
            assert last >= told
            assert last % 4 in (1, 2)  # the end of an append, which has one record or three
            assert stored.records[1:] == tuple(warned(2, last) if last > 1 else [])
            assert [value.data for value in stored.values] == ([b"%d" % last] if last > 1 else [])
            assert stored.row.last_seq == last
            assert run_id in [row.run_id for row in await store.resumable()]
            claim = await store.claim(run_id)
            await store.append(claim, finished(last + 1))
            await store.release(claim)
            assert (await store.load(run_id)).row.outcome == "met"

    anyio.run(main)


async def test_a_run_is_taken_from_a_process_that_still_writes(store_url: str) -> None:
    """The other process is fenced off: nothing of it is in the log after the claim of the thief."""
    async with child(store_url, "append", "r") as writer, opened(store_url) as store:
        for _ in range(5):
            await writer.line()
        claim = await store.claim("r", steal=True)
        last = (await store.load("r")).row.last_seq
        await store.append(claim, warned(last + 1, last + 8, "thief"))
        # Its next append ends it.
        await writer.rest()
        assert await writer.process.wait() == 1
        stored = await store.load("r")
    assert stored.records[last:] == tuple(warned(last + 1, last + 8, "thief"))
