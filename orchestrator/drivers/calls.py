"""Calling nodes on behalf of a run: attempts with their time limits, and guards, gates, checks, verifies and undos.

The run is never kept waiting for longer than it must. A call that is over its time is answered as a timeout at once;
reads are then cancelled, anything else is left to finish, and what it still brings is a late result. A tool that
ignores cancellation can therefore delay nothing. That is why calls are plain asyncio tasks and not children of a task
group, which would have to wait for them at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, Protocol

import anyio

from orchestrator.drivers.beside import Beside
from orchestrator.drivers.hedging import hedged
from orchestrator.drivers.values import Made, Values, made_of
from orchestrator.errors import NotApplicable
from orchestrator.events import AttemptEnded, CallEnded, Fact, Failure, LateResult, Value
from orchestrator.graph import Graph
from orchestrator.nodes.binding import Bindings, CallContext, Reply
from orchestrator.nodes.classify import classify
from orchestrator.policy import Hedge
from orchestrator.run import Call, Cancel, Start

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


class Calls:
    """Everything that one run has under way.

    Args:
        run_id: The run.
        graph: Its graph.
        values: Its values.
        bindings: How nodes are called.
        clock: Returns seconds; only differences matter.
        later: Calls a function with arguments after some seconds.
        redact: Removes secrets from the texts of errors.
        post: Takes the facts.
        broke: Takes an error of this driver itself, after which a fact is missing.
        reached: Told of the points at which a crash would matter.
        beside: Gives calls their turn, and is told what nodes say of their rate limits; None: nobody does, or is.
        hedge: Who is called a second time when it is slow.
        seed: Decides what is left to chance.
    """

    def __init__(
        self,
        run_id: str,
        graph: Graph,
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
        hedge: Hedge | None = None,
        seed: int = 0,
    ) -> None:
        self.run_id = run_id
        self.graph = graph
        self.values = values
        self.bindings = bindings
        self.clock = clock
        self.later = later
        self.redact = redact
        self.post = post
        self.broke = broke
        self.reached = reached
        self.beside = beside
        self.hedge = hedge
        self.seed = seed
        self._attempts: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._timers: dict[tuple[str, int], Timer] = {}
        self._reading: set[asyncio.Task[None]] = set()
        self._acting: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Cancel what only reads: this driver goes on no further. Effects in flight finish, and nobody is told."""
        self.post = _nobody
        for timer in self._timers.values():
            timer.cancel()
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
        key = (command.node, command.attempt)
        started = self.clock()
        acts = self.graph.by_name[command.node].effect != "read"
        self._attempts[key] = self.spawn(self._attempt(command, started), acts=acts)
        self._timers[key] = self.later(command.timeout, self._timed_out, command, started)

    def cancel(self, command: Cancel) -> None:
        """Cancel an attempt, if it is still under way."""
        key = (command.node, command.attempt)
        task = self._attempts.pop(key, None)
        if task is not None:
            self._timers.pop(key).cancel()
            task.cancel()
            self.post(AttemptEnded(command.node, command.part, command.attempt, "cancelled"))

    async def _attempt(self, command: Start, started: float) -> None:
        context = CallContext(self.run_id, command.node, command.attempt, command.key)
        try:
            reply = await self._replied(command, context)
            made, references = await _made(command.node, reply)
        except NotApplicable:
            self._ended(command, started, "inapplicable")
        except Exception as error:
            self._ended(command, started, "failed", failure=self._failure(command, error))
        except asyncio.CancelledError:
            # Not by this run, which forgets an attempt before it cancels it.
            failure = Failure("cancelled", "cancelled from outside", transient=True, happened="unknown")
            self._ended(command, started, "failed", failure=failure)
            raise
        else:
            message = self._not_recordable(made)
            if message is not None:
                self._ended(command, started, "failed", failure=Failure("not_recordable", message, happened="yes"))
            else:
                self._ended(command, started, "succeeded", references, reply, made)

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

    async def _replied(self, command: Start, context: CallContext) -> Reply:
        """Call a node when it is its turn; a slow read is called a second time where the policy pays for that."""
        node, binding = self.graph.by_name[command.node], self.bindings.nodes[command.node]
        inputs = self.values.inputs(command.inputs)

        async def call() -> Reply:
            async with (
                nullcontext()
                if self.beside is None
                else self.beside.lanes.turn(node.name, self.run_id, command.attempt, self.seed)
            ):
                if self.beside is not None:
                    self.beside.calls(node.name)
                self.reached("calling")
                reply = await binding.call(inputs, context)
                self.reached("called")
            return reply

        wait = None if self.hedge is None or node.effect != "read" else self.hedge.after
        if self.hedge is None or wait is None or (node.usd or 0.0) > self.hedge.usd:
            reply = await call()
        else:
            reply = await hedged(call, wait)
        if reply.headroom is not None and self.beside is not None:
            self.beside.noted(node.name, reply.headroom)
        return reply

    def _ended(
        self,
        command: Start,
        started: float,
        outcome: Any,
        values: tuple[Value, ...] = (),
        reply: Reply | None = None,
        made: Made | None = None,
        *,
        failure: Failure | None = None,
    ) -> None:
        key = (command.node, command.attempt)
        node = self.graph.by_name[command.node]
        usd = (node.usd or 0.0) if reply is None or reply.usd is None else reply.usd
        if outcome == "inapplicable" or (failure is not None and failure.happened == "no"):
            usd = 0.0
        if self._attempts.pop(key, None) is None:
            if outcome == "succeeded" or (failure is not None and failure.type != "cancelled"):
                self.post(LateResult(command.node, command.part, command.attempt, outcome, values, failure), made=made)
            return
        self._timers.pop(key).cancel()
        self.post(
            AttemptEnded(
                command.node,
                command.part,
                command.attempt,
                outcome,
                values,
                failure,
                self.clock() - started,
                usd,
                0 if reply is None else reply.tokens,
            ),
            made=made,
        )

    def _timed_out(self, command: Start, started: float) -> None:
        key = (command.node, command.attempt)
        task = self._attempts.pop(key)
        del self._timers[key]
        node = self.graph.by_name[command.node]
        message = f"no answer within {command.timeout:g} s"
        failure = Failure("timeout", message, transient=True, happened="unknown")
        ended = AttemptEnded(
            command.node,
            command.part,
            command.attempt,
            "failed",
            (),
            failure,
            self.clock() - started,
            node.usd or 0.0,
        )
        try:
            self.post(ended)
        except Exception as error:
            self.broke(error)
        if node.effect == "read":
            task.cancel()

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
