"""Where records leave a run: a bounded queue in front of a sink that may be slow, blocked or broken.

The run only ever appends to the queue. One daemon thread per outlet feeds the sink, so nothing that a sink does, and
nothing that a collector behind it fails to do, can slow or fail a run. What does not fit is dropped and counted; a
trace with a hole is worth less than a run that waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import PurePath
from typing import Generic, TypeVar

from orchestrator.events import Record

__all__ = ("Outlet", "Sink")

Sink = Callable[[str, Record], None]
"""Takes a run's id and one of its records, in order; called by one thread at a time."""

Told_contra = TypeVar("Told_contra", contravariant=True)
"""What is told of a run: its records, and to a trace more than that."""


class Outlet(Generic[Told_contra]):
    """Take records from any number of runs, without ever blocking or raising, and feed them to *sink*.

    The feeding thread starts with the first record. A sink that raises, and records that are dropped, are reported
    once each through structlog and counted from then on.

    Args:
        sink: Called with a run's id and a record.
        capacity: How many records may wait for the sink.
    """

    def __init__(self, sink: Callable[[str, Told_contra], None], *, capacity: int = 10_000) -> None:
        self._sink = sink
        self._capacity = capacity
        self._waiting: deque[tuple[str, Told_contra]] = deque()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._departed = threading.Condition(self._lock)
        self._worker: threading.Thread | None = None
        self._accepted = 0
        self._done = 0
        self._dropped = 0
        self._failed = 0
        self._closed = False
        self._reported: set[str] = set()

    @property
    def dropped(self) -> int:
        """How many records never reached the sink: the queue was full, or the outlet closed."""
        return self._dropped

    @property
    def failed(self) -> int:
        """How many records the sink raised on."""
        return self._failed

    def put(self, run_id: str, record: Told_contra) -> None:
        """Hand over a record, or drop and count it if there is no room. Neither waits for the sink nor raises."""
        with self._lock:
            if self._closed or len(self._waiting) >= self._capacity or not self._feeding():
                self._dropped += 1
                return
            self._waiting.append((run_id, record))
            self._accepted += 1
            self._arrived.notify()

    def flush(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds until the sink is done with everything put so far; tell whether it is."""
        with self._lock:
            target = self._accepted
            return self._departed.wait_for(lambda: self._done >= target, timeout)

    def close(self, timeout: float) -> bool:
        """Take no more records, wait at most *timeout* seconds for the sink, and drop what is left.

        Returns:
            Whether the sink is done with every record that was accepted.
        """
        with self._lock:
            self._closed = True
            self._arrived.notify()
            complete = self._departed.wait_for(lambda: self._done >= self._accepted, timeout)
            self._dropped += len(self._waiting)
            self._done += len(self._waiting)
            self._waiting.clear()
            self._departed.notify_all()
        if complete and self._worker is not None:
            self._worker.join(timeout)
        self._report_drops()
        return complete

    def _feeding(self) -> bool:
        """Start the feeding thread where none is alive: the first record, or a process that was forked."""
        if self._worker is not None and self._worker.is_alive():
            return True
        worker = threading.Thread(target=self._feed, name="orchestrator-telemetry", daemon=True)
        try:
            worker.start()
        except RuntimeError:  # no thread to be had, or the interpreter is going down
            return False
        self._worker = worker
        return True

    def _feed(self) -> None:
        while True:
            with self._lock:
                self._arrived.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                run_id, record = self._waiting.popleft()
            self._report_drops()
            try:
                self._sink(run_id, record)
            except Exception as error:
                self._failed += 1
                self._report("a telemetry sink failed", error=type(error).__name__, at=_place(error))
            finally:
                with self._lock:
                    self._done += 1
                    self._departed.notify_all()

    def _report_drops(self) -> None:
        if self._dropped:
            self._report("telemetry records were dropped", dropped=self._dropped, capacity=self._capacity)

    def _report(self, text: str, **fields: object) -> None:
        """Warn once per *text*. Fields hold no error message: a sink's message may quote what it was to redact."""
        with self._lock:
            if text in self._reported:
                return
            self._reported.add(text)
        try:
            import structlog

            structlog.get_logger("orchestrator.telemetry").warning(text, sink=type(self._sink).__name__, **fields)
        except Exception:  # a broken log is no reason to stop feeding
            return


def _place(error: Exception) -> str:
    """Return file and line where *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
