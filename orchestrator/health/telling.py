"""What a view says of health, for whoever follows a run: who is out of use, who weighs otherwise, what matters most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from orchestrator.graph import Node
from orchestrator.policy import Objective
from orchestrator.weight import Concern, View, declared_weight

__all__ = ("NOTABLE", "Telling")

NOTABLE = 1.5
"""How many times more or less than declared a node has to weigh to be spoken of: one publication's step."""
FIGURES = ("units", "usd", "seconds", "success")


@dataclass(frozen=True, slots=True)
class Telling:
    """What differs from what is declared; nodes by name."""

    barred: tuple[tuple[str, str], ...] = ()
    gated: tuple[tuple[str, str], ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    """How many times its declared weight a node weighs, of those that are in use."""
    spent: tuple[str, ...] = ()
    concern: Concern | None = None

    @classmethod
    def of(cls, view: View, nodes: Mapping[str, Mapping[str, Any]], objective: Mapping[str, Any]) -> Self:
        """Tell of a view.

        Args:
            view: The view.
            nodes: What the run's graph says of each node.
            objective: What the run's policy says a unit of each figure is worth.
        """
        worth, vetoes = Objective.model_validate(objective), dict(view.vetoes)
        ratios = (
            (
                name,
                weight
                / declared_weight(
                    Node(name, **{key: nodes[name][key] for key in FIGURES if key in nodes[name]}), worth
                ),
            )
            for name, weight in view.weights
            if name in nodes and name not in vetoes
        )
        moved = tuple((name, ratio) for name, ratio in ratios if not 1 / NOTABLE < ratio < NOTABLE)
        return cls(view.vetoes, view.gates, moved, view.spent, view.concern)

    def __bool__(self) -> bool:
        # A late event loop is about no node: it is told beside what is, and is no news of its own.
        of_a_node = self.concern is not None and self.concern.node != ""
        return bool(self.barred or self.gated or self.weights or self.spent or of_a_node)
