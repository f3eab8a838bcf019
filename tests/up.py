"""A real HTTP server in a process of its own, to be killed, stopped and started again by a test.

python -m tests.up PORT     listen there (0: on any free port), say the port, and answer every request
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ("Up", "up")

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Up:
    """A server that a test has in hand."""

    port: int = 0
    program: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, on the port that it had before, and wait until it listens."""
        command = [sys.executable, "-m", "tests.up", str(self.port)]
        self.program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.program.stdout is not None
        self.port = int(self.program.stdout.readline())

    def kill(self) -> None:
        """Kill it."""
        assert self.program is not None
        assert self.program.stdout is not None
        self.program.kill()
        self.program.wait()
        self.program.stdout.close()

    def stop(self) -> None:
        """Let it hang: its port still takes connections, and nobody answers."""
        assert self.program is not None
        self.program.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self.program is not None
        self.program.send_signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/"


@contextmanager
def up() -> Iterator[Up]:
    """Give a server that runs."""
    server = Up()
    server.start()
    try:
        yield server
    finally:
        server.kill()


class _Exchange(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  # the base class looks for this name

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Exchange)
    server.daemon_threads = True
    print(server.server_port, flush=True)  # noqa: T201  # the parent reads it
    server.serve_forever()
