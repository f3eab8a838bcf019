"""Merging: the files of a graph as one graph, with every part's place in its own file.

Maps are joined by name, lists in order: the root file's entries first, then those of each included file. A name that
two files declare is a problem. ``defaults:`` count for their own file only, so where there are several files they are
written into the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import Problem
from orchestrator.spec.defaults import inherited
from orchestrator.spec.marks import Document
from orchestrator.spec.models import Fragment
from orchestrator.spec.part import Part
from orchestrator.spec.problems import Finding, Path, Place, placed, quoted

__all__ = ("Merged", "merge")

_MAPS = {
    "inputs": "an input",
    "models": "a model",
    "servers": "a server",
    "domains": "a domain",
    "errors": "an error",
    "tools": "a tool",
    "agents": "an agent",
}
_LISTS = ("edges", "goals")
_ROOT_ONLY = {"imports": "what may be imported", "policy": "how a run behaves"}


@dataclass
class Merged:
    """The merged graph, and where its parts stand."""

    root: Document
    values: dict[str, Any] = field(default_factory=dict)
    """The keys of the merged graph."""
    problems: list[Problem] = field(default_factory=list)
    origins: dict[Path, tuple[Document, Path]] = field(default_factory=dict)
    """The file, and the path in it, of every entry of the merged graph."""

    def find(self, path: Path, *, key: bool = False) -> Place:
        """Return the place of the value at *path* (or of its key), or of the nearest part around it."""
        for length in (2, 1):
            if len(path) >= length and path[:length] in self.origins:
                document, origin = self.origins[path[:length]]
                return document.find((*origin, *path[length:]), key=key)
        return self.root.find(path, key=key)


def merge(parts: Sequence[Part]) -> Merged:
    """Merge the files of a graph; the first one is the root file."""
    merged = Merged(parts[0].document)
    for part in parts:
        if part.fragment is None:
            continue
        several, is_root = len(parts) > 1, part is parts[0]
        fragment = _with_defaults(part.fragment) if several else part.fragment
        for key in sorted(fragment.model_fields_set - {"include", "defaults" if several else "include"}):
            if key in _MAPS and getattr(fragment, key) is not None:
                _join(merged, key, getattr(fragment, key), part.document)
            elif key in _LISTS:
                _append(merged, key, getattr(fragment, key), part)
            elif key == "intents":
                _intents(merged, fragment.intents, part.document)
            elif is_root:
                merged.values[key] = getattr(fragment, key)
            elif key in _ROOT_ONLY:
                message = f"only the root file says {_ROOT_ONLY[key]}"
                finding = Finding("E041", message, (key,), f"move {key}: to {merged.root.file}", at_key=True)
                merged.problems.append(placed(finding, part.document))
    return merged


def _with_defaults(fragment: Fragment) -> Fragment:
    changes: dict[str, Any] = {
        section: {name: inherited(node, fragment.defaults) for name, node in getattr(fragment, section).items()}
        for section in ("tools", "agents")
        if section in fragment.model_fields_set
    }
    return fragment.model_copy(update=changes)


def _join(merged: Merged, section: str, entries: dict[str, Any], document: Document) -> None:
    joined = merged.values.setdefault(section, {})
    for name, entry in entries.items():
        path = (section, name)
        if path in merged.origins:
            _twice(merged, f"{_MAPS.get(section, 'an intent')} {quoted(name)}", path, document)
            continue
        joined[name] = entry
        merged.origins[path] = (document, path)


def _append(merged: Merged, section: str, entries: tuple[Any, ...], part: Part) -> None:
    joined = merged.values.get(section, ())
    for entry, position in zip(entries, part.positions(section), strict=True):
        merged.origins[(section, len(joined))] = (part.document, (section, position))
        joined = (*joined, entry)
    merged.values[section] = joined


def _intents(merged: Merged, intents: str | dict[str, tuple[str, ...]] | None, document: Document) -> None:
    if isinstance(intents, dict) and not isinstance(merged.values.get("intents"), str):
        _join(merged, "intents", intents, document)
    elif intents is not None and "intents" in merged.values:
        message = "intents: names a file in one place, and is written in another"
        merged.problems.append(placed(Finding("E003", message, ("intents",), at_key=True), document))
    elif intents is not None:
        merged.values["intents"] = intents
        merged.origins[("intents",)] = (document, ("intents",))


def _twice(merged: Merged, what: str, path: Path, document: Document) -> None:
    first = merged.find(path, key=True)
    help = f"the first one is at {first}; give one of them another name"
    finding = Finding("E003", f"{what} is declared twice: this name is taken", path, help, at_key=True)
    merged.problems.append(placed(finding, document))
