"""The virtual clock drives real runs as the simulation does: same decisions, same moments, over generated graphs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings

from orchestrator.drivers.first import Blueprint
from orchestrator.drivers.local import LocalRun
from orchestrator.drivers.values import Values
from orchestrator.errors import ToolFailed
from orchestrator.events import AttemptEnded, CallEnded, LateResult, Record
from orchestrator.faults import Fault
from orchestrator.graph import Node
from orchestrator.nodes.binding import Bindings, CallContext, NodeBinding, Reply
from orchestrator.simulate import Simulation
from orchestrator.testing.calls import Calls
from orchestrator.testing.clock import VirtualClock
from tests.test_run_contracts import scenarios


class Failed(ToolFailed):
    """A failure of exactly the kind that a fault has."""

    def __init__(self, fault: Fault) -> None:
        failure = fault.failure()
        assert failure is not None
        super().__init__(
            failure.message, transient=failure.transient, happened=failure.happened, retry_after=failure.retry_after
        )
        self.failure_type = failure.type


def write_script(calls: Calls, node: Node, faults: tuple[Any, ...]) -> None:
    """Write the script of a node that does what a fault plan says, as late as a simulated node does it."""
    script = calls.node(node.name)
    answer = dict.fromkeys(node.provides, node.name) if len(node.provides) > 1 else node.name
    seconds = node.seconds or 0.0
    for number, fault in enumerate(faults, 1):
        times: Any = "any" if number == len(faults) else 1
        match fault.kind:
            case "ok":
                script.returns(answer, after=seconds, times=times)
            case "slow":
                script.returns(answer, after=seconds * fault.factor, times=times)
            case "hang" if fault.seconds is None:
                script.hangs(times=times)
            case "hang":
                script.returns(answer, after=fault.seconds, times=times)
            case "unknown":
                script.loses(answer, after=seconds, times=times)
            case _:
                script.raises(Failed(fault), after=seconds, times=times)


def scripted(simulation: Simulation, clock: VirtualClock) -> Bindings:
    """Return the bindings of a simulation's graph, every node played by a script."""
    calls = Calls(simulation.blueprint.graph, clock, "fake")
    for node in simulation.blueprint.graph.nodes:
        write_script(calls, node, simulation.faults.nodes.get(node.name, (Fault(),)))
    raw = calls.instead()

    def binding(node: Node) -> NodeBinding:
        async def call(inputs: Any, context: CallContext) -> Reply:
            result = await raw[node.name](inputs, context)
            return Reply(result if len(node.provides) > 1 else dict.fromkeys(node.provides, result))

        return NodeBinding(call)

    return calls.around(Bindings({node.name: binding(node) for node in simulation.blueprint.graph.nodes}))


def without_ties(simulation: Simulation) -> Simulation:
    """Return the simulation with times of its own for every node, so that no two things happen at one moment.

    Of two calls that end at the same moment, a real driver has both before the run machine hears of the first; the
    simulation may still cancel the second one. Both are right.
    """
    graph, faults = simulation.blueprint.graph, simulation.faults
    nodes, scripts = [], {}
    for number, node in enumerate(graph.nodes):
        odd = math.sqrt(number + 2)
        nodes.append(replace(node, seconds=(node.seconds or 0.3) * odd / 4, timeout=2.5 + odd / 100))
        scripts[node.name] = tuple(
            replace(fault, seconds=fault.seconds + odd / 100) if isinstance(fault, Fault) and fault.seconds else fault
            for fault in faults.nodes.get(node.name, (Fault(),))
        )
    blueprint = Blueprint(replace(graph, nodes=tuple(nodes)), simulation.blueprint.policy)
    return Simulation(blueprint, replace(faults, nodes=scripts))


def plain(record: Record) -> Any:
    """Return a record with its moment, and without what belongs to a driver: digests, and words of late answers."""
    event = record.event
    if isinstance(event, AttemptEnded | CallEnded):
        event = replace(event, values=tuple(replace(value, digest="", size=0) for value in event.values))
    if isinstance(event, AttemptEnded):
        failure = None if event.failure is None else replace(event.failure, message="")
        event = replace(event, seconds=round(event.seconds, 6), failure=failure)
    return round(record.at, 6), event


def decisions(log: list[Record]) -> list[Any]:
    """Return everything but late results: a read that is given up is cancelled, and so has none."""
    return [plain(record) for record in log if not isinstance(record.event, LateResult)]


@settings(suppress_health_check=list(HealthCheck))
@given(scenarios().map(without_ties))
def test_a_run_on_the_virtual_clock_is_the_simulated_run(simulation: Simulation) -> None:
    """The real driver, with scripts for what a fault plan says, decides as the simulation and at the same moments."""
    first = simulation.first_record()
    expected = [record for _, step in simulation.steps(first) for record in step.records]
    clock = VirtualClock()

    async def drive() -> list[Record]:
        run = LocalRun(
            simulation.blueprint.run(first),
            first,
            Values({value.name: "given" for value in first.inputs}),
            scripted(simulation, clock),
            clock=clock.time,
            publish=lambda run_id, record: None,
            redact=str,
        )
        await run.run()
        return run.log

    log = clock.run(drive)
    assert decisions(log) == decisions(expected)
