"""The agency as it runs: its database, and eight providers in processes of their own."""

from __future__ import annotations

from pathlib import Path

from shared.processes import Place

from agency import trips

__all__ = ("PROVIDERS", "Agency")

PROVIDERS = {
    "flight": ("skyways", "airjet"),
    "hotel": ("grandhotel", "hostel"),
    "car": ("citycar", "shuttle"),
    "notice": ("email", "sms"),
}
"""Who sells what."""


class Agency(Place):
    """The database and all providers, while the context lasts."""

    def __init__(self) -> None:
        sold = {name: "messages" if what == "notice" else "bookings" for what in PROVIDERS for name in PROVIDERS[what]}
        super().__init__("travel", {name: ("shared.providers", name, sold[name]) for name in sold})

    def furnish(self, folder: Path) -> dict[str, str]:
        """Make the database."""
        trips.create(folder / "trips.db")
        return {"AGENCY_DB": str(folder / "trips.db")}
