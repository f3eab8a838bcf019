"""What is written and read while runs are under way, each statement compiled once for its database.

What is written goes straight to the driver's cursor: compiling, and wrapping what the driver returns, would take as
long as the disk does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.store.schema import processes, records, runs, values

__all__ = ("Prepared", "Statements")

Row = Mapping[str, Any]


class Prepared:
    """A statement in the words of one database."""

    def __init__(self, statement: sa.Executable, dialect: sa.Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # of ClauseElement
        self._text = str(compiled)
        self._order: Sequence[str] | None = compiled.positiontup

    def read(self, connection: sa.Connection, row: Row) -> sa.CursorResult[Any]:
        """Carry the statement out and return the rows that it finds."""
        return connection.exec_driver_sql(self._text, self._arguments(row))

    def write(self, cursor: Any, *rows: Row) -> int:
        """Carry the statement out, once for each row of parameters; return how many rows it changed in all."""
        if len(rows) == 1:
            cursor.execute(self._text, self._arguments(rows[0]))
        else:
            cursor.executemany(self._text, [self._arguments(row) for row in rows])
        return int(cursor.rowcount)

    def _arguments(self, row: Row) -> Any:
        return row if self._order is None else tuple([row[name] for name in self._order])


class Statements:
    """All statements that a run under way needs."""

    def __init__(self, dialect: sa.Dialect) -> None:
        insert: Any = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        run = runs.c.run_id == sa.bindparam("run")
        progress = ("last_seq", "outcome", "reached", "reason", "questions", "until")
        moved: dict[str, Any] = {name: sa.bindparam(name) for name in (*progress, "updated")}
        held = insert(values)
        known = insert(processes)
        replaced = {name: held.excluded[name] for name in ("data", "encoding")}

        def prepared(statement: Any) -> Prepared:
            return Prepared(statement, dialect)

        self.accept = prepared(insert(runs).on_conflict_do_nothing())
        self.lock = prepared(sa.select(runs).where(run).with_for_update())
        # The guard: a run that another has claimed, or that is not where it is thought to be, is not moved.
        guard = (run, runs.c.epoch == sa.bindparam("claimed"), runs.c.last_seq == sa.bindparam("seen"))
        self.move = prepared(runs.update().where(*guard).values(**moved))
        self.record = prepared(records.insert())
        self.hold = prepared(held.on_conflict_do_update(index_elements=values.primary_key.columns, set_=replaced))
        between = records.c.seq.between(sa.bindparam("first"), sa.bindparam("last"))
        stored = sa.select(records).where(records.c.run_id == sa.bindparam("run"), between).order_by(records.c.seq)
        self.stored = prepared(stored)
        own: dict[str, Any] = {"epoch": sa.bindparam("claimed"), "owner": sa.bindparam("claimant")}
        self.claim = prepared(runs.update().where(run).values(**own))
        mine = (run, runs.c.epoch == sa.bindparam("claimed"), runs.c.owner == sa.bindparam("claimant"))
        self.release = prepared(runs.update().where(*mine).values(owner=sa.null()))
        self.process = prepared(sa.select(processes).where(processes.c.id == sa.bindparam("process")))
        self.beat = prepared(known.on_conflict_do_update(index_elements=["id"], set_={"seen": known.excluded.seen}))
        self.forget = prepared(processes.delete().where(processes.c.seen < sa.bindparam("before")))
        self.leave = prepared(processes.delete().where(processes.c.id == sa.bindparam("process")))
