"""Resilience: what a goal survives, what breaks it, and what doing without each node costs.

`assess` looks at a graph before anything runs. It answers what a run would otherwise find out: which failures leave
the asked goal within reach, which end in a demotion, and which in nothing.
"""

from __future__ import annotations

from orchestrator.resilience.assess import assess
from orchestrator.resilience.losses import MOST, Loss
from orchestrator.resilience.report import GoalResilience, Price, Resilience, SinglePoint

__all__ = ("MOST", "GoalResilience", "Loss", "Price", "Resilience", "SinglePoint", "assess")
