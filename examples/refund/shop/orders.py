"""Orders: a small SQLite database, the look-up that the graph calls ``crm``, and tickets for the staff."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ("create", "lookup", "ticket")

ORDERS = (
    ("12-1", "Ada", "ada@example.com", "+44 20 7946 0101", 4_900),
    ("12-2", "Grace", "grace@example.com", "+44 20 7946 0102", 8_000),
    ("12-3", "Edsger", "edsger@example.com", "+44 20 7946 0103", 2_550),
    ("15-1", "Barbara", "barbara@example.com", "+44 20 7946 0104", 1_500_000),
)


def create(path: Path) -> None:
    """Make a new database with a few orders; amounts are in cents."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE orders (id TEXT PRIMARY KEY, customer TEXT, email TEXT, phone TEXT, cents INTEGER)"
        )
        database.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, key TEXT UNIQUE, order_id TEXT)")
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", ORDERS)


def lookup(order_id: str) -> dict[str, dict[str, Any]]:
    """Return an order of the database that ``SHOP_DB`` names, and whom to tell.

    Raises:
        LookupError: There is no such order.
    """
    with closing(sqlite3.connect(Path(os.environ["SHOP_DB"]).as_uri() + "?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        row = database.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        raise LookupError(f"there is no order {order_id}")
    return {
        "order": {"id": row["id"], "cents": row["cents"]},
        "contact": {"name": row["customer"], "email": row["email"], "phone": row["phone"]},
    }


def ticket(order: Mapping[str, Any], *, idempotency_key: str) -> dict[str, Any]:
    """Note for the staff that an order is to be refunded by hand; the same key again notes nothing new."""
    with closing(sqlite3.connect(os.environ["SHOP_DB"], timeout=10.0)) as database, database:
        database.execute(
            "INSERT INTO tickets (key, order_id) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
            (idempotency_key, order["id"]),
        )
        row = database.execute("SELECT id FROM tickets WHERE key = ?", (idempotency_key,)).fetchone()
    return {"id": f"ticket-{row[0]}", "order_id": order["id"]}
