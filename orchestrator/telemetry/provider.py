"""Where spans go when nobody else has set that up: an SDK provider of our own that sends them to a collector.

Needs the extra ``otel``. The library never installs it globally: an application with a provider keeps its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from orchestrator.errors import InputError, NotAvailableError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

__all__ = ("close_provider", "exporting", "flush_provider", "otlp_provider", "traces_url")

SCHEDULE_MS = 1_000
"""How long an ended span waits for others; also how much is missing after a process is killed."""


def otlp_provider(endpoint: str, *, service: str, timeout: float = 5.0) -> TracerProvider:
    """Return a provider that sends spans to an OTLP/HTTP collector, in batches and in the background.

    A collector that cannot be reached is reported once through structlog; spans that it does not take are lost.

    Args:
        endpoint: URL of the collector, as ``http://127.0.0.1:4318``; ``/v1/traces`` is added where it has no path.
        service: The ``service.name`` under which viewers list the traces.
        timeout: Seconds for sending one batch, repeated tries included.

    Raises:
        NotAvailableError: The extra ``otel`` is not installed.
        InputError: *endpoint* is no http or https URL.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    except ImportError as error:
        raise NotAvailableError(
            "sending traces to a collector needs the extra `otel`: pip install 'orchestrator-runtime[otel]'"
        ) from error

    target, collector = traces_url(endpoint)
    exporter = _Watched(
        OTLPSpanExporter(endpoint=target, timeout=timeout), SpanExportResult.FAILURE, collector=collector
    )
    # Shutdown at exit is unbounded in the SDK: a collector that hangs would keep the process alive.
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", exporter), schedule_delay_millis=SCHEDULE_MS))
    return provider


@contextmanager
def exporting(endpoint: str, *, service: str = "orchestrator", timeout: float = 2.0) -> Iterator[TracerProvider]:
    """Provide an `otlp_provider` for the time of a block, then close it within *timeout* seconds.

    Spans that are not sent by then are lost, and that is reported.
    """
    provider = otlp_provider(endpoint, service=service)
    try:
        yield provider
    finally:
        if not close_provider(provider, timeout):
            _warn("not all traces were sent in time", seconds=timeout)


def flush_provider(provider: TracerProvider, timeout: float) -> bool:
    """Send what is waiting, for at most *timeout* seconds; tell whether that was time enough."""
    return _bounded(provider.force_flush, timeout)


def close_provider(provider: TracerProvider, timeout: float) -> bool:
    """Send what is waiting and stop, for at most *timeout* seconds; tell whether that was time enough."""
    return _bounded(provider.shutdown, timeout)


def traces_url(endpoint: str) -> tuple[str, str]:
    """Return the URL that spans are sent to, and the host alone: a URL may hold a password.

    Raises:
        InputError: *endpoint* is no http or https URL.
    """
    try:
        url = urlsplit(endpoint)
    except ValueError:
        url = urlsplit("")
    host = url.hostname
    if url.scheme not in ("http", "https") or not host:
        raise InputError("the address of a collector is an http or https URL, such as http://127.0.0.1:4318")
    return (endpoint if url.path not in ("", "/") else url._replace(path="/v1/traces").geturl()), host


def _bounded(call: Callable[[], object], timeout: float) -> bool:
    """Run *call* in a thread that nobody has to wait for: the SDK's own flush and shutdown ignore their time limits."""
    thread = threading.Thread(target=call, name="orchestrator-traces", daemon=True)
    thread.start()
    thread.join(timeout)
    return not thread.is_alive()


def _warn(text: str, **fields: object) -> None:
    import structlog

    structlog.get_logger("orchestrator.telemetry").warning(text, **fields)


class _Watched:
    """An exporter that says once that its spans do not arrive."""

    def __init__(self, exporter: SpanExporter, failure: SpanExportResult, *, collector: str) -> None:
        self._exporter = exporter
        self._failure = failure
        self._collector = collector
        self._reported = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is self._failure and not self._reported:
            self._reported = True
            _warn("traces do not reach their collector", collector=self._collector, spans=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
