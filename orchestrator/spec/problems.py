"""Findings: what is wrong with a graph, by the path of the key that is wrong, before a place in a file is known.

Checks of a spec speak of paths such as ``("tools", "web", "cost")``, whether the spec came from a file or from code.
Whoever holds the files turns findings into problems with a file, a line and a column.

=====  ============================================================
code   what is wrong
=====  ============================================================
E001   the text is not valid YAML, or not readable text
E002   the file cannot be read
E003   a key or a name is given twice
E004   a part of YAML that graph files do not use
E005   the version of the format
E010   an environment variable that is not set
E011   a ``${`` that is not written right
E020   an unknown key
E021   a key is missing
E022   a value of the wrong kind, form or size
E030   a name that nothing in the graph has
E031   a name that is reserved or taken
E032   not exactly one kind of tool
E033   two things that contradict each other
E034   a reference that may not be imported
E035   a reference that does not import
E036   a function that does not fit its needs
E040   an included file
E041   something that only the root file may say, or has not allowed
E042   the policy
=====  ============================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import Problem

__all__ = (
    "Finding",
    "Path",
    "Place",
    "Places",
    "did_you_mean",
    "in_order",
    "listed",
    "nearest",
    "placed",
    "quoted",
    "shown",
)

Path = tuple[str | int, ...]
"""Where something stands in the data of a graph: keys and list positions from the root."""

LONGEST_QUOTE = 80
LEAST_SECRET = 4
"""Shorter texts are hidden only where they are quoted: a run of three letters is found in every sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    end_column: int
    source: str
    """The text of the line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Places(Protocol):
    """Whatever knows where the parts of a graph stand."""

    def find(self, path: Path, *, key: bool = False) -> Place | None:
        """Return the place of the value at *path* (or of its key), or of the nearest part around it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and the path of it."""

    code: str
    message: str
    path: Path = ()
    help: str | None = None
    at_key: bool = False
    """Whether the key itself is wrong, and not its value."""
    first: Path | None = None
    """Where the same name was given before, for a name that is given twice."""


def placed(finding: Finding, places: Places | None, secrets: Collection[str] = ()) -> Problem:
    """Turn a finding into a problem with a place, and hide every secret in its words."""
    place = places.find(finding.path, key=finding.at_key) if places is not None else None
    help = finding.help
    if finding.first is not None and places is not None:
        first = places.find(finding.first, key=finding.at_key)
        help = f"the first one is at {first}; give one of them another name" if first is not None else help
    message = _hide(finding.message, secrets)
    help = None if help is None else _hide(help, secrets)
    if place is None:
        # A graph made in code has no lines; the path is all there is to find the slip by.
        where = ".".join(str(part) for part in finding.path)
        return Problem(finding.code, f"{where}: {message}" if where else message, help=help)
    return Problem(
        finding.code, message, place.file, place.line, place.column, place.end_column, help=help, source=place.source
    )


def in_order(problems: Iterable[Problem], files: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Return problems in the order of *files*, then by line and column, each once."""
    position = {file: index for index, file in enumerate(files)}

    def order(problem: Problem) -> tuple[int, str, int, int]:
        file = problem.file or ""
        return position.get(file, len(position)), file, problem.line or 0, problem.column or 0

    return tuple(sorted(dict.fromkeys(problems), key=order))


def quoted(value: object) -> str:
    r"""Quote *value* for a message: on one line, without control characters, not too long.

    >>> quoted("we\tb")
    "'we\\tb'"
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > LONGEST_QUOTE:
        text = text[: LONGEST_QUOTE - 1] + "…"
    return "'" + "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in text) + "'"


def shown(value: object) -> str:
    """Say what stands in a file in the words of YAML: a map, a list, a text in quotes, a number."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else str(value)[:40]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that *name* was most likely meant to be."""
    names = sorted(set(known))
    folded = {candidate.casefold(): candidate for candidate in names}
    if name.casefold() in folded:
        return folded[name.casefold()]
    found = difflib.get_close_matches(name[:200], names, n=1, cutoff=0.65)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str], *, kind: str) -> str | None:
    """Return the help for an unknown name: the nearest known one, else all of them."""
    names = sorted(set(known))
    if (near := nearest(name, names)) is not None:
        return f"did you mean {quoted(near)}?"
    return f"known {kind}: {listed(names)}" if names else None


def listed(names: Iterable[str], *, joint: str = "", most: int = 12) -> str:
    """List names with commas; the last two are joined by *joint* (``or``) where one is given."""
    shown = list(names)
    if len(shown) > most:
        shown = [*shown[:most], f"and {len(shown) - most} more"]
    elif joint and len(shown) > 1:
        return f"{', '.join(shown[:-1])} {joint} {shown[-1]}"
    return ", ".join(shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _hide(text: str, secrets: Collection[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= LEAST_SECRET:
            text = text.replace(secret, "***")
        elif secret:
            text = text.replace(quoted(secret), "'***'")
    return text
