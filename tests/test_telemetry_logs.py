"""Runs as log lines, and how a program of our own sets logging up."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import structlog

from orchestrator.events import Answered, AttemptEnded, Decision, ModelAnswered, Record, RunResumed
from orchestrator.telemetry import logs
from orchestrator.telemetry.logs import LogSink, configure_logging
from orchestrator.weight import Concern, View
from tests.recorded_runs import (
    RECORDED,
    RUN,
    SEGMENTED,
    Recording,
    demoted,
    failed,
    modelled,
    refused,
    rerouted,
    ruled,
    shown,
    timeout,
)

TOLD = (Answered, ModelAnswered, RunResumed)
"""The facts that have a line beside failed attempts."""


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        """Keep a line."""
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        """Keep a line."""
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Keep a line."""
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        """Keep a line."""
        self.lines.append(("error", event, fields))


def logged(records: list[Record], redact: Callable[[str], str] = str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the lines of one run."""
    lines = Lines()
    sink = LogSink(lines, redact=redact)
    for record in records:
        sink(RUN, record)
    return lines.lines


@pytest.fixture(autouse=True)
def fresh_structlog() -> Iterator[None]:
    """Leave structlog as it was found."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_run_reads_as_plain_words() -> None:
    """A run is a line per decision and per failed attempt, each with its level."""
    assert [(level, words) for level, words, _ in logged(rerouted())] == [
        ("info", "route planned"),
        ("debug", "attempt started"),
        ("debug", "attempt started"),
        ("warning", "attempt failed"),
        ("info", "node excluded"),
        ("info", "reroute"),
        ("debug", "attempt started"),
        ("info", "run finished"),
    ]


def test_a_line_says_run_place_and_time() -> None:
    """Every line has the run's id, the record's number and the run's own time."""
    (failure,) = [fields for _, words, fields in logged(rerouted()) if words == "attempt failed"]
    assert failure == {
        "run": RUN,
        "seq": 6,
        "at": 0.9,
        "node": "stripe",
        "attempt": 1,
        "error": "timeout",
        "message": "no answer",
        "transient": True,
        "happened": "no",
        "seconds": 0.4,
        "usd": 0.125,
    }


def test_what_a_reroute_says() -> None:
    """A reroute names what it answers, both routes as text, and weights in units."""
    (reroute,) = [fields for _, words, fields in logged(rerouted()) if words == "reroute"]
    assert reroute == {
        "run": RUN,
        "seq": 8,
        "at": 0.9,
        "answers": "stripe #1",
        "trigger": "failed",
        "node": "stripe",
        "cause": "timeout",
        "goal": "refunded",
        "before": "stripe",
        "after": "razorpay",
        "weight_before": 1.5,
        "weight_after": 2.0,
        "verdict": "found",
    }


def test_only_a_failed_run_is_an_error() -> None:
    """A demoted run ends with an info, a failed one with an error."""
    assert logged(demoted())[-1][:2] == ("info", "run finished")
    assert logged(failed())[-1][:2] == ("error", "run finished")
    assert logged(failed())[-1][2]["undone"] == "stripe (failed)"


def test_every_decision_has_a_line() -> None:
    """No kind of decision is left out; of the facts, failed attempts and answers are logged, and a run that goes on."""
    dispatch = logs._line.dispatch
    assert [kind.__name__ for kind in get_args(Decision) if dispatch(kind) is dispatch(object)] == []
    for record in (*RECORDED, *SEGMENTED):
        records = record()
        expected = [
            line
            for line in records
            if not line.is_fact
            or isinstance(line.event, TOLD)
            or (isinstance(line.event, AttemptEnded) and line.event.outcome == "failed")
        ]
        assert [fields["seq"] for _, _, fields in logged(records)] == [line.seq for line in expected]


def test_what_is_said_of_a_model() -> None:
    """A model that is asked is a line with the options, and so is its answer; one that fails to is a warning."""
    asked, answered, escalated = logged(modelled())[5:8]
    assert asked[:2] == ("info", "model asked")
    assert asked[2]["options"] == "retry:razorpay,stripe | demote:told | supply:refund | ask | give_up"
    assert answered[:2] == ("info", "model answered")
    assert {name: answered[2][name] for name in ("choice", "words", "calls", "usd", "tokens", "seconds")} == {
        "choice": "demote:told",
        "words": "the outage will last",
        "calls": 1,
        "usd": 0.0625,
        "tokens": 700,
        "seconds": 1.5,
    }
    assert (escalated[2]["by"], escalated[2]["words"]) == ("model", "the outage will last")
    level, words, fields = logged(ruled())[6]
    assert (level, words, fields["error"]) == ("warning", "no answer of the model", "timeout")
    assert "choice" not in fields


def test_what_is_said_of_people() -> None:
    """A question says what would be done, with what and until when; an answer says who gave it."""
    lines = logged(refused())
    (question, *_) = [fields for _, words, fields in lines if words == "question asked"]
    assert question["inputs"] == "order: order of crm"
    assert question["options"] == "yes | no | edit"
    assert question["until"] == 3600.0
    (answer, _) = [fields for _, words, fields in lines if words == "question answered"]
    assert {name: answer[name] for name in ("question", "answer", "by", "reason")} == {
        "question": "approve:stripe",
        "answer": "no",
        "by": "Ann",
        "reason": "not this one",
    }


@pytest.mark.parametrize("record", [*RECORDED, *SEGMENTED], ids=lambda record: record.__name__)
def test_lines_are_flat_and_redacted(record: Callable[[], list[Record]]) -> None:
    """Fields are single texts and numbers, none is empty, and every text went through the redaction."""
    for _, _, fields in logged(record(), redact=lambda _: "■"):
        assert {type(value) for value in fields.values()} <= {str, int, float, bool}
        assert {value for value in fields.values() if isinstance(value, str)} == {"■"}


def test_a_failure_that_nobody_explained_is_logged() -> None:
    """A failed attempt without a reason still has its line."""
    run = Recording()
    run.add(AttemptEnded("crm", 0, 1, "failed"))
    assert [words for _, words, _ in logged(run.records)] == ["attempt failed"]


def test_json_lines_are_json() -> None:
    """With json each line is one object, with level, time in UTC and the fields; ASCII, so that any stream takes it."""
    stream = io.StringIO()
    configure_logging(stream, json=True)
    sink = LogSink(structlog.get_logger())
    for record in [*rerouted()[:2], *Recording().fail("crm", failure=timeout(message="ü\nü")).records]:
        sink(RUN, record)
    assert stream.getvalue().isascii()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["route planned", "attempt failed"]
    assert lines[0]["level"] == "info"
    assert lines[0]["timestamp"].endswith("Z")
    assert lines[0]["weight"] == 2.5
    assert lines[1]["message"] == "ü\nü"


def test_text_lines_are_for_people() -> None:
    """Without json a line is text, and without a terminal it has no colours."""
    stream = io.StringIO()
    configure_logging(stream, json=False)
    LogSink(structlog.get_logger())(RUN, rerouted()[-1])
    assert "run finished" in stream.getvalue()
    assert "route='crm > razorpay'" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_colours() -> None:
    """Text on a terminal is coloured."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logging(stream, json=False)
    LogSink(structlog.get_logger())(RUN, rerouted()[-1])
    assert "\x1b[" in stream.getvalue()


def test_the_least_level_holds() -> None:
    """Attempts that start are logged when asked for, and not otherwise."""
    for level, expected in ((logging.INFO, 0), (logging.DEBUG, 3)):
        stream = io.StringIO()
        configure_logging(stream, json=True, level=level)
        sink = LogSink(structlog.get_logger())
        for record in rerouted():
            sink(RUN, record)
        assert stream.getvalue().count("attempt started") == expected


@pytest.mark.parametrize("as_json", [True, False])
def test_no_line_of_the_program_tells_a_secret(as_json: bool) -> None:
    """Everybody's lines are redacted: words, names, nested values, objects, bound context and tracebacks."""
    secret = 'hunter"2\\'

    class Client:
        def __repr__(self) -> str:
            return f"Client({secret})"

    stream = io.StringIO()
    configure_logging(stream, json=as_json, redact=lambda text: text.replace(secret, "***"))
    structlog.contextvars.bind_contextvars(token=secret)
    logger = structlog.get_logger()
    words = f"using {secret}"
    logger.info(words, header={secret: [secret, (secret,)]}, client=Client(), count=3)
    try:
        raise ConnectionError(secret)
    except ConnectionError:
        logger.exception("broken")
    told = stream.getvalue()
    assert "hunter" not in told
    assert told.count("***") >= 8
    assert "ConnectionError: ***" in told


def test_what_a_run_is_shown_of_health() -> None:
    """Who is out of use, and what takes attention, is a line before the plan; a view with nothing to tell is none."""
    reason = "circuit open for 3.7s: 5 failures in a row"
    sick = View("health 3", (), vetoes=(("crm", reason),), concern=Concern("circuit", "crm", 0.99, reason))
    (line,) = [line for line in logged(shown(View("declared", ()), sick)) if line[1] == "health"]
    assert line[0] == "info"
    assert {name: line[2][name] for name in ("view", "barred", "concern", "at")} == {
        "view": "health 3",
        "barred": f"crm: {reason}",
        "concern": f"crm: {reason} (circuit, 0.99)",
        "at": 1.0,
    }
    assert [words for _, words, _ in logged(shown(sick))] == ["health", "route planned"]
