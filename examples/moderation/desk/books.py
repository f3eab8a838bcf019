"""The books: what the classifiers' own ledgers and the desk's records say about a post."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from desk.classifiers import CLASSIFIERS
from desk.processes import Desk
from desk.records import decisions
from orchestrator import RunResult

__all__ = ("answered", "objections", "recorded")


def answered(desk: Desk, post_id: str) -> dict[str, float]:
    """Return what each classifier that was asked about a post has answered."""
    entries = {name: [e for e in desk[name].ledger.entries() if e["post"] == post_id] for name in CLASSIFIERS}
    return {name: found[-1]["score"] for name, found in entries.items() if found}


def recorded(post_id: str) -> list[dict[str, Any]]:
    """Return what the desk has recorded about a post."""
    return [found for found in decisions(Path(os.environ["DESK_DB"])) if found["post"] == post_id]


def objections(desk: Desk, post_id: str, result: RunResult) -> list[str]:
    """Return in what the ledgers disagree with a run.

    A post is recorded once if the run reached a goal, and else not at all; and the record holds the score of every
    classifier that has answered, and of no other.
    """
    found = recorded(post_id)
    if len(found) != (1 if result.outcome in ("met", "demoted") else 0):
        return [f"post {post_id}: the run ended {result.outcome}, and {len(found)} decisions are recorded"]
    scores = {name: answered(desk, post_id).get(name) for name in CLASSIFIERS}
    wrong = [entry["scores"] for entry in found if {**entry["scores"], **scores} != entry["scores"]]
    return [f"post {post_id}: recorded is {what}, the classifiers say {scores}" for what in wrong]
