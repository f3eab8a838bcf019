"""The books: what the providers' own ledgers say about an order, and whether that is what a run reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop import orders
from shop.processes import Shop

__all__ = ("booked", "objections")

Entry = dict[str, Any]


def booked(shop: Shop, provider: str, order_id: str) -> list[Entry]:
    """Return what a provider has booked for an order and not taken back."""
    standing = [entry for entry in shop[provider].ledger.entries() if entry["state"] == "booked"]
    return [entry for entry in standing if _order_of(entry) == order_id]


def _order_of(entry: Entry) -> str:
    refund = entry.get("refund", entry)
    return str(refund["order_id"])


def objections(shop: Shop, order_id: str, values: Mapping[str, Any]) -> list[str]:
    """Return in what the ledgers disagree with the values of a run that met its goal.

    The order must be paid back exactly once and in full over all payment providers, and its customer told exactly
    once over all notifiers, of that payment.
    """
    owed = orders.lookup(order_id)["order"]["cents"]
    refunds = [entry for name in ("cardpay", "bankpay") for entry in booked(shop, name, order_id)]
    notices = [entry for name in ("email", "sms") for entry in booked(shop, name, order_id)]
    paid = sum(entry["cents"] for entry in refunds)
    found = []
    if len(refunds) != 1 or paid != owed:
        found.append(f"order {order_id}: {owed} cents were owed, {paid} were paid in {len(refunds)} payments")
    if [entry["id"] for entry in refunds] != [_id(values, "refund")]:
        found.append(f"order {order_id}: the run reports payment {_id(values, 'refund')}, the ledgers do not")
    if [entry["id"] for entry in notices] != [_id(values, "notice")]:
        found.append(f"order {order_id}: the run reports notice {_id(values, 'notice')}, the notifiers do not")
    if any(entry["refund"]["id"] != _id(values, "refund") for entry in notices):
        found.append(f"order {order_id}: the customer was told of another payment")
    return found


def _id(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return None if value is None else value["id"]
