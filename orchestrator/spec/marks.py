"""YAML text as plain data, with the place of every key and value.

The text is read event by event and never by recursion, so that no nesting can exhaust the stack (PyYAML's C
`compose` ends the process on a hundred thousand opening brackets). See `scalars` for what a scalar
means. Graph files use maps, lists, scalars, anchors and aliases; custom tags, merge keys and keys that are no texts
are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.errors import Problem
from orchestrator.spec.problems import Path, Place, quoted
from orchestrator.spec.scalars import scalar

__all__ = ("MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Document", "Span", "document")

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 60
"""Levels of nesting, aliases followed."""
MAX_NODES = 200_000
"""Keys and values, aliases followed: a few lines of aliases can stand for billions."""

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CORE = "tag:yaml.org,2002:"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Mark = tuple[int, int]
"""Line and column, from 0."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value stands, and its key if it has one."""

    start: Mark
    end: Mark
    key_start: Mark | None = None
    key_end: Mark | None = None


@dataclass(frozen=True)
class Document:
    """One file, read: its data, and where every part of the data stands."""

    file: str
    text: str
    data: Any = None
    problems: tuple[Problem, ...] = ()
    complete: bool = True
    """False if the text could not be read to its end; then nothing can be said about what it lacks."""
    spans: dict[Path, Span] = field(default_factory=dict, repr=False)
    aliases: dict[Path, Path] = field(default_factory=dict, repr=False)
    """Paths of aliases, and the path of the anchored value that each stands for."""
    lines: tuple[str, ...] = field(default=("",), repr=False)
    spoiled: frozenset[Path] = frozenset()
    """Values that a problem changed or left a key out of; what they lack may be what was lost."""

    def find(self, path: Path, *, key: bool = False) -> Place:
        """Return the place of the value at *path* (or of its key), or of the nearest part around it."""
        known, is_whole = self._known(path)
        # What stands around an unknown path is best shown by its key: a map begins a line further down.
        key = key or not is_whole
        span = self.spans.get(known, Span((0, 0), (0, 0)))
        if key and span.key_start is not None and span.key_end is not None:
            return self.place(span.key_start, span.key_end)
        return self.place(span.start, span.end)

    def place(self, start: Mark, end: Mark) -> Place:
        """Return the place between two marks, cut to the line of the first and to what there is."""
        number = min(start[0], len(self.lines) - 1)
        line = self.lines[number]
        column = min(start[1], len(line)) if number == start[0] else len(line)
        last = min(end[1], len(line)) if end[0] == number else len(line.rstrip())
        return Place(self.file, number + 1, column + 1, max(last, column + 1) + 1, line)

    def _known(self, path: Path) -> tuple[Path, bool]:
        """Return the path of the text for *path*, aliases followed, and whether it is all of it."""
        known: Path = ()
        data = self.data
        for part in path:
            known = self.aliases.get(known, known)
            if isinstance(data, list) and isinstance(part, str) and part in data:
                part = data.index(part)  # the short form of a map is a list of its keys
            if (*known, part) not in self.spans:
                return known, False
            known, data = (*known, part), data[part]
        return known, True


def document(content: bytes | str, file: str) -> Document:
    """Read a YAML text; whatever is wrong with it is a located problem of the document, never an exception."""
    reading = _Reading(file)
    try:
        reading.read(content)
    except _UnreadableError as stop:
        reading.problems.append(stop.problem)
        return Document(file, reading.text, None, tuple(reading.problems), complete=False, lines=reading.lines)
    return Document(
        file,
        reading.text,
        reading.data,
        tuple(reading.problems),
        spans=reading.spans,
        aliases=reading.aliases,
        spoiled=frozenset(reading.spoiled),
        lines=reading.lines,
    )


class _UnreadableError(Exception):
    """Reading cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(slots=True)
class _Frame:
    """A map or list that is being read."""

    value: Any
    path: Path
    anchor: str | None = None
    key: str | None = None
    key_mark: tuple[Mark, Mark] | None = None
    dropped: bool = False
    """Whether the present key is refused, and its value not kept."""
    nodes: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    path: Path
    nodes: int
    height: int


class _Reading:
    """The state of reading one text."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.text = ""
        self.lines: tuple[str, ...] = ("",)
        self.data: Any = None
        self.problems: list[Problem] = []
        self.spans: dict[Path, Span] = {}
        self.aliases: dict[Path, Path] = {}
        self.spoiled: set[Path] = set()
        self._anchors: dict[str, _Anchored | None] = {}
        self._stack: list[_Frame] = []
        self._nodes = 0

    def read(self, content: bytes | str) -> None:
        self.text = self._decoded(content)
        self.lines = tuple(_BREAK.split(self.text))
        if (bad := _UNREADABLE.search(self.text)) is not None:
            name = f"U+{ord(bad[0]):04X}"
            mark = self._mark(self.text[: bad.start()])
            help = "remove it, or write it as an escape in a quoted text"
            raise self._stop("E001", f"the character {name} may not stand in a YAML file", mark, help=help)
        documents = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    help = "put it into a file of its own, and name that under include:"
                    raise self._stop("E004", "a second document begins here", *_marks(event), help=help)
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close(event)

    def _decoded(self, content: bytes | str) -> str:
        if len(content) > MAX_BYTES:
            raise self._stop("E002", f"the file is larger than {MAX_BYTES // 2**20} MiB", (0, 0))
        if isinstance(content, str):
            return content.removeprefix("\ufeff")
        try:
            return content.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            self.text = content[: error.start].decode("utf-8").removeprefix("\ufeff")
            self.lines = tuple(_BREAK.split(self.text))
            message = f"the byte 0x{content[error.start]:02x} is not UTF-8"
            raise self._stop("E001", message, self._mark(self.text), help="save the file as UTF-8") from None

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self.text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            begun = error.context_mark
            start = (mark.line, mark.column) if mark is not None else (0, 0)
            if "nesting depth" in (error.problem or ""):  # libyaml looks ahead and gives up first
                raise self._stop("E004", f"nested more than {MAX_DEPTH} levels deep", start) from None
            message, help = _in_plain_words(error.problem or error.context or "")
            if help is None and begun is not None and begun.line != start[0]:
                help = f"it may belong to what begins on line {begun.line + 1}"
            raise self._stop("E001", f"not valid YAML: {message}", start, help=help) from None
        except (yaml.YAMLError, RecursionError) as error:
            first_line = str(error).partition("\n")[0]
            raise self._stop("E001", f"not valid YAML: {first_line}", (0, 0)) from None

    def _node(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._stop("E004", f"the file holds more than {MAX_NODES} keys and values", *_marks(event))
        if isinstance(event, yaml.CollectionStartEvent):
            self._check_depth(1, event)
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event)
            return
        path = self._path(frame)
        keys = (None, None) if frame is None or frame.key_mark is None else frame.key_mark
        self.spans[path] = Span(*_marks(event), *keys)
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            self._alias(event, path)
        elif isinstance(event, yaml.ScalarEvent):
            known = len(self.problems)
            value = self._scalar(event)
            if len(self.problems) > known:
                self.spoiled.add(path)
            self._put(value, 1, 0)
            if anchor is not None:
                self._anchors[anchor] = _Anchored(value, path, 1, 0)
        else:
            self._check_tag(event)
            container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            if anchor is not None:
                self._anchors[anchor] = None
            self._stack.append(_Frame(container, path, anchor))

    def _path(self, frame: _Frame | None) -> Path:
        if frame is None:
            return ()
        if isinstance(frame.value, list):
            return (*frame.path, len(frame.value))
        # A refused key has no path of its own; -1 keeps it apart from the key that stands.
        return (*frame.path, -1 if frame.dropped or frame.key is None else frame.key)

    def _key(self, frame: _Frame, event: Any) -> None:
        start, end = _marks(event)
        if isinstance(event, yaml.AliasEvent):
            anchored = self._anchors.get(event.anchor or "")
            key = None if anchored is None else anchored.value
        elif isinstance(event, yaml.ScalarEvent):
            key = self._scalar(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(key, frame.path, 1, 0)
        else:
            key = None
        if not isinstance(key, str):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._stop("E004", "a key must be a text", start, end)
            self._report("E004", "a key must be a text", start, end, help=f'put it in quotes: "{event.value[:40]}"')
            self.spoiled.add(frame.path)
            frame.key, frame.dropped = "", True
        elif key == "<<" and isinstance(event, yaml.ScalarEvent) and not event.style:
            self._report("E004", "merge keys are not used here", start, end, help="write the keys out")
            self.spoiled.add(frame.path)
            frame.key, frame.dropped = key, True
        elif key in frame.value:
            first = self.spans[(*frame.path, key)].key_start
            line = "" if first is None else f"the first one is on line {first[0] + 1}"
            self._report("E003", f"the key {quoted(key)} is given twice", start, end, help=line)
            frame.key, frame.dropped = key, True
        else:
            frame.key, frame.dropped = key, False
        frame.key_mark = (start, end)
        frame.nodes += 1

    def _alias(self, event: Any, path: Path) -> None:
        if event.anchor not in self._anchors:
            known = ", ".join(sorted(self._anchors)) or "none"
            raise self._stop(
                "E001", f"there is no anchor {quoted(event.anchor)}", *_marks(event), help=f"anchors so far: {known}"
            )
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._stop("E004", "an alias may not stand inside its own anchor", *_marks(event))
        self._check_depth(anchored.height, event)
        self.aliases[path] = anchored.path
        self._put(anchored.value, anchored.nodes, anchored.height)
        # Counted up to the root at once: the sizes of the open frames multiply only when they close.
        if sum(frame.nodes for frame in self._stack) > MAX_NODES:
            raise self._stop("E004", f"the aliases stand for more than {MAX_NODES} values", *_marks(event))

    def _put(self, value: Any, nodes: int, height: int) -> None:
        if not self._stack:
            self.data = value
            return
        frame = self._stack[-1]
        frame.nodes += nodes
        frame.height = max(frame.height, height + 1)
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is not None:
            if not frame.dropped:
                frame.value[frame.key] = value
            frame.key, frame.key_mark, frame.dropped = None, None, False

    def _close(self, event: Any) -> None:
        frame = self._stack.pop()
        span = self.spans[frame.path]
        end = (event.end_mark.line, event.end_mark.column)
        self.spans[frame.path] = Span(span.start, end, span.key_start, span.key_end)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = _Anchored(frame.value, frame.path, frame.nodes, frame.height)
        self._put(frame.value, frame.nodes, frame.height)

    def _scalar(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag is not None and tag not in ("!", f"{_CORE}str"):
            return self._tagged(event)
        if tag is not None or not event.implicit[0]:
            return text
        try:
            return scalar(text)
        except ValueError as error:
            self._report("E022", str(error), *_marks(event), help="quote it if it is a text")
            return text

    def _tagged(self, event: Any) -> Any:
        kind = event.tag.removeprefix(_CORE)
        types: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
        if event.tag == kind or kind not in types:
            self._check_tag(event)
            return event.value
        try:
            value = scalar(event.value)
        except ValueError:
            value = event.value
        if not isinstance(value, types[kind]) or (kind in ("int", "float") and isinstance(value, bool)):
            self._report("E022", f"{quoted(event.value)} is no {kind}", *_marks(event))
        return float(value) if kind == "float" and isinstance(value, int) else value

    def _check_tag(self, event: Any) -> None:
        own = f"{_CORE}map" if isinstance(event, yaml.MappingStartEvent) else f"{_CORE}seq"
        if event.tag not in (None, "!", own):
            shown = event.tag.replace(_CORE, "!!")
            self._report("E004", f"the tag {quoted(shown)} is not used here", *_marks(event), help="leave the tag out")

    def _check_depth(self, height: int, event: Any) -> None:
        if len(self._stack) + height > MAX_DEPTH:
            raise self._stop("E004", f"nested more than {MAX_DEPTH} levels deep", *_marks(event))

    def _mark(self, before: str) -> Mark:
        lines = _BREAK.split(before)
        return len(lines) - 1, len(lines[-1])

    def _problem(self, code: str, message: str, start: Mark, end: Mark, help: str | None) -> Problem:
        place = Document(self.file, self.text, lines=self.lines).place(start, end)
        return Problem(
            code, message, place.file, place.line, place.column, place.end_column, help=help, source=place.source
        )

    def _report(self, code: str, message: str, start: Mark, end: Mark, *, help: str | None = None) -> None:
        self.problems.append(self._problem(code, message, start, end, help))

    def _stop(
        self, code: str, message: str, start: Mark, end: Mark | None = None, *, help: str | None = None
    ) -> _UnreadableError:
        end = (start[0], start[1] + 1) if end is None else end
        return _UnreadableError(self._problem(code, message, start, end, help))


def _marks(event: Any) -> tuple[Mark, Mark]:
    return (event.start_mark.line, event.start_mark.column), (event.end_mark.line, event.end_mark.column)


def _in_plain_words(problem: str) -> tuple[str, str | None]:
    """Return the parser's complaint, and what to write instead where that is known."""
    for known, help in (
        ("mapping values are not allowed", "quote the text if it holds ': ', or begin a new line"),
        ("cannot start any token", "indent with spaces, never tabs; quote a text that begins with @, %, ` or a tab"),
        ("unexpected end of stream", "a quoted text is not closed"),
        ("expected ',' or", "a comma or the closing bracket is missing; quote a text that holds one of {}[],"),
        ("did not find expected key", "the line does not line up with the keys above it"),
        ("expected '-' indicator", "the line does not line up with the list above it"),
        ("block sequence entries are not allowed", "begin the list on a new line"),
        ("invalid Unicode character escape", "write the character itself"),
        ("unknown escape character", "in double quotes a backslash is written twice; single quotes take it as it is"),
    ):
        if known in problem:
            return problem, help
    return problem, None
