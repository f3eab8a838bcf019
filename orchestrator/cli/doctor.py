"""``orchestrator doctor``: what is well, what is not, and how to mend it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.output import Exit, print_json

if TYPE_CHECKING:
    from orchestrator.cli.checks import Check

__all__ = ("command",)

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
WIDTH = 18
INDENT = len("fail  ") + WIDTH


@click.command("doctor")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--live", is_flag=True, help="Also ask the models that FILE names for their list of models.")
@json_option
def command(file: Path | None, live: bool, as_json: bool) -> None:
    """Check the installation, the environment, the run log and, where it is named, a graph FILE.

    One line each: ok, warn or fail, with a fix. Exit 1 if anything fails. Values of the environment are never shown.
    """
    checks = []
    for check in _checks(file, live):
        checks.append(check)
        if not as_json:
            _tell(check)
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [check.as_dict() for check in checks]})
    raise SystemExit(Exit.FAILED if failed else Exit.MET)


def _checks(file: Path | None, live: bool) -> Iterator[Check]:
    """Yield every check, without the secrets of the environment."""
    from orchestrator.cli.checks import Patient
    from orchestrator.cli.run_log import run_log_checks
    from orchestrator.redact import Redactor

    now = time.time()  # noqa: TID251  # the machine's own clock is one of the things looked at
    patient = Patient(file, os.environ, now=now, live=live)
    for check in chain(patient.checks(), run_log_checks(os.environ)):
        yield Redactor.from_environment(patient.secrets, os.environ).redact(check)


def _tell(check: Check) -> None:
    """Print one check; the status is a word, and its colour only a hint."""
    status = click.style(f"{check.status:<4}", fg=COLOURS[check.status], bold=check.status != "ok")
    colour = False if os.environ.get("NO_COLOR") else None
    for number, line in enumerate(_wrapped(check.text)):
        head = f"{status}  {check.name:<{WIDTH}}" if number == 0 else " " * INDENT
        click.echo(f"{head}{line}", color=colour)
    for line in _wrapped(f"fix: {check.fix}") if check.fix is not None else ():
        click.echo(f"{'':<{INDENT}}{line}")


def _wrapped(text: str) -> list[str]:
    """Return the lines of a text beside the names; off a terminal nobody sees a width, and a line stays whole."""
    if not sys.stdout.isatty():
        return [text]
    width = max(get_terminal_size().columns - INDENT, 20)
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
