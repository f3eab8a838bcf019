"""What a store gives and takes: claims, runs as a list shows them, values, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.events import Record

__all__ = ("Claim", "Outage", "RunRow", "Sizes", "StoredHealth", "StoredRun", "StoredValue")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to go on with a run, until a later epoch takes it away."""

    run_id: str
    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value that a run holds, as bytes. What ``encoding`` says is the business of whoever wrote it."""

    name: str
    provider: str
    data: bytes
    encoding: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as a list shows it; times are wall time, in seconds."""

    run_id: str
    graph: str
    goal: str
    outcome: str
    """``running`` until the run finishes, then its outcome; ``running`` again when a waiting run goes on."""
    reached: str | None
    """The goal that was met or demoted to."""
    reason: str | None
    created: float
    updated: float
    epoch: int
    owner: str | None
    """The process that claimed the run last and has not let it go."""
    last_seq: int
    source: str | None
    """Path of the graph file."""
    questions: tuple[str, ...]
    """Ids of the open questions while the run waits."""
    until: float | None
    """When the first of the open questions is overdue."""
    trace_id: str
    alive: bool
    """Whether the owner lives."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """All that is held of one run: the records by seq, the values by name and provider."""

    row: RunRow
    records: tuple[Record, ...]
    values: tuple[StoredValue, ...]


@dataclass(frozen=True, slots=True)
class StoredHealth:
    """What a process last knew of the health of a graph's nodes."""

    graph: str
    data: dict[str, Any]
    age: float
    """Seconds since it was saved."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What a process has announced of a node; times are wall time, in seconds."""

    seq: int
    graph: str
    node: str
    state: str
    until: float | None
    reason: str
    process: str
    at: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a store holds."""

    runs: int = 0
    records: int = 0
    values: int = 0
    bytes: int = 0
    """On disk, with what surrounds the tables."""
    oldest: float | None = None
    """Wall time at which the oldest run was accepted."""
    schema: int | None = None
    """Version of the tables; None where there are none yet."""
