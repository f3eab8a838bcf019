"""What runs were last shown of the board, and how they are told of more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.weight import View

__all__ = ("Changed", "Seat", "Seats")

Changed = Callable[[View], object]
"""Takes a run's new view; called on the loop, must be quick."""


@dataclass(slots=True)
class Seat:
    """The place of one run at the board; it is told of nothing before it was shown its first view."""

    view: View | None = None
    changed: Changed | None = None

    def bars(self, node: str) -> bool:
        """Return whether the run was shown that it may not use a node."""
        return self.view is not None and any(node == name for name, _ in self.view.vetoes)

    def is_shown(self, view: View) -> bool:
        """Return whether the run was shown all that decides: which nodes are barred, not in which words."""
        return self.view is not None and _names(view) == _names(self.view)


class Seats(dict[str, Seat]):
    """The seats of all runs, by run, and the views that are shown there.

    Args:
        base: The declared view.
    """

    def __init__(self, base: View) -> None:
        super().__init__()
        self._base = self._latest = base
        self._made = 0

    def show(self, run_id: str, view: View) -> View:
        """Show a run a whole view, and return that with its id; one that says nothing new is the one that said it."""
        view = self._numbered(view)
        self.setdefault(run_id, Seat()).view = view
        return view

    def tell(self, run_id: str, barred: View) -> None:
        """Tell a run what bars its way, if that has moved since it was last shown. What it raises is raised."""
        seat = self.get(run_id)
        if seat is None or seat.view is None or seat.changed is None or seat.is_shown(barred):
            return
        seat.view = self._numbered(replace(barred, weights=seat.view.weights, trails=seat.view.trails))
        seat.changed(seat.view)

    def _numbered(self, view: View) -> View:
        """Give a view its id; one that says the same as the declared or the latest one is that one."""
        for known in (self._base, self._latest):
            if replace(view, id=known.id) == known:
                return known
        self._made += 1
        self._latest = replace(view, id=f"health {self._made}")
        return self._latest


def _names(view: View) -> tuple[tuple[str, ...], ...]:
    return tuple(name for name, _ in view.vetoes), view.open, tuple(name for name, _ in view.gates), view.spent
