"""Parts: one file of a graph, read as far as it can be.

What is not well formed is left out, and the rest is a fragment that can still be checked: the author of a file sees a
misspelt key and a misspelt name at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Problem
from orchestrator.spec.checks import Unread
from orchestrator.spec.environment import Filled, fill
from orchestrator.spec.marks import Document
from orchestrator.spec.models import Fragment
from orchestrator.spec.problems import Finding, Path, placed, shown
from orchestrator.spec.scalars import scalar
from orchestrator.spec.shape import read_shape, value_at

__all__ = ("VERSION", "Part", "plain_data", "read_part")

VERSION = 1
"""The version of the format that this program reads."""

_ENTRIES = (
    "imports",
    "tools",
    "agents",
    "models",
    "servers",
    "inputs",
    "domains",
    "errors",
    "edges",
    "goals",
    "intents",
)
"""Sections whose entries stand for themselves: one that is wrong can be left out."""
_NAMED = ("tools", "agents", "models", "servers", "goals")
"""Sections whose entries are named elsewhere in the graph."""
_NAMELESS = ("name", "policy", "inputs", "domains", "errors", "edges", "intents")
"""Sections without names that another section speaks of."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a graph."""

    document: Document
    fragment: Fragment | None = None
    """What is well formed; None if too little is to say anything about the rest."""
    problems: tuple[Problem, ...] = ()
    secrets: frozenset[str] = frozenset()
    unread: Unread = frozenset()
    left_out: frozenset[Path] = frozenset()
    """Entries that were left out of the fragment."""

    @property
    def whole(self) -> bool:
        """Whether every name that the file declares is known, also of what was left out."""
        return self.fragment is not None and all(self._is_harmless(entry) for entry in self.left_out)

    def _is_harmless(self, entry: Path) -> bool:
        if not entry:
            return False
        if len(entry) == 2 or entry[0] in _NAMELESS:
            return True
        # An unknown key that holds a map or a list may be a misspelt section.
        return entry[0] not in Fragment.model_fields and not isinstance(self.document.data[entry[0]], dict | list)

    def positions(self, section: str) -> list[int]:
        """Return where the entries of a list in the fragment stand in the file."""
        written = self.document.data.get(section) or ()
        return [index for index in range(len(written)) if (section, index) not in self.left_out]


def read_part(document: Document, environ: Mapping[str, str]) -> Part:
    """Read one file: fill its variables, and see whether every key is well formed."""
    if not document.complete:
        return Part(document, problems=document.problems)
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        finding = Finding("E022", "the file must be a map of keys such as version, tools and goals")
        return Part(document, problems=(*document.problems, placed(finding, document)))
    written = plain_data(data)
    version = written.get("version", VERSION)
    if _is_newer(version):
        message = f"the file is written for version {version:.0f} of the format; this program reads {VERSION}"
        newer = Finding("E005", message, ("version",), "install a newer orchestrator-runtime")
        return Part(document, problems=(*document.problems, placed(newer, document)))
    findings: list[Finding] = []
    if type(version) is not int or version != VERSION:
        findings = [Finding("E005", f"the version must be the number {VERSION}, not {shown(version)}", ("version",))]
        written["version"] = VERSION
    filled = fill(written, environ)
    fragment, found, left_out = _fragment(filled, written, filled.unfilled | document.spoiled)
    findings += filled.findings + found
    problems = [placed(finding, document, filled.secrets) for finding in findings]
    return Part(
        document,
        fragment,
        (*document.problems, *problems),
        frozenset(filled.secrets),
        frozenset(_names(left_out, written)),
        left_out,
    )


def plain_data(data: Any, path: Path = ()) -> Any:
    """Return *data* without ``x-*`` keys, which are the author's own; data that is passed on keeps them."""
    if isinstance(data, dict):
        if _is_passed_on(path):
            return data
        kept = {key: value for key, value in data.items() if not key.startswith("x-")}
        return {key: plain_data(value, (*path, key)) for key, value in kept.items()}
    if isinstance(data, list):
        return [plain_data(value, (*path, index)) for index, value in enumerate(data)]
    return data


def _with_scalars(filled: Filled, findings: list[Finding]) -> bool:
    """Read filled texts where a text is wrong as the scalar they would be without quotes; return whether any was.

    So ``usd: "${PRICE}"`` is a number, and an API key made of digits stays a text.
    """
    changed = False
    for path in {finding.path for finding in findings if finding.path in filled.paths}:
        container, text = value_at(filled.data, path[:-1]), value_at(filled.data, path)
        try:
            value = scalar(text) if isinstance(text, str) else text
        except ValueError:
            continue
        if not isinstance(value, str) and isinstance(text, str):
            container[path[-1]] = value
            changed = True
    return changed


def _is_passed_on(path: Path) -> bool:
    match path:
        case ("inputs", _) | (_, _, "output" | "needs"):
            return True
        case ("tools", _, "http", "headers" | "body") | ("servers", _, "env" | "headers"):
            return True
    return False


def _is_newer(version: Any) -> bool:
    return type(version) is int and version > VERSION


def _fragment(
    filled: Filled, written: Any, spoiled: Collection[Path]
) -> tuple[Fragment | None, list[Finding], frozenset[Path]]:
    fragment, findings = read_shape(Fragment, filled.data, written)
    if findings and _with_scalars(filled, findings):
        fragment, findings = read_shape(Fragment, filled.data, written)
    left_out = frozenset(_entry(path) for path in (*spoiled, *(finding.path for finding in findings)))
    if left_out:
        fragment, _ = read_shape(Fragment, _without(filled.data, left_out), written)
    return fragment, [finding for finding in findings if not _is_below(finding.path, spoiled)], left_out


def _entry(path: Path) -> Path:
    return path[:2] if path and path[0] in _ENTRIES else path[:1]


def _without(data: Mapping[str, Any], left_out: frozenset[Path]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for section, entries in data.items():
        if (section,) in left_out:
            continue
        if section in _ENTRIES and isinstance(entries, dict):
            entries = {name: entry for name, entry in entries.items() if (section, name) not in left_out}
        elif section in _ENTRIES and isinstance(entries, list):
            entries = [entry for index, entry in enumerate(entries) if (section, index) not in left_out]
        kept[section] = entries
    return kept


def _names(left_out: frozenset[Path], written: Any) -> Iterator[tuple[str, str]]:
    for entry in left_out:
        if len(entry) == 2 and (section := str(entry[0])) in _NAMED:
            name = value_at(written, (*entry, "name")) if section == "goals" else entry[1]
            if isinstance(name, str):
                yield section, name


def _is_below(path: Path, above: Collection[Path]) -> bool:
    return any(path[:length] in above for length in range(len(path) + 1))
