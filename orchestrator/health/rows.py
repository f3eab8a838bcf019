"""What is told of a node's health: one row for `orchestrator health`, explanations and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.health.circuit import State
from orchestrator.health.signal import Signal

__all__ = ("HealthRow",)


@dataclass(frozen=True, slots=True)
class HealthRow:
    """How one node is. Figures are decayed to now; times are seconds unless their name says otherwise."""

    node: str
    state: State
    ok: float
    n: float
    """Attempts behind the success rate, and how many of them succeeded."""
    success: float
    """Posterior mean: the declared rate counts as `health.prior` attempts."""
    latency_ms: float | None
    """Peak of late, decaying; None: never measured."""
    open_for: float
    """Time until it may be probed; 0: now, or it need not be."""
    last_error: str | None
    last_error_ago: float | None
    reasons: tuple[Signal, ...]
    """What monitors say about it, by falling score."""
    share: float
    """Share of its usual traffic that it gets: less after a re-admission and near its rate limit."""
    factor: float
    """By which its published weight differs from the declared one, beside what `share` does."""
    spent: bool = False
    """Whether its retry budget is spent."""
