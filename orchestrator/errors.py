"""Errors, and the signals that a tool may raise.

::

    OrchestratorError
    ├── SpecError (ValueError)       the author of the graph file can fix it; carries every problem found
    ├── InputError (ValueError)      the caller of a run can fix it: an input is missing or does not fit
    ├── NotAvailableError            the graph asks for something that this version or environment cannot call
    ├── RecordError (ValueError)     a run's record or snapshot cannot be read, or does not belong to this graph
    ├── OverloadedError              this process has as many runs under way as it may have
    └── StoreError                   the store cannot be read or written: the run stops where its record ends
        ├── RunNotFoundError         the store has no run of this name
        ├── RunTakenError            another live process drives the run
        └── FencedError              another process has taken the run over: this one may not go on with it

    signals, raised by a tool on purpose
    ├── NotApplicable                "I have no part in this run": no failure, the run goes another way
    └── ToolFailed                   "I failed": says whether another try may help and what had happened by then

A failed run is no exception: it is a result with the outcome ``failed``.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

__all__ = (
    "FencedError",
    "InputError",
    "NotApplicable",
    "NotAvailableError",
    "OrchestratorError",
    "OverloadedError",
    "Problem",
    "RecordError",
    "RunNotFoundError",
    "RunTakenError",
    "SpecError",
    "StoreError",
    "ToolFailed",
)

SNIPPET = 160
"""Characters of a line that are shown of a longer one."""
SNIPPET_BEFORE = 60


class OrchestratorError(Exception):
    """Base of every error that this package raises."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a graph file, and where.

    Lines and columns count from 1. A problem without a file has no place (a graph declared in Python).
    """

    code: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    end_column: int | None = None
    help: str | None = None
    source: str | None = None
    """The text of the line itself, for the snippet."""
    severity: Literal["error", "warning"] = "error"

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as JSON-ready data, without the source line."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "end_column": self.end_column,
            "help": self.help,
        }

    def __str__(self) -> str:
        """Render the problem with its place, the line itself and the fix."""
        head = f"{self.severity}[{self.code}]: {self.message}"
        number = "" if self.line is None else str(self.line)
        pad = " " * len(number)
        lines = [head]
        if self.file is not None:
            lines.append(f"{pad}--> {self.file}" + ("" if self.line is None else f":{self.line}:{self.column}"))
        if self.source is not None and self.line is not None and self.column is not None:
            shown, before, marked = _snippet(self.source, self.column, self.end_column or self.column + 1)
            lines += [f"{pad} |", f"{number} | {shown}", f"{pad} | {' ' * before}{'^' * marked}"]
        if self.help is not None:
            lines.append(f"{pad} = help: {self.help}" if self.file is not None else f"  = help: {self.help}")
        return "\n".join(lines)


def _snippet(source: str, column: int, end: int) -> tuple[str, int, int]:
    """Return the line as it is shown, the cells before the marked part, and the cells of it.

    A long line is cut to what is near the mark. Tabs, and characters that a terminal would act on, become one cell
    each; wide ones take two.
    """
    start, stop = column - 1, max(min(end - 1, len(source)), column)
    first = max(start - SNIPPET_BEFORE, 0) if len(source) > SNIPPET else 0
    last = min(first + SNIPPET, len(source))
    cells = [_cell(character) for character in source[first:last]]
    left, right = "…" * (first > 0), "…" * (last < len(source))
    before = len(left) + sum(width for _, width in cells[: start - first])
    marked = sum(width for _, width in cells[start - first : stop - first])
    return left + "".join(text for text, _ in cells) + right, before, max(marked, 1)


def _cell(character: str) -> tuple[str, int]:
    if character == "\t":
        return " ", 1
    if unicodedata.combining(character):
        return character, 0
    if not character.isprintable():
        return "\N{REPLACEMENT CHARACTER}", 1
    return character, 2 if unicodedata.east_asian_width(character) in "WF" else 1


class SpecError(OrchestratorError, ValueError):
    """A graph does not load; *problems* holds everything that is wrong with it, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        count = len(self.problems)
        tail = f"\n\n{count} errors" if count > 1 else ""
        return "\n\n".join(str(problem) for problem in self.problems) + tail


class InputError(OrchestratorError, ValueError):
    """A run input is missing, unknown or does not fit its declared type; the caller can fix it."""


class NotAvailableError(OrchestratorError):
    """The graph asks for something that this version, or this environment, cannot call."""


class RecordError(OrchestratorError, ValueError):
    """A run's record or snapshot cannot be read, or the events do not fit it."""


class StoreError(OrchestratorError):
    """The store cannot be read or written; what it holds is whole, and a run stops where its record ends."""


class RunNotFoundError(StoreError):
    """The store has no run of this name."""


class RunTakenError(StoreError):
    """Another live process drives the run."""


class FencedError(StoreError):
    """Another process has taken the run over; this one may neither record nor call anything more of it."""


class OverloadedError(OrchestratorError):
    """This process has as many runs under way as its policy allows; nothing of the refused one has begun."""


class NotApplicable(Exception):
    """Raised by a tool that has no part in this run: no failure, and the run goes another way."""


class ToolFailed(Exception):
    """Raised by a tool to say exactly how it failed.

    A tool whose effect must not happen twice says with it what had happened by then: of most other errors that is not
    known, and then nobody else provides its value until its `verify`, or a person, has found out.

    Args:
        message: What went wrong, for a person.
        transient: Whether the same call may succeed later.
        happened: Whether the side effect took place: ``"no"``, ``"yes"`` or ``"unknown"``.
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(
        self,
        message: str = "",
        *,
        transient: bool = False,
        happened: Literal["no", "yes", "unknown"] = "no",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.happened: Literal["no", "yes", "unknown"] = happened
        self.retry_after = retry_after


class NotCalled(ToolFailed):
    """A call that the runtime itself did not make; whatever users say of errors, it says nothing about the node."""

    failure_type = "not_called"

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True, happened="no")
