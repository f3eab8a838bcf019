"""The shop's own rules: when a person must agree, and what a finished refund looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ("large", "told_of_this_refund")

LARGE = 1_000_000
"""Cents from which a refund needs a person's yes."""


def large(order: Mapping[str, Any]) -> str | None:
    """Return why a person must agree to a refund; None if nobody need."""
    if order["cents"] < LARGE:
        return None
    return f"a refund of {order['cents'] / 100:,.2f} for order {order['id']}"


def told_of_this_refund(refund: Mapping[str, Any], notice: Mapping[str, Any]) -> bool | str:
    """Say whether the customer was told of the refund that was paid, and not of another one."""
    told = notice["refund"]["id"]
    return told == refund["id"] or f"the notice names {told}, but {refund['id']} was paid"
