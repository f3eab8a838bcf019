"""Retry budgets: how many retries a group of substitutes is worth (gRPC A6).

A failure takes a token, a success gives a part of one back, and retries are for groups whose budget is above half.
First attempts are never held back, whatever is left.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("RetryBudget",)


@dataclass(slots=True)
class RetryBudget:
    """The tokens of one group.

    Args:
        size: Tokens of a full budget.
        refund: What a success gives back.
        tokens: What is left.
    """

    size: float
    refund: float
    tokens: float

    @property
    def above_half(self) -> bool:
        """Whether a retry may be paid from it."""
        return self.tokens > self.size / 2

    def failed(self) -> None:
        """Take one token, if there is one."""
        self.tokens = max(self.tokens - 1.0, 0.0)

    def succeeded(self) -> None:
        """Give a part of a token back, up to the full budget."""
        self.tokens = min(self.tokens + self.refund, self.size)
