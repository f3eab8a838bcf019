"""The books: what the providers' own ledgers say about a trip, and whether that is what a run reported."""

from __future__ import annotations

from typing import Any

from agency.processes import PROVIDERS, Agency
from orchestrator import RunResult

__all__ = ("booked", "objections")

Entry = dict[str, Any]


def booked(agency: Agency, provider: str, trip_id: str) -> list[Entry]:
    """Return what a provider has booked for a trip and not taken back."""
    entries = agency[provider].ledger.entries()
    return [entry for entry in entries if entry["trip"] == trip_id and entry["state"] == "booked"]


def objections(agency: Agency, trip_id: str, result: RunResult) -> list[str]:
    """Return in what the ledgers disagree with a run.

    What the run reports must be booked, exactly once over all who sell it; what it does not report must not be; and
    the traveller must have been told of exactly what is booked.
    """
    found = []
    for what, providers in PROVIDERS.items():
        standing = [entry["id"] for name in providers for entry in booked(agency, name, trip_id)]
        reported = [result.values[what]["id"]] if what in result.values else []
        if standing != reported:
            found.append(f"trip {trip_id}: the run reports {what} {reported}, the ledgers say {standing}")
    for notice in (entry for name in PROVIDERS["notice"] for entry in booked(agency, name, trip_id)):
        told = {what: notice[what] and notice[what]["id"] for what in PROVIDERS if what != "notice"}
        known = {what: result.values[what]["id"] if what in result.values else None for what in told}
        if told != known:
            found.append(f"trip {trip_id}: the traveller was told of {told}, booked is {known}")
    return found
