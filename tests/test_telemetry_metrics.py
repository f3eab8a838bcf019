"""Health as metrics: what an application's SDK collects, and nothing without one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from orchestrator.health import Outcome, Signal
from orchestrator.health.circuit import State
from orchestrator.health.rows import HealthRow
from orchestrator.telemetry.metrics import HealthMetrics


def row(node: str, state: State) -> HealthRow:
    """Return a row of which only the state matters."""
    return HealthRow(node, state, 0, 0, 1.0, None, 0.0, None, None, (), 1.0, 1.0)


class Collected:
    """Metrics with an SDK that collects them in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.metrics = HealthMetrics("refund", self.provider.get_meter("orchestrator"))

    def points(self, name: str) -> dict[tuple[Any, ...], float]:
        """Return the values of a metric by the values of its attributes, in order of their names."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found: list[Any] = [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return {tuple(value for _, value in sorted(dict(point.attributes).items())): point.value for point in found}


@pytest.fixture
def collected() -> Any:
    """Give metrics that are collected."""
    collected = Collected()
    yield collected
    collected.provider.shutdown()


def test_the_state_of_every_circuit(collected: Collected) -> None:
    """Each node has a figure, which stands in every collection and moves with its circuit."""
    moves: list[tuple[State, int]] = [("closed", 0), ("open", 2), ("half_open", 1), ("closed", 0)]
    for state, figure in moves:
        collected.metrics.observe([row("stripe", state), row("adyen", "closed")], None)
        for _ in range(2):
            points = collected.points("orchestrator.circuit.state")
            assert points == {("refund", "stripe"): figure, ("refund", "adyen"): 0}


def test_attempts_are_counted_by_evidence(collected: Collected) -> None:
    """Attempts and probes are told apart, and every kind of evidence is."""
    for evidence, probe, times in (("ok", False, 3), ("ok", True, 2), ("timeout", False, 1)):
        for _ in range(times):
            collected.metrics.record(Outcome("stripe", evidence, 0.0, probe=probe))  # type: ignore[arg-type]
    assert collected.points("orchestrator.health.attempts") == {
        ("ok", "refund", "stripe", False): 3,
        ("ok", "refund", "stripe", True): 2,
        ("timeout", "refund", "stripe", False): 1,
    }


def test_attention_moves_from_one_signal_to_another(collected: Collected) -> None:
    """The signal that takes attention has its score, and 0 as soon as another one or none does."""

    def now(attention: Signal | None) -> dict[tuple[Any, ...], float]:
        collected.metrics.observe([], attention)
        return collected.points("orchestrator.health.attention")

    assert now(None) == {}
    assert now(Signal("latency", "stripe", 0.4, "slow")) == {("refund", "latency", "stripe"): 0.4}
    assert now(Signal("latency", "stripe", 0.6, "slower")) == {("refund", "latency", "stripe"): 0.6}
    both = {("refund", "latency", "stripe"): 0.0, ("refund", "outcomes", "adyen"): 0.9}
    assert now(Signal("outcomes", "adyen", 0.9, "down")) == both
    assert set(now(None).values()) == {0.0}


def test_two_graphs_share_one_meter(collected: Collected) -> None:
    """A second orchestrator of the process adds to the same instruments and takes nothing from the first."""
    other = HealthMetrics("travel", collected.provider.get_meter("orchestrator"))
    collected.metrics.observe([row("a", "open")], None)
    other.observe([row("a", "closed")], None)
    assert collected.points("orchestrator.circuit.state") == {("refund", "a"): 2, ("travel", "a"): 0}


def test_without_an_sdk_nothing_is_loaded_or_measured() -> None:
    """The API alone takes everything and does nothing; no SDK is imported for it."""
    program = (
        "import sys\nfrom orchestrator.health import Outcome\n"
        "from orchestrator.telemetry.metrics import HealthMetrics\n"
        "metrics = HealthMetrics('g')\nmetrics.record(Outcome('a', 'ok', 0.0))\nmetrics.observe((), None)\n"
        "print('opentelemetry.sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
