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
from orchestrator.cli.outages import Told, going_on
from orchestrator.cli.output import Exit, print_json
from orchestrator.cli.spans import span
from orchestrator.cli.store import open_store, store_option, store_url
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.health.rows import HealthRow
    from orchestrator.health.signal import Signal
    from orchestrator.store import Outage, Store

__all__ = ("command",)

CIRCUIT = "circuit"
"""The monitor whose reasons begin with what a row's state and time left say."""
EVERY = 1.0
"""Seconds between two looks."""
HEAD = ("NODE", "STATE", "OK", "LATENCY", "OUT FOR", "LAST ERROR", "")
COLOURS = {"closed": "green", "half-open": "yellow", "limited": "yellow", "open": "red", "refused": "red"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """The health of one graph, with its age in seconds."""

    graph: str
    age: float
    rows: tuple[HealthRow, ...]
    attention: Signal | None
    attended: tuple[tuple[float, Signal | None], ...] = ()
    outages: tuple[Told, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        nodes = [asdict(row) for row in self.rows]
        return {
            "graph": self.graph,
            "age": self.age,
            "attention": None if self.attention is None else asdict(self.attention),
            "attended": [
                {"ago": ago, "signal": None if signal is None else asdict(signal)} for ago, signal in self.attended
            ],
            "nodes": nodes,
            "outages": [asdict(outage) for outage in self.outages],
        }

    def notes(self, row: HealthRow) -> tuple[str, ...]:
        """Return what processes say of a node's outage."""
        return tuple(str(outage) for outage in self.outages if outage.node == row.node and row.condition == "open")


@click.command("health")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("-w", "--watch", is_flag=True, help="Look again every second; off a terminal, print what has changed.")
@store_option
@json_option
def command(file: Path | None, watch: bool, store: str | None, as_json: bool) -> None:
    """Show how the nodes of the graph FILE are doing, or those of every graph in the run log.

    A node is closed (in use), open (out of use until it may be probed), half-open (its next call is the probe),
    limited (out of use until its rate limit lets calls through again) or refused (out of use until the credentials
    that it has refused are tried again). What is shown is what the processes that run the graph save every few
    seconds, and with every outage, as it is now if nothing has happened since. What they tell each other of outages
    is shown at once.
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
    if not sheets and not watch:
        click.echo(_nothing(graph, store), err=True)


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
    from orchestrator.health.stored import known
    from orchestrator.redact import Redactor

    redact = Redactor.from_environment((), os.environ).redact
    sheets: dict[str, Sheet] = {}
    for saved in await store.healths(graph):
        found = known(saved.data, saved.age)
        if found is not None:
            about = redact((found.rows, found.attention, found.attended))
            sheets[saved.graph] = Sheet(saved.graph, saved.age, *about)
    told: dict[str, list[Outage]] = {}
    for outage in await store.outages_since(graph, 0):
        told.setdefault(outage.graph, []).append(outage)
    for name, outages in told.items():
        if still := [redact(each) for each in going_on(outages)]:
            sheets[name] = _with(sheets.get(name), name, still)
    return [sheets[name] for name in sorted(sheets)]


def _with(sheet: Sheet | None, graph: str, outages: Sequence[Told]) -> Sheet:
    """Return a sheet with outages; what was saved before one of them was told does not know it yet."""
    from orchestrator.health.rows import HealthRow

    if sheet is None:
        sheet = Sheet(graph, max(each.ago for each in outages), (), None)
    rows = {row.node: row for row in sheet.rows}
    for each in outages:
        row = rows.get(each.node) or HealthRow(each.node, "open", 0.0, 0.0, 1.0, None, 0.0, None, None, (), 1.0, 1.0)
        if each.node not in rows or each.ago < sheet.age:
            rows[each.node] = replace(row, state="open", open_for=each.seconds or 0.0, out=None, out_for=0.0)
    return replace(sheet, rows=tuple(rows.values()), outages=tuple(outages))


def _nothing(graph: str | None, url: str | None) -> str:
    from orchestrator.store.address import read_address

    address = read_address(store_url(url))
    of = "any graph" if graph is None else f"the graph {graph}"
    absent = ", which is not there" if address.path is not None and not address.path.exists() else ""
    return f"nothing is known yet of the health of {of} in {address.shown}{absent}: it is saved while a graph runs"


# ------------------------------------------------------------------------------------------------------------- watching


async def _watch(url: str | None, graph: str | None) -> list[Sheet]:
    """Show what there is, again and again, until interrupted."""
    async with open_store(url) as store:
        await (_redraw if sys.stdout.isatty() else _print_changes)(store, graph, url)
    return []


async def _redraw(store: Store, graph: str | None, url: str | None) -> None:
    import anyio
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    out = Console(highlight=False, emoji=False)
    with Live(console=out, auto_refresh=False, transient=False, vertical_overflow="crop") as live:
        while True:
            sheets = await _sheets(store, graph)
            shown = [_text(sheet, width=out.width) for sheet in sheets] or [Text(_nothing(graph, url))]
            live.update(Group(*(part for text in shown for part in (text, ""))), refresh=True)
            await anyio.sleep(EVERY)


async def _print_changes(store: Store, graph: str | None, url: str | None) -> None:
    """Print a line for every node at first, and then for each that is no longer as it was told."""
    import anyio

    told: dict[tuple[str, str], tuple[str, ...]] = {}
    silent = False
    while True:
        sheets = await _sheets(store, graph)
        if not sheets and not silent:
            click.echo(_nothing(graph, url), err=True)
            silent = True
        for sheet in sheets:
            for row in sheet.rows:
                is_now = (row.condition, row.last_error or "", *(signal.reason for signal in row.reasons))
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

    title, attention = f"{sheet.graph}, as of {span(sheet.age)} ago", _attention(sheet)
    # Where both do not fit on one line, neither is cut off.
    apart = width is not None and len(title) + len(attention) + 2 > width
    title += f"{chr(10) if apart else '; '}{attention}" if attention else ""
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
    spent = [row.node for row in sheet.rows if row.spent]
    if spent:
        text.append(f"\nretries spent, which substitutes share: {', '.join(spent)}")
    return text


def _attention(sheet: Sheet) -> str:
    signal = sheet.attention
    if signal is None:
        return ""
    about = f"{signal.node}, " if signal.node else ""  # a late event loop is about no node
    row = next((row for row in sheet.rows if row.node == signal.node), None)
    if signal.monitor == CIRCUIT and row is not None:
        words = ": ".join(word for word in (f"{row.condition} for {span(row.left)}", _words(signal)) if word)
        return f"attention: {about}{words}"
    return f"attention: {about}{signal.reason}"


def _words(signal: Signal) -> str:
    """Return a reason without what the state and the time left say already, and say as it is now."""
    return signal.reason.partition(": ")[2] if signal.monitor == CIRCUIT else signal.reason


def _widths(lines: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _cells(row: HealthRow, told: Sequence[str] = ()) -> tuple[str, ...]:
    tried = row.n >= 0.5  # what has faded to nothing is no figure
    # Of an outage that others were told of, the circuit's own words say the same again.
    reasons = (_words(signal) for signal in row.reasons if not (told and signal.open))
    notes = [note for note in dict.fromkeys((*told, *reasons)) if note]
    if row.share < 1 and row.out is None:
        notes.append(f"gets {row.share:.0%} of its share")
    return (
        row.node,
        row.condition,
        f"{row.ok:.0f}/{row.n:.0f}" if tried else "-",
        "-" if row.latency_ms is None or not tried else span(row.latency_ms / 1000),
        span(row.left) if row.left else "",
        f"{row.last_error} {span(row.last_error_ago or 0.0)} ago" if row.last_error else "",
        "; ".join(notes),
    )
