"""Texts that were written by others, made fit to be shown: on one line, without tricks, without secrets, cut."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ("Redact", "plain")

Redact = Callable[[str], str]

WINDOW = 64 * 2**10
"""Characters of a text that are looked at: what is shown is its beginning, and a text may be a whole book."""
MARGIN = 16 * 2**10
"""Characters at the end of the window that are never shown: a secret may be cut in two there, and half a secret is not
found. No key, certificate or token is longer than this, in base64 neither."""


def plain(text: str, most: int, redact: Redact) -> str:
    r"""Return *text* on one line, without what cannot be seen, without secrets, and at most *most* characters of it.

    Control characters, and the marks that reverse, hide or join text, are left out; white space becomes one space.

    >>> plain("an\u200b\x1b order\nof   two", 11, str)
    'an order o…'
    """
    seen = redact(text[:WINDOW])
    if len(text) > WINDOW:
        seen = seen[:-MARGIN]
    if not seen.isprintable():  # most are, and looking at each character takes its time
        seen = "".join(map(_shown, seen))
    # Again: a mark that cannot be seen may have stood inside a secret.
    line = redact(" ".join(seen.split()))
    return line if len(line) <= most and len(text) <= WINDOW else line[: most - 1] + "…"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else ""
