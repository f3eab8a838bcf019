"""The database behind a store: its connections, their transactions, and the file that is created for it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import StoreError
from orchestrator.store.address import Address
from orchestrator.store.faults import persist
from orchestrator.store.schema import check_tables, create_tables

__all__ = ("Database",)

T = TypeVar("T")

OWN_FOLDER = ".orchestrator"
"""A folder of this name belongs to this program, and is kept out of version control."""
READERS = 4
"""Connections that stay open for reading; more are opened while they are needed."""


class Database:
    """Transactions on SQLite or PostgreSQL; connects when it is first used.

    Args:
        address: Where the database is.
        patience: Seconds for which a lock, a lost connection or a server that starts is waited for.
        monotonic: Returns seconds, of which only differences matter.
    """

    def __init__(self, address: Address, *, patience: float, monotonic: Callable[[], float]) -> None:
        self.address = address
        self.patience = patience
        self.monotonic = monotonic
        self._never = threading.Event()
        self._lock = threading.Lock()
        self._pool: sa.Engine | None = None
        self._closed = False
        self._writing: sa.Connection | None = None
        self._ready = False
        self._file: tuple[int, int] | None = None

    @property
    def absent(self) -> bool:
        """Whether it is a file that nobody has written yet; reading does not create it."""
        return self.address.path is not None and not self.address.path.exists()

    @property
    def dialect(self) -> sa.Dialect:
        """Return how the database wants its statements."""
        return self._connections().dialect

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Return what *query* finds in one consistent state of the database; may be called by any thread."""

        def attempt() -> T:
            pool = self._connections().pool
            try:
                self._prepare()
                options: dict[str, Any] = {} if self.address.path else {"isolation_level": "REPEATABLE READ"}
                with self._connections().connect().execution_options(**options) as connection:
                    return query(connection)
            finally:
                if self._closed:
                    pool.dispose()  # nobody else closes what came back to it afterwards

        return self._persist(attempt)

    def write(self, transaction: Callable[[sa.Connection], T]) -> T:
        """Carry out one transaction, durable when this returns; called by one thread only.

        A transaction whose connection is lost is carried out again, and finds what it has done if it had been done.
        """

        def attempt() -> T:
            self._prepare()
            with self._writer() as connection, connection.begin():
                return transaction(connection)

        return self._persist(attempt)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed = True
            self._drop_writer()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.dispose()

    # ------------------------------------------------------------------------------------------------------- the inside

    def _persist(self, attempt: Callable[[], T]) -> T:
        try:
            return persist(
                attempt,
                address=self.address,
                patience=self.patience,
                monotonic=self.monotonic,
                wait=self._never.wait,
            )
        except StoreError:
            self._ready = False  # look again at what is there
            raise

    @contextmanager
    def _writer(self) -> Iterator[sa.Connection]:
        if self._writing is None:
            self._writing = self._connections().connect().execution_options(begin="BEGIN IMMEDIATE")
        try:
            yield self._writing
        except StoreError:
            raise  # of ours, and rolled back: the connection is sound
        except BaseException:
            self._drop_writer()
            raise

    def _drop_writer(self) -> None:
        connection, self._writing = self._writing, None
        if connection is not None:
            # It may be beyond both; what went wrong is on its way to whoever has to know.
            with suppress(SQLAlchemyError):
                connection.invalidate()
            with suppress(SQLAlchemyError):
                connection.close()

    def _connections(self) -> sa.Engine:
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.address.shown} is closed")
            if self._pool is None:
                self._pool = self._open()
            return self._pool

    def _open(self) -> sa.Engine:
        server = self.address.path is None
        try:
            pool = sa.create_engine(
                self.address.url,
                hide_parameters=True,
                connect_args=_server_arguments(self.address.url, self.patience) if server else {},
                pool_size=READERS,
                max_overflow=-1,
                pool_pre_ping=server,
            )
        except ImportError:
            raise StoreError(
                f"the store {self.address.shown} needs psycopg: pip install 'orchestrator-runtime[postgres]'"
            ) from None
        if server:
            event.listen(pool, "connect", _set_up_server)
        else:
            patience = self.patience
            event.listen(pool, "connect", lambda connection, _: _set_up_file(connection, patience))
            event.listen(pool, "begin", _begin)
        return pool

    def _prepare(self) -> None:
        """See to it that the tables are there, and that they are where they were."""
        there = self._identity()
        if self._file is not None and there != self._file:
            # The system would let us go on, and nobody would find what is written.
            raise StoreError(f"the file of the store {self.address.shown} was moved or deleted while it was open")
        if self._ready:
            return
        if self.absent:
            self._create_file()
        self._file = there or self._identity()
        with self._connections().connect() as connection:
            ready = check_tables(connection, self.address.shown)
        if not ready:
            if self.address.path is not None:
                with self._connections().connect().execution_options(begin="") as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            with (
                self._connections().connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
                connection.begin(),
            ):
                create_tables(connection, self.address.shown)
        self._ready = True

    def _identity(self) -> tuple[int, int] | None:
        """Return which file it is that the path leads to."""
        try:
            status = os.stat(self.address.path) if self.address.path is not None else None
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if status is not None else None

    def _create_file(self) -> None:
        path = self.address.path
        assert path is not None
        try:
            folder = path.parent
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                if folder.name == OWN_FOLDER:
                    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            # What a run holds is nobody else's business; SQLite gives its other files the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"the store {self.address.shown} cannot be created: {error.strerror}") from None


def _begin(connection: sa.Connection) -> None:
    # A transaction that writes takes the lock at once: one that reads first could find that it may no longer write.
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement:
        connection.connection.cursor().execute(statement)


def _set_up_file(connection: Any, patience: float) -> None:
    raw: sqlite3.Connection = connection
    raw.isolation_level = None  # the driver begins no transactions by itself; see _begin
    raw.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA foreign_keys = ON")


def _set_up_server(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        # Not where it is more than on (remote_apply).
        if cursor.fetchone()[0] in ("off", "local"):
            cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _server_arguments(url: sa.URL, patience: float) -> dict[str, Any]:
    """Return what makes a lost server known in time, where the URL says nothing about it."""
    wanted = {
        "application_name": "orchestrator",
        "connect_timeout": max(2, int(patience)),
        "keepalives_idle": 30,
        "tcp_user_timeout": max(1000, int(patience * 1000)),
    }
    return {key: value for key, value in wanted.items() if key not in url.query}
