"""Worker threads that may be abandoned: where sync functions run, so that they never block the event loop.

A cancelled call leaves its thread behind, because a thread cannot be stopped from outside. The threads are daemons:
a tool that hangs for ever must not keep the whole program from ending. That is the one difference from the worker
threads of anyio, which the interpreter waits for at exit; the limit on how many run at once is anyio's own
(``anyio.to_thread.current_default_thread_limiter()``), and an abandoned call no longer counts against it.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

__all__ = ("Threads",)

T = TypeVar("T")

IDLE_SECONDS = 10.0
"""How long a thread waits for its next call before it ends."""


class Threads:
    """Daemon threads, started when needed and used again while they are warm.

    Args:
        limited: Whether calls wait for one of anyio's worker threads to be free.
    """

    def __init__(self, *, limited: bool = True) -> None:
        self._idle: deque[_Worker] = deque()
        self._limited = limited

    async def run(self, function: Callable[[], T]) -> T:
        """Call *function* in a worker thread, with the caller's context variables.

        Cancellation returns at once: the thread goes on by itself and what it returns is dropped.
        """
        returned = anyio.Event()
        outcome: Future[T] = Future()
        context = contextvars.copy_context()
        loop: Any = anyio.lowlevel.current_token().native_token
        wake = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon

        def work() -> None:
            try:
                outcome.set_result(context.run(function))
            except BaseException as error:  # carried over to the caller, who decides
                outcome.set_exception(error)

        def report() -> None:
            try:
                wake(returned.set)
            except RuntimeError:
                return  # the event loop has ended: nobody waits for this call any more

        async with anyio.to_thread.current_default_thread_limiter() if self._limited else nullcontext():
            self._worker().jobs.put((work, report))
            await returned.wait()
        return outcome.result()

    def _worker(self) -> _Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = _Worker(self._idle)
                worker.start()
                return worker
            if worker.is_alive():
                return worker  # a forked process has the threads of its parent, none of them alive


class _Worker(threading.Thread):
    def __init__(self, idle: deque[_Worker]) -> None:
        super().__init__(name="orchestrator-tool", daemon=True)
        self.jobs: queue.SimpleQueue[tuple[Callable[[], None], Callable[[], None]]] = queue.SimpleQueue()
        self._idle = idle

    def run(self) -> None:
        while True:
            try:
                work, report = self.jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                try:
                    self._idle.remove(self)
                except ValueError:
                    continue  # somebody has just taken this thread: its job is on the way
                return
            work()
            # Idle before the caller knows, so that a caller of many short functions in turn keeps one thread.
            self._idle.append(self)
            report()
            del work, report  # an idle thread must not keep a large result alive
