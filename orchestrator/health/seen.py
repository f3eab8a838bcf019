"""What a run that starts now would see of health, from rows alone: for explanations."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.health.effects import combine
from orchestrator.health.rows import HealthRow
from orchestrator.health.weighing import scaled
from orchestrator.weight import View

__all__ = ("seen",)


def seen(base: View, rows: Iterable[HealthRow], *, measured: bool = True) -> View:
    """Return *base* as rows of health change it; a half-open node is left usable, as for the run that may try it.

    Args:
        base: The declared view.
        rows: How nodes are; those that are not in *base* are left aside.
        measured: Whether what was measured still counts, beside what bars the way.
    """
    weights = dict(base.weights)
    rows = [row for row in rows if row.node in weights]
    signals = [signal for row in rows for signal in row.reasons if row.state == "open" or not signal.open]
    effects = combine(signals, base)
    ratios = {row.node: row.factor for row in rows if measured}
    return View(
        "health",
        tuple((name, scaled(weight, ratios.get(name, 1.0))) for name, weight in base.weights),
        tuple((source, target, scaled(weight, ratios.get(source, 1.0))) for source, target, weight in base.trails),
        vetoes=tuple(effects.vetoes.items()),
        open=effects.open,
        gates=tuple(effects.gates.items()),
        spent=(*base.spent, *(row.node for row in rows if row.spent and row.node not in base.spent)),
    )
