"""What is read from a store, each in one consistent state of the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import REGCLASS

from orchestrator.errors import RecordError, RunNotFoundError
from orchestrator.events import Record, record_from_dict
from orchestrator.store.liveness import lives
from orchestrator.store.progress import Progress
from orchestrator.store.rows import RunRow, Sizes, StoredRun, StoredValue
from orchestrator.store.schema import METADATA, VERSION, processes, records, runs, values

__all__ = ("all_runs", "missing", "open_runs", "run_named", "run_stored", "sizes_of", "tail_of")

SHOWN = 5
"""Runs that are named where a prefix fits several."""

_KNOWN = (processes.c.host, processes.c.place, processes.c.pid, processes.c.started, processes.c.seen)
_RUNS = sa.select(runs, *_KNOWN).join_from(runs, processes, runs.c.owner == processes.c.id, isouter=True)


def all_runs(
    connection: sa.Connection, now: float, lease: float, *, limit: int | None, outcome: str | None, graph: str | None
) -> tuple[RunRow, ...]:
    """Return runs, the newest first."""
    query = _RUNS.order_by(runs.c.created.desc(), runs.c.run_id.desc()).limit(limit)
    if outcome is not None:
        query = query.where(runs.c.outcome == outcome)
    if graph is not None:
        query = query.where(runs.c.graph == graph)
    return tuple(_row(each, now, lease) for each in connection.execute(query))


def open_runs(connection: sa.Connection, now: float, lease: float) -> tuple[RunRow, ...]:
    """Return runs that could go on but that nobody drives, the oldest first."""
    overdue = sa.and_(runs.c.outcome == "waiting", runs.c.until <= now)
    query = _RUNS.where(sa.or_(runs.c.outcome == "running", overdue)).order_by(runs.c.created, runs.c.run_id)
    found = (_row(each, now, lease) for each in connection.execute(query))
    return tuple(row for row in found if not row.alive)


def run_stored(connection: sa.Connection, run_id: str, now: float, lease: float) -> StoredRun:
    """Return all that is held of a run.

    Raises:
        RunNotFoundError: There is none of this name.
        RecordError: Its records cannot be read, or one is missing.
    """
    found = connection.execute(_RUNS.where(runs.c.run_id == run_id)).first()
    if found is None:
        raise missing(run_id)
    log = tail_of(connection, run_id, 0)
    if [record.seq for record in log] != list(range(1, found.last_seq + 1)):
        raise RecordError(f"records of the run {run_id} are missing from the store: put back a copy of it")
    held = sa.select(values).where(values.c.run_id == run_id)
    kept = [StoredValue(each.name, each.provider, bytes(each.data), each.encoding) for each in connection.execute(held)]
    kept.sort(key=lambda value: (value.name, value.provider))  # whatever the database takes for order
    return StoredRun(_row(found, now, lease), log, tuple(kept))


def tail_of(connection: sa.Connection, run_id: str, seq: int) -> tuple[Record, ...]:
    """Return the records of a run after one of them.

    Raises:
        RunNotFoundError: There is none of this name.
        RecordError: A record cannot be read.
    """
    if connection.execute(sa.select(runs.c.run_id).where(runs.c.run_id == run_id)).first() is None:
        raise missing(run_id)
    query = sa.select(records.c.seq, records.c.body).order_by(records.c.seq)
    found = connection.execute(query.where(records.c.run_id == run_id, records.c.seq > seq))
    return tuple(_record(run_id, each) for each in found)


def run_named(connection: sa.Connection, prefix: str) -> str:
    """Return the id of the run that has this id, or is the only one whose id begins so.

    Raises:
        RunNotFoundError: There is none, or more than one.
    """
    # Not LIKE, for which some characters have a meaning, and which may not tell a from A.
    begins = sa.func.substr(runs.c.run_id, 1, len(prefix)) == prefix
    query = sa.select(runs.c.run_id).where(begins).order_by(runs.c.created.desc()).limit(SHOWN + 1)
    found: Sequence[str] = connection.execute(query).scalars().all()
    exact = connection.execute(sa.select(runs.c.run_id).where(runs.c.run_id == prefix)).scalar()
    if exact is not None or len(found) == 1:
        return exact or found[0]
    if not found:
        raise missing(prefix)
    more = " and more" if len(found) > SHOWN else ""
    raise RunNotFoundError(f"several runs begin with {prefix!r}: {', '.join(found[:SHOWN])}{more}; write more of it")


def sizes_of(connection: sa.Connection, on_disk: int) -> Sizes:
    """Return how much is held; *on_disk* is the size of the files, where there are files."""

    def count(table: sa.Table) -> int:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    oldest = connection.execute(sa.select(sa.func.min(runs.c.created))).scalar()
    if connection.dialect.name == "postgresql":
        tables = [sa.func.pg_total_relation_size(sa.cast(each.name, REGCLASS)) for each in METADATA.sorted_tables]
        on_disk = sum(connection.execute(sa.select(*tables)).one())
    return Sizes(count(runs), count(records), count(values), on_disk, oldest, VERSION)


def missing(run_id: str) -> RunNotFoundError:
    """Return the error of a run that is not there."""
    return RunNotFoundError(f"the store has no run {run_id!r}; `runs list` shows those that it has")


def _row(row: Any, now: float, lease: float) -> RunRow:
    progress = Progress.of_row(row)
    waiting = progress.outcome == "waiting"
    return RunRow(
        run_id=row.run_id,
        graph=row.graph,
        goal=row.goal,
        outcome=row.outcome,
        reached=row.reached,
        reason=row.reason,
        created=row.created,
        updated=row.updated,
        epoch=row.epoch,
        owner=row.owner,
        last_seq=row.last_seq,
        source=row.source,
        questions=tuple(question for question, _ in progress.asked) if waiting else (),
        until=progress.until,
        trace_id=row.trace_id,
        alive=lives(row, now, lease),
    )


def _record(run_id: str, row: Any) -> Record:
    try:
        return record_from_dict(json.loads(row.body))
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError):
        # Not chained: it would quote the record.
        raise RecordError(
            f"record {row.seq} of the run {run_id} cannot be read: was it written by a later version of orchestrator?"
        ) from None
