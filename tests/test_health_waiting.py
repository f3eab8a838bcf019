"""Runs that wait for people while health changes what they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator import Orchestrator, tool
from orchestrator.events import ViewChanged
from orchestrator.result import Question
from orchestrator.store import Store
from tests.running import of

pytestmark = pytest.mark.anyio

FAILURES = 5
"""As many as open a circuit: the last of them changes the view of the run that made it."""


def banks(**options: Any) -> Orchestrator:
    """Return an orchestrator of two payments; the answer of the cheap one is always lost."""

    @tool(provides="paid", effect="once", units=1)
    async def lost(order: str) -> str:
        raise ConnectionResetError("the answer never came")

    @tool(provides="paid", effect="once", units=9)
    async def other(order: str) -> str:
        return "paid"

    return Orchestrator(tools=[lost, other], goals={"g": ["paid"]}, **options)


async def test_a_run_that_waits_goes_on_waiting_whatever_it_is_shown(tmp_path: Path) -> None:
    """Its own failure opens a circuit: it still waits with its question, in its result, its row and its trace."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    url = f"sqlite:///{tmp_path}/runs.db"
    async with banks(store=url, tracer=provider.get_tracer("tests")) as orchestrator:
        results = [await orchestrator.run(order="7") for _ in range(FAILURES)]
    assert [(result.outcome, len(result.questions)) for result in results] == [("waiting", 1)] * FAILURES
    assert of(results[-1], ViewChanged)
    async with Store.open(url) as store:
        rows = await store.runs(limit=9)
    assert [(row.outcome, len(row.questions)) for row in rows] == [("waiting", 1)] * FAILURES
    roots = [span for span in exporter.get_finished_spans() if span.name.startswith("invoke_workflow")]
    assert len(roots) == FAILURES


async def test_people_are_asked_what_is_open_whatever_the_run_is_shown() -> None:
    """The questions that reach an application are those of the run, though its view changed after it had asked."""
    asked: list[int] = []

    async def ask(questions: tuple[Question, ...]) -> None:
        asked.append(len(questions))

    async with banks(ask=ask) as orchestrator:
        with anyio.fail_after(20):
            for _ in range(FAILURES):
                await orchestrator.run(order="7")
    assert asked == [1] * FAILURES
