"""The background of an orchestrator: probes at their time, monitors that break, lag, ticks."""

from __future__ import annotations

import asyncio  # noqa: TID251  # it tests what asyncio itself does to tasks that belong to no run
import contextvars
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import anyio
import pytest

from orchestrator.drivers.probing import JITTER, Probing
from orchestrator.errors import NotApplicable
from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Circuits, Outcome
from orchestrator.health.board import Board
from orchestrator.nodes.binding import BoundProbe
from orchestrator.nodes.http import HttpClients
from orchestrator.nodes.probe import http_probe
from orchestrator.policy import Policy
from orchestrator.testing.clock import VirtualClock
from tests.up import Up, up


@dataclass
class World:
    """A virtual clock, and what the background told."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    outcomes: list[Outcome] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)
    wait: float | None = None
    """What the board says of its next look."""

    def probing(self, probes: dict[str, BoundProbe] | None = None, **options: Any) -> Probing:
        """Return a background that writes down what it tells."""

        def tick() -> float | None:
            self.ticks.append(self.clock.now)
            return self.wait

        told: dict[str, Any] = {
            "clock": self.clock.time,
            "report": self.reports.append,
            "tick": tick,
            "lagged": self.lags.append,
            **options,
        }
        return Probing(probes or {}, told.pop("record", self.outcomes.append), **told)

    def run(self, probing: Probing, seconds: float) -> None:
        """Let it live for some virtual seconds."""

        async def main() -> None:
            probing.start()
            await asyncio.sleep(seconds)
            await probing.aclose()

        self.clock.run(main)


@pytest.fixture
def world() -> World:
    """Give a clock of the test's own."""
    return World()


def probe(call: Callable[[], Awaitable[None]], every: float = 10.0, timeout: float = 2.0) -> BoundProbe:
    """Return a probe."""
    return BoundProbe(call, every, timeout)


async def fine() -> None:
    """Be up."""


# -------------------------------------------------------------------------------------------------------- the schedule


def test_probes_go_out_at_their_interval_with_jitter(world: World) -> None:
    """Each interval is the declared one, up to a tenth more or less, and the first lies within it; nobody's alike."""
    world.run(world.probing({name: probe(fine) for name in "abc"}), 1000.0)
    firsts, all_gaps = set(), set()
    for name in "abc":
        times = [outcome.at for outcome in world.outcomes if outcome.node == name]
        gaps = [after - before for before, after in pairwise(times)]
        assert 0 <= times[0] <= 10.0
        assert all(10.0 * (1 - JITTER / 2) <= gap <= 10.0 * (1 + JITTER / 2) for gap in gaps)
        assert 90 <= len(times) <= 112
        firsts.add(times[0])
        all_gaps.update(gaps)
    assert len(firsts) == 3
    assert len(all_gaps) > 250
    assert {(outcome.evidence, outcome.probe, outcome.error) for outcome in world.outcomes} == {("ok", True, None)}


def test_the_schedule_is_a_hash_of_the_seed() -> None:
    """The same seed gives the same times in any process, another one others."""

    def times(seed: int) -> list[float]:
        world = World()
        world.run(world.probing({"a": probe(fine)}, seed=seed), 100.0)
        return [outcome.at for outcome in world.outcomes]

    assert times(1) == times(1) != times(2)


def test_a_probe_is_bounded_and_never_runs_beside_itself(world: World) -> None:
    """One that hangs is a timeout after its time; one that ignores its cancellation is not called a second time."""
    calls: list[float] = []
    running = [0]

    async def stubborn() -> None:
        calls.append(world.clock.now)
        running[0] += 1
        assert running[0] == 1
        until = world.clock.now + 35.0
        while world.clock.now < until:
            try:
                await asyncio.sleep(until - world.clock.now)
            except asyncio.CancelledError:
                continue
        running[0] -= 1

    world.run(world.probing({"a": probe(stubborn)}), 100.0)
    assert {(outcome.evidence, outcome.error) for outcome in world.outcomes} == {("timeout", "timeout")}
    assert len(world.outcomes) >= 9
    assert 2 <= len(calls) <= 3
    assert {round(outcome.seconds, 6) for outcome in world.outcomes} == {0.0, 2.0}


class TooMany(Exception):
    """What a client of some API raises for too many requests."""

    status_code = 429


@pytest.mark.parametrize(
    ("error", "evidence", "type"),
    [
        (ValueError("bad"), "external", "ValueError"),
        (ConnectionRefusedError(), "external", "connection"),
        (ConnectionResetError(), "external", "connection"),
        (TooMany(), "rate_limited", "rate_limited"),
        (SystemExit(1), "external", "ToolCrashed"),
        (asyncio.CancelledError(), "external", "connection"),
    ],
)
def test_whatever_a_probe_raises_is_evidence(world: World, error: BaseException, evidence: str, type: str) -> None:
    """A probe is no call of a run: an error that would be the caller's there says here that the node is down."""
    from orchestrator.nodes.probe import python_probe

    async def raises() -> None:
        raise error

    call = raises if isinstance(error, asyncio.CancelledError) else python_probe(raises)
    world.run(world.probing({"a": probe(call), "b": probe(fine)}), 25.0)
    assert {(o.evidence, o.error) for o in world.outcomes if o.node == "a"} == {(evidence, type)}
    assert {o.evidence for o in world.outcomes if o.node == "b"} == {"ok"}


def test_a_probe_that_does_not_apply_says_nothing(world: World) -> None:
    """Nothing is recorded of a node that says it has no part in it."""

    async def none() -> None:
        raise NotApplicable("not here")

    world.run(world.probing({"a": probe(none)}), 50.0)
    assert world.outcomes == []


def test_a_record_that_fails_is_survived(world: World) -> None:
    """Where an outcome cannot be taken, that is reported, and probing goes on."""
    times: list[float] = []

    def broken(outcome: Outcome) -> None:
        times.append(outcome.at)
        raise RuntimeError("sk-secret")

    world.run(world.probing({"a": probe(fine)}, record=broken), 50.0)
    assert len(times) >= 4
    assert set(world.reports) == {"the record of probes raised RuntimeError; runs go on without it"}


# -------------------------------------------------------------------------------------------------------- the monitors


class Scripted:
    """A monitor that does as a test says, check by check."""

    def __init__(self, *checks: Any) -> None:
        self.checks = iter(checks)
        self.count = 0

    async def check(self) -> None:
        """Return, raise, or hang."""
        self.count += 1
        now = next(self.checks, None)
        while now == "hang":
            try:
                await asyncio.sleep(25.0)
                return
            except asyncio.CancelledError:
                now = "ignore"
        if now == "ignore":
            await asyncio.sleep(25.0)
        if isinstance(now, BaseException):
            raise now


def test_a_monitor_is_asked_every_second(world: World) -> None:
    """It is asked at once and then every second, and the board looks at what it said."""
    watcher = Scripted()
    world.run(world.probing(watchers=[watcher]), 3.5)
    assert watcher.count == 4
    assert [round(tick, 3) for tick in dict.fromkeys(world.ticks)] == [0.0, 0.005, 1.005, 2.005, 3.005]


@pytest.mark.parametrize("broken", [RuntimeError("sk-secret"), SystemExit(3), asyncio.CancelledError(), "hang"])
def test_a_broken_monitor_is_survived(world: World, broken: Any) -> None:
    """It may raise, end the program or ignore its cancellation: the others are asked on time, and it is asked again."""
    bad, good = Scripted(broken, broken), Scripted()
    world.run(world.probing(watchers=[bad, good]), 99.5)
    assert good.count == 100
    assert bad.count >= 10
    assert len(set(world.reports)) == 1
    assert "monitor Scripted" in world.reports[0]
    assert "sk-secret" not in world.reports[0]


def test_what_runs_first_waits_until_every_monitor_was_asked(world: World) -> None:
    """All who come before the first checks are over wait together; whoever comes later waits for nothing."""
    waited: list[float] = []

    class Slow:
        async def check(self) -> None:
            await asyncio.sleep(2.0)

    async def first() -> None:
        probing.start()
        await probing.known()
        waited.append(world.clock.now)

    async def main() -> None:
        await asyncio.gather(first(), first())
        assert waited == [2.0, 2.0]
        await first()
        assert waited == [2.0, 2.0, 2.0]
        await probing.aclose()
        await first()
        assert waited[3] == pytest.approx(4.0)
        await probing.aclose()

    probing = world.probing(watchers=[Scripted(), Slow(), Scripted(RuntimeError())])
    world.clock.run(main)


def test_a_monitor_that_does_not_stop_holds_the_first_runs_up_for_a_time_at_most(world: World) -> None:
    """Nobody waits for it beyond the five seconds that the first ones did."""

    async def main() -> None:
        probing.start()
        await asyncio.sleep(1.0)
        await probing.known()
        assert world.clock.now == pytest.approx(5.0)
        await probing.known()
        assert world.clock.now == pytest.approx(5.0)
        await probing.aclose()

    probing = world.probing(watchers=[Scripted("hang")])
    world.clock.run(main)


# -------------------------------------------------------------------------------------------------- the loop, the board


def test_a_blocked_loop_is_measured(world: World) -> None:
    """The lag is what the loop was late, and nothing while it is free."""

    async def main() -> None:
        probing.start()
        await asyncio.sleep(1.05)
        world.clock.advance(0.7)  # as a function that blocks the loop
        await asyncio.sleep(1.0)
        await probing.aclose()

    probing = world.probing()
    world.clock.run(main)
    assert max(world.lags) == pytest.approx(0.65)
    assert sorted(world.lags)[-2] == pytest.approx(0.0)
    assert len(world.lags) >= 20


def test_lag_is_known_before_a_probe_is_taken_for_late(world: World) -> None:
    """Where the loop was blocked beyond a timeout, the lag is told before that timeout is."""
    order: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(1e6)

    async def main() -> None:
        probing.start()
        await asyncio.sleep(10.05)
        world.clock.advance(5.0)
        await asyncio.sleep(0.01)
        await probing.aclose()

    probing = world.probing(
        {"a": probe(slow, every=1.0, timeout=12.0)},
        record=lambda outcome: order.append(outcome.evidence),
        lagged=lambda seconds: order.append("lag") if seconds > 1 else None,
    )
    world.clock.run(main)
    assert order == ["lag", "timeout"]


def test_the_board_is_ticked_when_it_is_due(world: World) -> None:
    """Its own word decides, within a second at the latest and five milliseconds at the earliest."""
    world.wait = 0.25
    world.run(world.probing(), 1.1)
    assert world.ticks == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    for word, count in ((None, 4), (60.0, 4), (0.0, 701), (-1.0, 701)):
        world.ticks.clear()
        world.wait = word
        world.run(world.probing(), 3.502)
        assert len(world.ticks) == count


def test_a_look_is_soon_and_many_are_one(world: World) -> None:
    """After something was recorded the board is ticked within five milliseconds, once for all that came by then."""

    async def main() -> None:
        probing.start()
        await asyncio.sleep(0.5)
        for _ in range(10):
            probing.look()
        await asyncio.sleep(0.2)
        await probing.aclose()
        probing.look()  # closed: nothing to do

    probing = world.probing()
    world.clock.run(main)
    assert world.ticks == [0.0, 0.505]


def test_what_is_no_news_is_looked_at_later(world: World) -> None:
    """A look wakes the loop: for what concerns nobody yet it waits, but news does not wait for that."""

    async def main() -> None:
        probing.start()
        await asyncio.sleep(0.5)
        for _ in range(10):
            probing.look(news=False)
        await asyncio.sleep(0.2)
        probing.look(news=False)
        await asyncio.sleep(0.01)
        probing.look()
        probing.look(news=False)
        await asyncio.sleep(0.2)
        await probing.aclose()

    probing = world.probing()
    world.clock.run(main)
    assert world.ticks == pytest.approx([0.0, 0.55, 0.715])


def test_a_board_that_fails_is_survived(world: World) -> None:
    """A tick that raises is reported, and the next one comes."""

    def broken() -> float:
        world.ticks.append(world.clock.now)
        raise KeyError("sk-secret")

    world.run(world.probing(tick=broken), 3.5)
    assert world.ticks == [0.0, 1.0, 2.0, 3.0]
    assert set(world.reports) == {"the board raised KeyError; runs go on without it"}


# ------------------------------------------------------------------------------------------------------------ lifetimes


def test_it_belongs_to_no_run(world: World) -> None:
    """Started inside a run that is cancelled, it goes on, and outside the context of that run."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
    seen: set[str] = set()

    async def looks() -> None:
        seen.add(trace.get())

    async def run() -> None:
        trace.set("of the run")
        with anyio.CancelScope() as scope:
            probing.start()
            scope.cancel()
            await asyncio.sleep(1.0)

    async def main() -> None:
        await asyncio.create_task(run())
        await asyncio.sleep(30.0)
        await probing.aclose()

    probing = world.probing({"a": probe(looks)}, lagged=lambda seconds: seen.add(trace.get()))
    world.clock.run(main)
    assert len(world.outcomes) >= 2
    assert seen == {"none"}


def test_the_next_run_mends_what_was_cancelled(world: World) -> None:
    """Where somebody cancels every task of the loop, the next run starts the probes again."""

    async def main() -> None:
        probing.start()
        await asyncio.sleep(15.0)
        before = len(world.outcomes)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.sleep(50.0)
        assert len(world.outcomes) == before > 0
        probing.start()
        probing.start()
        await asyncio.sleep(50.0)
        assert before + 4 <= len(world.outcomes) <= before + 6
        await probing.aclose()

    probing = world.probing({"a": probe(fine)})
    world.clock.run(main)


def test_closing_ends_everything(world: World) -> None:
    """No task and no timer is left, a probe under way is cancelled, and one that ignores that is not waited for."""

    async def stubborn() -> None:
        while world.clock.now < 1000.0:
            try:
                await asyncio.sleep(1000.0 - world.clock.now)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        probing.start()
        await asyncio.sleep(12.0)
        before = world.clock.now
        await probing.aclose()
        assert world.clock.now - before <= 1.0
        told = len(world.outcomes), len(world.ticks), len(world.lags)
        await asyncio.sleep(100.0)
        assert told == (len(world.outcomes), len(world.ticks), len(world.lags))

    probing = world.probing({"a": probe(stubborn, timeout=100.0)}, watchers=[Scripted("hang")])
    world.clock.run(main)


def test_it_is_started_again_on_another_loop(world: World) -> None:
    """After its loop has ended, with or without closing, the next run has it on its own."""
    probing = world.probing({"a": probe(fine)})

    async def leave() -> None:
        probing.start()
        await asyncio.sleep(20.0)

    for number in range(1, 4):
        world.clock.run(leave)
        assert len(world.outcomes) >= number
    world.run(probing, 20.0)
    assert len(world.outcomes) >= 4


# ------------------------------------------------------------------------------------------------------- a real server


@asynccontextmanager
async def probed(server: Up) -> AsyncIterator[Callable[[str], Awaitable[Outcome]]]:
    """Probe a server twenty times a second; give a wait for an outcome of a kind."""
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    clients = HttpClients()
    call = http_probe(server.url, clients, timeout=0.2)
    loop = asyncio.get_running_loop()
    probing = Probing(
        {"a": BoundProbe(call, 0.05, 0.2)}, outcomes.put_nowait, clock=loop.time, report=lambda text: None
    )

    async def until(evidence: str) -> Outcome:
        with anyio.fail_after(30):
            while (outcome := await outcomes.get()).evidence != evidence:
                pass
        return outcome

    probing.start()
    try:
        yield until
    finally:
        await probing.aclose()
        await clients.aclose()


async def test_a_real_server_dies_hangs_and_comes_back() -> None:
    """Killed, it is a lost connection; stopped, a timeout within the probe's time; and each time it is found again."""
    with up() as server:
        async with probed(server) as until:
            await until("ok")
            server.kill()
            assert (await until("external")).error == "connection"
            server.start()
            await until("ok")
            server.stop()
            late = await until("timeout")
            assert late.error == "timeout"
            server.go_on()
            await until("ok")


async def test_a_real_server_goes_from_healthy_to_ejected_to_trusted() -> None:
    """By probes alone: a node whose server hangs is taken out of use, and is readmitted once it answers again."""
    loop = asyncio.get_running_loop()
    graph = Graph(nodes=(Node("a", provides=("v",)), Node("b", provides=("v",))), goals=(Goal("g", ("v",)),))
    policy = Policy.model_validate({"circuit": {"cooldown": "100ms"}})
    circuits = Circuits(graph, policy, clock=loop.time)
    clients = HttpClients()
    with up() as server:
        board = Board(graph, policy, circuits, clock=loop.time, probed=["a"])
        probes = {"a": BoundProbe(http_probe(server.url, clients, timeout=0.2), 0.05, 0.2)}
        outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

        def record(outcome: Outcome) -> None:
            board.record(outcome)
            outcomes.put_nowait(outcome)

        probing = Probing(probes, record, clock=loop.time, report=lambda text: None, tick=board.tick, lagged=board.lag)

        async def until(state: str) -> None:
            with anyio.fail_after(30):
                while circuits.state("a") != state:
                    await outcomes.get()

        probing.start()
        try:
            await until("closed")
            assert board.view("r1").vetoes == ()
            server.stop()
            await until("open")
            assert [name for name, _ in board.view("r2").vetoes] == ["a"]
            server.go_on()
            await until("closed")
            assert board.view("r3").vetoes == ()
        finally:
            await probing.aclose()
            await clients.aclose()


def test_a_forked_process_has_a_background_of_its_own(world: World) -> None:
    """Forked while the loop runs: the child's own loop ticks the board, and the parent's goes on."""
    waiting: list[asyncio.Event] = []

    def tick() -> None:
        for event in waiting:
            event.set()

    probing = world.probing(tick=tick)

    async def ticked() -> None:
        waiting[:] = [asyncio.Event()]
        probing.start()
        await asyncio.wait_for(waiting[0].wait(), 5.0)

    async def parent() -> int:
        await ticked()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # In this context a loop runs, as anyio and others see it.
                contextvars.Context().run(asyncio.run, ticked())
                status = 0
            finally:
                os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        await ticked()
        await probing.aclose()
        return status

    assert asyncio.run(parent()) == 0


def test_what_is_recorded_after_the_loop_has_ended_harms_nobody(world: World) -> None:
    """The loop that the background lived on is closed: another thread's run goes on, and is told nothing of that."""
    probing = world.probing()

    async def begin() -> None:
        probing.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert world.ticks

    async def go_on() -> None:
        probing.look()
        probing.start()
        probing.look()
        await probing.aclose()

    asyncio.run(begin())
    asyncio.run(go_on())
