"""Lanes: how many calls run at once, whose turn is next, and what is refused."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.lanes import FREE, WINDOW, Lanes, Overloaded, Throttle, turns_away
from orchestrator.events import AttemptEnded, Failure
from orchestrator.policy import Overload

pytestmark = pytest.mark.anyio


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


async def held(lanes: Lanes, node: str, run: str, log: list[str], release: anyio.Event) -> None:
    """Take a turn, say so, and hold it until told."""
    try:
        async with lanes.turn(node, run, 1, 0):
            log.append(run)
            await release.wait()
    except Overloaded:
        log.append(f"{run} refused")


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await checkpoint()


async def test_no_more_calls_of_a_node_than_its_places(clock: Clock) -> None:
    """The third call of a node with two places waits until one of the first two is over."""
    lanes, release = Lanes(Overload(node=2), clock=clock), anyio.Event()
    log: list[str] = []
    async with anyio.create_task_group() as tasks:
        for run in ("a", "b", "c"):
            tasks.start_soon(held, lanes, "n", run, log, release)
        await settled()
        assert (log, lanes.waiting) == (["a", "b"], 1)
        release.set()
    assert (log, lanes.waiting) == (["a", "b", "c"], 0)


async def test_turns_go_round_the_runs(clock: Clock) -> None:
    """A run with many calls does not keep one with a single call waiting."""
    lanes = Lanes(Overload(node=1), clock=clock)
    log: list[str] = []
    releases = [anyio.Event() for _ in range(6)]
    order = ["greedy", "greedy", "greedy", "greedy", "small", "other"]
    async with anyio.create_task_group() as tasks:
        for run, release in zip(order, releases, strict=True):
            tasks.start_soon(held, lanes, "n", run, log, release)
            await settled()
        for release in (releases[0], releases[1], releases[4], releases[5], releases[2], releases[3]):
            release.set()
            await settled()
    assert log == ["greedy", "greedy", "small", "other", "greedy", "greedy"]


async def test_a_full_queue_refuses_at_once(clock: Clock) -> None:
    """What finds the queue full is not made to wait, and nothing has happened."""
    lanes, release = Lanes(Overload(node=1, queue=1), clock=clock), anyio.Event()
    log: list[str] = []
    async with anyio.create_task_group() as tasks:
        for run in ("a", "b", "c"):
            tasks.start_soon(held, lanes, "n", run, log, release)
            await settled()
        assert log == ["a", "c refused"]
        release.set()
    with pytest.raises(Overloaded) as caught:
        raise Overloaded("full")
    assert (caught.value.transient, caught.value.happened) == (True, "no")


async def test_the_process_has_places_of_its_own(clock: Clock) -> None:
    """Calls of different nodes share the places of the process."""
    lanes, release = Lanes(Overload(calls=1), clock=clock), anyio.Event()
    log: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(held, lanes, "n", "a", log, release)
        await settled()
        tasks.start_soon(held, lanes, "m", "b", log, release)
        await settled()
        assert log == ["a"]
        release.set()
    assert log == ["a", "b"]


async def test_a_cancelled_call_gives_its_turn_on(clock: Clock) -> None:
    """A call that is cancelled while it waits, or at the very moment of its turn, blocks nobody behind it."""
    lanes = Lanes(Overload(node=1), clock=clock)
    log: list[str] = []
    first, last = anyio.Event(), anyio.Event()
    last.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(held, lanes, "n", "a", log, first)
        await settled()
        scopes = [anyio.CancelScope(), anyio.CancelScope()]

        async def cancelled(scope: anyio.CancelScope, run: str) -> None:
            with scope:
                await held(lanes, "n", run, log, anyio.Event())

        for scope, run in zip(scopes, ("b", "c"), strict=True):
            tasks.start_soon(cancelled, scope, run)
            await settled()
        tasks.start_soon(held, lanes, "n", "d", log, last)
        await settled()
        scopes[0].cancel()
        await settled()
        first.set()  # it is c's turn now ...
        scopes[1].cancel()  # ... and c is cancelled before it runs
        await settled()
    assert (log[0], log[-1], lanes.waiting) == ("a", "d", 0)


def test_a_node_that_accepts_everything_is_never_throttled(clock: Clock) -> None:
    """Below K requests per accepted one nothing is refused."""
    throttle = Throttle(2.0, clock)
    for _ in range(100):
        throttle.asked()
    assert throttle.share() == 0.0


@given(requests=st.integers(1, 500), away=st.integers(0, 500), k=st.floats(1.0, 4.0))
def test_the_refused_share_is_the_books(requests: int, away: int, k: float) -> None:
    """The share is max(0, (requests - K accepts - free ones) / (requests + 1)), and always below 1."""
    throttle = Throttle(k, Clock())
    for _ in range(requests):
        throttle.asked()
    for _ in range(min(away, requests)):
        throttle.turned_away()
    accepts = requests - min(away, requests)
    assert throttle.share() == pytest.approx(max(0.0, (requests - k * accepts - FREE) / (requests + 1)))
    assert 0.0 <= throttle.share() < 1.0


def test_what_is_older_than_the_window_is_forgotten(clock: Clock) -> None:
    """After the window nothing of an outage is held against a node, and half of it never goes at one moment."""
    throttle = Throttle(2.0, clock)
    for _ in range(10):
        throttle.asked()
        throttle.turned_away()
    before = throttle.share()
    clock.now += WINDOW / 2
    assert throttle.share() == before
    clock.now += WINDOW / 2
    assert throttle.share() == 0.0


def test_a_few_calls_are_always_made() -> None:
    """One 429, or ten, are no reason to refuse the retry that waited for its time."""
    throttle = Throttle(2.0, Clock())
    for _ in range(FREE):
        throttle.asked()
        throttle.turned_away()
        assert throttle.share() == 0.0


async def test_a_node_that_turns_calls_away_is_asked_less(clock: Clock) -> None:
    """Calls are refused without being made once the node has turned most of them away."""
    lanes, made, refused = Lanes(Overload(), clock=clock), 0, 0
    for attempt in range(200):
        try:
            async with lanes.turn("n", "run", attempt, 7):
                made += 1
            lanes.ended(AttemptEnded("n", 0, attempt, "failed", failure=Failure("rate_limited")))
        except Overloaded:
            refused += 1
    assert made < 45
    assert made + refused == 200


def test_what_a_user_calls_a_rate_limit_turns_calls_away() -> None:
    """By what an error is evidence of, whatever its type is called."""
    assert turns_away(Failure("TooMany", transient=True, happened="no", evidence="rate_limited"))
    assert not turns_away(Failure("TooMany", transient=True, happened="no", evidence="external"))
