"""A run's row is the fold of its log, however the log was cut into appends."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import Answered, Event, LateResult, QuestionAsked, Record, RunFinished, RunResumed, Warned
from orchestrator.store.progress import Progress, fold, legible

IDS = st.sampled_from(["approve:a", "settle:b", "decide:1"])
OUTCOMES: st.SearchStrategy[Any] = st.sampled_from(["met", "demoted", "failed", "waiting", "waiting", "cancelled"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Warned, st.none(), st.just("")),
    st.builds(LateResult, st.just("a"), st.just(0), st.just(1), st.just("succeeded")),
    st.just(RunResumed()),
    st.builds(Answered, IDS, st.just("yes")),
    st.builds(
        QuestionAsked,
        IDS,
        st.just("approve"),
        st.just("a"),
        st.just(""),
        until=st.none() | st.integers(0, 9).map(float),
    ),
    OUTCOMES.map(lambda outcome: RunFinished(outcome, "g" if outcome == "met" else None, (), (), (), outcome)),
)
LOGS = st.lists(EVENTS, max_size=12).map(
    lambda events: [Record(seq, float(seq), event) for seq, event in enumerate(events, 1)]
)


@given(log=LOGS, cuts=st.sets(st.integers(0, 12)))
def test_the_fold_does_not_depend_on_how_a_log_is_cut(log: list[Record], cuts: set[int]) -> None:
    """One append of all records, or any number of appends, also through the row, end at the same."""
    whole = fold(Progress(), log, 100.0)
    progress, start = Progress(), 0
    for cut in [*sorted(cut for cut in cuts if cut < len(log)), len(log)]:
        progress = fold(progress, log[start:cut], 100.0)
        progress = Progress.of_row(SimpleNamespace(**progress.columns()))
        start = cut
    assert progress == whole


@given(log=LOGS)
def test_the_outcome_is_that_of_the_last_end(log: list[Record]) -> None:
    """Over, once over, as the last end says; waiting only while nothing follows; else running."""
    found = fold(Progress(), log, 100.0)
    ends = [record for record in log if isinstance(record.event, RunFinished)]
    last = ends[-1].event if ends else None
    over = [record.event for record in ends if record.event.outcome != "waiting"]  # type: ignore[union-attr]
    assert found.last_seq == len(log)
    if isinstance(last, RunFinished) and (last.outcome != "waiting" or log[-1].event is last):
        assert (found.outcome, found.reached, found.reason) == (last.outcome, last.goal, last.reason)
    elif isinstance(last, RunFinished) and not over:
        assert (found.outcome, found.reached, found.reason) == ("running", None, None)
    if not ends:
        assert found.outcome == "running"


@given(log=LOGS)
def test_a_waiting_run_has_the_questions_since_it_last_went_on(log: list[Record]) -> None:
    """Each once, without those that were answered; the deadline is that of the first, in wall time."""
    log = [record for record in log if not isinstance(record.event, RunFinished)]
    before = [Record(0, 0.0, RunFinished("waiting", None, (), (), ())), *log]
    after = RunFinished("waiting", None, (), (), ())
    found = fold(Progress(), [*before, Record(99, 0.0, after)], 100.0)
    expected: dict[str, float | None] = {}
    for record in log:
        match record.event:
            case QuestionAsked(question=question, until=until):
                expected.pop(question, None)
                expected[question] = None if until is None else 100.0 + until - record.at
            case Answered(question=question):
                expected.pop(question, None)
    assert dict(found.asked) == expected
    assert list(dict(found.asked)) == list(expected)
    assert found.until == min((until for until in expected.values() if until is not None), default=None)
    assert json.loads(found.columns()["questions"]) == [list(each) for each in expected.items()]


@given(text=st.text() | st.sampled_from(["\0", "a\ud800\0b"]))
def test_a_text_becomes_legible(text: str) -> None:
    """Any text turns into one that can be stored; one that can be stays as it is."""
    found = legible(text)
    assert "\0" not in found
    found.encode()
    if "\0" not in text:
        assert found == text or any("\ud800" <= character <= "\udfff" for character in text)
