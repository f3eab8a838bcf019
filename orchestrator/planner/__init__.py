"""Planning: the cheapest route to a goal, from the work already done, without a model."""

from __future__ import annotations

from orchestrator.planner.explain import Explanation, explain
from orchestrator.planner.index import NANO
from orchestrator.planner.plan import Planner
from orchestrator.planner.route import LimitFigures, Limits, Route, Situation

__all__ = ("NANO", "Explanation", "LimitFigures", "Limits", "Planner", "Route", "Situation", "explain")
