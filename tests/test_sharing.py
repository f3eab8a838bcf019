"""Health beyond one process: restored after a restart, told to others within a second, and never in a run's way."""

from __future__ import annotations

import asyncio  # noqa: TID251  # it tests what asyncio itself does to tasks that belong to no run
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from orchestrator.drivers.sharing import POLL, RESTORE_SECONDS, SAVE, Heard, Sharing
from orchestrator.errors import RecordError, StoreError
from orchestrator.store import Outage
from orchestrator.testing.clock import VirtualClock
from tests.postgres import Postgres
from tests.stores import Child, opened


@dataclass
class Shelf:
    """A store in memory, which can be away, slow or damaged, and what was asked of it."""

    clock: VirtualClock
    process: str = "me"
    data: tuple[dict[str, Any], float] | None = None
    outages: list[Outage] = field(default_factory=list)
    saves: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    ill: str = ""
    polls: int = 0

    async def _use(self) -> None:
        if self.ill == "away":
            raise StoreError("postgresql://me:sk-secret@host is away")
        if self.ill == "hangs":
            await asyncio.sleep(1e6)

    async def load_health(self, graph: str) -> tuple[dict[str, Any], float] | None:
        """Load."""
        await self._use()
        if self.ill == "unreadable":
            raise StoreError("not now")
        if self.ill == "damaged":
            raise RecordError("it cannot be read")
        return self.data

    async def save_health(self, graph: str, data: dict[str, Any]) -> None:
        """Save."""
        await self._use()
        self.saves.append((self.clock.now, data))

    async def announce(self, graph: str, node: str, state: str, until: float | None, reason: str) -> int:
        """Announce."""
        await self._use()
        self.say(node, state, until, reason, self.process)
        return len(self.outages)

    def say(self, node: str, state: str, until: float | None, reason: str = "", process: str = "other") -> None:
        """Announce as some process."""
        number = len(self.outages) + 1
        self.outages.append(Outage(number, "g", node, state, until, reason, process, self.clock.now))

    async def outages_since(self, graph: str, seq: int) -> tuple[Outage, ...]:
        """Return what is new."""
        await self._use()
        self.polls += 1
        return tuple(outage for outage in self.outages if outage.seq > seq)


class World:
    """A clock, a store, a sharing on them, and what it told."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.shelf = Shelf(self.clock)
        self.health: dict[str, Any] = {"n": 0}
        self.restored: list[tuple[dict[str, Any], float]] = []
        self.heard: list[tuple[float, Heard]] = []
        self.reports: list[str] = []
        self.sharing = Sharing(
            lambda: self.shelf,  # type: ignore[arg-type,return-value]  # as much of a store as is used
            "g",
            snapshot=lambda: self.health,
            restore=lambda data, age: self.restored.append((data, age)),
            heard=lambda heard: self.heard.append((self.clock.now, heard)),
            now=self.clock.time,
            report=self.reports.append,
        )

    def run(self, script: Callable[[], Any]) -> None:
        """Carry out an async script on the clock, between beginning and closing."""

        async def main() -> None:
            await self.sharing.begin()
            await script()
            await self.sharing.aclose()

        self.clock.run(main)


@pytest.fixture
def world() -> World:
    """Give a world."""
    return World()


# --------------------------------------------------------------------------------------------------------- restarts


def test_what_was_known_is_there_before_the_first_run(world: World) -> None:
    """The first run begins with what was saved last and its age; later ones do not take it over again."""
    world.shelf.data = ({"open": ["a"]}, 12.0)

    async def script() -> None:
        assert world.restored == [({"open": ["a"]}, 12.0)]
        await asyncio.sleep(5.0)
        await world.sharing.begin()
        assert len(world.restored) == 1

    world.run(script)


def test_health_is_saved_while_it_moves(world: World) -> None:
    """Every five seconds and at the end, where something was recorded since, and not otherwise."""

    async def script() -> None:
        await asyncio.sleep(3 * SAVE + 0.5)
        assert world.shelf.saves == []
        world.health = {"n": 1}
        world.sharing.note("a", "closed", 0.0, "")
        await asyncio.sleep(3 * SAVE)
        world.health = {"n": 2}
        world.sharing.note("a", "closed", 0.0, "")

    world.run(script)
    assert [data["n"] for _, data in world.shelf.saves] == [1, 2]


def test_an_outage_is_saved_as_it_is_told(world: World) -> None:
    """Not some seconds later: a crash right after it loses nothing, and whoever looks from outside sees its figures."""

    async def script() -> None:
        await asyncio.sleep(SAVE + 1.0)
        assert world.shelf.saves == []
        world.health = {"open": ["a"]}
        world.sharing.note("a", "open", 60.0, "")
        await asyncio.sleep(0.1)
        assert [data for _, data in world.shelf.saves] == [{"open": ["a"]}]

    world.run(script)


def test_runs_that_come_together_wait_together(world: World) -> None:
    """All of them begin with what was known, not only the one that came first; and each loop waits anew."""
    world.shelf.data = ({"n": 1}, 1.0)
    known: list[int] = []

    async def one() -> None:
        await world.sharing.begin()
        known.append(len(world.restored))

    async def together() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
        await world.sharing.aclose()

    world.clock.run(together)
    assert known == [1, 1, 1]
    world.shelf.say("a", "open", 1e6)
    world.clock.advance(10.0)

    async def again() -> None:
        await world.sharing.begin()
        assert [heard.node for _, heard in world.heard] == ["a"]
        await world.sharing.aclose()

    world.clock.run(again)
    assert len(world.restored) == 1


def test_who_cannot_wait_begins_all_the_same(world: World) -> None:
    """`start` waits for nothing, and what is known is there a moment later."""
    world.shelf.data = ({"n": 1}, 1.0)

    async def main() -> None:
        world.sharing.start()
        assert world.restored == []
        await asyncio.sleep(0.1)
        assert len(world.restored) == 1
        await world.sharing.aclose()

    world.clock.run(main)


def test_a_store_that_was_not_read_is_not_written_over(world: World) -> None:
    """While what was known cannot be read, less is not put in its place; later it is taken over, then saved."""
    world.shelf.ill = "unreadable"
    world.shelf.data = ({"old": 1}, 3.0)

    async def script() -> None:
        world.sharing.note("a", "closed", 0.0, "")
        await asyncio.sleep(3 * SAVE)
        assert (world.restored, world.shelf.saves) == ([], [])
        world.shelf.ill = ""
        await asyncio.sleep(SAVE + 1.0)
        assert world.restored == [({"old": 1}, 3.0)]
        assert len(world.shelf.saves) == 1

    world.run(script)


def test_damaged_health_is_measured_afresh(world: World) -> None:
    """What cannot be read is left aside, and the next save mends it."""
    world.shelf.ill = "damaged"

    async def script() -> None:
        world.sharing.note("a", "closed", 0.0, "")

    world.run(script)
    assert (world.restored, len(world.shelf.saves)) == ([], 1)


# ----------------------------------------------------------------------------------------------------------- others


def test_an_outage_is_told_at_once_and_its_end_too(world: World) -> None:
    """Opening, opening again after a failed probe, and closing are announced; half-open and repeats are not."""

    async def script() -> None:
        sharing = world.sharing
        sharing.note("a", "closed", 0.0, "")
        sharing.note("a", "open", 5.0, "5 failures in a row")
        await asyncio.sleep(1.0)
        sharing.note("a", "open", 4.0, "5 failures in a row")
        await asyncio.sleep(4.0)
        sharing.note("a", "half_open", 0.0, "")
        sharing.note("a", "open", 10.0, "a probe failed")
        await asyncio.sleep(11.0)
        sharing.note("a", "closed", 0.0, "")
        await asyncio.sleep(1.0)

    world.run(script)
    said = [(each.state, each.until, each.at) for each in world.shelf.outages]
    assert said == [("open", 1005.0, 1000.0), ("open", 1015.0, 1005.0), ("closed", None, 1016.0)]


def test_others_are_heard_within_a_second_and_oneself_is_not(world: World) -> None:
    """What another process says arrives once, with the time that is left; one's own words do not come back."""

    async def script() -> None:
        await asyncio.sleep(10.0)
        world.sharing.note("b", "open", 5.0, "mine")
        world.shelf.say("a", "open", 1040.0, "down", "other")
        await asyncio.sleep(5.0)
        world.shelf.say("a", "closed", None, "", "other")
        await asyncio.sleep(5.0)

    world.run(script)
    (first, opened_), (second, closed) = world.heard
    assert POLL < 0.5
    assert (first - 1010.0 <= POLL, second - 1015.0 <= POLL) == (True, True)
    assert (opened_.node, opened_.state, opened_.reason, opened_.process) == ("a", "open", "down", "other")
    assert opened_.seconds == pytest.approx(1040.0 - first)
    assert (closed.state, closed.seconds) == ("closed", None)


def test_what_was_said_before_counts_where_it_still_holds(world: World) -> None:
    """A process that comes later hears of outages that are on, in their latest state, and of nothing that is over."""
    world.shelf.say("over", "open", 990.0)
    world.shelf.say("again", "open", 990.0)
    world.shelf.say("again", "open", 1100.0)
    world.shelf.say("back", "open", 1100.0)
    world.shelf.say("back", "closed", None)
    world.shelf.say("refused", "open", None)

    async def script() -> None:
        await asyncio.sleep(5.0)

    world.run(script)
    assert [(heard.node, heard.seconds) for _, heard in world.heard] == [("again", 100.0), ("refused", None)]


def test_an_echo_is_no_news(world: World) -> None:
    """A node that this process takes out of use because another said so is not announced again."""

    async def script() -> None:
        await asyncio.sleep(1.0)
        world.shelf.say("a", "open", 1030.0)
        await asyncio.sleep(1.0)
        world.sharing.note("a", "open", 28.0, "heard")
        await asyncio.sleep(1.0)
        world.shelf.say("a", "closed", None)
        await asyncio.sleep(1.0)
        world.sharing.note("a", "closed", 0.0, "heard")
        await asyncio.sleep(1.0)

    world.run(script)
    assert [each.process for each in world.shelf.outages] == ["other", "other"]


# ---------------------------------------------------------------------------------------------- never in a run's way


@pytest.mark.parametrize("ill", ["away", "hangs"])
def test_a_store_that_is_away_slows_nothing(world: World, ill: str) -> None:
    """The first run waits two seconds at most, later ones not at all, closing two; noting never waits."""
    world.shelf.ill = ill
    times: list[float] = []

    async def main() -> None:
        for _ in range(3):
            before = world.clock.now
            await world.sharing.begin()
            times.append(world.clock.now - before)
        before = world.clock.now
        world.sharing.note("a", "open", 1000.0, "down")
        times.append(world.clock.now - before)
        await asyncio.sleep(60.0)
        before = world.clock.now
        await world.sharing.aclose()
        times.append(world.clock.now - before)

    world.clock.run(main)
    assert times[:4] == [pytest.approx(RESTORE_SECONDS), 0.0, 0.0, 0.0]
    assert times[4] <= 2.0
    if ill == "away":
        assert len(set(world.reports)) == 1
        assert "sk-secret" not in world.reports[0]
        assert "postgresql" not in world.reports[0]


def test_what_could_not_be_told_is_told_when_it_still_holds(world: World) -> None:
    """After the store is back others hear of what is still out, and not of what is over by then."""

    async def script() -> None:
        await asyncio.sleep(1.0)
        world.shelf.ill = "away"
        world.sharing.note("short", "open", 5.0, "")
        world.sharing.note("long", "open", 500.0, "")
        await asyncio.sleep(20.0)
        world.shelf.ill = ""
        await asyncio.sleep(1.0)
        assert [(each.node, each.until) for each in world.shelf.outages] == [("long", 1501.0)]

    world.run(script)


def test_it_survives_its_runs_and_its_loop(world: World) -> None:
    """A cancelled run takes nothing along, cancelled tasks are begun again, and a new loop is no hindrance."""

    async def first() -> None:
        with anyio.CancelScope() as scope:
            await world.sharing.begin()
            scope.cancel()
            await asyncio.sleep(1.0)
        polls = world.shelf.polls
        await asyncio.sleep(3.0)
        assert world.shelf.polls >= polls + 5
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(3.0)
        polls = world.shelf.polls
        await world.sharing.begin()
        await asyncio.sleep(3.0)
        assert world.shelf.polls >= polls + 5

    async def second() -> None:
        await world.sharing.begin()
        world.sharing.note("a", "open", 50.0, "")
        await asyncio.sleep(1.0)
        assert [each.node for each in world.shelf.outages] == ["a"]
        await world.sharing.aclose()

    world.clock.run(first)
    world.clock.run(second)


# ---------------------------------------------------------------------------------------------------- real processes


@asynccontextmanager
async def member(url: str, *arguments: str) -> AsyncIterator[Child]:
    """Start ``tests.health_child``, and kill it at the end if it is not over."""
    from tests.stores import child

    async with child(url, *arguments, module="tests.health_child") as process:
        yield process


async def test_two_processes_know_of_each_others_outages_within_a_second(store_url: str) -> None:
    """A node that fails in one process is out of use in another one on the same store, and back when it is."""
    async with member(store_url, "listen") as listener, member(store_url, "fail") as failing:
        assert await listener.line() == "ready"
        assert await failing.line() == "ready"
        for state in ("open", "closed"):
            await failing.process.stdin.send(b"%s\n" % state.encode())  # type: ignore[union-attr]
            said = await failing.line()
            heard = await listener.line()
            assert said is not None
            assert heard is not None
            assert said.split()[:2] == heard.split()[:2] == ["a", state]
            # Both read the clock of this machine.
            assert float(heard.split()[2]) - float(said.split()[2]) < 1.0


async def test_a_restart_restores_an_open_circuit(store_url: str) -> None:
    """A process that comes after one that ended knows at its first run what that one knew: the node is out of use."""
    async with member(store_url, "open") as before:
        assert await before.rest() == ["open"]
    async with member(store_url, "state") as after:
        assert (await after.rest())[-1] == "open"  # it also hears of it


async def test_a_crash_loses_some_seconds_at_most(store_url: str) -> None:
    """What was saved before a process was killed is there after it."""
    async with member(store_url, "stay") as before:
        assert await before.line() == "open"
        async with opened(store_url) as store:
            with anyio.fail_after(30):
                while await store.load_health("g") is None:  # noqa: ASYNC110  # another process writes it
                    await anyio.sleep(0.05)
        before.process.kill()
    async with member(store_url, "state") as after:
        assert (await after.rest())[-1] == "open"  # it also hears of it


async def test_a_server_that_dies_under_it_is_survived(postgres: Postgres) -> None:
    """PostgreSQL killed and started again: reported once, and then others are heard again."""
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    reports: list[str] = []
    url = postgres.create_schema()
    async with opened(url, patience=0.2) as store, opened(url) as other:
        await other.announce("g", "first", "open", None, "")
        sharing = Sharing(
            lambda: store,
            "g",
            snapshot=dict,
            restore=lambda data, age: None,
            heard=heard.put_nowait,
            now=store._clock,
            report=reports.append,
        )
        await sharing.begin()
        with anyio.fail_after(50):
            assert (await heard.get()).node == "first"
            await anyio.to_thread.run_sync(lambda: postgres.stop(kill=True))
            while not reports:  # noqa: ASYNC110  # the server is another process
                await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(postgres.start)
            await other.announce("g", "second", "open", None, "")
            assert (await heard.get()).node == "second"
        await sharing.aclose()
    assert len(set(reports)) == 1
