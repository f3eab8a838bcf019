"""Hedging: a second call of a slow read, and the first good answer of the two ("The Tail at Scale", CACM 2013).

It is for whoever pays to wait less, and it must not make things worse: a hedge goes by the rules of retries (gRPC A6),
is paid for out of what the run may spend, and is sent only where it would not have to wait for its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchestrator.drivers.lanes import Lanes
from orchestrator.graph import Node
from orchestrator.nodes.binding import Reply
from orchestrator.run import Run

__all__ = ("Hedging", "hedged")


class Hedging:
    """Whom one run calls a second time, and when it may.

    Args:
        run: The run.
        lanes: How many calls its process lets run at once; None: as many as there are.
    """

    def __init__(self, run: Run, lanes: Lanes | None = None) -> None:
        self._run = run
        self._lanes = lanes

    def after(self, node: Node) -> float | None:
        """Return the seconds after which a call of a node is hedged; None: never."""
        hedge = self._run.policy.hedge
        return hedge.after if node.effect == "read" and (node.usd or 0.0) <= hedge.usd else None

    def may(self, node: Node, under_way: Mapping[str, float]) -> bool:
        """Whether a hedge may be sent now.

        Not while the node's retry budget is spent or the node is barred, not for a node that is tried as a last chance,
        not where its turn would not come at once, and not where what it costs is more than is left.

        Args:
            node: What is called.
            under_way: What the calls made so far for the attempts in flight cost, by node.
        """
        state, price = self._run.state, node.usd or 0.0
        if node.name in state.view.spent or node.name in state.lifted:
            return False
        if any(node.name == barred for barred, _ in (*state.view.vetoes, *state.view.gates)):
            return False
        if self._lanes is not None and not self._lanes.at_once(node.name):
            return False
        policy = self._run.policy
        most = [usd for usd in (policy.limits.usd, policy.approval.budget) if usd is not None]
        flights = sum(max(flight.usd, under_way.get(name, 0.0)) for name, flight in state.flights.items())
        return not price or not most or state.usd + flights + price <= min(most)


async def hedged(
    call: Callable[[], Awaitable[Reply]],
    after: float,
    *,
    turn: asyncio.Future[None] | None = None,
    may: Callable[[], bool] = lambda: True,
) -> Reply:
    """Call; if there is no answer within *after* seconds, call once more, and return the first good answer.

    The other call is cancelled. A call that fails before the second one has begun fails at once: that is for a retry.

    Args:
        call: Makes a call.
        after: Seconds.
        turn: Done when the first call is really made, from which the seconds count; None: at once.
        may: Whether the second call may be made, when its time has come.

    Raises:
        Exception: Both failed; the first one's error.
    """
    first = asyncio.ensure_future(call())
    tasks = {first}
    try:
        if turn is not None:
            made: set[asyncio.Future[Any]] = {first, turn}
            await asyncio.wait(made, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait(tasks, timeout=after)
        if not done and may():
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
