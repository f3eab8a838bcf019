"""Health in a store: the last snapshot of a graph's, and announcements in order, on both databases."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from orchestrator.errors import RecordError
from orchestrator.store import Outage
from orchestrator.store.health import FORGOTTEN
from tests.postgres import Postgres
from tests.stores import Clock, accept, opened, tamper, warned


async def test_health_is_read_as_it_was_saved(store_url: str) -> None:
    """What was saved last stands, with its age, for each graph apart; any text comes back."""
    clock = Clock()
    data = {"nodes": {"a\0\ud800": [1, None, 0.1, True]}, "deep": {"b": []}}
    async with opened(store_url, clock=clock) as store, opened(store_url, clock=clock) as other:
        assert await store.load_health("refund") is None
        await store.save_health("refund", {"old": 1})
        await store.save_health("travel", {"other": 1})
        await store.save_health("refund", data)
        clock.now += 12.5
        assert await other.load_health("refund") == (data, 12.5)
        await other.save_health("refund", {"new": 2})
        assert await store.load_health("refund") == ({"new": 2}, 0.0)
        assert [(each.graph, each.age) for each in await store.healths()] == [("refund", 0.0), ("travel", 12.5)]
        clock.now -= 100.0
        assert await store.load_health("refund") == ({"new": 2}, 0.0)


async def test_health_that_cannot_be_read_says_so(store_url: str) -> None:
    """Damaged data is one clear error, and saving mends it."""
    async with opened(store_url) as store:
        await store.save_health("refund", {})
        for text in ("{", "[1]"):
            tamper(store_url, f"UPDATE health SET data = '{text}'")
            with pytest.raises(RecordError, match="the health of the graph refund cannot be read"):
                await store.load_health("refund")
        await store.save_health("refund", {"a": 1})
        mended = await store.load_health("refund")
        assert mended is not None
        assert mended[0] == {"a": 1}


async def test_looking_creates_nothing(tmp_path: Path) -> None:
    """Where no file is yet, there is no health and no announcement, and still no file."""
    async with opened(tmp_path / "runs.db") as store:
        assert await store.load_health("g") is None
        assert await store.healths() == ()
        assert await store.outages_since("g", 0) == ()
    assert os.listdir(tmp_path) == []


async def test_announcements_are_heard_in_order(store_url: str) -> None:
    """Whoever asks gets what came after the number that it knows, of its graph alone, with who said it."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store, opened(store_url, clock=clock) as other:
        first = await store.announce("refund", "stripe", "open", clock.now + 5.0, "5 failures in a row")
        await store.announce("travel", "airjet", "open", None, "")
        second = await other.announce("refund", "stripe", "closed", None, "a probe succeeded")
        assert first < second
        assert await other.outages_since("refund", 0) == (
            Outage(first, "refund", "stripe", "open", clock.now + 5.0, "5 failures in a row", store.process, clock.now),
            Outage(second, "refund", "stripe", "closed", None, "a probe succeeded", other.process, clock.now),
        )
        assert [each.seq for each in await store.outages_since("refund", first)] == [second]
        assert await store.outages_since("refund", second) == ()


async def test_old_announcements_are_forgotten_but_for_what_holds(store_url: str) -> None:
    """After an hour an announcement goes, unless its time is not over; its number is never given again."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store:
        await store.announce("g", "over", "open", clock.now + 5.0, "")
        await store.announce("g", "endless", "open", None, "")
        await store.announce("g", "long", "open", clock.now + 3 * FORGOTTEN, "")
        clock.now += FORGOTTEN + 1.0
        last = await store.announce("g", "new", "open", None, "")
        assert [each.node for each in await store.outages_since("g", 0)] == ["long", "new"]
    tamper(store_url, "DELETE FROM outages")
    async with opened(store_url, clock=clock) as store:
        assert await store.announce("g", "next", "open", None, "") > last


async def test_health_and_runs_share_what_is_written(store_url: str) -> None:
    """Saves, announcements and appends of a moment all get through, from two processes on one graph."""
    async with opened(store_url) as store, opened(store_url) as other:
        claim = await accept(store)

        async def append() -> None:
            for seq in range(2, 20):
                await store.append(claim, warned(seq))

        async with anyio.create_task_group() as group:
            group.start_soon(append)
            for number in range(10):
                for each in (store, other):
                    group.start_soon(each.save_health, "g", {"number": number})
                    group.start_soon(each.announce, "g", f"n{number}", "open", None, "")
        assert (await store.load("r")).row.last_seq == 19
        assert len(await store.outages_since("g", 0)) == 20


async def test_a_number_is_seen_before_any_higher_one(postgres: Postgres) -> None:
    """While a lower number is not committed, no higher one can be: a reader that goes on from the last misses none."""
    import psycopg

    url = postgres.create_schema()
    async with opened(url, clock=Clock()) as store:
        await store.announce("g", "first", "open", None, "")
        done = threading.Event()

        def slow() -> None:
            """Announce as another process would, and take long to commit."""
            with psycopg.connect(url) as connection:
                columns = "graph, node, state, reason, process, at"
                connection.execute(f"INSERT INTO outages ({columns}) VALUES ('g', 'slow', '', '', '', 1e9)".encode())
                inside.set()
                done.wait(30)

        inside = threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, slow)
            assert await anyio.to_thread.run_sync(inside.wait, 30)
            group.start_soon(store.announce, "g", "quick", "open", None, "")
            with anyio.fail_after(30):
                while not _waiting(postgres):
                    await anyio.lowlevel.checkpoint()
            assert [each.node for each in await store.outages_since("g", 0)] == ["first"]
            done.set()
        assert [each.node for each in await store.outages_since("g", 0)] == ["first", "slow", "quick"]


def _waiting(postgres: Postgres) -> bool:
    """Whether somebody waits for the lock on announcements."""
    found = postgres.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND relation::regclass::text LIKE '%outages'")
    return bool(found)
