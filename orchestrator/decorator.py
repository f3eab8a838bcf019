"""The `tool` decorator: what a function needs, provides and costs, said beside the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, ParamSpec, TypeVar, overload

from orchestrator.graph import Effect
from orchestrator.spec.declare import declare

__all__ = ("tool",)

P = ParamSpec("P")
R = TypeVar("R")

Function = Callable[..., Any]


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    provides: str | Iterable[str] | None = None,
    needs: str | Iterable[str] | Mapping[str, Any] | None = None,
    after: str | Iterable[str] | None = None,
    when: Function | None = None,
    units: float | None = None,
    usd: float | None = None,
    latency: str | None = None,
    success: float | None = None,
    risk: str | float | None = None,
    effect: Effect | None = None,
    undo: Function | Mapping[str, Any] | None = None,
    verify: Function | None = None,
    approve: Literal["never", "always"] | Function | None = None,
    output: type | Mapping[str, Any] | Function | None = None,
    timeout: str | None = None,
    retry: Mapping[str, Any] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    provides: str | Iterable[str] | None = None,
    needs: str | Iterable[str] | Mapping[str, Any] | None = None,
    after: str | Iterable[str] | None = None,
    when: Function | None = None,
    units: float | None = None,
    usd: float | None = None,
    latency: str | None = None,
    success: float | None = None,
    risk: str | float | None = None,
    effect: Effect | None = None,
    undo: Function | Mapping[str, Any] | None = None,
    verify: Function | None = None,
    approve: Literal["never", "always"] | Function | None = None,
    output: type | Mapping[str, Any] | Function | None = None,
    timeout: str | None = None,
    retry: Mapping[str, Any] | None = None,
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function as a tool; it stays the function that it was.

    ::

        @tool(provides="pages", usd=0.001, latency="900ms", success=0.97, effect="read")
        async def web_search(question: str) -> list[str]: ...

    The arguments mean what the keys of the same names mean under ``tools:`` in a graph file; where a file has a
    reference, a function stands here.

    What the function raises is classified by class (`orchestrator.nodes.classify`, and ``errors:`` of the graph); one
    that knows more raises `ToolFailed`. Only the run retries: switch the retries of a client off (``max_retries=0`` of
    the openai client, which makes two by itself), or each attempt is several, and no budget counts them.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The node's name; default: the function's.
        provides: One value or several; default: the node's own name; empty for a pure effect.
        needs: Values, or a map of parameter to value; default: the required parameters.
        after: Values that must exist first, and are not passed.
        when: A function of the node's inputs; false: inapplicable for this run.
        units: Cost of a call in units; one is a US cent, or a second.
        usd: Cost of a call in US dollars.
        latency: Time of a typical call, as ``"900ms"``.
        success: Share of calls that succeed, above 0 and at most 1.
        risk: ``"none"``, ``"low"``, ``"medium"``, ``"high"`` or 0 to 1.
        effect: ``"read"``, ``"idempotent"`` or ``"once"``; default: unmarked, which is never repeated.
        undo: Takes the effect back; a map ``{"python": function, "cost": units}`` sets its price.
        verify: Finds out whether an unknown effect happened: its result, or None.
        approve: ``"never"``, ``"always"``, or a function of the inputs that returns a reason to ask, or None.
        output: A type, a JSON Schema, or a check of the result.
        timeout: Time for one attempt, as ``"5s"``.
        retry: ``{"attempts": 2, "backoff": "200ms", "max_backoff": "5s"}``, for what may be repeated.

    Raises:
        SpecError: An argument is not well formed; raised where the function is decorated.
    """
    figures = {"units": units, "usd": usd, "latency": latency, "success": success, "risk": risk}
    keys = {
        "provides": _listed(provides),
        "needs": _listed(needs),
        "after": _listed(after),
        "when": when,
        "cost": {key: value for key, value in figures.items() if value is not None} or None,
        "effect": effect,
        "undo": undo,
        "verify": verify,
        "approve": approve,
        "output": output,
        "timeout": timeout,
        "retry": retry,
    }
    given = {key: value for key, value in keys.items() if value is not None}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        declare(function, name, given)
        return function

    return decorate if function is None else decorate(function)


def _listed(names: Any) -> Any:
    """Return *names* as the list that a graph file would have; an iterator is read here, once."""
    if names is None or isinstance(names, str | Mapping) or not isinstance(names, Iterable):
        return names
    return list(names)
