"""A provider: an HTTP server with a ledger of its own, in a process of its own.

``python -m shared.providers cardpay refunds --ledger cardpay.db`` sells refunds; ``email messages`` sends messages.
Each keeps what it has booked in an SQLite file, which survives the process. It needs the standard library only.

    POST /refunds            books; the same Idempotency-Key again returns what was booked, and books nothing
    GET  /refunds?key=K      what was booked under a key, or 404
    POST /refunds/ID/void    takes it back; again is no error
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ("Entry", "Ledger", "Provider", "main", "serve", "told")

Entry = dict[str, Any]

DEATHS = ("before-booking", "after-booking")
"""When a provider that is told to die does: with the request read, or with it booked and not yet answered."""


class Ledger:
    """What a provider has booked.

    Args:
        path: The SQLite file; made where there is none.
        name: The provider's name, which is part of the ids that it gives.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        with closing(self._open()) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS entries "
                "(number INTEGER PRIMARY KEY, key TEXT UNIQUE, body TEXT, state TEXT DEFAULT 'booked')"
            )

    def book(self, key: str, body: Entry) -> Entry:
        """Book *body* unless something is booked under this key; return what is."""
        with closing(self._open()) as database, database:
            database.execute(
                "INSERT INTO entries (key, body) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, json.dumps(body))
            )
        booked = self.find(key)
        assert booked is not None
        return booked

    def find(self, key: str) -> Entry | None:
        """Return what is booked under a key."""
        return next((entry for entry in self.entries() if entry["key"] == key), None)

    def void(self, identity: str) -> Entry | None:
        """Take an entry back and return it; None if there is none of this id."""
        number = identity.removeprefix(f"{self.name}-")
        with closing(self._open()) as database, database:
            database.execute("UPDATE entries SET state = 'void' WHERE number = ?", (number,))
        return next((entry for entry in self.entries() if entry["id"] == identity), None)

    def entries(self) -> list[Entry]:
        """Return everything that was ever booked, in order."""
        with closing(self._open()) as database:
            rows = database.execute("SELECT number, key, body, state FROM entries ORDER BY number").fetchall()
        return [
            {"id": f"{self.name}-{number}", **json.loads(body), "key": key, "state": state}
            for number, key, body, state in rows
        ]

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=10.0)


class Provider(ThreadingTCPServer):
    """The server; it listens on the loopback address only.

    Args:
        ledger: Where it books.
        collection: What it sells, which is the path of its requests.
        port: 0 takes a free one.
        dies: When its first order kills it; None: it lives.
        answer: What it adds to an order, by its own name and the order.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        ledger: Ledger,
        collection: str,
        port: int = 0,
        dies: str | None = None,
        answer: Callable[[str, Entry], Entry] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.ledger = ledger
        self.collection = collection
        self.dies = dies
        self.answer = answer

    def die(self, moment: str) -> None:
        """Die for real if this is the moment: nothing is cleaned up and nobody is told."""
        if self.dies == moment:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: Provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        keys = parse_qs(url.query).get("key", [])
        if url.path != f"/{self.server.collection}" or len(keys) != 1:
            return self._answer(404, {"error": "not found"})
        found = self.server.ledger.find(keys[0])
        return self._answer(404, {"error": "nothing is booked under this key"}) if found is None else self._ok(found)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.path.strip("/").split("/"):
            case [self.server.collection]:
                self._book(body)
            case [self.server.collection, identity, "void"]:
                found = self.server.ledger.void(identity)
                self._answer(404, {"error": "not found"}) if found is None else self._ok(found)
            case _:
                self._answer(404, {"error": "not found"})

    def _book(self, body: bytes) -> None:
        key = self.headers.get("Idempotency-Key")
        if not key and self.server.answer is not None:
            key = uuid.uuid4().hex  # what only answers may be asked as often as one likes
        if not key:
            return self._answer(400, {"error": "the header Idempotency-Key is missing"})
        try:
            order = json.loads(body)
        except ValueError:
            order = None
        if not isinstance(order, dict):
            return self._answer(400, {"error": "the body is no JSON object"})
        self.server.die("before-booking")
        if self.server.answer is not None:
            order = {**order, **self.server.answer(self.server.ledger.name, order)}
        booked = self.server.ledger.book(key, order)
        self.server.die("after-booking")
        if {**booked, **order} != booked:
            return self._answer(422, {"error": "something else is booked under this key"})
        return self._ok(booked)

    def _ok(self, entry: Entry) -> None:
        self._answer(200, {name: value for name, value in entry.items() if name != "key"})

    def _answer(self, status: int, content: Entry) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the terminal belongs to the run."""


def main() -> None:
    """Sell what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m shared.providers", description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="the provider's name, as cardpay")
    parser.add_argument("collection", help="what it sells, as refunds or messages")
    serve(parser)


def serve(parser: argparse.ArgumentParser, answer: Callable[[str, Entry], Entry] | None = None) -> None:
    """Serve until stopped; the first line of output is the port.

    Args:
        parser: Knows the provider's ``name`` and ``collection``; the other options are added here.
        answer: Takes the name and an order, and returns what is added to it when it is booked; default: nothing.
    """
    parser.add_argument("--dies", choices=DEATHS, help="be killed by the first order, at this moment")
    options = told(parser)
    ledger = Ledger(options.ledger, options.name)
    with Provider(ledger, options.collection, options.port, options.dies, answer) as provider:
        print(provider.server_address[1], flush=True)
        provider.serve_forever()


def told(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return what the command line says, with every provider's options; as a child, leave with the parent."""
    parser.add_argument("--ledger", type=Path, required=True, help="the SQLite file that it books in")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--as-child", action="store_true", help="end when standard input does; Ctrl-C is the parent's")
    options = parser.parse_args()
    if options.as_child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_leave_with_parent, daemon=True).start()
    return options


def _leave_with_parent() -> None:
    # However the parent ends, the system closes its end of the pipe.
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
