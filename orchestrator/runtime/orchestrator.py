"""The orchestrator: what an application holds.

It owns the three lifetimes and keeps them apart: configuration (spec, graph, policy: frozen), process (HTTP clients,
telemetry outlets), and runs, which it starts and forgets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.drivers.answers import Answer, Ask
from orchestrator.drivers.resuming import at_rest, each_of, recorded, taken_over
from orchestrator.errors import InputError
from orchestrator.events import Record
from orchestrator.graph import INPUT
from orchestrator.policy import Policy
from orchestrator.result import RunResult
from orchestrator.runtime.configured import Configured, Errors, load
from orchestrator.runtime.connected import Connected, OnRecord, Sink

if TYPE_CHECKING:
    from orchestrator.drivers.local import LocalRun
    from orchestrator.escalation import DecisionModel
    from orchestrator.faults import FaultPlan
    from orchestrator.health import Monitor
    from orchestrator.store import Store

__all__ = ("Orchestrator",)


class Orchestrator(Connected):
    """A graph of tools and agents, ready to run.

    Use `from_yaml`, or hand over tools and goals::

        orchestrator = Orchestrator(tools=[web_search, wiki_search], goals={"found": ["pages"]})
        result = orchestrator.run_sync(question="What is the refund policy?")

    As an async context manager it closes what it opened; without one, call `aclose`.

    Args:
        tools: Functions decorated with `orchestrator.tool`, or plain functions.
        goals: Best first: a map of name to values, or a list of goal specs.
        policy: A `Policy`, or a map of overrides of the default one.
        sinks: Called with every record of every run, each on a thread of its own.
        tracer: An OpenTelemetry tracer; default: the one of the application's tracer provider.
        clock: Returns seconds; only differences matter.
        environ: The environment whose secrets are kept out of errors and traces; default: the process's own.
        store: Where every run is recorded: a path, a URL (``sqlite:///…``, ``postgresql://…``) or an open `Store`;
            default: nowhere, and a run that its process does not outlive is lost. What is known of nodes is saved there
            too, and told to all that run the same graph on it, where the policy gives health a say.
        model: Decides where no route is left, if the policy says so; default: the one that the policy names.
        ask: Called with all open questions when people are needed; default: the run ends `waiting`.
        monitors: Watch nodes in the background, outside runs; see `orchestrator.health.Monitor`.
        errors: What exceptions mean, by class or its name: evidence, or a map as under ``errors:`` in a graph file.
        rest: Other top-level keys of a graph file, such as ``edges``.
    """

    def __init__(
        self,
        tools: Iterable[Callable[..., Any]] = (),
        goals: Any = (),
        *,
        policy: Policy | Mapping[str, Any] | None = None,
        sinks: Iterable[Sink] = (),
        tracer: Any = None,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] | None = None,
        store: Store | str | Path | None = None,
        model: DecisionModel | None = None,
        ask: Ask | None = None,
        monitors: Iterable[Monitor] = (),
        errors: Errors | None = None,
        **rest: Any,
    ) -> None:
        from orchestrator.spec.declare import named, spec_from_tools
        from orchestrator.spec.resolve import resolve

        policy = Policy.model_validate(policy) if isinstance(policy, Mapping) else policy
        spec, functions = spec_from_tools(tools, goals, errors=named(errors or {}), **rest)
        decider = None if model is None else model.name
        resolved = resolve(spec, functions=functions, policy=policy, decider=decider)
        super().__init__(resolved, functions, clock=clock, environ=environ)
        self._link(sinks, tracer, store, model, ask, monitors)

    @classmethod
    def from_yaml(
        cls,
        path: str | Path,
        *,
        policy: Policy | Mapping[str, Any] | str | None = None,
        sinks: Iterable[Sink] = (),
        tracer: Any = None,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] | None = None,
        imports: bool = True,
        store: Store | str | Path | None = None,
        model: DecisionModel | None = None,
        ask: Ask | None = None,
        monitors: Iterable[Monitor] = (),
        errors: Errors | None = None,
    ) -> Orchestrator:
        """Load a graph file.

        Args:
            path: The file.
            policy: Instead of the file's policy: one by name or path, or a map of overrides of the default one.
            sinks: As for `Orchestrator`, like ``tracer``, ``clock``, ``store``, ``model`` and ``ask``.
            tracer: See there.
            clock: See there.
            environ: What ``${NAME}`` is filled from; default: the process's environment.
            imports: Whether Python functions are imported even where their needs are written.
            store: See there.
            model: See there.
            ask: See there.
            monitors: See there.
            errors: See there; they come before those of the file.

        Raises:
            SpecError: Something is wrong with the file; holds every problem with its place.
        """
        resolved, loaded = load(path, policy, environ=environ, imports=imports, decider=model, errors=errors)
        self = cls.__new__(cls)
        Configured.__init__(self, resolved, {}, clock=clock, environ=environ, loaded=loaded)
        self._link(sinks, tracer, store, model, ask, monitors, source=str(Path(path).resolve()))
        return self

    # ----------------------------------------------------------------------------------------------------------- runs

    async def run(
        self,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        goal: str | None = None,
        down: Iterable[str] = (),
        seed: int | None = None,
        run_id: str | None = None,
        faults: FaultPlan | None = None,
        **more: Any,
    ) -> RunResult:
        """Run towards a goal and return the result; a run that fails is a result too.

        Args:
            inputs: Run inputs by name; they may also be given as keyword arguments.
            goal: A listed goal; default: the best one.
            down: Nodes to do without.
            seed: Decides everything that is left to chance; default: drawn from the run's id.
            run_id: Names the run; default: a new UUID.
            faults: Faults to inject, for tests and drills.
            more: Run inputs.

        Raises:
            InputError: An input is missing, unknown or does not fit; or there is no such goal or node.
        """
        await self.ready()
        run = self.start(inputs, goal=goal, down=down, seed=seed, run_id=run_id, faults=faults, **more)
        return await run.run()

    def start(
        self,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        goal: str | None = None,
        down: Iterable[str] = (),
        seed: int | None = None,
        run_id: str | None = None,
        faults: FaultPlan | None = None,
        on_record: OnRecord | None = None,
        **more: Any,
    ) -> LocalRun:
        """Prepare a run on the running event loop, without starting it: for callers that want to cancel it.

        The arguments are those of `run`, and *on_record*: called with every record as it happens, on the event loop; it
        must be quick and not raise. What other processes know of nodes is known here after `ready`.
        """
        from orchestrator.drivers.local import LocalRun
        from orchestrator.drivers.values import Values

        run_id, seed, faults = self._begin(run_id, seed, faults)
        given = self.complete_inputs({**(inputs or {}), **more}, goal)
        values = Values(durable=self._runs.durable)
        try:
            references = tuple(values.take(name, INPUT, value) for name, value in sorted(given.items()))
        except ValueError as error:
            raise InputError(f"the input {error}") from None
        bindings = self._with_faults(faults, seed)
        first = self._blueprint.first_record(run_id, goal=goal, inputs=references, seed=seed, down=self.down(down))
        publish, foreseen, trace_id = self._publish(run_id, on_record)
        return LocalRun(
            self._blueprint.run(first),
            first,
            values,
            bindings,
            clock=self._clock,
            publish=publish,
            foreseen=foreseen,
            redact=self._redactor.redact,
            trace_id=trace_id,
            journal=self._runs.journal(first, self.graph.name, trace_id),
            model=self._decider(),
            ask=self._ask,
            beside=self._beside(run_id),
        )

    # ---------------------------------------------------------------------------------------------------- going on

    async def resume(self, run_id: str, *, steal: bool = False, on_record: OnRecord | None = None) -> RunResult:
        """Go on with a recorded run whose process is gone, from the work already done; return its result.

        Its own graph and policy hold, not today's; today's functions are called. Attempts in flight at the crash are
        made again where they read or are idempotent; for others the outcome is unknown, and is settled as such. A run
        that is over is not run again: its result is returned.

        Args:
            run_id: The run, or a beginning of its id that no other run has.
            steal: Take the run over from a process that seems to be alive; that one can then not go on.
            on_record: As for `start`.

        Raises:
            RunNotFoundError: There is no such run.
            RunTakenError: A live process drives it.
            RecordError: The record does not lead to the same decisions any more, or does not fit today's functions.
        """
        stored = await self._runs.load(run_id)
        if at_rest(stored, self._runs.now(), asks=self._ask is not None):
            return recorded(stored)
        run = await self.reopen(stored.row.run_id, steal=steal, on_record=on_record)
        return await run.run()

    async def answer(
        self,
        run_id: str,
        question: str,
        answer: str,
        *,
        values: Mapping[str, Any] | None = None,
        by: str = "",
        reason: str | None = None,
        on_record: OnRecord | None = None,
    ) -> RunResult:
        """Answer a question of a waiting run, and go on with it; return its result.

        Args:
            run_id: The run, or a beginning of its id that no other run has.
            question: The question's id, as ``approve:wire``.
            answer: One of the question's options: yes, no, edit, or what may be decided.
            values: Other inputs (edit), the result of a settled call, or the value that is supplied.
            by: Who answers.
            reason: Why.
            on_record: As for `start`.

        Raises:
            InputError: The question is not open, or this is no answer to it.
            StoreError: As for `resume`.
        """
        said = Answer(question, answer, dict(values or {}), by, reason)
        run = await self.reopen(run_id, answers=(said,), on_record=on_record)
        return await run.run()

    async def resume_all(self) -> tuple[RunResult, ...]:
        """Go on with every recorded run of this graph that no process drives, one after the other.

        Raises:
            RecordError: One of them could not go on; raised after all the others.
        """
        return await each_of(await self._runs.resumable(self.graph.name), self.resume)

    async def reopen(
        self,
        run_id: str,
        *,
        answers: Iterable[Answer] = (),
        steal: bool = False,
        on_record: OnRecord | None = None,
    ) -> LocalRun:
        """Claim a recorded run and prepare to go on with it: for callers that want to cancel it, or answer at once."""
        await self.ready()
        return await taken_over(
            self._runs,
            await self._runs.find(run_id),
            answers,
            steal=steal,
            bindings=self._bound(),
            clock=self._clock,
            begin=lambda first: self._publish(first.run_id, on_record, first),
            redact=self._redactor.redact,
            model=self._decider(),
            ask=self._ask,
            beside=self._beside,
        )

    def run_sync(self, inputs: Mapping[str, Any] | None = None, /, **options: Any) -> RunResult:
        """Run to the end from synchronous code; the arguments are those of `run`."""

        async def main() -> RunResult:
            async with self:
                return await self.run(inputs, **options)

        return anyio.run(main)

    async def stream(self, inputs: Mapping[str, Any] | None = None, /, **options: Any) -> AsyncGenerator[Record, None]:
        """Run, and yield every record as it happens; the arguments are those of `run`.

        A slow reader does not slow the run. Closing the iterator early cancels the run; wrap it in
        `contextlib.aclosing` where the loop may be left with ``break``.
        """
        send, receive = anyio.create_memory_object_stream[Record](float("inf"))

        def offer(record: Record) -> None:
            with suppress(anyio.BrokenResourceError):  # the reader has left
                send.send_nowait(record)

        await self.ready()
        run = self.start(inputs, on_record=offer, **options)

        async def drive() -> None:
            with send:
                await run.run()

        # No task group: a generator may be closed by another task than the one that began it.
        task = asyncio.create_task(drive())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        try:
            with receive:
                async for record in receive:
                    yield record
            await task
        finally:
            if not task.done():
                run.cancel("the reader has left")
