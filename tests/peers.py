"""A peer in a process of its own that counts its calls: to be killed, stopped, throttled and started again by a test.

python -m tests.peers PORT {"latency": 0.02, ...}

    GET  /pages/{n}         a page
    POST /entries           an entry under its Idempotency-Key; every `lose`th is written and its answer lost
    GET  /entries/{key}     the entry, or null
    GET  /counts            what it has been asked since it started
    POST /settings          new settings; `hold: true` keeps calls for pages waiting until it is false
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep  # noqa: TID251  # a process of its own, in real time
from typing import Any

__all__ = ("Peer", "find", "peer")

ROOT = Path(__file__).resolve().parent.parent
HELD = 60.0
"""Seconds for which a call is kept waiting at most."""


@dataclass
class Peer:
    """A peer that a test has in hand."""

    settings: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    program: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, **settings: Any) -> None:
        """Start it, on the port that it had before, and wait until it listens."""
        command = [sys.executable, "-m", "tests.peers", str(self.port), json.dumps({**self.settings, **settings})]
        self.program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.program.stdout is not None
        self.port = int(self.program.stdout.readline())

    def kill(self) -> None:
        """Kill it, running or stopped."""
        if self.program is not None:
            assert self.program.stdout is not None
            self.program.kill()
            self.program.wait()
            self.program.stdout.close()
            self.program = None

    def stop(self) -> None:
        """Let it hang: its port still takes connections, and nobody answers."""
        assert self.program is not None
        self.program.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self.program is not None
        self.program.send_signal(signal.SIGCONT)

    def set(self, **settings: Any) -> None:
        """Change its settings."""
        import httpx

        httpx.post(f"{self.url}/settings", json=settings, trust_env=False, verify=False).raise_for_status()

    def counts(self) -> dict[str, Any]:
        """Return what it has been asked since it started."""
        import httpx

        return dict(httpx.get(f"{self.url}/counts", trust_env=False, verify=False).raise_for_status().json())


@contextmanager
def peer(**settings: Any) -> Iterator[Peer]:
    """Give a peer that runs."""
    given = Peer(settings)
    given.start()
    try:
        yield given
    finally:
        given.kill()


async def find(n: int, page: Any, ledger: str, idempotency_key: str) -> Any:
    """Return the entry that was written under a key, or None."""
    import httpx  # not while the process starts

    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        answer = await client.get(f"{ledger}/entries/{idempotency_key}")
    return answer.raise_for_status().json()


# ------------------------------------------------------------------------------------------------------- in the process


@dataclass
class _Desk:
    """What the process does and has done."""

    settings: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)
    now: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Every call for a page: how many were under way with it, who asked, and what was answered."""
    entries: dict[str, Any] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    """The key of every entry that was asked for, each time."""
    lost: int = 0
    go: threading.Event = field(default_factory=threading.Event)
    """Whether calls for pages are answered."""

    def hold(self, hold: bool) -> None:
        """Keep calls for pages waiting, or let them go."""
        if hold:
            self.go.clear()
        else:
            self.go.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int, desk: _Desk) -> None:
        super().__init__(("127.0.0.1", port), _Exchange)
        self.desk = desk
        desk.hold(desk.settings.get("hold", False))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that leave early."""


class _Exchange(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        desk = self.server.desk
        _, kind, *rest = self.path.split("/")
        if kind == "counts":
            self._say(200, {"calls": desk.calls, "written": desk.written, "lost": desk.lost})
        elif kind == "entries":
            self._say(200, desk.entries.get(rest[0]))
        else:
            self._page(desk, rest[0])

    def _page(self, desk: _Desk, n: str) -> None:
        with desk.lock:
            desk.now += 1
            call: dict[str, Any] = {"n": int(n), "at": monotonic(), "at_once": desk.now, "status": 200}
            desk.calls.append(call)
            if len(desk.calls) <= desk.settings.get("failing", 0):
                call["status"] = 503
        desk.go.wait(HELD)
        with desk.lock:
            if desk.settings.get("limit") is not None:
                call["status"] = 429
        try:
            if call["status"] != 429:
                sleep(desk.settings.get("latency", 0.0))
        finally:
            with desk.lock:  # before the answer: whoever has it may call again at once
                desk.now -= 1
        more = {"Retry-After": str(desk.settings["limit"])} if call["status"] == 429 else {}
        self._say(call["status"], {"text": f"page {n}"}, **more)

    def do_POST(self) -> None:
        """Take what is posted."""
        desk = self.server.desk
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/settings":
            desk.settings.update(body)
            desk.hold(desk.settings.get("hold", False))
            self._say(200, None)
            return
        key = self.headers["Idempotency-Key"]
        with desk.lock:
            desk.written.append(key)
            desk.entries[key] = {"entry": len(desk.written), "n": body["n"]}
            every = desk.settings.get("lose")
            lost = every is not None and len(desk.written) % every == 0
            desk.lost += lost
        sleep(desk.settings.get("latency", 0.0))
        if lost:
            self.close_connection = True
        else:
            self._say(200, desk.entries[key])

    def _say(self, status: int, data: Any, **headers: str) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


if __name__ == "__main__":
    server = _Server(int(sys.argv[1]), _Desk(json.loads(sys.argv[2])))
    print(server.server_port, flush=True)  # noqa: T201  # the parent reads it
    server.serve_forever()
