"""HTTP requests as nodes.

Placeholders are escaped for where they stand: percent-encoded in the URL, without line breaks in a header, as JSON
in the body. Redirects are not followed and cookies are not kept: a call must not depend on an earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
from pydantic_core import to_jsonable_python

from orchestrator.graph import Node
from orchestrator.nodes.binding import CallContext
from orchestrator.nodes.contract import InvalidOutput, OutputTooLarge
from orchestrator.nodes.headroom import Stated, headroom
from orchestrator.nodes.placeholders import Placeholders, text_of
from orchestrator.nodes.python import RawCall
from orchestrator.spec.models import Http

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ("MAX_ANSWER", "HttpClients", "http_call")

MAX_ANSWER = 10 * 2**20
"""Bytes of an answer's body that are read; a larger one is a failed attempt."""

_ERROR_BODY = 2048
"""Bytes of a failed request's body that are read for the error message."""
_ERROR_TEXT = 400
"""Characters of it that are shown."""
_ERROR_SECONDS = 1.0
"""How long that body is waited for: the status must not be lost to a slow explanation."""


class HttpClients:
    """The HTTP clients of a graph, made on first use, one per event loop (a connection cannot change its loop)."""

    def __init__(self) -> None:
        import httpx

        # Reading the trusted certificates takes tens of milliseconds: here, not while runs are waiting.
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._clients: WeakKeyDictionary[object, httpx.AsyncClient] = WeakKeyDictionary()

    def current(self) -> httpx.AsyncClient:
        """Return the client of the running event loop."""
        loop = anyio.lowlevel.current_token().native_token
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = _new_client(self._tls)
        return client

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next call opens new ones."""
        client = self._clients.pop(anyio.lowlevel.current_token().native_token, None)
        if client is not None:
            await client.aclose()


def _new_client(tls: ssl.SSLContext) -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(
        verify=tls,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=None,
        # Servers close an idle connection after five seconds or more; a request must not cross that, for then nobody
        # knows whether it arrived.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=3.0),
    )


def http_call(
    spec: Http,
    node: Node,
    clients: HttpClients,
    *,
    max_answer: int = MAX_ANSWER,
    redact: Callable[[str], str] = str,
) -> RawCall:
    """Return the call of an HTTP node.

    The result is the decoded body if the answer says that it is JSON, its text otherwise, and null where there is no
    body. A node whose effect is not ``read`` sends an ``Idempotency-Key`` header. The attempt's own deadline is the
    caller's matter; connecting may take half of it, so that a request that never left is known as such.

    Raises, when called:
        httpx.HTTPStatusError: The status is not 2xx.
        httpx.TransportError: There was no answer.
        OutputTooLarge: The body has more than *max_answer* bytes.
        InvalidOutput: The answer says that it is JSON and is not.
        ValueError: An input cannot stand where its placeholder is.
    """
    import httpx

    placeholders = Placeholders(need.parameter for need in node.needs if need.passed)
    timeout = httpx.Timeout(None, connect=node.timeout / 2, pool=node.timeout / 2)

    async def call(inputs: Mapping[str, Any], context: CallContext) -> Any:
        headers = {name: _header(name, placeholders.fill(text, inputs)) for name, text in spec.headers.items()}
        given = {name.lower() for name in headers}
        content = None
        if spec.body is not None:
            content = _json(_body(spec.body, placeholders, inputs))
            if "content-type" not in given:
                headers["Content-Type"] = "application/json"
        if node.effect != "read" and "idempotency-key" not in given:
            headers["Idempotency-Key"] = _header("Idempotency-Key", context.key)
        url = _url(spec.url, placeholders, inputs)
        async with clients.current().stream(
            spec.method, url, headers=headers, content=content, timeout=timeout
        ) as answer:
            if not answer.is_success:
                raise httpx.HTTPStatusError(await _explain(answer, redact), request=answer.request, response=answer)
            result = _decoded(answer, await _read(answer, max_answer))
            left = headroom(answer.headers)
            return result if left is None else Stated(result, left)

    return call


# ------------------------------------------------------------------------------------------------------------- request


def _url(template: str, placeholders: Placeholders, inputs: Mapping[str, Any]) -> str:
    mark = next((index for index, character in enumerate(template) if character in "?#"), len(template))
    segments = [_segment(segment, placeholders, inputs) for segment in template[:mark].split("/")]
    return "/".join(segments) + placeholders.fill(template[mark:], inputs, _percent)


def _segment(template: str, placeholders: Placeholders, inputs: Mapping[str, Any]) -> str:
    segment = placeholders.fill(template, inputs, _percent)
    # Every client and server folds these away: DELETE /orders/{id} would become DELETE /orders/, or DELETE /.
    if placeholders.within(template) and segment in ("", ".", ".."):
        raise ValueError(f"{template} in the URL may not become {segment!r}")
    return segment


def _percent(value: Any) -> str:
    return quote(text_of(value), safe="")


def _header(name: str, text: str) -> str:
    if any(character in text for character in "\r\n\0"):
        raise ValueError(f"header {name} may not hold a line break")
    return text


def _body(template: Any, placeholders: Placeholders, inputs: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        whole = placeholders.whole(template)
        return inputs[whole] if whole is not None else placeholders.fill(template, inputs)
    if isinstance(template, Mapping):
        return {key: _body(item, placeholders, inputs) for key, item in template.items()}
    if isinstance(template, list | tuple):
        return [_body(item, placeholders, inputs) for item in template]
    return template


def _json(body: Any) -> bytes:
    return json.dumps(to_jsonable_python(body), ensure_ascii=False, allow_nan=False).encode()


# -------------------------------------------------------------------------------------------------------------- answer


async def _read(answer: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > limit:
            raise OutputTooLarge(f"the answer has more than {limit} bytes", happened="yes")
    return bytes(body)


def _decoded(answer: httpx.Response, body: bytes) -> Any:
    if not body:
        return None
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InvalidOutput(f"the answer says that it is JSON and is not: {error}") from error
    return _text(answer, body)


def _text(answer: httpx.Response, body: bytes) -> str:
    try:
        return body.decode(answer.charset_encoding or "utf-8", errors="replace")
    except LookupError:  # a character set that nobody knows
        return body.decode("utf-8", errors="replace")


async def _explain(answer: httpx.Response, redact: Callable[[str], str]) -> str:
    """Return the status and the start of the body, redacted before it is cut; no URL, whose query may hold a key."""
    import httpx

    body = bytearray()
    with anyio.move_on_after(_ERROR_SECONDS):
        try:
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) >= _ERROR_BODY:
                    break
        except (httpx.HTTPError, httpx.StreamError):
            pass
    status = f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
    text = " ".join(redact(_text(answer, bytes(body[:_ERROR_BODY]))).split())[:_ERROR_TEXT]
    return f"{status}: {text}" if text else status
