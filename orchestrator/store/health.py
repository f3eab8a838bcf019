"""Health in a store: the last snapshot of each graph's, and who has announced what of its nodes.

The numbers of announcements grow in the order in which they become visible, so that whoever has seen one of them has
missed none before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.errors import RecordError
from orchestrator.store.operations import Transaction
from orchestrator.store.progress import legible
from orchestrator.store.rows import Outage, StoredHealth
from orchestrator.store.schema import health, outages

__all__ = ("Announce", "SaveHealth", "announced", "saved")

FORGOTTEN = 3600.0
"""Seconds for which an announcement is kept, or for as long as it holds: by then everybody has heard it."""


@dataclass(slots=True)
class SaveHealth:
    """The health of a graph, in place of what was known before."""

    graph: str
    data: dict[str, Any]

    def apply(self, to: Transaction) -> None:
        """Write it."""
        insert: Any = postgresql.insert if to.connection.dialect.name == "postgresql" else sqlite.insert
        row = {"data": json.dumps(self.data, separators=(",", ":")), "updated": to.now}
        statement = insert(health).values(graph=legible(self.graph), **row)
        to.connection.execute(statement.on_conflict_do_update(index_elements=["graph"], set_=row))


@dataclass(slots=True)
class Announce:
    """What one process tells the others of a node."""

    graph: str
    node: str
    state: str
    until: float | None
    reason: str

    def apply(self, to: Transaction) -> int:
        """Write it; return its number."""
        if to.connection.dialect.name == "postgresql":
            # One after the other: a number must not become visible before a lower one.
            to.connection.exec_driver_sql("LOCK TABLE outages IN SHARE ROW EXCLUSIVE MODE")
        over = sa.or_(outages.c.until.is_(None), outages.c.until < to.now)
        to.connection.execute(outages.delete().where(outages.c.at < to.now - FORGOTTEN, over))
        row = {
            "graph": legible(self.graph),
            "node": legible(self.node),
            "state": self.state,
            "until": self.until,
            "reason": legible(self.reason),
            "process": to.process.id,
            "at": to.now,
        }
        number: int = to.connection.execute(outages.insert().returning(outages.c.seq), row).scalar_one()
        return number


def saved(connection: sa.Connection, now: float, graph: str | None) -> tuple[StoredHealth, ...]:
    """Return what is held of the health of one graph, or of all by name.

    Raises:
        RecordError: It cannot be read.
    """
    query = sa.select(health)
    if graph is not None:
        query = query.where(health.c.graph == legible(graph))
    # A machine whose clock is ahead has not seen the future.
    rows = [StoredHealth(row.graph, _data(row), max(now - row.updated, 0.0)) for row in connection.execute(query).all()]
    return tuple(sorted(rows, key=lambda row: row.graph))


def _data(row: Any) -> dict[str, Any]:
    try:
        data = json.loads(row.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise RecordError(f"the health of the graph {row.graph} cannot be read: it is saved anew by the next run")
    return data


def announced(connection: sa.Connection, graph: str | None, seq: int) -> tuple[Outage, ...]:
    """Return what was announced of the nodes of a graph, or of all, after a number, in order."""
    query = sa.select(outages).where(outages.c.seq > seq).order_by(outages.c.seq)
    if graph is not None:
        query = query.where(outages.c.graph == legible(graph))
    return tuple(
        Outage(row.seq, row.graph, row.node, row.state, row.until, row.reason, row.process, row.at)
        for row in connection.execute(query)
    )
