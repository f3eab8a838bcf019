"""Hedging: a second call of a slow read, and the first good answer of the two ("The Tail at Scale", CACM 2013)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.nodes.binding import Reply

__all__ = ("hedged",)


async def hedged(call: Callable[[], Awaitable[Reply]], after: float) -> Reply:
    """Call; if there is no answer within *after* seconds, call once more, and return the first good answer.

    The other call is cancelled. A call that fails before the second one has begun fails at once: that is for a retry.
    What the loser cost is not known and not counted: `hedge.usd` of the policy bounds it.

    Raises:
        Exception: Both failed; the first one's error.
    """
    first = asyncio.ensure_future(call())
    tasks = {first}
    try:
        done, _ = await asyncio.wait(tasks, timeout=after)
        if not done:
            tasks.add(asyncio.ensure_future(call()))
        while True:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            good = next((task for task in done if not task.cancelled() and task.exception() is None), None)
            if good is not None:
                return good.result()
            if all(task.done() for task in tasks):
                return first.result()
            tasks -= done
    finally:
        for task in {first, *tasks}:
            task.cancel()
