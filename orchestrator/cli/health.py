"""``orchestrator health``: how nodes are doing, as the processes that run the graph save it and tell each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.output import Exit, print_json
from orchestrator.cli.store import open_store, store_option
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.health.rows import HealthRow
    from orchestrator.health.signal import Signal
    from orchestrator.store import Outage, Store

__all__ = ("command", "span")

EVERY = 1.0
"""Seconds between two looks."""
HEAD = ("NODE", "STATE", "OK", "LATENCY", "OPEN FOR", "LAST ERROR", "")
COLOURS = {"closed": "green", "half-open": "yellow", "open": "red"}


@dataclass(frozen=True, slots=True)
class Told:
    """An outage that goes on, as a process told the others of it; times are seconds."""

    node: str
    state: str
    seconds: float | None
    """How much longer; None: until somebody says something else."""
    reason: str
    process: str
    ago: float

    def __str__(self) -> str:
        host, _, pid = self.process.rpartition(":")[0].rpartition(":")
        return f"{self.reason}, says process {pid} on {host} {span(self.ago)} ago"


@dataclass(frozen=True, slots=True)
class Sheet:
    """The health of one graph, with its age in seconds."""

    graph: str
    age: float
    rows: tuple[HealthRow, ...]
    attention: Signal | None
    outages: tuple[Told, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        nodes = [asdict(row) for row in self.rows]
        return {
            "graph": self.graph,
            "age": self.age,
            "attention": None if self.attention is None else asdict(self.attention),
            "nodes": nodes,
            "outages": [asdict(outage) for outage in self.outages],
        }

    def notes(self, row: HealthRow) -> tuple[str, ...]:
        """Return what processes say of a node's outage."""
        return tuple(str(outage) for outage in self.outages if outage.node == row.node and row.state == "open")


@click.command("health")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("-w", "--watch", is_flag=True, help="Look again every second; off a terminal, print what has changed.")
@store_option
@json_option
def command(file: Path | None, watch: bool, store: str | None, as_json: bool) -> None:
    """Show how the nodes of the graph FILE are doing, or those of every graph in the run log.

    A node is closed (in use), open (out of use until it may be probed) or half-open (its next call is the probe). Its
    figures are those that the processes which run the graph save every few seconds, and with every outage. What they
    tell each other of outages is shown at once.
    """
    import anyio

    if watch and as_json:
        raise InputError("--watch goes on and --json is one document: give one of them")
    graph = None if file is None else _name(file)
    try:
        sheets = anyio.run(_watch, store, graph) if watch else anyio.run(_look, store, graph)
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
    if as_json:
        print_json({"graphs": [sheet.as_dict() for sheet in sheets]})
    elif sheets:
        _show(sheets)
    if not sheets:
        click.echo(_nothing(graph), err=True)


def _name(file: Path) -> str:
    from orchestrator.cli.options import load

    orchestrator = load(file, None, imports=False)
    if not orchestrator.policy.health.use:
        click.echo(
            f"the policy of {file} gives health no say: nothing is saved without health: {{use: true}}", err=True
        )
    return orchestrator.graph.name


def _show(sheets: Sequence[Sheet]) -> None:
    """Print the tables, in colour on a terminal; lines are as long as they are."""
    from rich.console import Console

    if not sys.stdout.isatty():
        click.echo("\n\n".join(str(_text(sheet)) for sheet in sheets))
        return
    out = Console(highlight=False, emoji=False)
    for number, sheet in enumerate(sheets):
        out.print(*([""] if number else []), _text(sheet), sep="\n", soft_wrap=True)


async def _look(url: str | None, graph: str | None) -> list[Sheet]:
    async with open_store(url) as store:
        return await _sheets(store, graph)


async def _sheets(store: Store, graph: str | None) -> list[Sheet]:
    from orchestrator.health.stored import attention_of, rows_of
    from orchestrator.redact import Redactor

    redact = Redactor.from_environment((), os.environ).redact
    sheets: dict[str, Sheet] = {}
    for saved in await store.healths(graph):
        rows = rows_of(saved.data, saved.age)
        if rows:
            sheets[saved.graph] = Sheet(saved.graph, saved.age, redact(rows), redact(attention_of(saved.data)))
    told: dict[str, dict[str, Outage]] = {}
    for outage in await store.outages_since(graph, 0):
        told.setdefault(outage.graph, {})[outage.node] = outage
    now = datetime.now(UTC).timestamp()  # noqa: TID251  # processes on other machines say when, too
    for name, outages in told.items():
        going_on = [redact(_told(each, now)) for each in outages.values() if _goes_on(each, now)]
        if going_on:
            sheets[name] = _with(sheets.get(name), name, going_on)
    return [sheets[name] for name in sorted(sheets)]


def _goes_on(outage: Outage, now: float) -> bool:
    return outage.state == "open" and (outage.until is None or outage.until > now)


def _told(outage: Outage, now: float) -> Told:
    left = None if outage.until is None else outage.until - now
    return Told(outage.node, outage.state, left, outage.reason, outage.process, max(now - outage.at, 0.0))


def _with(sheet: Sheet | None, graph: str, outages: Sequence[Told]) -> Sheet:
    """Return a sheet with outages; what was saved before one of them was told does not know it yet."""
    from orchestrator.health.rows import HealthRow

    if sheet is None:
        sheet = Sheet(graph, max(each.ago for each in outages), (), None)
    rows = {row.node: row for row in sheet.rows}
    for each in outages:
        row = rows.get(each.node) or HealthRow(each.node, "open", 0.0, 0.0, 1.0, None, 0.0, None, None, (), 1.0, 1.0)
        if each.node not in rows or each.ago < sheet.age:
            rows[each.node] = replace(row, state="open", open_for=each.seconds or 0.0)
    return replace(sheet, rows=tuple(rows.values()), outages=tuple(outages))


def _nothing(graph: str | None) -> str:
    of = "any graph" if graph is None else f"the graph {graph}"
    return f"nothing is known of the health of {of} yet: it is saved while a graph runs with this run log"


# ------------------------------------------------------------------------------------------------------------- watching


async def _watch(url: str | None, graph: str | None) -> list[Sheet]:
    """Show what there is, again and again, until interrupted."""
    async with open_store(url) as store:
        await (_redraw(store, graph) if sys.stdout.isatty() else _print_changes(store, graph))
    return []


async def _redraw(store: Store, graph: str | None) -> None:
    import anyio
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    out = Console(highlight=False, emoji=False)
    with Live(console=out, auto_refresh=False, transient=False, vertical_overflow="crop") as live:
        while True:
            sheets = await _sheets(store, graph)
            shown = [_text(sheet, width=out.width) for sheet in sheets] or [Text(_nothing(graph))]
            live.update(Group(*(part for text in shown for part in (text, ""))), refresh=True)
            await anyio.sleep(EVERY)


async def _print_changes(store: Store, graph: str | None) -> None:
    """Print a line for every node at first, and then for each that is no longer as it was told."""
    import anyio

    told: dict[tuple[str, str], tuple[str, ...]] = {}
    silent = False
    while True:
        sheets = await _sheets(store, graph)
        if not sheets and not silent:
            click.echo(_nothing(graph), err=True)
            silent = True
        for sheet in sheets:
            for row in sheet.rows:
                is_now = (_state(row), row.last_error or "", *(signal.reason for signal in row.reasons))
                if told.get((sheet.graph, row.node)) != is_now:
                    told[sheet.graph, row.node] = is_now
                    cells = [cell for cell in _cells(row, sheet.notes(row)) if cell]
                    click.echo(f"{_clock()}  {sheet.graph}  {'  '.join(cells)}")
        await anyio.sleep(EVERY)


def _clock() -> str:
    return datetime.now(UTC).astimezone().strftime("%H:%M:%S")  # noqa: TID251  # what a person's clock says


# ---------------------------------------------------------------------------------------------------------- the table


def _text(sheet: Sheet, *, width: int | None = None) -> Text:
    """Return a graph's table; notes that do not fit into *width* have a line of their own."""
    from rich.text import Text

    attention = sheet.attention
    title = f"{sheet.graph}, as of {span(sheet.age)} ago"
    if attention is not None:
        about = f"{attention.node}, " if attention.node else ""  # a late event loop is about no node
        title += f"; attention: {about}{attention.reason}"
    lines = [HEAD, *(_cells(row, sheet.notes(row)) for row in sheet.rows)]
    widths = _widths(lines)
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    text = Text(title, no_wrap=True, overflow="ellipsis")
    for number, cells in enumerate(lines):
        text.append("\n")
        for column, (cell, taken) in enumerate(zip(cells, widths, strict=True)):
            last = column == len(cells) - 1
            style = COLOURS.get(cell, "") if column == 1 else "dim" if number == 0 else ""
            if last and width is not None and cell and before + len(cell) > width:
                text.rstrip()
                text.append("\n  ")
            text.append(cell if last else f"{cell:<{taken}}  ", style=style)
        text.rstrip()
    return text


def _widths(lines: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _cells(row: HealthRow, told: Sequence[str] = ()) -> tuple[str, ...]:
    tried = row.n > 0
    # Of an outage that others were told of, the circuit's own words say the same again.
    reasons = (signal.reason for signal in row.reasons if not (told and signal.open))
    notes = list(dict.fromkeys((*told, *reasons)))
    if row.share < 1:
        notes.append(f"gets {row.share:.0%} of its share")
    if row.spent:
        notes.append("retries spent")
    return (
        row.node,
        _state(row),
        f"{row.ok:.0f}/{row.n:.0f}" if tried else "-",
        "-" if row.latency_ms is None else span(row.latency_ms / 1000),
        span(row.open_for) if row.state == "open" and row.open_for else "",
        f"{row.last_error} {span(row.last_error_ago or 0.0)} ago" if row.last_error else "",
        "; ".join(notes),
    )


def _state(row: HealthRow) -> str:
    return row.state.replace("_", "-")


def span(seconds: float) -> str:
    """Write a time as short as a person needs it.

    >>> [span(seconds) for seconds in (0.0, 0.0421, 3.14, 75.0, 7300.0, 200000.0)]
    ['0s', '42ms', '3.1s', '75s', '2h', '2d']
    """
    for size, unit, least in ((86400, "d", 172800), (3600, "h", 7200), (60, "m", 180)):
        if seconds >= least:
            return f"{seconds / size:.0f}{unit}"
    if seconds >= 10:
        return f"{seconds:.0f}s"
    if seconds >= 1:
        return f"{seconds:.1f}s"
    return f"{seconds * 1000:.0f}ms" if seconds >= 0.001 else "0s"
