"""The failure matrix: every single failure and every pair of failures of a graph, and what becomes of a run then.

Each set of failures is run on the real run machine in virtual time, calling nothing, and judged: every failed attempt
answered by exactly one decision; no `once` effect twice; the asked goal met wherever a route to it is left, and an
explicit demotion, escalation or question where none is; every value of a reached goal there. Guards, checks and gates
pass, as in any simulation. A run that needs people ends with its questions, which is an answer too; a model that is
asked has no answer, so that the policy decides, unless a verdict is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nsmallest
from itertools import combinations, product
from math import prod
from typing import Literal, get_args

from orchestrator.chance import unit_interval
from orchestrator.drivers.first import Blueprint
from orchestrator.escalation import Verdict
from orchestrator.events import (
    Absorbed,
    Answered,
    Escalated,
    LastChance,
    ModelAnswered,
    ModelAsked,
    QuestionAsked,
    Rerouted,
    Retried,
    RunEnded,
    Value,
)
from orchestrator.faults import Fault, FaultPlan
from orchestrator.graph import Graph, Node
from orchestrator.planner.behind import values_behind
from orchestrator.result import DECISIONS, RunResult
from orchestrator.run import AskModel, Call, Start
from orchestrator.runtime import Orchestrator
from orchestrator.simulate import Coming, Simulation
from orchestrator.testing.judge import judge
from orchestrator.testing.stories import story

__all__ = ("KINDS", "FailureKind", "FailureMatrix", "Row", "failure_matrix")

FailureKind = Literal["down", "permanent", "hang", "wrong", "unknown"]
KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
DEFAULT: tuple[FailureKind, ...] = ("down", "hang")

Failures = tuple[tuple[str, FailureKind], ...]

Verdicts = Verdict | Callable[[ModelAsked], Verdict]
"""What a model answers, to every question or to each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One set of failures and the run that met them."""

    failed: Failures
    """The nodes that fail whenever they are called, each with the kind of its failure."""
    result: RunResult = field(repr=False)
    problems: tuple[str, ...] = ()
    """What is wrong with the run, in words; empty where every failure was answered as it must be."""

    @property
    def id(self) -> str:
        """The set in words, as ``stripe+email:hang``; a node without a kind is down."""
        return row_id(self.failed)

    @property
    def outcome(self) -> str:
        """How the run ended: met, demoted, failed or waiting."""
        return self.result.outcome

    @property
    def goal(self) -> str | None:
        """The goal that was reached."""
        return self.result.goal

    @property
    def route(self) -> tuple[str, ...]:
        """The nodes whose results stand."""
        return self.result.route

    @property
    def met_it(self) -> bool:
        """Whether the run called any of the nodes that fail; else they are not on the route."""
        return any(attempt.node in dict(self.failed) for attempt in self.result.attempts)

    @property
    def answers(self) -> dict[str, str]:
        """Which decision answered each failed attempt, as ``{"stripe #1": "reroute-1"}``."""
        failed = (attempt for attempt in self.result.attempts if attempt.answer is not None)
        return {f"{attempt.node} #{attempt.attempt}": attempt.answer or "" for attempt in failed}

    @property
    def ended(self) -> str:
        """The end in a few words."""
        if self.outcome == "met":
            return f"{self.goal} met"
        if self.outcome == "demoted":
            return f"demoted to {self.goal}"
        if self.outcome == "waiting":
            return f"asks {', '.join(question.id for question in self.result.questions)}"
        return f"{self.outcome}: {self.result.reason}"

    @property
    def decided(self) -> str:
        """The decisions that answered the failures, in order."""
        words = []
        for record in self.result.records:
            event = record.event
            if isinstance(event, Absorbed | Retried | Rerouted | LastChance | Escalated | RunEnded) and event.answers:
                words.append(event.decision.replace("_", " ") if isinstance(event, Escalated) else _WORDS[type(event)])
        return ", ".join(dict.fromkeys(words)) or ("undecided" if self.met_it else "not called")

    def __str__(self) -> str:
        return self.id

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The row of a table: what failed, how it ended, the route, and what was decided."""
        wrong = f"  <- {self.problems[0]}" if self.problems else ""
        return self.id, self.ended, " > ".join(self.route) or "-", f"{self.decided}{wrong}"

    def explained(self) -> str:
        """Return what is wrong, and the story of the run."""
        lines = [*(f"problem: {problem}" for problem in self.problems), "", story(self.result)]
        return "\n".join([f"with {self.id}: {self.ended}", *lines])


def row_id(failed: Failures) -> str:
    """Return a set of failures in words."""
    return "+".join(name if kind == "down" else f"{name}:{kind}" for name, kind in failed)


_WORDS = {kind: word.replace("-", " ") for kind, word in DECISIONS.items()}


@dataclass(frozen=True)
class FailureMatrix(Sequence[Row]):
    """All rows, in the order of the failing nodes' names; singles first. Printed, it is a table."""

    rows: tuple[Row, ...]
    told: str
    """How many sets of failures there are, and how many were run."""

    def __getitem__(self, key):  # type: ignore[no-untyped-def]  # as of the tuple
        return self.rows[key]

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, *failed: str) -> Row:
        """Return the row of some nodes, as ``row("stripe", "email:hang")``."""
        wanted = sorted(failed)
        for row in self.rows:
            if sorted(row.id.split("+")) == wanted:
                return row
        raise KeyError(f"there is no row {'+'.join(wanted)!r}")

    @cached_property
    def problems(self) -> tuple[Row, ...]:
        """The rows with something wrong."""
        return tuple(row for row in self.rows if row.problems)

    def check(self) -> None:
        """Raise an `AssertionError` that explains every row with something wrong, if there is one."""
        if self.problems:
            told = "\n\n".join(row.explained() for row in self.problems[:5])
            more = f"\n\nand {len(self.problems) - 5} more" if len(self.problems) > 5 else ""
            raise AssertionError(f"{self.summary()}\n\n{told}{more}")

    def summary(self) -> str:
        """Return how many sets were run, and what became of them."""
        problems = f"; {len(self.problems)} with problems" if self.problems else ""
        return f"{self.told}: {counted(row.outcome for row in self.rows)}{problems}"

    def __str__(self) -> str:
        return "\n".join([self.summary(), *table([row.cells for row in self.rows])])


_OUTCOMES = ("met", "demoted", "waiting", "failed", "running")


def counted(outcomes: Iterable[str]) -> str:
    """Return how often each outcome occurs, from the best to the worst."""
    found = Counter(outcomes)
    return ", ".join(f"{found[outcome]} {outcome}" for outcome in _OUTCOMES if outcome in found) or "nothing can fail"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells of rows as lines of a table."""
    cells = [("FAILED", "END", "ROUTE", "DECIDED"), *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    return [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]])
        for line in cells
    ]


# ------------------------------------------------------------------------------------------------------------- running


def failure_matrix(
    orchestrator: Orchestrator,
    *,
    kinds: Sequence[FailureKind] = DEFAULT,
    size: int = 2,
    goal: str | None = None,
    limit: int = 2000,
    seed: int = 0,
    verdict: Verdicts | None = None,
    approve: bool = False,
) -> FailureMatrix:
    """Run every set of up to *size* failures of a graph, and judge each run.

    Args:
        orchestrator: Holds the graph and the policy.
        kinds: How nodes fail: down, permanent, hang, wrong (nodes with an output contract), unknown (`once` nodes).
        size: Most nodes that fail at the same time.
        goal: The asked goal; default: the best one.
        limit: Where there are more sets, only so many are run: every single failure, and a sample of the others.
        seed: Picks the sample.
        verdict: What a model that decides answers, or a function of the question; default: nothing, so that the policy
            decides. A choice that is not among the options is passed on, for the run to refuse.
        approve: Whether people say yes to calls that are to be approved; default: the run ends with the question.

    Raises:
        ValueError: There is no such kind of failure.
    """
    plan = MatrixPlan(
        orchestrator, kinds=kinds, size=size, goal=goal, limit=limit, seed=seed, verdict=verdict, approve=approve
    )
    return FailureMatrix(tuple(plan.row(failed) for failed in plan.sets), plan.told())


class MatrixPlan:
    """Which sets of failures are to be run; the arguments are those of `failure_matrix`."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        *,
        kinds: Sequence[str] = DEFAULT,
        size: int = 2,
        goal: str | None = None,
        limit: int = 2000,
        seed: int = 0,
        verdict: Verdicts | None = None,
        approve: bool = False,
    ) -> None:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"there is no kind of failure {kind!r}; the kinds are {', '.join(KINDS)}")
        if size < 1 or limit < 1:
            raise ValueError("a failure matrix is of at least one failure at a time, and of at least one set")
        self.blueprint: Blueprint = orchestrator.simulation().blueprint
        self.graph: Graph = self.blueprint.graph
        self.goal = goal
        self.seed = seed
        self.verdict = verdict
        self.approve = approve
        behind = values_behind(self.graph, goal)
        nodes = [node for node in self.graph.nodes if behind.intersection(node.provides)]
        choices = {node.name: fitting for node in nodes if (fitting := fitting_kinds(node, kinds))}
        self.total = sum(
            prod(len(choices[name]) for name in names)
            for number in range(1, size + 1)
            for names in combinations(choices, number)
        )
        sets = list(_sets(choices, 1))
        if self.total <= limit:
            for number in range(2, size + 1):
                sets += _sets(choices, number)
        else:
            larger = (failed for number in range(2, size + 1) for failed in _sets(choices, number))
            rest = nsmallest(max(limit - len(sets), 0), larger, key=lambda failed: unit_interval(seed, str(failed)))
            sets += sorted(rest, key=lambda failed: (len(failed), failed))
        self.sets: tuple[Failures, ...] = tuple(sets)

    def told(self) -> str:
        """Return how many sets there are, and how many are run."""
        single = sum(len(failed) == 1 for failed in self.sets)
        sets = f"{len(self.sets)} sets of failures, {single} single"
        sample = "" if len(self.sets) == self.total else f", a sample of {self.total} (seed {self.seed})"
        return f"{self.graph.name}: {sets}{sample}"

    def row(self, failed: Failures) -> Row:
        """Run one set of failures and judge the run."""
        kinds = dict(failed)
        faults = {node.name: (Fault(kinds.get(node.name, "ok")),) for node in self.graph.nodes}
        result = Simulation(self.blueprint, FaultPlan(faults)).run(goal=self.goal, script=self._script)
        return Row(failed, result, tuple(judge(self.graph, self.blueprint.planner, dict(failed), result.records)))

    def _script(self, asking: Start | Call | AskModel | QuestionAsked) -> Coming | None:
        """Say what models and people answer, where that is given."""
        match asking:
            case AskModel(n=n, question=question) if self.verdict is not None:
                verdict = self.verdict if isinstance(self.verdict, Verdict) else self.verdict(question)
                choice = verdict.choice
                supplied = choice is not None and choice.startswith("supply:")
                values = (Value(choice.removeprefix("supply:")),) if choice is not None and supplied else ()
                answer = ModelAnswered(
                    n, choice, verdict.reason, values, verdict.error, verdict.calls, verdict.usd, verdict.tokens
                )
                return ((0.0, answer),)
            case QuestionAsked(kind="approve", question=id) if self.approve:
                return ((0.0, Answered(id, "yes")),)
        return None


def fitting_kinds(node: Node, kinds: Sequence[str]) -> tuple[FailureKind, ...]:
    """Return the kinds of failure that a node can have."""
    return tuple(
        kind
        for kind in KINDS
        if kind in kinds and (kind != "wrong" or node.output) and (kind != "unknown" or node.effect == "once")
    )


def _sets(choices: dict[str, tuple[FailureKind, ...]], number: int) -> Iterator[Failures]:
    for names in combinations(choices, number):
        for kinds in product(*(choices[name] for name in names)):
            yield tuple(zip(names, kinds, strict=True))
