"""Read from an SQLite database: one SELECT, bounded in rows, in bytes and in time.

Three things keep it from writing, none of which reads the SQL by itself: the file is opened read-only, SQLite's own
authorizer refuses everything but reading (no ATTACH, no PRAGMA), and a call takes one statement only. Values belong in
`parameters`, never in the text of a query.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator import ToolFailed

__all__ = ("select",)

# Settings. This file is yours: change them here.
DATABASE = "data.db"
"""The database file, from the working directory of the program."""
MAX_ROWS = 1000
"""Rows of a result: more belongs in an aggregate."""
MAX_BYTES = 5_000_000
"""Bytes of one text or blob."""
SECONDS = 5.0
"""Time for one query, and for the lock of somebody who writes."""

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_REFUSED_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit"})
_STEPS = 1000
"""Steps of SQLite's machine between two looks at the clock: well under a millisecond."""


def select(
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    *,
    database: str | os.PathLike[str] = DATABASE,
    max_rows: int = MAX_ROWS,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Return the rows of a SELECT: ``{"columns", "rows", "complete"}``; ``complete`` is false where there are more.

    Args:
        query: One SELECT (or VALUES, or WITH … SELECT), with ``?`` or ``:name`` for the parameters.
        parameters: Their values.
        database: The file.
        max_rows: Rows that are returned.
        seconds: Time for the query.
        clock: Returns seconds.

    Raises:
        ToolFailed: It is no single SELECT, is wrong, or took too long; or the database is locked or not there.
    """
    file = Path(database).resolve()
    if not file.is_file():
        raise ToolFailed(f"there is no database {os.fspath(database)!r}")
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=seconds, isolation_level=None)
    except sqlite3.Error as error:
        raise ToolFailed(f"the database cannot be opened: {error}", transient=True) from error
    with closing(connection):
        return _rows(connection, query, parameters, max_rows, clock() + seconds, clock)


def _rows(
    connection: sqlite3.Connection,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any],
    max_rows: int,
    deadline: float,
    clock: Callable[[], float],
) -> dict[str, Any]:
    late = False

    def overdue() -> bool:
        nonlocal late
        late = clock() > deadline
        return late

    connection.set_authorizer(_authorize)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
    connection.set_progress_handler(overdue, _STEPS)
    try:
        cursor = connection.execute(query, parameters)
        if cursor.description is None:
            raise ToolFailed("only a SELECT is taken: this gives no rows")
        rows = cursor.fetchmany(max_rows + 1)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if late:
            raise ToolFailed("the query took too long: narrow it") from error
        busy = getattr(error, "sqlite_errorname", "").partition("_")[2] in ("BUSY", "LOCKED")
        raise ToolFailed(f"the database refuses the query: {error}", transient=busy) from error
    return {
        "columns": [column[0] for column in cursor.description],
        "rows": [[_plain(value) for value in row] for row in rows[:max_rows]],
        "complete": len(rows) <= max_rows,
    }


def _authorize(action: int, first: str | None, second: str | None, schema: str | None, inner: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and second in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    return value.hex() if isinstance(value, bytes) else value
