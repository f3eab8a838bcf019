"""Simulation: the real run machine on a virtual clock, every node replaced by a fake with its declared figures.

Nothing is called and nothing sleeps. A node answers after its declared latency, costs its declared money and fails as
often as it declares, or as a fault plan scripts it. Guards, checks and function gates pass; a verify answers the
script's truth; a model that is asked has no answer, so the policy decides; people are not there, so that a run which
needs them ends waiting. Whoever knows better, as from a record, hands over a `Script`. All chance is a hash of (seed,
node, attempt), so one run never disturbs another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    Answered,
    AttemptEnded,
    CallEnded,
    Fact,
    Failure,
    LateResult,
    ModelAnswered,
    QuestionAsked,
    RunStarted,
    Value,
    Woken,
)
from orchestrator.faults import Fault, FaultPlan, drilled
from orchestrator.graph import Graph, Node
from orchestrator.policy import Policy
from orchestrator.result import RunResult, fold
from orchestrator.run import AskModel, Call, Cancel, Command, Run, Start, Step, WakeAt

__all__ = ("Coming", "Script", "Simulation", "simulate")

Coming = tuple[tuple[float, Fact], ...]
"""Facts, each with the seconds after which it comes; of an attempt, its end is the first."""

Script = Callable[[Start | Call | AskModel | QuestionAsked], Coming | None]
"""Says what comes of something that one run waits for; None: it is simulated as ever.

Nothing may come of a question to people: nobody answers then, and the run goes on when it is overdue.
"""

FIRST = 2**40
"""More than the facts of any run: what comes first of all at its time has a number that is less by this."""


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
        script: Script | None = None,
    ) -> RunResult:
        """Simulate one run."""
        first = self.first_record(goal=goal, inputs=inputs, down=down, seed=seed, run_id=run_id)
        log = [record for _, step in self.steps(first, script) for record in step.records]
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

    def steps(self, first: RunStarted, script: Script | None = None) -> Iterator[tuple[Run, Step]]:
        """Go through a run step by step; yields the machine after each fact, and what the fact led to."""
        clock = _Clock(self, first.seed, script)
        machine = self.blueprint.run(first)
        at = 0.0
        fact: Fact = first
        while True:
            step = machine.feed(fact, at)
            for record in step.records:
                if isinstance(record.event, QuestionAsked):
                    clock.ask(record.event, at)
            for command in step.commands:
                clock.carry_out(command, at)
            yield machine, step
            if not clock.due or (machine.finished and not (machine.state.phase == "waiting" and clock.people)):
                return
            at, fact = clock.next()


class _Clock:
    """The virtual clock of one run: what will happen, in order."""

    def __init__(self, simulation: Simulation, seed: int, script: Script | None = None) -> None:
        self.nodes = simulation.blueprint.graph.by_name
        self.faults = simulation.faults
        self.seed = seed
        self.script = script
        self.due: list[tuple[float, int, Fact]] = []
        self.planned: dict[tuple[str, int], int] = {}
        self.truth: dict[str, bool] = {}
        self.people: dict[str, bool] = {}
        """The open questions of which it is known what comes: whether an answer is on its way."""
        self.number = 0

    def at(self, time: float, fact: Fact, *, first: bool = False) -> int:
        """Let a fact happen at a time; equal times keep their order, but for what comes *first*."""
        self.number += 1
        number = self.number - FIRST if first else self.number
        heappush(self.due, (time, number, fact))
        return number

    def next(self) -> tuple[float, Fact]:
        """Go to the next thing that happens."""
        time, _, fact = heappop(self.due)
        if isinstance(fact, Answered):
            self.people.pop(fact.question, None)
        return time, fact

    def drop(self, number: int) -> None:
        """Let something not happen after all."""
        self.due = [entry for entry in self.due if entry[1] != number]
        heapify(self.due)

    def ask(self, question: QuestionAsked, now: float) -> None:
        """Ask people; what is asked again while its answer is on the way is not asked twice."""
        if self.script is None or self.people.get(question.question):
            return
        coming = self.script(question)
        if coming is not None:
            self.people[question.question] = bool(coming)
            self._let_come(coming, now)

    def carry_out(self, command: Command, now: float) -> None:
        """Do what the machine asks, in virtual time."""
        match command:
            case Start() | Call() | AskModel() if self._scripted(command, now):
                pass
            case Start():
                self._start(command, now)
            case Cancel():
                number = self.planned.pop((command.node, command.attempt), None)
                if number is not None:
                    self.drop(number)
                    # At once, as a driver that really cancels it.
                    self.at(now, AttemptEnded(command.node, command.part, command.attempt, "cancelled"), first=True)
            case Call():
                self._call(command, now)
            case AskModel():
                # Before anything else that happens now, so that the run is the one that the policy alone would decide.
                self.at(now, ModelAnswered(command.n, None, error="simulated"), first=True)
            case WakeAt():
                self.at(command.at, Woken())

    def _scripted(self, command: Start | Call | AskModel, now: float) -> bool:
        """Let happen what the script knows; False where it does not."""
        coming = None if self.script is None else self.script(command)
        if not coming:
            return False
        number = self._let_come(coming, now)
        match command, coming[0][1]:
            case Start(), AttemptEnded(outcome=outcome, failure=failure):
                self.planned[command.node, command.attempt] = number
                self.truth[command.node] = outcome == "succeeded" or (failure is not None and failure.happened != "no")
        return True

    def _let_come(self, coming: Coming, now: float) -> int:
        """Let facts come; return the number of the first one."""
        numbers = [self.at(now + seconds, fact) for seconds, fact in coming]
        return numbers[0] if numbers else 0

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
