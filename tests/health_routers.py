"""Routers for the world of `health_world`: the run machine with and without health, and what others use instead.

All have one face, see the same requests and the same luck, know the same four nodes in the same order, and repeat a
call as often as they like to; they differ in what they remember.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from orchestrator.chance import unit_interval
from orchestrator.drivers.first import Blueprint
from orchestrator.drivers.link import HeldOff
from orchestrator.events import AttemptEnded, Fact, Failure, Rerouted, Value, ViewChanged, Woken
from orchestrator.graph import Goal, Graph, Need, Node
from orchestrator.health.board import Board
from orchestrator.health.circuits import Circuits
from orchestrator.health.outcome import Outcome, evidence_of
from orchestrator.policy import Policy
from orchestrator.run import Cancel, Run, Start, WakeAt
from orchestrator.weight import View
from tests.health_world import NODES, TIMEOUT, Answer, Router, Stage

__all__ = ("GRAPH", "ROUTERS", "Gateway", "Ours", "Retrying", "StaticList")

NAMES = tuple(node.name for node in NODES)

GRAPH = Graph(
    tuple(
        Node(
            node.name,
            needs=(Need("question", "question"),),
            provides=("answer",),
            effect="read",
            usd=node.cents / 100,
            seconds=node.seconds + 0.2,
            timeout=TIMEOUT,
            domains=(node.domain,),
        )
        for node in NODES
    ),
    (Goal("answered", ("answer",)),),
)
"""One question, four substitutes, no lower goal: a run that does not get its answer has given up."""


class Retrying:
    """Retry only: the first choice, up to three times, with full jitter below 0.5 s, 1 s, 2 s; a Retry-After is kept.

    One that is longer than 10 s is not waited for.
    """

    name = "retry only"
    attempts = 3

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def arrive(self, request: int, at: float) -> None:
        """Call the first choice."""
        self.stage.call(self, request, NAMES[0], 1)

    def answered(self, request: int, node: str, attempt: int, answer: Answer, at: float) -> None:
        """Call it again, or give up."""
        if answer.failure is None:
            self.stage.finish(request, True)
            return
        after = answer.failure.retry_after or 0.0
        if attempt == self.attempts or after > 10:
            self.stage.finish(request, False)
            return
        wait = max(after, 0.5 * 2 ** (attempt - 1) * unit_interval("wait", request, attempt))
        self.stage.after(wait, lambda: self.stage.call(self, request, node, attempt + 1))

    def refused(self, at: float) -> Collection[str]:
        """Return none: nothing is remembered."""
        return ()


class StaticList:
    """A static fallback list: every node once, in order, for every request anew."""

    name = "static list"

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def arrive(self, request: int, at: float) -> None:
        """Call the first of the list."""
        self.stage.call(self, request, NAMES[0], 1)

    def answered(self, request: int, node: str, attempt: int, answer: Answer, at: float) -> None:
        """Call the next one, or give up."""
        following = NAMES[NAMES.index(node) + 1 :]
        if answer.failure is None:
            self.stage.finish(request, True)
        elif not following:
            self.stage.finish(request, False)
        else:
            self.stage.call(self, request, following[0], 1)

    def refused(self, at: float) -> Collection[str]:
        """Return none: nothing is remembered."""
        return ()


class Gateway:
    """A gateway's fixed cooldown, by LiteLLM's rule.

    A node is left out for 5 s at once on a 429, or when more than half of its calls of this calendar minute have
    failed (a single call of a minute does not count). The cheapest one that is not left out is called; a request tries
    up to four, each once (three retries), and gives up with "no deployments available" when all are left out. It is
    kinder than the original in one respect: a retry never goes to a node that this request has tried already.
    """

    name = "gateway cooldown"
    cooldown = 5.0
    retries = 3

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.until = dict.fromkeys(NAMES, 0.0)
        self.minutes: dict[str, tuple[int, int, int]] = dict.fromkeys(NAMES, (0, 0, 0))
        self.tried: dict[int, list[str]] = {}

    def arrive(self, request: int, at: float) -> None:
        """Call the best that is not left out."""
        self.tried[request] = []
        self._next(request, at)

    def answered(self, request: int, node: str, attempt: int, answer: Answer, at: float) -> None:
        """Count, and call another one where it failed."""
        minute, calls, failed = self.minutes[node]
        if minute != int(at // 60):
            minute, calls, failed = int(at // 60), 0, 0
        calls, failed = calls + 1, failed + (answer.failure is not None)
        self.minutes[node] = (minute, calls, failed)
        if answer.failure is None:
            self.stage.finish(request, True)
            return
        if answer.failure.type == "rate_limited" or (calls > 1 and failed / calls > 0.5):
            self.until[node] = at + self.cooldown
        self._next(request, at)

    def _next(self, request: int, at: float) -> None:
        tried = self.tried[request]
        usable = [name for name in NAMES if name not in tried and self.until[name] <= at]
        if not usable or len(tried) > self.retries:
            self.stage.finish(request, False)
            return
        tried.append(usable[0])
        self.stage.call(self, request, usable[0], 1)

    def refused(self, at: float) -> Collection[str]:
        """Return what cools down."""
        return [name for name, until in self.until.items() if until > at]


class Ours:
    """The run machine: with health, one board for all runs; without it, the declared view for each."""

    def __init__(self, stage: Stage, policy: Policy | None = None, *, health: bool = True, name: str = "ours") -> None:
        self.name = name
        self.stage = stage
        self.blueprint = Blueprint(GRAPH, policy or Policy())
        self.board: Board | None = None
        self.circuits: Circuits | None = None
        if health:
            clock: Callable[[], float] = lambda: self.stage.now  # noqa: E731  (a clock is a function, not a method)
            seed = stage.world.scenario.seed
            self.circuits = Circuits(GRAPH, self.blueprint.policy, clock=clock, seed=seed)
            self.board = Board(GRAPH, self.blueprint.policy, self.circuits, clock=clock, base=self.blueprint.view)
        self.runs: dict[int, Run] = {}
        self.leave: dict[int, Callable[[], None]] = {}
        self._tick_at = float("inf")

    def arrive(self, request: int, at: float) -> None:
        """Start a run on the view of this moment."""
        run_id, view = f"run-{request}", None
        if self.board is not None:
            self._tick()
            view = self.board.view(run_id)
            self.leave[request] = self.board.subscribe(run_id, lambda view: self._view(request, view))
        first = self.blueprint.first_record(run_id, inputs=(Value("question"),), seed=request, view=view)
        self.runs[request] = self.blueprint.run(first)
        self._feed(request, first)
        if self.board is not None:
            self._settle(request)
            self._tick()

    def answered(self, request: int, node: str, attempt: int, answer: Answer, at: float) -> None:
        """Have the board learn of it, then the run."""
        failure = answer.failure
        outcome = "succeeded" if failure is None else "failed"
        if self.board is not None:
            self.board.record(
                Outcome(
                    node,
                    evidence_of(outcome, failure),
                    at,
                    answer.seconds,
                    None if failure is None else failure.type,
                    None if failure is None else failure.retry_after,
                    answer.headroom,
                    f"run-{request}",
                )
            )
        values = (Value("answer"),) if failure is None else ()
        ended: dict[str, Any] = {"values": values, "failure": failure, "seconds": answer.seconds}
        self._feed(request, AttemptEnded(node, 0, attempt, "succeeded" if failure is None else "failed", **ended))
        self._tick()

    def refused(self, at: float) -> Collection[str]:
        """Return what the circuits refuse."""
        if self.circuits is None:
            return ()
        return [name for name in NAMES if self.circuits.blocked(name) is not None]

    # ------------------------------------------------------------------------------------------------------- one run

    def _view(self, request: int, view: View) -> None:
        self.stage.after(0.0, lambda: self._feed(request, ViewChanged(view)))

    def _feed(self, request: int, fact: Fact) -> None:
        run = self.runs.get(request)
        if run is None or run.finished:
            return
        step = run.feed(fact, self.stage.now)
        for command in step.commands:
            match command:
                case Start():
                    self._start(request, command)
                case Cancel():
                    self._cancel(request, command)
                case WakeAt():
                    self.stage.after(command.at - self.stage.now, lambda: self._feed(request, Woken()))
        if self.board is not None and any(isinstance(record.event, Rerouted) for record in step.records):
            self._settle(request)
        if run.finished:
            self._over(request, run)

    def _start(self, request: int, command: Start) -> None:
        reason = None if self.board is None else self.board.call(f"run-{request}", command.node)
        if reason is None:
            self.stage.call(self, request, command.node, command.attempt)
            return
        failure = Failure(HeldOff.failure_type, reason, transient=True)
        ended = AttemptEnded(command.node, command.part, command.attempt, "failed", failure=failure)
        self.stage.after(0.0, lambda: self._feed(request, ended))

    def _cancel(self, request: int, command: Cancel) -> None:
        self.stage.cancel(request, command.node, command.attempt)
        if self.board is not None:
            evidence = evidence_of("cancelled", None)
            self.board.record(Outcome(command.node, evidence, self.stage.now, run_id=f"run-{request}"))
        ended = AttemptEnded(command.node, command.part, command.attempt, "cancelled")
        self.stage.after(0.0, lambda: self._feed(request, ended))

    def _settle(self, request: int) -> None:
        run = self.runs.get(request)
        if self.board is not None and run is not None:
            route = run.state.route
            self.board.settle(f"run-{request}", () if route is None else route.nodes)

    def _over(self, request: int, run: Run) -> None:
        self.stage.finish(request, run.state.outcome == "met")
        self.runs.pop(request, None)
        if self.board is not None:
            self.leave.pop(request, lambda: None)()
            self.board.release(f"run-{request}")

    def _tick(self) -> None:
        """Have the board publish what is due, now and when it next is."""
        if self.board is None:
            return
        after = self.board.tick()
        if after is None:
            return
        at = self.stage.now + max(after, 0.001)
        if at >= self._tick_at:
            return
        self._tick_at = at

        def tick() -> None:
            if self._tick_at <= self.stage.now:
                self._tick_at = float("inf")
            self._tick()

        self.stage.after(at - self.stage.now, tick)


ROUTERS: Mapping[str, Callable[[Stage], Router]] = {
    "ours": Ours,
    "gateway cooldown": Gateway,
    "no health": lambda stage: Ours(stage, health=False, name="no health"),
    "static list": StaticList,
    "retry only": Retrying,
}
"""Ours; its peers; and ours without health: the run machine alone, which retries and reroutes and remembers nothing."""
