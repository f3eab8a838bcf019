"""What providers offer: the agency's timetable and price lists. Money is in cents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from agency.trips import Trip

__all__ = ("ride", "room", "seat", "worst_case")

Offer = dict[str, Any]

SEATS = {"skyways": (18_000, 0), "airjet": (21_000, 1)}
"""Price of a flight, and how many days after leaving it lands: airjet flies over midnight."""
ROOMS = {"grandhotel": (9_000, "1 Harbour Square"), "hostel": (3_500, "22 Hill Road")}
"""Price of a night, and where that is."""
RIDES = {"citycar": 4_000, "shuttle": 2_500}
"""Price of a day."""


def seat(trip: Trip, airline: str) -> Offer:
    """Return a flight: which day it lands decides about everything else."""
    cents, days = SEATS[airline]
    return {"trip": trip.id, "cents": cents, "to": trip.city, "lands": _day(trip.leaves + timedelta(days=days))}


def room(trip: Trip, hotel: str, flight: Mapping[str, Any]) -> Offer:
    """Return a room from the day on which the flight lands."""
    cents, address = ROOMS[hotel]
    nights = _days(flight, trip)
    return {"trip": trip.id, "cents": cents * nights, "from": flight["lands"], "nights": nights, "address": address}


def ride(trip: Trip, company: str, flight: Mapping[str, Any], hotel: Mapping[str, Any]) -> Offer:
    """Return a ride from the airport, when the flight lands, to the hotel."""
    cents = RIDES[company] * _days(flight, trip)
    return {"trip": trip.id, "cents": cents, "from": flight["lands"], "to": hotel["address"]}


def worst_case(trip: Trip) -> int:
    """Return what a trip costs if every stage is booked with the dearest provider."""
    seats, rooms = (max(cents for cents, _ in prices.values()) for prices in (SEATS, ROOMS))
    return seats + (rooms + max(RIDES.values())) * trip.nights


def _days(flight: Mapping[str, Any], trip: Trip) -> int:
    return (trip.returns - date.fromisoformat(flight["lands"])).days


def _day(day: date) -> str:
    return day.isoformat()
