"""What goes wrong between a store and its database: what passes is waited for, what does not is told at once.

Whatever happens, an append that returned is there, one that raised is there whole or not at all, and the store works
again once the fault is gone.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
import sqlalchemy as sa
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import FencedError, StoreError
from orchestrator.store import Store
from orchestrator.store.address import read_address
from orchestrator.store.faults import fault_of, persist
from tests.postgres import Postgres
from tests.stores import accept, child, opened, started, warned

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


async def locked(path: Path) -> Process:
    """Return another process that holds the lock of an SQLite file until it is sent a line."""
    process = await anyio.open_process([sys.executable, "-c", LOCK, str(path)], stderr=None)
    assert process.stdout is not None
    assert await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 10) == b"locked"
    return process


# ------------------------------------------------------------------------------------------------------ SQLite, passing


async def test_a_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    """While somebody else writes, an append waits, and is written as soon as the lock is gone."""
    path = tmp_path / "runs.db"
    async with opened(path, patience=30.0) as store:
        claim = await accept(store)
        async with await locked(path) as process:
            assert process.stdin is not None
            released = False

            async def append() -> None:
                await store.append(claim, warned(2))
                assert released

            async with anyio.create_task_group() as group:
                group.start_soon(append)
                # Reading goes on meanwhile, of what is durable.
                for _ in range(20):
                    assert (await store.load("r")).records == (started(),)
                released = True
                await process.stdin.send(b"\n")
            await process.wait()
        assert (await store.load("r")).records == (started(), *warned(2))


async def test_a_lock_that_stays_is_told(tmp_path: Path) -> None:
    """After the time for it the error says what is in the way; all that waited fail at once, and later ones work."""
    path = tmp_path / "runs.db"
    async with opened(path, patience=0.2) as store:
        claims = [await accept(store, f"r{number}") for number in range(4)]
        errors = []
        async with await locked(path) as process:
            assert process.stdin is not None

            async def append(number: int) -> None:
                with pytest.raises(StoreError, match=r"after 0\.\d s of trying: database is locked") as error:
                    await store.append(claims[number], warned(2))
                errors.append(error.value)

            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(append, number)
            await process.stdin.send(b"\n")
            await process.wait()
        assert len({id(error) for error in errors}) == 4
        for claim in claims:
            await store.append(claim, warned(2))
            assert (await store.load(claim.run_id)).records == (started(claim.run_id), *warned(2))


# ------------------------------------------------------------------------------------------------------ SQLite, lasting


async def test_a_full_database_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """Where there is no room the error says so at once; with room again the same append is written."""
    path = tmp_path / "runs.db"
    async with opened(path, patience=1000.0) as store:
        claim = await accept(store)
        pages = [1]  # no more than there are

        def limit(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages[0]}")

        sa.event.listen(store._database._connections(), "begin", limit)
        large = warned(2, 9, "x" * 5000)
        with pytest.raises(StoreError, match=r"database or disk is full; there is no room left: make room, .*resume"):
            await store.append(claim, large)
        stored = await store.load("r")
        assert (stored.records, stored.row.last_seq) == ((started(),), 1)
        pages[0] = 1_000_000
        await store.append(claim, large)
        assert (await store.load("r")).records == (started(), *large)


async def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """The same with a disk that really takes no more: what was told durable is there, and the run goes on later."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with child(url, "full") as writer:
        told, end, *more = await writer.rest()
    seq, _, message = told.partition(" ")
    assert "cannot be used: " in message
    assert "room" in message
    assert more == []
    assert int(end) == int(seq) + 2
    async with opened(url) as store:
        stored = await store.load("r")
    assert [record.seq for record in stored.records] == list(range(1, int(end) + 1))
    assert [value.data for value in stored.values] == [b"%d" % (int(seq) - 2)]


async def test_a_file_that_may_only_be_read_is_told(tmp_path: Path) -> None:
    """Who may not write gets one clear error, and may still look at the runs."""
    path = tmp_path / "runs.db"
    async with opened(path) as store:
        await accept(store)
        os.chmod(path, 0o444)
        for file in (f"{path}-wal", f"{path}-shm"):
            os.chmod(file, 0o666)  # which SQLite needs to read what another process writes
        # Another user may not look into folders of this one, where the tests run as root.
        closed = [folder for folder in tmp_path.parents if os.stat(folder).st_mode & 0o055 == 0] + [tmp_path]
        modes = [stat.S_IMODE(os.stat(folder).st_mode) for folder in closed]
        for folder in closed:
            os.chmod(folder, 0o755)
        async with child(f"sqlite:///{path}", "readonly") as reader:
            told, runs = await reader.rest()
        for folder, mode in zip(closed, modes, strict=True):
            os.chmod(folder, mode)
    assert "attempt to write a readonly database; it may not be written: give this user the right" in told
    assert runs == "r"


@pytest.mark.parametrize("then", ["deleted", "moved", "replaced"])
async def test_a_file_that_is_no_longer_there_is_told(tmp_path: Path, then: str) -> None:
    """Nothing is written to a file that nobody will find again, although the system would let it."""
    path = tmp_path / "runs.db"
    async with opened(path) as store:
        claim = await accept(store)
        os.rename(path, tmp_path / "moved.db")
        if then == "deleted":
            os.unlink(tmp_path / "moved.db")
        elif then == "replaced":
            async with opened(path) as other:
                await accept(other)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"runs\.db was moved or deleted while it was open"):
                await store.append(claim, warned(2))
        if then == "moved":
            os.rename(tmp_path / "moved.db", path)
            await store.append(claim, warned(2))


# ----------------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "crashed"])
async def test_a_server_that_restarts_is_waited_for(postgres: Postgres, kill: bool) -> None:
    """Runs that append while the server goes down and comes back lose nothing, double nothing and see no error."""
    url = postgres.create_schema()
    async with opened(url, patience=60.0, lease=1e9) as store:
        claims = [await accept(store, f"r{number}") for number in range(5)]
        written = [1] * 5
        restarted = anyio.Event()

        async def drive(number: int) -> None:
            while not restarted.is_set() or written[number] < 10:
                seq = written[number]
                await store.append(claims[number], warned(seq + 1, seq + 3))
                written[number] += 3

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(drive, number)
            for _ in range(2):
                before = sum(written)
                while sum(written) < before + 60:
                    await anyio.lowlevel.checkpoint()
                await anyio.to_thread.run_sync(partial(postgres.stop, kill=kill))
                await anyio.to_thread.run_sync(postgres.start)
            restarted.set()
        for number, claim in enumerate(claims):
            stored = await store.load(claim.run_id)
            assert stored.records[1:] == tuple(warned(2, written[number]))


async def test_a_server_that_stays_away_is_told_and_serves_again(postgres: Postgres) -> None:
    """After the time for it the error says what to look at; once the server is back the run goes on."""
    url = postgres.create_schema()
    async with opened(url, patience=0.3, lease=1e9) as store:
        claim = await accept(store)
        await anyio.to_thread.run_sync(postgres.stop)
        try:
            with pytest.raises(StoreError, match=r"s of trying: .*is the server up\?"):
                await store.append(claim, warned(2))
            with pytest.raises(StoreError, match=r"is the server up\?"):
                await store.load("r")
        finally:
            await anyio.to_thread.run_sync(postgres.start)
        await store.append(claim, warned(2))
        assert (await store.load("r")).records == (started(), *warned(2))


def lose_connection(store: Store, *, before: bool, then: Callable[[], None] = lambda: None) -> None:
    """Lose the connection in the middle of the next commit, just before or just after the server carries it out."""
    dialect = store._database._connections().dialect
    commit = dialect.do_commit

    def lost(connection: Any) -> None:
        dialect.do_commit = commit  # type: ignore[method-assign]
        if not before:
            commit(connection)
        connection.dbapi_connection.close()
        then()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lost  # type: ignore[method-assign,assignment]


WRITES: dict[str, Callable[[Store, Any], Any]] = {
    "append": lambda store, claim: store.append(claim, warned(2, 3)),
    "accept": lambda store, claim: accept(store, "new", warned(2, 3)),
    "claim": lambda store, claim: store.claim("free"),
    "release": lambda store, claim: store.release(claim),
    "prune": lambda store, claim: store.prune(0.0),
}


@pytest.mark.parametrize("before", [True, False], ids=["not written", "written"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_connection_lost_in_a_commit_is_made_good(postgres: Postgres, name: str, before: bool) -> None:
    """Whether the server had carried the commit out or not: it is carried out once, and the caller hears of nothing."""
    async with opened(postgres.create_schema()) as store:
        claim = await accept(store)
        await store.release(await accept(store, "free"))
        lose_connection(store, before=before)
        await WRITES[name](store, claim)
        rows = {row.run_id: row for row in await store.runs()}
        expected = (started(), *warned(2, 3)) if name == "append" else (started(),)
        assert (await store.load("r")).records == expected
        assert (rows["r"].alive, rows["free"].alive) == (name != "release", name == "claim")
        assert rows["free"].epoch == (2 if name == "claim" else 1)
        assert ("new" in rows) == (name == "accept")
        if name == "accept":
            assert (await store.load("new")).records == (started("new"), *warned(2, 3))


@pytest.mark.parametrize("before", [True, False], ids=["not written", "written"])
async def test_a_run_that_is_taken_while_a_commit_is_lost_is_lost(postgres: Postgres, before: bool) -> None:
    """Where another process takes the run over before the connection is back, this one is fenced off, whatever was
    written: it may not believe that it still drives the run.
    """
    url = postgres.create_schema()
    async with opened(url) as store, opened(url) as thief:
        claim = await accept(store)

        async def steal() -> None:
            await thief.claim("r", steal=True)

        lose_connection(store, before=before, then=lambda: anyio.run(steal))
        with pytest.raises(FencedError):
            await store.append(claim, warned(2))
        assert (await thief.load("r")).records == (started(), *([] if before else warned(2)))


async def test_a_connection_that_the_server_ends_is_opened_again(postgres: Postgres) -> None:
    """An idle connection that was ended costs a writer nothing, and a reader neither."""
    url = postgres.create_schema()
    async with opened(url) as store:
        claim = await accept(store)
        for seq in range(2, 5):
            await store.load("r")
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orchestrator'"
            )
            await store.append(claim, warned(seq))
            assert (await store.load("r")).records == (started(), *warned(2, seq))


async def test_a_server_that_takes_no_writes_is_told(postgres: Postgres) -> None:
    """A stand-by can be read; what is to be written is refused with a clear error."""
    url = postgres.create_schema()
    async with opened(url) as store:
        await accept(store)
    async with opened(f"{url}%20-cdefault_transaction_read_only%3Don", patience=1000.0) as store:
        with pytest.raises(StoreError, match=r"read-only transaction; the server takes no writes"):
            await accept(store, "q")
        assert len(await store.runs()) == 1


# -------------------------------------------------------------------------------------------------------------- waiting


def test_the_waits_grow_and_end() -> None:
    """Passing faults are tried again after longer and longer waits, and given up after the time for it."""
    now = [0.0]
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    def attempt() -> None:
        raise psycopg.OperationalError("no answer from postgresql://u:hunter2@h/d")

    address = read_address("postgresql://u:hunter2@h/d")
    with pytest.raises(StoreError, match=r"after 9\.\d s of trying: no answer from postgresql://u:\*\*\*@h/d") as error:
        persist(attempt, address=address, patience=10.0, monotonic=lambda: now[0], wait=wait)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    assert waits == sorted(waits)
    assert (waits[0], max(waits)) == (0.01, 1.0)
    assert 9.0 < sum(waits) <= 10.0


@pytest.mark.parametrize(
    ("error", "passing", "advice"),
    [
        (psycopg.errors.AdminShutdown, True, ""),
        (psycopg.errors.CrashShutdown, True, ""),
        (psycopg.errors.CannotConnectNow, True, ""),
        (psycopg.errors.ConnectionFailure, True, ""),
        (psycopg.errors.DeadlockDetected, True, ""),
        (psycopg.errors.SerializationFailure, True, ""),
        (psycopg.errors.TooManyConnections, True, ""),
        (psycopg.errors.DiskFull, False, "make room"),
        (psycopg.errors.ReadOnlySqlTransaction, False, "takes no writes"),
        (psycopg.errors.InsufficientPrivilege, False, "grant it"),
        (psycopg.errors.UndefinedTable, False, ""),
        (psycopg.ProgrammingError, False, ""),
        (psycopg.OperationalError, True, "is the server up"),
    ],
)
def test_what_a_server_says_is_told_apart(error: type[psycopg.Error], passing: bool, advice: str) -> None:
    """A server that goes down or is in somebody else's way is waited for; what a person must mend is told at once."""
    for raised in (error("said so"), DBAPIError("SELECT", (), error("said so"))):
        fault = fault_of(raised)
        assert fault is not None
        assert (fault.passing, fault.text) == (passing, "said so")
        assert advice in fault.advice


def test_what_is_no_fault_of_a_database_is_raised() -> None:
    """A defect of the program is not tried again, and not dressed up as one of the database."""

    def attempt() -> None:
        raise ZeroDivisionError

    address = read_address("runs.db")
    with pytest.raises(ZeroDivisionError):
        persist(attempt, address=address, patience=10.0, monotonic=lambda: 0.0, wait=lambda seconds: None)
