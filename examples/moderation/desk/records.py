"""The desk's own records, an SQLite file: what became of earlier posts, decisions, and posts held for a person."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ("create", "decide", "decisions", "history", "hold")

EARLIER = (("ada", 0, 12), ("mallory", 4, 5), ("grace", 1, 40))
"""Author, posts removed, posts in all."""

REMOVE = 0.8
"""The score from which one classifier alone removes a post."""

Score = dict[str, Any] | None
"""What a classifier said; None where it could not be had."""


def create(path: Path) -> None:
    """Make a new file with what is known of a few authors."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE authors (name TEXT PRIMARY KEY, removed INTEGER, posts INTEGER)")
        database.execute("CREATE TABLE decisions (key TEXT PRIMARY KEY, post TEXT, decision TEXT, scores TEXT)")
        database.executemany("INSERT INTO authors VALUES (?, ?, ?)", EARLIER)


def history(author: str) -> dict[str, Any]:
    """Return the share of an author's earlier posts that were removed."""
    with closing(_open()) as database:
        row = database.execute("SELECT removed, posts FROM authors WHERE name = ?", (author,)).fetchone()
    return {"score": round(row[0] / row[1], 2) if row else 0.0}


def decide(
    post_id: str, toxicity: Score, image: Score, text: Score, user_history: Score, spam: Score, *, idempotency_key: str
) -> dict[str, Any]:
    """Publish a post or remove it: one high score is enough to remove it."""
    scores = _scores(toxicity=toxicity, image=image, text=text, history=user_history, spam=spam)
    removed = any(score is not None and score >= REMOVE for score in scores.values())
    return _record(idempotency_key, post_id, "removed" if removed else "published", scores)


def hold(
    post_id: str,
    toxicity: Score = None,
    image: Score = None,
    text: Score = None,
    user_history: Score = None,
    spam: Score = None,
    *,
    idempotency_key: str,
) -> dict[str, Any]:
    """Put a post on the pile of those that a person looks at, with the scores that there are."""
    scores = _scores(toxicity=toxicity, image=image, text=text, history=user_history, spam=spam)
    return _record(idempotency_key, post_id, "held", scores)


def decisions(path: Path) -> list[dict[str, Any]]:
    """Return everything that was recorded, in order."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT key, post, decision, scores FROM decisions ORDER BY rowid").fetchall()
    return [
        {"key": key, "post": post, "decision": what, "scores": json.loads(scores)} for key, post, what, scores in rows
    ]


def _scores(**given: Score) -> dict[str, float | None]:
    return {name: None if found is None else found["score"] for name, found in given.items()}


def _record(key: str, post_id: str, decision: str, scores: dict[str, float | None]) -> dict[str, Any]:
    """Record a decision; the same key again records nothing new."""
    with closing(_open()) as database, database:
        database.execute(
            "INSERT INTO decisions VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (key, post_id, decision, json.dumps(scores)),
        )
    return {"post": post_id, "decision": decision, "without": [name for name in scores if scores[name] is None]}


def _open() -> sqlite3.Connection:
    return sqlite3.connect(os.environ["DESK_DB"], timeout=10.0)
