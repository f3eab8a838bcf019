"""Who may go on with a run: one at a time, the last one who claimed it, and nobody for longer than it lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import FencedError, RunTakenError, StoreError
from orchestrator.store import Claim, Store
from orchestrator.store import liveness as telling
from orchestrator.store.liveness import Process, lives, place, start_of
from tests.postgres import Postgres
from tests.stores import Clock, accept, child, finished, opened, started, tamper, warned

# ------------------------------------------------------------------------------------------------------------- claims


async def test_a_run_is_driven_by_one(store_url: str) -> None:
    """While its process lives, nobody else may claim a run, also not the same store; the refusal names the process."""
    async with opened(store_url) as store, opened(store_url) as other:
        claim = await accept(store)
        for asking in (other, store):
            with pytest.raises(RunTakenError, match=rf"process {os.getpid()} on {telling.Process.current().host}"):
                await asking.claim("r")
        await store.append(claim, warned(2))
        row = (await other.load("r")).row
    assert (row.epoch, row.owner, row.alive) == (1, claim.owner, True)


async def test_a_run_that_is_let_go_may_be_claimed(store_url: str) -> None:
    """Each claim has the next epoch, and fences off those before it."""
    async with opened(store_url) as store, opened(store_url) as other:
        first = await accept(store)
        await store.release(first)
        assert not (await store.load("r")).row.alive
        second = await other.claim("r")
        assert (second.epoch, second.owner != first.owner) == (2, True)
        with pytest.raises(FencedError, match="taken over the run r"):
            await store.append(first, warned(2))
        await other.append(second, warned(2))
        await other.release(second)
        third = await store.claim("r")
        assert (third.epoch, third.owner) == (3, first.owner)
        await store.append(third, warned(3))
        assert (await store.load("r")).records == (started(), *warned(2, 3))


async def test_the_last_records_may_let_a_run_go(store_url: str) -> None:
    """With them others may claim it at once; to write them again changes nothing, until somebody else has it."""
    async with opened(store_url) as store, opened(store_url) as other:
        first = await accept(store)
        for _ in range(2):
            await store.append(first, warned(2), release=True)
            assert (await other.load("r")).row.owner is None
        second = await other.claim("r")
        assert (second.epoch, (await store.load("r")).row.owner) == (2, second.owner)
        with pytest.raises(FencedError):
            await store.append(first, warned(2), release=True)
        assert (await store.load("r")).row.owner == second.owner


async def test_a_run_can_be_taken_from_one_who_lives(store_url: str) -> None:
    """Stealing fences the other off in the middle of its work, and what it lets go then is no longer its own."""
    async with opened(store_url) as store, opened(store_url) as thief:
        mine = await accept(store)
        await store.append(mine, warned(2))
        stolen = await thief.claim("r", steal=True)
        with pytest.raises(FencedError):
            await store.append(mine, warned(3))
        await store.release(mine)
        row = (await store.load("r")).row
        assert (row.owner, row.epoch, row.alive) == (stolen.owner, 2, True)
        await thief.append(stolen, warned(3, text="thief"))
        assert (await store.load("r")).records == (started(), *warned(2), *warned(3, text="thief"))


async def test_a_closed_store_owns_nothing(store_url: str) -> None:
    """What a store has not let go when it is closed may be claimed at once."""
    async with opened(store_url) as store:
        await accept(store)
    async with opened(store_url) as other:
        assert [row.run_id for row in await other.resumable()] == ["r"]
        assert (await other.claim("r")).epoch == 2


async def test_a_finished_run_may_be_claimed(store_url: str) -> None:
    """A late result still has to be recorded; it changes nothing of the outcome."""
    async with opened(store_url) as store:
        await store.release(await accept(store, more=finished(2)))
        claim = await store.claim("r")
        await store.append(claim, warned(3))
        row = (await store.load("r")).row
    assert (row.outcome, row.last_seq) == ("met", 3)


MOVES = st.sampled_from(["claim", "steal", "append", "append", "append", "release", "copy"])


@given(moves=st.lists(st.tuples(st.sampled_from([0, 1]), MOVES), max_size=25))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_two_claimants_only_the_last_one_writes(
    store_url: str, number: list[int], moves: list[tuple[int, str]]
) -> None:
    """However claims, appends and releases of two processes interleave, the log is that of the last claimant."""
    number[0] += 1
    run_id = f"r{number[0]}"

    async def main() -> None:
        async with opened(store_url) as first, opened(store_url) as second:
            stores = (first, second)
            mine: list[Claim | None] = [await accept(first, run_id), None]
            epoch, owner, log = 1, 0, [started(run_id)]
            free = False
            for who, move in moves:
                store, claim = stores[who], mine[who]
                if move in ("claim", "steal"):
                    taken = not free and move == "claim"
                    got = await outcome(store.claim(run_id, steal=move == "steal"))
                    assert (got is RunTakenError) == taken
                    if isinstance(got, Claim):
                        epoch, owner, free, mine[who] = epoch + 1, who, False, got
                        assert got.epoch == epoch
                elif claim is None:
                    continue
                elif move == "release":
                    assert await outcome(store.release(claim)) is None
                    free = free or (claim.epoch == epoch and owner == who)
                elif move == "append":
                    more = warned(len(log) + 1, text=f"{who}-{claim.epoch}-")
                    got = await outcome(store.append(claim, more))
                    assert got is (None if claim.epoch == epoch else FencedError)
                    log += more if got is None else []
                else:  # whoever has a claim of before has it for nothing
                    stale = Claim(run_id, claim.epoch - 1, claim.owner)
                    assert await outcome(store.append(stale, warned(len(log) + 1))) is FencedError
            stored = await first.load(run_id)
            assert stored.records == tuple(log)
            assert stored.row.epoch == epoch

    anyio.run(main)


async def outcome(call: Awaitable[object]) -> object:
    """Return what a call gives, or the kind of its error."""
    try:
        return await call
    except StoreError as error:
        return type(error)


@pytest.fixture
def number() -> list[int]:
    """Count the examples of one test, which share a store."""
    return [0]


async def test_of_many_who_claim_at_once_one_gets_the_run(store_url: str) -> None:
    """Ten stores that ask for the same run at the same time: one has it, nine are told who."""
    async with opened(store_url) as store:
        await store.release(await accept(store))
    stores = [Store.open(store_url) for _ in range(10)]
    got: list[object] = []

    async def ask(store: Store) -> None:
        got.append(await outcome(store.claim("r")))

    async with anyio.create_task_group() as group:
        for each in stores:
            group.start_soon(ask, each)
    for each in stores:
        await each.aclose()
    assert sorted(str(type(each).__name__) for each in got) == ["Claim"] + ["type"] * 9
    assert [each for each in got if not isinstance(each, Claim)] == [RunTakenError] * 9


@pytest.mark.parametrize("move", ["claim", "append"])
async def test_a_claim_that_is_not_yet_durable_is_waited_for(postgres: Postgres, move: str) -> None:
    """While another process is in the middle of claiming a run, nobody claims it or appends to it."""
    url = postgres.create_schema()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with opened(url) as store:
        claim = await accept(store)
        if move == "claim":
            await store.release(claim)
        got: list[object] = []

        async def act() -> None:
            got.append(await outcome(store.claim("r") if move == "claim" else store.append(claim, warned(2))))

        with psycopg.connect(url) as other:
            other.execute("UPDATE runs SET epoch = 2, owner = 'gone by now'")
            async with anyio.create_task_group() as group:
                group.start_soon(act)
                with anyio.fail_after(30):
                    while postgres.execute(waiting) != [(1,)]:
                        await anyio.lowlevel.checkpoint()
                assert got == []
                other.commit()
        if move == "claim":
            assert got == [Claim("r", 3, claim.owner)]
        else:
            assert got == [FencedError]


# ------------------------------------------------------------------------------------------------------- cancellation


async def cancelled_while_written(store: Store, call: Callable[[], Awaitable[object]]) -> None:
    """Cancel a call that waits for the disk."""
    with anyio.CancelScope() as scope:
        write = store._writer._put

        def put(job: object) -> None:
            write(job)  # type: ignore[arg-type]
            scope.cancel()

        store._writer._put = put  # type: ignore[method-assign]
        await call()
    assert scope.cancelled_caught
    store._writer._put = write  # type: ignore[method-assign]


async def test_a_claim_whose_caller_is_cancelled_is_let_go(store_url: str) -> None:
    """Nobody holds the claim, so that nobody would let it go: it must not keep the run."""
    async with opened(store_url) as store, opened(store_url) as other:
        await store.release(await accept(store))
        await cancelled_while_written(store, lambda: store.claim("r"))
        await store.release(Claim("x", 1, "y"))  # whatever came before is written now
        assert not (await other.load("r")).row.alive
        assert (await other.claim("r")).epoch == 3


async def test_a_run_whose_caller_is_cancelled_is_not_accepted(store_url: str) -> None:
    """A run of which nobody was told that it is accepted is not resumed by anybody either."""
    async with opened(store_url) as store:
        await cancelled_while_written(store, lambda: accept(store))
        await store.release(Claim("x", 1, "y"))
        assert await store.runs() == ()
        await accept(store)
        await cancelled_while_written(store, lambda: accept(store, more=warned(2)))
        await store.release(Claim("x", 1, "y"))
        assert (await store.load("r")).records == (started(),)


async def test_an_append_whose_caller_is_cancelled_is_written(store_url: str) -> None:
    """What was handed to the store is in the log, or would have been refused: never lost in between."""
    async with opened(store_url) as store:
        claim = await accept(store)
        await cancelled_while_written(store, lambda: store.append(claim, warned(2)))
        await store.append(claim, warned(3))
        assert (await store.load("r")).records == (started(), *warned(2, 3))


# ------------------------------------------------------------------------------------------------------------ liveness


async def test_a_process_that_gives_no_sign_of_life_owns_nothing(store_url: str) -> None:
    """Once its lease is over, a run may be claimed; until then it may not."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store, opened(store_url, clock=clock) as other:
        claim = await accept(store)
        clock.now += 9.9
        with pytest.raises(RunTakenError):
            await other.claim("r")
        clock.now += 0.1
        assert [row.run_id for row in await other.resumable()] == ["r"]
        await other.claim("r")
        with pytest.raises(FencedError):
            await store.append(claim, warned(2))


async def test_signs_of_life_keep_a_run(store_url: str) -> None:
    """A process that only waits for a slow tool renews its lease all the same."""
    clock = Clock()
    async with opened(store_url, clock=clock, beat=0.01) as store, opened(store_url, clock=clock) as other:
        claim = await accept(store)
        for _ in range(3):
            clock.now += 1_000
            with anyio.fail_after(30):
                while not (await other.load("r")).row.alive:
                    await anyio.lowlevel.checkpoint()
        with pytest.raises(RunTakenError):
            await other.claim("r")
        await store.release(claim)
        assert (await other.claim("r")).epoch == 2


async def test_a_killed_process_owns_nothing_at_once(store_url: str) -> None:
    """After SIGKILL nobody has to wait for a lease: on the same machine it is known that the process is gone."""
    async with child(store_url, "accept", "r") as other, opened(store_url) as store:
        assert await other.line() == "accepted r"
        with pytest.raises(RunTakenError, match=f"process {other.pid} on"):
            await store.claim("r")
        other.process.kill()
        with anyio.fail_after(30):
            while (await store.load("r")).row.alive:
                await anyio.lowlevel.checkpoint()
        assert [row.run_id for row in await store.resumable()] == ["r"]
        assert (await store.claim("r")).epoch == 2


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ("host = host", True),
        ("pid = 4194305", False),  # above what Linux gives
        ("started = '1'", False),  # another process with this pid
        ("place = 'elsewhere', pid = 4194305", True),  # of which only the lease is known
        ("place = 'elsewhere', pid = 4194305, seen = seen - 10", False),
        ("started = '', pid = 4194305", True),  # of a system that tells nothing
        ("seen = seen - 9.5", True),
        ("seen = seen - 10", False),
        ("seen = seen + 3600", True),  # its clock is ahead
    ],
)
async def test_who_lives(store_url: str, change: str, alive: bool) -> None:
    """Within the lease and, where the pid can be looked up, with the same process behind it."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store, opened(store_url, clock=clock) as other:
        await accept(store)
        tamper(store_url, f"UPDATE processes SET {change}")
        assert (await other.load("r")).row.alive == alive
        got = await outcome(other.claim("r"))
        assert (got is RunTakenError) == alive


async def test_processes_that_are_long_gone_are_struck_off(store_url: str) -> None:
    """The table of processes does not grow for ever."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store:
        await accept(store)
        tamper(store_url, "UPDATE processes SET id = 'killed'")
        clock.now += 3601
        async with opened(store_url, clock=clock) as other:
            await accept(other, "q")
            rows = {row.run_id: row for row in await other.runs()}
            count = other._database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM processes").scalar())
    assert (rows["q"].alive, rows["r"].alive, count) == (True, False, 1)


def test_a_process_is_known_by_when_it_started() -> None:
    """This process lives; one that is over does not, also while its parent has not heard of it."""
    me = Process.current()
    assert start_of(me.pid) == me.started != ""
    assert me.place == place()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert start_of(child.pid) not in (None, me.started)
    finally:
        child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_of(child.pid) is None
    child.communicate()
    assert start_of(child.pid) is None


def test_where_proc_is_not_there_ps_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Other systems than Linux tell when a process started through ps."""
    monkeypatch.setattr(telling, "_PROC", tmp_path)
    told = start_of(os.getpid())
    assert told == start_of(os.getpid())
    assert told is not None
    assert start_of(4194305) is None
    assert place() == Process.current().host
    row = SimpleNamespace(seen=0.0, started=told, place=place(), pid=os.getpid())
    assert lives(row, 1.0, 10.0)


def test_where_nothing_is_told_the_lease_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Without /proc and without ps a process lives for as long as its lease."""
    monkeypatch.setattr(telling, "_PROC", tmp_path)
    monkeypatch.setenv("PATH", "")
    me = Process.current()
    assert me.started == ""
    row = SimpleNamespace(seen=0.0, started=me.started, place=me.place, pid=me.pid)
    assert lives(row, 9.0, 10.0)
    assert not lives(row, 10.0, 10.0)
