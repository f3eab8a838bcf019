"""Retry budgets: gRPC A6."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.budget import RetryBudget


@given(outcomes=st.lists(st.booleans(), max_size=300), size=st.floats(0.5, 100), refund=st.floats(0, 5))
def test_a_budget_is_never_negative_nor_overfull(outcomes: list[bool], size: float, refund: float) -> None:
    """Whatever happens, the tokens lie between none and full, and retries are for more than half of them."""
    budget = RetryBudget(size, refund, size)
    for succeeded in outcomes:
        if succeeded:
            budget.succeeded()
        else:
            budget.failed()
        assert 0.0 <= budget.tokens <= size
        assert budget.above_half == (budget.tokens > size / 2)


def test_ten_successes_pay_for_one_retry() -> None:
    """With the default figures half of ten tokens is too little, and a tenth comes back with each success."""
    budget = RetryBudget(10.0, 0.1, 10.0)
    for _ in range(5):
        budget.failed()
    assert not budget.above_half
    budget.succeeded()
    assert budget.above_half
    budget.failed()
    for _ in range(9):
        budget.succeeded()
    assert not budget.above_half
    budget.succeeded()
    budget.succeeded()
    assert budget.above_half
