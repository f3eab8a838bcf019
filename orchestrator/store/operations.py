"""What a store writes, as operations that share a transaction.

Each checks first and writes then: one that is refused has written nothing, and the others of its transaction go on.
Each may be carried out again after a connection was lost in the middle of a commit, which leaves open whether it was
written: it then finds its own traces and counts as done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from orchestrator.errors import FencedError, RunTakenError, StoreError
from orchestrator.events import Record
from orchestrator.store.liveness import Process, lives
from orchestrator.store.progress import OPEN, Progress, fold, legible
from orchestrator.store.reading import missing
from orchestrator.store.rows import Claim, StoredValue
from orchestrator.store.schema import runs
from orchestrator.store.statements import Statements

__all__ = (
    "Accept",
    "Append",
    "Beat",
    "ClaimRun",
    "Leave",
    "Operation",
    "Prune",
    "Release",
    "Transaction",
    "Withdraw",
    "append_all",
    "fenced",
)

FORGOTTEN = 3600.0
"""Seconds after which a process that was not seen is struck off."""


@dataclass(slots=True)
class Transaction:
    """One transaction under way, and what will be known once it is durable."""

    connection: sa.Connection
    cursor: Any
    """The driver's own, of that connection."""
    statements: Statements
    process: Process
    began: float
    """When the store was opened."""
    now: float
    lease: float
    known: dict[str, tuple[int, Progress]]
    """Of each run that this store has claimed: the epoch, and how far the run has come."""
    moved: dict[str, tuple[int, Progress] | None] = field(default_factory=dict)
    """What becomes of it; None: the claim is gone."""

    def progress(self, claim: Claim) -> Progress | None:
        """Return how far a run has come, if this store knows."""
        found = self.moved[claim.run_id] if claim.run_id in self.moved else self.known.get(claim.run_id)
        return found[1] if found is not None and found[0] == claim.epoch else None

    def move(self, claim: Claim, progress: Progress) -> None:
        """Note how far a run has come."""
        self.moved[claim.run_id] = (claim.epoch, progress)

    def drop(self, claim: Claim) -> None:
        """Note that a claim is gone; a later one of this store is not."""
        if self.progress(claim) is not None:
            self.moved[claim.run_id] = None

    def lock(self, run_id: str) -> Any:
        """Return a run's row, which nobody else changes before this transaction is over."""
        row = self.statements.lock.read(self.connection, {"run": run_id}).first()
        if row is None:
            raise missing(run_id)
        return row


class Operation(Protocol):
    """One thing that is written."""

    def apply(self, to: Transaction) -> Any:
        """Write it, or raise a StoreError before anything is written."""


def fenced(run_id: str) -> FencedError:
    """Return the error of a process that goes on with a run which is no longer its own."""
    return FencedError(f"another process has taken over the run {run_id}: this one may not go on with it")


# ------------------------------------------------------------------------------------------------------------- records


@dataclass(slots=True)
class Append:
    """More records of a run, and values that it holds."""

    claim: Claim
    records: Sequence[Record]
    bodies: Sequence[str]
    values: Sequence[StoredValue]
    release: bool = False
    """Whether the run is let go with them."""

    def apply(self, to: Transaction) -> None:
        """Append, whatever is known of the run."""
        claim = self.claim
        row = to.lock(claim.run_id)
        if row.epoch != claim.epoch:
            to.drop(claim)
            raise fenced(claim.run_id)
        if self.records and self.records[0].seq <= row.last_seq:
            self._check_written(to)
            to.move(claim, Progress.of_row(row))
            if self.release:
                Release(claim).apply(to)
            return
        if self.records and self.records[0].seq > row.last_seq + 1:
            raise StoreError(f"the run {claim.run_id} goes on at record {row.last_seq + 1}, not {self.records[0].seq}")
        progress = Progress.of_row(row)
        _write(to, {claim.run_id: (claim, row.last_seq, fold(progress, self.records, to.now))}, [self])

    def _check_written(self, to: Transaction) -> None:
        span = {"run": self.claim.run_id, "first": self.records[0].seq, "last": self.records[-1].seq}
        stored = [(each.epoch, each.body) for each in to.statements.stored.read(to.connection, span)]
        if stored != [(self.claim.epoch, body) for body in self.bodies]:
            to.drop(self.claim)
            raise fenced(self.claim.run_id)


def append_all(to: Transaction, appends: Sequence[Append]) -> bool:
    """Append to many runs at once, by what is known of them.

    Return False if that is not enough to tell whether all of them may: the transaction is then to be rolled back.
    """
    moves: dict[str, tuple[Claim, int, Progress]] = {}
    for each in appends:
        claim = each.claim
        before, seen, progress = moves.get(claim.run_id, (claim, None, to.progress(claim)))
        if progress is None or before.epoch != claim.epoch:
            return False
        if each.records and each.records[0].seq != progress.last_seq + 1:
            return False
        seen = progress.last_seq if seen is None else seen
        moves[claim.run_id] = (claim, seen, fold(progress, each.records, to.now))
    return _write(to, moves, appends)


def _write(to: Transaction, moves: dict[str, tuple[Claim, int, Progress]], appends: Sequence[Append]) -> bool:
    """Move runs from one seq to the next; False, if one of them was not where it was thought to be."""
    rows = [
        {"run": run_id, "claimed": claim.epoch, "seen": seen, "updated": to.now, **progress.columns()}
        # In one order everywhere: two processes never wait for each other.
        for run_id, (claim, seen, progress) in sorted(moves.items())
    ]
    if to.statements.move.write(to.cursor, *rows) != len(rows):
        return False
    _insert(to, appends)
    for claim, _, progress in moves.values():
        to.move(claim, progress)
    for each in appends:
        if each.release:
            Release(each.claim).apply(to)
    return True


def _insert(to: Transaction, appends: Sequence[Append]) -> None:
    records = [
        {"run_id": each.claim.run_id, "seq": record.seq, "epoch": each.claim.epoch, "body": body}
        for each in appends
        for record, body in zip(each.records, each.bodies, strict=True)
    ]
    values = [
        {"run_id": each.claim.run_id, "name": value.name, "provider": value.provider, "data": value.data,
         "encoding": value.encoding}
        for each in appends
        for value in each.values
    ]  # fmt: skip
    if records:
        to.statements.record.write(to.cursor, *records)
    if values:
        to.statements.hold.write(to.cursor, *values)


# -------------------------------------------------------------------------------------------------------------- claims


@dataclass(slots=True)
class Accept:
    """A new run with its first records, claimed by this store."""

    append: Append
    graph: str
    goal: str
    source: str | None
    trace_id: str
    taken: Claim | None = None

    def apply(self, to: Transaction) -> Claim:
        """Write the run."""
        claim = self.append.claim
        progress = fold(Progress(), self.append.records, to.now)
        row = {
            "run_id": claim.run_id,
            "graph": legible(self.graph),
            "goal": legible(self.goal),
            "source": None if self.source is None else legible(self.source),
            "trace_id": self.trace_id,
            "created": to.now,
            "updated": to.now,
            "epoch": claim.epoch,
            "owner": claim.owner,
            **progress.columns(),
        }
        if to.statements.accept.write(to.cursor, row) == 1:
            _insert(to, [self.append])
        else:
            there = to.lock(claim.run_id)
            # Is it what was written before the connection was lost? This very operation knows.
            tried = self.taken is not None and (there.owner, there.epoch) == (claim.owner, claim.epoch)
            if not tried or there.last_seq != progress.last_seq:
                raise StoreError(f"the store has a run {claim.run_id} already")
        self.taken = claim
        to.move(claim, progress)
        return claim


@dataclass(slots=True)
class ClaimRun:
    """The wish to go on with a run."""

    run_id: str
    steal: bool
    taken: Claim | None = None

    def apply(self, to: Transaction) -> Claim:
        """Claim the run under the next epoch, which fences off whoever had it."""
        row = to.lock(self.run_id)
        if self.taken is None or (self.taken.epoch, self.taken.owner) != (row.epoch, row.owner):
            if row.owner is not None and not self.steal:
                self._refuse_while_alive(to, row.owner)
            self.taken = Claim(self.run_id, row.epoch + 1, to.process.id)
            to.statements.claim.write(
                to.cursor, {"run": self.run_id, "claimed": self.taken.epoch, "claimant": self.taken.owner}
            )
        to.move(self.taken, Progress.of_row(row))
        return self.taken

    def _refuse_while_alive(self, to: Transaction, name: str) -> None:
        owner = to.statements.process.read(to.connection, {"process": name}).first()
        if owner is not None and lives(owner, to.now, to.lease):
            raise RunTakenError(
                f"the run {self.run_id} is driven by process {owner.pid} on {owner.host}: "
                "wait for it to end, or take the run over"
            )


@dataclass(slots=True)
class Release:
    """A run that this store does not go on with."""

    claim: Claim

    def apply(self, to: Transaction) -> None:
        """Let the run go, unless another has it by now."""
        claim = self.claim
        mine = {"run": claim.run_id, "claimed": claim.epoch, "claimant": claim.owner}
        to.statements.release.write(to.cursor, mine)
        to.drop(claim)


@dataclass(slots=True)
class Withdraw:
    """What is left of a claim whose claimant did not wait for it."""

    of: Accept | ClaimRun

    def apply(self, to: Transaction) -> None:
        """Let the run go; one that was to be accepted is none."""
        claim = self.of.taken
        if claim is None:
            return
        if isinstance(self.of, Accept):
            untouched = (runs.c.epoch == claim.epoch, runs.c.owner == claim.owner)
            to.connection.execute(runs.delete().where(runs.c.run_id == claim.run_id, *untouched))
        Release(claim).apply(to)


# ------------------------------------------------------------------------------------------------------- house-keeping


@dataclass(slots=True)
class Prune:
    """Finished runs that are old, some at a time."""

    older_than: float
    at_most: int

    def apply(self, to: Transaction) -> int:
        """Delete runs with all that they hold; return how many."""
        old = sa.select(runs.c.run_id).where(runs.c.outcome.not_in(OPEN), runs.c.updated < self.older_than)
        # Whatever somebody else is about to change is left for the next time.
        old = old.order_by(runs.c.run_id).limit(self.at_most).with_for_update(skip_locked=True)
        found = to.connection.execute(old).scalars().all()
        if found:
            to.connection.execute(runs.delete().where(runs.c.run_id.in_(found)))
        return len(found)


@dataclass(slots=True)
class Beat:
    """A sign of life."""

    def apply(self, to: Transaction) -> None:
        """Renew the lease of this process, and strike off those that are long gone."""
        process = to.process
        to.statements.forget.write(to.cursor, {"before": to.now - max(FORGOTTEN, to.lease)})
        to.statements.beat.write(
            to.cursor,
            {"id": process.id, "host": process.host, "place": process.place, "pid": process.pid,
             "started": process.started, "began": to.began, "seen": to.now},
        )  # fmt: skip


@dataclass(slots=True)
class Leave:
    """The end of an opened store."""

    def apply(self, to: Transaction) -> None:
        """Strike off this process: whatever it still owns may be claimed at once."""
        to.statements.leave.write(to.cursor, {"process": to.process.id})
