"""What goes on beside runs: active probes, users' monitors, the event loop's lag, and the board's own time.

All of it lives on one event loop, as tasks and timers that belong to no run: a run that is cancelled takes none of it
along, and nothing here is waited for by a run. Whatever is called is bounded by a time, and by the next call at the
latest it is known whether it ignores its cancellation; then it counts as late again and is not called a second time.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from orchestrator.chance import unit_interval
from orchestrator.errors import NotApplicable
from orchestrator.health import Evidence, Outcome, evidence_of
from orchestrator.nodes.binding import BoundProbe
from orchestrator.nodes.classify import classify
from orchestrator.nodes.meaning import Meaning
from orchestrator.nodes.python import invoke
from orchestrator.nodes.threads import Threads

__all__ = ("Bounded", "Probing", "Watcher")

T = TypeVar("T")

JITTER = 0.2
"""Share of its interval by which the time to the next probe varies: processes that started together drift apart."""
LAG_EVERY = 0.1
"""Seconds between two looks at the loop's lag; a blocked loop is known as such before timeouts of later calls fire."""
SOONEST, UNHURRIED, LATEST = 0.005, 0.05, 1.0
"""Seconds until the board looks at its own time: where there is news, where something was recorded that is none (all
that is published waits as long, see `health.quiet`), and at most. A look wakes the loop, which in a run that waits for
its disk costs ten times what the look does."""
WATCHER_EVERY = 1.0
"""Seconds between two checks of a monitor."""
WATCHER_SECONDS = 10.0
"""Time for one check. The board bounds it as well, by less; this is for what ignores that."""
CLOSE_SECONDS = 1.0
"""How long closing waits for calls that were cancelled."""

_ABOUT_THE_PROBE: Mapping[Evidence, Evidence] = {"caller": "external", "contract": "external", "unknown": "external"}
"""A probe is no call of a run: whatever it raises, it has not found the node up."""


class Watcher(Protocol):
    """What is asked again and again; it takes care itself of what it finds."""

    async def check(self) -> object:
        """Look what holds now."""


class Bounded(Generic[T]):
    """A call that is given up after a time and never made twice at once, whatever it does about its cancellation.

    Args:
        call: What is called.
        seconds: The time.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return what the call returns.

        Raises:
            TimeoutError: It took too long, or the last one is still under way.
            Exception: Whatever it raised.
        """
        if self._task is not None and not self._task.done():
            raise TimeoutError("the last call is still under way")
        task = self._task = asyncio.create_task(self._call())
        task.add_done_callback(_look_at)
        try:
            await asyncio.wait({task}, timeout=self._seconds)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        if task.cancelled():
            raise ConnectionAbortedError("cancelled from outside")
        return task.result()


class Probing:
    """The background of an orchestrator.

    Args:
        probes: How nodes are probed, by node.
        record: Takes the outcome of every probe.
        tick: Publishes what is due and returns the seconds until it should be called again; None: not known.
        watchers: Users' monitors, as the board has them: each is asked every second.
        lagged: Takes the seconds by which the event loop is late, ten times a second.
        report: Takes a text, for people, about what does not work here; called more than once with the same one.
        errors: What classes of exceptions mean, beside what is known of them anyway.
        clock: Returns the seconds of outcomes.
        seed: Decides what is left to chance; best another one in each process.
    """

    def __init__(
        self,
        probes: Mapping[str, BoundProbe],
        record: Callable[[Outcome], object],
        *,
        clock: Callable[[], float],
        report: Callable[[str], object],
        tick: Callable[[], float | None] = lambda: None,
        watchers: Iterable[Watcher] = (),
        lagged: Callable[[float], object] = lambda seconds: None,
        errors: Mapping[str, Meaning] = MappingProxyType({}),
        seed: int = 0,
    ) -> None:
        self._clock = clock
        self._record = record
        self._tick = tick
        self._lagged = lagged
        self._report = report
        self._errors = errors
        self._seed = seed
        self._threads = Threads(limited=False)
        self._rounds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            *(partial(self._probe, node, probe) for node, probe in sorted(probes.items())),
            *(partial(self._watch, watcher) for watcher in watchers),
        ]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._beat: asyncio.TimerHandle | None = None
        self._next: asyncio.TimerHandle | None = None
        self._due = math.inf
        """When the board looks next, by the loop's time."""
        self._pid = os.getpid()

    # ------------------------------------------------------------------------------------------------------ lifetimes

    def start(self) -> None:
        """Begin on the running event loop, or mend what was cancelled from outside; at best nothing is to be done.

        To be called with every run. While it lives on one loop, runs on another find it at work there.
        """
        if self._pid != os.getpid() or (self._loop is not None and self._loop.is_closed()):
            # A forked process has the tasks of its parent, but not the loop that would carry them out.
            self._pid = os.getpid()
            self._forget()
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
            # Not in the context of the run that happens to be first: its trace is not ours.
            self._context = contextvars.Context()
            self._beat = running.call_later(LAG_EVERY, self._measure, running.time() + LAG_EVERY, context=self._context)
            self._arm(running.time())
        if running is not self._loop or len(self._tasks) == len(self._rounds):
            return
        for number, round_ in enumerate(self._rounds):
            if number not in self._tasks:
                task = self._tasks[number] = running.create_task(round_(), context=self._context)
                task.add_done_callback(partial(self._ended, number))

    async def aclose(self) -> None:
        """End all of it. It may be started again."""
        loop, tasks = self._loop, tuple(self._tasks.values())
        self._forget()
        if loop is None or loop.is_closed():
            return
        if loop is not asyncio.get_running_loop():
            loop.call_soon_threadsafe(_cancel, tasks)
            return
        _cancel(tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    def _forget(self) -> None:
        for handle in (self._beat, self._next):
            if handle is not None:
                handle.cancel()
        self._loop, self._beat, self._next, self._due, self._tasks = None, None, None, math.inf, {}

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(number) is task:
            del self._tasks[number]
        _look_at(task)

    # ------------------------------------------------------------------------------------------------------ the board

    def look(self, *, news: bool = True) -> None:
        """See in a moment what is due; to be called when something was recorded. Costs next to nothing.

        Args:
            news: Whether anything follows from it at once: then it is seen sooner.
        """
        loop = self._loop
        if loop is None:
            return
        at = loop.time() + (SOONEST if news else UNHURRIED)
        if at >= self._due:
            return  # one look for all that is recorded in that time: nothing is due any sooner
        self._due = at
        if asyncio.get_running_loop() is loop:
            self._arm(at)
        else:
            try:
                loop.call_soon_threadsafe(self._arm, at, context=self._context)
            except RuntimeError:
                self._due = math.inf  # that loop has ended; whoever runs next begins anew on its own

    def _arm(self, at: float) -> None:
        """Look at a time of the loop, instead of when it was meant to be."""
        if self._loop is None:
            return
        if self._next is not None:
            self._next.cancel()
        self._due, self._next = at, self._loop.call_at(at, self._look, context=self._context)

    def _look(self) -> None:
        if self._loop is None:
            return
        wait = self._safely(self._tick, what="the board")
        wait = LATEST if wait is None else min(max(wait, SOONEST), LATEST)
        if self._loop is not None:
            self._arm(self._loop.time() + wait)

    def _measure(self, due: float) -> None:
        if self._loop is None:
            return
        now = self._loop.time()
        self._safely(self._lagged, max(now - due, 0.0), what="the measure of the loop's lag")
        if self._loop is not None:
            self._beat = self._loop.call_at(now + LAG_EVERY, self._measure, now + LAG_EVERY, context=self._context)

    # ------------------------------------------------------------------------------------------------------ the probes

    async def _probe(self, node: str, probe: BoundProbe) -> None:
        """Probe a node for ever, one call at a time."""
        loop = asyncio.get_running_loop()
        ask = Bounded(_coroutine(probe.call), probe.timeout)
        due = loop.time() + probe.every * unit_interval(self._seed, "probe", node, 0)
        number = 0
        while True:
            await asyncio.sleep(max(due - loop.time(), 0.0))
            began = self._clock()
            evidence, error = await self._asked(ask)
            if evidence not in ("cancelled", "inapplicable"):
                now = self._clock()
                outcome = Outcome(node, evidence, now, seconds=max(now - began, 0.0), error=error, probe=True)
                self._safely(self._record, outcome, what="the record of probes")
                self.look()
            number += 1
            part = 1.0 + JITTER * (unit_interval(self._seed, "probe", node, number) - 0.5)
            # What was missed, on a machine that slept, is not made up for.
            due = max(due + probe.every * part, loop.time())

    async def _asked(self, ask: Bounded[None]) -> tuple[Evidence, str | None]:
        try:
            await ask()
        except NotApplicable:
            return "inapplicable", None
        except Exception as error:
            failure = classify(error, table=self._errors)
            evidence = evidence_of("failed", failure)
            return _ABOUT_THE_PROBE.get(evidence, evidence), failure.type
        return "ok", None

    # ---------------------------------------------------------------------------------------------------- the monitors

    async def _watch(self, watcher: Watcher) -> None:
        """Have a monitor asked for ever what holds."""
        name = getattr(watcher, "name", type(watcher).__name__)
        check = Bounded(partial(invoke, watcher.check, self._threads), WATCHER_SECONDS)
        while True:
            try:
                await check()
            except Exception as error:
                ill = "does not stop when told to" if isinstance(error, TimeoutError) else f"raised {_name(error)}"
                self._report(f"monitor {name} {ill}; it is asked again, and runs go on without it")
            self.look()
            await asyncio.sleep(WATCHER_EVERY)

    def _safely(self, call: Callable[..., T], *args: Any, what: str) -> T | None:
        try:
            return call(*args)
        except Exception as error:
            self._report(f"{what} raised {_name(error)}; runs go on without it")
            return None


def _name(error: Exception) -> str:
    """Name an error: its text may hold what nobody should read."""
    return type(error).__name__


def _coroutine(call: Callable[[], Awaitable[T]]) -> Callable[[], Coroutine[Any, Any, T]]:
    async def called() -> T:
        return await call()

    return called


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take note of what a task raised; whoever is to know has been told, or is gone."""
    if not task.cancelled():
        task.exception()
