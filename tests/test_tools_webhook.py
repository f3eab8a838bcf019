"""The tool `webhook` against a real receiver: signed, recognisable as a repeat, and honest about failures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from orchestrator import ToolFailed
from orchestrator.nodes.classify import classify
from tests.loopback import HttpPeer, served
from tools.webhook import send, signature

SECRET = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpPeer]:
    """Run a receiver, and tell the tool of it."""
    with served(HttpPeer(lambda exchange: exchange.reply("", 204))) as server:
        monkeypatch.setenv("WEBHOOK_URL", server.url("/hook?token=s3cret"))
        monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
        yield server


async def sent(payload: Any, key: str = "run-1:hook") -> dict[str, Any]:
    """Send a webhook at a fixed time."""
    return await send(payload, idempotency_key=key, clock=lambda: 1614265330.9)


def test_the_signature_is_the_one_of_standard_webhooks() -> None:
    """The published example of the specification has this signature."""
    secret, id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(secret, id, 1614265330, b'{"test": 2432232314}') == expected


async def test_a_receiver_can_check_what_it_gets(peer: HttpPeer) -> None:
    """Body, id, time and signature arrive, and the signature is that of exactly this body."""
    payload = {"order": "12-3", "note": "two “euros”", "lines": [1, 2.5, None]}
    result = await sent(payload)
    (asked,) = peer.asked
    id, time, signed = (asked.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    assert (result, time) == ({"id": id, "status": 204}, "1614265330")
    assert json.loads(asked.body) == payload
    assert asked.headers["content-type"] == "application/json"
    mine = hmac.new(b"a secret of the receiver", f"{id}.{time}.".encode() + asked.body, hashlib.sha256).digest()
    assert signed == f"v1,{base64.b64encode(mine).decode()}"


async def test_a_repeat_has_the_same_id_and_body(peer: HttpPeer) -> None:
    """Attempts of one node in one run are one event to the receiver; another run is another."""
    await sent({"a": 1}, "run-1:hook")
    await sent({"a": 1}, "run-1:hook")
    await sent({"a": 1}, "run-2:hook\r\nx-evil: 1")
    first, repeat, other = peer.asked
    assert (first.headers["webhook-id"], first.body) == (repeat.headers["webhook-id"], repeat.body)
    assert first.headers["idempotency-key"] == first.headers["webhook-id"] != other.headers["webhook-id"]
    assert other.headers["x-evil"] is None


@pytest.mark.parametrize(
    ("status", "transient", "happened"),
    [
        (400, False, "no"),
        (401, False, "no"),
        (410, False, "no"),
        (429, True, "no"),
        (503, True, "no"),
        (500, True, "unknown"),
        (302, False, "unknown"),
    ],
)
async def test_a_receiver_that_refuses(peer: HttpPeer, status: int, transient: bool, happened: str) -> None:
    """The run sees what the status means; a redirect is not followed, and the address is not told."""
    peer.answer = lambda exchange: exchange.reply("", status, Location="/elsewhere")
    with pytest.raises(httpx.HTTPStatusError) as caught:
        await sent({})
    failure = classify(caught.value)
    assert (failure.transient, failure.happened) == (transient, happened)
    assert "s3cret" not in failure.message
    assert len(peer.asked) == 1


async def test_an_answer_that_is_lost_is_unknown(peer: HttpPeer) -> None:
    """A receiver that took the event and died before answering may have acted on it."""
    peer.answer = lambda exchange: exchange.connection.close()
    with pytest.raises(httpx.HTTPError) as caught:
        await sent({})
    assert classify(caught.value).happened == "unknown"


@pytest.mark.parametrize("name", ["WEBHOOK_URL", "WEBHOOK_SECRET"])
async def test_nothing_is_sent_unsigned_or_nowhere(peer: HttpPeer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address or a secret the tool says which variable is missing."""
    monkeypatch.setenv(name, " ")
    with pytest.raises(ToolFailed, match=name) as caught:
        await sent({})
    assert not caught.value.transient
    assert peer.asked == []


async def test_a_secret_that_is_none_is_not_told(peer: HttpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in the secret is an error without the secret."""
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_not base64!")
    with pytest.raises(ToolFailed) as caught:
        await sent({})
    assert "not base64!" not in str(caught.value)


@pytest.mark.parametrize("payload", [object(), float("nan"), {"a": {1}}])
async def test_what_json_cannot_hold_is_a_mistake(peer: HttpPeer, payload: object) -> None:
    """A payload that cannot be written is a failure that no retry mends, before anything is sent."""
    with pytest.raises((TypeError, ValueError)) as caught:
        await sent(payload)
    failure = classify(caught.value)
    assert (failure.transient, failure.happened, peer.asked) == (False, "no", [])
