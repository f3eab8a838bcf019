"""The openai client as it is used here: nothing from the environment, no redirects, no retries, bounded answers.

This module loads the openai package; it is imported when the first question is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import openai
from openai import Omit

__all__ = ("AnswerTooLong", "Client", "connect")

MAX_ANSWER = 2**20
"""Bytes of an answer that are read; one of 4,096 tokens has at most some 50 KiB, also as escaped JSON."""

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # an answer is small, and a compressed one could be as large as it liked
    "Content-Type": "application/json",
}


class AnswerTooLong(Exception):
    """The server sends more than an answer can be."""


class Client(openai.AsyncOpenAI):
    """A client that sends what the graph file says and nothing else.

    The openai package adds headers, an organisation and a project that its environment variables name, whatever the
    address; they are meant for one endpoint and may be secret.
    """

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        """The headers of every request, beside the authorization."""
        return {**_HEADERS, "User-Agent": self.user_agent}

    async def complete(self, request: Mapping[str, Any], seconds: float) -> bytes:
        """Send one chat completion and return the answer's body as it came.

        The caller bounds the whole; connecting may take half of the *seconds*, so that a request that never left is
        known as such.

        Raises:
            openai.APIError: The server refused, or there was no answer.
            AnswerTooLong: There is no end to it.
        """
        times = httpx2.Timeout(seconds, connect=seconds / 2, pool=seconds / 2)
        answer = await self.chat.completions.with_raw_response.create(**request, timeout=times)
        body: bytes = answer.content
        return body


def connect(base_url: str, api_key: str, http_client: httpx2.AsyncClient | None) -> Client:
    """Return a client of the endpoint at *base_url*, over *http_client* or connections of its own."""
    return Client(base_url=base_url, api_key=api_key, max_retries=0, http_client=http_client or _new_http_client())


def _new_http_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=None,
        event_hooks={"response": [_bound]},
    )


async def _bound(response: httpx2.Response) -> None:
    """Make reading *response* end with an error where it goes on for too long; also the text of an error."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > MAX_ANSWER:
                raise AnswerTooLong(f"the answer has more than {MAX_ANSWER} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
