"""Records as JSON text: what is written to a run log reads back as the record that it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from orchestrator.events import AttemptEnded, Failure, Record, record_from_dict, record_to_dict, record_to_json
from tests.recorded_runs import RECORDED, SEGMENTED


@pytest.mark.parametrize("recording", [*RECORDED, *SEGMENTED], ids=lambda recording: recording.__name__)
def test_the_text_is_that_of_the_data(recording: Callable[[], list[Record]]) -> None:
    """Every kind of record has the same fields in both forms, and reads back."""
    for record in recording():
        text = record_to_json(record)
        assert text.isascii()
        assert json.loads(text) == record_to_dict(record)
        assert record_from_dict(json.loads(text)) == record


@pytest.mark.parametrize(
    "message", ["plain", "Grüße, 東京 \N{GRINNING FACE}", "no character: \ud800", 'nul \0, quote " and \\']
)
@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-7, 1e22, inf])
def test_whatever_a_tool_says_is_kept(message: str, number: float) -> None:
    """Texts that are none, and numbers that JSON does not have, come back as they were."""
    failure = Failure("raised", message, retry_after=number)
    record = Record(7, 1.5, AttemptEnded("pay", 0, 1, "failed", (), failure, number))
    for each in (record, replace(record, at=number)):
        text = record_to_json(each)
        assert text.isascii()
        assert record_from_dict(json.loads(text)) == each
