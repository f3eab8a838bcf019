"""Placeholders: the ``{names}`` in a URL, a header, a body or a command, which are the needs of such a node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.spec.models import ToolSpec

__all__ = ("placeholders",)

_NAME = re.compile(r"\{([^\W\d][\w-]*)\}")
"""A name in braces, without blanks: braces of JSON texts and regular expressions hold something else."""


def placeholders(tool: ToolSpec) -> tuple[str, ...]:
    """Return the placeholders of *tool*, each once, in the order in which they stand.

    >>> placeholders(ToolSpec(shell=("convert", "{image}", "-size", "{size}"), stdin='{"image": 1}'))
    ('image', 'size')
    """
    parts: list[Any] = [tool.shell, tool.stdin]
    if tool.http is not None:
        parts += [tool.http.url, tool.http.headers, tool.http.body]
    return tuple(dict.fromkeys(name for part in parts for name in _names(part)))


def _names(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield from _NAME.findall(part)
    elif isinstance(part, dict):
        for value in part.values():
            yield from _names(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _names(value)
