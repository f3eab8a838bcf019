"""Refunds over two payment providers: how each is asked to pay, to take a payment back, and what it has booked.

Paying is asked for once and never repeated from here. Taking back and looking up are safe to repeat, so they wait for
a provider that is just being started again; how long they may wait is the node's timeout in the graph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import anyio
import httpx

__all__ = ("bankpay", "bankpay_find", "bankpay_void", "cardpay", "cardpay_find", "cardpay_void")

Order = Mapping[str, Any]
Refund = dict[str, Any]

TLS = httpx.create_ssl_context(trust_env=False)
"""Reading the trusted certificates takes tens of milliseconds: once, not in every call."""

PAUSE = 0.05
"""Seconds between two tries to reach a provider that is down."""


async def cardpay(order: Order, *, idempotency_key: str) -> Refund:
    """Refund an order to the customer's card."""
    return await _pay(os.environ["CARDPAY_URL"], order, idempotency_key)


async def cardpay_void(result: Refund) -> None:
    """Take a refund to the card back."""
    await _void(os.environ["CARDPAY_URL"], result)


async def cardpay_find(idempotency_key: str) -> Refund | None:
    """Return the refund that was booked under this key; None if none was."""
    return await _find(os.environ["CARDPAY_URL"], idempotency_key)


async def bankpay(order: Order, *, idempotency_key: str) -> Refund:
    """Refund an order to the customer's bank account."""
    return await _pay(os.environ["BANKPAY_URL"], order, idempotency_key)


async def bankpay_void(result: Refund) -> None:
    """Take a refund to the bank account back."""
    await _void(os.environ["BANKPAY_URL"], result)


async def bankpay_find(idempotency_key: str) -> Refund | None:
    """Return the refund that was booked under this key; None if none was."""
    return await _find(os.environ["BANKPAY_URL"], idempotency_key)


async def _pay(url: str, order: Order, key: str) -> Refund:
    body = {"order_id": order["id"], "cents": order["cents"]}
    async with _client(url) as client:
        answer = await client.post("/refunds", json=body, headers={"Idempotency-Key": key})
    return _content(answer)


async def _void(url: str, refund: Refund) -> None:
    _content(await _patiently(url, "POST", f"/refunds/{refund['id']}/void"))


async def _find(url: str, key: str) -> Refund | None:
    answer = await _patiently(url, "GET", "/refunds", {"key": key})
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    refund = _content(answer)
    return refund if refund["state"] == "booked" else None


async def _patiently(url: str, method: str, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
    """Make a request that is safe to repeat, as often as it takes to be answered."""
    async with _client(url) as client:
        while True:
            try:
                return await client.request(method, path, params=params)
            except httpx.TransportError:
                await anyio.sleep(PAUSE)


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, verify=TLS, trust_env=False, timeout=None)


def _content(answer: httpx.Response) -> Refund:
    answer.raise_for_status()
    content: Refund = answer.json()
    return content
