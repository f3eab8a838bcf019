"""The desk as it runs: its records, and four classifiers in processes of their own."""

from __future__ import annotations

from pathlib import Path

from shared.processes import Place

from desk import records
from desk.classifiers import CLASSIFIERS

__all__ = ("Desk",)


class Desk(Place):
    """The records and all classifiers, while the context lasts."""

    def __init__(self) -> None:
        super().__init__("moderation", {name: ("desk.classifiers", name) for name in CLASSIFIERS})

    def furnish(self, folder: Path) -> dict[str, str]:
        """Make the records."""
        records.create(folder / "desk.db")
        return {"DESK_DB": str(folder / "desk.db")}
