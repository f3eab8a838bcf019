"""Read from a PostgreSQL database: one SELECT in a read-only transaction, bounded in rows and in time.

The query is declared as a cursor, which the server takes for nothing but one SELECT (or VALUES), in a transaction that
may only read; rows are fetched up to the limit and no further. A SELECT may still call functions: give the tool a role
of its own that may read what it is to read and nothing else. Values belong in `parameters`, never in the text of a
query. Needs psycopg (``pip install 'orchestrator-runtime[postgres]'``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any, LiteralString, cast

import psycopg

from orchestrator import ToolFailed

__all__ = ("select",)

# Settings. This file is yours: change them here.
DATABASE = "DATABASE_URL"
"""The environment variable with the connection, as ``postgresql://reader:password@host/database``."""
MAX_ROWS = 1000
"""Rows of a result: more belongs in an aggregate."""
SECONDS = 5.0
"""Time for one statement, by the server's own clock; waiting for a lock is part of it."""
PATIENCE = 5
"""Seconds to connect."""


async def select(
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    *,
    max_rows: int = MAX_ROWS,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Return the rows of a SELECT: ``{"columns", "rows", "complete"}``; ``complete`` is false where there are more.

    Args:
        query: One SELECT (or VALUES, or WITH … SELECT), with ``%s`` or ``%(name)s`` for the parameters.
        parameters: Their values; without any, a ``%`` in the query is itself.
        max_rows: Rows that are returned.
        seconds: Time for the query, on the server.

    Raises:
        ToolFailed: It is no single SELECT, is wrong or took too long; or the server cannot be reached.
    """
    address = os.environ.get(DATABASE, "").strip()
    if not address:
        raise ToolFailed(f"set the environment variable {DATABASE}")
    try:
        connection = await psycopg.AsyncConnection.connect(address, connect_timeout=PATIENCE)
    # No message of a connection that was not made: it may repeat the address, which holds a password.
    except psycopg.OperationalError:
        raise ToolFailed("the database cannot be reached", transient=True) from None
    except psycopg.Error:
        raise ToolFailed(f"{DATABASE} is no address of a database") from None
    try:
        async with connection:
            await connection.set_read_only(True)
            return await _rows(connection, query, parameters, max_rows, seconds)
    except psycopg.errors.QueryCanceled as error:
        raise ToolFailed("the query took too long: narrow it") from error
    except psycopg.OperationalError as error:
        text = error.diag.message_primary or "the connection was lost"
        raise ToolFailed(f"the database: {text}", transient=True) from error
    except psycopg.Error as error:
        raise ToolFailed(f"the database refuses the query: {error.diag.message_primary or error}") from error


async def _rows(
    connection: psycopg.AsyncConnection[Any],
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any],
    max_rows: int,
    seconds: float,
) -> dict[str, Any]:
    await connection.execute("SELECT set_config('statement_timeout', %s, true)", [str(int(seconds * 1000))])
    async with connection.cursor("orchestrator_rows") as cursor:
        # The type is for queries written in code; what keeps this one harmless is told above.
        await cursor.execute(cast("LiteralString", query), parameters or None)
        columns = [column.name for column in cursor.description or ()]
        rows = await cursor.fetchmany(max_rows + 1)
    return {
        "columns": columns,
        "rows": [[_plain(value) for value in row] for row in rows[:max_rows]],
        "complete": len(rows) <= max_rows,
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: exact numbers, times and ids as texts, blobs in hexadecimal."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
