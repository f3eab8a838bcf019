"""Hedging: a second call of a slow read, and the first good answer of the two."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from orchestrator.drivers.hedging import hedged
from orchestrator.nodes.binding import Reply

pytestmark = pytest.mark.anyio


class Calls:
    """Calls that wait for the test."""

    def __init__(self, *ends: Reply | Exception) -> None:
        self.ends = ends
        self.made = 0
        self.cancelled = 0
        self.go = [anyio.Event() for _ in ends]

    async def __call__(self) -> Reply:
        """Wait, then end as the test says."""
        number = self.made
        self.made += 1
        try:
            await self.go[number].wait()
        except BaseException:
            self.cancelled += 1
            raise
        end = self.ends[number]
        if isinstance(end, Exception):
            raise end
        return end


async def until(true: Callable[[], bool]) -> None:
    """Wait for a state."""
    while not true():  # noqa: ASYNC110  # what is waited for has no event
        await anyio.sleep(0.001)


async def test_a_quick_answer_is_the_only_call() -> None:
    """What answers in time is called once."""
    calls = Calls(Reply({"a": 1}), Reply({"a": 2}))
    calls.go[0].set()
    assert (await hedged(calls, 60.0)).values == {"a": 1}
    assert calls.made == 1


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_good_answer_of_the_two_counts_and_the_other_is_cancelled(winner: int) -> None:
    """Whichever of the two answers first is taken."""
    calls = Calls(Reply({"a": 0}), Reply({"a": 1}))
    async with anyio.create_task_group() as tasks:
        found: list[Reply] = []

        async def ask() -> None:
            found.append(await hedged(calls, 0.0))

        tasks.start_soon(ask)
        await until(lambda: calls.made == 2)
        calls.go[winner].set()
    assert found[0].values == {"a": winner}
    await until(lambda: calls.cancelled == 1)


async def test_one_failure_of_two_is_no_failure() -> None:
    """While one of the two may still answer, the other's failure is not told."""
    calls = Calls(ConnectionError("first"), Reply({"a": 1}))
    async with anyio.create_task_group() as tasks:
        found: list[Reply] = []

        async def ask() -> None:
            found.append(await hedged(calls, 0.0))

        tasks.start_soon(ask)
        await until(lambda: calls.made == 2)
        calls.go[0].set()
        await anyio.lowlevel.checkpoint()
        calls.go[1].set()
    assert found[0].values == {"a": 1}


async def test_a_failure_before_the_second_call_is_for_a_retry() -> None:
    """What fails at once is not called again here: retries have one layer."""
    calls = Calls(ConnectionError("first"), Reply({"a": 1}))
    calls.go[0].set()
    with pytest.raises(ConnectionError, match="first"):
        await hedged(calls, 60.0)
    assert calls.made == 1


async def test_cancelling_cancels_both() -> None:
    """A hedged call that is cancelled leaves none behind."""
    calls = Calls(Reply({"a": 0}), Reply({"a": 1}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hedged, calls, 0.0)
        await until(lambda: calls.made == 2)
        tasks.cancel_scope.cancel()
    await until(lambda: calls.cancelled == 2)
