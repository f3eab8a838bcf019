"""The process of a test's world, which ends where the test wants it to, as if it were killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import anyio

from orchestrator.testing.clock import VirtualClock
from orchestrator.testing.stories import at_text

__all__ = ("Crashed", "Process")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Crashed(Exception):
    """The process of a test's world has ended, as the test wanted; what was under way is lost."""


class Process:
    """What a world runs in.

    Args:
        clock: The world's clock.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.ended = False
        """Whether it is dead: nothing may be recorded any more."""
        self._clock = clock
        self._after: float | None = None

    @contextmanager
    def ending(self, after: float) -> Iterator[None]:
        """Let it end *after* seconds of what is called in the block; it lives again behind the block."""
        self._after = after
        try:
            yield
        finally:
            self._after, self.ended = None, False

    async def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call a function.

        Raises:
            Crashed: The process ended meanwhile.
        """
        if self._after is None:
            return await function(*args)
        results: list[T] = []
        error: Exception | None = None

        async def end(seconds: float) -> None:
            await anyio.sleep(seconds)
            self.ended = True
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(end, self._after)
            try:
                results.append(await function(*args))
            except Exception as raised:
                error = raised
            group.cancel_scope.cancel()
        if self.ended:
            raise Crashed(f"the process ended at {at_text(self._clock.now)}") from error
        if error is not None:
            raise error
        return results[0]
