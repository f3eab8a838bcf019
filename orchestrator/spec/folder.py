"""The root file's folder: every file that a graph names lies below it, and nothing outside is looked at."""

from __future__ import annotations

import glob
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from orchestrator.spec.marks import MAX_BYTES
from orchestrator.spec.problems import Finding, did_you_mean, quoted

__all__ = ("Folder", "UnreadableFileError", "content")


class UnreadableFileError(Exception):
    """A file lies outside, or cannot be read; *finding* says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def content(path: Path) -> bytes:
    """Return the bytes of *path*, at most one more than a graph file may have.

    Raises:
        UnreadableFileError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        help = did_you_mean(path.name, _files_beside(path), kind="YAML files there")
        raise UnreadableFileError(Finding("E002", f"there is no file {quoted(path)}", help=help)) from None
    except IsADirectoryError:
        raise UnreadableFileError(Finding("E002", f"{quoted(path)} is a folder, not a file")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(Finding("E002", f"{quoted(path)} cannot be read: {reason}")) from None


class Folder:
    """The folder of a root file.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def files(self, base: Path, text: str) -> tuple[Path, ...]:
        """Return the files that *text*, a path or a glob, names from the folder *base*; symbolic links are followed.

        Raises:
            UnreadableFileError: It names a file outside, or none.
        """
        if _is_absolute(text):
            raise UnreadableFileError(_outside(text, "write it relative to this file"))
        if not glob.has_magic(text):
            return (self.file(base, text),)
        if ".." in PurePosixPath(text).parts:
            raise UnreadableFileError(_outside(text, "a glob may not hold .."))
        names = sorted(glob.glob(text, root_dir=base, recursive=True))
        found = tuple(self.file(base, name) for name in names if (base / name).is_file())
        if not found:
            raise UnreadableFileError(Finding("E040", f"{quoted(text)} names no file"))
        return found

    def file(self, base: Path, text: str) -> Path:
        """Return the one file that *text* names from the folder *base*.

        Raises:
            UnreadableFileError: It lies outside, or there is none.
        """
        if _is_absolute(text):
            raise UnreadableFileError(_outside(text, "write it relative to this file"))
        try:
            path = (base / text).resolve()
            inside = path.is_relative_to(self.path)
            exists = inside and path.is_file()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a NUL
            raise UnreadableFileError(Finding("E040", f"{quoted(text)} is no path of a file")) from None
        if not inside:
            raise UnreadableFileError(_outside(text, "move the file below the root file's folder"))
        if not exists:
            help = did_you_mean(Path(text).name, _files_beside(path), kind="YAML files there")
            raise UnreadableFileError(Finding("E040", f"there is no file {quoted(text)}", help=help))
        return path

    def relative(self, path: Path) -> str:
        """Return the path of a file in the folder, as a text with slashes."""
        return path.relative_to(self.path).as_posix()


def _is_absolute(text: str) -> bool:
    return PurePosixPath(text).is_absolute() or bool(PureWindowsPath(text).anchor)


def _outside(text: str, help: str) -> Finding:
    return Finding("E040", f"{quoted(text)} lies outside the folder of the root file", help=help)


def _files_beside(path: Path) -> list[str]:
    try:
        return [name for name in os.listdir(path.parent) if name.endswith((".yaml", ".yml"))]
    except (OSError, ValueError):
        return []
