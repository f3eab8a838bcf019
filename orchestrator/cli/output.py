"""What the command line prints, and where: results on stdout, narration on stderr, one exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import InputError, OrchestratorError, SpecError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ("Exit", "as_json", "console", "exit_code", "json_line", "print_json", "report_errors", "value_text")


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
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 200)


def wants_json() -> bool:
    """Whether the command at hand was asked for JSON."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.params.get("as_json") or context.params.get("events"):
            return True
        context = context.parent
    return "--json" in sys.argv or "--events" in sys.argv


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn errors of ours into one message and an exit code."""
    try:
        yield
    except SpecError as error:
        if wants_json():
            print_json({"error": {"code": "spec", "problems": [problem.as_dict() for problem in error.problems]}})
        else:
            click.echo(str(error), err=True)
        raise SystemExit(Exit.USAGE) from None
    except InputError as error:
        _report("input", str(error))
    except OrchestratorError as error:
        _report(type(error).__name__, str(error))


def _report(code: str, message: str) -> None:
    if wants_json():
        print_json({"error": {"code": code, "message": message}})
    else:
        click.echo(f"error: {message}", err=True)
    raise SystemExit(Exit.USAGE)
