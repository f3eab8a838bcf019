"""A run's log as text: readable, and the same for every run that decides the same.

One line per event, in the order of the log; that a wait is over says nothing new and has none. Nothing that differs
from run to run is in it: no ids, keys, digests or weights; times are rounded to milliseconds. It is what a failed test
shows and what a snapshot keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.events import (
    Absorbed,
    Answered,
    Answers,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    CancelRequested,
    Escalated,
    Event,
    Failure,
    LastChance,
    LateResult,
    ModelAnswered,
    ModelAsked,
    NodeExcluded,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunFinished,
    RunResumed,
    RunStarted,
    Settled,
    ViewChanged,
    Warned,
    Woken,
)
from orchestrator.result import RunResult

__all__ = ("at_text", "story")


def story(run: RunResult | Iterable[Record], *, messages: bool = True) -> str:
    """Return what happened in a run, one line per event.

    Args:
        run: A result, or the records of a log.
        messages: Whether failures are told with their message, which may differ from run to run.
    """
    records = run.records if isinstance(run, RunResult) else run
    return "\n".join(_line(record, messages) for record in records if not isinstance(record.event, Woken))


def _line(record: Record, messages: bool) -> str:
    word, text = _TOLD[type(record.event)](record.event)
    if messages:
        text += _message(record.event)
    return f"{at_text(record.at):>10}  {word:<10}  {text}".rstrip()


def at_text(seconds: float) -> str:
    """Return a moment of a run's clock, rounded to milliseconds."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"


def _message(event: Event) -> str:
    if isinstance(event, ModelAnswered):
        return f": {event.reason}" if event.reason else ""
    failure = event.failure if isinstance(event, AttemptEnded | LateResult) else None
    return "" if failure is None or not failure.message else f": {failure.message}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _route(names: Iterable[str]) -> str:
    return " > ".join(names) or "nothing left to call"


def _given(inputs: Iterable[tuple[str, str, str | None]]) -> str:
    """Return what a call is given, and from whom."""
    told = []
    for parameter, value, provider in inputs:
        name = parameter if parameter == value else f"{parameter} = {value}"
        told.append(f"{name} done without" if provider is None else f"{name} from {provider}")
    return f"  ({', '.join(told)})" if told else ""


def _answers(answers: Answers) -> str:
    return f"  (answers {', '.join(f'{node} #{attempt}' for node, attempt in answers)})" if answers else ""


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _failure(failure: Failure | None) -> str:
    if failure is None:
        return ""
    happened = {"unknown": ", nobody knows whether it happened", "yes": ", and it happened", "no": ""}
    return f"  {failure.type}{happened[failure.happened]}"


def _ended(event: AttemptEnded) -> tuple[str, str]:
    word = {"succeeded": "answered", "inapplicable": "no part"}.get(event.outcome, event.outcome)
    return word, f"{event.node} #{event.attempt}{_failure(event.failure)}"


def _late(event: LateResult) -> tuple[str, str]:
    return "late", f"{event.node} #{event.attempt} {event.outcome}{_failure(event.failure)}"


def _call_ended(event: CallEnded) -> tuple[str, str]:
    said = {True: "yes", False: "no", None: "not known"}[event.ok]
    return "said", f"{event.kind} of {event.subject}: {said}{f' ({event.reason})' if event.reason else ''}"


def _rerouted(event: Rerouted) -> tuple[str, str]:
    cause = " ".join(word for word in (event.node, event.cause) if word)
    return "reroute", f"{_route(event.before)} -> {_route(event.after)}{_why(cause)}{_answers(event.answers)}"


def _escalated(event: Escalated) -> tuple[str, str]:
    decided = event.decision.replace("_", " ")
    more = [event.goal_after or "", *event.nodes, event.value or ""]
    text = " ".join([decided, *(word for word in more if word)])
    return "escalation", f"{text}, decided by {event.by}: {event.goal} is {event.reason}{_answers(event.answers)}"


def _asked(event: QuestionAsked) -> tuple[str, str]:
    until = "" if event.until is None else f", until {at_text(event.until)}"
    options = f"  [{', '.join(event.options)}]" if event.options else ""
    return "question", f"{event.question}{until}: {event.reason}{_given(event.inputs)}{options}"


def _answered(event: Answered) -> tuple[str, str]:
    values = f" with {_names(value.name for value in event.values)}" if event.values else ""
    by = f", says {event.by}" if event.by else ""
    return "person", f"{event.question}: {event.answer}{values}{by}{f' ({event.reason})' if event.reason else ''}"


def _model_asked(event: ModelAsked) -> tuple[str, str]:
    return "model", f"asked about {event.goal}: {event.reason}  [{', '.join(option.id for option in event.options)}]"


def _model_answered(event: ModelAnswered) -> tuple[str, str]:
    return "model", f"chose {event.choice}" if event.choice is not None else f"gave no answer: {event.error}"


def _finished(event: RunFinished) -> tuple[str, str]:
    parts = [event.outcome if event.goal is None else f"{event.outcome} {event.goal}", _route(event.route)]
    if event.outcome == "waiting":
        return "waits", (event.reason or "").removeprefix("waiting ")
    if event.outcome in ("failed", "cancelled"):
        parts = [f"{event.outcome}{_why(event.reason)}"]
    parts += [f"{value} from {provider}" for value, provider in event.values]
    parts += [f"{node} {'undone' if done else 'not undone'}" for node, done in event.undone]
    return "end", "; ".join(parts)


_TOLD: Mapping[type, Callable[[Any], tuple[str, str]]] = {
    RunStarted: lambda e: (
        "start",
        f"{e.goal}; given {_names(value.name for value in e.inputs)}"
        + (f"; without {_names(name for name, _ in e.down)}" if e.down else ""),
    ),
    RoutePlanned: lambda e: ("route", f"{_route(e.route)}{'' if e.trigger == 'start' else f'  ({e.trigger})'}"),
    AttemptStarted: lambda e: ("call", f"{e.node} #{e.attempt}{_given(e.inputs)}"),
    AttemptEnded: _ended,
    LateResult: _late,
    CallStarted: lambda e: ("call", f"{e.kind} of {e.subject}"),
    CallEnded: _call_ended,
    NodeExcluded: lambda e: ("out", f"{e.node}: {e.reason.removeprefix('excluded: ')}"),
    Absorbed: lambda e: ("absorbed", _answers(e.answers).strip()),
    Retried: lambda e: ("retry", f"{e.node} at {at_text(e.until)}{_answers(e.answers)}"),
    Rerouted: _rerouted,
    LastChance: lambda e: ("last try", f"{_names(e.nodes)}: {_route(e.after)}{_answers(e.answers)}"),
    Escalated: _escalated,
    ModelAsked: _model_asked,
    ModelAnswered: _model_answered,
    RunEnded: lambda e: ("stop", f"{e.reason}{_answers(e.answers)}"),
    Settled: lambda e: ("settled", f"{e.node} #{e.attempt} {'was done' if e.done else 'was not done'}, says {e.by}"),
    QuestionAsked: _asked,
    Answered: _answered,
    ViewChanged: lambda e: ("view", f"changed; vetoed: {_names(name for name, _ in e.view.vetoes)}"),
    CancelRequested: lambda e: ("cancel", e.reason),
    RunResumed: lambda e: ("resumed", ""),
    Warned: lambda e: ("warning", e.message),
    RunFinished: _finished,
}
"""How each event is told: a word and a text."""
