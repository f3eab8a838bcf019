"""Replaying a recorded run under another graph or policy: what would have been decided, without calling anything.

The record says how every attempt went. A simulation of today's graph is given these outcomes and times as its script;
nodes that the record never called answer as they declare. What then differs is due to the graph, its costs or the
policy, and not to the tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.drivers.first import Blueprint
from orchestrator.events import AttemptEnded, NodeExcluded, Record, RunStarted
from orchestrator.faults import Fault, FaultPlan
from orchestrator.graph import Graph
from orchestrator.policy import Policy
from orchestrator.result import RunResult, fold
from orchestrator.simulate import Simulation

__all__ = ("Replay", "replay")


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded run beside the run that it would be today."""

    recorded: RunResult
    today: RunResult
    unknown: tuple[str, ...]
    """Nodes of the record that today's graph does not have."""

    @property
    def same(self) -> bool:
        """Whether today's run would go the same way: the same calls in the same order, the same end."""
        return _way(self.recorded) == _way(self.today)


def replay(
    records: Sequence[Record],
    graph: Graph | None = None,
    policy: Policy | None = None,
    *,
    goal: str | None = None,
    down: Iterable[str] = (),
) -> Replay:
    """Replay a run's record under another graph or policy.

    Args:
        records: The record, from `run_started` on.
        graph: Default: the run's own.
        policy: Default: the run's own.
        goal: Default: the run's own.
        down: Nodes to do without.

    Raises:
        InputError: The graph has no such goal.
    """
    first = records[0].event
    if not isinstance(first, RunStarted):
        raise ValueError("a run's record begins with run_started")
    graph = graph or Graph.from_dict(first.graph)
    policy = policy or Policy.model_validate(first.policy)
    wanted = goal or (first.goal if first.goal in graph.goal_by_name else None)
    excluded = {**dict(first.down), **_kept_out(records), **dict.fromkeys(down, "down")}
    simulation = Simulation(Blueprint(graph, policy), FaultPlan(_script(records)))
    given = {value.name for value in first.inputs}
    today = simulation.run(
        goal=wanted,
        inputs=sorted(given | set(graph.run_inputs)),
        down={name: reason for name, reason in excluded.items() if name in graph.by_name},
        seed=first.seed,
        run_id=first.run_id,
    )
    called = {record.event.node: None for record in records if isinstance(record.event, AttemptEnded)}
    return Replay(fold(records), today, tuple(name for name in called if name not in graph.by_name))


def _way(result: RunResult) -> tuple[object, ...]:
    calls = tuple((attempt.node, attempt.attempt, attempt.outcome) for attempt in result.attempts if attempt.attempt)
    return calls, result.outcome, result.goal


def _script(records: Iterable[Record]) -> dict[str, tuple[Fault, ...]]:
    """Return what each node did, one outcome per attempt; a node that is called once more does its last again."""
    script: dict[str, list[Fault]] = {}
    for record in records:
        event = record.event
        if isinstance(event, AttemptEnded) and event.outcome in ("succeeded", "failed"):
            script.setdefault(event.node, []).append(_fault(event))
    return {name: tuple(faults) for name, faults in script.items()}


def _fault(event: AttemptEnded) -> Fault:
    failure = event.failure
    if failure is None:
        return Fault("hang", event.seconds)  # it answers then, unless its timeout comes first
    if failure.happened == "unknown":
        return Fault("unknown")
    if failure.type == "rate_limited":
        return Fault("rate_limited", retry_after=failure.retry_after)
    if failure.happened == "yes":
        return Fault("wrong")
    return Fault("raise" if failure.transient else "permanent")


def _kept_out(records: Iterable[Record]) -> dict[str, str]:
    """Return the nodes that a guard or a person kept out: a simulation calls no guard and asks nobody."""
    excluded = [record.event for record in records if isinstance(record.event, NodeExcluded)]
    return {event.node: event.reason for event in excluded if event.reason.startswith(("inapplicable", "refused"))}
