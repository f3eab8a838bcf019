"""From an exception to a `Failure`: may another try help, and had the side effect happened by then?

The table knows errors by class name and walks an exception's classes from the most derived one, so that no HTTP
library is imported and a fork (httpx2) or a vendored copy is recognised too. What is read from an error, first match
wins: what the caller's own table says; what the tool itself said (`ToolFailed`); an HTTP status; a lost, refused or
late connection, also as the stated cause of an error that wraps it; a mistake in the call. Any other exception is
taken as transient and as not having happened.

``happened`` is about effects, so it is careful: a request that left and got no answer is ``unknown``, never ``no``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Literal

from orchestrator.errors import NotAvailableError, ToolFailed
from orchestrator.events import Failure
from orchestrator.nodes.contract import InvalidOutput

__all__ = ("MESSAGE_LENGTH", "Meaning", "classify", "retry_after")

MESSAGE_LENGTH = 500
"""Characters that are kept of an error's text."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of errors means; ``type`` None stands for the error's own class name."""

    type: str | None
    transient: bool
    happened: Literal["no", "yes", "unknown"]


_NO_CONNECTION = Meaning("connection", transient=True, happened="no")
_LOST = Meaning("connection", transient=True, happened="unknown")
_LATE = Meaning("timeout", transient=True, happened="unknown")
_LATE_TO_CONNECT = Meaning("timeout", transient=True, happened="no")
_MISTAKE = Meaning(None, transient=False, happened="no")
_ODD_ANSWER = Meaning(None, transient=False, happened="unknown")

_TRANSPORT: Mapping[str, Meaning] = MappingProxyType(
    {
        # Python itself
        "TimeoutError": _LATE,
        "ConnectionRefusedError": _NO_CONNECTION,
        "gaierror": _NO_CONNECTION,
        "SSLCertVerificationError": _NO_CONNECTION,
        "SSLError": _LOST,
        "ConnectionError": _LOST,  # reset, aborted, broken pipe; and the class that requests raises
        "HTTPException": _LOST,  # http.client
        "IncompleteReadError": _LOST,
        "URLError": _LOST,
        # httpx, httpx2 and httpcore
        "ConnectTimeout": _LATE_TO_CONNECT,
        "PoolTimeout": _LATE_TO_CONNECT,
        "TimeoutException": _LATE,
        "ConnectError": _NO_CONNECTION,
        "ProxyError": _NO_CONNECTION,
        "NetworkError": _LOST,
        "RemoteProtocolError": _LOST,
        "LocalProtocolError": _MISTAKE,
        "UnsupportedProtocol": _MISTAKE,
        "InvalidURL": _MISTAKE,
        "TooManyRedirects": _ODD_ANSWER,
        "DecodingError": _ODD_ANSWER,
        # requests and urllib3; ConnectTimeout, ProxyError, InvalidURL and TooManyRedirects as above
        "Timeout": _LATE,
        "ConnectTimeoutError": _LATE_TO_CONNECT,
        "NewConnectionError": _NO_CONNECTION,
        "NameResolutionError": _NO_CONNECTION,
        "ReadTimeoutError": _LATE,
        "ProtocolError": _LOST,
        "MaxRetryError": _LOST,
        "ChunkedEncodingError": _LOST,
        "ContentDecodingError": _ODD_ANSWER,
        # aiohttp
        "ConnectionTimeoutError": _LATE_TO_CONNECT,
        "ClientConnectorError": _NO_CONNECTION,
        "ClientConnectionError": _LOST,
        "ClientPayloadError": _LOST,
        # clients of model endpoints
        "APITimeoutError": _LATE,
        "APIConnectionError": _LOST,
    }
)
_WRAPPERS = frozenset({"ConnectionError", "MaxRetryError", "URLError", "APIConnectionError", "APITimeoutError"})
"""Classes that say less than the error that they were made from."""

_MISTAKES = frozenset(
    {
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "LookupError",
        "NameError",
        "NotImplementedError",
        "TypeError",
        "ValueError",
    }
)
_UNREACHABLE = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})
_RANK = {"unknown": 2, "yes": 1, "no": 0}


def classify(
    error: Exception,
    *,
    sent: bool | None = None,
    now: float | None = None,
    table: Mapping[str, Meaning] = MappingProxyType({}),
    redact: Callable[[str], str] = str,
) -> Failure:
    """Say what a raised exception means for the attempt that raised it.

    Args:
        error: What was raised. Of a group, the most serious one counts: an unknown outcome, then a permanent failure.
        sent: Whether the call had left, where the caller knows it: False makes an unknown outcome a ``no``, True
            makes the ``no`` of a timeout or a lost connection an ``unknown``.
        now: Unix time, to read a Retry-After that is a date; default: the answer's own Date header.
        table: Meanings by class name, bare or as ``package.module.Class``; they come before everything else.
        redact: Hides secrets in the message; before it is cut, because half a secret would not be found.
    """
    if isinstance(error, ExceptionGroup):
        leaves = [classify(leaf, sent=sent, now=now, table=table, redact=redact) for leaf in error.exceptions]
        return max(leaves, key=lambda failure: (_RANK[failure.happened], not failure.transient))
    failure = replace(_failure(error, now, table), message=_message(error, redact))
    if sent is False and failure.happened == "unknown":
        return replace(failure, happened="no")
    if sent is True and failure.happened == "no" and failure.type in ("timeout", "connection"):
        return replace(failure, happened="unknown")
    return failure


def _failure(error: Exception, now: float | None, table: Mapping[str, Meaning]) -> Failure:
    for cls in type(error).__mro__:
        meaning = table.get(f"{cls.__module__}.{cls.__qualname__}") or table.get(cls.__name__)
        if meaning is not None:
            return _apply(meaning, error)
    if isinstance(error, ToolFailed):
        kind = getattr(error, "failure_type", type(error).__name__)
        return Failure(kind, transient=error.transient, happened=error.happened, retry_after=error.retry_after)
    if isinstance(error, InvalidOutput):
        return Failure("invalid_output", transient=True, happened="yes")
    if isinstance(error, NotAvailableError):
        return Failure("not_available")
    failure = _of_transport(error, now)
    if failure is not None:
        return failure
    if any(cls.__name__ in _MISTAKES for cls in type(error).__mro__):
        return _apply(_MISTAKE, error)
    return Failure(type(error).__name__, transient=True)


def _apply(meaning: Meaning, error: Exception) -> Failure:
    return Failure(meaning.type or type(error).__name__, transient=meaning.transient, happened=meaning.happened)


def _of_transport(error: Exception, now: float | None) -> Failure | None:
    """Return what a failed exchange over a network means; None if *error* is none and has none as its cause."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while isinstance(current, Exception) and current not in seen:
        seen.append(current)
        status = _status(current)
        if status is not None:
            return _of_status(*status, now)
        for cls in type(current).__mro__:
            meaning = _TRANSPORT.get(cls.__name__)
            if meaning is not None:
                inner = _wrapped(current) if cls.__name__ in _WRAPPERS else None
                return (inner and _of_transport(inner, now)) or _apply(meaning, current)
        if isinstance(current, OSError) and current.errno in _UNREACHABLE:
            return _apply(_LOST, current)
        current = current.__cause__
    return None


def _wrapped(error: Exception) -> Exception | None:
    candidates = (getattr(error, "reason", None), *error.args[:1], error.__cause__)
    return next((inner for inner in candidates if isinstance(inner, Exception) and inner is not error), None)


# ---------------------------------------------------------------------------------------------------------------- HTTP


_STATUS_OF_CLASS = {"HTTPError": "code", "ClientResponseError": "status"}
"""Where urllib and aiohttp keep the status: names too common to be trusted on any other class."""


def _status(error: Exception) -> tuple[int, Mapping[str, str]] | None:
    """Return status and headers of the answer that *error* is about."""
    response = getattr(error, "response", None)
    places = [(response, "status_code"), (response, "status"), (error, "status_code")]
    places += [
        (error, _STATUS_OF_CLASS[cls.__name__]) for cls in type(error).__mro__ if cls.__name__ in _STATUS_OF_CLASS
    ]
    for source, name in places:
        status = getattr(source, name, None)
        if isinstance(status, int) and not isinstance(status, bool) and 300 <= status <= 599:
            # `is None`, not truth: a requests.Response with an error status is false.
            headers = getattr(error if response is None else response, "headers", None)
            return status, {} if headers is None else headers
    return None


def _of_status(status: int, headers: Mapping[str, str], now: float | None) -> Failure:
    if status == 429:
        return Failure("rate_limited", transient=True, retry_after=retry_after(headers, now))
    if status == 408:  # RFC 9110 15.5.9: the request did not arrive whole
        return Failure("timeout", transient=True)
    if status == 503:
        return Failure("http_5xx", transient=True, retry_after=retry_after(headers, now))
    if status >= 500:
        return Failure("http_5xx", transient=True, happened="unknown")
    if status in (401, 403):
        return Failure("unauthorised")
    if status >= 400:
        return Failure("http_4xx")
    return Failure("http_3xx", happened="unknown")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 10.2.3), or None if it cannot be read.

    Args:
        headers: Of the answer; names in any case.
        now: Unix time; default: the answer's Date header.
    """
    found = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    text = found.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        return float(text)
    until = _date(text)
    current = now if now is not None else _date(found.get("date", ""))
    return None if until is None or current is None else max(until - current, 0.0)


def _date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()


def _message(error: Exception, redact: Callable[[str], str]) -> str:
    try:
        text = str(error)
    except Exception:  # an error that cannot even be printed is still a failed attempt
        text = ""
    return redact(text or type(error).__name__)[:MESSAGE_LENGTH]
