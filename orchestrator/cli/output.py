"""What the command line prints, and where: results on stdout, narration on stderr, one exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import InputError, OrchestratorError, RunNotFoundError, SpecError, StoreError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = (
    "Exit",
    "as_json",
    "console",
    "exit_code",
    "json_line",
    "print_json",
    "print_table",
    "report_errors",
    "value_text",
)


class Exit(IntEnum):
    """Exit codes; scripts depend on them."""

    MET = 0
    FAILED = 1
    USAGE = 2
    DEMOTED = 3
    LIMIT = 4
    WAITING = 5
    INTERRUPTED = 130

    def __str__(self) -> str:
        return str(int(self))


def exit_code(outcome: str, reason: str | None, *, allow_demoted: bool = False) -> Exit:
    """Return the exit code of a run's outcome."""
    match outcome:
        case "met":
            return Exit.MET
        case "demoted":
            return Exit.MET if allow_demoted else Exit.DEMOTED
        case "waiting":
            return Exit.WAITING
        case "cancelled":
            return Exit.INTERRUPTED
    return Exit.LIMIT if (reason or "").startswith("limit:") else Exit.FAILED


def as_json(data: Any, *, indent: int | None = 2) -> str:
    """Return *data* as JSON; objects without a JSON form are written as their text."""
    from pydantic_core import to_json

    return to_json(data, indent=indent, fallback=str, inf_nan_mode="strings").decode()


def print_json(data: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(as_json(data))


def json_line(data: Any) -> None:
    """Print one line of JSON on stdout, at once."""
    click.echo(as_json(data, indent=None))


def value_text(values: Mapping[str, Any]) -> str:
    """Return a run's values for a person: a single text as it is, anything else as JSON."""
    if len(values) == 1:
        (only,) = values.values()
        if isinstance(only, str):
            return only
    return as_json(values)


def console() -> Console:
    """Return the console for narration: stderr, without colour off a terminal or under NO_COLOR."""
    from rich.console import Console

    # Off a terminal nobody sees a width: lines are cut by whoever reads them.
    return Console(stderr=True, highlight=False, emoji=False, width=None if sys.stderr.isatty() else 200)


def print_table(out: Console, table: Table) -> None:
    """Print a table, without the blanks that fill its last column off a terminal."""
    with out.capture() as captured:
        out.print(table)
    out.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


@contextmanager
def report_errors(*, json: bool = False, verbose: bool = False) -> Iterator[None]:
    """Turn every error into one message and an exit code.

    Errors of ours say all that there is to say. Of any other one a report is saved.

    Args:
        json: Print the message as a document on stdout.
        verbose: Print the report of an unexpected error instead of saving it.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # click's own way to end
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise SystemExit(Exit.INTERRUPTED) from None
    except Exception as error:
        message, found = _told(error, verbose)
        if json:
            print_json({"error": found})
        else:
            click.echo(message, err=True)
        raise SystemExit(Exit.FAILED if found["code"] == "store" else Exit.USAGE) from None


def _told(error: Exception, verbose: bool) -> tuple[str, dict[str, Any]]:
    """Return what is said of an error: to a person, and as data."""
    from orchestrator.cli.unexpected import expected

    ours = expected(error)
    if ours is None:
        return _unexpected(error, verbose)
    if isinstance(ours, SpecError):
        return str(ours), {"code": "spec", "problems": [problem.as_dict() for problem in ours.problems]}
    return f"error: {ours}", {"code": _code(ours), "message": str(ours)}


def _code(error: OrchestratorError) -> str:
    if isinstance(error, InputError):
        return "input"
    if isinstance(error, StoreError) and not isinstance(error, RunNotFoundError):
        return "store"
    return type(error).__name__


def _unexpected(error: Exception, verbose: bool) -> tuple[str, dict[str, Any]]:
    from orchestrator.cli.unexpected import DEBUG, report_text, save_report, wants_traceback

    context = click.get_current_context(silent=True)
    command = f"orchestrator {context.invoked_subcommand or ''}".strip() if context else "orchestrator"
    text = report_text(error, command, os.environ)
    message, path = f"unexpected {type(error).__name__}", None
    if wants_traceback(verbose, os.environ):
        click.echo(text, err=True)
    elif (path := save_report(text)) is not None:
        message += f"; the report is in {path}"
    else:
        message += f"; -v or {DEBUG}=1 shows where"
    return f"error: {message}", {"code": "unexpected", "message": message, "report": path}
