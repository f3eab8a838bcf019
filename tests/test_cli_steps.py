"""A run as a person follows it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from orchestrator.cli.steps import line, step_table, summary
from orchestrator.events import Escalated, Record
from orchestrator.result import fold
from orchestrator.weight import View
from tests.recorded_runs import RECORDED, SEGMENTED, modelled, refused, resumed, ruled, shown


def told(records: list[Record], *labels: str) -> list[str]:
    """Return the lines of narration that begin with one of the labels."""
    lines = [line(record) for record in records]
    return [text for text in lines if text is not None and text.split()[0] in labels]


def test_a_model_is_told_in_three_lines() -> None:
    """What it was asked, what it chose and why, and what came of it."""
    assert told(modelled(), "asked", "model", "demoted") == [
        "asked       model small: no route to refunded (no_route)",
        "model       chose demote:told in 1.50 s: the outage will last",
        "demoted     refunded -> told (no_route, decided by a model)",
    ]
    assert told(ruled(), "model", "escalated") == [
        "model       no answer (timeout): no answer within 10 s",
        "escalated   give up (no_route)",
    ]
    assert "1 model call" in summary(fold(modelled()))


def test_people_are_told_question_and_answer() -> None:
    """A question and its answer are a line each, with the name of who answered where it is known."""
    assert told(refused(), "question", "answered") == [
        "question    approve:stripe: over 10,000",
        "question    decide:1: no_route",
        "answered    approve:stripe no by Ann: not this one",
        "question    decide:1: no_route",
        "answered    decide:1 demote:told",
    ]
    assert told(resumed(), "resumed") == ["resumed     by the driver local"]


def test_what_an_escalation_leads_to_is_told() -> None:
    """Nodes that are tried again and a value that was supplied are named."""
    retry = Escalated(1, (), "person", "retry", "refunded", None, "no_route", (), nodes=("razorpay", "stripe"))
    supply = Escalated(2, (), "model", "supply", "refunded", None, "no_route", (), value="refund")
    assert [line(Record(1, 0.0, event)) for event in (retry, supply)] == [
        "escalated   retry razorpay, stripe (no_route, decided by a person)",
        "escalated   supply refund (no_route, decided by a model)",
    ]


@pytest.mark.parametrize("record", [*RECORDED, *SEGMENTED], ids=lambda record: record.__name__)
def test_every_run_has_a_table(record: Callable[[], list[Record]]) -> None:
    """Every way in which a run can go is a table and a last line."""
    result = fold(record())
    out = io.StringIO()
    Console(file=out, width=200).print(step_table(result))
    ended = [line.event.node for line in record() if line.event.event == "attempt_ended"]
    assert all(node in out.getvalue() for node in ended)
    assert summary(result)


def test_who_is_out_of_use_is_told_before_the_route() -> None:
    """A node that a run has to do without has a reason in its story; of many, three are named."""
    reason = "circuit open for 3.7s: 5 failures in a row"
    records = shown(View("health 1", (), vetoes=(("stripe", reason),), gates=(("crm", "an audit"),)))
    assert [line(record) for record in records] == [
        f"health      stripe is out of use ({reason}); a person is asked before crm (an audit)",
        "route       crm > stripe (2.5)",
    ]
    many = View("health 2", (), vetoes=tuple((name, "down") for name in "abcde"))
    _, _, later = shown(View("declared", ()), many)
    assert line(later) == "health      a is out of use (down); b is out of use (down); c is out of use (down); 2 more"
    assert told(shown(View("declared", ()), View("declared", ())), "health") == []
    out = io.StringIO()
    Console(file=out, width=200).print(step_table(fold(records)))
    assert f"stripe is out of use ({reason})" in out.getvalue()
