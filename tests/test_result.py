"""The result of a run, folded from its log."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator.events import Record, RunFinished
from orchestrator.result import Attempt, Question, fold
from tests.recorded_runs import (
    RECORDED,
    RUN,
    SEGMENTED,
    approved,
    happy,
    modelled,
    refused,
    ruled,
    settled_by_person,
    waiting,
)


@pytest.mark.parametrize("record", [*RECORDED, *SEGMENTED], ids=lambda record: record.__name__)
def test_a_result_is_plain_data(record: Callable[[], list[Record]]) -> None:
    """Of every way in which a run can go the result can be written as JSON."""
    result = fold(record())
    assert result.run_id == RUN
    assert json.loads(json.dumps(result.as_dict()))["outcome"] == result.outcome


def test_what_a_model_took_is_part_of_the_run() -> None:
    """Calls of a model for control are counted apart; its money and tokens are the run's."""
    result = fold(modelled())
    assert (result.model_calls, result.usd, result.tokens) == (1, 0.4375, 1021)
    assert (result.escalations, result.demotions) == (1, 1)
    assert fold(ruled()).model_calls == 1
    assert fold(happy()).model_calls == 0


def test_a_refused_call_is_an_attempt_that_was_never_made() -> None:
    """A person's no to a call is a row of the attempts, with the number 0 and the reason."""
    (refusal,) = [attempt for attempt in fold(refused()).attempts if attempt.outcome == "refused"]
    assert refusal == Attempt("stripe", 0, "refused", message="not this one")
    assert [attempt.outcome for attempt in fold(approved()).attempts] == ["succeeded", "succeeded"]
    assert "refused" not in [attempt.outcome for attempt in fold(settled_by_person()).attempts]


def test_questions_are_those_that_are_open() -> None:
    """A waiting run's result has its questions with all that is needed to answer; later waits ask anew."""
    (question,) = fold(approved()[:-4], lookup=lambda value, provider: f"{value} of {provider}").questions
    assert question == Question(
        "approve:stripe",
        "approve",
        "stripe",
        "over 10,000",
        {"order": "order of crm"},
        ("yes", "no", "edit"),
        3600.0,
    )
    records = refused()
    waits = [place for place, record in enumerate(records, 1) if record.event.event == "run_finished"]
    asked = [[question.id for question in fold(records[:place]).questions] for place in waits]
    assert asked == [["approve:stripe", "decide:1"], ["decide:1"], []]


def test_a_later_end_replaces_an_earlier_one() -> None:
    """A run that waited is running again once it is answered, and ends as its last record says."""
    records = approved()
    middle = next(place for place, record in enumerate(records) if record.event.event == "answered")
    assert fold(records[:middle]).outcome == "waiting"
    assert fold(records[: middle + 1]).outcome == "running"
    assert fold(records[: middle + 1]).questions == ()
    assert (fold(records).outcome, fold(records).route) == ("met", ("crm", "stripe"))


def test_what_comes_after_the_end_changes_no_outcome() -> None:
    """Only a wait can be followed by more; a run that is over stays over."""
    records = happy()
    assert fold([*records, waiting()[-2]]).outcome == "met"
    assert isinstance(records[-1].event, RunFinished)


def test_a_person_may_settle_what_nobody_knew() -> None:
    """An effect that did not happen, as a person says, cost nothing."""
    result = fold(settled_by_person())
    stripe = result.attempts[1]
    assert (stripe.outcome, stripe.settled, stripe.usd) == ("unknown", "not done", 0.0)
    assert result.usd == 0.25
