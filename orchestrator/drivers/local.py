"""The local driver: a run inside one process, on the event loop of its caller.

Every call of a node is a task of its own, and the driver never waits for it longer than it must. A call that is over
its time is answered as a timeout at once; reads are then cancelled, anything else is left to finish, and what it
still brings is a late result. A tool that ignores cancellation can therefore delay nothing. That is why calls are
plain asyncio tasks and not children of a task group, which would have to wait for them at its end.

Cancelling the caller cancels the run: reads are cancelled, effects in flight are waited for, finished effects are
undone, and then the cancellation goes on its way. A second cancellation does not wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import anyio

from orchestrator.drivers.values import Values, reference
from orchestrator.errors import NotApplicable
from orchestrator.events import (
    AttemptEnded,
    CallEnded,
    CancelRequested,
    Fact,
    Failure,
    LateResult,
    Record,
    RunStarted,
    Value,
    Woken,
)
from orchestrator.nodes.binding import Bindings, CallContext, Reply
from orchestrator.nodes.classify import classify
from orchestrator.result import RunResult, fold
from orchestrator.run import Call, Cancel, Command, Run, Start, WakeAt

__all__ = ("LocalRun",)

LARGE = 1 << 20
"""Values of more bytes or characters than this are hashed in a thread."""


class Timer(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Do not fire."""


Later = Callable[..., Timer]
"""Given seconds, a function and its arguments: calls the function then."""


class LocalRun:
    """One run and everything that it has under way.

    Args:
        machine: The run machine, not yet started.
        first: Its first record.
        values: The run inputs' values.
        bindings: How nodes are called.
        clock: Returns seconds; only differences matter.
        publish: Takes every record as it happens; must neither block nor raise.
        redact: Removes secrets from the texts of errors.
        later: Calls a function with arguments after some seconds; default: the event loop's timer.
        trace_id: The run's trace.
    """

    def __init__(
        self,
        machine: Run,
        first: RunStarted,
        values: Values,
        bindings: Bindings,
        *,
        clock: Callable[[], float],
        publish: Callable[[str, Record], None],
        redact: Callable[[str], str],
        later: Later | None = None,
        trace_id: str = "",
    ) -> None:
        self.machine = machine
        self.first = first
        self.values = values
        self.bindings = bindings
        self.clock = clock
        self.publish = publish
        self.redact = redact
        self.later = later or asyncio.get_running_loop().call_later
        self.trace_id = trace_id
        self.log: list[Record] = []
        self.cancelling = False
        self._began = 0.0
        self._facts: deque[tuple[float, Fact]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._attempts: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._timers: dict[tuple[str, int], Timer] = {}
        self._wakes: list[Timer] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> RunResult:
        """Run to the end and return the result."""
        self._began = self.clock()
        try:
            self._feed(self.first, 0.0)
            try:
                await self._until_finished()
            except asyncio.CancelledError:
                self.cancel()
                with anyio.CancelScope(shield=True):
                    await self._until_finished()
                raise
        finally:
            for timer in [*self._timers.values(), *self._wakes]:
                timer.cancel()
        return self.result()

    def result(self) -> RunResult:
        """Return the result so far."""
        return fold(self.log, lookup=self.values.get, trace_id=self.trace_id)

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the run to stop; it ends with the outcome `cancelled` once effects in flight are over and undone."""
        self.cancelling = True
        self._post(CancelRequested(reason))

    async def _until_finished(self) -> None:
        while not self.machine.finished:
            while self._facts and not self.machine.finished:
                at, fact = self._facts.popleft()
                self._feed(fact, at)
            if self.machine.finished:
                return
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _post(self, fact: Fact) -> None:
        self._facts.append((self.clock() - self._began, fact))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _feed(self, fact: Fact, at: float) -> None:
        step = self.machine.feed(fact, at)
        for record in step.records:
            self.log.append(record)
            self.publish(self.first.run_id, record)
        for command in step.commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start():
                self._start(command)
            case Cancel():
                key = (command.node, command.attempt)
                task = self._attempts.pop(key, None)
                if task is not None:
                    self._timers.pop(key).cancel()
                    task.cancel()
                    self._post(AttemptEnded(command.node, command.part, command.attempt, "cancelled"))
            case Call():
                self._spawn(self._call(command))
            case WakeAt():
                delay = command.at - (self.clock() - self._began)
                self._wakes.append(self.later(max(delay, 0.0), self._wake, command.at))

    def _wake(self, at: float) -> None:
        # A timer may fire a little early by this clock; the machine must not see the time before it is there.
        self._facts.append((max(self.clock() - self._began, at), Woken()))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ------------------------------------------------------------------------------------------------------- attempts

    def _start(self, command: Start) -> None:
        key = (command.node, command.attempt)
        started = self.clock()
        self._attempts[key] = self._spawn(self._attempt(command, started))
        self._timers[key] = self.later(command.timeout, self._timed_out, command, started)

    async def _attempt(self, command: Start, started: float) -> None:
        context = CallContext(self.first.run_id, command.node, command.attempt, command.key)
        try:
            reply = await self.bindings.nodes[command.node].call(self.values.inputs(command.inputs), context)
            references = await _references(reply)
        except NotApplicable:
            self._ended(command, started, "inapplicable")
        except Exception as error:
            self._ended(command, started, "failed", failure=classify(error, redact=self.redact))
        except asyncio.CancelledError:
            # Not by this run, which forgets an attempt before it cancels it.
            failure = Failure("cancelled", "cancelled from outside", transient=True, happened="unknown")
            self._ended(command, started, "failed", failure=failure)
            raise
        else:
            self._ended(command, started, "succeeded", references, reply)

    def _ended(
        self,
        command: Start,
        started: float,
        outcome: Any,
        values: tuple[Value, ...] = (),
        reply: Reply | None = None,
        *,
        failure: Failure | None = None,
    ) -> None:
        key = (command.node, command.attempt)
        node = self.machine.graph.by_name[command.node]
        usd = (node.usd or 0.0) if reply is None or reply.usd is None else reply.usd
        if outcome == "inapplicable" or (failure is not None and failure.happened == "no"):
            usd = 0.0
        live = self._attempts.pop(key, None) is not None
        if reply is not None and (live or node.effect == "once"):
            # A value is written once: only a late answer that settles an open effect may still bring one.
            self.values.keep(command.node, reply.values)
        if not live:
            if outcome == "succeeded" or (failure is not None and failure.type != "cancelled"):
                self._post(LateResult(command.node, command.part, command.attempt, outcome, values, failure))
            return
        self._timers.pop(key).cancel()
        self._post(
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
            )
        )

    def _timed_out(self, command: Start, started: float) -> None:
        key = (command.node, command.attempt)
        task = self._attempts.pop(key)
        del self._timers[key]
        node = self.machine.graph.by_name[command.node]
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
        self._post(ended)
        if node.effect == "read":
            task.cancel()

    # ---------------------------------------------------------------------------------------------------- other calls

    async def _call(self, command: Call) -> None:
        ok: bool | None = None
        reason: str | None = None
        values: tuple[Value, ...] = ()
        try:
            with anyio.fail_after(command.timeout):
                ok, reason, values = await self._answer(command)
        except TimeoutError:
            reason = f"no answer within {command.timeout:g} s"
        except NotApplicable:
            ok = False
        except Exception as error:
            reason = self.redact(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        if ok is None and command.kind in ("check", "undo", "guard"):
            ok = False
        self._post(CallEnded(command.kind, command.n, command.subject, ok, reason, values))

    async def _answer(self, command: Call) -> tuple[bool | None, str | None, tuple[Value, ...]]:
        inputs = self.values.inputs(command.inputs)
        if command.kind == "check":
            reason = await self.bindings.checks[command.subject](inputs)
            return reason is None, None if reason is None else self.redact(reason), ()
        binding = self.bindings.nodes[command.subject]
        match command.kind:
            case "guard":
                assert binding.guard is not None
                return await binding.guard(inputs), None, ()
            case "gate":
                assert binding.gate is not None
                reason = await binding.gate(inputs)
                return reason is None, None if reason is None else self.redact(reason), ()
            case "undo":
                assert binding.undo is not None
                provides = self.machine.graph.by_name[command.subject].provides
                await binding.undo(inputs, self.values.result(command.subject, provides), command.key)
                return True, None, ()
            case "verify":
                assert binding.verify is not None
                reply = await binding.verify(inputs, command.key)
                if reply is None:
                    return False, None, ()
                self.values.keep(command.subject, reply.values)
                return True, None, await _references(reply)


async def _references(reply: Reply) -> tuple[Value, ...]:
    """Return the references of a reply's values; large texts are hashed in a thread."""
    found = []
    for name, value in reply.values.items():
        if isinstance(value, str | bytes) and len(value) > LARGE:
            found.append(await anyio.to_thread.run_sync(reference, name, value))
        else:
            found.append(reference(name, value))
    return tuple(found)
