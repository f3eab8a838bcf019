"""Probes: asking a node whether it is up, outside runs and without its effect.

A probe over HTTP asks a URL; any answer below 500 says that the node is up. A tool's own URL is asked by HEAD, with
those of its headers that need no run, so that a key that is not accepted any more is found too; a server that knows no
HEAD is asked by GET. A function is up unless it raises, or returns false.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from orchestrator.nodes.http import HttpClients
from orchestrator.nodes.python import invoke, is_async
from orchestrator.nodes.threads import Threads

__all__ = ("TIMEOUT", "Down", "http_probe", "python_probe")

TIMEOUT = 2.0
"""Seconds for a probe that declares none: it asks for next to nothing."""
_NO_HEAD = (405, 501)
_REFUSED = (401, 403)


class Down(Exception):
    """A probe's function has returned false."""


def http_probe(
    url: str, clients: HttpClients, *, timeout: float, own: Mapping[str, str] | None = None
) -> Callable[[], Awaitable[None]]:
    """Return a probe that asks a URL.

    Args:
        url: What to ask.
        clients: Where connections come from.
        timeout: Seconds for connecting and for each wait.
        own: The node's headers, where the URL is its own.

    Raises, when called:
        httpx.HTTPStatusError: The status is 500 or more; or, of its own URL, 401 or 403.
        httpx.TransportError: There was no answer.
    """
    import httpx

    limit = httpx.Timeout(timeout)
    headers = MappingProxyType(dict(own or {}))
    methods = ["GET"] if own is None else ["HEAD", "GET"]

    async def ask(method: str) -> httpx.Response:
        # The body is of no interest: what has come of it is thrown away with the connection.
        async with clients.current().stream(method, url, headers=headers, timeout=limit) as answer:
            return answer

    async def call() -> None:
        answer = await ask(methods[0])
        if methods[0] == "HEAD" and answer.status_code in _NO_HEAD:
            del methods[0]
            answer = await ask(methods[0])
        if answer.status_code >= 500 or (own is not None and answer.status_code in _REFUSED):
            # No URL, whose query may hold a key.
            status = f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
            raise httpx.HTTPStatusError(status, request=answer.request, response=answer)

    return call


def python_probe(function: Callable[..., Any]) -> Callable[[], Awaitable[None]]:
    """Return a probe that calls a function without arguments, a sync one in a thread of its own.

    Raises, when called:
        Down: The function returned false.
        TimeoutError: Its last call, which nobody waits for any more, is still under way: it is not called again.
        Exception: Whatever the function raised.
    """
    # Probes never wait for tools, which may hold all worker threads; there is one at a time of each.
    threads = Threads(limited=False)
    under_way = [False]

    def marked() -> Any:
        try:
            return function()
        finally:
            under_way[0] = False

    async def call() -> None:
        if is_async(function):
            result = await invoke(function, threads)
        elif under_way[0]:
            raise TimeoutError("the last call of the probe has not returned")
        else:
            under_way[0] = True
            result = await invoke(marked, threads)
        if result is False:
            raise Down("the probe returned false")

    return call
