"""All outlets of one orchestrator: its traces and its sinks, opened with the first run and closed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from orchestrator.telemetry.outlet import Outlet, Sink

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from orchestrator.events import Record, RunStarted
    from orchestrator.run import Foreseen
    from orchestrator.telemetry.spans import SpanSink

__all__ = ("Outlets",)

CLOSE_SECONDS = 2.0
"""How long closing waits for each outlet to get rid of what it still has."""

FLUSH_SECONDS = 0.1
"""How long a run that goes on in this process waits for its earlier records: they take a fraction of a millisecond."""


class Outlets:
    """Brings the records of runs to traces and sinks, each on a thread of its own.

    Args:
        sinks: Take every record of every run.
        tracer: Makes the spans; None: the application's tracer provider gives one.
        redact: Applied to every text of a trace.
    """

    def __init__(self, sinks: Iterable[Sink], tracer: Tracer | None, redact: Callable[[str], str]) -> None:
        self._sinks = list(sinks)
        self._tracer = tracer
        self._redact = redact
        self._spans: SpanSink | None = None
        self._tracing: Outlet[Record | Foreseen] | None = None
        self._open: list[Outlet[Record]] = []
        self._reported: set[str] = set()

    def add(self, sink: Sink) -> None:
        """Bring the records of the runs to come to *sink* too."""
        self._sinks.append(sink)
        if self._spans is not None:
            self._open.append(Outlet(sink))

    def report(self, text: str) -> None:
        """Tell people, once, of something beside the runs that does not work."""
        if text in self._reported:
            return
        self._reported.add(text)
        with suppress(Exception):  # a broken log is no reason to stop
            import structlog

            structlog.get_logger("orchestrator.health").warning(self._redact(text))

    def begin(
        self, run_id: str, graph_name: str, *, started: RunStarted | None = None
    ) -> tuple[tuple[Outlet[Record], ...], str]:
        """Begin a run's trace in the caller's context; return where its records go, and the trace's id.

        For a run that goes on, after a wait or in another process, *started* is its first record.
        A run that nobody traces has an id derived from its own, and costs its records no way to a trace.
        """
        from orchestrator.telemetry.spans import SpanSink, trace_id_of

        if self._spans is None or self._tracing is None:
            self._spans = SpanSink(self._tracer, redact=self._redact)
            self._tracing = Outlet(self._spans)
            self._open = [Outlet(sink) for sink in self._sinks]
        if started is not None and self._spans.traces(run_id):
            # It goes on in this process; the end of its trace may still be on its way to it.
            self._tracing.flush(FLUSH_SECONDS)
        trace_id = self._spans.begin(run_id, graph_name, time.time_ns(), started=started)
        traced = (self._tracing,) if self._spans.traces(run_id) else ()
        return (*traced, *self._open), trace_id or trace_id_of(run_id)

    def tracing(self, run_id: str) -> Outlet[Record | Foreseen] | None:
        """Return what takes, beside its records, what a run that was begun foresees; None where nobody traces it."""
        return self._tracing if self._spans is not None and self._spans.traces(run_id) else None

    async def aclose(self) -> None:
        """Let every outlet get rid of what it has, within a bound, and end what is open. `begin` opens them anew."""
        spans, self._spans = self._spans, None
        outlets: list[Outlet[Any]] = [*self._open, *([self._tracing] if self._tracing is not None else [])]
        self._open, self._tracing = [], None
        for outlet in outlets:
            await anyio.to_thread.run_sync(outlet.close, CLOSE_SECONDS)
        if spans is not None:
            spans.close()
