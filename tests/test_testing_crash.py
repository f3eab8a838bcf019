"""A world with a store: processes end, other ones go on, and people answer in between; all in virtual time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator import Orchestrator, tool
from orchestrator.errors import InputError, RunTakenError, StoreError
from orchestrator.testing import Crashed, VirtualClock, World, outside
from tests.test_testing_people import shop as gated_shop


def shop(**policy: Any) -> Orchestrator:
    """Return a shop: a read, a payment that can be verified and undone, and a notice."""

    @tool(provides="order", effect="read", timeout="60s")
    async def crm(order_id: str) -> dict[str, Any]:
        raise AssertionError("really called")

    def find(order: dict[str, Any]) -> None:
        raise AssertionError("nothing of a scripted node is really called")

    @tool(provides="refund", effect="once", verify=find, undo=find, timeout="60s")
    async def stripe(order: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("really called")

    @tool(provides="notice", effect="idempotent", timeout="60s")
    async def email(refund: dict[str, Any]) -> str:
        raise AssertionError("really called")

    return Orchestrator(tools=[crm, stripe, email], goals={"told": ["refund", "notice"]}, policy=policy)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give a world with a store, in which each call takes ten seconds."""
    world = World(shop()).store(tmp_path / "runs.db")
    world.tool("crm").returns({"cents": 900}, after="10s", times="any")
    world.tool("stripe").returns({"id": 7}, after="10s", times="any")
    world.tool("email").returns("sent", after="10s", times="any")
    return world


@pytest.mark.parametrize(("after", "calls"), [("5s", (2, 1, 1)), ("15s", (1, 1, 1)), ("25s", (1, 1, 2))])
def test_a_run_goes_on_after_a_crash(world: World, after: str, calls: tuple[int, ...]) -> None:
    """Killed in a read, a payment and a notice: reads and idempotent calls are made again, a payment is looked for."""
    with world.crash(after=after):
        world.run(order_id="12")
    assert world.clock.now == float(after[:-1])
    world.clock.advance(60)
    result = world.resume()
    assert (result.outcome, result.values) == ("met", {"refund": {"id": 7}, "notice": "sent"})
    assert tuple(len(world.tool(name).called) for name in ("crm", "stripe", "email")) == calls
    world.finish()


def test_the_story_of_a_crash(world: World) -> None:
    """It reads as what happened: the call that was lost, who went on and when, and how the outcome was settled."""
    with world.crash(after="15s"):
        world.run(order_id="12")
    world.clock.advance(45)
    world.resume()
    assert world.story() == (
        "run-1\n"
        "       0 s  start       told; given order_id\n"
        "       0 s  route       crm > stripe > email\n"
        "       0 s  call        crm #1  (order_id from input)\n"
        "      10 s  answered    crm #1\n"
        "      10 s  call        stripe #1  (order from crm)\n"
        "      60 s  resumed\n"
        "      60 s  failed      stripe #1  interrupted, nobody knows whether it happened: "
        "the process ended during the call\n"
        "      60 s  call        verify of stripe\n"
        "      60 s  said        verify of stripe: yes\n"
        "      60 s  settled     stripe #1 was done, says verify\n"
        "      60 s  absorbed    (answers stripe #1)\n"
        "      60 s  call        email #1  (refund from stripe)\n"
        "      70 s  answered    email #1\n"
        "      70 s  end         met told; crm > stripe > email; refund from stripe; notice from email"
    )


def test_nothing_is_recorded_or_undone_by_a_process_that_has_ended(world: World, tmp_path: Path) -> None:
    """A crash is no cancellation: no undo is called, and the record ends where it was."""
    with world.crash(after="25s"):
        world.run(order_id="12")
    assert world.tool("stripe").undo.called == []
    with sqlite3.connect(tmp_path / "runs.db") as database:
        [(outcome,)] = database.execute("select outcome from runs")
    database.close()
    assert outcome == "running"


def test_a_run_may_crash_again_and_again(world: World) -> None:
    """Every process goes on from what the ones before it have recorded."""
    with world.crash(after="5s"):
        world.run(order_id="12")
    for _ in range(2):
        with world.crash(after="5s"):
            world.resume()
    assert world.resume().outcome == "met"
    assert world.clock.now == 15 + 30


def test_code_that_is_under_way_ends_with_the_process(world: World) -> None:
    """Whatever the application makes of the error, its process is gone."""

    async def stubborn(orchestrator: Orchestrator) -> str:
        with suppress(StoreError):
            await orchestrator.run(order_id="12")
        return "went on"

    told = []
    with world.crash(after="5s"):
        try:
            told.append(world.call(stubborn, world.orchestrator))
        except Crashed as crashed:
            told.append(str(crashed))
            raise
    assert told == ["the process ended at 5 s"]


def test_a_crash_that_never_comes_is_a_mistake_of_the_test(world: World) -> None:
    """A run that is over before has proved nothing."""
    message = r"nothing was under way any more after 31s, at 30 s\n\nrun-1\n"
    with pytest.raises(AssertionError, match=message), world.crash(after="31s"):
        world.run(order_id="12")


def test_without_a_store_nothing_is_left_after_a_crash() -> None:
    """The world says what is missing."""
    with pytest.raises(InputError, match="nothing is left after a crash without a store"), World(shop()).crash(after=1):
        pass  # pragma: no cover
    with pytest.raises(InputError, match="nothing was run in this world"):
        World(shop()).resume()


def test_a_test_never_writes_to_the_orchestrators_own_store(tmp_path: Path) -> None:
    """What is tested may be the orchestrator of an application, with its real store."""
    orchestrator = Orchestrator(tools=[_one], goals={"g": ["x"]}, store=tmp_path / "production.db")
    assert World(orchestrator).run().outcome == "met"
    assert not (tmp_path / "production.db").exists()


@tool(provides="x")
def _one() -> int:
    return 1


def test_a_process_that_lives_keeps_its_run(world: World) -> None:
    """However far the clock jumps: who drives a run is not taken for dead."""

    async def both(orchestrator: Orchestrator) -> str:
        async with anyio.create_task_group() as group:

            async def drive() -> None:
                await orchestrator.run(order_id="12")

            group.start_soon(drive)
            await anyio.sleep(25)
            with pytest.raises(RunTakenError):
                await orchestrator.resume("run-1")
        return "driven"

    assert world.call(both, world.orchestrator) == "driven"


# ------------------------------------------------------------------------------------------------------------- waiting


def test_another_orchestrator_takes_the_answer(tmp_path: Path) -> None:
    """A run waits, its process is gone, and what is loaded later answers its question and goes on."""
    world = World(gated_shop()).store(tmp_path / "runs.db")
    assert world.run(order_id="12").outcome == "waiting"
    world.clock.advance(3600)
    world.load(gated_shop())
    result = world.answer("approve:wire", "no", by="kim", reason="too much")
    assert (result.outcome, result.route) == ("met", ("crm", "voucher", "sms"))
    assert "\n    3601 s  person      approve:wire: no, says kim (too much)\n" in world.story()


def test_a_deadline_passes_while_nobody_drives_the_run(tmp_path: Path) -> None:
    """The wall clock of a world is its own: a day later the question is overdue."""
    world = World(gated_shop(people={"deadline": "24h"})).store(tmp_path / "runs.db")
    assert world.run(order_id="12").outcome == "waiting"
    world.clock.advance(3600)
    assert world.resume().outcome == "waiting"
    world.clock.advance(24 * 3600)
    with pytest.raises(InputError, match="comes 3600 s after its deadline"):
        world.answer("approve:wire", "yes")
    assert world.resume().route == ("crm", "voucher", "sms")


def test_people_who_think_do_so_across_a_crash(tmp_path: Path) -> None:
    """The person who was asked does not notice that the process ended, and answers when they would have."""
    with World(gated_shop()).store(tmp_path / "runs.db") as world:
        world.people.answer("approve:wire", "yes", after="2h")
        with world.crash(after="1h"):
            world.run(order_id="12")
        assert world.resume().outcome == "met"
    assert world.clock.now == 1 + 7200


# ------------------------------------------------------------------------------------------------------------- outside


def test_the_clock_stands_still_for_a_thread_of_ones_own() -> None:
    """What the loop cannot see is waited for where the code says so; on any other loop nothing changes."""
    clock = VirtualClock()

    async def wait() -> float:
        done, wake = anyio.Event(), anyio.lowlevel.current_token().native_token
        started = threading.Event()
        thread = threading.Thread(target=lambda: (started.wait(), wake.call_soon_threadsafe(done.set)))  # type: ignore[attr-defined]
        thread.start()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 3600)
            with outside():
                started.set()
                await done.wait()
            thread.join()
            now = clock.now
            group.cancel_scope.cancel()
        return now

    assert clock.run(wait) == 0
    anyio.run(wait)
