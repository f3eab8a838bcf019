"""Health beyond one process: saved and restored across restarts, and outages told to whoever shares the store.

It never stands in a run's way. Saving and telling happen in the background; what cannot be told now is told when the
store is back, if it still holds. A store that is away is reported, once until it works again, and survived.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RecordError

if TYPE_CHECKING:
    from orchestrator.store import Outage, Store

__all__ = ("Heard", "Sharing")

POLL = 0.3
"""Seconds between two looks for what others have announced: with the writing they know well within a second."""
SAVE = 5.0
"""Seconds between two saves: what a crash may lose."""
RESTORE_SECONDS = 2.0
"""How long the first runs wait for what is known; it is taken over later where that is not enough. The store is being
opened meanwhile, which a run's own first record would have to wait for anyway."""
SAME = 0.5
"""Seconds by which two ends of an outage may differ and still be the same one."""
CLOSE_SECONDS = 2.0
"""How long closing waits for what is still to be told and saved."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What another process says of a node."""

    node: str
    state: str
    """As of its circuit: closed, open or half_open."""
    seconds: float | None
    """For how much longer that holds; None: until it says something else."""
    reason: str
    process: str


@dataclass(frozen=True, slots=True)
class _Said:
    """What is to be announced; ``until`` on this process's own wall clock."""

    state: str
    until: float | None
    reason: str


class Sharing:
    """The health of one graph in one store.

    Args:
        store: Opens the store; called when it is first needed.
        graph: The graph's name.
        snapshot: Returns what is to be saved, as plain data; called on the event loop.
        restore: Takes what was saved last and its age in seconds; called before the first run, if the store answers.
        heard: Takes what another process says, no older than what it holds for; called on the event loop.
        now: Returns wall time, in seconds: that of the store.
        report: Takes a text, for people, about a store that is away; called more than once with the same one.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        graph: str,
        *,
        snapshot: Callable[[], Mapping[str, Any]],
        restore: Callable[[dict[str, Any], float], object],
        heard: Callable[[Heard], object],
        now: Callable[[], float],
        report: Callable[[str], object],
    ) -> None:
        self._open = store
        self._graph = graph
        self._snapshot = snapshot
        self._restore = restore
        self._heard = heard
        self._now = now
        self._report = report
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pid = os.getpid()
        self._restored = False
        self._wait_until: float | None = None
        self._own: set[int] = set()
        """Numbers of what was said here and not yet read back. By number: several may share one open store."""
        self._telling = asyncio.Lock()
        self._ready = asyncio.Event()
        self._news = asyncio.Event()
        self._unsaid: dict[str, _Said] = {}
        self._known: dict[str, tuple[str, float | None]] = {}
        self._touched = False
        self._seq = 0

    # ------------------------------------------------------------------------------------------------------ lifetimes

    async def begin(self) -> None:
        """Begin as `start` does, and wait a moment for what was known before, and for what others say now.

        To be called before every run; only the first ones wait, and never for long.
        """
        self.start()
        running = asyncio.get_running_loop()
        if running is not self._loop or self._ready.is_set():
            return
        if self._wait_until is None:
            self._wait_until = running.time() + RESTORE_SECONDS
        left = self._wait_until - running.time()
        if left > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), left)

    def start(self) -> None:
        """Begin on the running event loop, or mend what was cancelled from outside; at best nothing is to be done.

        While it lives on one loop, runs on another find it at work there.
        """
        if self._pid != os.getpid() or (self._loop is not None and self._loop.is_closed()):
            # A forked process has the tasks of its parent, but not the loop that would carry them out.
            self._pid, self._loop, self._tasks, self._wait_until = os.getpid(), None, {}, None
        running = asyncio.get_running_loop()
        if self._loop is None:
            # What waits for an event belongs to one loop.
            self._loop, self._ready, self._news = running, asyncio.Event(), asyncio.Event()
            self._telling = asyncio.Lock()
            if self._unsaid:
                self._news.set()
            self._context = contextvars.Context()
        if running is not self._loop:
            return
        for name, round_ in (("listen", self._listen), ("tell", self._tell), ("save", self._save)):
            if name not in self._tasks:
                task = self._tasks[name] = running.create_task(round_(), context=self._context)
                task.add_done_callback(partial(self._ended, name))

    async def aclose(self) -> None:
        """Tell and save what is left, for a moment at most, and end. It may be begun again."""
        loop, tasks = self._loop, tuple(self._tasks.values())
        self._loop, self._tasks, self._wait_until = None, {}, None
        if loop is None or loop.is_closed() or self._pid != os.getpid():
            return
        if loop is not asyncio.get_running_loop():
            loop.call_soon_threadsafe(_cancel, tasks)
            return
        _cancel(tasks)
        # What is under way in a thread of the store cannot be stopped, and is not waited for.
        last = loop.create_task(self._finish(tasks), context=self._context)
        await asyncio.wait({last}, timeout=CLOSE_SECONDS)
        last.cancel()

    async def _finish(self, tasks: tuple[asyncio.Task[None], ...]) -> None:
        if tasks:
            await asyncio.wait(tasks)
        if self._touched or self._unsaid:
            await self._attempt(self._tell_all)
            await self._attempt(self._save_now)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled():
            task.exception()

    # ------------------------------------------------------------------------------------------------------- speaking

    def touch(self) -> None:
        """Take note that something was recorded: it is saved soon."""
        self._touched = True

    def note(self, node: str, state: str, seconds: float | None, reason: str) -> None:
        """Take how a node is after an outcome was recorded; other processes are told soon if that is news to them.

        What is no news costs next to nothing, and only a node's latest state is told.

        Args:
            node: The node.
            state: Of its circuit: closed, open or half_open.
            seconds: How much longer it is open; None: until something else is noted.
            reason: Why, for people.
        """
        self._touched = True
        until = self._now() + seconds if state == "open" and seconds is not None else None
        known, held = self._known.get(node, ("closed", None))
        same = until == held or (until is not None and held is not None and abs(until - held) < SAME)
        # Half-open is what the others come to by themselves, when the time is over.
        if state == "half_open" or (state == known and same):
            return
        self._known[node] = (state, until)
        self._unsaid[node] = _Said(state, until, reason)
        self._wake()

    def _wake(self) -> None:
        """Have it told; runs of another loop may note something too."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return  # it is told when it is begun again
        if loop is asyncio.get_running_loop():
            self._news.set()
        else:
            with suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(self._news.set)

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._ready.wait()
            # Saved at once too: whoever looks from outside sees the news with its figures, and a crash loses none.
            if not (await self._attempt(self._tell_all) and await self._attempt(self._save_now)):
                await asyncio.sleep(POLL)
                self._news.set()

    async def _tell_all(self) -> None:
        for node, said in tuple(self._unsaid.items()):
            # What is over by now is no news.
            if said.until is None or said.until > self._now():
                async with self._telling:  # its number is known before it is read back
                    number = await self._open().announce(self._graph, node, said.state, said.until, said.reason)
                    self._own.add(number)
            if self._unsaid.get(node) is said:
                del self._unsaid[node]

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE)
            if self._touched and self._restored:
                await self._attempt(self._save_now)

    async def _save_now(self) -> None:
        if not self._restored:
            return  # it would put less in the place of more
        self._touched = False
        try:
            await self._open().save_health(self._graph, dict(self._snapshot()))
        except BaseException:
            self._touched = True
            raise

    # ------------------------------------------------------------------------------------------------------ listening

    async def _listen(self) -> None:
        while True:
            if await self._attempt(self._hear):
                self._ready.set()
            await asyncio.sleep(POLL)

    async def _hear(self) -> None:
        store = self._open()
        if not self._restored:
            await self._take_over(store)
        first = self._seq == 0
        latest: dict[str, Outage] = {}
        async with self._telling:
            outages = await store.outages_since(self._graph, self._seq)
        for outage in outages:
            self._seq = outage.seq
            latest[outage.node] = outage
        for outage in latest.values():
            seconds = None if outage.until is None else outage.until - self._now()
            over = seconds is not None and seconds <= 0
            # Of what was said before this process listened, only outages count that are not over.
            if outage.seq in self._own or over or (first and outage.state == "closed"):
                continue
            self._known[outage.node] = (outage.state, outage.until)  # an echo is no news
            self._heard(Heard(outage.node, outage.state, seconds, outage.reason, outage.process))
        self._own = {number for number in self._own if number > self._seq}

    async def _take_over(self, store: Store) -> None:
        try:
            found = await store.load_health(self._graph)
        except RecordError:
            found = None  # damaged: the next save mends it
        self._restored = True
        if found is not None:
            self._restore(*found)

    async def _attempt(self, what: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Try; whatever goes wrong is reported, without its text, in which an address may stand."""
        try:
            await what()
        except Exception as error:
            self._report(
                f"health of the graph {self._graph} is neither saved nor shared for now "
                f"({type(error).__name__}); runs go on, and it is tried again"
            )
            return False
        return True


def _cancel(tasks: tuple[asyncio.Task[None], ...]) -> None:
    for task in tasks:
        task.cancel()
