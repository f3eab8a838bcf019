"""The tables. All of one run is deleted with its row; what other parts will keep gets tables of its own here."""

from __future__ import annotations

import sqlalchemy as sa

from orchestrator.errors import StoreError

__all__ = (
    "METADATA",
    "VERSION",
    "check_tables",
    "create_tables",
    "health",
    "meta",
    "outages",
    "processes",
    "records",
    "runs",
    "values",
)

VERSION = 2
"""Of the tables below; a store of a later version is refused, one of an earlier is brought up to it.

1: runs, records, values, processes; 2: health and outages as well.
"""

METADATA = sa.MetaData()

meta = sa.Table(
    "meta",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

processes = sa.Table(
    "processes",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),  # within which the pid means something
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("started", sa.Text, nullable=False),  # when the process with this pid started, as its system tells it
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
)

runs = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("graph", sa.Text, nullable=False),
    sa.Column("goal", sa.Text, nullable=False),
    sa.Column("source", sa.Text),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reached", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("questions", sa.Text, nullable=False),  # JSON: (id, until) of each
    sa.Column("until", sa.Double),
    sa.Column("created", sa.Double, nullable=False, index=True),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text),  # no foreign key: a process that is gone owns nothing, and that is all it means
    sa.Column("last_seq", sa.BigInteger, nullable=False),
)


def _run_id() -> sa.Column[str]:
    return sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)


records = sa.Table(
    "records",
    METADATA,
    _run_id(),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # JSON, as `record_to_dict` gives it
    sqlite_with_rowid=False,  # one tree to write instead of two
)

values = sa.Table(
    "run_values",
    METADATA,
    _run_id(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("encoding", sa.Text, nullable=False),
    sqlite_with_rowid=False,  # as above
)

health = sa.Table(
    "health",
    METADATA,
    sa.Column("graph", sa.Text, primary_key=True),
    sa.Column("data", sa.Text, nullable=False),  # JSON
    sa.Column("updated", sa.Double, nullable=False),
)

outages = sa.Table(
    "outages",
    METADATA,
    # The numbers of deleted rows are never given again.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("graph", sa.Text, nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("until", sa.Double),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sqlite_autoincrement=True,
)

_SCHEMA = "orchestrator.schema"
_LOCK = 0x6F726368
"""Of PostgreSQL: whoever creates the tables holds it."""


def check_tables(connection: sa.Connection, shown: str) -> bool:
    """Return whether the tables are there; False: they, or some that an earlier version lacks, are to be created.

    Raises:
        StoreError: The tables are those of a later version, or of another program.
    """
    there = sa.inspect(connection)
    version = None
    complete = True
    for table in (meta, runs, records, values, processes, health, outages):
        if not there.has_table(table.name):
            complete = False
            continue
        if set(table.columns.keys()) - {column["name"] for column in there.get_columns(table.name)}:
            raise StoreError(
                f"{shown} holds a table {table.name!r} of something else: "
                "give the store a file, a database or a schema of its own"
            )
        if table is meta:
            version = _version(connection)
            if version is not None and version > VERSION:
                raise StoreError(
                    f"{shown} was written by a later version of orchestrator (schema {version}, this one knows "
                    f"{VERSION}): update orchestrator, or name another store"
                )
    return complete and version == VERSION


def create_tables(connection: sa.Connection, shown: str) -> None:
    """Create the tables in one transaction; whoever comes second finds them."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if check_tables(connection, shown):
        return
    # All that a version has added so far is tables.
    METADATA.create_all(connection)
    if _version(connection) is None:
        connection.execute(meta.insert(), {"key": _SCHEMA, "value": str(VERSION)})
    else:
        connection.execute(meta.update().where(meta.c.key == _SCHEMA).values(value=str(VERSION)))


def _version(connection: sa.Connection) -> int | None:
    found = connection.execute(sa.select(meta.c.value).where(meta.c.key == _SCHEMA)).scalar()
    return int(found) if found is not None and found.isdigit() else None
