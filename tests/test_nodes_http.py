"""HTTP nodes against a real server on this machine."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.graph import Need, Node
from orchestrator.nodes.binding import CallContext
from orchestrator.nodes.classify import classify
from orchestrator.nodes.contract import InvalidOutput, OutputTooLarge
from orchestrator.nodes.http import HttpClients, http_call
from orchestrator.nodes.placeholders import Placeholders, text_of
from orchestrator.redact import Redactor
from orchestrator.spec.models import Http

CONTEXT = CallContext(run_id="run-1", node="it", attempt=1, key="run-1/it")


@dataclass
class Request:
    """What a server was asked."""

    path: str
    headers: Message
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One request, recorded, and answered by the server's script."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def setup(self) -> None:
        """Count the connection."""
        self.server.connections += 1
        super().setup()

    def any_method(self) -> None:
        """Record the request, then let the test answer."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append(Request(self.path, self.headers, body))
        self.server.answer(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = any_method  # noqa: N815  # the base class looks for these names

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, data: Any) -> None:
        """Send JSON."""
        self.reply(200, json.dumps(data).encode(), Content_Type="application/json")

    def reset(self) -> None:
        """Kill the connection so that the other side sees a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = self.rfile = open("/dev/null", "r+b")  # noqa: SIM115  # the base class flushes and closes it


class Server(ThreadingHTTPServer):
    """A server that answers as a test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answer: Callable[[Exchange], None] = lambda exchange: exchange.reply_json({"ok": True})
        self.requests: list[Request] = []
        self.connections = 0
        self.release = threading.Event()
        """Set when the test is over: what hangs ends."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server in a thread."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
async def clients() -> AsyncIterator[HttpClients]:
    """Return clients that are closed afterwards."""
    clients = HttpClients()
    yield clients
    await clients.aclose()


def node(*needs: str, **settings: Any) -> Node:
    """Return an HTTP node with these needs."""
    return Node("it", kind="http", needs=tuple(Need(need, need) for need in needs), provides=("it",), **settings)


async def ask(clients: HttpClients, url: str, *, effect: Any = "read", max_answer: int = 10**6, **settings: Any) -> Any:
    """Call an HTTP node whose needs are the inputs that are given."""
    inputs = settings.pop("inputs", {})
    call = http_call(Http(url=url, **settings), node(*inputs, effect=effect), clients, max_answer=max_answer)
    return await call(inputs, CONTEXT)


# -------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("content_type", "body", "result"),
    [
        ("application/json", b'{"id": 1}', {"id": 1}),
        ("application/problem+json; charset=utf-8", b"[1]", [1]),
        ("text/plain", b'{"id": 1}', '{"id": 1}'),
        ("text/plain; charset=latin-1", b"\xe9t\xe9", "été"),
        ("text/plain; charset=nonsense", "été".encode(), "été"),
        ("application/octet-stream", b"a\xffb", "a\ufffdb"),
        ("application/json", b"", None),
    ],
)
async def test_an_answer_is_data_or_text(
    server: Server, clients: HttpClients, content_type: str, body: bytes, result: Any
) -> None:
    """JSON is decoded, everything else is text, and no body is null."""
    server.answer = lambda exchange: exchange.reply(200, body, Content_Type=content_type)
    assert await ask(clients, server.url) == result


async def test_no_content_and_head(server: Server, clients: HttpClients) -> None:
    """An answer that has no body by its nature gives null."""
    server.answer = lambda exchange: exchange.reply(204)
    assert await ask(clients, server.url, method="DELETE") is None
    server.answer = lambda exchange: exchange.reply(200, b"12345")
    assert await ask(clients, server.url, method="HEAD") is None


@pytest.mark.parametrize("body", [b"{not json", b"[" * 100_000, b"\xff\xfe{"], ids=["broken", "deep", "bytes"])
async def test_an_answer_that_only_says_it_is_json(server: Server, clients: HttpClients, body: bytes) -> None:
    """JSON that does not parse is an invalid output: the server did answer."""
    server.answer = lambda exchange: exchange.reply(200, body, Content_Type="application/json")
    with pytest.raises(InvalidOutput, match="says that it is JSON"):
        await ask(clients, server.url)


async def test_an_answer_that_is_too_large(server: Server, clients: HttpClients) -> None:
    """Reading stops at the limit, also where compression hides the size, and it is not tried again."""
    server.answer = lambda exchange: exchange.reply(200, b"x" * 1001)
    with pytest.raises(OutputTooLarge, match="more than 1000 bytes") as caught:
        await ask(clients, server.url, max_answer=1000)
    failure = classify(caught.value)
    assert (failure.type, failure.transient, failure.happened) == ("output_too_large", False, "yes")

    server.answer = lambda exchange: exchange.reply(200, gzip.compress(b"x" * 10**6), Content_Encoding="gzip")
    with pytest.raises(OutputTooLarge):
        await ask(clients, server.url, max_answer=10_000)
    assert len(await ask(clients, server.url, max_answer=10**6)) == 10**6


# ------------------------------------------------------------------------------------------------------------- failures


async def failure_of(clients: HttpClients, url: str, **settings: Any) -> tuple[str, bool, str, float | None]:
    """Call a node that fails, and say what that means."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is what is asked
        await ask(clients, url, **settings)
    failure = classify(caught.value)
    return failure.type, failure.transient, failure.happened, failure.retry_after


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, ("http_4xx", False, "no", None)),
        (401, ("unauthorised", False, "no", None)),
        (500, ("http_5xx", True, "unknown", None)),
        (302, ("http_3xx", False, "unknown", None)),
    ],
)
async def test_a_status_other_than_2xx_is_a_failure(
    server: Server, clients: HttpClients, status: int, expected: tuple[str, bool, str, float | None]
) -> None:
    """A failed status is classified; a redirect is one and is not followed."""
    server.answer = lambda exchange: exchange.reply(status, Location=f"{server.url}/other")
    assert await failure_of(clients, server.url, method="POST") == expected
    assert len(server.requests) == 1


async def test_a_rate_limit_says_when(server: Server, clients: HttpClients) -> None:
    """Retry-After of 429 and 503 arrives in the failure; a date is counted from the server's own clock."""
    server.answer = lambda exchange: exchange.reply(429, Retry_After="7")
    assert await failure_of(clients, server.url) == ("rate_limited", True, "no", 7.0)

    def until(exchange: Exchange) -> None:
        exchange.date_time_string = lambda timestamp=None: "Wed, 21 Oct 2026 07:28:00 GMT"  # type: ignore[method-assign]
        exchange.reply(503, Retry_After="Wed, 21 Oct 2026 07:30:00 GMT")

    server.answer = until
    assert await failure_of(clients, server.url) == ("http_5xx", True, "no", 120.0)


async def test_the_message_explains_and_hides_the_query(server: Server, clients: HttpClients) -> None:
    """The error shows the start of what the server said, and never the URL, whose query may hold a key."""
    server.answer = lambda exchange: exchange.reply(422, b"order_id must be\n a number" + b"." * 5000)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        await ask(clients, server.url + "/orders?key=hunter2")
    assert str(caught.value).startswith("HTTP 422 Unprocessable Entity: order_id must be a number.")
    assert len(str(caught.value)) < 450
    assert "hunter2" not in str(caught.value)


async def test_a_secret_is_hidden_before_it_is_cut(server: Server, clients: HttpClients) -> None:
    """No half of a secret is left where the message ends."""
    server.answer = lambda exchange: exchange.reply(400, b"x" * 395 + b"hunter2hunter2")
    call = http_call(Http(url=server.url), node(), clients, redact=Redactor(["hunter2" * 2]).redact)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        await call({}, CONTEXT)
    assert "hunte" not in str(caught.value)


async def test_the_status_is_not_lost_with_its_explanation(server: Server, clients: HttpClients) -> None:
    """A server that dies while it explains an error has still given its status."""

    def die(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 429 Slow down\r\nContent-Length: 100\r\nRetry-After: 2\r\n\r\nhalf")
        exchange.reset()

    server.answer = die
    assert await failure_of(clients, server.url) == ("rate_limited", True, "no", 2.0)


async def test_a_connection_killed_in_the_middle(server: Server, clients: HttpClients) -> None:
    """A connection that dies before the answer is whole leaves the effect unknown."""

    def half(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.reset()

    def nothing(exchange: Exchange) -> None:
        exchange.reset()

    def closed(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.close_connection = True

    def garbage(exchange: Exchange) -> None:
        exchange.wfile.write(b"hello there\r\n\r\n")
        exchange.close_connection = True

    for answer in (half, nothing, closed, garbage):
        server.answer = answer
        assert await failure_of(clients, server.url, method="POST") == ("connection", True, "unknown", None)


async def test_a_refused_port(clients: HttpClients) -> None:
    """Where nothing listens nothing can have happened."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        assert await failure_of(clients, url, method="POST") == ("connection", True, "no", None)


async def test_a_port_that_does_not_answer(clients: HttpClients) -> None:
    """Connecting may take half of the attempt's time, so that a request that never left is known as such."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for other in waiting:  # more than the queue of the port holds: the next one gets no answer
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        try:
            call = http_call(Http(url=f"http://127.0.0.1:{full.getsockname()[1]}/"), node(timeout=0.5), clients)
            with pytest.raises(httpx.ConnectTimeout) as caught, anyio.fail_after(0.5):
                await call({}, CONTEXT)
        finally:
            for other in waiting:
                other.close()
    failure = classify(caught.value)
    assert (failure.type, failure.transient, failure.happened) == ("timeout", True, "no")


async def test_a_slow_answer_can_be_given_up(server: Server, clients: HttpClients) -> None:
    """Cancelling a call that waits for its answer ends at once, and the next call works."""
    arrived = threading.Event()

    def hang(exchange: Exchange) -> None:
        arrived.set()
        server.release.wait()
        exchange.close_connection = True

    server.answer = hang
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, clients, server.url)
        await anyio.to_thread.run_sync(arrived.wait)
        tasks.cancel_scope.cancel()
    server.answer = lambda exchange: exchange.reply_json(1)
    assert await ask(clients, server.url) == 1


async def test_the_deadline_of_an_attempt(server: Server, clients: HttpClients) -> None:
    """An answer that does not come in time leaves the effect unknown."""

    def hang(exchange: Exchange) -> None:
        server.release.wait()
        exchange.close_connection = True

    server.answer = hang
    with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.05):
        await ask(clients, server.url)
    assert classify(caught.value).happened == "unknown"


# ------------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("value", ["a/b", "a b?c=d&e#f", "%2F", "été", "100%", "a+b", ";=@:", 7, True])
async def test_values_in_a_url_are_escaped(server: Server, clients: HttpClients, value: Any) -> None:
    """A value stays one segment of the path and one value of the query, whatever it holds."""
    await ask(clients, server.url + "/orders/{id}/lines?q={id}&end=1", inputs={"id": value})
    target = urlsplit(server.requests[0].path)
    assert [unquote(segment) for segment in target.path.split("/")] == ["", "orders", text_of(value), "lines"]
    assert parse_qs(target.query) == {"q": [text_of(value)], "end": ["1"]}


@pytest.mark.parametrize("value", ["", ".", "..", None])
async def test_a_value_cannot_climb_out_of_its_path(server: Server, clients: HttpClients, value: Any) -> None:
    """An empty or dotted segment, which would name another resource, is refused before anything is sent."""
    with pytest.raises(ValueError, match=r"\{id\} in the URL may not become"):
        await ask(clients, server.url + "/orders/{id}", method="DELETE", inputs={"id": value})
    assert server.requests == []
    await ask(clients, server.url + "/orders?id={id}", inputs={"id": value})


@given(st.text())
def test_any_text_survives_the_url(value: str) -> None:
    """A percent-encoded value is decoded to the same text, or refused because it has no UTF-8 form."""
    from orchestrator.nodes.http import _url

    try:
        url = _url("http://127.0.0.1/a/x{v}/b?w={v}", Placeholders(["v"]), {"v": value})
    except UnicodeEncodeError:
        return
    parsed = httpx.URL(url)
    assert parsed.path == f"/a/x{value}/b"
    assert parsed.params["w"] == value


async def test_headers_are_filled_and_kept_to_one_line(server: Server, clients: HttpClients) -> None:
    """A header takes a value, but no line break with another header behind it."""
    await ask(clients, server.url, headers={"X-Order": "no. {id}"}, inputs={"id": 7})
    assert server.requests[0].headers["X-Order"] == "no. 7"
    for text in ("7\r\nX-Admin: 1", "7\n", "\0"):
        with pytest.raises(ValueError, match="X-Order may not hold a line break"):
            await ask(clients, server.url, headers={"X-Order": "no. {id}"}, inputs={"id": text})
    assert len(server.requests) == 1


async def test_a_body_is_json(server: Server, clients: HttpClients) -> None:
    """A text that is one placeholder becomes the value itself; inside a longer text it becomes a part of it."""
    template = {"order": "{order}", "note": 'for "{name}"', "list": ["{count}", "{{}", 1, None], "{name}": True}
    inputs = {"order": {"id": 1, "tags": ["a"]}, "name": 'Ann "quotes"', "count": 3}
    await ask(clients, server.url, method="POST", body=template, inputs=inputs)
    [request] = server.requests
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "order": {"id": 1, "tags": ["a"]},
        "note": 'for "Ann "quotes""',
        "list": [3, "{{}", 1, None],
        "{name}": True,
    }


async def test_a_body_that_is_one_value(server: Server, clients: HttpClients) -> None:
    """The whole body may be one placeholder, null too; a body that is no JSON is refused before it is sent."""
    await ask(clients, server.url, method="PUT", body="{order}", inputs={"order": None})
    assert server.requests[0].body == b"null"
    with pytest.raises(ValueError, match="JSON"):
        await ask(clients, server.url, method="PUT", body="{order}", inputs={"order": float("nan")})
    assert len(server.requests) == 1


async def test_an_effect_carries_its_key(server: Server, clients: HttpClients) -> None:
    """Everything but a read sends an idempotency key; a key that the file gives itself stands."""
    for effect in ("once", "idempotent", None):
        await ask(clients, server.url, method="POST", effect=effect)
    await ask(clients, server.url, method="POST", effect="once", headers={"idempotency-key": "mine"})
    await ask(clients, server.url)
    keys = [request.headers.get_all("Idempotency-Key") for request in server.requests]
    assert keys == [["run-1/it"], ["run-1/it"], ["run-1/it"], ["mine"], None]


async def test_connections_are_shared_and_cookies_are_not(server: Server, clients: HttpClients) -> None:
    """All calls of a graph share their connections; what one server sets in one run is not sent in the next."""
    server.answer = lambda exchange: exchange.reply(200, b"{}", Set_Cookie="session=1; Path=/")
    await ask(clients, server.url)
    await ask(clients, server.url)
    assert server.connections == 1
    assert [request.headers["Cookie"] for request in server.requests] == [None, None]


async def test_the_environment_is_not_asked(
    server: Server, clients: HttpClients, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Neither a proxy nor a netrc file of the machine changes a request."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert await ask(clients, server.url) == {"ok": True}
    assert server.requests[0].headers["Authorization"] is None


async def test_one_client_for_each_event_loop(server: Server, clients: HttpClients) -> None:
    """A connection stays in its event loop: another one, in another thread, opens and closes its own."""

    async def elsewhere() -> None:
        assert await ask(clients, server.url) == {"ok": True}
        await clients.aclose()

    assert await ask(clients, server.url) == {"ok": True}
    await anyio.to_thread.run_sync(anyio.run, elsewhere)
    assert server.connections == 2
    assert await ask(clients, server.url) == {"ok": True}
    assert server.connections == 2


async def test_closed_clients_are_made_anew(server: Server, clients: HttpClients) -> None:
    """Closing may be done twice, and what is called afterwards opens new connections."""
    assert await ask(clients, server.url) == {"ok": True}
    await clients.aclose()
    await clients.aclose()
    assert await ask(clients, server.url) == {"ok": True}
    assert server.connections == 2
