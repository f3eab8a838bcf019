"""Runs as log lines: one per decision and one per failed attempt, in plain words with flat fields."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, Literal, Protocol, TextIO

from orchestrator.events import (
    Absorbed,
    Answered,
    AttemptEnded,
    AttemptStarted,
    CallStarted,
    Escalated,
    Event,
    LastChance,
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
)
from orchestrator.telemetry.texts import (
    answers_text,
    blocked_text,
    concern_text,
    inputs_text,
    options_text,
    outputs_text,
    route_text,
    undone_text,
)
from orchestrator.units import MICRO
from orchestrator.weight import View

__all__ = ("LogSink", "Logger", "configure_logging")

Level = Literal["debug", "info", "warning", "error"]
Fields = dict[str, Any]
Line = tuple[Level, str, Fields]


class Logger(Protocol):
    """What is asked of a structlog logger."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Log *event* at the level debug."""

    def info(self, event: str, **fields: Any) -> Any:
        """Log *event* at the level info."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Log *event* at the level warning."""

    def error(self, event: str, **fields: Any) -> Any:
        """Log *event* at the level error."""


class LogSink:
    """Write the records of any number of runs as log lines; to be fed by an `Outlet`.

    Args:
        logger: Takes the lines.
        redact: Applied to every text of a line.
    """

    def __init__(self, logger: Logger, *, redact: Callable[[str], str] = str) -> None:
        self._logger = logger
        self._redact = redact

    def __call__(self, run_id: str, record: Record) -> None:
        """Write the line of *record*, if it has one. ``at`` is seconds on the run's clock."""
        line = _line(record.event)
        if line is None:
            return
        level, words, fields = line
        fields = {"run": run_id, "seq": record.seq, "at": record.at} | fields
        write = getattr(self._logger, level)
        write(words, **{name: _redacted(value, self._redact) for name, value in fields.items() if value is not None})


@singledispatch
def _line(event: Event) -> Line | None:
    """Return how *event* is logged; None for a fact that says nothing new."""
    return None


@_line.register
def _run_started(event: RunStarted) -> Line | None:
    return _shown(event.view)


@_line.register
def _view_changed(event: ViewChanged) -> Line | None:
    return _shown(event.view)


def _shown(view: View) -> Line | None:
    """Return the line of what a run is shown of health; None where nothing bars a way and no node takes attention."""
    fields = {
        "barred": blocked_text(view.vetoes),
        "gated": blocked_text(view.gates),
        "spent": ", ".join(view.spent) or None,
        "concern": concern_text(view.concern),
    }
    told = view.vetoes or view.gates or view.spent or (view.concern is not None and view.concern.node)
    return ("info", "health", {"view": view.id, **fields}) if told else None


@_line.register
def _route_planned(event: RoutePlanned) -> Line:
    fields = {
        "goal": event.goal,
        "route": route_text(event.route),
        "weight": event.weight / MICRO,
        "verdict": event.verdict,
        "trigger": event.trigger,
        "usd": event.usd,
        "seconds": event.seconds,
    }
    return "info", "route planned", fields


@_line.register
def _attempt_started(event: AttemptStarted) -> Line:
    fields = {"node": event.node, "attempt": event.attempt, "effect": event.effect or "unmarked"}
    return "debug", "attempt started", fields


@_line.register
def _attempt_ended(event: AttemptEnded) -> Line | None:
    if event.outcome != "failed":
        return None
    fields: Fields = {"node": event.node, "attempt": event.attempt, "seconds": event.seconds, "usd": event.usd}
    if event.failure is not None:
        fields |= {
            "error": event.failure.type,
            "message": event.failure.message or None,
            "transient": event.failure.transient,
            "happened": event.failure.happened,
        }
    return "warning", "attempt failed", fields


@_line.register
def _call_started(event: CallStarted) -> Line:
    return "debug", "call started", {"call": event.kind, "subject": event.subject}


@_line.register
def _node_excluded(event: NodeExcluded) -> Line:
    return "info", "node excluded", {"node": event.node, "reason": event.reason, "transient": event.transient}


@_line.register
def _absorbed(event: Absorbed) -> Line:
    return "info", "failure absorbed", {"answers": answers_text(event.answers)}


@_line.register
def _retried(event: Retried) -> Line:
    return "info", "retry", {"answers": answers_text(event.answers), "node": event.node, "until": event.until}


@_line.register
def _rerouted(event: Rerouted) -> Line:
    fields = {
        "answers": answers_text(event.answers),
        "trigger": event.trigger,
        "node": event.node,
        "cause": event.cause,
        "goal": event.goal,
        "before": route_text(event.before),
        "after": route_text(event.after),
        "weight_before": event.weight_before / MICRO,
        "weight_after": event.weight_after / MICRO,
        "verdict": event.verdict,
    }
    return "info", "reroute", fields


@_line.register
def _last_chance(event: LastChance) -> Line:
    fields = {
        "answers": answers_text(event.answers),
        "nodes": ", ".join(event.nodes),
        "goal": event.goal,
        "after": route_text(event.after),
        "weight_after": event.weight_after / MICRO,
    }
    return "warning", "last chance", fields


@_line.register
def _escalated(event: Escalated) -> Line:
    fields = {
        "answers": answers_text(event.answers),
        "by": event.by,
        "decision": event.decision,
        "goal": event.goal,
        "goal_after": event.goal_after,
        "reason": event.reason,
        "blocked": blocked_text(event.blocked),
        "nodes": ", ".join(event.nodes) or None,
        "value": event.value,
        "words": event.words,
    }
    return "warning", "escalation", fields


@_line.register
def _model_asked(event: ModelAsked) -> Line:
    fields = {
        "model": event.model,
        "goal": event.goal,
        "reason": event.reason,
        "options": options_text(event.options),
        "blocked": blocked_text(event.blocked),
    }
    return "info", "model asked", fields


@_line.register
def _model_answered(event: ModelAnswered) -> Line:
    fields = {
        "choice": event.choice,
        "error": event.error,
        "words": event.reason or None,
        "values": outputs_text(event.values),
        "calls": event.calls,
        "usd": event.usd,
        "tokens": event.tokens,
        "seconds": event.seconds,
    }
    return ("info", "model answered", fields) if event.error is None else ("warning", "no answer of the model", fields)


@_line.register
def _run_ended(event: RunEnded) -> Line:
    return "warning", "run stopped", {"answers": answers_text(event.answers), "reason": event.reason}


@_line.register
def _settled(event: Settled) -> Line:
    fields = {"node": event.node, "attempt": event.attempt, "done": event.done, "by": event.by}
    return "info", "outcome settled", fields


@_line.register
def _question_asked(event: QuestionAsked) -> Line:
    fields = {
        "question": event.question,
        "about": event.kind,
        "node": event.node,
        "reason": event.reason,
        "inputs": inputs_text(event.inputs),
        "options": " | ".join(event.options) or None,
        "until": event.until,
    }
    return "warning", "question asked", fields


@_line.register
def _answered(event: Answered) -> Line:
    fields = {
        "question": event.question,
        "answer": event.answer,
        "by": event.by or None,
        "reason": event.reason,
        "values": outputs_text(event.values),
    }
    return "info", "question answered", fields


@_line.register
def _run_resumed(event: RunResumed) -> Line:
    return "info", "run resumed", {"driver": event.driver or None}


@_line.register
def _warned(event: Warned) -> Line:
    return "warning", "warning", {"node": event.node, "message": event.message}


@_line.register
def _run_finished(event: RunFinished) -> Line:
    fields = {
        "outcome": event.outcome,
        "goal": event.goal,
        "route": route_text(event.route),
        "undone": undone_text(event.undone),
        "reason": event.reason,
    }
    return "error" if event.outcome == "failed" else "info", "run finished", fields


def configure_logging(
    stream: TextIO, *, json: bool, redact: Callable[[str], str] = str, level: int = logging.INFO
) -> None:
    """Configure structlog for a program of our own: the command line, never the library inside an application.

    Args:
        stream: Where lines go.
        json: One JSON object per line; otherwise aligned text, coloured if *stream* is a terminal.
        redact: Applied to every text of every line, tracebacks included.
        level: Least level that is written, as in `logging`.
    """
    import structlog

    def redacted(_logger: Any, _method: str, line: Mapping[str, Any]) -> Mapping[str, Any]:
        return {_redacted(name, redact): _redacted(value, redact) for name, value in line.items()}

    renderer = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redacted,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Return *value* with every text in it redacted; what is no plain data becomes text first."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {_redacted(name, redact): _redacted(item, redact) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, redact) for item in value]
    return redact(repr(value))
