"""Judging a simulated run in which known nodes fail: was every failure answered, and rightly?

The log is read here a second time, by other means than those of the run machine: what happened is counted, and what
was given up is planned again from the work that was done. So a failure cannot pass in silence because of a mistake
that the run machine and its judge share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.events import (
    Absorbed,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    Escalated,
    LastChance,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RunEnded,
    RunFinished,
    RunStarted,
    Settled,
)
from orchestrator.graph import INPUT, Graph, Need
from orchestrator.planner import Planner, Situation
from orchestrator.weight import View

__all__ = ("judge", "reachable")

Answer = Absorbed | Retried | Rerouted | LastChance | Escalated | RunEnded
LASTING = ("down", "permanent", "hang", "wrong")
"""Failures that no further attempt gets over."""


def judge(graph: Graph, planner: Planner, failed: Mapping[str, str], records: Iterable[Record]) -> list[str]:
    """Return what is wrong with a run, in words.

    Args:
        graph: The graph.
        planner: Plans over it.
        failed: The nodes that fail whenever they are called, with the kind of their failure.
        records: The log of the run.
    """
    account = _Account(graph, failed)
    problems: list[str] = []
    for record in records:
        event = record.event
        if isinstance(event, AttemptStarted):
            problems += account.not_given(event)
        if isinstance(event, Escalated):
            problems += _given_up_too_early(account, planner, event)
        account.take(record)
    return [*problems, *account.unanswered(), *account.twice(), *account.ending()]


def _given_up_too_early(account: _Account, planner: Planner, event: Escalated) -> list[str]:
    """Return the goals that an escalation gave up although a route to them was left."""
    goals = [goal.name for goal in account.graph.goals]
    given_up = [event.goal]
    if event.by == "policy" and event.decision in ("demote", "give_up") and account.demotes:
        last = None if event.goal_after is None else goals.index(event.goal_after)
        given_up = goals[goals.index(event.goal) : last]
    if event.reason == "check" or event.reason.startswith("limit:"):
        return []
    situation = account.situation()
    found = []
    for goal in given_up:
        route = planner.plan(account.view, goal, situation)
        if route.feasible:
            found.append(f"goal {goal} was given up although a route was left: {' > '.join(route.nodes) or 'all held'}")
    return found


@dataclass
class _Account:
    """What has happened so far, counted from the log."""

    graph: Graph
    failed: Mapping[str, str]
    view: View = field(default_factory=lambda: View("none", ()))
    asked: str = ""
    demotes: bool = True
    """Whether the policy lets a run be demoted to a lower goal."""
    inputs: tuple[str, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    finished: dict[str, None] = field(default_factory=dict)
    held: dict[str, None] = field(default_factory=dict)
    """The nodes whose results stand."""
    done: dict[str, None] = field(default_factory=dict)
    """The nodes whose effect is known to stand."""
    undone: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    given: dict[str, tuple[tuple[str, str, str | None], ...]] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    """How often each node's effect really happened: the failures are known, so it is known too."""
    failures: list[tuple[str, int]] = field(default_factory=list)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    explicit: bool = False
    end: RunFinished | None = None

    def take(self, record: Record) -> None:
        """Take in one record."""
        event = record.event
        if isinstance(event, Answer):
            self.answers.update(event.answers)
        if isinstance(event, Escalated | RunEnded | QuestionAsked):
            self.explicit = True
        match event:
            case RunStarted():
                self.view, self.asked = event.view, event.goal
                self.demotes = bool(event.policy.get("escalation", {}).get("demote", True))
                self.inputs = tuple(value.name for value in event.inputs)
                self.excluded = dict(event.down)
            case Escalated(decision="supply", value=str(value)):
                self.inputs += (value,)
            case AttemptStarted():
                self.running[event.node] = event.attempt
                self.given[event.node] = event.inputs
            case AttemptEnded():
                self._ended(event)
            case Settled():
                self.unknown.remove(event.node)
                if event.done:
                    self._succeeded(event.node)
            case CallEnded(kind="undo", ok=True):
                self.undone.append(event.subject)
                self._withdraw(event.subject)
            case RunFinished():
                self.end = event

    def _ended(self, event: AttemptEnded) -> None:
        node = self.graph.by_name[event.node]
        self.running.pop(event.node, None)
        if event.outcome == "succeeded":
            self._succeeded(event.node)
            self.effects[event.node] += 1
        elif event.outcome == "failed":
            happened = "unknown" if event.failure is None else event.failure.happened
            self.failures.append((event.node, event.attempt))
            self.effects[event.node] += happened == "yes" or self.failed.get(event.node) == "unknown"
            if happened == "unknown" and node.effect == "once":
                self.unknown.append(event.node)
            if happened == "yes":
                self.done[event.node] = None

    def _succeeded(self, name: str) -> None:
        self.finished[name] = self.held[name] = self.done[name] = None

    def _withdraw(self, name: str) -> None:
        """Take back what a node made, and what was made from it."""
        self.done.pop(name, None)
        self.held.pop(name, None)
        for other in list(self.held):
            if any(provider == name for _, _, provider in self.given.get(other, ())):
                self._withdraw(other)

    # -------------------------------------------------------------------------------------------------------- standing

    def situation(self) -> Situation:
        """Return where the run stands, in the planner's words: what fails for good is excluded, called or not."""
        held: dict[str, list[str]] = {value: [INPUT] for value in self.inputs}
        for name in self.held:
            for value in self.graph.by_name[name].provides:
                held.setdefault(value, []).append(name)
        lasting = {name: kind for name, kind in self.failed.items() if kind in LASTING}
        return Situation(
            held={value: tuple(providers) for value, providers in held.items()},
            in_flight=dict.fromkeys(self.running, 0.0),
            excluded={**self.excluded, **{name: kind for name, kind in lasting.items() if name not in self.running}},
            effects={name: self.graph.by_name[name].undo for name in self.done if self._has_effect(name)},
            unresolved=frozenset(self.unknown),
            finished=frozenset(self.finished),
        )

    def _has_effect(self, name: str) -> bool:
        node = self.graph.by_name[name]
        return node.effect == "once" or node.undo

    def _is_there(self, value: str, provider: str | None) -> bool:
        if provider is None or provider == INPUT:
            return provider == INPUT and value in self.inputs
        return provider in self.held and value in self.graph.by_name[provider].provides

    # --------------------------------------------------------------------------------------------------------- judging

    def not_given(self, event: AttemptStarted) -> list[str]:
        """Return the needs that a call was started without."""
        given = {parameter: (value, provider) for parameter, value, provider in event.inputs}
        return [
            f"{event.node} #{event.attempt} was called without {need.value}"
            for need in self.graph.by_name[event.node].needs
            if not self._is_met(need, given)
        ]

    def _is_met(self, need: Need, given: Mapping[str, tuple[str, str | None]]) -> bool:
        if not need.passed:
            providers = (INPUT, *self.graph.providers.get(need.value, ()))
            return need.optional is not None or any(self._is_there(need.value, provider) for provider in providers)
        value, provider = given.get(need.parameter, ("", ""))
        if provider is None:
            return need.optional is not None
        return value == need.value and self._is_there(value, provider)

    def unanswered(self) -> list[str]:
        """Return the failures that were not answered by exactly one decision."""
        return [
            f"the failure of {node} #{attempt} was answered by {self.answers[node, attempt] or 'no'} decision"
            + ("s" if self.answers[node, attempt] > 1 else "")
            for node, attempt in self.failures
            if self.answers[node, attempt] != 1
        ]

    def twice(self) -> list[str]:
        """Return the effects that happened more than once, or stand beside another that gives the same value."""
        once = [name for name, times in self.effects.items() if times and self.graph.by_name[name].effect == "once"]
        found = [f"{name} took effect {self.effects[name]} times" for name in once if self.effects[name] > 1]
        standing = [name for name in once if name not in self.undone]
        for value, providers in self.graph.providers.items():
            both = [name for name in providers if name in standing]
            if len(both) > 1:
                found.append(f"{' and '.join(both)} both took effect for {value}, and neither was undone")
        return found

    def ending(self) -> list[str]:
        """Return what is wrong with the end: a goal that is not whole, or an end without a word."""
        end = self.end
        if end is None:
            return ["the run did not end"]
        if end.outcome not in ("met", "demoted"):
            return [] if self.explicit else [f"the run ended as {end.outcome}, and no decision says so"]
        goal = self.graph.goal_by_name[end.goal or ""]
        found = [] if self.explicit or end.outcome == "met" else ["the goal was demoted, and no decision says so"]
        if (end.outcome == "met") != (goal.name == self.asked):
            found.append(f"the run ended as {end.outcome}, and its goal is {goal.name}")
        values = dict(end.values)
        found += [
            f"goal {goal.name} was reached without {value}"
            for value in goal.values
            if not self._is_there(value, values.get(value))
        ]
        gone = frozenset(name for name, kind in self.failed.items() if kind in LASTING) | self.excluded.keys()
        if not reachable(self.graph, goal.name, self.inputs, gone):
            found.append(f"goal {goal.name} was reached although nothing could reach it")
        return found


def reachable(graph: Graph, goal: str, inputs: Iterable[str], gone: frozenset[str]) -> bool:
    """Return whether *goal* can be had without the nodes that are *gone*, by what needs what alone.

    A fixed point: costs, limits and effects that stand in each other's way do not count.
    """
    given = frozenset(inputs)
    there: dict[str, None] = {}

    def served(consumer: str | None, need: Need) -> bool:
        providers = [name for name in graph.providers.get(need.value, ()) if name in there]
        providers += [INPUT] if need.value in given else []
        return need.optional is not None or any(not _forbidden(graph, name, consumer) for name in providers)

    grown = True
    while grown:
        new = [node for node in graph.nodes if node.name not in there and node.name not in gone]
        new = [node for node in new if all(served(node.name, need) for need in node.needs)]
        there.update(dict.fromkeys(node.name for node in new))
        grown = bool(new)
    # A written edge to a goal that shares its name with a node means the node.
    consumer = None if goal in graph.by_name else goal
    return all(served(consumer, need) for need in graph.goal_by_name[goal].needs)


def _forbidden(graph: Graph, provider: str, consumer: str | None) -> bool:
    edge = None if consumer is None else graph.written_edges.get((provider, consumer))
    return edge is not None and edge.forbid
