"""What the bureau does with a rate."""

from __future__ import annotations

from typing import Any

__all__ = ("change",)


def change(euros: float, rate: dict[str, Any]) -> str:
    """Return what somebody gets for their euros."""
    return f"{euros * rate['rate']:.2f} {rate['currency']}"
