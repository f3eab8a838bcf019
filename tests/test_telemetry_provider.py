"""Spans on their way to a collector: a real one, a dead one, and one that hangs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from structlog.testing import capture_logs

from orchestrator.errors import InputError, NotAvailableError
from orchestrator.telemetry.outlet import Outlet
from orchestrator.telemetry.provider import close_provider, exporting, flush_provider, otlp_provider
from orchestrator.telemetry.spans import SpanSink
from tests.recorded_runs import EPOCH_NS, RUN, demoted, happy

LONG = 30.0
"""Seconds that no test waits unless it is about to fail."""

ROOT = Path(__file__).resolve().parent.parent


class Collector(ThreadingHTTPServer):
    """An OTLP/HTTP receiver on a free port of this machine; takes requests only while it is not held up."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.arrived = threading.Condition()
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        """Where spans are to be sent."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Span]:
        """Return every span that arrived."""
        return [
            span
            for _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, name: str) -> bool:
        """Wait until a span of this name has arrived."""
        with self.arrived:
            return self.arrived.wait_for(lambda: name in [span.name for span in self.spans()], LONG)


class Receiver(BaseHTTPRequestHandler):
    """Reads one request of a collector's client."""

    server: Collector

    def do_POST(self) -> None:
        """Take spans, and say so."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.open.wait()
        with self.server.arrived:
            self.server.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.server.arrived.notify_all()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for the time of a test."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        collector.open.set()
        collector.shutdown()
        collector.server_close()
        thread.join(LONG)


@contextmanager
def provided(endpoint: str, timeout: float = LONG) -> Iterator[TracerProvider]:
    """A provider for the time of a test, whose threads are gone at the end."""
    before = threading.enumerate()
    provider = otlp_provider(endpoint, service="shop", timeout=timeout)
    try:
        yield provider
    finally:
        close_provider(provider, LONG)
        for thread in threading.enumerate():
            if thread not in before and thread.name.startswith(("Otel", "orchestrator")):
                thread.join(LONG)


def put_run(sink: SpanSink, outlet: Outlet, run_id: str = RUN) -> None:
    """Let one run pass, as a driver would."""
    sink.begin(run_id, "refund", EPOCH_NS)
    for record in demoted():
        outlet.put(run_id, record)


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_collector_receives_the_trace() -> None:
    """A whole run arrives over OTLP/HTTP: names, parents, links, statuses, times and the service."""
    with collecting() as collector, provided(collector.url) as provider:
        sink = SpanSink(provider.get_tracer("orchestrator"))
        outlet = Outlet(sink)
        put_run(sink, outlet)
        assert outlet.close(LONG)
        assert flush_provider(provider, LONG)
        assert {path for path, _ in collector.requests} == {"/v1/traces"}
        spans = {span.name: span for span in collector.spans()}
        resource = collector.requests[0][1].resource_spans[0].resource
    root = spans["invoke_workflow refund"]
    assert len(collector.spans()) == 13
    assert {span.parent_span_id for span in spans.values() if span is not root} == {root.span_id}
    assert not root.parent_span_id
    assert root.start_time_unix_nano == EPOCH_NS
    assert [link.span_id for link in spans["reroute stripe"].links] == [
        next(span.span_id for span in collector.spans() if span.name == "execute_tool stripe")
    ]
    assert spans["execute_tool stripe"].status.code == 2
    assert root.status.code == 0
    assert ("service.name", "shop") in [(entry.key, entry.value.string_value) for entry in resource.attributes]


def test_closing_sends_what_is_waiting() -> None:
    """A short command loses nothing: close sends the last batch before it returns."""
    with collecting() as collector, provided(collector.url) as provider:
        sink = SpanSink(provider.get_tracer("orchestrator"))
        sink.begin(RUN, "refund", EPOCH_NS)
        for record in happy():
            sink(RUN, record)
        assert close_provider(provider, LONG)
        assert "invoke_workflow refund" in [span.name for span in collector.spans()]


def test_a_block_that_exports_sends_everything_at_its_end() -> None:
    """What a command traces in the block has arrived when the block is left, also by an error."""
    with collecting() as collector, capture_logs() as logs:
        with suppress(KeyError), exporting(collector.url) as provider:
            provider.get_tracer("test").start_span("one").end()
            raise KeyError
        assert [span.name for span in collector.spans()] == ["one"]
        resource = collector.requests[0][1].resource_spans[0].resource
    assert ("service.name", "orchestrator") in [(e.key, e.value.string_value) for e in resource.attributes]
    assert logs == []


def test_a_block_that_exports_says_what_is_lost() -> None:
    """A block whose collector hangs is left at its time limit, and says so."""
    with collecting() as collector:
        collector.open.clear()
        before = threading.enumerate()
        try:
            with capture_logs() as logs, exporting(collector.url, timeout=0.0) as provider:
                provider.get_tracer("test").start_span("one").end()
        finally:
            collector.open.set()
            for thread in set(threading.enumerate()) - set(before):
                thread.join(LONG)
    assert [line["event"] for line in logs] == ["not all traces were sent in time"]


def test_an_address_with_a_path_is_left_alone() -> None:
    """Only a bare address gets the standard path."""
    with collecting() as collector:
        for endpoint in (collector.url + "/", collector.url + "/api/otlp/v1/traces"):
            with provided(endpoint) as provider:
                provider.get_tracer("test").start_span("one").end()
    assert [path for path, _ in collector.requests] == ["/v1/traces", "/api/otlp/v1/traces"]


def test_a_dead_collector_costs_the_run_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens: every record is taken, closing returns in time, and one warning says that traces are lost."""
    caplog.set_level(logging.CRITICAL)
    with capture_logs() as logs, provided(f"http://user:pw@127.0.0.1:{closed_port()}", timeout=0.05) as provider:
        sink = SpanSink(provider.get_tracer("orchestrator"))
        outlet = Outlet(sink)
        for number in range(3):
            put_run(sink, outlet, f"run-{number}")
            assert outlet.flush(LONG)
            assert flush_provider(provider, LONG)
        assert outlet.close(LONG)
        assert (outlet.dropped, outlet.failed) == (0, 0)
        assert close_provider(provider, LONG)
    assert logs == [
        {
            "event": "traces do not reach their collector",
            "collector": "127.0.0.1",
            "spans": 13,
            "log_level": "warning",
        }
    ]


def test_a_collector_that_hangs_costs_the_run_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The collector takes a request and never answers: every record is taken, and closing gives up at its limit."""
    caplog.set_level(logging.CRITICAL)
    with collecting() as collector, provided(collector.url) as provider:
        collector.open.clear()
        sink = SpanSink(provider.get_tracer("orchestrator"))
        outlet = Outlet(sink)
        try:
            provider.get_tracer("test").start_span("first").end()
            assert not flush_provider(provider, 0.0)
            assert collector.asked.wait(LONG)
            for number in range(400):
                put_run(sink, outlet, f"run-{number}")
                assert outlet.flush(LONG)
            assert (outlet.dropped, outlet.failed) == (0, 0)
            assert outlet.close(LONG)
            assert not flush_provider(provider, 0.0)
            assert not close_provider(provider, 0.0)
            assert collector.spans() == []
        finally:
            collector.open.set()


def test_a_killed_process_leaves_the_start_of_its_run() -> None:
    """After kill -9 in mid-run the collector has `run_started` and the finished attempts, though no root."""
    program = (
        "import sys\n"
        "from orchestrator.telemetry.outlet import Outlet\n"
        "from orchestrator.telemetry.provider import otlp_provider\n"
        "from orchestrator.telemetry.spans import SpanSink\n"
        "from tests.recorded_runs import EPOCH_NS, RUN, happy\n"
        "sink = SpanSink(otlp_provider(sys.argv[1], service='shop').get_tracer('orchestrator'))\n"
        "outlet = Outlet(sink)\n"
        "sink.begin(RUN, 'refund', EPOCH_NS)\n"
        "for record in happy()[:4]:\n"
        "    outlet.put(RUN, record)\n"
        "sys.stdin.read()\n"
    )
    with collecting() as collector:
        child = subprocess.Popen([sys.executable, "-c", program, collector.url], cwd=ROOT, stdin=subprocess.PIPE)
        try:
            assert collector.wait_for("execute_tool crm")
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.communicate(timeout=LONG)
    assert sorted(span.name for span in collector.spans()) == ["execute_tool crm", "plan_route refunded", "run_started"]


def test_no_provider_is_installed_globally() -> None:
    """The application's own tracing stays as it is."""
    before = trace.get_tracer_provider()
    with provided(f"http://127.0.0.1:{closed_port()}"):
        assert trace.get_tracer_provider() is before


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "ftp://collector", "http://", "collector", "http://[::1"])
def test_an_address_that_is_no_url_is_refused(endpoint: str) -> None:
    """The error says what an address looks like."""
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:4318"):
        otlp_provider(endpoint, service="shop")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the exporter the error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(NotAvailableError, match=r"pip install 'orchestrator-runtime\[otel\]'"):
        otlp_provider("http://127.0.0.1:4318", service="shop")
