"""Decisions: what a run machine answers the facts with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.events.facts import CallKind

__all__ = (
    "Absorbed",
    "Answers",
    "AttemptStarted",
    "CallStarted",
    "Escalated",
    "LastChance",
    "ModelAsked",
    "NodeExcluded",
    "Option",
    "QuestionAsked",
    "Rerouted",
    "Retried",
    "RoutePlanned",
    "RunEnded",
    "RunFinished",
    "Settled",
    "Trigger",
    "Warned",
)

Trigger = Literal[
    "start",
    "failed",
    "unknown",
    "inapplicable",
    "refused",
    "check",
    "view",
    "limit",
    "undo_failed",
    "demoted",
    "escalated",
    "answered",
]
Answers = tuple[tuple[str, int], ...]
"""The failed attempts, as (node, attempt), that a decision answers."""


@dataclass(frozen=True, slots=True)
class RoutePlanned:
    """A route was chosen at the start or after a demotion; weights in micro-units, the rest as declared."""

    goal: str
    route: tuple[str, ...]
    weight: int
    bound: int
    verdict: str
    trigger: Trigger
    usd: float
    seconds: float
    calls: int
    nodes: int
    event: Literal["route_planned"] = "route_planned"


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt is to be made. ``inputs`` names, per parameter, the value and its provider; None is done without."""

    node: str
    part: int
    attempt: int
    inputs: tuple[tuple[str, str, str | None], ...]
    key: str
    """Idempotency key, the same for every attempt of this node in this run until a person edits what it is given."""
    effect: str | None
    event: Literal["attempt_started"] = "attempt_started"


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A guard, gate, check, verify or undo is to be called."""

    kind: CallKind
    n: int
    subject: str
    event: Literal["call_started"] = "call_started"


@dataclass(frozen=True, slots=True)
class NodeExcluded:
    """A node is not called again in this run, except in the last-chance stage or by a decision to retry."""

    node: str
    reason: str
    transient: bool
    event: Literal["node_excluded"] = "node_excluded"


@dataclass(frozen=True, slots=True)
class Absorbed:
    """A failed attempt whose value is no longer needed, or that another decision already covers."""

    n: int
    answers: Answers
    event: Literal["absorbed"] = "absorbed"


@dataclass(frozen=True, slots=True)
class Retried:
    """The node is tried again at time ``until``."""

    n: int
    answers: Answers
    node: str
    until: float
    event: Literal["retried"] = "retried"


@dataclass(frozen=True, slots=True)
class Rerouted:
    """A new route to the same goal, from the work already done. Weights are micro-units of what was left to do."""

    n: int
    answers: Answers
    trigger: Trigger
    node: str | None
    cause: str | None
    goal: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    weight_before: int
    weight_after: int
    verdict: str
    event: Literal["rerouted"] = "rerouted"


@dataclass(frozen=True, slots=True)
class LastChance:
    """No route was left: nodes excluded for transient reasons get one more attempt each, once per run."""

    n: int
    answers: Answers
    nodes: tuple[str, ...]
    goal: str
    after: tuple[str, ...]
    weight_after: int
    event: Literal["last_chance"] = "last_chance"


@dataclass(frozen=True, slots=True)
class Escalated:
    """No feasible route is left. What was decided instead, and by whom."""

    n: int
    answers: Answers
    by: Literal["policy", "model", "person"]
    decision: Literal["demote", "retry", "supply", "ask", "give_up"]
    goal: str
    goal_after: str | None
    reason: str
    blocked: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...] = ()
    """The excluded nodes that get one more attempt each."""
    value: str | None = None
    """The value that was supplied."""
    words: str | None = None
    """What the model or the person said about it."""
    event: Literal["escalated"] = "escalated"


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that may be decided where no feasible route is left.

    ``id`` is how it is chosen: ``demote:GOAL``, ``retry:NODE,NODE``, ``supply:VALUE``, ``ask``, ``give_up``; ``names``
    holds what follows the colon. Each one was found to lead to a route when it was offered.
    """

    id: str
    decision: Literal["demote", "retry", "supply", "ask", "give_up"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """No feasible route to the goal is left, and a model is asked which of the options to take.

    ``held`` holds (value, provider), ``failed`` (node, attempt, type, message) of every failed attempt so far,
    ``blocked`` (node, reason) of every node that this run may not use.
    """

    n: int
    model: str
    goal: str
    reason: str
    options: tuple[Option, ...]
    held: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, int, str, str], ...]
    blocked: tuple[tuple[str, str], ...]
    event: Literal["model_asked"] = "model_asked"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run stops for a limit or because it was cancelled."""

    n: int
    answers: Answers
    reason: str
    event: Literal["run_ended"] = "run_ended"


@dataclass(frozen=True, slots=True)
class Settled:
    """An unknown outcome of a `once` attempt is known now: it was done, or it was not."""

    node: str
    attempt: int
    done: bool
    by: Literal["verify", "late_result", "person"]
    event: Literal["settled"] = "settled"


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """Only a person can go on: approve a call, say whether an effect happened, or decide what to do without a route.

    ``node`` is the goal where ``kind`` is decide. ``inputs`` is what the call would be given, ``options`` what may be
    answered. After ``until``, on the run's clock, the policy answers instead.
    """

    question: str
    kind: Literal["approve", "settle", "decide"]
    node: str
    reason: str
    inputs: tuple[tuple[str, str, str | None], ...] = ()
    options: tuple[str, ...] = ()
    until: float | None = None
    event: Literal["question_asked"] = "question_asked"


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know; nothing failed."""

    node: str | None
    message: str
    event: Literal["warned"] = "warned"


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The end, or a wait for people. ``route`` names the nodes whose results stand, in order of completion.

    ``values`` names the provider of each value of the goal that was reached. ``undone`` holds every undo that was
    called, in order, and whether it worked.
    """

    outcome: Literal["met", "demoted", "failed", "waiting", "cancelled"]
    goal: str | None
    route: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    undone: tuple[tuple[str, bool], ...]
    reason: str | None = None
    event: Literal["run_finished"] = "run_finished"
