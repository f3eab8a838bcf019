"""Calling nodes on behalf of a run: attempts with their time limits, and guards, gates, checks, verifies and undos.

The run is never kept waiting for longer than it must. A call that is over its time is answered as a timeout at once;
reads are then cancelled, anything else is left to finish, and what it still brings is a late result. A tool that
ignores cancellation can therefore delay nothing. That is why calls are plain asyncio tasks and not children of a task
group, which would have to wait for them at its end.

An attempt has its node's timeout twice over: to get its turn, and for the call from then on. Were both one, a call that
had waited long would be made with too little time left to succeed, which is work for nothing just when there is too
much of it, and its timeout would be held against a node that was never slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from orchestrator.drivers.beside import Beside
from orchestrator.drivers.hedging import Hedging, hedged
from orchestrator.drivers.tally import Tally
from orchestrator.drivers.values import Made, Values, made_of
from orchestrator.errors import NotApplicable
from orchestrator.events import AttemptEnded, CallEnded, Fact, Failure, LateResult, Value
from orchestrator.graph import Node
from orchestrator.nodes.binding import Bindings, CallContext, Reply
from orchestrator.nodes.classify import classify
from orchestrator.run import Call, Cancel, Run, Start

__all__ = ("Calls", "Later", "Timer", "lost_attempt")

LARGE = 1 << 20
"""Values of more bytes or characters than this are hashed in a thread."""


class Timer(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Do not fire."""


Later = Callable[..., Timer]
"""Given seconds, a function and its arguments: calls the function then."""


class Post(Protocol):
    """Takes facts, and what was made with them."""

    def __call__(self, fact: Fact, *, made: Made | None = None) -> None: ...


@dataclass(slots=True)
class _Attempt:
    """An attempt under way."""

    task: asyncio.Task[None]
    timer: Timer
    tally: Tally


class Calls:
    """Everything that one run has under way.

    Args:
        run_id: The run.
        run: Its machine, to look at.
        values: Its values.
        bindings: How nodes are called.
        clock: Returns seconds; only differences matter.
        later: Calls a function with arguments after some seconds.
        redact: Removes secrets from the texts of errors.
        post: Takes the facts.
        broke: Takes an error of this driver itself, after which a fact is missing.
        reached: Told of the points at which a crash would matter.
        beside: Gives calls their turn, and is told what nodes say of their rate limits; None: nobody does, or is.
        seed: Decides what is left to chance.
    """

    def __init__(
        self,
        run_id: str,
        run: Run,
        values: Values,
        bindings: Bindings,
        *,
        clock: Callable[[], float],
        later: Later,
        redact: Callable[[str], str],
        post: Post,
        broke: Callable[[BaseException], None],
        reached: Callable[[str], None],
        beside: Beside | None = None,
        seed: int = 0,
    ) -> None:
        self.run_id = run_id
        self.graph = run.graph
        self.values = values
        self.bindings = bindings
        self.clock = clock
        self.later = later
        self.redact = redact
        self.post = post
        self.broke = broke
        self.reached = reached
        self.beside = beside
        self.seed = seed
        self.hedging = Hedging(run, None if beside is None else beside.lanes)
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._reading: set[asyncio.Task[None]] = set()
        self._acting: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Cancel what only reads: this driver goes on no further. Effects in flight finish, and nobody is told."""
        self.post = _nobody
        for attempt in self._attempts.values():
            attempt.timer.cancel()
        for task in self._reading:
            task.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, acts: bool = False) -> asyncio.Task[None]:
        """Run something beside the run, and keep hold of it; what *acts* is not cancelled with the run."""
        task = asyncio.create_task(coroutine)
        tasks = self._acting if acts else self._reading
        tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        self._acting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # What a node raises is a failure; this is one of ours, and nobody would ever hear of its call again.
            self.broke(error)

    # ------------------------------------------------------------------------------------------------------- attempts

    def start(self, command: Start) -> None:
        """Call a node."""
        node = self.graph.by_name[command.node]
        tally = Tally(self.clock(), node.usd or 0.0)
        task = self.spawn(self._attempt(command, tally), acts=node.effect != "read")
        timer = self.later(command.timeout, self._time_over, command, tally.began)
        self._attempts[command.node, command.attempt] = _Attempt(task, timer, tally)

    def cancel(self, command: Cancel) -> None:
        """Cancel an attempt, if it is still under way."""
        attempt = self._attempts.pop((command.node, command.attempt), None)
        if attempt is not None:
            attempt.timer.cancel()
            attempt.task.cancel()
            self.post(AttemptEnded(command.node, command.part, command.attempt, "cancelled"))

    async def _attempt(self, command: Start, tally: Tally) -> None:
        context = CallContext(self.run_id, command.node, command.attempt, command.key)
        try:
            reply = await self._replied(command, context, tally)
            made, references = await _made(command.node, reply)
        except NotApplicable:
            self._ended(command, "inapplicable")
        except Exception as error:
            self._ended(command, "failed", failure=self._failure(command, error))
        except asyncio.CancelledError:
            # Not by this run, which forgets an attempt before it cancels it.
            failure = Failure("cancelled", "cancelled from outside", transient=True, happened="unknown")
            self._ended(command, "failed", failure=failure)
            raise
        else:
            message = self._not_recordable(made)
            if message is not None:
                self._ended(command, "failed", failure=Failure("not_recordable", message, happened="yes"))
            else:
                self._ended(command, "succeeded", references, made, tokens=reply.tokens)

    def _failure(self, command: Start, error: Exception) -> Failure:
        """Return what an error means for the attempt; where an effect must not happen twice, in doubt it may have."""
        node = self.graph.by_name[command.node]
        return classify(
            error,
            table=self.bindings.errors,
            given=self.values.inputs(command.inputs).values(),
            doubt="unknown" if node.effect == "once" or node.undo else "no",
            redact=self.redact,
        )

    def _not_recordable(self, made: Made) -> str | None:
        lost = [name for name, data in made.encoded.items() if data is None]
        if not lost or not self.values.durable:
            return None
        return f"{', '.join(lost)} has no JSON form, so the run log cannot hold it; return plain data"

    async def _replied(self, command: Start, context: CallContext, tally: Tally) -> Reply:
        """Call a node when it is its turn; a slow read is called a second time where the policy pays for that."""
        node, binding = self.graph.by_name[command.node], self.bindings.nodes[command.node]
        inputs = self.values.inputs(command.inputs)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def call() -> Reply:
            async with (
                nullcontext()
                if self.beside is None
                else self.beside.lanes.turn(node.name, self.run_id, command.attempt, self.seed)
            ):
                if self.beside is not None:
                    self.beside.calls(node.name)
                tally.made(self.clock())
                if not turn.done():
                    turn.set_result(None)
                self.reached("calling")
                reply = await self._charged(command, binding.call(inputs, context), tally)
                self.reached("called")
            return reply

        after = self.hedging.after(node)
        if after is None:
            reply = await call()
        else:
            reply = await hedged(call, after, turn=turn, may=lambda: self._may_hedge(node, tally))
        if reply.headroom is not None and self.beside is not None:
            self.beside.noted(node.name, reply.headroom)
        return reply

    async def _charged(self, command: Start, call: Awaitable[Reply], tally: Tally) -> Reply:
        """Make a call, and note what it cost: nothing where it did not happen."""
        try:
            reply = await call
        except NotApplicable:
            tally.settled(0.0)
            raise
        except Exception as error:
            tally.settled(0.0 if self._failure(command, error).happened == "no" else None)
            raise
        tally.settled(reply.usd)
        return reply

    def _may_hedge(self, node: Node, tally: Tally) -> bool:
        under_way = {name: attempt.tally.reserved for (name, _), attempt in self._attempts.items()}
        alone = self.beside is not None and self.beside.tries(node.name)  # who tries a half-open node calls it once
        tally.hedging = not alone and self.hedging.may(node, under_way)
        return tally.hedging

    def _ended(
        self,
        command: Start,
        outcome: Any,
        values: tuple[Value, ...] = (),
        made: Made | None = None,
        *,
        failure: Failure | None = None,
        tokens: int = 0,
    ) -> None:
        attempt = self._attempts.pop((command.node, command.attempt), None)
        if attempt is None:
            if outcome == "succeeded" or (failure is not None and failure.type != "cancelled"):
                self.post(LateResult(command.node, command.part, command.attempt, outcome, values, failure), made=made)
            return
        attempt.timer.cancel()
        self.post(self._end(command, attempt.tally, outcome, values, failure, tokens), made=made)

    def _end(
        self,
        command: Start,
        tally: Tally,
        outcome: Any,
        values: tuple[Value, ...],
        failure: Failure | None,
        tokens: int = 0,
    ) -> AttemptEnded:
        now = self.clock()
        return AttemptEnded(
            command.node,
            command.part,
            command.attempt,
            outcome,
            values,
            failure,
            now - tally.began,
            tally.usd,
            tokens,
            tally.waited(now),
            tally.calls,
        )

    def _time_over(self, command: Start, since: float) -> None:
        """End an attempt whose time, counted from *since*, is over; one that had its turn later has more."""
        key = (command.node, command.attempt)
        attempt = self._attempts[key]
        tally = attempt.tally
        if tally.turn is not None and tally.turn > since:
            rest = max(tally.turn + command.timeout - self.clock(), 0.0)
            attempt.timer = self.later(rest, self._time_over, command, tally.turn)
            return
        del self._attempts[key]
        if tally.turn is None:
            message = f"not its turn within {command.timeout:g} s, so it was not called (overload)"
            failure = Failure("overloaded", message, transient=True, happened="no")
        else:
            failure = Failure("timeout", f"no answer within {command.timeout:g} s", transient=True, happened="unknown")
        try:
            self.post(self._end(command, tally, "failed", (), failure))
        except Exception as error:
            self.broke(error)
        if tally.turn is None or self.graph.by_name[command.node].effect == "read":
            attempt.task.cancel()  # what was never made must not be made when the run has long gone another way

    # ---------------------------------------------------------------------------------------------------- other calls

    def call(self, command: Call) -> None:
        """Call a guard, gate, check, verify or undo."""
        self.spawn(self._call(command), acts=command.kind == "undo")

    async def _call(self, command: Call) -> None:
        ok: bool | None = None
        reason: str | None = None
        values: tuple[Value, ...] = ()
        made: Made | None = None
        try:
            with anyio.fail_after(command.timeout):
                if command.kind == "verify":
                    ok, values, made = await self._verified(command)
                else:
                    ok, reason = await self._answer(command)
        except TimeoutError:
            reason = f"no answer within {command.timeout:g} s"
        except NotApplicable:
            ok = False
        except Exception as error:
            reason = self.redact(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        except asyncio.CancelledError:
            self._called(command, None, "cancelled from outside")
            raise
        self._called(command, ok, reason, values, made)

    def _called(
        self,
        command: Call,
        ok: bool | None,
        reason: str | None,
        values: tuple[Value, ...] = (),
        made: Made | None = None,
    ) -> None:
        if ok is None and command.kind in ("check", "undo", "guard"):
            ok = False
        self.post(CallEnded(command.kind, command.n, command.subject, ok, reason, values), made=made)

    async def _verified(self, command: Call) -> tuple[bool, tuple[Value, ...], Made | None]:
        verify = self.bindings.nodes[command.subject].verify
        assert verify is not None
        reply = await verify(self.values.inputs(command.inputs), command.key)
        if reply is None:
            return False, (), None
        made, references = await _made(command.subject, reply)
        message = self._not_recordable(made)
        if message is not None:
            # Taken as done, it would be a result that nobody finds again.
            raise ValueError(message)
        return True, references, made

    async def _answer(self, command: Call) -> tuple[bool, str | None]:
        inputs = self.values.inputs(command.inputs)
        if command.kind == "check":
            reason = await self.bindings.checks[command.subject](inputs)
            return reason is None, None if reason is None else self.redact(reason)
        binding = self.bindings.nodes[command.subject]
        match command.kind:
            case "guard":
                assert binding.guard is not None
                return await binding.guard(inputs), None
            case "gate":
                assert binding.gate is not None
                reason = await binding.gate(inputs)
                return reason is None, None if reason is None else self.redact(reason)
            case _:
                assert binding.undo is not None
                provides = self.graph.by_name[command.subject].provides
                await binding.undo(inputs, self.values.result(command.subject, provides), command.key)
                self.reached("called")
                return True, None


async def _made(node: str, reply: Reply) -> tuple[Made, tuple[Value, ...]]:
    """Return a reply's values with their bytes, and their references; large texts are turned into them in a thread."""
    if any(isinstance(value, str | bytes) and len(value) > LARGE for value in reply.values.values()):
        return await anyio.to_thread.run_sync(made_of, node, reply.values)
    return made_of(node, reply.values)


def _nobody(fact: Fact, *, made: Made | None = None) -> None:
    """Take a fact, and tell nobody."""


def lost_attempt(command: Start) -> AttemptEnded:
    """Return the end of an attempt whose process ended before it: nobody knows whether it happened."""
    failure = Failure("interrupted", "the process ended during the call", transient=True, happened="unknown")
    return AttemptEnded(command.node, command.part, command.attempt, "failed", (), failure)
