"""Health as OpenTelemetry metrics: circuits, attempts by what they are evidence of, and what takes attention.

Only the API is used: without an SDK in the application, nothing is measured and nothing is paid.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import Meter, get_meter

from orchestrator.health import Outcome, Signal
from orchestrator.health.rows import HealthRow
from orchestrator.telemetry import names

__all__ = ("HealthMetrics",)

STATES = {"closed": 0, "half_open": 1, "open": 2}
"""The figure of each state of a circuit: more is worse."""


class HealthMetrics:
    """The metrics of one graph's health.

    Args:
        graph: Its name.
        meter: Makes the instruments; default: the one of the application's meter provider, if it has one.
    """

    def __init__(self, graph: str, meter: Meter | None = None) -> None:
        meter = get_meter("orchestrator") if meter is None else meter
        self._graph = {names.GRAPH: graph}
        self._circuit = meter.create_gauge(
            names.METRIC_CIRCUIT, unit="1", description="State of a node's circuit: 0 closed, 1 half-open, 2 open"
        )
        self._attempts = meter.create_counter(
            names.METRIC_ATTEMPTS, unit="{attempt}", description="Attempts and probes, by what they are evidence of"
        )
        self._attention = meter.create_gauge(
            names.METRIC_ATTENTION, unit="1", description="Score of a monitor's signal while it takes attention, else 0"
        )
        self._attended: Signal | None = None

    def record(self, outcome: Outcome) -> None:
        """Count one outcome."""
        about = {names.NODE: outcome.node, names.EVIDENCE: str(outcome.evidence)}
        self._attempts.add(1, {**self._graph, **about, names.PROBE: outcome.probe})

    def observe(self, rows: Iterable[HealthRow], attention: Signal | None) -> None:
        """Take how all nodes are now; to be called now and then, whether or not something changed."""
        for row in rows:
            self._circuit.set(STATES[row.state], {**self._graph, names.NODE: row.node})
        before, self._attended = self._attended, attention
        if before is not None and (attention is None or _who(before) != _who(attention)):
            self._attention.set(0.0, {**self._graph, **_who(before)})
        if attention is not None:
            self._attention.set(attention.score, {**self._graph, **_who(attention)})


def _who(signal: Signal) -> dict[str, str]:
    return {names.NODE: signal.node, names.MONITOR: signal.monitor}
