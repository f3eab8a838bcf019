"""Python functions as nodes: sync ones in worker threads, async ones awaited.

A tool is foreign code. Whatever it raises is a failed attempt, also what usually ends a program (`SystemExit`,
`KeyboardInterrupt`): it becomes a `ToolCrashed` here. Only a real cancellation, from outside, passes through.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, get_args, get_type_hints

import anyio

from orchestrator.nodes.binding import CallContext
from orchestrator.nodes.threads import Threads

__all__ = ("IDEMPOTENCY_KEY", "RawCall", "ToolCrashed", "by_name", "invoke", "is_async", "python_call")

IDEMPOTENCY_KEY = "idempotency_key"
"""The parameter that takes the idempotency key, wherever a function asks for it."""

RawCall = Callable[[Mapping[str, Any], CallContext], Awaitable[Any]]
"""Calls a node; what it returns is not yet checked against the output contract."""


class ToolCrashed(Exception):
    """A tool raised what usually ends a program or a task, without having been told to stop."""


async def invoke(function: Callable[..., Any], threads: Threads, /, *args: Any, **kwargs: Any) -> Any:
    """Call *function*, sync or async, and return its result.

    A sync function runs in a worker thread with the caller's context variables; if it returns an awaitable, that is
    awaited here.

    Raises:
        ToolCrashed: The function raised a `BaseException` that is no cancellation.
        Exception: Whatever else it raised.
    """
    if is_async(function):
        return await _awaited(function(*args, **kwargs))

    def call() -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            raise
        except BaseException as crash:  # nobody cancels a thread: this is the tool's own doing
            raise ToolCrashed(_crash_text(crash)) from crash

    result = await threads.run(call)
    return await _awaited(result) if inspect.isawaitable(result) else result


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call of *function* gives a coroutine."""
    if inspect.iscoroutinefunction(function):
        return True
    return not isinstance(function, type) and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # of its class


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    task = _current_task()
    try:
        return await awaitable
    except Exception:
        raise
    except BaseException as crash:
        if _told_to_stop(crash, task):
            raise
        raise ToolCrashed(_crash_text(crash)) from crash


def _told_to_stop(crash: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether *crash* came from outside: a cancellation, or the coroutine being closed.

    A tool may also raise `CancelledError` by itself, when it waits for a task that somebody else cancelled. Passed
    on, that would end the attempt without an outcome.
    """
    if isinstance(crash, GeneratorExit):
        return _current_task() is not task
    if not isinstance(crash, anyio.get_cancelled_exc_class()):
        return False
    return anyio.current_effective_deadline() == -math.inf or (task is not None and task.cancelling() > 0)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no running event loop
        return None


def _crash_text(crash: BaseException) -> str:
    text = str(crash)
    return f"{type(crash).__name__}: {text}" if text else type(crash).__name__


# ----------------------------------------------------------------------------------------------------------- arguments


def python_call(function: Callable[..., Any], parameters: Collection[str], threads: Threads) -> RawCall:
    """Return the call of a Python node.

    The function is given its inputs by name. A parameter named ``idempotency_key`` is also given the key, and one
    annotated with `CallContext` the context, if it is no need of the node and is keyword-only or has a default (a
    required positional parameter is a need).
    """
    key, context_parameter = _injected(function, frozenset(parameters))

    async def call(inputs: Mapping[str, Any], context: CallContext) -> Any:
        arguments = dict(inputs)
        if key is not None:
            arguments[key] = context.key
        if context_parameter is not None:
            arguments[context_parameter] = context
        return await invoke(function, threads, **arguments)

    return call


def _injected(function: Callable[..., Any], needs: frozenset[str]) -> tuple[str | None, str | None]:
    """Return the parameters that take the idempotency key and the call context."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None, None
    try:
        hints = get_type_hints(function)
    except Exception:  # annotations may name what exists for type checkers only
        hints = {}
    key = context = None
    for name, parameter in signature.parameters.items():
        may_be_fed = parameter.kind is parameter.KEYWORD_ONLY or (
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty
        )
        if name in needs or not may_be_fed:
            continue
        if name == IDEMPOTENCY_KEY:
            key = name
        elif _is_context(hints.get(name, parameter.annotation)):
            context = name
    return key, context


def _is_context(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return any(part.strip().rpartition(".")[2] == "CallContext" for part in annotation.split("|"))
    return annotation is CallContext or CallContext in get_args(annotation)


def by_name(function: Callable[..., Any], offered: Collection[str]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a selection: of the values that are *offered* by name, those that *function* asks for.

    A function with ``**kwargs`` is given all of them. A parameter with a default that is not offered keeps it.

    Raises:
        ValueError: It is no function, or a required parameter is not offered; the message says which and what there is.
    """
    if not callable(function):
        raise ValueError("it is no function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return dict
    wanted: list[str] = []
    everything = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            everything = True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            continue
        elif name in offered and parameter.kind is not parameter.POSITIONAL_ONLY:
            wanted.append(name)
        elif parameter.default is parameter.empty:
            there_is = ", ".join(sorted(offered)) or "nothing"
            raise ValueError(f"its parameter {name!r} is not given: there is {there_is}")
    if everything:
        return dict
    return lambda values: {name: values[name] for name in wanted}
