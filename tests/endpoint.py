"""An OpenAI-compatible endpoint on this machine, whose answers a test writes."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ("Endpoint", "Exchange", "endpoint")


@dataclass
class Request:
    """What the endpoint was asked."""

    path: str
    headers: Message
    body: dict[str, Any]


class Exchange(BaseHTTPRequestHandler):
    """One request, recorded, and answered as the test says."""

    protocol_version = "HTTP/1.1"
    server: Endpoint

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        """Record the request, then let the test answer."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append(Request(self.path, self.headers, json.loads(body)))
        self.server.answer(self)

    def reply(self, data: Any, status: int = 200, **headers: str) -> None:
        """Send a whole answer: bytes as they are, anything else as JSON."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self, status: int = 200) -> None:
        """Send the head of an answer that has no length."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def reset(self) -> None:
        """Kill the connection so that the other side sees a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = self.rfile = open("/dev/null", "r+b")  # noqa: SIM115  # the base class flushes and closes it


class Endpoint(ThreadingHTTPServer):
    """The server; it listens on a free port of the loopback address."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answer: Callable[[Exchange], None] = lambda exchange: exchange.reply({})
        self.requests: list[Request] = []
        self.release = threading.Event()
        """Set when the test is over: what hangs ends."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """Serve while the block lasts."""
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
