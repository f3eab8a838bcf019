"""Scalars of YAML 1.2: what a piece of text without quotes means.

The core schema: ``no``, ``on``, ``12:30`` and ``2026-01-01`` are texts, ``012`` is twelve and ``1e3`` a thousand.
"""

from __future__ import annotations

import math
import re
from typing import Any

from orchestrator.spec.problems import quoted

__all__ = ("scalar",)

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAY_BE_TYPED = frozenset("~nNtTfF0123456789+-.")
_MAX_DIGITS = 300
"""A number beyond a float's range is a slip."""


def scalar(text: str) -> Any:
    """Return what *text* means as an unquoted scalar: null, a boolean, a number, or the text itself.

    Raises:
        ValueError: It is a number that no graph can use: infinite, not a number, or of hundreds of digits.

    >>> scalar("1e3"), scalar("no"), scalar("012")
    (1000.0, 'no', 12)
    """
    if text and text[0] not in _MAY_BE_TYPED:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text[0] in "tT"
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS or (text[:2] == "0x" and len(text) > _MAX_DIGITS // 2):
            raise ValueError(f"a number of {len(text)} digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no finite number")
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{quoted(text)} is no finite number")
    return number
