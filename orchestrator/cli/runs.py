"""``orchestrator runs``: what ran, what runs, and how to go on with what stopped."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.driving import drive, narrator, print_result
from orchestrator.cli.options import json_option
from orchestrator.cli.output import Exit, console, exit_code, json_line, print_json
from orchestrator.cli.store import find_orchestrator, open_store, run_argument, store_option
from orchestrator.errors import InputError, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.events import Record
    from orchestrator.replaying import Replay
    from orchestrator.result import RunResult
    from orchestrator.store import RunRow, Store, StoredRun

__all__ = ("command",)

POLL = 0.3
"""Seconds between two looks at a run that is followed."""

file_option = click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The graph file, if not the one it was started from.",
)


@click.group("runs")
def command() -> None:
    """What ran, what runs, and how to go on with what stopped."""


# -------------------------------------------------------------------------------------------------------------- looking


@command.command("list")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="The newest so many.")
@click.option("--outcome", metavar="O", help="Only running, waiting, met, demoted, failed or cancelled ones.")
@store_option
@json_option
def list_runs(limit: int, outcome: str | None, store: str | None, as_json: bool) -> None:
    """List the newest runs."""
    import anyio

    async def rows() -> tuple[RunRow, ...]:
        async with open_store(store) as opened:
            return await opened.runs(limit=limit, outcome=outcome)

    found = anyio.run(rows)
    if as_json:
        print_json([_row_as_dict(row) for row in found])
        return
    if not found:
        click.echo("no runs", err=True)
        return
    for line in _table([_columns(row) for row in found]):
        click.echo(line)


def _columns(row: RunRow) -> tuple[str, ...]:
    state = row.outcome
    if row.outcome == "running" and not row.alive:
        state = "stopped"
    reason = {"waiting": ", ".join(row.questions), "stopped": f"orchestrator runs resume {row.run_id[:8]}"}
    goal = row.reached or row.goal
    return (row.run_id[:8], _when(row.created), row.graph, state, goal, reason.get(state, row.reason or ""))


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    rows = [("RUN", "STARTED", "GRAPH", "OUTCOME", "GOAL", ""), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _row_as_dict(row: RunRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in type(row).__dataclass_fields__}


@command.command("show")
@run_argument
@click.option("--events", is_flag=True, help="Print every event as a line of JSON.")
@store_option
@json_option
def show(run: str, events: bool, store: str | None, as_json: bool) -> None:
    """Show RUN: its steps, its decisions and its result."""
    from orchestrator.drivers.resuming import recorded
    from orchestrator.events import record_to_dict
    from orchestrator.redact import Redactor

    stored = _load(run, store)
    redact = Redactor.from_environment((), os.environ).redact
    if events:
        for record in stored.records:
            json_line(redact(record_to_dict(record)))
        return
    result = redact(recorded(stored))
    if not as_json:
        first = f"{stored.row.graph}, started {_when(stored.row.created)}"
        console().print(f"{first}, {'driven' if stored.row.alive else 'not driven'} now", markup=False)
    print_result(result, as_json=as_json)


@command.command("tail")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over or waits.")
@click.option("-n", "--last", type=click.IntRange(0), default=10, show_default=True, help="Begin so many lines back.")
@store_option
def tail(run: str, follow: bool, last: int, store: str | None) -> None:
    """Print the latest events of RUN, a line each."""
    import anyio

    try:
        anyio.run(_tail, run, follow, last, store)
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None


async def _tail(run: str, follow: bool, last: int, url: str | None) -> None:
    import anyio

    async with open_store(url) as store:
        run_id = await store.find(run)
        stored = await store.load(run_id)
        lines = [text for record in stored.records if (text := _line(record)) is not None]
        for text in lines[len(lines) - last if last < len(lines) else 0 :] if last else ():
            click.echo(text)
        seq, outcome = stored.row.last_seq, stored.row.outcome
        while follow and outcome == "running":
            await anyio.sleep(POLL)
            for record in await store.records_after(run_id, seq):
                seq, text = record.seq, _line(record)
                outcome = getattr(record.event, "outcome", outcome) if record.event.event == "run_finished" else outcome
                if text is not None:
                    click.echo(text)


def _line(record: Record) -> str | None:
    from orchestrator.cli.steps import line
    from orchestrator.redact import Redactor

    text = line(record)
    return None if text is None else f"{record.at:9.3f} s  {Redactor.from_environment((), os.environ).redact(text)}"


def _load(run: str, url: str | None) -> StoredRun:
    import anyio

    async def load() -> StoredRun:
        async with open_store(url) as store:
            return await store.load(await store.find(run))

    return anyio.run(load)


# ------------------------------------------------------------------------------------------------------------- going on


@command.command("resume")
@click.argument("run", metavar="RUN", required=False)
@click.option("--all", "everything", is_flag=True, help="Every run that stopped before its end.")
@click.option("--steal", is_flag=True, help="Also from a process that seems to be alive; it can then not go on.")
@file_option
@store_option
@json_option
def resume(run: str | None, everything: bool, steal: bool, file: Path | None, store: str | None, as_json: bool) -> None:
    """Go on with RUN, or with --all, from the work already done.

    Attempts in flight at the crash are made again where they read or are idempotent; for others it is found out, or
    asked, whether they happened.
    """
    import anyio

    if everything == (run is not None):
        raise InputError("name a run, or give --all")
    results = anyio.run(_resume, run, steal, file, store, as_json)
    if as_json:
        documents = [result.as_dict() for result in results]
        print_json(documents if everything else documents[0])
    elif everything and not results:
        click.echo("nothing to resume", err=True)
    for result in () if as_json else results:
        print_result(result, as_json=False)
    raise SystemExit(max((exit_code(result.outcome, result.reason) for result in results), default=Exit.MET))


async def _resume(run: str | None, steal: bool, file: Path | None, url: str | None, quiet: bool) -> list[RunResult]:
    async with open_store(url) as store:
        if run is not None:
            return [await _go_on(store, await store.find(run), steal, file, quiet)]
        results = []
        for row in await store.resumable():
            try:
                results.append(await _go_on(store, row.run_id, steal, file, quiet))
            except OrchestratorError as error:
                # One run that cannot go on is no reason to leave the others.
                click.echo(f"run {row.run_id[:8]}: {error}", err=True)
        return results


async def _go_on(store: Store, run_id: str, steal: bool, file: Path | None, quiet: bool) -> RunResult:
    from orchestrator.drivers.resuming import at_rest, recorded

    stored = await store.load(run_id)
    if at_rest(stored, _now(), asks=False):
        return recorded(stored)
    async with find_orchestrator(stored, file, store) as orchestrator:
        narrate = narrator(orchestrator.redactor, quiet=quiet)
        return await drive(await orchestrator.reopen(run_id, steal=steal, on_record=narrate))


def _now() -> float:
    return datetime.now(UTC).timestamp()  # noqa: TID251  # the wall clock of deadlines


# ------------------------------------------------------------------------------------------------------------ replaying


@command.command("replay")
@run_argument
@file_option
@click.option("--recorded-graph", is_flag=True, help="Under the graph of the run itself, not today's.")
@click.option("--policy", metavar="P", help="A policy's name or file, instead of today's.")
@click.option("--goal", metavar="NAME", help="Another goal.")
@click.option("--down", metavar="NODE", multiple=True, help="Do without this node; may be repeated.")
@store_option
@json_option
def replay_run(
    run: str,
    file: Path | None,
    recorded_graph: bool,
    policy: str | None,
    goal: str | None,
    down: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> None:
    """Plan RUN again under today's graph, costs or policy, and show what would differ. Nothing is called.

    The tools answer as the record says; a node that the run never called answers as it declares.
    """
    from orchestrator.cli.options import load
    from orchestrator.replaying import replay

    stored = _load(run, store)
    graph = chosen = None
    path = file or (Path(stored.row.source) if stored.row.source else None)
    if path is not None and (file is not None or path.is_file()) and not recorded_graph:
        today = load(path, policy, imports=False)
        graph, chosen = today.graph, today.policy
    elif policy is not None:
        from orchestrator.spec.policies import is_path, load_policy

        named, by_path = Path(policy), is_path(policy)
        chosen = load_policy(named.name if by_path else policy, root=named.parent, environ=os.environ)
    found = replay(stored.records, graph, chosen, goal=goal, down=down)
    under = "its own graph" if graph is None else str(path)
    if as_json:
        print_json(_replay_as_dict(found))
    else:
        for line in _replay_lines(found, stored, under):
            click.echo(line)


def _replay_as_dict(found: Replay) -> dict[str, Any]:
    def told(result: RunResult) -> dict[str, Any]:
        whole = result.as_dict()
        return {name: whole[name] for name in ("outcome", "goal", "route", "attempts", "reroutes", "usd", "seconds")}

    both = {"recorded": told(found.recorded), "today": told(found.today)}
    return {"run_id": found.recorded.run_id, "same": found.same, "unknown": list(found.unknown), **both}


def _replay_lines(found: Replay, stored: StoredRun, under: str) -> list[str]:
    from difflib import ndiff

    from orchestrator.cli.steps import route_text, summary, told

    def story(result: RunResult) -> list[str]:
        lines = []
        for record in result.records:
            decision = told(record)
            if record.event.event == "attempt_ended":
                lines.append(f"{record.event.node}: {record.event.outcome}")
            elif decision is not None and decision.label != "question":
                lines.append(f"{decision.label}: {decision.text}")
        return lines

    lines = [f"run {stored.row.run_id} of {stored.row.graph}, under {under}"]
    lines += [f"  recorded  {route_text(found.recorded.route)}", f"            {summary(found.recorded)}"]
    lines += [f"  today     {route_text(found.today.route)}", f"            {summary(found.today)}"]
    if found.unknown:
        lines.append(f"  gone      {', '.join(found.unknown)}: today's graph does not have them")
    if found.same:
        return [*lines, "the same calls, the same end"]
    difference = ndiff(story(found.recorded), story(found.today))
    return [*lines, "what differs (- recorded, + today):", *(f"  {line}" for line in difference if line[0] != "?")]
