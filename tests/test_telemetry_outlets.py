"""Where the records of runs go, and that a run which goes on in this process finds its trace again."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.events import RunStarted
from orchestrator.telemetry.outlets import Outlets
from tests.recorded_runs import RUN, approved


async def test_a_run_that_waited_goes_on_in_a_trace_of_its_own() -> None:
    """What the waiting run still had under way is told before the run is begun again; the roots are linked."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    outlets = Outlets([], provider.get_tracer("test"), str)
    records = approved()
    first = records[0].event
    assert isinstance(first, RunStarted)
    middle = next(place for place, record in enumerate(records) if record.event.event == "answered")
    ids = []
    for started, part in ((None, records[:middle]), (first, records[middle:])):
        (outlet,), trace_id = outlets.begin(RUN, "refund", started=started)
        ids.append(trace_id)
        for record in part:
            outlet.put(RUN, record)
    await outlets.aclose()
    roots = [span for span in exporter.get_finished_spans() if span.parent is None]
    assert [f"{root.context.trace_id:032x}" for root in roots if root.context is not None] == ids
    assert [(root.attributes or {})["orchestrator.run.outcome"] for root in roots] == ["waiting", "met"]
    assert [link.context for link in roots[1].links] == [roots[0].context]
