"""Bookings: how each provider is asked for one, to take it back, and what it has booked.

Booking is asked for once and never repeated from here. Taking back and looking up are safe to repeat, so they wait for
a provider that is just being started again; how long they may wait is the node's timeout in the graph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import anyio
import httpx

from agency import offers, trips

__all__ = ("airjet", "cancel", "citycar", "find", "grandhotel", "hostel", "shuttle", "skyways")

Booking = dict[str, Any]

TLS = httpx.create_ssl_context(trust_env=False)
"""Reading the trusted certificates takes tens of milliseconds: once, not in every call."""

PAUSE = 0.05
"""Seconds between two tries to reach a provider that is down."""


async def skyways(trip_id: str, *, idempotency_key: str) -> Booking:
    """Book a flight that lands on the day it leaves."""
    return await _book("skyways", offers.seat(trips.find(trip_id), "skyways"), idempotency_key)


async def airjet(trip_id: str, *, idempotency_key: str) -> Booking:
    """Book a flight that lands on the next day."""
    return await _book("airjet", offers.seat(trips.find(trip_id), "airjet"), idempotency_key)


async def grandhotel(trip_id: str, flight: Booking, *, idempotency_key: str) -> Booking:
    """Book a room from the day on which the flight lands."""
    return await _book("grandhotel", offers.room(trips.find(trip_id), "grandhotel", flight), idempotency_key)


async def hostel(trip_id: str, flight: Booking, *, idempotency_key: str) -> Booking:
    """Book a bed from the day on which the flight lands."""
    return await _book("hostel", offers.room(trips.find(trip_id), "hostel", flight), idempotency_key)


async def citycar(trip_id: str, flight: Booking, hotel: Booking, *, idempotency_key: str) -> Booking:
    """Book a car from the airport to the hotel."""
    return await _book("citycar", offers.ride(trips.find(trip_id), "citycar", flight, hotel), idempotency_key)


async def shuttle(trip_id: str, flight: Booking, hotel: Booking, *, idempotency_key: str) -> Booking:
    """Book a seat in the bus from the airport to the hotel."""
    return await _book("shuttle", offers.ride(trips.find(trip_id), "shuttle", flight, hotel), idempotency_key)


async def cancel(result: Booking) -> None:
    """Take a booking back; its id begins with the provider's name."""
    provider, _, _ = result["id"].rpartition("-")
    _content(await _patiently(provider, "POST", f"/bookings/{result['id']}/void"))


async def find(idempotency_key: str) -> Booking | None:
    """Return what was booked under this key, which ends with the node's name; None if nothing was."""
    _, _, provider = idempotency_key.rpartition(":")
    answer = await _patiently(provider, "GET", "/bookings", {"key": idempotency_key})
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    booking = _content(answer)
    return booking if booking["state"] == "booked" else None


async def _book(provider: str, offer: offers.Offer, key: str) -> Booking:
    async with _client(provider) as client:
        return _content(await client.post("/bookings", json=offer, headers={"Idempotency-Key": key}))


async def _patiently(provider: str, method: str, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
    """Make a request that is safe to repeat, as often as it takes to be answered."""
    async with _client(provider) as client:
        while True:
            try:
                return await client.request(method, path, params=params)
            except httpx.TransportError:
                await anyio.sleep(PAUSE)


def _client(provider: str) -> httpx.AsyncClient:
    url = os.environ[f"{provider.upper()}_URL"]
    return httpx.AsyncClient(base_url=url, verify=TLS, trust_env=False, timeout=None)


def _content(answer: httpx.Response) -> Booking:
    answer.raise_for_status()
    content: Booking = answer.json()
    return content
