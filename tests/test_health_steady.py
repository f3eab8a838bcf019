"""Times on a grid: what was the same moment stays the same moment, on another clock and after a restart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health import Circuits, Outcome
from orchestrator.health.steady import FAR, TICK, SteadyClock, on_grid, time_of
from tests.circuits import Ward, circuit, substitutes

times = st.floats(-1e8, 1e8)
readings = st.integers(-(10**10), 10**10).map(lambda milliseconds: milliseconds / 1000)
"""Of a clock, seldom on the grid; none of them is half-way between two ticks, where a float may be on either side."""


def ticks(data: object) -> bool:
    """Tell whether every number in some data is a whole number of ticks."""
    if isinstance(data, dict):
        return all(map(ticks, data.values()))
    if isinstance(data, list):
        return all(map(ticks, data))
    return not isinstance(data, float) or data % TICK == 0


@given(time=times, seconds=st.floats(0, 1e8))
def test_sums_on_the_grid_are_exact(time: float, seconds: float) -> None:
    """An age gives the time back that it was taken of, and what has no place on the grid is left alone."""
    now, age = on_grid(time), on_grid(seconds)
    assert abs(now - time) <= TICK / 2
    assert now - time_of(age, now) == age
    assert time_of(age, now) + age == now
    assert on_grid(float("inf")) == float("inf")
    assert on_grid(2 * FAR + 2) == 2 * FAR + 2


@given(seen=st.lists(times, min_size=2, max_size=30))
def test_no_time_comes_again(seen: list[float]) -> None:
    """A clock that is put back, however often and far, is no earlier by as little as a rounding."""
    read = iter([seen[0], *seen])
    clock = SteadyClock(lambda: next(read))
    passed = [clock.now() for _ in seen]
    assert passed == sorted(passed)


def test_what_is_over_stays_over_when_the_clock_is_put_back() -> None:
    """A quota that a call has ended does not come back."""
    ward = Ward(start=1903.748129708366)
    ward.saw("a1", "rate_limited", retry_after=5.0)
    ward.saw("a1", "ok")
    for _ in range(3):
        ward.time -= 3600.0
        assert ward.circuits.blocked("a1") is None


@given(start=readings, other=readings, cooling=st.booleans(), seconds=st.integers(0, 60_000))
def test_who_is_restarted_judges_a_call_like_who_is_not(
    start: float, other: float, cooling: bool, seconds: int
) -> None:
    """A call that begins when its circuit opens, or may be probed, is news of it in every process."""
    ward = Ward(start=start)
    ward.open("a1")
    if cooling:
        ward.time += ward.circuits.open_for("a1")
    after = ward.restarted(start=other)
    for each in (ward, after):
        # What a driver measures: the difference of two readings, which are not on the grid.
        began = each.time
        each.time += seconds / 1000
        each.circuits.record(Outcome("a1", "ok", each.time, each.time - began))
        assert each.circuits.state("a1") == "closed"


@given(start=st.floats(0, 1e7), other=st.floats(-1e7, 1e7), age=st.floats(0, 100))
def test_a_restart_changes_no_bit(start: float, other: float, age: float) -> None:
    """What is saved of a process that took over is what is saved of one that went on."""
    ward = Ward(start=on_grid(start))
    ward.saw("a1", "ok", seconds=0.3)
    ward.saw("a2", "rate_limited", retry_after=7.7, headroom=0.1)
    ward.open("a1")
    ward.time += ward.circuits.open_for("a1")
    ward.circuits.lease("a1", "run", seconds=3.3)
    after = ward.restarted(age=on_grid(age), start=other)
    ward.time += on_grid(age)
    assert after.circuits.snapshot() == ward.circuits.snapshot()


@given(start=st.floats(0, 1e7))
def test_a_word_holds_no_longer_than_the_longest_cooldown_by_a_rounding(start: float) -> None:
    """The time that is left of an outage is never more than the time that it was to take."""
    ward = Ward(policy=circuit(max_cooldown="40s"), start=start)
    ward.circuits.hear("a1", "open", 1000.0, "another process says: down")
    assert ward.circuits.open_for("a1") == 40.0


def test_ages_of_other_roundings_are_put_on_the_grid() -> None:
    """A snapshot whose ages are plain floats is as good as one whose ages are not."""
    ward = Ward(start=100.1)
    ward.half_open("a1")
    ward.circuits.lease("a1", "run", seconds=3.3)
    ward.saw("a2", "unauthorised", "rate_limited", retry_after=7.7, headroom=0.1)
    ward.circuits.hear("a2", "open", 2.2, "another process says: down")
    plain = json.loads(json.dumps(ward.circuits.snapshot()), parse_float=lambda text: float(text) + 1e-8)
    after = Circuits(ward.graph, ward.policy, clock=lambda: 7.7)
    after.restore(plain, age=0.3)
    saved = after.snapshot()["nodes"]
    for node in saved.values():
        for counted in ("ok", "external", "timeout", "measured_ok", "measured", "latency"):
            del node["window"][counted]
        del node["quota"]["cap"], node["quota"]["headroom"], node["quota"]["wait"]
        assert ticks(node)


@pytest.mark.parametrize("what", ["open", "lease", "unauthorised", "quota", "slow start", "learned share"])
@given(start=st.floats(0, 1e7))
def test_time_changes_something_exactly_when_it_is_due(what: str, start: float) -> None:
    """Who looks again when `next_change` says finds it changed, and need not look twice."""
    policy = circuit(cooldown="100ms", max_cooldown="200ms", slow_start="200ms")
    ward = Ward(substitutes(2), policy, start)
    if what == "open":
        ward.open("a1")
    elif what == "lease":
        ward.half_open("a1")
        assert ward.circuits.lease("a1", "run", seconds=0.7)
        assert not ward.circuits.lease("a1", "other", seconds=0.7)
    elif what == "unauthorised":
        ward.saw("a1", "unauthorised")
    elif what == "slow start":
        ward.half_open("a1")
        ward.saw("a1", "ok")
    else:
        ward.saw("a1", "rate_limited", retry_after=0.7)
    if what == "learned share":
        ward.saw("a1", "ok")
    due = ward.circuits.next_change()
    assert due is not None
    ward.time = due
    if what == "lease":
        assert ward.circuits.lease("a1", "other", seconds=0.7)
    else:
        assert ward.circuits.blocked("a1") is None
    assert ward.circuits.share("a1") == (0.5 if what == "quota" else 1.0)
