"""What goes wrong between a store and its database, and what there is to be done about it.

A fault is *passing* if the same transaction may well succeed a little later: the file is locked, the connection was
lost, the server is starting. Any other is told at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.errors import StoreError
from orchestrator.store.address import Address

__all__ = ("Fault", "StillFailing", "collides", "fault_of", "persist")

T = TypeVar("T")

FIRST_WAIT = 0.01
LONGEST_WAIT = 1.0

_SQLITE_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_SQLITE_ADVICE = {
    "SQLITE_FULL": "there is no room left: make room, then go on with `resume`",
    "SQLITE_READONLY": "it may not be written: give this user the right to write the file and its folder",
    "SQLITE_PERM": "it may not be opened: give this user the right to read and write the file",
    "SQLITE_AUTH": "it may not be opened: give this user the right to read and write the file",
    "SQLITE_CANTOPEN": "it cannot be opened: is the folder there, and may this user write in it?",
    "SQLITE_CORRUPT": "the file is damaged: put back a copy, or name another store",
    "SQLITE_NOTADB": "the file is no SQLite database: name another file",
    "SQLITE_IOERR": "the disk refuses: is there room, is it there?",
}
# Classes and codes of SQLSTATE.
_SERVER_PASSING = ("08", "57P01", "57P02", "57P03", "57P05", "40001", "40P01", "53300", "55P03")
_SERVER_ADVICE = {
    "53100": "the server's disk is full: make room, then go on with `resume`",
    "25006": "the server takes no writes: is it a stand-by?",
    "28": "the server refuses this user: check name and password",
    "3D000": "there is no such database: create it",
    "42501": "this user may not use the tables: grant it the right to",
}
# A refused connection has no code, only the server's words. Anything else is waited for.
_REFUSED = ("authentication failed", "does not exist", "pg_hba.conf", "permission denied")


@dataclass(frozen=True, slots=True)
class Fault:
    """What the database said, and what may help."""

    passing: bool
    text: str
    advice: str


class StillFailing(StoreError):
    """A passing fault did not pass in time; whatever else waits would fail as well."""


def collides(error: Exception) -> bool:
    """Whether a row was refused because there is one with its key."""
    cause = _cause(error)
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return code in ("23505", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")


def fault_of(error: Exception) -> Fault | None:
    """Return what went wrong, or None if *error* is none of a database."""
    if collides(error):
        return None
    cause = _cause(error)
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    if isinstance(error, PoolTimeout):
        return Fault(True, "no connection is free", "too much is read at once")
    if hasattr(cause, "sqlstate"):  # of psycopg, which need not be installed
        return _of_server(cause)
    if isinstance(error, SQLAlchemyError):
        return Fault(False, str(error), "")
    return None


def _cause(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _of_sqlite(cause: sqlite3.Error) -> Fault:
    name = getattr(cause, "sqlite_errorname", None) or ""
    advice = next((advice for start, advice in _SQLITE_ADVICE.items() if name.startswith(start)), "")
    passing = name.startswith(_SQLITE_PASSING)
    return Fault(passing, str(cause), "another program holds the file" if passing else advice)


def _of_server(cause: Any) -> Fault:
    text = " ".join(str(cause).split())
    code = cause.sqlstate
    if code is None:
        if all(kind.__name__ != "OperationalError" for kind in type(cause).__mro__):
            return Fault(False, text, "")
        # No answer to a statement: there is no connection.
        refused = text.startswith("connection failed") and any(words in text for words in _REFUSED)
        return Fault(not refused, text, "check user, password and database" if refused else "is the server up?")
    advice = next((advice for start, advice in _SERVER_ADVICE.items() if code.startswith(start)), "")
    return Fault(code.startswith(_SERVER_PASSING), text, advice)


def persist(
    attempt: Callable[[], T],
    *,
    address: Address,
    patience: float,
    monotonic: Callable[[], float],
    wait: Callable[[float], object],
) -> T:
    """Return what *attempt* returns; while it meets passing faults, try again, for *patience* seconds in all.

    Raises:
        StoreError: A fault that does not pass, or has not.
    """
    began = monotonic()
    delay = FIRST_WAIT
    while True:
        try:
            return attempt()
        except Exception as error:
            fault = fault_of(error)
            if fault is None:
                raise
            spent = monotonic() - began
            if not fault.passing or spent + delay > patience:
                # Not chained: what a driver says may hold the password.
                raise _told(fault, address, spent) from None
        wait(delay)
        delay = min(2 * delay, LONGEST_WAIT)


def _told(fault: Fault, address: Address, spent: float) -> StoreError:
    text = address.redact(fault.text) + (f"; {fault.advice}" if fault.advice else "")
    if fault.passing:
        return StillFailing(f"the store {address.shown} cannot be used, after {spent:.1f} s of trying: {text}")
    return StoreError(f"the store {address.shown} cannot be used: {text}")
