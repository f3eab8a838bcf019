"""Health: can a node be used now? Fed by infrastructure outcomes, outside runs; seen by runs only as Views."""

from __future__ import annotations

from orchestrator.health.board import Board, HealthRow
from orchestrator.health.circuits import Circuits, Figures, State
from orchestrator.health.outcome import Evidence, Outcome, evidence_of
from orchestrator.health.signal import Effect, Monitor, Signal

__all__ = (
    "Board",
    "Circuits",
    "Effect",
    "Evidence",
    "Figures",
    "HealthRow",
    "Monitor",
    "Outcome",
    "Signal",
    "State",
    "evidence_of",
)
