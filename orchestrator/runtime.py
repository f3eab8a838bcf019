"""The orchestrator: what an application holds.

It owns the three lifetimes and keeps them apart: configuration (spec, graph, policy: frozen), process (HTTP clients,
telemetry outlets), and runs, which it starts and forgets.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.drivers.first import Blueprint
from orchestrator.drivers.inputs import complete
from orchestrator.errors import InputError
from orchestrator.events import Record
from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Explanation, Limits, Situation, explain
from orchestrator.policy import Policy
from orchestrator.redact import Redactor
from orchestrator.result import RunResult
from orchestrator.simulate import Simulation
from orchestrator.telemetry.outlets import Outlets

if TYPE_CHECKING:
    from orchestrator.drivers.local import LocalRun
    from orchestrator.faults import FaultPlan
    from orchestrator.nodes.binding import Bindings
    from orchestrator.spec.models import GraphSpec
    from orchestrator.spec.resolve import Resolved

__all__ = ("Orchestrator", "Sink")

Sink = Callable[[str, Record], None]
"""Takes (run id, record). Called on a thread of its own: it can neither slow a run nor fail it."""


class Orchestrator:
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
        **rest: Any,
    ) -> None:
        from orchestrator.spec.declare import spec_from_tools
        from orchestrator.spec.resolve import resolve

        policy = Policy.model_validate(policy) if isinstance(policy, Mapping) else policy
        spec, functions = spec_from_tools(tools, goals, **rest)
        resolved = resolve(spec, functions=functions, policy=policy)
        self._begin(resolved, functions, "", frozenset(), None, sinks, tracer, clock, environ)

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
    ) -> Orchestrator:
        """Load a graph file.

        Args:
            path: The file.
            policy: Instead of the file's policy: one by name or path, or a map of overrides of the default one.
            sinks: As for `Orchestrator`.
            tracer: As for `Orchestrator`.
            clock: As for `Orchestrator`.
            environ: What ``${NAME}`` is filled from; default: the process's environment.
            imports: Whether Python functions are imported even where their needs are written.

        Raises:
            SpecError: Something is wrong with the file; holds every problem with its place.
        """
        from orchestrator.spec.load import load_file
        from orchestrator.spec.policies import is_path, load_policy
        from orchestrator.spec.resolve import resolve

        environ = os.environ if environ is None else environ
        loaded = load_file(path, environ=environ)
        if isinstance(policy, str):
            path, by_path = Path(policy), is_path(policy)
            policy = load_policy(path.name if by_path else policy, root=path.parent, environ=environ)
        elif isinstance(policy, Mapping):
            policy = Policy.model_validate(policy)
        resolved = resolve(loaded, policy=policy, imports=imports)
        if loaded.spec.name is None:
            resolved = replace(resolved, graph=replace(resolved.graph, name=Path(path).stem))
        self = cls.__new__(cls)
        self._begin(resolved, {}, loaded.source, loaded.secrets, loaded.places, sinks, tracer, clock, environ)
        return self

    def _begin(
        self,
        resolved: Resolved,
        functions: Mapping[str, Callable[..., Any]],
        source: str,
        secrets: frozenset[str],
        places: Any,
        sinks: Iterable[Sink],
        tracer: Any,
        clock: Callable[[], float],
        environ: Mapping[str, str] | None,
    ) -> None:
        self._resolved = resolved
        self._functions = functions
        self._places = places
        self._clock = clock
        self._redactor = Redactor.from_environment(secrets, os.environ if environ is None else environ)
        self._blueprint = Blueprint(resolved.graph, resolved.policy, source)
        self._bindings: Bindings | None = None
        self._streams: set[asyncio.Task[None]] = set()
        self._outlets = Outlets(sinks, tracer, self._redactor.redact)

    # ----------------------------------------------------------------------------------------------------- inspection

    @property
    def graph(self) -> Graph:
        """The graph that is run."""
        return self._blueprint.graph

    @property
    def policy(self) -> Policy:
        """The policy that runs obey."""
        return self._blueprint.policy

    @property
    def redactor(self) -> Redactor:
        """Removes the environment's secrets from texts."""
        return self._redactor

    def plan(
        self, goal: str | None = None, *, down: Iterable[str] = (), inputs: Iterable[str] | None = None
    ) -> Explanation:
        """Plan a route and say why it is the one; nothing is called.

        Args:
            goal: A listed goal; default: the best one.
            down: Nodes to do without.
            inputs: Run inputs to take as given beside the required ones.

        Raises:
            InputError: There is no such goal, or no such node.
        """
        goal = self._goal(goal)
        defaults = (item.name for item in self.graph.inputs if not item.required)
        given = {*self.graph.run_inputs, *defaults, *(inputs or ())}
        limits = self.policy.limits
        situation = Situation(
            held=dict.fromkeys(sorted(given), (INPUT,)),
            excluded=self.down(down),
            left=Limits(limits.usd, limits.seconds, limits.calls),
        )
        return explain(self._blueprint.planner, self._blueprint.view, goal, situation)

    @property
    def spec(self) -> GraphSpec:
        """What the graph was made from."""
        return self._resolved.spec

    def down(self, names: Iterable[str]) -> dict[str, str]:
        """Return the exclusions of a run that does without some nodes; raises `InputError` for unknown ones."""
        names = list(names)
        for name in names:
            if name not in self.graph.by_name:
                raise InputError(f"there is no node {name!r}; the nodes are {', '.join(self.graph.by_name)}")
        return dict.fromkeys(names, "down")

    def simulation(self, faults: FaultPlan | None = None) -> Simulation:
        """Return a simulation of this graph under this policy."""
        return Simulation(self._blueprint, faults)

    def complete_inputs(self, given: Mapping[str, Any], goal: str | None = None) -> dict[str, Any]:
        """Return the run inputs with defaults filled in; raises `InputError` where they do not fit."""
        return complete(self.graph, given, self._goal(goal))

    def _goal(self, goal: str | None) -> str:
        names = list(self.graph.goal_by_name)
        if goal is not None and goal not in names:
            raise InputError(f"there is no goal {goal!r}; the goals are {', '.join(names)}")
        return goal or names[0]

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
        on_record: Callable[[Record], object] | None = None,
        **more: Any,
    ) -> LocalRun:
        """Prepare a run on the running event loop, without starting it: for callers that want to cancel it.

        The arguments are those of `run`, and *on_record*: called with every record as it happens, on the event loop; it
        must be quick and not raise.
        """
        from orchestrator.drivers.local import LocalRun
        from orchestrator.drivers.values import Values, reference

        run_id = run_id or str(uuid.uuid4())
        if seed is None:
            seed = faults.seed if faults is not None and faults.seed is not None else _seed_of(run_id)
        given = self.complete_inputs({**(inputs or {}), **more}, goal)
        first = self._blueprint.first_record(
            run_id,
            goal=goal,
            inputs=(reference(name, value) for name, value in sorted(given.items())),
            seed=seed,
            down=self.down(down),
        )
        bindings = self._bound()
        if faults is not None:
            from orchestrator.nodes.inject import inject

            bindings = inject(
                bindings, self.graph, faults, clock=self._clock, sleep=anyio.sleep, started_at=self._clock(), seed=seed
            )
        outlets, trace_id = self._outlets.begin(run_id, self.graph.name)

        def publish(run: str, record: Record) -> None:
            for outlet in outlets:
                outlet.put(run, record)
            if on_record is not None:
                on_record(record)

        return LocalRun(
            self._blueprint.run(first),
            first,
            Values(given),
            bindings,
            clock=self._clock,
            publish=publish,
            redact=self._redactor.redact,
            trace_id=trace_id,
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

    # ------------------------------------------------------------------------------------------------------ lifetimes

    def _bound(self) -> Bindings:
        if self._bindings is None:
            from orchestrator.nodes.bind import bind

            self._bindings = bind(
                self._resolved.spec,
                self.graph,
                resolve_reference=self._resolved.references.find,
                functions=self._functions,
                redact=self._redactor.redact,
                places=self._places,
            )
        return self._bindings

    def check(self) -> None:
        """Find every function that the graph names and check that it fits; calls nothing.

        Raises:
            SpecError: Something does not fit; holds every problem.
        """
        self._bound()

    def add_sink(self, sink: Sink) -> None:
        """Call *sink* with every record of the runs to come."""
        self._outlets.add(sink)

    async def aclose(self) -> None:
        """Close what was opened: HTTP clients, telemetry. The orchestrator can be used again afterwards."""
        bindings, self._bindings = self._bindings, None
        for close in bindings.closers if bindings else ():
            await close()
        await self._outlets.aclose()

    async def __aenter__(self) -> Orchestrator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()


def _seed_of(run_id: str) -> int:
    from orchestrator.chance import unit_interval

    return int(unit_interval("seed", run_id) * 2**31)
