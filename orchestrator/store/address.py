"""Where a store is: a path or a URL, and how it is shown without its password."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from orchestrator.errors import StoreError
from orchestrator.redact import MASK, Redactor

__all__ = ("Address", "read_address")

_FORMS = "give a path, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


@dataclass(frozen=True)
class Address:
    """Where a store is. ``shown`` and whatever ``redact`` returns hold no password; ``path`` is that of a file."""

    url: sa.URL
    shown: str
    redact: Callable[[str], str]
    path: Path | None = None


def read_address(url: str | Path) -> Address:
    """Read where a store is.

    Raises:
        StoreError: It is no path, and no URL of a database that can be used.
    """
    text = str(url)
    if isinstance(url, Path) or "://" not in text:
        if not text:
            raise StoreError(f"the store has no name: {_FORMS}")
        return _file(text)
    try:
        parsed = sa.make_url(text)
        kind, _, driver = parsed.drivername.partition("+")
    except (ArgumentError, ValueError):  # its text holds the URL
        raise StoreError(f"the URL of the store cannot be read: {_FORMS}") from None
    if kind == "sqlite" and driver in ("", "pysqlite"):
        if parsed.host or parsed.query:
            raise StoreError(f"an SQLite store is a file and nothing else: {_FORMS}")
        return _file(parsed.database or "")
    if kind in ("postgresql", "postgres") and driver in ("", "psycopg"):
        return _server(parsed.set(drivername="postgresql+psycopg"))
    raise StoreError(f"a store is kept in SQLite or PostgreSQL, not in {parsed.drivername!r}: {_FORMS}")


def _file(name: str) -> Address:
    if name in ("", ":memory:"):
        raise StoreError("a store in memory keeps nothing: name a file, or leave the store out")
    # As it is now: a program may change its working directory.
    path = Path(name).expanduser().absolute()
    url = sa.URL.create("sqlite+pysqlite", database=str(path))
    return Address(url, f"sqlite:///{path}", lambda text: text, path)


def _server(url: sa.URL) -> Address:
    hidden = {key: MASK for key in url.query if "password" in key.lower()}
    secrets = [value for key in hidden for value in _texts(url.query[key])]
    if url.password:
        secrets.append(str(url.password))
    shown = url.set(drivername="postgresql").update_query_dict(hidden)
    redactor = Redactor(secrets)
    short = [secret for secret in secrets if secret]

    def redact(text: str) -> str:
        masked: str = redactor.redact(text)
        # A password of three letters is one, too, where it stands as such.
        for secret in short:
            masked = masked.replace(f"password={secret}", f"password={MASK}").replace(f":{secret}@", f":{MASK}@")
        return masked

    return Address(url, shown.render_as_string(hide_password=True).replace("%2A%2A%2A", MASK), redact)


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
