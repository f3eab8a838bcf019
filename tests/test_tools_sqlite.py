"""The tool `sqlite`: reads a real file, and cannot be made to write one."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from orchestrator import ToolFailed
from tools.sqlite import select


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Make a database, and see afterwards that not one byte of it has changed."""
    path = tmp_path / "a shop?.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, price REAL, photo BLOB);"
            "INSERT INTO orders VALUES (1, 'charger', 19.5, x'00ff'), (2, 'cable', 7, NULL), (3, 'case', 12, NULL);"
        )
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]


def test_rows_come_as_json_can_hold_them(database: Path) -> None:
    """Columns by name, rows as lists, blobs as hexadecimal."""
    assert select("SELECT id, item, photo FROM orders WHERE price > 10 ORDER BY id", database=database) == {
        "columns": ["id", "item", "photo"],
        "rows": [[1, "charger", "00ff"], [3, "case", None]],
        "complete": True,
    }


def test_values_are_parameters(database: Path) -> None:
    """Values by place or by name never become part of the query."""
    hostile = "'; DROP TABLE orders; --"
    assert select("SELECT id FROM orders WHERE item = ?", [hostile], database=database)["rows"] == []
    assert select("SELECT id FROM orders WHERE item = :item", {"item": "case"}, database=database)["rows"] == [[3]]


@pytest.mark.parametrize(
    "query",
    [
        "VALUES (1)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT max(i) FROM n;",
        "SELECT count(*) FROM orders -- all of them",
        "SELECT upper(item) FROM orders UNION SELECT 'x' ORDER BY 1",
    ],
)
def test_every_kind_of_select(database: Path, query: str) -> None:
    """Anything that only reads is taken."""
    assert select(query, database=database)["rows"]


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO orders (item) VALUES ('x')",
        "INSERT INTO orders (item) VALUES ('x') RETURNING id",
        "WITH x AS (SELECT 1) DELETE FROM orders",
        "UPDATE orders SET price = 0",
        "DROP TABLE orders",
        "CREATE TEMP TABLE t (a)",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE orders",
        "ATTACH 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_table_info('orders')",
        "VACUUM INTO 'copy.db'",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('x')",
        "REINDEX",
        "ANALYZE",
        "EXPLAIN SELECT 1; DELETE FROM orders",
        "",
        "-- nothing",
        "SELEKT 1",
        "SELECT nothing FROM orders",
    ],
)
def test_anything_but_one_select_is_refused(
    database: Path, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing, several statements, other files, settings and mistakes are failures that no retry mends."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ToolFailed) as caught:
        select(query, database=database)
    assert (caught.value.transient, caught.value.happened) == (False, "no")


def test_more_rows_than_may_be_returned(database: Path) -> None:
    """What is left out is told."""
    for max_rows, complete in ((2, False), (3, True)):
        result = select("SELECT id FROM orders ORDER BY id", database=database, max_rows=max_rows)
        assert (len(result["rows"]), result["complete"]) == (max_rows, complete)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_a_query_without_an_end_is_stopped(database: Path) -> None:
    """The clock is looked at while SQLite works, so that a query ends when its time is over."""
    ticks = count()
    with pytest.raises(ToolFailed, match="too long"):
        select(ENDLESS, database=database, seconds=50.0, clock=lambda: float(next(ticks)))
    assert next(ticks) == 52  # 0 at the start, and then up to the first look after 50 seconds


def test_a_result_without_an_end_is_not_built(database: Path) -> None:
    """A value of a gigabyte is refused by SQLite itself."""
    with pytest.raises(ToolFailed, match="too big"):
        select("SELECT zeroblob(1000000000)", database=database)


def test_a_locked_database_is_worth_another_try(database: Path) -> None:
    """Somebody who writes at the moment makes a transient failure."""
    locked, done = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            locked.set()
            done.wait(30)
            connection.execute("ROLLBACK")

    writer = threading.Thread(target=write)
    writer.start()
    assert locked.wait(30)
    try:
        with pytest.raises(ToolFailed, match="locked") as caught:
            select("SELECT 1 FROM orders", database=database, seconds=0.01)
        assert caught.value.transient
    finally:
        done.set()
        writer.join()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A wrong path is an error, and no empty file is left behind."""
    with pytest.raises(ToolFailed, match="there is no database"):
        select("SELECT 1", database=tmp_path / "nowhere.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Any other file is refused with SQLite's reason."""
    (tmp_path / "a.db").write_text("not a database, " * 100)
    with pytest.raises(ToolFailed, match="not a database"):
        select("SELECT * FROM sqlite_master", database=tmp_path / "a.db")
