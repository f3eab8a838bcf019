"""Traps of health and routing that others fell into, and that no other file has a test for by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator import Orchestrator, tool
from orchestrator.errors import ToolFailed
from orchestrator.run import Start
from tests.loopback import HttpPeer, served
from tests.running import ByHand, graph, node, simulated, view


@pytest.fixture
def spans() -> Iterator[tuple[Any, InMemorySpanExporter]]:
    """Give a tracer, and where its spans end up."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test"), exporter
    provider.shutdown()


def test_trap_1_a_healthy_view_lifts_no_exclusion() -> None:
    """A node that a run has given up is not called again in it, whatever weights and vetoes the process publishes."""
    run = ByHand(graph(node("a", effect=None), node("b", "", "a", units=50.0), goals="g: a"))
    run.fail("a", transient=True)
    for number in range(3):
        run.see(view(run.machine.graph, id=f"healthy-{number}"))
    run.succeed("b")
    assert [command.node for command in run.issued(Start)] == ["a", "b"]


async def test_trap_9_one_layer_retries() -> None:
    """A node of three attempts that always answers 503 has three, and one as a last chance: no layer multiplies."""
    peer = HttpPeer(lambda exchange: exchange.reply(b"busy", 503))
    with served(peer):
        orchestrator = Orchestrator(
            goals={"g": ["page"]},
            policy={"retry": {"attempts": 3, "backoff": "1ms", "max_backoff": "2ms"}},
            tools=[_asks(peer.url(host="127.0.0.1"))],
        )
        async with orchestrator:
            result = await orchestrator.run()
    assert result.outcome == "failed"
    assert len(peer.asked) == sum(attempt.attempt > 0 for attempt in result.attempts) == 4
    assert result.last_chances == 1


def _asks(url: str) -> Any:
    import httpx

    @tool(provides="page", effect="read", units=1)
    async def page() -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(url)).raise_for_status().text

    return page


def test_trap_11_no_route_is_lost_to_a_cheaper_tree() -> None:
    """Where a limit forbids the cheapest route, the dearer one that fits is found, and nobody escalates."""
    chain = [node("a", "", "va"), node("b", "va", "vb"), node("c", "vb", "vc")]
    both = graph(*chain, node("short", "", "vc", units=50.0), goals="there: vc")
    result = simulated(both, policy={"limits": {"calls": 1}})
    assert (result.outcome, result.route, result.escalations) == ("met", ("short",), 0)


async def test_trap_12_an_answer_is_no_success_unless_it_is_right() -> None:
    """A result that breaks its contract is a failure: the run goes another way, and the figures do not praise it."""

    @tool(provides="page", effect="read", units=1, output={"type": "string", "minLength": 1}, retry={"attempts": 1})
    def empty() -> str:
        return ""

    @tool(name="right", provides="page", effect="read", units=2)
    def right() -> str:
        return "text"

    async with Orchestrator(tools=[empty, right], goals={"g": ["page"]}) as orchestrator:
        result = await orchestrator.run()
        rows = {row.node: row for row in orchestrator.health()}
    assert (result.outcome, result.route) == ("met", ("right",))
    assert (result.attempts[0].outcome, result.attempts[0].error) == ("failed", "invalid_output")
    assert (rows["empty"].ok, rows["empty"].last_error) == (0.0, "invalid_output")
    assert [(signal.monitor, signal.effect) for signal in rows["empty"].reasons] == [("contract", "factor")]
    assert rows["right"].ok == pytest.approx(1.0, abs=0.01)
    assert rows["right"].reasons == ()


async def test_trap_12_an_answer_that_cannot_be_read_is_no_success_and_nobodys_mistake() -> None:
    """A tool whose service answers with a page of a proxy is out of use after five of them, and is not called on."""
    calls: list[str] = []

    @tool(name="web", provides="page", effect="read", units=1, retry={"attempts": 1})
    def web() -> Any:
        calls.append("web")
        return json.loads("<html>502 from a proxy</html>")

    async with Orchestrator(tools=[web, *_two([])[1:]], goals={"g": ["page"]}) as orchestrator:
        results = [await orchestrator.run() for _ in range(20)]
        (row,) = (row for row in orchestrator.health() if row.node == "web")
    assert {result.outcome for result in results} == {"met"}
    assert len(calls) == 5
    assert [(signal.monitor, signal.effect) for signal in row.reasons] == [("contract", "veto")]


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_trap_10_callers_who_are_wrong_eject_nobody(effect: Any) -> None:
    """Inputs that no provider can read fail everywhere and take nobody out of use; the next good one goes as ever."""

    def parses(name: str, units: float) -> Any:
        @tool(name=name, provides="page", needs=["text"], effect=effect, units=units, retry={"attempts": 1})
        def parse(text: str) -> Any:
            return json.loads(text)

        return parse

    async with Orchestrator(tools=[parses("a", 1), parses("b", 2)], goals={"g": ["page"]}) as orchestrator:
        for number in range(20):
            assert (await orchestrator.run(text=f"<{number}>")).outcome == "failed"
        rows = orchestrator.health()
        good = await orchestrator.run(text="[1]")
    assert {row.state for row in rows} == {"closed"}
    assert {signal.effect for row in rows for signal in row.reasons} == {"factor"}
    assert (good.outcome, good.route) == ("met", ("a",))


async def test_trap_10_a_node_that_works_for_others_weighs_as_ever() -> None:
    """Four mistakes for each success, and not one figure of the node moves."""

    @tool(name="picky", provides="page", needs=["text"], effect="read", units=1)
    def picky(text: str) -> str:
        return {"good": "page"}[text]

    async with Orchestrator(tools=[picky, *_two([])[1:]], goals={"g": ["page"]}) as orchestrator:
        for number in range(20):
            result = await orchestrator.run(text="bad" if number % 5 else "good")
            assert result.outcome == "met"
        (row,) = (row for row in orchestrator.health() if row.node == "picky")
    assert (row.state, row.reasons, row.factor) == ("closed", (), 1.0)
    assert row.success == 1.0


async def test_trap_13_a_tool_that_blocks_holds_nobody_up() -> None:
    """A plain function that blocks for a second runs beside the event loop: another run is over long before."""

    @tool(provides="slow", effect="read", units=1)
    def blocks() -> str:
        threading.Event().wait(1.0)
        return "late"

    @tool(provides="quick", effect="read", units=1)
    async def quick() -> str:
        return "now"

    order: list[str] = []
    async with Orchestrator(tools=[blocks, quick], goals={"slow": ["slow"], "quick": ["quick"]}) as orchestrator:

        async def run(goal: str) -> None:
            assert (await orchestrator.run(goal=goal)).outcome == "met"
            order.append(goal)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "slow")
            tasks.start_soon(run, "quick")
    assert order == ["quick", "slow"]


def _two(calls: list[str], effect: Any = "read") -> list[Any]:
    """Return a provider that always fails and a dearer one that does not."""

    @tool(name="bad", provides="page", effect=effect, units=1, retry={"attempts": 2, "backoff": "1ms"})
    async def bad() -> str:
        calls.append("bad")
        raise ToolFailed("away", transient=True)

    @tool(name="good", provides="page", effect=effect, units=2)
    async def good() -> str:
        calls.append("good")
        return "text"

    return [bad, good]


async def test_trap_17_the_callers_span_is_the_parent_and_stays_open(spans: tuple[Any, InMemorySpanExporter]) -> None:
    """A stream that is read under a span of the caller's, and left early, is a child of it and does not end it."""
    tracer, exporter = spans
    async with Orchestrator(tools=_two([]), goals={"g": ["page"]}, tracer=tracer) as orchestrator:
        with tracer.start_as_current_span("caller") as caller:
            stream = orchestrator.stream()
            await anext(stream)
            await stream.aclose()
            assert caller.is_recording()
            async for _ in orchestrator.stream():
                pass
            assert caller.is_recording()
    roots = [span for span in exporter.get_finished_spans() if span.name.startswith("invoke_workflow")]
    assert len(roots) == 2
    assert {_parent(span) for span in roots} == {caller.get_span_context().span_id}


async def test_trap_18_a_fallback_is_in_the_trace(spans: tuple[Any, InMemorySpanExporter]) -> None:
    """Who stood in for whom, and why, is a span of its own between the attempts of both."""
    tracer, exporter = spans
    async with Orchestrator(tools=_two([]), goals={"g": ["page"]}, tracer=tracer) as orchestrator:
        result = await orchestrator.run()
    assert result.reroutes == 1
    names = [span.name for span in sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)]
    (reroute,) = [span for span in exporter.get_finished_spans() if span.name.startswith("reroute")]
    assert (reroute.attributes or {})["orchestrator.route.after"] == "good"
    assert len([name for name in names if name.startswith("execute_tool bad")]) == 2
    assert reroute.links


@pytest.mark.parametrize("effect", ["once", None])
async def test_trap_21_what_may_not_be_repeated_is_neither_retried_nor_hedged(effect: Any) -> None:
    """An effect is called once, slow or failed, even where the policy hedges at once and retries often."""
    calls: list[str] = []

    @tool(name="slow", provides="receipt", needs=["page"], effect=effect, units=1, timeout="5s")
    async def slow(page: str) -> str:
        calls.append("slow")
        await anyio.sleep(0.05)
        raise ToolFailed("no", transient=True)

    policy = {"hedge": {"after": "1ms", "usd": 10.0}, "retry": {"attempts": 5, "backoff": "1ms"}}
    async with Orchestrator(tools=[*_two([]), slow], goals={"g": ["receipt"]}, policy=policy) as orchestrator:
        result = await orchestrator.run()
    assert calls == ["slow"]
    assert (result.outcome, result.retries) == ("failed", 1)  # that of the read before it


def _parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id
