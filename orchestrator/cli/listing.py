"""The list of recorded runs, as a person reads it: how long ago, how it went, and what to type next."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.steps import DAY, HOUR, MINUTE
from orchestrator.cli.store import named

if TYPE_CHECKING:
    from orchestrator.store import RunRow, Store

__all__ = ("OUTCOMES", "ago", "rows_of", "table_lines", "to_type")

OUTCOMES = ("running", "stopped", "waiting", "met", "demoted", "failed", "cancelled")
HEADER = ("RUN", "STARTED", "GRAPH", "OUTCOME", "GOAL", "")
WIDEST = 20
"""Characters of a graph's and a goal's name, where there is little room."""


async def rows_of(store: Store, limit: int, outcome: str | None, graph: str | None) -> list[RunRow]:
    """Return the newest runs; *stopped* are those whose outcome is running and that nobody drives."""
    if outcome not in ("running", "stopped"):
        return list(await store.runs(limit=limit, outcome=outcome, graph=graph))
    rows = await store.runs(limit=None, outcome="running", graph=graph)
    return [row for row in rows if _state(row) == outcome][:limit]


def table_lines(rows: Sequence[RunRow], now: float) -> list[str]:
    """Return the rows of the table under their header; on a terminal, names are cut where lines are too long for it."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = _aligned([_cells(row, now, None) for row in rows])
    if width is None or max(map(len, lines)) <= width:
        return lines
    return [_cut(line, width) for line in _aligned([_cells(row, now, WIDEST) for row in rows])]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [HEADER, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def to_type(rows: Sequence[RunRow], store: str | None) -> list[str]:
    """Return what may be typed about these runs."""
    options = named("", store).options
    hints = {
        "waiting": f"orchestrator approve RUN{options}  shows what a waiting run asks",
        "stopped": f"orchestrator runs resume --all{options}  goes on with what is stopped",
    }
    states = {_state(row) for row in rows}
    return [text for state, text in hints.items() if state in states]


def ago(seconds: float) -> str:
    """Write how long ago something was, in one unit."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago"
    return f"{max(int(seconds), 0)} s ago"


def _state(row: RunRow) -> str:
    return "stopped" if row.outcome == "running" and not row.alive else row.outcome


def _cells(row: RunRow, now: float, most: int | None) -> tuple[str, ...]:
    state = _state(row)
    detail = {"waiting": ", ".join(row.questions), "met": ""}.get(state, row.reason or "")
    graph, goal = (_cut(text, most) for text in (row.graph, row.reached or row.goal))
    return (named(row.run_id).run, ago(now - row.created), graph, state, goal, detail)


def _cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"
