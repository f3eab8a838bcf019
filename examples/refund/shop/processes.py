"""The shop as it runs: its order database, and four providers in processes of their own."""

from __future__ import annotations

from pathlib import Path

from shared.processes import Place

from shop import orders

__all__ = ("PROVIDERS", "Shop")

PROVIDERS = {"cardpay": "refunds", "bankpay": "refunds", "email": "messages", "sms": "messages"}
"""What each provider sells."""


class Shop(Place):
    """The order database and all providers, while the context lasts."""

    def __init__(self) -> None:
        super().__init__("refund", {name: ("shared.providers", name, sold) for name, sold in PROVIDERS.items()})

    def furnish(self, folder: Path) -> dict[str, str]:
        """Make the order database."""
        orders.create(folder / "orders.db")
        return {"SHOP_DB": str(folder / "orders.db")}
