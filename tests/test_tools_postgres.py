"""The tool `postgres`: reads a real server, and cannot be made to write to one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import anyio
import psycopg
import pytest

from orchestrator import ToolFailed
from tests.postgres import Postgres
from tools.postgres import DATABASE, select

TABLES = """
CREATE TABLE orders (
    id int PRIMARY KEY, item text, price numeric(10, 2), at timestamptz, day date, photo bytea, tags text[], more jsonb
);
INSERT INTO orders VALUES
    (1, 'charger', 19.50, '2026-01-02 03:04:05+00', '2026-01-02', '\\x00ff', '{new,blue}', '{"n": [1, 2.5]}'),
    (2, 'cable 100%', 7, NULL, NULL, NULL, '{}', 'null');
CREATE SEQUENCE numbers;
CREATE FUNCTION sell() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO orders (id) VALUES (99); RETURN 1; END $$;
"""


@pytest.fixture(scope="session")
def shop(postgres: Postgres) -> str:
    """Make a schema with a few orders, and return where it is."""
    address = postgres.create_schema()
    postgres.execute(TABLES, address)
    return address


@pytest.fixture
def database(shop: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Tell the tool of the server, and see afterwards that nothing has changed and nobody is still connected."""
    monkeypatch.setenv(DATABASE, shop)
    monkeypatch.setenv("PGTZ", "UTC")
    yield shop
    with psycopg.connect(shop) as connection:
        state = connection.execute(
            "SELECT (SELECT count(*) FROM orders), (SELECT sum(price) FROM orders), (SELECT is_called FROM numbers), "
            "(SELECT count(*) FROM pg_tables WHERE schemaname = current_schema())"
        ).fetchone()
    assert state is not None
    assert [float(each) for each in state] == [2, 26.5, 0, 1]


async def test_rows_come_as_json_can_hold_them(database: str) -> None:
    """Exact numbers, times and blobs are texts, lists and JSON stay what they are."""
    query = "SELECT id, item, price, at, day, photo, tags, more FROM orders ORDER BY id"
    result = await select(query)
    assert result == {
        "columns": ["id", "item", "price", "at", "day", "photo", "tags", "more"],
        "rows": [
            [
                *(1, "charger", "19.50", "2026-01-02T03:04:05+00:00", "2026-01-02", "00ff"),
                *(["new", "blue"], {"n": [1, 2.5]}),
            ],
            [2, "cable 100%", "7.00", None, None, None, [], None],
        ],
        "complete": True,
    }


async def test_values_are_parameters(database: str) -> None:
    """Values by place or by name never become part of the query; without values a percent sign is itself."""
    hostile = "'; DROP TABLE orders; --"
    assert (await select("SELECT id FROM orders WHERE item = %s", [hostile]))["rows"] == []
    assert (await select("SELECT id FROM orders WHERE item = %(item)s", {"item": "charger"}))["rows"] == [[1]]
    assert (await select("SELECT id FROM orders WHERE item LIKE '%100%'"))["rows"] == [[2]]


@pytest.mark.parametrize(
    "query",
    [
        "VALUES (1)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT max(i) FROM n;",
        "SELECT count(*) FROM orders -- all of them",
        "TABLE orders",
    ],
)
async def test_every_kind_of_select(database: str, query: str) -> None:
    """Anything that only reads is taken."""
    assert (await select(query))["rows"]


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO orders (id) VALUES (9)",
        "INSERT INTO orders (id) VALUES (9) RETURNING id",
        "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone",
        "UPDATE orders SET price = 0",
        "DROP TABLE orders",
        "CREATE TABLE t (a int)",
        "SELECT 1 AS a INTO t",
        "SELECT 1; SELECT 2",
        "SELECT 1; COMMIT; DROP TABLE orders",
        "SELECT * FROM orders FOR UPDATE",
        "SELECT nextval('numbers')",
        "SELECT sell()",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SET TRANSACTION READ WRITE",
        "COPY orders TO STDOUT",
        "BEGIN",
        "EXPLAIN ANALYZE DELETE FROM orders",
        "",
        "-- nothing",
        "SELEKT 1",
        "SELECT nothing FROM orders",
        "SELECT 1 / 0",
    ],
)
async def test_anything_but_one_select_is_refused(database: str, query: str) -> None:
    """Writing, also inside a function, several statements, settings and mistakes are failures that no retry mends."""
    with pytest.raises(ToolFailed) as caught:
        await select(query)
    assert (caught.value.transient, caught.value.happened) == (False, "no")
    assert str(caught.value).startswith("the database refuses the query: ")


async def test_more_rows_than_may_be_returned(database: str) -> None:
    """What is left out is told, and is not even read: a result of a billion rows begins at once."""
    for max_rows, complete in ((1, False), (2, True)):
        result = await select("SELECT id FROM orders ORDER BY id", max_rows=max_rows)
        assert (len(result["rows"]), result["complete"]) == (max_rows, complete)
    many = await select("SELECT a.i FROM generate_series(1, 40000) a(i), generate_series(1, 40000) b", max_rows=5)
    assert (many["rows"], many["complete"]) == ([[1]] * 5, False)


@pytest.mark.parametrize(
    "query", ["SELECT pg_sleep(600)", "SELECT set_config('statement_timeout', '0', false), pg_sleep(600)"]
)
async def test_a_query_without_an_end_is_stopped_by_the_server(database: str, query: str) -> None:
    """The time limit is the server's own, and a query cannot lift it for itself."""
    with pytest.raises(ToolFailed, match="too long") as caught:
        await select(query, seconds=0.1)
    assert not caught.value.transient


async def test_a_cancelled_query_ends_on_the_server_too(database: str) -> None:
    """When the run no longer waits, the server no longer works."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as watching:

        async def wait_until(running: int) -> None:
            query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
            with anyio.fail_after(30):
                while await (await watching.execute(query)).fetchone() != (running,):
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: select("SELECT pg_sleep(600)", seconds=600.0))
            await wait_until(1)
            tasks.cancel_scope.cancel()
        await wait_until(0)


async def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listening is worth another try, and the error tells nothing of the address, which holds a password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv(DATABASE, f"postgresql://reader:s3cret@127.0.0.1:{port}/shop")
        with pytest.raises(ToolFailed) as caught:
            await select("SELECT 1")
    assert caught.value.transient
    assert "s3cret" not in str(caught.value)


async def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or a malformed address is an error without the address."""
    monkeypatch.delenv(DATABASE, raising=False)
    with pytest.raises(ToolFailed, match=DATABASE):
        await select("SELECT 1")
    monkeypatch.setenv(DATABASE, "postgresql://reader:s3cret@[::1/shop")
    with pytest.raises(ToolFailed) as caught:
        await select("SELECT 1")
    assert "s3cret" not in str(caught.value)
