"""Placeholders: ``{parameter}`` in a URL, a header, a body or a command, filled by plain substitution.

There are no expressions and no escapes. Only a node's own parameters are placeholders: any other braces (those of a
JSON text or of a regular expression) stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic_core import to_jsonable_python

__all__ = ("Placeholders", "text_of")


def text_of(value: Any) -> str:
    """Write a value as text: a text as it is, null as nothing, everything else as compact JSON.

    >>> text_of("a"), text_of(None), text_of(True), text_of([1, "b"])
    ('a', '', 'true', '[1,"b"]')
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(to_jsonable_python(value), ensure_ascii=False, separators=(",", ":"))


class Placeholders:
    """The placeholders of one node.

    Args:
        parameters: The names that may stand between braces.
    """

    def __init__(self, parameters: Iterable[str]) -> None:
        names = "|".join(re.escape(name) for name in sorted(parameters, key=len, reverse=True))
        self._pattern = re.compile(rf"\{{({names})\}}") if names else None

    def within(self, text: str) -> bool:
        """Return whether a placeholder stands anywhere in *text*."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def whole(self, text: str) -> str | None:
        """Return the parameter's name if *text* is exactly one placeholder."""
        match = self._pattern.fullmatch(text) if self._pattern else None
        return match[1] if match else None

    def fill(self, text: str, values: Mapping[str, Any], write: Callable[[Any], str] = text_of) -> str:
        """Return *text* with every placeholder replaced by its value, as *write* puts it."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: write(values[match[1]]), text)
