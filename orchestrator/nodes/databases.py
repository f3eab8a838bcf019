"""What errors of databases mean: of any driver that names its classes as PEP 249 does, and of SQLAlchemy over one.

A server's own word comes first: an SQLSTATE, or SQLite's result code. Else the class decides. An error that a server
reports is one whose statement it has rolled back, so the effect has not happened; what a lost connection leaves behind
nobody knows, because the commit may have been the last thing that arrived. ``OperationalError`` and ``InterfaceError``
alone are not told apart from that.

No database library is imported: classes are known by name, as everywhere in the classification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.nodes.meaning import (
    CONFLICT,
    LATE_TO_CONNECT,
    LOST,
    MISTAKE,
    NO_CONNECTION,
    REFUSED,
    UNAUTHORISED,
    Meaning,
)

__all__ = ("of_database",)

_BUSY = Meaning(None, transient=True, happened="no", evidence="external")
_UNUSABLE = Meaning(None, transient=False, happened="no", evidence="external")
_IN_TROUBLE = Meaning(None, transient=True, happened="unknown", evidence="external")

_SQLSTATES: Mapping[str, Meaning] = MappingProxyType(
    {
        "08001": NO_CONNECTION,
        "08004": NO_CONNECTION,
        "08": LOST,
        "25006": _BUSY,  # read-only: a standby, and perhaps not for long
        "25P03": _BUSY,  # idle in a transaction for too long: rolled back
        "28": UNAUTHORISED,
        "40003": LOST,  # statement completion unknown
        "40": CONFLICT,  # serialization failure, deadlock
        "42501": UNAUTHORISED,
        "53": _BUSY,  # no connection, memory or disk left
        "55006": _BUSY,
        "55P03": _BUSY,  # lock not available
        "57014": Meaning("timeout", transient=True, happened="no"),  # canceled, mostly by the statement_timeout
        "57P03": NO_CONNECTION,  # the server starts, or stops
        "57": LOST,
        "58": _IN_TROUBLE,
        "XX": _IN_TROUBLE,
        **dict.fromkeys(("0A", "21", "22", "23", "25", "26", "34", "3D", "3F", "42", "44", "54", "55", "P0"), REFUSED),
    }
)
"""Whole states, and classes of them (SQL:2023, and PostgreSQL's own)."""

_SQLITE: Mapping[int, Meaning] = MappingProxyType(
    {
        1: REFUSED,  # SQLITE_ERROR: no such table, a syntax error
        3: _UNUSABLE,  # SQLITE_PERM
        5: _BUSY,  # SQLITE_BUSY
        6: _BUSY,  # SQLITE_LOCKED
        8: _UNUSABLE,  # SQLITE_READONLY
        13: _BUSY,  # SQLITE_FULL
        14: NO_CONNECTION,  # SQLITE_CANTOPEN
    }
)

_PEP_249: Mapping[str, Meaning] = MappingProxyType(
    {
        "DataError": REFUSED,
        "IntegrityError": REFUSED,
        "NotSupportedError": REFUSED,
        "ProgrammingError": REFUSED,
        "OperationalError": _IN_TROUBLE,
        "InternalError": _IN_TROUBLE,
        "DatabaseError": _IN_TROUBLE,
    }
)

_SQLALCHEMY: Mapping[str, Meaning] = MappingProxyType(
    {
        "TimeoutError": LATE_TO_CONNECT,  # no connection of the pool was free: nothing was sent
        "DisconnectionError": LOST,
        "StaleDataError": CONFLICT,
        "SQLAlchemyError": MISTAKE,  # how it was used: NoResultFound, ArgumentError and many more
    }
)


def of_database(error: BaseException) -> Meaning | None:
    """Return what an error of a database means; None if it is none."""
    classes = {cls.__name__: cls.__module__ for cls in reversed(type(error).__mro__)}
    if classes.get("SQLAlchemyError", "").startswith("sqlalchemy."):
        return _of_sqlalchemy(error, classes)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str) and re.fullmatch(r"[0-9A-Z]{5}", state):
        meaning = _SQLSTATES.get(state) or _SQLSTATES.get(state[:2])
        if meaning is not None:
            return meaning
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and (code & 0xFF) in _SQLITE:
        return _SQLITE[code & 0xFF]
    if "DatabaseError" not in classes:
        return _IN_TROUBLE if "InterfaceError" in classes else None
    if "ConnectionTimeout" in classes or "PoolTimeout" in classes:
        return LATE_TO_CONNECT
    if getattr(error, "pgconn", None) is not None:  # psycopg: it is the attempt to connect that failed
        return NO_CONNECTION
    return next((_PEP_249[name] for name in reversed(classes) if name in _PEP_249), None)


def _of_sqlalchemy(error: BaseException, classes: dict[str, str]) -> Meaning | None:
    original = getattr(error, "orig", None)
    if "DBAPIError" not in classes:
        return next(_SQLALCHEMY[name] for name in reversed(classes) if name in _SQLALCHEMY)
    told = of_database(original) if isinstance(original, BaseException) else None
    if getattr(error, "connection_invalidated", False):
        return told if told in (NO_CONNECTION, LATE_TO_CONNECT, UNAUTHORISED) else LOST
    if told is not None and told != _IN_TROUBLE:
        return told
    return next((_PEP_249[name] for name in reversed(classes) if name in _PEP_249), _IN_TROUBLE)
