"""Extract the readable text of a page: HTML without tags, scripts and styles; any other text as it is.

Takes what `fetch` provides, or a text. Blocks become lines, list items get a dash, and white space is joined as a
browser joins it. It reads a page once from its beginning to its end, whatever is in it: ``html.parser`` looks through
the whole rest again for every comment that has no end, which a page can use to hold a core for hours. There is no PDF
here: that needs a library of its own, and a node of its own that you choose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any, NamedTuple

from orchestrator import ToolFailed

__all__ = ("extract",)

# Settings. This file is yours: change them here.
MAX_CHARACTERS = 5_000_000
"""Characters of a page: more than `fetch` lets through."""

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object", "select", "textarea"})
_BLOCK_NAMES = """
address article aside blockquote br body caption dd details dialog div dl dt fieldset figcaption figure footer form h1
h2 h3 h4 h5 h6 header hr html legend li main nav ol p pre section summary table tbody tfoot thead title tr ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset({"td", "th"})
_PAGE = re.compile(r"\s*+(?:<!doctype\s+html|<html|<head|<body|<!--)", re.IGNORECASE)
# Possessive: a tag without an end is looked through once, not once for every way to read it.
_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*+)(?:=\s*+(?:"[^"]*+"|'[^']*+')|[^>])*+>""")
_SPACE = re.compile(r"\s+")


def extract(page: Mapping[str, Any] | str) -> str:
    r"""Return the text of *page*: what `fetch` provides (``{"type", "text"}``), or the text itself.

    Raises:
        ToolFailed: It is neither, or longer than `MAX_CHARACTERS`; another try would not help.

    >>> extract("<!doctype html><title>Fees</title><p>Two   <b>euros</b>.<script>x()</script><li>or more")
    'Fees\nTwo euros.\n- or more'
    """
    text = page.get("text") if isinstance(page, Mapping) else page
    if not isinstance(text, str):
        raise ToolFailed(f"a page is a text, or a map with its text; this is {type(page).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise ToolFailed(f"the page is longer than {MAX_CHARACTERS} characters")
    kind = str(page.get("type") or "") if isinstance(page, Mapping) else ""
    if "html" not in kind and (kind or not _PAGE.match(text)):
        return text.strip()
    lines: list[list[str]] = [[]]
    for piece in _pieces(text):
        if piece.tag is None:
            lines[-1].append(piece.text)
        elif piece.tag in _CELLS:
            lines[-1].append(" ")
        elif piece.tag in _BLOCKS:
            lines.append(["- "] if piece.tag == "li" and not piece.closing else [])
    joined = (_SPACE.sub(" ", "".join(line)).strip() for line in lines)
    return "\n".join(line for line in joined if line and line != "-")


class _Piece(NamedTuple):
    """A stretch of text, or a tag."""

    text: str = ""
    tag: str | None = None
    closing: bool = False


def _pieces(html: str) -> Iterator[_Piece]:
    """Yield texts and tags in order. What begins and never ends takes the rest of the page with it, as in a browser."""
    at = 0
    while (opening := html.find("<", at)) >= 0:
        if opening > at:
            yield _Piece(_characters(html[at:opening]))
        tag = _TAG.match(html, opening)
        if tag is not None:
            name = tag[2].lower()
            yield _Piece(tag=name, closing=bool(tag[1]))
            at = tag.end()
            if name in _HIDDEN and not tag[1]:
                closing = re.compile(f"</{name}", re.IGNORECASE).search(html, at)
                at = len(html) if closing is None else closing.start()
        elif html.startswith("<!--", opening):
            at = _behind("-->", html, opening + 2)  # <!--> is a whole comment
        elif html[opening + 1 : opening + 2] in ("!", "?", "/"):
            at = _behind(">", html, opening)
        elif html[opening + 1 : opening + 2].isalpha():
            at = len(html)  # a tag without an end
        else:
            yield _Piece("<")
            at = opening + 1
    yield _Piece(_characters(html[at:]))


def _behind(end: str, html: str, at: int) -> int:
    found = html.find(end, at)
    return len(html) if found < 0 else found + len(end)


def _characters(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:  # a number of more digits than Python reads
        return text
