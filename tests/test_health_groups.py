"""Groups of substitutes: who can be spared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.groups import Groups, permitted
from tests.circuits import substitutes


@given(size=st.integers(1, 200), share=st.floats(0, 1))
def test_the_share_is_rounded_down_but_a_pair_may_lose_one(size: int, share: float) -> None:
    """Never more than the share, except one of at least two; a lone node never, and nobody for a share of nothing."""
    spared = permitted(size, share)
    if size == 1 or share == 0:
        assert spared == 0
    else:
        assert spared == 1 or spared <= share * size + 1e-6
        assert 1 <= spared <= size
        assert spared + 1 > share * size - 1e-6


def test_a_share_is_what_it_is_on_paper() -> None:
    """29 % of a hundred are 29, although the product of the floats is a little less."""
    assert 0.29 * 100 < 29
    assert permitted(100, 0.29) == 29


def test_who_is_out_counts_once() -> None:
    """Taking a node out twice takes one place, and it has its own place already."""
    groups = Groups(substitutes(2))
    groups.take_out("a1")
    groups.take_out("a1")
    assert groups.room("a1", 0.5)
    assert not groups.room("a2", 0.5)
    groups.put_back("a1")
    groups.put_back("a1")
    assert groups.room("a2", 0.5)


def test_a_group_is_dark_when_all_of_it_has_failed_since_anything_worked() -> None:
    """Each node as often as opens a circuit; one success anywhere ends it; a lone node is no group."""
    groups = Groups(substitutes(2, 1))
    for _ in range(20):
        groups.failed("a1", 10.0)
        groups.failed("b1", 10.0)
    assert groups.dark(5, 0.0) == ()
    for _ in range(4):
        groups.failed("a2", 10.0)
    assert groups.dark(5, 0.0) == ()
    groups.failed("a2", 10.0)
    assert groups.dark(5, 0.0) == ("value-a",)
    assert groups.dark(5, 10.1) == ()  # too long ago
    groups.succeeded("a2")
    groups.failed("a1", 10.0)
    assert groups.dark(5, 0.0) == ()
