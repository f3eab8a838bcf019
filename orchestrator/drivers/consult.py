"""Asking the model that decides, on behalf of a run: whatever happens, there is a fact to go on with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from orchestrator.drivers.values import Values
from orchestrator.events import ModelAnswered, Value
from orchestrator.graph import INPUT
from orchestrator.run import AskModel

if TYPE_CHECKING:
    from orchestrator.escalation import DecisionModel, Verdict

__all__ = ("consult",)

GRACE = 1.0
"""Seconds that a model may be over its time, which it is to keep itself, before it is left alone."""


async def consult(
    model: DecisionModel | None,
    command: AskModel,
    values: Values,
    *,
    left: float | None,
    clock: Callable[[], float],
) -> ModelAnswered:
    """Ask *model*, and return what it answered or why it did not."""
    if model is None:
        return ModelAnswered(command.n, None, error="not_configured")
    began = clock()
    try:
        with anyio.fail_after(command.timeout + GRACE):
            verdict = await model.decide(command.question, values.text, timeout=command.timeout, usd_left=left)
    except TimeoutError:
        return ModelAnswered(command.n, None, error="timeout", calls=1, seconds=clock() - began)
    except Exception as error:
        return ModelAnswered(command.n, None, error=type(error).__name__, calls=1, seconds=clock() - began)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Of something that the model waited for: nobody else would answer the run.
        return ModelAnswered(command.n, None, error=type(error).__name__, calls=1, seconds=clock() - began)
    return _fact(command, verdict, values, clock() - began)


def _fact(command: AskModel, verdict: Verdict, values: Values, seconds: float) -> ModelAnswered:
    supplied: tuple[Value, ...] = ()
    error, choice = verdict.error, verdict.choice
    if choice is not None and choice.startswith("supply:"):
        try:
            supplied = (values.take(choice.removeprefix("supply:"), INPUT, verdict.content),)
        except ValueError:
            choice, error = None, "invalid"
    return ModelAnswered(
        command.n, choice, verdict.reason, supplied, error, verdict.calls, verdict.usd, verdict.tokens, seconds
    )
