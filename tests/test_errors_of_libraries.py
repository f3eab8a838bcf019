"""Errors as real libraries raise them: what each is classified as, and what its process makes of the node for it."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest
import requests
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from orchestrator import Orchestrator, tool
from tests.failing import Standing, found, substitutes
from tests.loopback import HttpPeer, served
from tests.postgres import PASSWORD, Postgres

Row = tuple[str, bool, str, str, Standing]
"""Type, whether it may pass, whether the effect happened, evidence, and how the node then stands."""

REFUSED: Row = ("connection", True, "no", "external", "opened")
LOST: Row = ("connection", True, "unknown", "unknown", "opened")
LATE: Row = ("timeout", True, "unknown", "timeout", "opened")
NO_TURN: Row = ("timeout", True, "no", "timeout", "opened")
UNAUTHORISED: Row = ("unauthorised", False, "no", "unauthorised", "refused")
LIMITED: Row = ("rate_limited", True, "no", "rate_limited", "limited")
CONFLICT: Row = ("conflict", True, "no", "caller", "untouched")


def mistake(name: str) -> Row:
    """Return the row of a mistake of the caller: it ejects nobody, and weighs where nothing else ever comes."""
    return (name, False, "no", "caller", "heavier")


def unreadable(name: str) -> Row:
    """Return the row of an answer that is none."""
    return (name, True, "unknown", "contract", "vetoed")


def busy(name: str) -> Row:
    """Return the row of a database that cannot now, and says so."""
    return (name, True, "no", "external", "opened")


async def row(raiser: Callable[[], object], **options: Any) -> Row:
    """Return what is made of an error."""
    seen = await found(raiser, **options)
    failure = seen.failure
    assert (seen.result.outcome, seen.result.route) == ("met", ("good",))
    return failure.type, failure.transient, failure.happened, seen.evidence, seen.standing


# ----------------------------------------------------------------------------------------------------------- databases


def _statement(*statements: str) -> Callable[[sa.Engine], object]:
    def carry_out(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    return carry_out


def _one_of_none(engine: sa.Engine) -> object:
    with Session(engine) as session:
        return session.execute(sa.text("select 1 where 0")).one()


def _cannot_be_bound(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("select :x"), {"x": object()})


@pytest.mark.parametrize(
    ("raiser", "expected"),
    [
        (_statement("selec 1"), mistake("OperationalError")),
        (_statement("select * from nope"), mistake("OperationalError")),
        (
            _statement("create table t (a primary key)", "insert into t values (1)", "insert into t values (1)"),
            mistake("IntegrityError"),
        ),
        (_one_of_none, mistake("NoResultFound")),
        (_cannot_be_bound, mistake("ProgrammingError")),
        (lambda engine: sa.create_engine("nonsense"), mistake("ArgumentError")),
        (lambda engine: sa.create_engine("sqlite:////nowhere/at/all.db").connect(), REFUSED),
    ],
    ids=["syntax", "no table", "unique", "no result", "parameter", "argument", "cannot open"],
)
async def test_sqlalchemy_over_sqlite(raiser: Callable[[sa.Engine], object], expected: Row) -> None:
    """What SQLite refuses is the caller's, whatever class it has; a file that cannot be opened is the node's."""
    engine = sa.create_engine("sqlite://")
    assert await row(lambda: raiser(engine)) == expected
    engine.dispose()


async def test_sqlite_is_locked(tmp_path: Path) -> None:
    """A database that another writer holds is busy: nothing was written, and another try may help."""
    path = tmp_path / "shop.db"
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with closing(sqlite3.connect(path)) as other:
        other.execute("begin exclusive")
        assert await row(lambda: _statement("create table t (a)")(engine)) == busy("OperationalError")
    engine.dispose()


async def test_a_pool_without_a_free_connection(tmp_path: Path) -> None:
    """Nothing was sent, and nothing has happened: it is no lost answer."""
    path = tmp_path / "shop.db"
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=sa.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    with engine.connect():
        assert await row(engine.connect) == NO_TURN
    engine.dispose()


@pytest.fixture
def shop(postgres: Postgres) -> str:
    """Return the URL of a schema with two rows."""
    url = postgres.create_schema()
    postgres.execute("CREATE TABLE t (a int PRIMARY KEY)", url)
    postgres.execute("INSERT INTO t VALUES (1), (2)", url)
    return url


def _terminated(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO t VALUES (9)")
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        connection.execute("SELECT 1")


def _not_serializable(url: str) -> None:
    with psycopg.connect(url) as first, psycopg.connect(url) as second:
        for each in (first, second):
            each.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            each.execute("SELECT * FROM t")
        first.execute("UPDATE t SET a = a + 10 WHERE a = 1")
        first.rollback()
        with psycopg.connect(url) as third:
            third.execute("UPDATE t SET a = 3 WHERE a = (SELECT max(a) FROM t)")
        try:
            second.execute("UPDATE t SET a = 4 WHERE a = 2 OR a = 3")
        finally:
            second.rollback()
            with psycopg.connect(url, autocommit=True) as last:
                last.execute("UPDATE t SET a = 2 WHERE a = 3")


def _deadlock(url: str) -> None:
    """Have two transactions wait for each other; the one that is given up raises here, in whichever thread it was."""
    raised: list[Exception] = []
    met = threading.Barrier(2, timeout=30)

    def lock(first: int, second: int) -> None:
        try:
            with psycopg.connect(url) as connection:
                connection.execute("SET deadlock_timeout = '10ms'")
                connection.execute("SELECT * FROM t WHERE a = %s FOR UPDATE", [first])
                met.wait()
                connection.execute("SELECT * FROM t WHERE a = %s FOR UPDATE", [second])
                connection.rollback()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=lock, args=(2, 1))
    thread.start()
    lock(1, 2)
    thread.join()
    raise raised[0]


def _locked(url: str) -> None:
    with psycopg.connect(url) as first, psycopg.connect(url) as second:
        first.execute("SELECT * FROM t FOR UPDATE")
        second.execute("SELECT * FROM t FOR UPDATE NOWAIT")


def _executes(*statements: str) -> Callable[[str], object]:
    def carry_out(url: str) -> None:
        with psycopg.connect(url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    return carry_out


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


POSTGRES: dict[str, tuple[Callable[[str], object], Row]] = {
    "unique": (_executes("INSERT INTO t VALUES (1)"), mistake("UniqueViolation")),
    "no table": (_executes("SELECT * FROM nope"), mistake("UndefinedTable")),
    "division": (_executes("SELECT 1 / 0"), mistake("DivisionByZero")),
    "aborted": (_executes("SELECT 1; DO $$ BEGIN RAISE 'no'; END $$"), mistake("RaiseException")),
    "not serializable": (_not_serializable, CONFLICT),
    "deadlock": (_deadlock, CONFLICT),
    "locked": (_locked, busy("LockNotAvailable")),
    "late statement": (_executes("SET statement_timeout = '1ms'", "SELECT pg_sleep(9)"), NO_TURN),
    "no privilege": (_executes("SET ROLE pg_monitor", "SELECT * FROM pg_authid"), UNAUTHORISED),
    "terminated": (_terminated, LOST),
    "nobody there": (lambda url: psycopg.connect(f"postgresql://127.0.0.1:{_free_port()}/x"), REFUSED),
}


@pytest.mark.parametrize("name", POSTGRES)
async def test_psycopg(name: str, shop: str) -> None:
    """The server's own state decides: rolled back is no unknown outcome, and a connection that went away is one."""
    raiser, expected = POSTGRES[name]
    assert await row(lambda: raiser(shop)) == expected


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (("insert into t values (1)",), mistake("IntegrityError")),
        (("select * from nope",), mistake("ProgrammingError")),
        (("set statement_timeout = '1ms'", "select pg_sleep(9)"), NO_TURN),
        (("insert into t values (9)", "select pg_terminate_backend(pg_backend_pid())"), LOST),
    ],
    ids=["unique", "no table", "late statement", "terminated"],
)
async def test_sqlalchemy_over_psycopg(statements: tuple[str, ...], expected: Row, shop: str) -> None:
    """SQLAlchemy's wrapper says what the error of the driver says; where it gave the connection up, that is lost."""
    engine = sa.create_engine(shop.replace("postgresql://", "postgresql+psycopg://"))
    assert await row(lambda: _statement(*statements)(engine)) == expected
    engine.dispose()


async def test_a_wrong_password_is_in_no_error(postgres: Postgres) -> None:
    """A refused login is a node that cannot be reached, and the password stays out of the message."""
    wrong = postgres.url(password=f"{PASSWORD}!")
    seen = await found(lambda: psycopg.connect(wrong), environ={"PGPASS_SECRET": f"{PASSWORD}!"})
    assert (seen.failure.type, seen.failure.happened, seen.standing) == ("connection", "no", "opened")
    assert PASSWORD not in seen.failure.message


# ---------------------------------------------------------------------------------------------------------------- HTTP


def _close(exchange: Any) -> None:
    exchange.connection.shutdown(socket.SHUT_RDWR)


def _hang(exchange: Any) -> None:
    exchange.connection.recv(1)  # until the client leaves


def _statused(status: int, **headers: str) -> Callable[[Any], object]:
    return lambda exchange: exchange.reply(
        b'{"error": {"message": "no"}}', status, Content_Type="application/json", **headers
    )


HTML = "<html>502 from a proxy</html>"
SECONDS = 0.2
"""Until a client gives up; long enough for a loopback connection."""

ANSWERS: dict[str, tuple[Callable[[Any], object], Row]] = {
    "400": (_statused(400), mistake("http_4xx")),
    "401": (_statused(401), UNAUTHORISED),
    "402": (_statused(402), UNAUTHORISED),
    "402 until": (_statused(402, Retry_After="60"), LIMITED),
    "403": (_statused(403), UNAUTHORISED),
    "404": (_statused(404), mistake("http_4xx")),
    "422": (_statused(422), mistake("http_4xx")),
    "429": (_statused(429, Retry_After="60"), LIMITED),
    "500": (_statused(500), ("http_5xx", True, "unknown", "unknown", "opened")),
    "503": (_statused(503), ("http_5xx", True, "no", "external", "opened")),
    "closed": (_close, LOST),
    "late": (_hang, LATE),
    "unreadable": (
        lambda exchange: exchange.reply(HTML, 200, Content_Type="application/json"),
        unreadable("JSONDecodeError"),
    ),
}


def _by_httpx(url: str) -> object:
    with httpx.Client(trust_env=False, timeout=SECONDS) as client:
        return client.get(url).raise_for_status().json()


def _by_requests(url: str) -> object:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, timeout=SECONDS)
        answer.raise_for_status()
        return answer.json()


def _by_openai(url: str) -> object:
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=SECONDS) as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}])


CLIENTS: dict[str, Callable[[str], object]] = {"httpx": _by_httpx, "requests": _by_requests, "openai": _by_openai}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ANSWERS)
async def test_http(name: str, client: str) -> None:
    """The same answer means the same by whichever client it is asked for, and is asked for once per attempt."""
    answer, expected = ANSWERS[name]
    peer = HttpPeer(answer)
    with served(peer):
        seen = await row(lambda: CLIENTS[client](peer.url(host="127.0.0.1")))
    assert seen == expected


@pytest.mark.parametrize("client", CLIENTS)
async def test_http_of_nobody(client: str) -> None:
    """Where nobody listens, nothing was sent."""
    assert await row(lambda: CLIENTS[client](f"http://127.0.0.1:{_free_port()}/")) == REFUSED


async def test_the_openai_client_retries_by_itself_unless_told_not_to() -> None:
    """A tool that leaves the client's retries on multiplies attempts unseen: three requests in each; with 0, one."""
    asked = []
    for options in ({}, {"max_retries": 0}):
        peer = HttpPeer(_statused(503, Retry_After="0"))

        def ask(url: str = peer.url("/v1", host="127.0.0.1"), options: Any = options) -> object:
            with openai.OpenAI(base_url=url, api_key="k", **options) as client:
                return client.models.list()

        with served(peer):
            async with Orchestrator(
                tools=substitutes(ask), goals={"g": ["page"]}, policy={"retry": {"attempts": 1}}
            ) as orchestrator:
                await orchestrator.run()
        asked.append(len(peer.asked))
    assert asked == [3, 1]


# --------------------------------------------------------------------------------------------------- effects in doubt


def _commit_is_lost(url: str) -> str:
    """Book with a server that goes away during the commit."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("insert into t values (9)"))
            pid = connection.execute(sa.text("select pg_backend_pid()")).scalar()
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
    finally:
        engine.dispose()
    return "booked"


async def test_a_lost_commit_is_not_paid_by_another(shop: str) -> None:
    """A `once` effect whose commit got no answer is an unknown outcome: no other provider of its value starts."""
    calls: list[str] = []
    tools = substitutes(lambda: _commit_is_lost(shop), effect="once", calls=calls)
    async with Orchestrator(tools=tools, goals={"g": ["page"]}) as orchestrator:
        result = await orchestrator.run()
    assert calls == ["bad"]
    assert (result.outcome, result.attempts[0].outcome) == ("waiting", "unknown")


async def test_a_deadlock_is_paid_by_another(shop: str) -> None:
    """What the server says it has rolled back has not happened: a `once` effect goes the other way."""
    calls: list[str] = []
    async with Orchestrator(
        tools=substitutes(lambda: _deadlock(shop), effect="once", calls=calls), goals={"g": ["page"]}
    ) as orchestrator:
        result = await orchestrator.run()
    assert (calls, result.outcome) == (["bad", "good"], "met")


@pytest.mark.parametrize(
    "error", [RuntimeError("?"), KeyError("id"), ValueError("no"), OperationalError("q", {}, OSError())]
)
async def test_an_error_that_says_nothing_leaves_a_once_effect_in_doubt(error: Exception) -> None:
    """Nobody knows when it was raised: before the payment, or while its receipt was read."""
    calls: list[str] = []

    def pays() -> None:
        raise error

    async with Orchestrator(tools=substitutes(pays, "once", calls), goals={"g": ["page"]}) as orchestrator:
        result = await orchestrator.run()
    assert (calls, result.outcome, result.attempts[0].outcome) == (["bad"], "waiting", "unknown")


@pytest.mark.parametrize("effect", ["read", "idempotent", None])
async def test_what_is_not_once_goes_another_way_at_once(effect: Any) -> None:
    """Where a second effect does no harm, or nobody said that it would, an unknown error reroutes as ever."""

    def fails() -> None:
        raise RuntimeError("?")

    async with Orchestrator(tools=substitutes(fails, effect), goals={"g": ["page"]}) as orchestrator:
        result = await orchestrator.run()
    assert (result.outcome, result.route) == ("met", ("good",))


async def test_a_verify_settles_what_an_error_left_open() -> None:
    """The node's own verify finds out that nothing has happened, and the run goes on by itself."""

    @tool(name="bad", provides="page", effect="once", units=1, verify=lambda: None)
    def bad() -> str:
        raise KeyError("id")

    _, good = substitutes(lambda: None, "once")
    async with Orchestrator(tools=[bad, good], goals={"g": ["page"]}) as orchestrator:
        result = await orchestrator.run()
    assert (result.outcome, result.route, result.attempts[0].settled) == ("met", ("good",), "not done")
