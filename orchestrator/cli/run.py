"""``orchestrator run``: one run, followed on stderr, its result on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.driving import drive, narrator, print_result, tells
from orchestrator.cli.options import (
    faults_option,
    file_argument,
    given_inputs,
    goal_option,
    input_options,
    json_option,
    load,
    load_faults,
    policy_option,
    seed_option,
)
from orchestrator.cli.output import exit_code
from orchestrator.cli.store import named, store_option, store_url

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from orchestrator.faults import FaultPlan
    from orchestrator.result import RunResult
    from orchestrator.runtime import Orchestrator

__all__ = ("command",)


@click.command("run")
@file_argument
@input_options
@goal_option
@policy_option
@seed_option
@faults_option
@click.option("--allow-demoted", is_flag=True, help="Exit 0 also for a lower goal.")
@click.option("--events", is_flag=True, help="Print every event as a line of JSON, as it happens.")
@click.option("--log", is_flag=True, help="Write log lines on stderr: pretty on a terminal, JSON elsewhere.")
@click.option("--otlp", metavar="URL", help="Send the trace to this collector; default: OTEL_EXPORTER_OTLP_ENDPOINT.")
@store_option
@click.option("--no-store", is_flag=True, help="Record nothing: the run is lost if this process ends before it.")
@json_option
def command(
    file: Path,
    inputs: tuple[str, ...],
    inputs_file: str | None,
    down: tuple[str, ...],
    goal: str | None,
    policy: str | None,
    seed: int | None,
    faults: Path | None,
    allow_demoted: bool,
    events: bool,
    log: bool,
    otlp: str | None,
    store: str | None,
    no_store: bool,
    as_json: bool,
) -> None:
    """Run FILE towards a goal: the cheapest route, and round whatever fails."""
    import anyio

    with _tracer(otlp) as tracer:
        orchestrator = load(file, policy, imports=True, tracer=tracer, store=None if no_store else store_url(store))
        given = given_inputs(orchestrator.graph, inputs, inputs_file)
        orchestrator.check()
        plan = load_faults(faults, orchestrator.graph, real=True)
        if log:
            _log(orchestrator)
        options: dict[str, Any] = {"goal": goal, "down": down, "seed": seed}
        quiet = as_json or events or log
        result = anyio.run(_run, orchestrator, given, plan, options, events, quiet)
    if not events:
        typed = None if no_store else named(result.run_id, store)
        print_result(result, as_json=as_json, named=typed, told=tells(quiet=quiet))
    raise SystemExit(exit_code(result.outcome, result.reason, allow_demoted=allow_demoted))


async def _run(
    orchestrator: Orchestrator,
    given: dict[str, Any],
    plan: FaultPlan | None,
    options: dict[str, Any],
    events: bool,
    quiet: bool,
) -> RunResult:
    async with orchestrator:
        narrate = narrator(orchestrator.redactor, events=events, quiet=quiet)
        await orchestrator.ready()
        return await drive(orchestrator.start(given, faults=plan, on_record=narrate, **options))


@contextmanager
def _tracer(otlp: str | None) -> Iterator[Tracer | None]:
    """Send traces to a collector while the run lasts: the one named, or the environment's."""
    from orchestrator.errors import NotAvailableError
    from orchestrator.telemetry.provider import exporting

    tracer: Tracer | None
    endpoint = otlp or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint is None:
        yield None
        return
    with ExitStack() as stack:
        try:
            tracer = stack.enter_context(exporting(endpoint)).get_tracer("orchestrator")
        except NotAvailableError as error:
            if otlp is not None:
                raise
            # The variable may be meant for other programs.
            click.echo(f"no traces are sent: {error}", err=True)
            tracer = None
        yield tracer


def _log(orchestrator: Orchestrator) -> None:
    import structlog

    from orchestrator.telemetry.logs import LogSink, configure_logging

    configure_logging(sys.stderr, json=not sys.stderr.isatty(), redact=orchestrator.redactor.redact)
    orchestrator.add_sink(LogSink(structlog.get_logger("orchestrator"), redact=orchestrator.redactor.redact))
