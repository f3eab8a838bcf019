"""The local driver and tools as they are: they hang, crash, block, lie, and do not stop when they are told to."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from orchestrator import Orchestrator, ToolFailed, tool
from orchestrator.events import AttemptEnded, LateResult, Record, RunFinished
from orchestrator.health import Outcome
from orchestrator.health.board import Board
from orchestrator.result import RunResult

pytestmark = pytest.mark.anyio


def fallback() -> str:
    """Return what the other provider would have returned."""
    return "fallback"


def pair(first: Callable[..., Any], **declared: Any) -> Orchestrator:
    """Return an orchestrator whose cheap provider is *first* and whose dear one always works."""
    cheap = tool(provides="v", units=1, name="first", **declared)(first)
    dear = tool(provides="v", units=5, name="second", effect="read")(fallback)
    return Orchestrator(tools=[cheap, dear], goals={"g": ["v"]})


def only(result: RunResult) -> tuple[str, str | None]:
    """Return outcome and error of the first provider's first attempt."""
    return result.attempts[0].outcome, result.attempts[0].error


async def test_a_tool_that_raises_is_gone_round() -> None:
    """An exception is a failed attempt with its class as the error, and the other provider takes over."""

    def first() -> str:
        raise KeyError("no such order")

    result = await pair(first).run()
    assert (result.outcome, result.route, result.reroutes) == ("met", ("second",), 1)
    assert only(result) == ("failed", "KeyError")


@pytest.mark.parametrize("crash", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_a_tool_that_raises_what_ends_programs_fails_its_attempt_only(crash: type[BaseException]) -> None:
    """SystemExit and the like from a tool are failed attempts, sync or async; the program goes on."""

    def first() -> str:
        raise crash

    async def first_async() -> str:
        raise crash

    for function in (first, first_async):
        result = await pair(function).run()
        assert (result.outcome, result.route) == ("met", ("second",))
        assert result.attempts[0].outcome == "failed"


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_a_tool_that_hangs_is_timed_out(effect: str) -> None:
    """A call that does not come back is a timeout after its declared time, async or in a thread."""
    release = threading.Event()

    async def first_async() -> str:
        await anyio.sleep_forever()
        return ""

    def first() -> str:
        release.wait(30)
        return "late"

    try:
        for function in (first, first_async):
            result = await pair(function, timeout="20ms", retry={"attempts": 1}, effect=effect).run()
            assert (result.outcome, result.route) == ("met", ("second",))
            assert only(result) == ("failed", "timeout")
    finally:
        release.set()


@pytest.mark.parametrize("seconds", [0.0, math.inf], ids=["returns", "is timed out"])
async def test_a_defect_of_our_own_ends_the_run_instead_of_hanging_it(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails beside a call, and is no failure of its node, is raised to the caller."""

    async def first() -> str:
        await anyio.sleep(seconds)
        return "its own"

    def record(self: Board, outcome: Outcome) -> bool:
        raise RuntimeError(f"a defect, told of {outcome.node}")

    monkeypatch.setattr(Board, "record", record)
    orchestrator = pair(first, timeout="20ms", effect="read")
    with anyio.fail_after(10), pytest.raises(RuntimeError, match="a defect, told of first"):
        await orchestrator.run()
    await orchestrator.aclose()


async def test_a_tool_that_ignores_cancellation_delays_nothing() -> None:
    """A read that swallows its cancellation is left behind; the run ends without it."""
    stop = anyio.Event()

    async def first() -> str:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue
        return "much too late"

    try:
        result = await pair(first, timeout="20ms", retry={"attempts": 1}, effect="read").run()
        assert (result.outcome, result.route) == ("met", ("second",))
    finally:
        stop.set()


async def test_none_is_a_value_and_a_wrong_type_is_not() -> None:
    """None is a result like any other; a result that breaks its output contract is a failed attempt."""

    def nothing() -> None:
        return None

    result = await pair(nothing).run()
    assert (result.route, result.values["v"]) == (("first",), None)

    def wrong() -> str:
        return "seven"

    result = await pair(wrong, output=int, effect="read", retry={"attempts": 1}).run()
    assert (result.route, only(result)) == (("second",), ("failed", "invalid_output"))


async def test_fifty_megabytes_go_through() -> None:
    """A large value is held and handed on; the log names it, with its size, and does not hold it."""
    big = "x" * 50_000_000

    def first() -> str:
        return big

    result = await pair(first).run()
    assert result.values["v"] is big
    ended = next(r.event for r in result.records if isinstance(r.event, AttemptEnded))
    assert ended.values[0].size >= len(big)
    assert ended.values[0].digest


async def test_a_value_without_json_form_is_held_all_the_same() -> None:
    """Any object can flow from node to node."""
    lock = threading.Lock()
    result = await pair(lambda: lock).run()
    assert result.values["v"] is lock


async def test_a_tool_that_blocks_the_loop_ends_its_run_all_the_same() -> None:
    """An async tool that never yields holds up everything while it lasts, and no longer."""

    async def first() -> str:
        deadline = time.perf_counter() + 0.05
        while time.perf_counter() < deadline:
            pass
        return "done"

    result = await pair(first, timeout="10ms", effect="idempotent", retry={"attempts": 1}).run()
    assert result.outcome == "met"


async def test_branches_run_side_by_side_and_do_not_disturb_each_other() -> None:
    """Two branches are in flight at once; one that fails leaves the other running and keeps its result."""
    both = anyio.Event()
    arrived: list[str] = []
    calls: list[str] = []

    async def meet(name: str) -> str:
        calls.append(name)
        arrived.append(name)
        if len(arrived) == 2:
            both.set()
        await both.wait()
        return name

    @tool(provides="a", effect="read")
    async def left() -> str:
        return await meet("left")

    @tool(provides="b", effect="read", units=1, retry={"attempts": 1})
    async def right() -> str:
        await meet("right")
        raise ToolFailed("broken")

    @tool(provides="b", effect="read", units=3)
    async def other() -> str:
        return "other"

    result = await Orchestrator(tools=[left, right, other], goals={"g": ["a", "b"]}).run()
    assert result.outcome == "met"
    assert sorted(calls) == ["left", "right"]
    assert dict(result.values) == {"a": "left", "b": "other"}


async def test_cancelling_the_caller_cancels_reads_and_waits_for_effects() -> None:
    """A cancelled caller leaves no effect half-way: reads are cancelled, an effect finishes and is undone."""
    started, finish = anyio.Event(), anyio.Event()
    happened: list[str] = []
    records: list[Record] = []

    async def undo(result: str) -> None:
        happened.append(f"undone {result}")

    @tool(provides="paid", effect="once", undo=undo)
    async def pay() -> str:
        started.set()
        await finish.wait()
        happened.append("paid")
        return "payment"

    orchestrator = Orchestrator(tools=[pay], goals={"g": ["paid"]})
    run = orchestrator.start(on_record=records.append)
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def caller() -> None:
            with scope:
                await run.run()
                pytest.fail("the cancellation was swallowed")

        tasks.start_soon(caller)
        await started.wait()
        scope.cancel()
        finish.set()
    assert happened == ["paid", "undone payment"]
    assert isinstance(records[-1].event, RunFinished)
    assert records[-1].event.outcome == "cancelled"


async def test_cancelling_the_task_from_outside_is_passed_on() -> None:
    """asyncio's own task cancellation ends the run in the same way, and the task is cancelled."""
    started = anyio.Event()
    seen: list[str] = []

    @tool(provides="v", effect="read")
    async def slow() -> str:
        started.set()
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return ""

    task = asyncio.create_task(Orchestrator(tools=[slow], goals={"g": ["v"]}).run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert seen == ["cancelled"]


async def test_a_late_result_settles_an_open_effect() -> None:
    """A `once` call that outlives its time is unknown until its own late answer settles it as done."""
    finish = anyio.Event()

    @tool(provides="paid", effect="once", timeout="10ms", units=1)
    async def pay() -> str:
        await finish.wait()
        return "payment"

    @tool(provides="receipt", effect="read")
    async def receipt(paid: str) -> str:
        return f"receipt of {paid}"

    orchestrator = Orchestrator(tools=[pay, receipt], goals={"g": ["receipt"]}, policy={"limits": {"seconds": "30s"}})

    def release(record: Record) -> None:
        if isinstance(record.event, AttemptEnded) and record.event.failure is not None:
            finish.set()

    async with orchestrator:
        run = orchestrator.start(on_record=release)
        result = await run.run()
        if result.outcome == "waiting":
            # Nothing else was left to wait for, so the run had stopped to ask; the answer came after that.
            assert result.questions[0].kind == "settle"
        else:
            assert result.outcome == "met"
            assert any(isinstance(r.event, LateResult) for r in result.records)
    assert result.attempts[0].outcome == "unknown"


async def test_a_sink_that_blocks_or_raises_changes_nothing() -> None:
    """Readers of events can neither slow a run nor fail it."""
    release = threading.Event()

    def blocks(run_id: str, record: Record) -> None:
        release.wait(30)

    def raises(run_id: str, record: Record) -> None:
        raise RuntimeError("a broken sink")

    orchestrator = Orchestrator(
        tools=[tool(provides="v", effect="read")(fallback)], goals={"g": ["v"]}, sinks=[blocks, raises]
    )
    try:
        result = await orchestrator.run()
        assert result.outcome == "met"
    finally:
        release.set()
        await orchestrator.aclose()


async def test_a_stream_yields_the_log_and_leaving_it_cancels_the_run() -> None:
    """All records come through the stream in order; a reader who leaves early stops the run."""
    orchestrator = Orchestrator(tools=[tool(provides="v", effect="read")(fallback)], goals={"g": ["v"]})
    records = [record async for record in orchestrator.stream()]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert isinstance(records[-1].event, RunFinished)
    async for record in orchestrator.stream():
        assert record.seq == 1
        break


async def test_no_secret_of_the_environment_is_in_an_error_or_a_record() -> None:
    """What a tool raises is cleared of the environment's secrets before anybody sees it."""
    secret = "sk-live-1234567890"

    def first() -> str:
        raise RuntimeError(f"login with {secret} failed")

    tools = [tool(provides="v", name="first")(first)]
    result = await Orchestrator(tools=tools, goals={"g": ["v"]}, environ={"PAY_API_KEY": secret}).run()
    assert result.outcome == "failed"
    assert secret not in repr(result.records)
    assert "***" in (result.attempts[0].message or "")


def test_two_hundred_hung_tools_do_not_starve_the_next() -> None:
    """Threads that never come back do not use up the threads of later calls."""
    release = threading.Event()

    def hang(n: int) -> str:
        release.wait(30)
        return "late"

    def quick(n: int) -> str:
        return "quick"

    tools = [
        tool(provides="v", name="hang", units=1, effect="read", timeout="5ms", retry={"attempts": 1})(hang),
        tool(provides="v", name="quick", units=5, effect="read")(quick),
    ]
    orchestrator = Orchestrator(tools=tools, goals={"g": ["v"]})

    async def many() -> list[str]:
        results: list[str] = []

        async def one(n: int) -> None:
            results.append((await orchestrator.run(n=n)).values["v"])

        async with anyio.create_task_group() as tasks:
            for n in range(200):
                tasks.start_soon(one, n)
        return results

    try:
        assert anyio.run(many) == ["quick"] * 200
    finally:
        release.set()
