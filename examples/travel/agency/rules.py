"""The agency's own rules: when a person must agree, and what a trip that fits together looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agency import offers, trips

__all__ = ("fits_together", "over_budget")


def over_budget(trip_id: str) -> str | None:
    """Return why a person must agree before anything is booked; None if nobody need."""
    trip = trips.find(trip_id)
    most = offers.worst_case(trip)
    if most <= trip.budget:
        return None
    return f"{trip.id} may cost up to {most / 100:,.2f}, and {trip.traveller}'s budget is {trip.budget / 100:,.2f}"


def fits_together(flight: Mapping[str, Any], hotel: Mapping[str, Any], car: Mapping[str, Any]) -> bool | str:
    """Say whether room and car wait for the flight that was booked, and the car goes to the hotel that was."""
    if not flight["lands"] == hotel["from"] == car["from"]:
        return f"the flight lands on {flight['lands']}, the room is from {hotel['from']}, the car from {car['from']}"
    return car["to"] == hotel["address"] or f"the car goes to {car['to']}, the hotel is at {hotel['address']}"
