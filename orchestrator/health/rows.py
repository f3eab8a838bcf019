"""What is told of a node's health: one row for `orchestrator health`, explanations and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.health.circuit import State
from orchestrator.health.signal import Signal
from orchestrator.health.standing import Out

if TYPE_CHECKING:
    from orchestrator.health.circuits import Circuits
    from orchestrator.health.watching import Picture

__all__ = ("HealthRow", "row_of")


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
    """Whether the retry budget of a group of its is spent: nothing that a node alone is to blame for."""
    out: Out | None = None
    """Why it is out of use whatever its circuit says: refused (our credentials) or limited (its rate limit)."""
    out_for: float = 0.0
    """How much longer."""

    @property
    def condition(self) -> str:
        """What a person is told of its state, in one word: closed, half-open, open, limited or refused."""
        return self.out or self.state.replace("_", "-")

    @property
    def left(self) -> float:
        """Seconds until it may be used or probed again; 0: now, or not known."""
        return self.out_for if self.out else self.open_for


def row_of(name: str, circuits: Circuits, picture: Picture, factor: float, now: float) -> HealthRow:
    """Return how one node is at *now*.

    Args:
        name: The node.
        circuits: They know it.
        picture: What monitors say.
        factor: By which its published weight differs from the declared one.
        now: Seconds on the circuits' clock.
    """
    figures, (out, out_for) = circuits.figures(name), circuits.out(name)
    return HealthRow(
        node=name,
        state=circuits.state(name),
        ok=figures.ok,
        n=figures.n,
        success=figures.success,
        latency_ms=None if figures.latency is None else figures.latency * 1000,
        open_for=circuits.open_for(name),
        last_error=figures.last_error,
        last_error_ago=None if figures.last_error_at is None else max(now - figures.last_error_at, 0.0),
        reasons=tuple(signal for signal in picture.signals if signal.node == name),
        share=circuits.share(name),
        factor=factor,
        spent=name in picture.spent,
        out=out,
        out_for=out_for,
    )
