"""A run as a person follows it: one line per finished step while it runs, a table of the steps at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.events import (
    Answered,
    AttemptEnded,
    CallEnded,
    Escalated,
    LastChance,
    ModelAnswered,
    ModelAsked,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunResumed,
    RunStarted,
    Settled,
    ViewChanged,
    Warned,
)
from orchestrator.units import MICRO

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.result import RunResult
    from orchestrator.weight import View

__all__ = ("line", "route_text", "seconds_text", "step_table", "summary", "told")

MINUTE, HOUR, DAY = 60, 3600, 86400
_LONG = ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s"))


def seconds_text(seconds: float) -> str:
    """Write a time so that it is quick to read."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE:
        return f"{seconds:.2f} s"
    unit, name, part, of = next(row for row in _LONG if seconds >= row[0])
    whole, rest = divmod(int(seconds), unit)
    return f"{whole} {name} {rest // part} {of}" if rest // part else f"{whole} {name}"


def route_text(route: tuple[str, ...]) -> str:
    """Write a route."""
    return " > ".join(route) or "nothing left to call"


@dataclass(frozen=True, slots=True)
class Told:
    """What a decision is called and what it says."""

    label: str
    text: str
    style: str = "yellow"


def _moved(before: tuple[str, ...], was: int, after: tuple[str, ...], now: int) -> str:
    return f"{route_text(before)} ({was / MICRO:g}) -> {route_text(after)} ({now / MICRO:g})"


def _call_ended(event: CallEnded, at: float) -> Told | None:
    if event.kind == "undo":
        return Told("undo", f"{event.subject}: {'done' if event.ok else event.reason}")
    if event.kind == "check" and not event.ok:
        return Told("check", f"{event.subject}: {event.reason}")
    return None


def _escalated(event: Escalated, at: float) -> Told:
    why = f"({event.reason})" if event.by == "policy" else f"({event.reason}, decided by a {event.by})"
    match event.decision:
        case "demote":
            return Told("demoted", f"{event.goal} -> {event.goal_after} {why}")
        case "retry":
            return Told("escalated", f"retry {', '.join(event.nodes)} {why}")
        case "supply":
            return Told("escalated", f"supply {event.value} {why}")
    return Told("escalated", f"{event.decision.replace('_', ' ')} {why}", "red")


def _model_answered(event: ModelAnswered, at: float) -> Told:
    words = f": {event.reason}" if event.reason else ""
    if event.error is not None:
        return Told("model", f"no answer ({event.error}){words}")
    return Told("model", f"chose {event.choice} in {seconds_text(event.seconds)}{words}")


def _answered(event: Answered, at: float) -> Told:
    by, why = f" by {event.by}" if event.by else "", f": {event.reason}" if event.reason else ""
    return Told("answered", f"{event.question} {event.answer}{by}{why}")


FEW = 3
"""Nodes that a line names; of the others it says how many there are."""


def _shown(view: View) -> Told | None:
    """Tell what a run is shown of health: which nodes it has to do without, and which only with a yes."""
    told = [f"{node} is out of use ({reason})" for node, reason in view.vetoes]
    told += [f"a person is asked before {node} ({reason})" for node, reason in view.gates]
    more = len(told) - FEW
    return Told("health", "; ".join(told[:FEW]) + (f"; {more} more" if more > 0 else "")) if told else None


_TOLD: dict[type, Callable[[Any, float], Told | None]] = {
    Retried: lambda event, at: Told("retry", f"{event.node} again in {seconds_text(event.until - at)}"),
    Rerouted: lambda event, at: Told(
        "reroute", _moved(event.before, event.weight_before, event.after, event.weight_after)
    ),
    LastChance: lambda event, at: Told("last chance", ", ".join(event.nodes)),
    Escalated: _escalated,
    ModelAsked: lambda event, at: Told("asked", f"model {event.model}: no route to {event.goal} ({event.reason})"),
    ModelAnswered: _model_answered,
    QuestionAsked: lambda event, at: Told("question", f"{event.question}: {event.reason}"),
    Answered: _answered,
    RunStarted: lambda event, at: _shown(event.view),
    ViewChanged: lambda event, at: _shown(event.view),
    RunResumed: lambda event, at: Told("resumed", event.driver and f"by the driver {event.driver}"),
    Settled: lambda event, at: Told("settled", f"{event.node} was {'done' if event.done else 'not done'}"),
    CallEnded: _call_ended,
    RunEnded: lambda event, at: Told("stopped", event.reason, "red"),
    Warned: lambda event, at: Told("warning", event.message),
}
"""How each decision is told; everything else is an attempt, or says nothing new."""


def told(record: Record) -> Told | None:
    """Return what a person is told of a decision; None where there is nothing to tell."""
    tell = _TOLD.get(type(record.event))
    return None if tell is None else tell(record.event, record.at)


def line(record: Record) -> str | None:
    """Return the line of narration for one record; None for those that say nothing new."""
    event = record.event
    if isinstance(event, RoutePlanned):
        return f"{'route':<12}{route_text(event.route)} ({event.weight / MICRO:g})"
    if isinstance(event, AttemptEnded):
        why = "" if event.failure is None else f"  {event.failure.type}: {event.failure.message}"
        usd = f"  ${event.usd:.4g}" if event.usd else ""
        return f"{event.outcome:<12}{event.node}  {seconds_text(event.seconds)}{usd}{why}"
    decision = told(record)
    return None if decision is None else f"{decision.label:<12}{decision.text}"


def step_table(result: RunResult) -> Table:
    """Return the table of a run's steps: every attempt, and every decision under the attempt that it answers.

    What is asked now stands below the table; what was asked and answered stands in it, once.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("STEP", "NODE", "VIA", "TRIES", "TIME", "USD", "RESULT"):
        table.add_column(name, justify="right" if name in ("STEP", "TRIES", "TIME", "USD") else "left")
    started = [record.event for record in result.records if isinstance(record.event, RunStarted)]
    kinds = {node["name"]: node["kind"] for event in started for node in event.graph["nodes"]}
    outcomes = {(attempt.node, attempt.attempt): attempt for attempt in result.attempts}
    asked = {question.id for question in result.questions}
    step = 0
    for record in result.records:
        event = record.event
        match event:
            case AttemptEnded():
                step += 1
                attempt = outcomes[event.node, event.attempt]
                text = attempt.outcome if attempt.error is None else f"{attempt.outcome}: {attempt.error}"
                usd = f"{attempt.usd:.4f}" if attempt.usd else "-"
                table.add_row(
                    str(step),
                    event.node,
                    kinds.get(event.node, ""),
                    str(event.attempt),
                    seconds_text(event.seconds),
                    usd,
                    "ok" if event.outcome == "succeeded" else text,
                    style=None if event.outcome in ("succeeded", "cancelled") else "red",
                )
            case QuestionAsked() if event.question in asked:
                pass
            case _:
                if isinstance(event, QuestionAsked):
                    asked.add(event.question)
                elif isinstance(event, Answered):
                    asked.discard(event.question)
                decision = told(record)
                if decision is not None:
                    table.add_row("", decision.label, "", "", "", "", decision.text, style=decision.style)
    if result.outcome == "running":
        for attempt in result.attempts:
            if attempt.outcome == "running":
                step += 1
                table.add_row(str(step), attempt.node, kinds.get(attempt.node, ""), str(attempt.attempt), "", "", "…")
    return table


def summary(result: RunResult) -> str:
    """Return the last line: how it went, how long, what it cost."""
    counts = [
        f"{count} {name if count == 1 else plural}"
        for count, name, plural in (
            (result.retries, "retry", "retries"),
            (result.reroutes, "reroute", "reroutes"),
            (result.escalations, "escalation", "escalations"),
            (result.model_calls, "model call", "model calls"),
            (len(result.undone), "undo", "undos"),
        )
        if count
    ]
    head = {
        "met": f"goal {result.goal} met",
        "demoted": f"demoted to goal {result.goal}",
        "failed": f"failed: {result.reason}",
        "cancelled": "cancelled",
        "waiting": "waiting for a person",
    }.get(result.outcome, result.outcome)
    after = "in" if result.outcome in ("met", "demoted") else "after"
    return ", ".join([f"{head} {after} {seconds_text(result.seconds)}", f"${result.usd:.4g}", *counts])
