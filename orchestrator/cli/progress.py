"""Progress of long work: on stderr, only where a person looks at it, and gone when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

__all__ = ("counted", "reading")

LARGE = 200_000
"""Bytes; reading a smaller graph file is over before a person looks."""


@contextmanager
def counted(total: int, label: str) -> Iterator[Iterable[int]]:
    """Give the numbers below *total* to go through, with a bar on a terminal that is gone when the block is left."""
    if not sys.stderr.isatty() or total < 2:
        yield range(total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from orchestrator.cli.output import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # What is printed meanwhile goes where it was meant to go: stdout holds the result only.
    with Progress(
        *columns, console=console(), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield progress.track(range(total), description=label)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Show on a terminal that a large file is being read and checked."""
    try:
        large = sys.stderr.isatty() and file.stat().st_size > LARGE
    except OSError:
        large = False
    if large:
        from orchestrator.cli.output import console

        shown = console().status(f"checking {click.format_filename(file)}")
    with shown if large else nullcontext():
        yield
