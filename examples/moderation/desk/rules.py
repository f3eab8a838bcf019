"""The desk's own rules: how many classifiers are enough, and when a person must decide."""

from __future__ import annotations

from desk.records import Score

__all__ = ("enough", "toxic")

ENOUGH = 3
"""Of the five classifiers, so many must have answered before anything is decided without a person."""

TOXIC = 0.6
"""The toxicity from which a person decides, whatever the others say."""


def enough(toxicity: Score, image: Score, text: Score, user_history: Score, spam: Score) -> bool:
    """Say whether enough classifiers have answered."""
    return sum(score is not None for score in (toxicity, image, text, user_history, spam)) >= ENOUGH


def toxic(post_id: str, toxicity: Score) -> str | None:
    """Return why a person must decide; None if nobody need."""
    if toxicity is None or toxicity["score"] < TOXIC:
        return None
    return f"post {post_id} has a toxicity of {toxicity['score']:.2f}"
