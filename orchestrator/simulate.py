"""Simulation: the real run machine on a virtual clock, every node replaced by a fake with its declared figures.

Nothing is called and nothing sleeps. A node answers after its declared latency, costs its declared money and fails as
often as it declares, or as a fault plan scripts it. Guards, checks and function gates pass; a verify answers the
script's truth; a model that is asked has no answer, so the policy decides. All chance is a hash of (seed, node,
attempt), so one run never disturbs another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    AttemptEnded,
    CallEnded,
    Fact,
    Failure,
    LateResult,
    ModelAnswered,
    RunStarted,
    Value,
    Woken,
)
from orchestrator.faults import Fault, FaultPlan, drilled
from orchestrator.graph import Graph, Node
from orchestrator.policy import Policy
from orchestrator.result import RunResult, fold
from orchestrator.run import AskModel, Call, Cancel, Command, Run, Start, Step, WakeAt

__all__ = ("Simulation", "simulate")


def simulate(
    graph: Graph,
    policy: Policy | None = None,
    *,
    goal: str | None = None,
    inputs: Iterable[str] | None = None,
    faults: FaultPlan | None = None,
    down: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> RunResult:
    """Simulate one run of *graph* and return its result.

    Args:
        graph: The graph.
        policy: Default: the default policy.
        goal: The asked goal; default: the best one.
        inputs: Names of the run inputs that are given; default: all that are needed.
        faults: Scripted outcomes; default: the declared success rates.
        down: Nodes that may not be used, with the reason.
        seed: Decides everything that is left to chance; default: the fault plan's, or 0.
    """
    blueprint = Blueprint(graph, policy or Policy())
    return Simulation(blueprint, faults).run(goal=goal, inputs=inputs, down=down, seed=seed)


class Simulation:
    """Simulates runs of one blueprint."""

    def __init__(self, blueprint: Blueprint, faults: FaultPlan | None = None) -> None:
        self.blueprint = blueprint
        self.faults = drilled(faults, blueprint.policy.faults, blueprint.graph) or FaultPlan()

    def run(
        self,
        *,
        goal: str | None = None,
        inputs: Iterable[str] | None = None,
        down: Mapping[str, str] | None = None,
        seed: int | None = None,
        run_id: str | None = None,
    ) -> RunResult:
        """Simulate one run."""
        first = self.first_record(goal=goal, inputs=inputs, down=down, seed=seed, run_id=run_id)
        log = [record for _, step in self.steps(first) for record in step.records]
        return fold(log, lookup=lambda value, provider: {"simulated": provider})

    def first_record(
        self,
        *,
        goal: str | None = None,
        inputs: Iterable[str] | None = None,
        down: Mapping[str, str] | None = None,
        seed: int | None = None,
        run_id: str | None = None,
    ) -> RunStarted:
        """Return the first record of a simulated run; a seed given here beats the fault plan's."""
        if seed is None:
            seed = self.faults.seed or 0
        given = self.blueprint.graph.run_inputs if inputs is None else inputs
        values = (Value(name) for name in given)
        run_id = run_id or f"simulated-{seed}"
        return self.blueprint.first_record(run_id, goal=goal, inputs=values, seed=seed, down=down)

    def steps(self, first: RunStarted) -> Iterator[tuple[Run, Step]]:
        """Go through a run step by step; yields the machine after each fact, and what the fact led to."""
        clock = _Clock(self, first.seed)
        machine = self.blueprint.run(first)
        at = 0.0
        fact: Fact = first
        while True:
            step = machine.feed(fact, at)
            for command in step.commands:
                clock.carry_out(command, at)
            yield machine, step
            if machine.finished or not clock.due:
                return
            at, fact = clock.next()


class _Clock:
    """The virtual clock of one run: what will happen, in order."""

    def __init__(self, simulation: Simulation, seed: int) -> None:
        self.nodes = simulation.blueprint.graph.by_name
        self.faults = simulation.faults
        self.seed = seed
        self.due: list[tuple[float, int, Fact]] = []
        self.planned: dict[tuple[str, int], int] = {}
        self.dropped: set[int] = set()
        self.truth: dict[str, bool] = {}
        self.number = 0

    def at(self, time: float, fact: Fact, *, first: bool = False) -> int:
        """Let a fact happen at a time; equal times keep their order, but for what comes *first*."""
        self.number += 1
        number = -self.number if first else self.number
        heappush(self.due, (time, number, fact))
        return number

    def next(self) -> tuple[float, Fact]:
        """Go to the next thing that happens."""
        while True:
            time, number, fact = heappop(self.due)
            if number not in self.dropped:
                return time, fact

    def carry_out(self, command: Command, now: float) -> None:
        """Do what the machine asks, in virtual time."""
        match command:
            case Start():
                self._start(command, now)
            case Cancel():
                number = self.planned.pop((command.node, command.attempt), None)
                if number is not None:
                    self.dropped.add(number)
                    self.at(now, AttemptEnded(command.node, command.part, command.attempt, "cancelled"))
            case Call():
                self._call(command, now)
            case AskModel():
                # Before anything else that happens now, so that the run is the one that the policy alone would decide.
                self.at(now, ModelAnswered(command.n, None, error="simulated"), first=True)
            case WakeAt():
                self.at(command.at, Woken())

    def _start(self, command: Start, now: float) -> None:
        node = self.nodes[command.node]
        fault = self.faults.outcome(
            node.name, command.attempt, now, seed=self.seed, success=node.success, domains=node.domains
        )
        seconds, failure = _what_comes(node, fault, command.timeout)
        values = tuple(Value(value) for value in node.provides)
        too_late = failure is not None and failure.type == "timeout" and fault.kind != "unknown"
        # The truth that a verify finds: the effect of a slow call happens, only its answer is too late.
        self.truth[node.name] = failure is None or fault.kind == "unknown" or (too_late and seconds is not None)
        if too_late and seconds is not None:
            self.at(now + seconds, LateResult(node.name, command.part, command.attempt, "succeeded", values))
        taken = command.timeout if too_late or seconds is None else seconds
        charged = failure is None or failure.happened != "no"
        ended = AttemptEnded(
            node.name,
            command.part,
            command.attempt,
            "succeeded" if failure is None else "failed",
            values if failure is None else (),
            failure,
            taken,
            (node.usd or 0.0) if charged else 0.0,
        )
        self.planned[node.name, command.attempt] = self.at(now + taken, ended)

    def _call(self, command: Call, now: float) -> None:
        seconds, ok = 0.0, True
        values: tuple[Value, ...] = ()
        if command.kind in ("undo", "verify"):
            node = self.nodes[command.subject]
            seconds = node.seconds or 0.0
            if command.kind == "verify":
                ok = self.truth.get(node.name, False)
                values = tuple(Value(value) for value in node.provides) if ok else ()
        self.at(now + seconds, CallEnded(command.kind, command.n, command.subject, ok, None, values))


def _what_comes(node: Node, fault: Fault, timeout: float) -> tuple[float | None, Failure | None]:
    """Return when the answer comes (None: never) and the failure, if it is one.

    A timeout's answer may still come later; then its time is given, and the attempt ends at the timeout.
    """
    seconds: float | None = node.seconds or 0.0
    if fault.kind == "hang":
        seconds = fault.seconds
    elif fault.kind == "slow":
        seconds = (node.seconds or 0.0) * fault.factor
    failure = fault.failure()
    if fault.kind != "unknown" and (seconds is None or seconds > timeout):
        failure = Failure("timeout", f"no answer within {timeout:g} s", transient=True, happened="unknown")
    return seconds, failure
