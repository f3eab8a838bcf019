"""The traces of a run that waits, is answered, and ends: one per stretch, told apart and joined by the run's id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator import InputError, Orchestrator, tool
from orchestrator.errors import RunTakenError

RUN = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


@tool(provides="order", effect="read")
def find(order_id: str) -> str:
    """Find an order."""
    return order_id


@tool(provides="refund", effect="once", approve="always")
def pay(order: str) -> str:
    """Pay it back."""
    return f"paid {order}"


class Traced:
    """An orchestrator as one process has it, and the spans that leave it."""

    def __init__(self, store: Path, *tools: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        chosen = tools or (find, pay)
        self.orchestrator = Orchestrator(chosen, {"refunded": ["refund"]}, tracer=provider.get_tracer("t"), store=store)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans that have ended."""
        return self.exporter.get_finished_spans()

    @property
    def roots(self) -> list[ReadableSpan]:
        """The spans without a parent, in the order of their start."""
        return sorted((span for span in self.spans if span.parent is None), key=lambda span: span.start_time or 0)


def said(span: ReadableSpan, name: str) -> Any:
    """Return an attribute."""
    return (span.attributes or {}).get(name)


def trace_id(span: ReadableSpan) -> str:
    """Return the id of a span's trace, as results have it."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


async def test_an_answer_in_another_process_goes_on_in_a_trace_of_its_own(tmp_path: Path) -> None:
    """It has the run's id, the asked goal and the kinds of the nodes, though it never saw the run begin."""
    first, second = Traced(tmp_path / "runs.db"), Traced(tmp_path / "runs.db")
    async with first.orchestrator:
        waiting = await first.orchestrator.run(order_id="A1", run_id=RUN)
    async with second.orchestrator:
        met = await second.orchestrator.answer(RUN, "approve:pay", "yes", by="Ann")
    assert (waiting.outcome, met.outcome) == ("waiting", "met")
    (earlier,), (later,) = first.roots, second.roots
    assert (trace_id(earlier), trace_id(later)) == (waiting.trace_id, met.trace_id)
    for root, outcome in ((earlier, "waiting"), (later, "met")):
        assert said(root, "orchestrator.run.id") == RUN
        assert said(root, "orchestrator.run.outcome") == outcome
        assert said(root, "orchestrator.goal.requested") == "refunded"
    assert later.links == ()  # nobody here knows the span of the other process
    names = [span.name for span in sorted(second.spans, key=lambda span: span.start_time or 0)]
    assert names == ["invoke_workflow graph", "answered approve:pay", "execute_tool pay"]
    (called,) = [span for span in second.spans if span.name == "execute_tool pay"]
    assert said(called, "orchestrator.node.kind") == "python"


async def test_an_answer_in_the_same_process_links_to_the_trace_before(tmp_path: Path) -> None:
    """Where the earlier trace is known, the later root links to it."""
    traced = Traced(tmp_path / "runs.db")
    async with traced.orchestrator as orchestrator:
        waiting = await orchestrator.run(order_id="A1", run_id=RUN)
        met = await orchestrator.answer(RUN, "approve:pay", "no")
    earlier, later = traced.roots
    assert [trace_id(root) for root in traced.roots] == [waiting.trace_id, met.trace_id]
    assert [link.context for link in later.links] == [earlier.context]
    assert [said(root, "orchestrator.run.id") for root in traced.roots] == [RUN, RUN]


async def test_an_answer_that_does_not_fit_leaves_no_trace(tmp_path: Path) -> None:
    """A refused answer is no part of the run's story; the one that fits still links to what was before."""
    traced = Traced(tmp_path / "runs.db")
    async with traced.orchestrator as orchestrator:
        await orchestrator.run(order_id="A1", run_id=RUN)
        with pytest.raises(InputError, match="maybe"):
            await orchestrator.answer(RUN, "approve:pay", "maybe")
        await orchestrator.answer(RUN, "approve:pay", "yes")
    assert [said(root, "orchestrator.run.outcome") for root in traced.roots] == ["waiting", "met"]
    assert len(traced.roots[1].links) == 1


async def test_who_wants_a_run_that_is_driven_does_not_end_its_trace(tmp_path: Path) -> None:
    """A run under way in this process is refused to whoever would resume it, and its own trace goes on to the end."""
    asked, go = anyio.Event(), anyio.Event()

    @tool(provides="refund", effect="read")
    async def slow(order: str) -> str:
        asked.set()
        await go.wait()
        return order

    traced = Traced(tmp_path / "runs.db", find, slow)
    async with traced.orchestrator as orchestrator, anyio.create_task_group() as tasks:
        run = orchestrator.start(order_id="A1", run_id=RUN)
        tasks.start_soon(run.run)
        await asked.wait()
        with pytest.raises(RunTakenError):
            await orchestrator.resume(RUN)
        go.set()
    (root,) = traced.roots
    assert said(root, "orchestrator.run.outcome") == "met"
    assert {span.name for span in traced.spans} >= {"execute_tool find", "execute_tool slow"}
