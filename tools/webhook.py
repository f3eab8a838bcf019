"""Send a webhook: one POST of JSON, signed, with an id by which its receiver knows a repeat.

It speaks Standard Webhooks (``webhook-id``, ``webhook-timestamp``, ``webhook-signature``), for which receivers have
libraries in most languages. The id is made from the run's idempotency key: every attempt of one node in one run has
the same. Where to send, and the secret, come from the environment, so that no data can choose them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from typing import Any

import httpx

from orchestrator import ToolFailed

__all__ = ("send", "signature")

# Settings. This file is yours: change them here.
URL = "WEBHOOK_URL"
"""The environment variable that says where to send."""
SECRET = "WEBHOOK_SECRET"
"""The environment variable with the secret shared with the receiver: ``whsec_`` and base64, or any text."""
PATIENCE = 5.0
"""Seconds to connect, and to wait for a piece of the answer; the node's `timeout` bounds the whole."""


async def send(payload: Any, *, idempotency_key: str, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Send *payload* as JSON and return ``{"id", "status"}``. Redirects are not followed.

    Args:
        payload: Anything that JSON can hold.
        idempotency_key: Supplied by the run.
        clock: Returns Unix time; a receiver refuses what was signed long ago.

    Raises:
        ToolFailed: The environment does not say where to send; another try would not help.
        httpx.HTTPError: The receiver did not answer, or with an error; the run sees whether another try may help.
    """
    url, secret = _setting(URL), _setting(SECRET)
    body = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    # A digest: a key may hold characters that a header, or the signed text, could not.
    id = "msg_" + hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]
    seconds = int(clock())
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": id,
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(secret, id, seconds, body),
    }
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.post(url, content=body, headers=headers)
    if not answer.is_success:
        # The address may hold a token of its own: it is left out.
        message = f"the receiver answered {answer.status_code} {answer.reason_phrase}".rstrip()
        raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
    return {"id": id, "status": answer.status_code}


def signature(secret: str, id: str, seconds: int, body: bytes) -> str:
    """Return the signature of a webhook: ``v1,`` and the HMAC-SHA-256 of id, time and body, as base64."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ToolFailed(f"{SECRET} is no base64 after whsec_") from None
    signed = b".".join([id.encode(), str(seconds).encode(), body])
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _setting(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ToolFailed(f"set the environment variable {name}")
    return value
