"""A store that can be watched, held up and broken, and runs to be recorded in it: for tests of the durable driver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

from orchestrator import Orchestrator, tool
from orchestrator.errors import StoreError
from orchestrator.events import AttemptStarted, CallStarted, Record
from orchestrator.nodes.binding import CallContext
from orchestrator.result import RunResult
from orchestrator.store import Claim, Store, StoredRun

__all__ = ("Calls", "Watched", "answered_by", "full", "outcome", "reasons", "refund", "stored", "watched", "yields")

Hook = Callable[[int, tuple[Record, ...]], Awaitable[None]]


class Watched(Store):
    """A store of which a test sees every write before it begins, may hold it up, and may have it refused."""

    hook: Hook | None = None
    after: Hook | None = None
    """Called when more records are durable, before the driver knows."""
    writes = 0
    unreleasable = False

    async def accept(self, run_id: str, graph: str, goal: str, records: Any, values: Any = (), **more: Any) -> Claim:
        """Accept a run, if the test lets it."""
        await self._begin(records)
        return await super().accept(run_id, graph, goal, records, values, **more)

    async def append(self, claim: Claim, records: Any, values: Any = (), *, release: bool = False) -> None:
        """Append, if the test lets it."""
        await self._begin(records)
        await super().append(claim, records, values, release=release)
        if self.after is not None:
            await self.after(self.writes, tuple(records))

    async def release(self, claim: Claim) -> None:
        """Release, if that is possible."""
        if self.unreleasable:
            raise full()
        await super().release(claim)

    async def _begin(self, records: Iterable[Record]) -> None:
        self.writes += 1
        if self.hook is not None:
            await self.hook(self.writes, tuple(records))


@asynccontextmanager
async def watched(url: str) -> Any:
    """Open a store that can be watched."""
    store = Watched.open(url, patience=5.0)
    try:
        yield store
    finally:
        await store.aclose()


def full() -> StoreError:
    """Return what a store says whose disk is full."""
    return StoreError("the store cannot be used: database or disk is full; there is no room left")


async def yields(turns: int = 20) -> None:
    """Let everything else go on for a while: whatever was going to happen by itself has happened then."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()


async def stored(url: str, run_id: str = "r") -> StoredRun:
    """Return what a process of its own would find."""
    async with Store.open(url) as store:
        return await store.load(run_id)


@dataclass
class Calls:
    """What the tools of `refund` were called for; they do as they are told.

    ``acts`` says, per node, what a call does instead of returning its value; ``truth`` what a verify finds out.
    """

    acts: Mapping[str, Callable[[], Awaitable[Any]]] = field(default_factory=dict)
    truth: Callable[[], Awaitable[Any]] | None = None
    made: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    seen: Callable[[str, Mapping[str, Any]], Awaitable[None]] | None = None

    async def note(self, what: str, **inputs: Any) -> None:
        """Note a call."""
        self.made.append(what)
        if self.seen is not None:
            await self.seen(what, inputs)

    async def act(self, node: str, value: Any, **inputs: Any) -> Any:
        """Be called."""
        try:
            await self.note(node, **inputs)
            return await self.acts[node]() if node in self.acts else value
        except asyncio.CancelledError:
            self.cancelled.append(node)
            raise


def refund(calls: Calls, **options: Any) -> Orchestrator:
    """Return an orchestrator with everything that a driver may be asked to call.

    An order is read, beside a rate; *stripe* pays it back, once, with a gate, verify and undo; *wire* is its dear
    alternative; the mail about it is unmarked. The goal is checked; a lower one only wants the order.
    """

    reason: str | None = options.pop("gate", None)
    limit: str | None = options.pop("stripe_timeout", None)

    @tool(provides="order", effect="read", units=1, retry={"attempts": 1})
    async def crm(ask: str) -> Any:
        return await calls.act("crm", {"ask": ask}, ask=ask)

    @tool(provides="rate", effect="idempotent", units=1, retry={"attempts": 1})
    async def bank(ask: str) -> Any:
        return await calls.act("bank", 7, ask=ask)

    async def verify(idempotency_key: str) -> Any:
        await calls.note("verify stripe", key=idempotency_key)
        return None if calls.truth is None else await calls.truth()

    async def undo(result: Any, idempotency_key: str) -> None:
        await calls.note("undo stripe", result=result, key=idempotency_key)

    async def guard(order: Any) -> bool:
        await calls.note("guard stripe")
        return True

    async def gate(order: Any) -> str | None:
        await calls.note("gate stripe")
        return reason

    @tool(provides="paid", effect="once", units=1, verify=verify, undo=undo, when=guard, approve=gate, timeout=limit)
    async def stripe(order: Any, rate: int, *, context: CallContext) -> Any:
        return await calls.act("stripe", "by stripe", key=context.key, order=order, rate=rate)

    @tool(provides="paid", effect="once", units=9)
    async def wire(order: Any) -> Any:
        return await calls.act("wire", "by wire", order=order)

    @tool(provides="mailed", units=1)
    async def mail(paid: Any) -> Any:
        return await calls.act("mail", f"mailed: {paid}", paid=paid)

    async def check(mailed: Any) -> bool:
        await calls.note("check refunded")
        return True

    goals = [
        {"name": "refunded", "values": ["mailed"], "check": check},
        {"name": "looked_up", "values": ["order"]},
    ]
    return Orchestrator(tools=[crm, bank, stripe, wire, mail], goals=goals, name="refund", **options)


def reasons(records: Iterable[Record]) -> set[str]:
    """Return what records give the reason for: nodes to be called, and other calls as *kind subject*."""
    events = [record.event for record in records]
    nodes = {event.node for event in events if isinstance(event, AttemptStarted)}
    return nodes | {f"{event.kind} {event.subject}" for event in events if isinstance(event, CallStarted)}


def answered_by(*answers: Any) -> Callable[[Any], Awaitable[Any]]:
    """Return a callback that gives these answers, one for each time that it is asked."""
    left = list(answers)

    async def ask(questions: Any) -> Any:
        return left.pop(0)

    return ask


def outcome(result: RunResult) -> tuple[str, str | None]:
    """Return how a run ended."""
    return result.outcome, result.goal
