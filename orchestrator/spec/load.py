"""Loading a graph file, and all that it includes, into a spec.

Everything that is wrong with all of the files is reported at once, in the order of the files and their lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path, PurePath

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.checks import check
from orchestrator.spec.folder import Folder, UnreadableFileError, content
from orchestrator.spec.marks import document
from orchestrator.spec.merge import Merged, merge
from orchestrator.spec.models import Fragment, GraphSpec
from orchestrator.spec.part import VERSION, Part, read_part
from orchestrator.spec.policies import is_path, read_policy, unknown_policy
from orchestrator.spec.problems import Finding, Places, in_order, placed

__all__ = ("MAX_FILES", "Loaded", "load_file", "load_text")

MAX_FILES = 200
"""Files of one graph."""
TEXT = "<text>"
"""What a graph that comes from no file is called in its problems."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A graph file, loaded."""

    spec: GraphSpec = field(repr=False)
    """The graph, included files merged into it. It holds what was filled from the environment."""
    source: str = field(repr=False)
    """The text of the root file before ``${}`` is filled; the texts of other files follow, each after its name."""
    root: Path
    """The root file's folder: references are looked up there first."""
    secrets: frozenset[str] = field(repr=False)
    """Every text that came from the environment."""
    places: Places = field(repr=False)
    """Where every part of the graph stands in its file."""


def load_file(path: str | Path, *, environ: Mapping[str, str]) -> Loaded:
    """Load the graph file at *path*.

    Args:
        path: The root file. Problems name it as it is given here.
        environ: The environment that ``${}`` is filled from.

    Raises:
        SpecError: Something is wrong; it holds every problem of all files.
    """
    path = Path(path)
    try:
        text = content(path)
    except UnreadableFileError as error:
        problem = placed(error.finding, None)
        raise SpecError((Problem(problem.code, problem.message, str(path), help=problem.help),)) from None
    return _Loading(str(path), path.parent, environ).load(text)


def load_text(text: str, *, file: str | Path | None = None, environ: Mapping[str, str]) -> Loaded:
    """Load a graph from its text.

    Args:
        text: The text of the root file.
        file: The path that the text has or will have; its folder is the root file's folder. None: the working
            directory is.
        environ: The environment that ``${}`` is filled from.

    Raises:
        SpecError: Something is wrong; it holds every problem of all files.
    """
    name = TEXT if file is None else str(file)
    folder = Path() if file is None else Path(file).parent
    return _Loading(name, folder, environ).load(text)


class _Loading:
    """One load: the files that were read so far, and their problems."""

    def __init__(self, name: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._name = name
        self._shown = PurePath() if name == TEXT else PurePath(name).parent
        self._folder = Folder(folder)
        self._environ = environ
        self._parts: list[Part] = []
        self._files: list[str] = []
        self._read: set[Path] = set()
        self._problems: list[Problem] = []
        self._secrets: set[str] = set()
        self._texts: list[str] = []
        self._whole = True
        """Whether enough could be read to say what is missing."""

    def load(self, text: bytes | str) -> Loaded:
        own = (self._folder.path / PurePath(self._name).name).resolve()
        self._part(text, self._name, self._folder.path, (own,))
        merged = merge(self._parts)
        self._problems += merged.problems
        self._policy(merged)
        self._says_version(self._parts[0])
        if self._whole:
            self._check(merged)
        if self._problems:
            raise SpecError(in_order(self._problems, self._files))
        spec = GraphSpec.model_validate(merged.values)
        return Loaded(spec, "".join(self._texts), self._folder.path, frozenset(self._secrets), merged)

    def _part(self, text: bytes | str, name: str, base: Path, above: tuple[Path, ...]) -> None:
        """Read a file and all that it includes; *above* are the files that led to it, itself the last."""
        read = document(text, name)
        part = read_part(read, self._environ)
        self._read.add(above[-1])
        self._parts.append(part)
        self._add(name, read.text, part.problems, part.secrets)
        self._whole &= part.whole
        if part.fragment is None:
            return
        for index, pattern in enumerate(part.fragment.include):
            finding = self._include(pattern, base, above)
            if finding is not None:
                self._whole = False
                located = Finding(finding.code, finding.message, ("include", index), finding.help)
                self._problems.append(placed(located, read, self._secrets))

    def _include(self, pattern: str, base: Path, above: tuple[Path, ...]) -> Finding | None:
        try:
            paths = self._folder.files(base, pattern)
        except UnreadableFileError as error:
            return error.finding
        for path in paths:
            if path in above and not has_magic(pattern):
                circle = " -> ".join(self._folder.relative(each) for each in (*above[above.index(path) :], path))
                return Finding("E040", f"the files include each other: {circle}")
            if path in self._read:
                continue  # named by two files, or by a glob that matches the including file too
            if len(self._parts) >= MAX_FILES:
                return Finding("E040", f"a graph may have at most {MAX_FILES} files")
            try:
                text = content(path)
            except UnreadableFileError as error:
                return error.finding
            self._part(text, str(self._shown / self._folder.relative(path)), path.parent, (*above, path))
        return None

    def _policy(self, merged: Merged) -> None:
        policy = merged.values.get("policy")
        if not isinstance(policy, str):
            return
        if not is_path(policy):
            if (unknown := unknown_policy(policy)) is not None:
                self._problems.append(placed(unknown, merged, self._secrets))
            return
        try:
            path = self._folder.file(self._folder.path, policy)
            text = content(path)
        except UnreadableFileError as error:
            finding = Finding("E042", error.finding.message, ("policy",), error.finding.help)
            self._problems.append(placed(finding, merged, self._secrets))
            return
        name = str(self._shown / self._folder.relative(path))
        read = read_policy(text, name, self._environ)
        self._add(name, read.document.text, read.problems, read.secrets)
        merged.values["policy"] = read.policy

    def _says_version(self, root: Part) -> None:
        if root.fragment is not None and "version" not in (root.document.data or {}):
            help = f"write version: {VERSION} as its first line"
            finding = Finding("E005", "the file does not say which version of the format it is in", (), help)
            self._problems.append(placed(finding, root.document))

    def _check(self, merged: Merged) -> None:
        spec = Fragment.model_construct(**merged.values)
        unread = frozenset(name for part in self._parts for name in part.unread)
        findings = check(spec, unread=unread)
        left_out = self._parts[0].left_out
        unknown = [code for key, code in (("allow", "E034"), ("shell", "E041")) if ("imports", key) in left_out]
        findings = [finding for finding in findings if finding.code not in unknown]
        if not spec.goals and not any(section == "goals" for section, _ in unread):
            help = "write what to reach, such as goals: [{name: found, values: [pages]}]"
            findings.append(Finding("E021", "the graph has no goals", ("goals",), help))
        self._problems += [placed(finding, merged, self._secrets) for finding in findings]

    def _add(self, name: str, text: str, problems: tuple[Problem, ...], secrets: frozenset[str]) -> None:
        self._files.append(name)
        self._problems += problems
        self._secrets |= secrets
        if self._texts and not self._texts[-1].endswith("\n"):
            self._texts.append("\n")
        self._texts.append(text if not self._texts else f"---\n# {name}\n{text}")
