"""``orchestrator runs``: what ran, what runs, and how to go on with what stopped."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.driving import drive, narrator, print_result, tells
from orchestrator.cli.listing import OUTCOMES, ago, rows_of, table_lines, to_type
from orchestrator.cli.options import down_option, json_option, offer
from orchestrator.cli.output import Exit, exit_code, json_line, print_json
from orchestrator.cli.store import file_option, find_orchestrator, named, open_store, run_argument, store_option
from orchestrator.errors import InputError, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.events import Record
    from orchestrator.replaying import Replay
    from orchestrator.result import RunResult
    from orchestrator.store import RunRow, Store, StoredRun

__all__ = ("command",)

POLL = 0.3
"""Seconds between two looks at a run that is followed."""
LOOKS = 10
"""Looks without news after which it is found out whether the run's process still lives."""


@click.group("runs")
def command() -> None:
    """What ran, what runs, and how to go on with what stopped."""


# -------------------------------------------------------------------------------------------------------------- looking


@command.command("list")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="The newest so many.")
@click.option("--outcome", type=click.Choice(OUTCOMES), metavar="O", help=f"Only those that are {'|'.join(OUTCOMES)}.")
@click.option("--graph", metavar="NAME", help="Only those of this graph.")
@store_option
@json_option
def list_runs(limit: int, outcome: str | None, graph: str | None, store: str | None, as_json: bool) -> None:
    """List the newest runs. One that is *stopped* lost its process before its end."""
    import anyio

    async def find() -> tuple[list[RunRow], str]:
        async with open_store(store) as opened:
            return await rows_of(opened, limit, outcome, graph), opened.url

    found, url = anyio.run(find)
    if as_json:
        print_json(_redact()([dataclasses.asdict(row) for row in found]))
    elif found:
        for line in table_lines(found, _now()):
            click.echo(_redact()(line))
        for line in to_type(found, store):
            click.echo(line, err=True)
    else:
        click.echo(f"no runs{' like that' if outcome or graph else ''} in {url}", err=True)


@command.command("show")
@run_argument
@click.option("--events", is_flag=True, help="Print every event as a line of JSON.")
@store_option
@json_option
def show(run: str, events: bool, store: str | None, as_json: bool) -> None:
    """Show RUN: its steps, its decisions, its result, and what it asks."""
    from orchestrator.drivers.resuming import recorded
    from orchestrator.events import record_to_dict

    stored, redact = _load(run, store), _redact()
    if events:
        for record in stored.records:
            json_line(redact(record_to_dict(record)))
        return
    result, row, now = redact(recorded(stored)), stored.row, _now()
    if as_json:
        more = ("graph", "source", "created", "updated", "alive")
        print_json({**result.as_dict(), **{name: redact(getattr(row, name)) for name in more}})
        return
    typed = named(row.run_id, store)
    click.echo(redact(f"{row.graph}, started {ago(now - row.created)}"), err=True)
    state = None
    if row.outcome == "running" and row.alive:
        state = f"running, driven by {row.owner}" if row.owner else "running"
    elif row.outcome == "running":
        state = f"stopped: its process is gone; go on with: orchestrator runs resume {typed.run}{typed.options}"
    print_result(result, as_json=False, named=typed, now=now - row.created, head=state)


@command.command("tail")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over, waits, or has lost its process.")
@click.option("-n", "--last", type=click.IntRange(0), default=10, show_default=True, help="Begin so many lines back.")
@click.option("--events", is_flag=True, help="Print every event as a line of JSON.")
@store_option
def tail(run: str, follow: bool, last: int, events: bool, store: str | None) -> None:
    """Print the latest events of RUN, a line each."""
    import anyio

    anyio.run(_tail, run, follow, last, _event_line if events else _story_line, store)


async def _tail(run: str, follow: bool, last: int, told: Callable[[Record], str | None], url: str | None) -> None:
    import anyio

    redact = _redact()
    async with open_store(url) as store:
        run_id = await store.find(run)
        stored = await store.load(run_id)
        lines = [text for record in stored.records if (text := told(record)) is not None]
        for text in lines[-last:] if last else ():
            click.echo(redact(text))
        seq, outcome, alive, looks = stored.row.last_seq, stored.row.outcome, True, 0
        while follow and outcome == "running" and alive:
            if looks % LOOKS == 0:
                alive = run_id not in {row.run_id for row in await store.resumable()}
            looks += 1
            for record in await store.records_after(run_id, seq):
                seq, looks = record.seq, 1
                outcome = record.event.outcome if record.event.event == "run_finished" else outcome
                text = told(record)
                if text is not None:
                    click.echo(redact(text))
            if outcome == "running" and alive:
                await anyio.sleep(POLL)
    if not alive and outcome == "running":
        typed = named(run_id, url)
        click.echo(f"its process is gone; go on with: orchestrator runs resume {typed.run}{typed.options}", err=True)


def _event_line(record: Record) -> str:
    from orchestrator.cli.output import as_json
    from orchestrator.events import record_to_dict

    return as_json(record_to_dict(record), indent=None)


def _story_line(record: Record) -> str | None:
    from orchestrator.cli.steps import line

    event = record.event
    if event.event == "run_finished":
        goal, why = f" {event.goal}" if event.goal else "", f": {event.reason}" if event.reason else ""
        text: str | None = f"{event.outcome:<12}{(goal + why).lstrip(': ')}".rstrip()
    else:
        text = line(record)
    return None if text is None else f"{record.at:9.3f} s  {text}"


def _load(run: str, url: str | None) -> StoredRun:
    import anyio

    async def load() -> StoredRun:
        async with open_store(url) as store:
            return await store.load(await store.find(run))

    return anyio.run(load)


def _redact() -> Callable[[Any], Any]:
    from orchestrator.redact import Redactor

    return Redactor.from_environment((), os.environ).redact


def _now() -> float:
    import time

    return time.time()  # noqa: TID251  # the wall clock of deadlines and ages


# ------------------------------------------------------------------------------------------------------------- going on


@command.command("resume")
@click.argument("run", metavar="[RUN]", required=False, shell_complete=offer("runs"))
@click.option("--all", "everything", is_flag=True, help="Every run that stopped before its end.")
@click.option("--steal", is_flag=True, help="Also from a process that seems to be alive; it can then not go on.")
@click.option("--allow-demoted", is_flag=True, help="Exit 0 also for a lower goal.")
@file_option
@store_option
@json_option
def resume(
    run: str | None,
    everything: bool,
    steal: bool,
    allow_demoted: bool,
    file: Path | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Go on with RUN, or with --all, from the work already done.

    Attempts in flight at the crash are made again where they read or are idempotent; for others it is found out, or
    asked, whether they happened. With --all, a run that cannot go on does not keep the others from it, and the exit
    code is the greatest of all.
    """
    import anyio

    if everything == (run is not None):
        raise InputError("name a run, or give --all")
    if everything and (steal or file is not None):
        raise InputError(f"{'--steal' if steal else '--file'} is for one run: name it, and leave out --all")
    resuming = _Resuming(steal, file, store, as_json, allow_demoted)
    if run is None:
        anyio.run(resuming.all)
    else:
        anyio.run(resuming.one, run)
    if as_json:
        print_json(resuming.documents if everything else resuming.documents[0])
    elif not resuming.codes:
        click.echo("nothing to resume", err=True)
    raise SystemExit(max(resuming.codes, default=Exit.MET))


class _Resuming:
    """Goes on with one run after the other."""

    def __init__(self, steal: bool, file: Path | None, url: str | None, as_json: bool, allow_demoted: bool) -> None:
        self.steal = steal
        self.file = file
        self.url = url
        self.as_json = as_json
        self.allow_demoted = allow_demoted
        self.codes: list[Exit] = []
        self.documents: list[dict[str, Any]] = []

    async def one(self, run: str) -> None:
        """Go on with a run."""
        async with open_store(self.url) as store:
            await self._go_on(store, await store.find(run))

    async def all(self) -> None:
        """Go on with all runs that stopped, until one is interrupted."""
        async with open_store(self.url) as store:
            for row in await store.resumable():
                if Exit.INTERRUPTED in self.codes:
                    break
                if not self.as_json:
                    click.echo(f"run {row.run_id} of {row.graph}", err=True)
                try:
                    await self._go_on(store, row.run_id)
                except OrchestratorError as error:
                    # One run that cannot go on is no reason to leave the others.
                    self.codes.append(Exit.FAILED)
                    self.documents.append({"run_id": row.run_id, "error": {"message": str(error)}})
                    if not self.as_json:
                        click.echo(f"error: {error}", err=True)

    async def _go_on(self, store: Store, run_id: str) -> None:
        from orchestrator.drivers.resuming import at_rest, recorded

        stored, told = await store.load(run_id), tells(quiet=self.as_json)
        if at_rest(stored, _now(), asks=False):
            result, told = _redact()(recorded(stored)), False
        else:
            async with find_orchestrator(stored, self.file, store) as orchestrator:
                narrate = narrator(orchestrator.redactor, quiet=self.as_json)
                run = await orchestrator.reopen(run_id, steal=self.steal, on_record=narrate)
                result = await drive(run)
        self.codes.append(exit_code(result.outcome, result.reason, allow_demoted=self.allow_demoted))
        self.documents.append(result.as_dict())
        if not self.as_json:
            print_result(result, as_json=False, named=named(run_id, self.url, self.file), told=told)


# ------------------------------------------------------------------------------------------------------------ replaying


@command.command("replay")
@run_argument
@file_option
@click.option("--recorded-graph", is_flag=True, help="Under the graph of the run itself, not today's.")
@click.option("--policy", metavar="P", help="A policy, instead of today's.", shell_complete=offer("policies"))
@click.option("--goal", metavar="NAME", help="Another goal.", shell_complete=offer("goals"))
@down_option
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
    """Replay RUN under today's graph, costs or policy.

    Nothing is called: tools, models and people answer as the record says, and a node that the run never called as it
    declares. What then differs is due to the graph and the policy.
    """
    from orchestrator.cli.options import load
    from orchestrator.replaying import replay

    if recorded_graph and file is not None:
        raise InputError("--file names another graph than the run's own: leave out --recorded-graph")
    stored, redact = _load(run, store), _redact()
    graph = chosen = None
    path = file or (Path(stored.row.source) if stored.row.source else None)
    if path is not None and (file is not None or path.is_file()) and not recorded_graph:
        today = load(path, policy, imports=False)
        graph, chosen = today.graph, today.policy
    elif policy is not None:
        from orchestrator.spec.policies import is_path, load_policy

        at = Path(policy)
        chosen = load_policy(at.name if is_path(policy) else policy, root=at.parent, environ=os.environ)
    found = replay(stored.records, graph, chosen, goal=goal, down=down)
    under = "its own graph" if graph is None else str(path)
    if as_json:
        print_json(redact(_replay_as_dict(found)))
    else:
        for line in _replay_lines(found, stored, under):
            click.echo(redact(line))


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
            elif decision is not None and decision.label not in ("question", "resumed"):
                lines.append(f"{decision.label}: {decision.text}")
        return lines

    lines = [f"run {stored.row.run_id} of {stored.row.graph}, under {under}"]
    lines += [f"  recorded  {route_text(found.recorded.route)}", f"            {summary(found.recorded)}"]
    lines += [f"  today     {route_text(found.today.route)}", f"            {summary(found.today)}"]
    for question in found.today.questions:
        lines.append(f"  asks      {question.id}: {question.reason}; the record has no answer")
    if found.unknown:
        lines.append(f"  gone      {', '.join(found.unknown)}: today's graph does not have them")
    if found.same:
        return [*lines, "the same calls, the same end"]
    difference = ndiff(story(found.recorded), story(found.today))
    return [*lines, "what differs (- recorded, + today):", *(f"  {line}" for line in difference if line[0] != "?")]
