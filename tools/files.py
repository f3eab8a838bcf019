"""Search files below one folder: by a glob, and by a text in them. Nothing outside is looked at.

Symbolic links are not followed, neither to files nor to folders, so that no pattern and no link leads out. Every search
is bounded in files, in bytes and in matches, and says whether it saw everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from orchestrator import ToolFailed

__all__ = ("search",)

# Settings. This file is yours: change them here.
ROOT = "files"
"""The folder, from the working directory of the program."""
MAX_FILES = 20_000
"""Files that are looked at: a large repository; a second or two from a warm disk."""
MAX_BYTES = 1_000_000
"""Bytes of one file: what is longer is no text that somebody wrote, and is left out."""
MAX_MATCHES = 200
"""Matches that are returned: more than a person or a model reads."""
MAX_LINE = 400
"""Characters of a line that are shown."""


def search(
    pattern: str, phrase: str = "", *, root: str | os.PathLike[str] = ROOT, max_matches: int = MAX_MATCHES
) -> dict[str, Any]:
    """Return what lies below *root*: ``{"matches": [{"path", "line", "text"}], "complete"}``, in order of the paths.

    Args:
        pattern: A glob, relative to *root*, such as ``**/*.md``: ``*`` and ``?`` within a name, ``**`` for any folders.
        phrase: Lines that hold it are the matches, in any case of letters; without one every file is a match, with
            line 0.
        root: The folder.
        max_matches: ``complete`` is false where there are more, and where a file was too long or could not be read.

    Raises:
        ToolFailed: The pattern leads outside, or there is no such folder; another try would not help.
    """
    parts = tuple(part for part in pattern.replace(os.sep, "/").split("/") if part != ".")
    if not pattern or pattern.startswith("/") or ".." in parts or "\0" in pattern or os.path.isabs(pattern):
        raise ToolFailed(f"{pattern[:80]!r} is no pattern below the folder: write one such as **/*.md")
    folder = Path(root).resolve()
    if not folder.is_dir():
        raise ToolFailed(f"there is no folder {os.fspath(root)!r}")
    found = _Found(max_matches)
    for number, path in enumerate(_files(folder, ""), 1):
        if number > MAX_FILES or found.full:
            found.complete = False
            break
        if _fits(path.split("/"), parts):
            _look_into(folder / path, path, phrase.casefold(), found)
    return {"matches": found.matches[:max_matches], "complete": found.complete and not found.full}


@dataclass
class _Found:
    """What a search has found so far."""

    limit: int
    complete: bool = True

    def __post_init__(self) -> None:
        self.matches: list[dict[str, Any]] = []

    @property
    def full(self) -> bool:
        return len(self.matches) > self.limit

    def add(self, path: str, line: int, text: str) -> None:
        self.matches.append({"path": path, "line": line, "text": text[:MAX_LINE]})


def _files(folder: Path, below: str) -> Iterator[str]:
    """Yield the paths of all plain files below *folder*, with slashes, sorted folder by folder."""
    try:
        with os.scandir(folder / below) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone since, or not for us
        return
    for entry in found:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder, path)
        elif entry.is_file(follow_symlinks=False):
            yield path


def _fits(names: list[str], pattern: tuple[str, ...]) -> bool:
    """Return whether a path fits a glob; every name is looked at once per place in the pattern, whatever it holds."""
    reached = _passing_folders({0}, pattern)
    for name in names:
        following = set()
        for place in reached:
            if place < len(pattern) and pattern[place] == "**":
                following.add(place)
            elif place < len(pattern) and fnmatchcase(name, pattern[place]):
                following.add(place + 1)
        reached = _passing_folders(following, pattern)
    return len(pattern) in reached


def _passing_folders(places: set[int], pattern: tuple[str, ...]) -> set[int]:
    """Add the places behind every ``**`` that stands for no folder at all."""
    reached = set(places)
    for place in sorted(places):
        while place < len(pattern) and pattern[place] == "**":
            place += 1
            reached.add(place)
    return reached


def _look_into(file: Path, path: str, phrase: str, found: _Found) -> None:
    if not phrase:
        found.add(path, 0, "")
        return
    try:
        # Where the system can say so, a link that took the file's place since is not followed either.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError:
        found.complete = False
        return
    if b"\0" in content[:8192]:
        return  # no text
    if len(content) > MAX_BYTES:
        found.complete = False
        return
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
        if phrase in line.casefold():
            found.add(path, number, line.strip())
            if found.full:
                return
