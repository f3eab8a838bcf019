"""The store: the append-only log of every run, from which a run is resumed, in SQLite or PostgreSQL."""

from orchestrator.store.rows import Claim, Outage, RunRow, Sizes, StoredHealth, StoredRun, StoredValue
from orchestrator.store.store import Store

__all__ = ("Claim", "Outage", "RunRow", "Sizes", "Store", "StoredHealth", "StoredRun", "StoredValue")
