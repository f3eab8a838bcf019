"""Every driver gives the same log: the local driver against the simulation, under one order of completion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings

from orchestrator.drivers.local import LocalRun
from orchestrator.drivers.values import Values
from orchestrator.errors import ToolFailed
from orchestrator.events import AttemptEnded, CallEnded, LateResult, Record, Retried, Woken
from orchestrator.faults import Fault, FaultPlan
from orchestrator.graph import Goal, Graph, Node
from orchestrator.nodes.binding import Bindings, CallContext, NodeBinding, Reply
from orchestrator.simulate import Simulation, simulate
from tests.test_run_contracts import scenarios

TURNS = 1000
"""Turns of the loop within which each fact must be in the log: a handful is usual."""


class Scripted(ToolFailed):
    """A failure of exactly the kind that the simulation saw."""

    def __init__(self, failure: Any) -> None:
        super().__init__(
            failure.message, transient=failure.transient, happened=failure.happened, retry_after=failure.retry_after
        )
        self.failure_type = failure.type


class Script:
    """Releases calls and timers of a local run in the order in which a simulation saw them end."""

    def __init__(self, facts: list[Record]) -> None:
        self.facts = facts
        self.attempts = {(r.event.node, r.event.attempt): r.event for r in facts if isinstance(r.event, AttemptEnded)}
        self.calls = {(r.event.kind, r.event.subject): r.event for r in facts if isinstance(r.event, CallEnded)}
        self.gates: dict[Any, asyncio.Event] = {}
        self.wakes: list[tuple[float, Any, tuple[Any, ...]]] = []

    def gate(self, key: Any) -> asyncio.Event:
        """Return what a call waits for."""
        return self.gates.setdefault(key, asyncio.Event())

    def later(self, delay: float, function: Any, *arguments: Any) -> Any:
        """Keep a timer until the script fires it; timers of attempts never fire."""
        entry = (delay, function, arguments)
        if function.__name__ == "_wake":
            self.wakes.append(entry)

        class Handle:
            def cancel(self) -> None:
                """Nothing is left to cancel."""

        return Handle()

    def binding(self, name: str, provides: tuple[str, ...]) -> NodeBinding:
        """Bind a node to its part of the script."""

        async def call(inputs: Any, context: CallContext) -> Reply:
            await self.gate((name, context.attempt)).wait()
            ended = self.attempts[name, context.attempt]
            if ended.failure is not None:
                raise Scripted(ended.failure)
            return Reply(dict.fromkeys(provides, name))

        async def undo(inputs: Any, result: Any, key: str) -> None:
            await self.gate(("undo", name)).wait()

        async def verify(inputs: Any, key: str) -> Reply | None:
            await self.gate(("verify", name)).wait()
            return Reply(dict.fromkeys(provides, name)) if self.calls["verify", name].ok else None

        return NodeBinding(call, undo=undo, verify=verify)

    def astray(self, task: asyncio.Task[Any]) -> None:
        """Let a run that does not follow the script come to its end, whichever: what it has written will differ."""
        task.cancel()
        for event in self.gates.values():
            event.set()
        opened = asyncio.Event()
        opened.set()
        self.gate = lambda key: opened  # type: ignore[method-assign]

    async def play(self, run: LocalRun, task: asyncio.Task[Any]) -> None:
        """Release one thing after the other, each once the one before is in the log."""
        for number, record in enumerate(self.facts[1:], 2):
            match record.event:
                case AttemptEnded(outcome="cancelled"):
                    pass
                case AttemptEnded(node=node, attempt=attempt):
                    self.gate((node, attempt)).set()
                case CallEnded(kind=kind, subject=subject):
                    self.gate((kind, subject)).set()
                case Woken():
                    at, (_, function, arguments) = record.at, self.wakes.pop(0)
                    function(at)
                    del arguments
            for _ in range(TURNS):
                if task.done() or sum(r.is_fact for r in run.log) >= number:
                    break
                await asyncio.sleep(0)
            else:
                self.astray(task)
                return


def plain(record: Record) -> Any:
    """Return a record without times and digests, which belong to the driver and not to the order."""
    event = record.event
    if isinstance(event, AttemptEnded):
        event = replace(event, seconds=0.0, usd=0.0, values=tuple(replace(v, digest="", size=0) for v in event.values))
    if isinstance(event, CallEnded):
        event = replace(event, values=tuple(replace(v, digest="", size=0) for v in event.values))
    if isinstance(event, Retried):
        event = replace(event, until=0.0)
    return record.seq, event


@settings(suppress_health_check=list(HealthCheck))
@given(scenarios(instant=True))
def test_the_local_driver_writes_the_log_of_the_simulation(simulation: Simulation) -> None:
    """Under the simulation's order of completion the local driver writes the same records."""
    first = simulation.first_record()
    expected = [record for _, step in simulation.steps(first) for record in step.records]
    if any(isinstance(record.event, LateResult) for record in expected):
        return

    async def drive() -> list[Record]:
        script = Script([record for record in expected if record.is_fact])
        graph = simulation.blueprint.graph
        bindings = Bindings({node.name: script.binding(node.name, node.provides) for node in graph.nodes})
        run = LocalRun(
            simulation.blueprint.run(first),
            first,
            Values({value.name: "given" for value in first.inputs}),
            bindings,
            clock=lambda: 0.0,
            publish=lambda run_id, record: None,
            redact=str,
            later=script.later,
        )
        task = asyncio.create_task(run.run())
        await asyncio.sleep(0)
        await script.play(run, task)
        await asyncio.wait({task})
        return run.log

    assert [plain(record) for record in asyncio.run(drive())] == [plain(record) for record in expected]


def test_a_simulated_call_that_is_cancelled_ends_at_once() -> None:
    """As under a driver: before anything else that happens at the same time."""
    nodes = (*(Node(name, provides=(name,), effect="read", seconds=1.0) for name in "abc"), Node("d", provides=("d",)))
    graph = Graph(nodes, goals=(Goal("all", ("a", "b", "c")), Goal("less", ("c", "d"))))
    faults = FaultPlan({"a": (Fault("permanent", seconds=1.0),)})
    ended = [r.event for r in simulate(graph, faults=faults).records if isinstance(r.event, AttemptEnded)]
    assert [(e.node, e.outcome) for e in ended[:3]] == [("a", "failed"), ("b", "cancelled"), ("c", "succeeded")]
