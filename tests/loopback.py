"""Real peers on this machine for tests: an HTTP server and an SMTP server that answer as a test says, over TLS too."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

__all__ = ("CERTIFICATE", "Asked", "HttpPeer", "SmtpPeer", "served")

CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"
"""A certificate for ``localhost``, signed by itself, and its key. Valid for a hundred years, worth nothing."""

S = TypeVar("S", bound=socketserver.TCPServer)


@contextmanager
def served(server: S) -> Iterator[S]:
    """Let a server run on a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def server_side() -> ssl.SSLContext:
    """Return the TLS context of a server with the certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


# ----------------------------------------------------------------------------------------------------------------- HTTP


@dataclass(frozen=True)
class Asked:
    """What an HTTP server was asked."""

    path: str
    headers: Message
    body: bytes


class _Exchange(BaseHTTPRequestHandler):
    server: HttpPeer

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.server.asked.append(
            Asked(self.path, self.headers, self.rfile.read(int(self.headers.get("content-length", 0))))
        )
        self.server.answer(self)

    do_POST = do_GET  # noqa: N815  # the base class looks for this name

    def reply(self, body: bytes | str = b"", status: int = 200, /, **headers: str) -> None:
        """Send an answer."""
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)


class HttpPeer(ThreadingHTTPServer):
    """An HTTP server that does as a test says."""

    daemon_threads = True

    def __init__(self, answer: Callable[[_Exchange], object], *, tls: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.answer = answer
        self.asked: list[Asked] = []
        self.tls = tls
        if tls:
            self.socket = server_side().wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that leave early."""

    def url(self, path: str = "/", host: str = "localhost") -> str:
        """Return the URL of a path."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.server_port}{path}"


# ----------------------------------------------------------------------------------------------------------------- SMTP


@dataclass
class Delivered:
    """A mail that an SMTP server has taken."""

    sender: str
    recipients: list[str]
    content: bytes
    encrypted: bool


class _Conversation(socketserver.StreamRequestHandler):
    server: SmtpPeer
    encrypted = False

    def handle(self) -> None:
        if self.server.tls:
            self._encrypt()
        self.sender, self.recipients = "", list[str]()
        self._say("220 localhost")
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            self.server.heard.append(f"{verb} {rest}".strip())
            scripted = self.server.script.get(verb)
            if scripted is not None and scripted != "drop":
                self._say(scripted)
            elif scripted == "drop" or not self._answered(verb, rest):
                return

    def _answered(self, verb: str, rest: str) -> bool:
        """Answer a command; False ends the conversation."""
        if verb == "EHLO":
            extensions = [] if self.encrypted else self.server.extensions
            self._say("\r\n".join(f"250-{each}" for each in ["localhost", *extensions]) + "\r\n250 AUTH PLAIN")
        elif verb == "STARTTLS":
            self._say("220 go ahead")
            self._encrypt()
        elif verb == "AUTH":
            self._say("235 welcome")
        elif verb == "MAIL":
            self.sender, self.recipients = rest, []
            self._say("250 ok")
        elif verb == "RCPT":
            self.recipients.append(rest)
            self._say("550 nobody of that name" if self.server.refused and self.server.refused in rest else "250 ok")
        elif verb == "DATA":
            return self._message()
        else:
            self._say("221 bye" if verb == "QUIT" else "250 ok")
        return verb != "QUIT"

    def _message(self) -> bool:
        self._say("354 go ahead")
        content = b""
        while (part := self.rfile.readline()) != b".\r\n":
            content += part[1:] if part.startswith(b".") else part
        self.server.delivered.append(Delivered(self.sender, self.recipients, content, self.encrypted))
        if self.server.after_data == "drop":
            return False
        self._say(self.server.after_data or "250 queued")
        return True

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _encrypt(self) -> None:
        self.connection = self.request = server_side().wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self.encrypted = True


@dataclass(eq=False)
class SmtpPeer(socketserver.ThreadingTCPServer):
    """An SMTP server that takes mail, unless a test says otherwise."""

    tls: bool = False
    script: dict[str, str] = field(default_factory=dict)
    """Answers by verb; ``drop`` closes the connection."""
    extensions: list[str] = field(default_factory=lambda: ["STARTTLS"])
    refused: str = ""
    """A recipient whose address holds this is refused."""
    after_data: str = ""
    """What is said after a message; ``drop``: the message is taken and the answer lost."""
    heard: list[str] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)

    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that leave early."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])
