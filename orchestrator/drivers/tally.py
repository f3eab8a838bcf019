"""What the calls of one attempt come to: when the first of them had its turn, how many there are, what they cost."""

from __future__ import annotations

__all__ = ("Tally",)


class Tally:
    """The calls made for one attempt.

    Args:
        began: When the attempt began to wait for its turn, in seconds.
        price: The declared price of a call, in US dollars.
    """

    __slots__ = ("_open", "_paid", "began", "calls", "hedging", "price", "turn")

    def __init__(self, began: float, price: float) -> None:
        self.began = began
        self.price = price
        self.turn: float | None = None
        """When the first call was made; None while the attempt waits for its turn."""
        self.calls = 0
        self.hedging = False
        """Whether a hedge is about to be made."""
        self._open = 0
        self._paid = 0.0

    @property
    def usd(self) -> float:
        """What the calls cost, those without an answer as declared: they are made, and will be charged."""
        return self._paid + self._open * self.price

    @property
    def reserved(self) -> float:
        """What the calls cost, with the hedge that is about to be made."""
        return self.usd + self.hedging * self.price

    def waited(self, now: float) -> float:
        """Return the seconds that the attempt waited for its turn."""
        return (now if self.turn is None else self.turn) - self.began

    def made(self, at: float) -> None:
        """Count a call that is made now."""
        if self.turn is None:
            self.turn = at
        self.calls += 1
        self.hedging = False
        self._open += 1

    def settled(self, usd: float | None) -> None:
        """Say what a call cost; None: as declared."""
        self._open -= 1
        self._paid += self.price if usd is None else usd
