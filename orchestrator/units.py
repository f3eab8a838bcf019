"""Units: durations as people write them, and costs as integers.

A duration is written ``250ms``, ``5s``, ``10m`` or ``1h``; a bare number is refused, because nobody knows its unit.
Costs and weights are summed as integer micro-units, so that a sum does not depend on its order.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

__all__ = ("DURATION", "LONGEST", "MICRO", "RISKS", "Seconds", "duration_text", "micro", "parse_duration", "risk_level")

MICRO = 1_000_000
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
LONGEST = 1e9
"""Seconds; a longer time can only be a slip."""

_ADVICE = "write a duration such as 250ms, 5s or 10m"
_SCALE = {"s": 1.0, "m": 60.0, "h": 3600.0}
RISKS = {"none": 0.0, "low": 0.25, "medium": 0.5, "high": 1.0}


def risk_level(value: Any) -> Any:
    """Return the number of a risk that is written as a word; anything else as it is.

    Raises:
        ValueError: There is no such word.

    >>> risk_level("medium"), risk_level(0.3)
    (0.5, 0.3)
    """
    if isinstance(value, str) and value not in RISKS:
        raise ValueError("write none, low, medium, high or a number from 0 to 1")
    return RISKS[value] if isinstance(value, str) else value


def micro(units: float) -> int:
    """Round *units* half up to integer micro-units.

    >>> micro(0.3), micro(0.0000005)
    (300000, 1)
    """
    return math.floor(units * MICRO + 0.5)


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: *text* is no number with a unit, or longer than `LONGEST`.

    >>> parse_duration("250ms"), parse_duration("10m")
    (0.25, 600.0)
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(_ADVICE)
    seconds = float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _SCALE[match[2]]
    if seconds > LONGEST:
        raise ValueError(f"longer than {LONGEST:.0f}s, which is about thirty years")
    return seconds


def duration_text(seconds: float) -> str:
    """Write *seconds* so that `parse_duration` reads back the same number.

    >>> duration_text(0.25), duration_text(90.0), duration_text(600.0)
    ('250ms', '90s', '10m')
    """
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    if 0 < seconds < 1:
        thousandths = Decimal(f"{seconds * 1000:.12g}")
        if float(thousandths) / 1000 == seconds:
            return f"{thousandths:f}ms"
    # The shortest decimal that is this very float; never in scientific notation, which is no duration.
    return f"{Decimal(repr(seconds)):f}".removesuffix(".0") + "s"


def _read(value: Any) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a bare number has no unit: write {value:.12g}ms or {value:.12g}s")
    raise ValueError(_ADVICE)


Seconds = Annotated[
    float,
    BeforeValidator(_read),
    Field(ge=0, allow_inf_nan=False),
    PlainSerializer(duration_text, return_type=str, when_used="always"),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION.pattern}$", "examples": ["250ms", "5s", "10m"]}),
]
"""A number of seconds, written as a duration text."""
