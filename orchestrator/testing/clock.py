"""A clock that moves only when nothing else can happen, and the event loop that it belongs to.

Every timer of the loop runs on this clock: a retry's back-off, an attempt's timeout, an `anyio.sleep` in a tool. When
no task can go on, the clock jumps to the next timer, so that waiting takes no time and every run takes the same; timers
of one moment go off in the order in which they were set. It is the loop that knows whether something can go on, and so
nothing has to be replaced in what is tested.

What the loop cannot see into takes real time and is waited for: worker threads, child programs, sockets, and whatever
is awaited in the context of `outside`. The clock stands still meanwhile, for `patience` real seconds; what has not been
heard of by then counts as hanging.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

__all__ = ("NothingCanHappenError", "VirtualClock", "VirtualLoop", "outside")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PATIENCE = 5.0
"""Real seconds for which the clock stands still while only threads, programs or sockets could go on."""


class NothingCanHappenError(AssertionError):
    """Every task waits, no timer is set, and nothing outside is under way: the test would wait for ever."""


class VirtualClock:
    """Time that a test owns, in seconds. One clock may serve several event loops, one after the other.

    Args:
        now: What it says at first.
        patience: Real seconds for which it waits for threads, programs and sockets before it moves on.
    """

    def __init__(self, now: float = 0.0, *, patience: float = PATIENCE) -> None:
        self.now = now
        self.patience = patience

    def time(self) -> float:
        """Return the time: what an orchestrator takes as its ``clock``."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass between two runs. Within one it passes by itself."""
        if not seconds >= 0:
            raise ValueError(f"time does not go back: {seconds!r} seconds")
        self.now += seconds

    def loop(self) -> VirtualLoop:
        """Return a new event loop on this clock: a ``loop_factory`` for anyio and asyncio."""
        return VirtualLoop(self)

    def run(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call an async function on a loop of its own, on this clock, and return its result.

        Raises:
            RuntimeError: An event loop runs already: this is for plain tests, not for async ones.
        """
        __tracebackhide__ = True
        if _a_loop_runs():
            raise RuntimeError(
                "an event loop runs already: make the test a plain `def` (its runs bring a loop of their own, whose "
                "time is virtual), or let the test's own loop be virtual, by a fixture anyio_backend(world) that "
                "returns 'asyncio', {'loop_factory': world.clock.loop}, and await world.orchestrator.run(...)"
            )
        return anyio.run(function, *args, backend_options={"loop_factory": self.loop})


def _a_loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def outside() -> Iterator[None]:
    """Let the clock stand still while something is awaited that a thread of its own will bring; else change nothing."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    with loop.waiting():
        yield


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a virtual clock's."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, _Due]] = []
        self._numbers = count()
        self._executing: set[object] = set()
        self._programs: list[asyncio.SubprocessTransport] = []
        self._limiter: anyio.CapacityLimiter | None = None
        selector = _Selector(self)
        super().__init__(selector)
        selector.own = selector.listened_to()

    # ----------------------------------------------------------------------------------------------------------- time

    def time(self) -> float:
        """Return the clock's time."""
        return self.clock.now

    def call_at(  # type: ignore[override]  # typed by parameters that mypy cannot match
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call a function at a time of the clock; equal times keep their order."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), handle, _Due(callback, args, context)))
        return handle

    def release(self) -> bool:
        """Let everything happen that is due by now; return whether there was anything."""
        any_due = False
        while self._timers and (self._timers[0][0] <= self.clock.now or self._timers[0][2].cancelled()):
            _, _, handle, due = heappop(self._timers)
            if not handle.cancelled():
                self.call_soon(self._fire, handle, due, context=due.context)
                any_due = True
        return any_due

    def _fire(self, handle: asyncio.TimerHandle, due: _Due) -> None:
        if not handle.cancelled():
            due.callback(*due.args)

    def jump(self) -> bool:
        """Go to the time of the next timer and let happen what is due; False where no timer is set.

        To be called after `release`, which forgets timers that were cancelled: no time passes for them.
        """
        if not self._timers:
            return False
        self.clock.now = max(self.clock.now, self._timers[0][0])
        return self.release()

    # -------------------------------------------------------------------------------------------------------- outside

    @property
    def outside(self) -> frozenset[object]:
        """The threads, child programs and the like that are under way, each as some object."""
        self._programs = [program for program in self._programs if program.get_returncode() is None]
        borrowers = () if self._limiter is None else self._limiter.statistics().borrowers
        return frozenset((*borrowers, *self._executing, *self._programs))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Take what is awaited meanwhile as being outside."""
        something = object()
        self._executing.add(something)
        try:
            yield
        finally:
            self._executing.discard(something)

    def run_forever(self) -> None:
        """Run until stopped."""
        if self._limiter is None:
            self.create_task(self._find_limiter())
        super().run_forever()

    async def _find_limiter(self) -> None:
        # Every call in a worker thread holds a token of it, also those of tools. It belongs to the loop that runs.
        self._limiter = anyio.to_thread.current_default_thread_limiter()

    def run_in_executor(  # type: ignore[override]  # typed by parameters that mypy cannot match
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function in an executor; time waits for it."""
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._executing.add(future)
        future.add_done_callback(self._executing.discard)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the executor's threads; on this clock its own time limit would be over at once."""
        with self.waiting():
            await super().shutdown_default_executor(*args)

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """Start a child program; time waits for it."""
        transport, protocol = await super().subprocess_exec(*args, **kwargs)
        self._programs.append(transport)
        return transport, protocol

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        """Start a child program by a shell; time waits for it."""
        transport, protocol = await super().subprocess_shell(*args, **kwargs)
        self._programs.append(transport)
        return transport, protocol


class _Due:
    """What a timer calls."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = context


_Events = list[tuple[selectors.SelectorKey, int]]


class _Selector(selectors.DefaultSelector):
    """Asked to wait when no task can go on: lets the clock jump instead, unless something outside may still come."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.own: frozenset[int] = frozenset()
        """What the loop itself listens to, in order to be woken by threads."""
        self._loop = loop
        self._given_up: frozenset[object] = frozenset()
        """Threads, programs and sockets that have been waited for in vain."""

    def listened_to(self) -> frozenset[int]:
        """Return what the loop waits for, as file descriptors, except what wakes the loop itself."""
        return frozenset(key.fd for key in self.get_map().values()) - self.own

    def select(self, timeout: float | None = None) -> _Events:
        """Return what has come from outside; the loop gives a *timeout* of 0 if a task can go on, else None."""
        events = super().select(0)
        if not self._loop.release() and not events and timeout is None:
            events = self._wait()
            if not events and not self._loop.jump():
                events = self._wait_for_ever()
        self._given_up -= {key.fd for key, _ in events}
        return events

    def _wait(self) -> _Events:
        """Wait in real time for what may come from outside, as long as the clock is patient."""
        outside = self._loop.outside | self.listened_to()
        self._given_up &= outside
        if outside != self._given_up:
            until = time.monotonic() + self._loop.clock.patience
            while (left := until - time.monotonic()) > 0:
                events = super().select(left)
                if events:
                    return events
            self._given_up = outside
        return []

    def _wait_for_ever(self) -> _Events:
        """Wait for what is outside, where no timer is set either."""
        if not self._given_up:
            raise NothingCanHappenError(
                "nothing can happen any more: every task waits, no timer is set, and no thread, program or socket is "
                "waited for"
            )
        return super().select(None)
