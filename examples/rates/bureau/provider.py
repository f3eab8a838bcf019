"""A provider of exchange rates: an HTTP server whose speed can be changed while it runs.

    GET /rates/CHF    what one euro costs, after as long as it takes
    PUT /seconds      from now on an answer takes as long as the body says

``python -m bureau.provider northbank 0.06 --ledger northbank.txt`` answers after 60 ms. It needs the standard library
only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from shared.providers import told

__all__ = ("RATES", "Provider", "main")

RATES = {"CHF": 0.9312, "GBP": 0.8547, "USD": 1.0821}
"""What one euro costs, by currency."""


class Provider(ThreadingTCPServer):
    """The server; it listens on the loopback address only.

    Args:
        name: Its name.
        seconds: How long an answer takes.
        port: 0 takes a free one.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, name: str, seconds: float, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.name = name
        self.seconds = seconds

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about callers that did not wait for their answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: Provider

    def do_GET(self) -> None:
        currency = self.path.removeprefix("/rates/")
        if currency not in RATES:
            return self._answer(404, {"error": "not found"})
        time.sleep(self.server.seconds)  # noqa: TID251  # it is as slow as it is told to be
        return self._answer(200, {"provider": self.server.name, "currency": currency, "rate": RATES[currency]})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/seconds":
            return self._answer(404, {"error": "not found"})
        self.server.seconds = float(json.loads(body))
        return self._answer(200, {"seconds": self.server.seconds})

    def _answer(self, status: int, content: Mapping[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the terminal belongs to the run."""


def main() -> None:
    """Serve until stopped; the first line of output is the port."""
    parser = argparse.ArgumentParser(prog="python -m bureau.provider", description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="the provider's name, as northbank")
    parser.add_argument("seconds", type=float, help="how long an answer takes")
    options = told(parser)
    with Provider(options.name, options.seconds, options.port) as provider:
        print(provider.server_address[1], flush=True)
        provider.serve_forever()


if __name__ == "__main__":
    main()
