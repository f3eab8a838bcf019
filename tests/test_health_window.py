"""Windows: counts and latencies that forget smoothly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.window import Figures, Window

ages = st.floats(0, 1e4)


def figures(window: Window, now: float, declared: float = 1.0) -> Figures:
    """Return the figures under the default prior."""
    return window.figures(now, declared, 20)


@given(
    waits=st.lists(st.floats(0, 100), min_size=1, max_size=30), good=st.lists(st.booleans(), min_size=30, max_size=30)
)
def test_counts_are_sums_that_fade(waits: list[float], good: list[bool]) -> None:
    """Every outcome counts for the exponential of its age, whenever the counts were brought up to date."""
    window, now = Window(30.0, 10.0), 0.0
    seen: list[tuple[float, bool]] = []
    for wait, succeeded in zip(waits, good, strict=False):
        now += wait
        seen.append((now, succeeded))
        if succeeded:
            window.succeeded(now, 0.1)
        else:
            window.failed(now, "external", 0.1)
    left = [(math.exp(-(now - at) / 30.0), succeeded) for at, succeeded in seen]
    found = figures(window, now)
    assert found.n == pytest.approx(sum(part for part, _ in left))
    assert found.ok == pytest.approx(sum(part for part, succeeded in left if succeeded))


@given(declared=st.floats(0.01, 1.0), age=ages, failures=st.integers(0, 50), successes=st.integers(0, 50))
def test_success_lies_between_what_is_declared_and_what_is_measured(
    declared: float, age: float, failures: int, successes: int
) -> None:
    """The posterior mean is the declared rate where nothing was seen, and goes back to it as what was seen fades."""
    window = Window(30.0, 10.0)
    assert figures(window, 0.0, declared).success == pytest.approx(declared)
    for _ in range(failures):
        window.failed(0.0, "external", 0.1)
    for _ in range(successes):
        window.succeeded(0.0, 0.1)
    fresh, old = figures(window, 0.0, declared).success, figures(window, age, declared).success
    assert fresh == pytest.approx((20 * declared + successes) / (20 + successes + failures))
    assert abs(old - declared) <= abs(fresh - declared) + 1e-12
    assert figures(window, 1e6, declared).success == pytest.approx(declared)


def test_latency_peaks_at_once_and_decays() -> None:
    """A slower answer counts whole, a faster one as far as time has gone by."""
    window = Window(30.0, 10.0)
    window.succeeded(0.0, 1.0)
    window.succeeded(1.0, 4.0)
    assert figures(window, 1.0).latency == 4.0
    window.succeeded(11.0, 1.0)
    assert figures(window, 11.0).latency == pytest.approx(1 + 3 * math.exp(-1))
    for at in range(12, 112):
        window.succeeded(float(at), 1.0)
    assert figures(window, 112.0).latency == pytest.approx(1.0, abs=1e-3)


def test_a_timeout_is_a_bound_on_latency() -> None:
    """An answer that did not come took at least as long as we waited; a fast failure took nobody's time."""
    window = Window(30.0, 10.0)
    window.failed(0.0, "external", 0.01)
    assert figures(window, 0.0).latency is None
    window.failed(0.0, "timeout", 30.0)
    assert figures(window, 0.0).latency == 30.0
    window.failed(1.0, "timeout", 2.0)
    assert figures(window, 1.0).latency == 30.0


def test_a_window_without_time_remembers_nothing() -> None:
    """A window of no seconds holds what happened at this very moment only."""
    window = Window(0.0, 0.0)
    window.failed(0.0, "external", 0.1)
    assert figures(window, 0.0).n == 1
    assert figures(window, 0.1).n == 0
