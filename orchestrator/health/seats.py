"""What one run was last shown of the board, and how it is told of more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.weight import View

__all__ = ("Changed", "Seat")

Changed = Callable[[View], object]
"""Takes a run's new view; called on the loop, must be quick."""


@dataclass(slots=True)
class Seat:
    """The place of one run at the board."""

    view: View
    changed: Changed | None = None

    def is_shown(self, view: View) -> bool:
        """Return whether the run was shown all that decides: which nodes are barred, not in which words."""
        return _names(view) == _names(self.view)


def _names(view: View) -> tuple[tuple[str, ...], ...]:
    return tuple(name for name, _ in view.vetoes), view.open, tuple(name for name, _ in view.gates), view.spent
