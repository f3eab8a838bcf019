"""A model behind an OpenAI-compatible endpoint on the loopback address, which answers as a test says and counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ("ModelEndpoint", "model_endpoint")

Choose = Callable[[list[str]], str]
"""Chooses one of the options that a question lists."""


class ModelEndpoint(ThreadingHTTPServer):
    """Answers `POST /v1/chat/completions` with one of the choices that the request's schema permits."""

    daemon_threads = True

    def __init__(self, choose: Choose) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.choose = choose
        self.requests: list[dict[str, Any]] = []
        """The body of every request, in order."""

    @property
    def base_url(self) -> str:
        """Where the model is, as it stands under ``models:``."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Exchange(BaseHTTPRequestHandler):
    server: ModelEndpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        options = body["response_format"]["json_schema"]["schema"]["properties"]["choice"]["enum"]
        answer = {"reason": "the best that is left", "choice": self.server.choose(options)}
        message = {"role": "assistant", "content": json.dumps(answer)}
        completion = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        content = json.dumps(completion).encode()
        self.send_response(200 if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def model_endpoint(choose: Choose) -> Iterator[ModelEndpoint]:
    """Serve while the context lasts."""
    endpoint = ModelEndpoint(choose)
    thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.shutdown()
        thread.join()
        endpoint.server_close()
