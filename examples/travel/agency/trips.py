"""Trips that people have asked for: a small SQLite database."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

__all__ = ("Trip", "create", "find")

TRIPS = (
    ("T-1", "Ada", "ada@example.com", "Lisbon", "2031-05-02", 3, 90_000),
    ("T-2", "Grace", "grace@example.com", "Porto", "2031-05-09", 2, 90_000),
    ("T-3", "Edsger", "edsger@example.com", "Lisbon", "2031-06-13", 6, 60_000),
)


@dataclass(frozen=True)
class Trip:
    """What a traveller wants; money is in cents."""

    id: str
    traveller: str
    email: str
    city: str
    leaves: date
    nights: int
    budget: int

    @property
    def returns(self) -> date:
        """The day of the flight home."""
        return self.leaves + timedelta(days=self.nights)


def create(path: Path) -> None:
    """Make a new database with a few trips."""
    with closing(sqlite3.connect(path)) as database, database:
        columns = (
            "id TEXT PRIMARY KEY, traveller TEXT, email TEXT, city TEXT, leaves TEXT, nights INTEGER, budget INTEGER"
        )
        database.execute(f"CREATE TABLE trips ({columns})")
        database.executemany("INSERT INTO trips VALUES (?, ?, ?, ?, ?, ?, ?)", TRIPS)


def find(trip_id: str) -> Trip:
    """Return a trip of the database that ``AGENCY_DB`` names.

    Raises:
        LookupError: There is no such trip.
    """
    with closing(sqlite3.connect(Path(os.environ["AGENCY_DB"]).as_uri() + "?mode=ro", uri=True)) as database:
        row = database.execute("SELECT * FROM trips WHERE id = ?", (trip_id,)).fetchone()
    if row is None:
        raise LookupError(f"there is no trip {trip_id}")
    identity, traveller, email, city, leaves, nights, budget = row
    return Trip(identity, traveller, email, city, date.fromisoformat(leaves), nights, budget)
