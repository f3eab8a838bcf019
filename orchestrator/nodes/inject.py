"""Injecting faults: a fault plan made to happen to real calls, for one run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import SpecError, ToolFailed
from orchestrator.events import Failure
from orchestrator.faults import FaultPlan
from orchestrator.graph import Graph, Node
from orchestrator.nodes.binding import Bindings, Call, CallContext, Reply
from orchestrator.nodes.contract import InvalidOutput

__all__ = ("InjectedFailure", "inject")


class InjectedFailure(ToolFailed):
    """A failure that a fault plan asked for; classified as exactly that failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(
            failure.message, transient=failure.transient, happened=failure.happened, retry_after=failure.retry_after
        )
        self.failure_type = failure.type


def inject(
    bindings: Bindings,
    graph: Graph,
    plan: FaultPlan,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    started_at: float,
    seed: int,
) -> Bindings:
    """Return the bindings of one run with the plan's faults in front of the real calls.

    Only attempts are touched, not guards, gates, checks, undo or verify. `wrong` and `unknown` really call the node
    first. A node that the plan does not list is called as it is, whatever success it declares.

    Args:
        bindings: The real calls.
        graph: What they belong to.
        plan: The faults.
        clock: Returns seconds.
        sleep: Waits for a number of seconds.
        started_at: What the clock said at the start of the run.
        seed: Decides what is left to chance.

    Raises:
        SpecError: The plan does not fit the graph.
    """
    problems = plan.problems(graph, real=True)
    if problems:
        raise SpecError(problems)

    def faulty(node: Node, call: Call) -> Call:
        async def injected(inputs: Mapping[str, Any], context: CallContext) -> Reply:
            at = clock() - started_at
            fault = plan.outcome(node.name, context.attempt, at, seed=seed, domains=node.domains)
            failure = fault.failure()
            if fault.kind == "hang":
                await _hang_for(fault.seconds, sleep)
            if failure is not None and fault.kind not in ("wrong", "unknown"):
                raise InjectedFailure(failure)
            if fault.kind == "slow":
                return await _slowly(call, inputs, context, fault.factor, clock, sleep)
            reply = await call(inputs, context)
            if failure is not None:
                raise (InvalidOutput if fault.kind == "wrong" else TimeoutError)(failure.message)
            return reply

        return injected

    nodes = dict(bindings.nodes)
    for node in graph.nodes:
        if node.name in plan.nodes or not plan.domains.keys().isdisjoint(node.domains):
            binding = bindings.nodes[node.name]
            nodes[node.name] = replace(binding, call=faulty(node, binding.call))
    return replace(bindings, nodes=nodes)


async def _hang_for(seconds: float | None, sleep: Callable[[float], Awaitable[None]]) -> None:
    if seconds is not None:
        await sleep(seconds)
        return
    while True:
        await sleep(3600.0)


async def _slowly(
    call: Call,
    inputs: Mapping[str, Any],
    context: CallContext,
    factor: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> Reply:
    began = clock()
    try:
        reply = await call(inputs, context)
    except Exception:
        await sleep((factor - 1) * (clock() - began))
        raise
    await sleep((factor - 1) * (clock() - began))
    return reply
