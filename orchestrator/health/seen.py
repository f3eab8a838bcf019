"""What a run that starts now would see of health, for explanations: nothing is taken that a run may need."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.chance import unit_interval
from orchestrator.weight import View

if TYPE_CHECKING:
    from orchestrator.health.board import Board

__all__ = ("NOBODY", "drawn", "seen")

NOBODY = ""
"""The id of no run."""
MOST = math.nextafter(0.5, 0.0)
"""Who asks for nobody is shown what most runs are: a node that gets half of its share or more is usable as ever."""


def drawn(run_id: str, node: str) -> float:
    """Return the lot of a run in [0, 1): below the node's share, the run uses it as ever."""
    return MOST if run_id == NOBODY else unit_interval("share", run_id, node)


def seen(board: Board) -> View:
    """Return the view that a run which starts now is shown; the board is as before."""
    view = board.view(NOBODY)
    board.release(NOBODY)
    return replace(view, id="health")
