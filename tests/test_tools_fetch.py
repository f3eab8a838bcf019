"""The tool `fetch` against a real server: its limits hold, and nothing that is not public is asked."""

from __future__ import annotations

import gzip
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import httpx
import pytest

from orchestrator import ToolFailed
from orchestrator.nodes.classify import classify
from tests.loopback import CERTIFICATE, HttpPeer, served
from tools import fetch as module
from tools.fetch import fetch

HERE = ("127.0.0.0/8", "::1")
PAGE = "<!doctype html><p>Refunds take thirty days.</p>"


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    """Run a server that answers with a page, until a test says otherwise."""
    with served(HttpPeer(lambda exchange: exchange.reply(PAGE, Content_Type="text/html; charset=utf-8"))) as server:
        yield server


async def refused(url: str, **limits: Any) -> ToolFailed:
    """Return why a page is not taken; no retry would help."""
    with pytest.raises(ToolFailed) as caught:
        await fetch(url, **{"private": HERE, **limits})
    assert (caught.value.transient, caught.value.happened) == (False, "no")
    return caught.value


async def test_a_page(peer: HttpPeer) -> None:
    """A page comes with its URL, status, type and text; the request names the host and who asks."""
    url = peer.url("/fees?a=1#top")
    assert await fetch(url, private=HERE) == {
        "url": url.partition("#")[0],
        "status": 200,
        "type": "text/html",
        "text": PAGE,
    }
    (asked,) = peer.asked
    assert asked.path == "/fees?a=1"
    assert asked.headers["host"] == f"localhost:{peer.server_port}"
    assert asked.headers["user-agent"] == "orchestrator-fetch/1"


# ------------------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"])
async def test_this_machine_is_not_asked(peer: HttpPeer, host: str) -> None:
    """By default nothing on this machine is asked, however its address is written."""
    assert "is not public" in str(await refused(peer.url(host=host), private=()))
    assert peer.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.1.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:a00:1::", False),
    ],
)
async def test_which_addresses_are_public(monkeypatch: pytest.MonkeyPatch, address: str, public: bool) -> None:
    """Private, local, shared, reserved and multicast addresses are not, nor IPv6 ones that stand for such."""

    async def found(host: object, port: object, **more: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    monkeypatch.setattr(anyio, "getaddrinfo", found)
    url = httpx.URL("https://example.com/")
    if public:
        assert await module._addresses(url, ()) == [address]
    else:
        with pytest.raises(ToolFailed, match=r"example\.com is not public"):
            await module._addresses(url, ())


async def test_the_address_that_was_checked_is_the_one_that_is_asked(
    peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up once: a second look-up could give another address (DNS rebinding)."""
    looked_up = []

    async def found(host: str, port: object, **more: object) -> list[tuple[Any, ...]]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(anyio, "getaddrinfo", found)
    # A name that does not exist: only the address that was handed out can be asked.
    page = await fetch(peer.url(host="shop.invalid"), private=HERE)
    assert page["text"] == PAGE
    assert looked_up == ["shop.invalid"]
    assert peer.asked[0].headers["host"] == f"shop.invalid:{peer.server_port}"


async def test_the_next_address_is_asked_where_one_does_not_answer(
    peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several addresses of one host the first that answers is taken; those that are not public are left out."""

    async def found(host: str, port: object, **more: object) -> list[tuple[Any, ...]]:
        addresses = ("10.0.0.1", "127.0.0.2", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", found)
    assert (await fetch(peer.url(host="shop.invalid"), private=HERE))["text"] == PAGE


async def test_a_redirect_is_checked_too(peer: HttpPeer) -> None:
    """A page that may be asked cannot lead to one that may not."""
    peer.answer = lambda exchange: exchange.reply("", 302, Location="http://169.254.169.254/latest/meta-data/")
    assert "169.254.169.254 is not public" in str(await refused(peer.url()))


# -------------------------------------------------------------------------------------------------------------- request


@pytest.mark.parametrize(
    "url",
    ["ftp://localhost/", "file:///etc/passwd", "/fees", "", "http://", "javascript:x", "http://[::1", "http://a:b/"],
)
async def test_other_schemes_are_refused(url: str) -> None:
    """Only http and https with a host are fetched."""
    await refused(url)


async def test_credentials_are_refused_and_not_told(peer: HttpPeer) -> None:
    """A URL with a password is refused, and the error does not repeat it."""
    error = await refused(peer.url(host="user:secret@localhost"))
    assert "secret" not in str(error)


async def test_redirects_are_followed_up_to_a_limit(peer: HttpPeer) -> None:
    """Relative and absolute ones are followed, the last URL is told, and a loop ends."""

    def answer(exchange: Any) -> None:
        steps = int(exchange.path.rpartition("/")[2])
        if steps == 0:
            exchange.reply(PAGE, Content_Type="text/html")
        else:
            exchange.reply("", 302, Location=f"{steps - 1}" if steps % 2 else peer.url(f"/a/{steps - 1}"))

    peer.answer = answer
    assert (await fetch(peer.url("/a/5"), private=HERE))["url"] == peer.url("/a/0")
    assert "more than 5 redirects" in str(await refused(peer.url("/a/6")))


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/pdf", "textual/x", ""])
async def test_what_is_no_text_is_refused(peer: HttpPeer, kind: str) -> None:
    """The type is looked at before anything is read."""
    peer.answer = lambda exchange: exchange.reply("x", **({"Content_Type": kind} if kind else {}))
    assert "not taken" in str(await refused(peer.url()))


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/ld+json", "image/svg+xml; q=1"])
async def test_what_is_text_is_taken(peer: HttpPeer, kind: str) -> None:
    """Text, JSON and XML, also where they are part of another type."""
    peer.answer = lambda exchange: exchange.reply("x", Content_Type=kind)
    assert (await fetch(peer.url(), private=HERE))["type"] == kind.partition(";")[0]


@pytest.mark.parametrize(("size", "taken"), [(1000, True), (1001, False)])
@pytest.mark.parametrize("pack", [None, gzip.compress, zlib.compress], ids=["plain", "gzip", "deflate"])
async def test_the_size_is_bounded_unpacked(
    peer: HttpPeer, size: int, taken: bool, pack: Callable[[bytes], bytes] | None
) -> None:
    """The limit holds for what comes out of a packed page."""
    body = b"x" * size
    headers = {"Content_Type": "text/plain"}
    if pack is not None:
        body, headers["Content_Encoding"] = pack(body), "gzip" if pack is gzip.compress else "deflate"
    peer.answer = lambda exchange: exchange.reply(body, **headers)
    if taken:
        assert (await fetch(peer.url(), private=HERE, max_bytes=1000))["text"] == "x" * size
    else:
        assert "more than 1000 bytes" in str(await refused(peer.url(), max_bytes=1000))


async def test_a_small_answer_does_not_become_a_large_one(peer: HttpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed page of a hundred megabytes is never held: no more than the limit is ever unpacked."""
    largest = 0
    unpack = zlib.decompressobj

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._inner = unpack(wbits)

        def decompress(self, piece: bytes, limit: int) -> bytes:
            nonlocal largest
            unpacked = self._inner.decompress(piece, limit)
            largest = max(largest, len(unpacked))
            return unpacked

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    bomb = gzip.compress(bytes(100_000_000), 9)
    peer.answer = lambda exchange: exchange.reply(bomb, Content_Type="text/plain", Content_Encoding="gzip")
    await refused(peer.url(), max_bytes=5000)
    assert 0 < largest <= 5001


@pytest.mark.parametrize("body", [gzip.compress(b"x" * 5000)[:-20], b"no gzip at all"], ids=["half", "none"])
async def test_a_page_that_ends_early_is_worth_another_try(peer: HttpPeer, body: bytes) -> None:
    """Half a packed page is no page."""
    peer.answer = lambda exchange: exchange.reply(body, Content_Type="text/plain", Content_Encoding="gzip")
    with pytest.raises(ToolFailed) as caught:
        await fetch(peer.url(), private=HERE)
    assert caught.value.transient


@pytest.mark.parametrize(
    ("status", "type", "transient"),
    [(404, "http_4xx", False), (403, "unauthorised", False), (429, "rate_limited", True), (503, "http_5xx", True)],
)
async def test_an_error_page_is_no_page(peer: HttpPeer, status: int, type: str, transient: bool) -> None:
    """The run sees the status, and how long a limit lasts; the message tells the host and not its address."""
    peer.answer = lambda exchange: exchange.reply("no", status, Content_Type="text/html", Retry_After="7")
    with pytest.raises(httpx.HTTPStatusError) as caught:
        await fetch(peer.url("/page?key=s3cret"), private=HERE)
    failure = classify(caught.value)
    assert (failure.type, failure.transient) == (type, transient)
    assert failure.retry_after == (7.0 if status in (429, 503) else None)
    assert failure.message.startswith(f"localhost answered {status}")
    assert "s3cret" not in failure.message


async def test_a_server_that_is_not_there() -> None:
    """Nobody listening is a failed connection, which is worth another try."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError) as caught:
            await fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/", private=HERE)
    assert classify(caught.value).transient


@pytest.mark.parametrize(
    ("charset", "body"), [("iso-8859-1", b"\xe4"), ("utf-8", b"\xc3\xa4"), ("no-such", b"\xc3\xa4"), ("utf-8", b"\xff")]
)
async def test_texts_are_decoded_as_declared(peer: HttpPeer, charset: str, body: bytes) -> None:
    """The declared charset is used, an unknown one taken for UTF-8, and a wrong byte does not lose the page."""
    peer.answer = lambda exchange: exchange.reply(body, Content_Type=f"text/plain; charset={charset}")
    assert (await fetch(peer.url(), private=HERE))["text"] == ("ä" if body != b"\xff" else "\N{REPLACEMENT CHARACTER}")


async def test_the_certificate_is_checked_against_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS the address is asked and the name is proved: the same server under another name is refused."""
    page = HttpPeer(lambda exchange: exchange.reply(PAGE, Content_Type="text/html"), tls=True)
    module._tls.cache_clear()
    with served(page) as peer:
        with pytest.raises(httpx.ConnectError, match="self-signed"):
            await fetch(peer.url(), private=HERE)
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        monkeypatch.setattr(module, "_tls", lambda: trusting)
        assert (await fetch(peer.url(), private=HERE))["text"] == PAGE
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1"):
            await fetch(peer.url(host="127.0.0.1"), private=HERE)


async def test_a_cancelled_fetch_lets_go_of_its_connection(peer: HttpPeer) -> None:
    """A page that never ends is left when the run's patience ends."""
    began = anyio.Event()

    def answer(exchange: Any) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Type", "text/plain")
        exchange.end_headers()
        anyio.from_thread.run_sync(began.set, token=token)
        while True:
            exchange.wfile.write(b"x")  # until the other side has gone

    token = anyio.lowlevel.current_token()
    peer.answer = answer
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: fetch(peer.url(), private=HERE, max_bytes=10**12))
        await began.wait()
        tasks.cancel_scope.cancel()
