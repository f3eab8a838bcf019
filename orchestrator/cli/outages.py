"""Outages that processes told each other of, as the run log holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.cli.spans import span

if TYPE_CHECKING:
    from orchestrator.store import Outage

__all__ = ("Told", "going_on")


@dataclass(frozen=True, slots=True)
class Told:
    """An outage that goes on, as a process told the others of it; times are seconds."""

    node: str
    state: str
    seconds: float | None
    """How much longer; None: until somebody says something else."""
    reason: str
    process: str
    ago: float

    def __str__(self) -> str:
        host, _, pid = self.process.rpartition(":")[0].rpartition(":")
        return f"{self.reason}, says process {pid} on {host} {span(self.ago)} ago"


def going_on(outages: Iterable[Outage]) -> list[Told]:
    """Return those of one graph's outages, oldest first, that nobody has taken back and that are not over."""
    now = datetime.now(UTC).timestamp()  # noqa: TID251  # processes on other machines say when, too
    latest = {outage.node: outage for outage in outages}
    return [_told(each, now) for each in latest.values() if _goes_on(each, now)]


def _goes_on(outage: Outage, now: float) -> bool:
    return outage.state == "open" and (outage.until is None or outage.until > now)


def _told(outage: Outage, now: float) -> Told:
    left = None if outage.until is None else outage.until - now
    return Told(outage.node, outage.state, left, outage.reason, outage.process, max(now - outage.at, 0.0))
