"""Placeholders: the ``{names}`` in a URL, a header, a body or a command, which are the needs of such a node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.spec.models import ToolSpec

__all__ = ("fixed_part", "names_in", "placeholders")

_NAME = re.compile(r"\{([^\W\d][\w-]*)\}")
"""A name in braces, without blanks: braces of JSON texts and regular expressions hold something else."""

_WITH_HOST = re.compile(r"https?://[^/?#\s]+", re.IGNORECASE)


def placeholders(tool: ToolSpec) -> tuple[str, ...]:
    """Return the placeholders of *tool*, each once, in the order in which they stand.

    >>> placeholders(ToolSpec(shell=("convert", "{image}", "-size", "{size}"), stdin='{"image": 1}'))
    ('image', 'size')
    """
    parts: list[Any] = [tool.shell, tool.stdin]
    if tool.http is not None:
        parts += [tool.http.url, tool.http.headers, tool.http.body]
    return tuple(dict.fromkeys(name for part in parts for name in names_in(part)))


def fixed_part(url: str) -> str | None:
    """Return a URL without its placeholders: whole where it has none, else up to the folder of the first one.

    None where not even the host is fixed.

    >>> fixed_part("http://shop/orders/{order_id}?full=1"), fixed_part("http://shop/find?q={question}")
    ('http://shop/orders/', 'http://shop/find')
    >>> fixed_part("https://{region}.shop/orders")
    """
    first = _NAME.search(url)
    if first is None:
        fixed = url
    else:
        before = re.split("[?#]", url[: first.start()])[0]
        # A placeholder in the query leaves the path as it is.
        fixed = before if before != url[: first.start()] else before[: before.rfind("/") + 1]
    return fixed if _WITH_HOST.match(fixed) else None


def names_in(part: Any) -> Iterator[str]:
    """Yield the names in braces in a text, or in the texts of a map or a list."""
    if isinstance(part, str):
        yield from _NAME.findall(part)
    elif isinstance(part, dict):
        for value in part.values():
            yield from names_in(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from names_in(value)
