"""Health in a trace: what a run is shown of it, on a row of its own before the plan that goes by it."""

from __future__ import annotations

from orchestrator.health.telling import Telling
from orchestrator.telemetry import names
from orchestrator.telemetry.span_writer import Attributes
from orchestrator.telemetry.texts import blocked_text, concern_text, weights_text

__all__ = ("health_attributes",)


def health_attributes(view: str, telling: Telling) -> Attributes:
    """Return what the span of a view says; *view* is its id."""
    return {
        names.VIEW: view,
        names.HEALTH_BARRED: blocked_text(telling.barred),
        names.HEALTH_GATED: blocked_text(telling.gated),
        names.HEALTH_WEIGHTS: weights_text(telling.weights),
        names.HEALTH_SPENT: ", ".join(telling.spent) or None,
        names.HEALTH_CONCERN: concern_text(telling.concern),
    }
