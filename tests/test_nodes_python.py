"""Python functions as nodes: whatever a tool does, an attempt ends with an outcome."""

from __future__ import annotations

import asyncio  # noqa: TID251  # tools use it
import contextvars
import inspect
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.nodes.binding import CallContext
from orchestrator.nodes.python import ToolCrashed, by_name, invoke, python_call
from orchestrator.nodes.threads import Threads

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = CallContext(run_id="run-1", node="it", attempt=2, key="run-1/it")
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture
def threads() -> Threads:
    """Return worker threads."""
    return Threads()


class Adder:
    """An object that is called, and answers later."""

    async def __call__(self, x: int) -> int:
        return x + 1


class Made:
    """A class that is called to make an object."""

    def __init__(self, x: int) -> None:
        self.x = x


async def add_async(x: int, y: int = 1) -> int:
    await anyio.lowlevel.checkpoint()
    return x + y


def add(x: int, y: int = 1) -> int:
    return x + y


@pytest.mark.parametrize(
    "function",
    [add, add_async, partial(add, y=1), partial(add_async, y=1), Adder(), lambda x: add_async(x)],
    ids=["sync", "async", "partial", "async partial", "async object", "sync that returns an awaitable"],
)
async def test_every_form_of_function(threads: Threads, function: Callable[..., Any]) -> None:
    """Sync and async functions, partials and callable objects all give their result."""
    assert await invoke(function, threads, x=2) == 3


async def test_a_class_is_a_function(threads: Threads) -> None:
    """A class is called like a function and gives the object."""
    made = await invoke(Made, threads, x=2)
    assert made.x == 2


async def test_a_class_of_async_objects_is_made_like_any_other(threads: Threads) -> None:
    """That the objects of a class are called asynchronously says nothing of the class itself."""
    assert isinstance(await invoke(Adder, threads), Adder)


async def test_where_functions_run(threads: Threads) -> None:
    """Sync functions leave the event loop's thread, async ones stay; both see the caller's context variables."""

    def look() -> tuple[int, str]:
        return threading.get_ident(), colour.get()

    async def look_async() -> tuple[int, str]:
        return look()

    colour.set("red")
    here = threading.get_ident()
    thread, seen = await invoke(look, threads)
    assert (thread != here, seen) == (True, "red")
    assert await invoke(look_async, threads) == (here, "red")


async def test_a_warm_thread_is_used_again(threads: Threads) -> None:
    """Calls in turn do not start a thread each."""
    assert len({await invoke(threading.get_ident, threads) for _ in range(20)}) == 1


async def test_calls_run_side_by_side(threads: Threads) -> None:
    """Two sync tools that wait for each other both end."""
    barrier = threading.Barrier(2, timeout=30)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(invoke, barrier.wait, threads)
        tasks.start_soon(invoke, barrier.wait, threads)


@pytest.mark.parametrize("result", [None, b"x" * 50_000_000], ids=["null", "50 MB"])
async def test_any_result_comes_back(threads: Threads, result: Any) -> None:
    """What a tool returns is handed over as it is, null and fifty megabytes too."""
    assert await invoke(lambda: result, threads) is result


async def test_an_exception_comes_back(threads: Threads) -> None:
    """What a tool raises is raised to the caller."""

    def fail() -> None:
        raise KeyError("id")

    async def fail_async() -> None:
        raise KeyError("id")

    for function in (fail, fail_async):
        with pytest.raises(KeyError, match="id"):
            await invoke(function, threads)


CRASHES = [
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    BaseExceptionGroup("", [SystemExit(1)]),
]


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: type(crash).__name__)
@pytest.mark.parametrize("kind", ["sync", "async", "awaitable"])
async def test_a_crash_is_a_failed_attempt(threads: Threads, crash: BaseException, kind: str) -> None:
    """A tool that ends the program, or cancels itself, only fails; the error says what it raised."""

    def fail() -> None:
        raise crash

    async def fail_async() -> None:
        raise crash

    function = {"sync": fail, "async": fail_async, "awaitable": lambda: fail_async()}[kind]
    with pytest.raises(ToolCrashed, match=type(crash).__name__) as caught:
        await invoke(function, threads)
    assert caught.value.__cause__ is crash


async def test_a_crash_says_what_it_was(threads: Threads) -> None:
    """The error names what was raised, with its text where there is one."""
    with pytest.raises(ToolCrashed, match=r"^SystemExit: no disk$"):
        await invoke(lambda: sys.exit("no disk"), threads)
    with pytest.raises(ToolCrashed, match=r"^KeyboardInterrupt$"):
        await invoke(lambda: (_ for _ in ()).throw(KeyboardInterrupt()), threads)


async def test_a_crash_while_being_cancelled_is_a_crash(threads: Threads) -> None:
    """A tool that is told to stop and ends the program instead has crashed."""

    async def tool() -> None:
        scope.cancel()
        sys.exit(1)

    with anyio.CancelScope() as scope:
        with pytest.raises(ToolCrashed, match="SystemExit"):
            await invoke(tool, threads)


async def test_a_cancelled_child_of_a_tool_is_a_crash(threads: Threads) -> None:
    """A tool that waits for a task which somebody else cancelled fails; nobody cancelled the attempt."""

    async def tool() -> None:
        child = asyncio.ensure_future(asyncio.Event().wait())
        child.cancel()
        await child

    with pytest.raises(ToolCrashed, match="CancelledError"):
        await invoke(tool, threads)


async def test_cancellation_passes_through_an_async_tool(threads: Threads) -> None:
    """A cancelled scope ends the tool as a cancellation, not as a failure, and the tool may clean up."""
    cleaned = anyio.Event()
    reached = False

    async def tool() -> None:
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            cleaned.set()

    with anyio.CancelScope() as scope:
        await invoke(tool, threads)
        reached = True
    assert scope.cancelled_caught
    assert cleaned.is_set()
    assert not reached


async def test_cancellation_of_the_task_passes_through(threads: Threads) -> None:
    """A task that asyncio itself cancels ends as cancelled."""
    started = anyio.Event()

    async def tool() -> None:
        started.set()
        await anyio.sleep_forever()

    task = asyncio.ensure_future(invoke(tool, threads))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_closed_coroutine_is_no_crash(threads: Threads) -> None:
    """A call that is closed from outside, as a dying event loop does, ends without a word."""

    class Forever:
        def __await__(self) -> Any:
            yield None

    async def tool() -> None:
        await Forever()

    closed = invoke(tool, threads)

    async def begin() -> None:
        closed.send(None)

    await asyncio.ensure_future(begin())
    closed.close()
    with pytest.raises(RuntimeError, match="cannot reuse"):
        await closed


async def test_a_hung_sync_tool_is_left_behind(threads: Threads) -> None:
    """Cancellation returns while the thread still hangs, and later calls are not disturbed."""
    release, started = threading.Event(), anyio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> str:
        loop.call_soon_threadsafe(started.set)
        release.wait()
        return "too late"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(invoke, hang, threads)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert not release.is_set()
    assert await invoke(add, threads, x=1) == 2
    release.set()


async def test_hung_tools_do_not_use_up_the_threads(threads: Threads) -> None:
    """However many calls hang and were given up, the next one still gets a thread."""
    release = threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    tokens, limiter.total_tokens = limiter.total_tokens, 2
    try:
        for _ in range(5):
            started = threading.Event()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(invoke, lambda started=started: (started.set(), release.wait()), threads)
                    while not started.is_set():
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
        assert await invoke(add, threads, x=1) == 2
    finally:
        release.set()
        limiter.total_tokens = tokens


def test_a_hung_tool_does_not_keep_the_program_alive() -> None:
    """A program whose tool hangs for ever can still end."""
    program = """
import threading, anyio
from orchestrator.nodes.python import invoke
from orchestrator.nodes.threads import Threads

async def main():
    started = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(invoke, lambda: (started.set(), threading.Event().wait()), Threads())
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    print("ended")

anyio.run(main)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert (run.stdout, run.stderr) == ("ended\n", "")


async def test_a_late_answer_to_a_closed_loop_is_dropped(threads: Threads) -> None:
    """A thread that answers after its event loop has ended does not print a traceback, and is used again."""
    release, started = threading.Event(), threading.Event()
    failures: list[object] = []
    hung: list[int] = []

    def hang() -> None:
        hung.append(threading.get_ident())
        started.set()
        release.wait()

    async def give_up() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(invoke, hang, threads)
            while not started.is_set():
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    original, threading.excepthook = threading.excepthook, failures.append
    try:
        await anyio.to_thread.run_sync(anyio.run, give_up)
        release.set()
        used: set[int] = set()

        def meet(barrier: threading.Barrier) -> None:
            used.add(threading.get_ident())
            barrier.wait(timeout=30)

        # More at once each time: threads are used again latest first, so that fewer need not reach it.
        for parties in itertools.count(2):
            if hung[0] in used or failures:
                break
            barrier = threading.Barrier(parties)
            async with anyio.create_task_group() as tasks:
                for _ in range(parties):
                    tasks.start_soon(invoke, meet, threads, barrier)
    finally:
        threading.excepthook = original
    assert failures == []


# ----------------------------------------------------------------------------------------------------------- arguments


async def call(function: Callable[..., Any], threads: Threads, **inputs: Any) -> Any:
    """Call a function as a node that needs just these inputs."""
    return await python_call(function, list(inputs), threads)(inputs, CONTEXT)


async def test_inputs_go_by_name(threads: Threads) -> None:
    """A node's function is given its inputs and nothing else."""
    assert await call(add, threads, x=1) == 2
    assert await call(add, threads, x=1, y=5) == 6


async def test_the_key_and_the_context_are_handed_over(threads: Threads) -> None:
    """A function that asks for the idempotency key or the call's context is given them."""

    def keyed(x: int, *, idempotency_key: str) -> str:
        return idempotency_key

    def with_context(x: int, context: CallContext | None = None) -> CallContext | None:
        return context

    async def both(x: int, idempotency_key: str = "", *, about: CallContext) -> tuple[str, int]:
        return idempotency_key, about.attempt

    assert await call(keyed, threads, x=1) == "run-1/it"
    assert await call(with_context, threads, x=1) is CONTEXT
    assert await call(both, threads, x=1) == ("run-1/it", 2)


async def test_a_need_is_never_overwritten(threads: Threads) -> None:
    """A value of the graph called `idempotency_key` stays that value, and a required one is a need, not the key."""

    def keyed(idempotency_key: str) -> str:
        return idempotency_key

    assert await call(keyed, threads, idempotency_key="mine") == "mine"
    with pytest.raises(TypeError, match="idempotency_key"):
        await call(keyed, threads)


async def test_a_builtin_without_a_signature(threads: Threads) -> None:
    """A builtin whose parameters cannot be read is called with the inputs alone."""
    assert await call(dict, threads, a=1) == {"a": 1}


async def test_annotations_that_cannot_be_read(threads: Threads) -> None:
    """A context is found by the text of its annotation where others cannot be evaluated."""

    def with_context(x: int, *, about: binding.CallContext | None = None, other: Missing = None) -> Any:  # type: ignore[name-defined] # noqa: F821
        return about

    assert await call(with_context, threads, x=1) is CONTEXT


def select(function: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Return what is handed to a function of all that is offered."""
    return by_name(function, list(offered))(offered)


def test_a_function_is_given_what_it_asks_for() -> None:
    """Of what is offered a function gets its own parameters; with `**kwargs` it gets everything."""
    assert select(lambda a: None, a=1, b=2) == {"a": 1}
    assert select(lambda a, c=3: None, a=1, b=2) == {"a": 1}
    assert select(lambda a=0, *rest: None, a=1, b=2) == {"a": 1}
    assert select(lambda **kwargs: None, a=1, b=2) == {"a": 1, "b": 2}
    assert select(lambda: None, a=1) == {}


MISFITS: list[Callable[..., Any]] = [
    lambda c: None,
    lambda a, c: None,
    lambda *, c: None,
    lambda a, /: None,
    lambda c, **rest: None,
]


@pytest.mark.parametrize("function", MISFITS, ids=lambda function: str(inspect.signature(function)))
def test_a_parameter_that_is_not_offered(function: Callable[..., Any]) -> None:
    """A required parameter that nothing fills is an error that names it and what there is."""
    with pytest.raises(ValueError, match=r"parameter '[ac]' is not given: there is a, b"):
        select(function, a=1, b=2)


def test_only_functions_are_called() -> None:
    """Something that cannot be called is refused at once; a builtin without a signature is given everything."""
    with pytest.raises(ValueError, match="no function"):
        by_name("text", [])  # type: ignore[arg-type]
    assert select(dict, a=1, b=2) == {"a": 1, "b": 2}
