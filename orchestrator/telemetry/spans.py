"""Runs as OpenTelemetry traces: which runs are open, and which record belongs to which trace.

Only the API of OpenTelemetry is used; which SDK is behind the tracer, or none, is the application's choice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress

from opentelemetry.trace import Tracer, get_tracer

from orchestrator.events import IDLE, Record, RunFinished, RunStarted
from orchestrator.run import Foreseen
from orchestrator.telemetry.run_trace import RunTrace
from orchestrator.telemetry.span_writer import SpanWriter

__all__ = ("SpanSink", "trace_id_of")

OPEN_RUNS = 10_000
"""Most runs kept open: the end of a run may be among the records that an outlet dropped. As many that wait for people
are remembered, for the trace that goes on from theirs to link to it."""


def trace_id_of(run_id: str) -> str:
    """Return 32 hex digits that stand for the trace of a run that nobody traces.

    >>> trace_id_of("7d444840-9dc0-11d1-b245-5ffdce74fad2")
    '7d4448409dc011d1b2455ffdce74fad2'
    """
    try:
        return uuid.UUID(run_id).hex
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, run_id).hex


class SpanSink:
    """Turn the records of any number of runs into spans; to be fed by an `Outlet`.

    Beside its records a run that is under way tells what it has planned ahead: that becomes an event on the span of the
    call that is protected. It depends on how long calls took and is nowhere recorded, so that a trace which is written
    from a run's log has no such events, and its reroutes do not say whether they were foreseen.

    Args:
        tracer: Makes the spans; default: the one of the application's tracer provider, if it has one.
        redact: Applied to every text before it leaves: span names, attributes, status descriptions.
    """

    def __init__(self, tracer: Tracer | None = None, *, redact: Callable[[str], str] = str) -> None:
        self._writer = SpanWriter(get_tracer("orchestrator") if tracer is None else tracer, redact)
        self._open: dict[str, RunTrace] = {}
        self._waiting: dict[str, RunTrace] = {}

    def begin(self, run_id: str, graph_name: str, epoch_ns: int, *, started: RunStarted | None = None) -> str | None:
        """Start the root span of a run in the caller's current context, so that the run joins the caller's trace.

        To be called by the code that starts the run, before its first record is put. A run that is begun again, to be
        resumed or answered, gets a root of its own, with a link to the earlier one where that was begun here; flush
        the outlet first if its earlier records may still be on their way. One that waits need not be begun again:
        its next record begins a trace of its own.

        Args:
            run_id: The run.
            graph_name: Name of its graph.
            epoch_ns: Nanoseconds since the Unix epoch at second 0 of the run's clock; of a run that is begun again, at
                the first record that will be put.
            started: The first record of a run that is begun again, which will not be put: the kinds of its nodes.

        Returns:
            The trace id in hex, derived from the run's id where nothing is traced; None if the tracer raised.
        """
        try:
            earlier = self._open.get(run_id) or self._waiting.pop(run_id, None)
            trace = RunTrace.begin(self._writer, run_id, graph_name, epoch_ns, started=started, earlier=earlier)
            self._abandon([run_id])
            if trace.root.is_recording():
                self._open[run_id] = trace
            ids = trace.root.get_span_context()
            return f"{ids.trace_id:032x}" if ids.is_valid else trace_id_of(run_id)
        except Exception:
            return None

    def traces(self, run_id: str) -> bool:
        """Tell whether a run that was begun is really traced; its records need not be brought here otherwise."""
        return run_id in self._open

    def __call__(self, run_id: str, record: Record | Foreseen) -> None:
        """Write what *record* says, or what was foreseen; records of a run that was not begun are ignored."""
        if isinstance(record, Foreseen):
            if run_id in self._open:
                self._open[run_id].foresee(record)
            return
        trace = self._open.get(run_id) or self._continued(run_id, record)
        if trace is None:
            return
        if isinstance(record.event, RunFinished):
            # Out of the table first: whatever is wrong with this record, its run does not stay.
            self._open.pop(run_id, None)
            if record.event.outcome == "waiting":
                self._remember(trace)
        elif isinstance(record.event, RunStarted) and len(self._open) > OPEN_RUNS:
            self._abandon(list(self._open)[:-OPEN_RUNS])
        trace.write(record)

    def close(self) -> None:
        """End the spans of runs that never finished, without a status."""
        self._abandon(list(self._open))

    def _continued(self, run_id: str, record: Record) -> RunTrace | None:
        """Begin the trace of a run that waited and goes on; None where it is not traced."""
        waiting = None if isinstance(record.event, IDLE) else self._waiting.pop(run_id, None)
        trace = None if waiting is None else waiting.continued(record.at)
        if trace is None or not trace.root.is_recording():
            return None
        self._open[run_id] = trace
        return trace

    def _remember(self, trace: RunTrace) -> None:
        self._waiting[trace.run_id] = trace
        while len(self._waiting) > OPEN_RUNS:
            self._waiting.pop(next(iter(self._waiting)), None)

    def _abandon(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            trace = self._open.pop(run_id, None)
            if trace is not None:
                with suppress(Exception):  # one broken trace leaves the others to be ended
                    trace.end()
