"""The virtual clock: it jumps where nothing can happen, and stands still wherever something can."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.nodes.threads import Threads
from orchestrator.testing import NothingCanHappenError, VirtualClock, VirtualLoop

HOUR = 3600.0
Job = list[tuple[str, float]]

jobs = st.lists(
    st.lists(
        st.one_of(
            st.tuples(st.just("sleep"), st.sampled_from([0.001, 0.25, 0.5, 1.0, 3.0, HOUR])),
            st.tuples(st.just("turn"), st.integers(1, 5).map(float)),
            st.tuples(st.just("limit"), st.sampled_from([0.25, 2.0])),
        ),
        max_size=6,
    ),
    min_size=1,
    max_size=5,
)


@given(jobs)
def test_the_clock_never_moves_while_a_task_can_go_on(plan: list[Job]) -> None:
    """Whatever others do, every task finds the clock exactly at the sum of its own waits."""
    clock = VirtualClock()

    async def work(job: Job) -> None:
        expected = clock.now
        for kind, amount in job:
            if kind == "sleep":
                await anyio.sleep(amount)
                expected += amount
            elif kind == "turn":
                for _ in range(int(amount)):
                    await anyio.lowlevel.checkpoint()
            else:
                with anyio.move_on_after(amount):
                    await anyio.sleep_forever()
                expected += amount
            assert clock.now == expected

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for job in plan:
                group.start_soon(work, job)

    clock.run(main)
    waits = [sum(amount for kind, amount in job if kind != "turn") for job in plan]
    assert clock.now == pytest.approx(max(waits))


@settings(max_examples=10)
@given(st.lists(st.sampled_from([1.0, 2.0]), min_size=2, max_size=12))
def test_timers_of_one_moment_keep_their_order(delays: list[float]) -> None:
    """Timers go off by time, and those of one moment in the order in which they were set."""
    clock = VirtualClock()
    rung: list[int] = []

    async def main() -> None:
        loop = _loop()
        for number, delay in enumerate(delays):
            loop.call_later(delay, rung.append, number)
        await anyio.sleep(3)

    clock.run(main)
    assert rung == sorted(range(len(delays)), key=lambda number: delays[number])


def test_no_time_passes_for_a_timer_that_was_cancelled() -> None:
    """The clock does not go to a moment at which nothing happens any more."""
    clock = VirtualClock()

    async def main() -> None:
        with anyio.fail_after(HOUR):
            await anyio.sleep(1)
        _loop().call_later(50, print).cancel()
        await anyio.sleep(1)

    clock.run(main)
    assert clock.now == 2


def test_a_timer_that_another_one_cancels_does_not_go_off() -> None:
    """Of two timers of one moment the first may still cancel the second."""
    clock = VirtualClock()
    rung: list[str] = []

    async def main() -> None:
        loop = _loop()
        later: list[Any] = []
        loop.call_later(1, lambda: later[0].cancel())
        later.append(loop.call_later(1, rung.append, "late"))
        await anyio.sleep(2)

    clock.run(main)
    assert rung == []


@pytest.mark.parametrize("kind", ["anyio", "tool", "executor"])
def test_the_clock_stands_still_for_a_thread(kind: str) -> None:
    """A timeout of a second does not hit a call in a worker thread, however long that really takes."""
    clock = VirtualClock(patience=60)
    go = threading.Event()

    async def main() -> None:
        async def release() -> None:
            for _ in range(50):  # many turns of the loop, in each of which the clock could wrongly jump
                await anyio.lowlevel.checkpoint()
            threading.Timer(0.05, go.set).start()

        async with anyio.create_task_group() as group:
            group.start_soon(release)
            with anyio.fail_after(1):
                if kind == "anyio":
                    await anyio.to_thread.run_sync(go.wait)
                elif kind == "tool":
                    await Threads().run(go.wait)
                else:
                    await _loop().run_in_executor(None, go.wait)

    clock.run(main)
    assert clock.now == 0


def test_the_clock_stands_still_for_a_child_program() -> None:
    """A program takes real time and no virtual time, also after it has closed its output."""
    clock = VirtualClock(patience=60)
    program = "import os, time; print('hi', flush=True); os.close(1); os.close(2); time.sleep(0.2)"

    async def main() -> bytes:
        with anyio.fail_after(1):
            return (await anyio.run_process([sys.executable, "-c", program])).stdout

    assert clock.run(main).strip() == b"hi"
    assert clock.now == 0


def test_the_clock_stands_still_for_a_socket() -> None:
    """An answer that is on its way over a socket comes before the next timer, however late it really is."""
    clock = VirtualClock(patience=60)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4)
                threading.Event().wait(0.1)  # the peer is another program: it takes real time
                connection.sendall(b"pong")

        peer = threading.Thread(target=answer)
        peer.start()

        async def main() -> bytes:
            async with await anyio.connect_tcp("127.0.0.1", server.getsockname()[1]) as stream:
                with anyio.fail_after(1):
                    await stream.send(b"ping")
                    return await stream.receive()

        assert clock.run(main) == b"pong"
        peer.join()
    assert clock.now == 0


def test_a_socket_that_says_nothing_is_waited_for_once() -> None:
    """A server that merely listens costs the clock's patience at first, not at every wait."""

    class Counting(VirtualClock):
        waits = 0

        @property
        def patience(self) -> float:
            Counting.waits += 1
            return 0.01

        @patience.setter
        def patience(self, value: float) -> None: ...

    clock = Counting()

    async def main() -> None:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, lambda stream: None)
            for _ in range(20):
                await anyio.sleep(1)
            group.cancel_scope.cancel()

    clock.run(main)
    assert clock.now == 20
    assert Counting.waits <= 3  # one more for each thread that set the server up


def test_patience_ends() -> None:
    """A thread that is not heard of is taken as hanging: its timeout comes."""
    clock = VirtualClock(patience=0.05)
    stop = threading.Event()

    async def main() -> bool:
        with anyio.move_on_after(30) as scope:
            await Threads().run(stop.wait)
        await anyio.sleep(HOUR)
        stop.set()
        return scope.cancelled_caught

    assert clock.run(main)
    assert clock.now == HOUR + 30


def test_a_deadlock_is_an_error_at_once() -> None:
    """Where nothing can happen any more, the test fails instead of hanging."""
    clock = VirtualClock()
    with pytest.raises(NothingCanHappenError, match="every task waits, no timer is set"):
        clock.run(_wait_for_nothing)


async def _wait_for_nothing() -> None:
    await anyio.Event().wait()


def test_time_goes_on_from_loop_to_loop() -> None:
    """One clock serves one loop after the other, and a test may let time pass in between."""
    clock = VirtualClock()
    clock.run(anyio.sleep, 5)
    clock.advance(HOUR)
    clock.run(anyio.sleep, 5)
    assert clock.now == HOUR + 10
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)


async def test_a_running_loop_is_refused() -> None:
    """Inside an async test the way out is named instead of asyncio's own complaint."""
    with pytest.raises(RuntimeError, match="make the test a plain `def`"):
        VirtualClock().run(anyio.sleep, 1)


def _loop() -> VirtualLoop:
    """Return the loop that runs."""
    loop = anyio.lowlevel.current_token().native_token
    assert isinstance(loop, VirtualLoop)
    return loop
