"""Following a run on the command line: its story on stderr, its result at the end, Ctrl-C in between."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from orchestrator.cli.asking import question_lines
from orchestrator.cli.output import Exit, console, json_line, print_json, print_table, value_text
from orchestrator.cli.steps import line, step_table, summary
from orchestrator.events import Record, record_to_dict

if TYPE_CHECKING:
    from orchestrator.cli.store import Named
    from orchestrator.drivers.local import LocalRun
    from orchestrator.redact import Redactor
    from orchestrator.result import RunResult

__all__ = ("drive", "narrator", "print_result", "tells")


def tells(*, quiet: bool = False) -> bool:
    """Whether a run is told as it happens: on a terminal."""
    return not quiet and console().is_terminal


def narrator(redactor: Redactor, *, events: bool = False, quiet: bool = False) -> Callable[[Record], None]:
    """Return what tells of each record as it happens.

    Args:
        redactor: Removes secrets.
        events: Print every event as a line of JSON on stdout.
        quiet: Tell nothing else.
    """
    narration = console() if tells(quiet=quiet or events) else None

    def narrate(record: Record) -> None:
        if events:
            json_line(redactor.redact(record_to_dict(record)))
        elif narration is not None and record.event.event != "question_asked":  # what is asked stands at the end
            text = line(record)
            if text is not None:
                narration.print(redactor.redact(text), markup=False)

    return narrate


async def drive(run: LocalRun) -> RunResult:
    """Run to the end; the first signal cancels the run, the second one ends the process."""
    import signal

    import anyio

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def stop_on_signal() -> None:
            async for _ in signals:
                if run.cancelling:
                    # Not `sys.exit`: that would wait for what is in flight after all.
                    os._exit(Exit.INTERRUPTED)
                click.echo("stopping: effects in flight are finished first; once more to stop at once", err=True)
                run.cancel("interrupted")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_on_signal)
            result = await run.run()
            tasks.cancel_scope.cancel()
    return result


def print_result(
    result: RunResult,
    *,
    as_json: bool,
    named: Named | None = None,
    told: bool = False,
    now: float | None = None,
    head: str | None = None,
) -> None:
    """Print a result: one JSON document, or values on stdout and how it went on stderr.

    Args:
        result: The result.
        as_json: Print the document.
        named: What commands call the run; None: it is not recorded.
        told: Whether its story was told as it happened, so that the table of its steps would say it again.
        now: Seconds on the run's clock, for deadlines; default: its last record.
        head: Said instead of the summary.
    """
    if as_json:
        print_json(result.as_dict())
        return
    out = console()
    if not told:
        print_table(out, step_table(result))
    out.print(head or summary(result), markup=False, style="bold", soft_wrap=True)
    for text in question_lines(result, named, now=now):
        out.print(text, markup=False, soft_wrap=True)
    if result.trace_id:
        out.print(f"run {result.run_id}  trace {result.trace_id}", markup=False, soft_wrap=True)
    if result.values:
        click.echo(value_text(result.values))
