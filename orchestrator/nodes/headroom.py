"""What an answer's headers say of the rate limit: which share of it is left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ("Stated", "headroom")


@dataclass(frozen=True, slots=True)
class Stated:
    """A result, and the headroom that was stated with it."""

    result: Any
    headroom: float


_PAIRS = (
    ("ratelimit-remaining", "ratelimit-limit"),  # draft-ietf-httpapi-ratelimit-headers, to version 06
    ("x-ratelimit-remaining", "x-ratelimit-limit"),
    ("x-rate-limit-remaining", "x-rate-limit-limit"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-limit-requests"),  # OpenAI and what follows it
    ("x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-limit"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-limit"),
)
_NUMBER = re.compile(r"\s*([0-9]{1,15})\b")


def headroom(headers: Mapping[str, str]) -> float | None:
    """Return the smallest share that is left of any limit which the headers tell of, 0..1; None where they tell none.

    >>> headroom({"x-ratelimit-remaining": "5", "x-ratelimit-limit": "100"})
    0.05
    """
    shares = []
    for left, whole in _PAIRS:
        remaining, limit = _NUMBER.match(headers.get(left, "")), _NUMBER.match(headers.get(whole, ""))
        if remaining is not None and limit is not None and int(limit[1]) > 0:
            shares.append(min(int(remaining[1]) / int(limit[1]), 1.0))
    return min(shares, default=None)
