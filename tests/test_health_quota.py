"""Quotas: how long a rate limit holds, and what share of traffic is learned from it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.quota import LEAST, LONGEST, Quota


def quota() -> Quota:
    """Return a quota with the default figures."""
    return Quota(backoff=0.2, max_backoff=5.0, recovery=30.0, memory=30.0)


def test_a_named_wait_is_kept() -> None:
    """Retry-After is obeyed, also 0; a shorter one does not shorten a longer one; a slip is bounded."""
    each = quota()
    each.refused(0.0, 0.0, 12.0, 0.5)
    each.refused(1.0, 0.5, 2.0, 0.5)
    assert each.not_before == 12.0
    each.refused(20.0, 19.0, 0.0, 0.5)
    assert each.not_before == 20.0
    each.refused(30.0, 29.0, 1e12, 0.5)
    assert each.not_before == 30.0 + LONGEST


@pytest.mark.parametrize("unreadable", [None, -1.0, float("nan"), float("inf")])
def test_a_wait_that_nobody_names_grows(unreadable: float | None) -> None:
    """Without a usable Retry-After waits double up to the longest backoff, half of each being jitter."""
    each, now, waits = quota(), 0.0, []
    for _ in range(8):
        each.refused(now, now, unreadable, 0.0)
        waits.append(each.not_before - now)
        now = each.not_before + 0.01
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5], abs=1e-6)
    each.passed(now)
    each.refused(now + 1, now + 1, unreadable, 1.0)
    assert each.not_before == pytest.approx(now + 1 + 0.2, abs=1e-6)


def test_a_burst_counts_once() -> None:
    """Calls that were under way when the first was refused teach nothing new."""
    one, many = quota(), quota()
    one.refused(10.0, 9.0, 5.0, 0.0)
    for _ in range(50):
        many.refused(10.0, 9.0, 5.0, 0.0)
    assert (many.cap, many.burst) == (one.cap, one.burst) == (0.5, 1)


def test_the_learned_share_falls_by_half_and_rises_slowly() -> None:
    """Bursts halve it down to a tenth; without any it rises to the whole in `recovery` seconds, from the wait's end."""
    each = quota()
    shares = []
    for burst in range(6):
        each.refused(float(burst), float(burst), 0.0, 0.0)
        shares.append(each.share(float(burst)))
    assert shares[0] == 0.5
    assert shares[-1] == LEAST
    assert all(later < earlier or later == LEAST for earlier, later in pairwise(shares))
    assert each.share(5.0 + 15.0) == pytest.approx(0.55)
    assert each.share(5.0 + 30.0) == 1.0
    assert each.whole_at == pytest.approx(35.0)


def test_a_success_ends_the_wait_that_it_began_after() -> None:
    """A call from before the refusal proves nothing; one that began after it does."""
    each = quota()
    each.refused(10.0, 9.0, 60.0, 0.0)
    each.passed(9.5)
    assert each.not_before == 70.0
    each.passed(12.0)
    assert each.not_before == 12.0


def test_little_headroom_lowers_the_share_before_the_first_refusal() -> None:
    """What is left of a limit counts below a fifth, and is forgotten as it grows old."""
    each = quota()
    each.told(0.0, 0.5)
    assert each.share(0.0) == 1.0
    each.told(0.0, 0.05)
    assert each.share(0.0) == pytest.approx(0.25)
    assert 0.25 < each.share(10.0) < each.share(60.0) < 1.0
    each.told(61.0, 0.0)
    assert each.share(61.0) == LEAST


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["refused", "passed", "told"]), st.floats(0, 100), st.floats(-2, 3)), max_size=30
    )
)
def test_shares_stay_in_bounds(steps: list[tuple[str, float, float]]) -> None:
    """Whatever is refused or told, the share lies between a tenth and the whole, and time brings back the whole."""
    each, now = quota(), 0.0
    for what, wait, figure in steps:
        now += wait
        if what == "refused":
            each.refused(now, now - 0.5, figure, 0.3)
        elif what == "passed":
            each.passed(now - 0.5)
        else:
            each.told(now, figure)
        assert LEAST <= each.share(now) <= 1.0
    assert each.share(now + 1e4) == pytest.approx(1.0)
