"""Durations are written with a unit, and read back as the same number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.units import LONGEST, Seconds, duration_text, micro, parse_duration

ADAPTER: TypeAdapter[float] = TypeAdapter(Seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("5s", 5.0), ("10m", 600.0), ("1h", 3600.0), ("1.5s", 1.5), (" 5s ", 5.0), ("0s", 0.0)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """Milliseconds, seconds, minutes and hours, whole or with a fraction."""
    assert parse_duration(text) == seconds
    assert ADAPTER.validate_python(text) == seconds


@pytest.mark.parametrize(
    "text", ["5", "s", "5 s", "-5s", "5S", "1m30s", ".5s", "1e3s", "\u0665s", "", "5seconds", "9999999h"]
)
def test_what_is_no_duration(text: str) -> None:
    """A number without a unit, or with another one, is refused; so is a time of a thousand years."""
    with pytest.raises(ValueError, match=r"write a duration|longer than"):
        parse_duration(text)


@pytest.mark.parametrize("value", [600, 0, 1.5, True, None, [], 10**300])
def test_a_bare_number_is_no_duration(value: object) -> None:
    """A bare number is refused with what to write instead; nothing else than a text is taken."""
    with pytest.raises(ValidationError, match=r"write "):
        ADAPTER.validate_python(value)


@given(st.floats(0, LONGEST))
def test_a_duration_is_written_and_read_back(seconds: float) -> None:
    """Whatever the number of seconds, the text gives back exactly that number."""
    assert parse_duration(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (0.0005, "0.5ms"), (1.0, "1s"), (90.0, "90s"), (600.0, "10m"), (7200.0, "2h"), (0.0, "0s")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    """The largest unit that needs no fraction, and milliseconds below a second."""
    assert duration_text(seconds) == text


def test_costs_are_rounded_half_up() -> None:
    """Costs become whole micro-units, rounded half up."""
    assert [micro(units) for units in (0.3, 0.0000005, 0.0000004, 2.0)] == [300_000, 1, 0, 2_000_000]
