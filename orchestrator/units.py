"""Units: durations as people write them, and costs as integers.

A duration is written ``250ms``, ``5s``, ``10m`` or ``1h``; a bare number is refused, because nobody knows its unit.
Costs and weights are summed as integer micro-units, so that a sum does not depend on its order.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

__all__ = ("DURATION", "MICRO", "Seconds", "duration_text", "micro", "parse_duration")

MICRO = 1_000_000
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SCALE = {"s": 1.0, "m": 60.0, "h": 3600.0}


def micro(units: float) -> int:
    """Round *units* half up to integer micro-units.

    >>> micro(0.3), micro(0.0000005)
    (300000, 1)
    """
    return math.floor(units * MICRO + 0.5)


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    >>> parse_duration("250ms")
    0.25
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("write a duration such as 250ms, 5s or 10m")
    return float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _SCALE[match[2]]


def duration_text(seconds: float) -> str:
    """Write *seconds* so that `parse_duration` reads back the same number.

    >>> duration_text(0.25), duration_text(90.0)
    ('250ms', '90s')
    """
    if 0 < seconds < 1:
        text = f"{seconds * 1000:.12g}ms"
        if parse_duration(text) == seconds:
            return text
    text = repr(seconds)
    return f"{seconds:.20f}s" if "e" in text else f"{text.removesuffix('.0')}s"


def _read(value: Any) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a bare number has no unit: write {value:g}ms or {value:g}s")
    raise ValueError("write a duration such as 250ms, 5s or 10m")


Seconds = Annotated[
    float,
    BeforeValidator(_read),
    Field(ge=0, allow_inf_nan=False),
    PlainSerializer(duration_text, return_type=str, when_used="always"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$", "examples": ["250ms", "5s", "10m"]}),
]
"""A number of seconds, written as a duration text."""
