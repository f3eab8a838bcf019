"""From an exception to a `Failure`: may another try help, had the side effect happened by then, and whose fault is it?

The table knows errors by class name and walks an exception's classes from the most derived one, so that no library is
imported and a fork (httpx2) or a vendored copy is recognised too. What is read from an error, first match wins: what
the user's own table says; what the tool itself said (`ToolFailed`); an HTTP status; a database's word; an answer that
cannot be read; a lost, refused or late connection; all these also as the stated cause of an error that wraps it; a
mistake in the call. Any other exception is taken as transient.

``happened`` is about effects, so it is careful: a request that left and got no answer is ``unknown``, never ``no``. And
an error that says nothing of when it was raised, a ``KeyError`` or a class that no table knows, leaves open what had
happened by then: for a call whose effect must not happen twice that is ``unknown`` too (`doubt`), because ``no`` would
be a guess that lets a second provider pay again. A tool that knows better raises `ToolFailed`, and the author of a
graph says under ``errors:`` what a class means.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from orchestrator.errors import NotAvailableError, NotCalled, ToolFailed
from orchestrator.events import Failure
from orchestrator.nodes.contract import InvalidOutput
from orchestrator.nodes.databases import of_database
from orchestrator.nodes.meaning import (
    LATE,
    LATE_TO_CONNECT,
    LOST,
    MISTAKE,
    NO_CONNECTION,
    REFUSED,
    UNREADABLE,
    Meaning,
)

__all__ = ("MESSAGE_LENGTH", "Meaning", "classify", "retry_after")

MESSAGE_LENGTH = 500
"""Characters that are kept of an error's text."""
MAX_PARTS = 1000
"""Parts of a call's inputs that are compared with what could not be read."""


_ODD_ANSWER = Meaning(None, transient=False, happened="unknown")

_TRANSPORT: Mapping[str, Meaning] = MappingProxyType(
    {
        # Python itself
        "TimeoutError": LATE,
        "ConnectionRefusedError": NO_CONNECTION,
        "gaierror": NO_CONNECTION,
        "SSLCertVerificationError": NO_CONNECTION,
        "SSLError": LOST,
        "ConnectionError": LOST,  # reset, aborted, broken pipe; and the class that requests raises
        "HTTPException": LOST,  # http.client
        "IncompleteReadError": LOST,
        "URLError": LOST,
        # httpx, httpx2 and httpcore
        "ConnectTimeout": LATE_TO_CONNECT,
        "PoolTimeout": LATE_TO_CONNECT,
        "TimeoutException": LATE,
        "ConnectError": NO_CONNECTION,
        "ProxyError": NO_CONNECTION,
        "NetworkError": LOST,
        "RemoteProtocolError": LOST,
        "LocalProtocolError": REFUSED,
        "UnsupportedProtocol": REFUSED,
        "InvalidURL": REFUSED,
        "TooManyRedirects": _ODD_ANSWER,
        "DecodingError": UNREADABLE,
        # requests and urllib3; ConnectTimeout, ProxyError, InvalidURL and TooManyRedirects as above
        "Timeout": LATE,
        "ConnectTimeoutError": LATE_TO_CONNECT,
        "NewConnectionError": NO_CONNECTION,
        "NameResolutionError": NO_CONNECTION,
        "ReadTimeoutError": LATE,
        "ProtocolError": LOST,
        "MaxRetryError": LOST,
        "ChunkedEncodingError": LOST,
        "ContentDecodingError": UNREADABLE,
        # aiohttp
        "ConnectionTimeoutError": LATE_TO_CONNECT,
        "ClientConnectorError": NO_CONNECTION,
        "ClientConnectionError": LOST,
        "ClientPayloadError": LOST,
        # clients of model endpoints
        "APITimeoutError": LATE,
        "APIConnectionError": LOST,
        "APIResponseValidationError": UNREADABLE,
        "LengthFinishReasonError": UNREADABLE,  # openai: cut off, so that the rest cannot be parsed
        "ContentFilterFinishReasonError": REFUSED,
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
    given: Collection[Any] = (),
    doubt: Literal["no", "unknown"] = "no",
    redact: Callable[[str], str] = str,
) -> Failure:
    """Say what a raised exception means for the attempt that raised it.

    Args:
        error: What was raised. Of a group, the most serious one counts: an unknown outcome, then a permanent failure.
        sent: Whether the call had left, where the caller knows it: False makes an unknown outcome a ``no``, True
            makes the ``no`` of a timeout or a lost connection an ``unknown``.
        now: Unix time, to read a Retry-After that is a date; default: the answer's own Date header.
        table: Meanings by class name, bare or as ``package.module.Class``; they come before everything else.
        given: What the call was given: a text among it that cannot be parsed is a mistake of whoever gave it, any
            other is an answer that breaks its contract.
        doubt: What is taken as having happened where an error says nothing about it.
        redact: Hides secrets in the message; before it is cut, because half a secret would not be found.
    """
    if isinstance(error, ExceptionGroup):
        leaves = [
            classify(leaf, sent=sent, now=now, table=table, given=given, doubt=doubt, redact=redact)
            for leaf in error.exceptions
        ]
        return max(leaves, key=lambda failure: (_RANK[failure.happened], not failure.transient))
    failure = _failure(error, _Known(now, table, given, doubt))
    failure = replace(failure, message=_message(error, redact))
    if sent is False and failure.happened == "unknown":
        return replace(failure, happened="no")
    if sent is True and failure.happened == "no" and failure.type in ("timeout", "connection"):
        return replace(failure, happened="unknown")
    return failure


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known beside the error; see `classify`."""

    now: float | None
    table: Mapping[str, Meaning]
    given: Collection[Any]
    doubt: Literal["no", "unknown"]


def _failure(error: Exception, known: _Known) -> Failure:
    if isinstance(error, NotCalled):
        return Failure(error.failure_type, transient=True, happened="no")
    meaning = _of_table(error, known.table)
    if meaning is not None:
        return _apply(meaning, error, known)
    if isinstance(error, ToolFailed):
        kind = getattr(error, "failure_type", type(error).__name__)
        return Failure(kind, transient=error.transient, happened=error.happened, retry_after=error.retry_after)
    if isinstance(error, InvalidOutput):
        return Failure("invalid_output", transient=True, happened="yes")
    if isinstance(error, NotAvailableError):
        return Failure("not_available")
    failure = _of_exchange(error, known)
    if failure is not None:
        return failure
    if any(cls.__name__ in _MISTAKES for cls in type(error).__mro__):
        return _apply(MISTAKE, error, known)
    return Failure(type(error).__name__, transient=True, happened=known.doubt)


def _of_table(error: Exception, table: Mapping[str, Meaning]) -> Meaning | None:
    """Return what a user's table says of an error; a class may be named by where it is defined or by where it is."""
    for cls in type(error).__mro__:
        names = (f"{cls.__module__}.{cls.__qualname__}", cls.__name__)
        known = next((name for name in names if name in table), None)
        known = known or next((name for name in table if _is_at(cls, name)), None)
        if known is not None:
            return table[known]
    return None


def _is_at(cls: type, name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    # Whoever raises an error has imported it, also by the name under which a package offers it. Nothing is loaded here.
    return getattr(sys.modules.get(module), "__dict__", {}).get(attribute) is cls


def _apply(meaning: Meaning, error: Exception, known: _Known) -> Failure:
    wait = None
    if meaning.evidence == "rate_limited":
        found, said = _status(error), getattr(error, "retry_after", None)
        wait = retry_after(found[1], known.now) if found is not None else None
        if wait is None and isinstance(said, int | float) and 0 <= said < float("inf"):
            wait = float(said)
    happened = known.doubt if meaning is MISTAKE else meaning.happened
    return Failure(meaning.type or type(error).__name__, "", meaning.transient, happened, wait, meaning.evidence)


def _of_exchange(error: Exception, known: _Known) -> Failure | None:
    """Return what a failed exchange with the other side means; None if *error* is none and has none as its cause."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while isinstance(current, Exception) and current not in seen:
        seen.append(current)
        meaning = _of_table(current, known.table)
        if meaning is not None:
            return _apply(meaning, current, known)
        status = _status(current)
        if status is not None:
            return _of_status(*status, known.now)
        meaning = of_database(current) or _of_reading(current, known.given)
        if meaning is not None:
            return _apply(meaning, current, known)
        for cls in type(current).__mro__:
            meaning = _TRANSPORT.get(cls.__name__)
            if meaning is not None:
                inner = _wrapped(current) if cls.__name__ in _WRAPPERS else None
                return (inner and _of_exchange(inner, known)) or _apply(meaning, current, known)
        if isinstance(current, OSError) and current.errno in _UNREACHABLE:
            return _apply(LOST, current, known)
        current = current.__cause__
    return None


def _wrapped(error: Exception) -> Exception | None:
    candidates = (getattr(error, "reason", None), *error.args[:1], error.__cause__)
    return next((inner for inner in candidates if isinstance(inner, Exception) and inner is not error), None)


# ------------------------------------------------------------------------------------------------------------- reading


def _of_reading(error: Exception, given: Collection[Any]) -> Meaning | None:
    """Return what it means that something could not be read; None if *error* is about something else."""
    unread = _unread(error)
    if unread is None:
        return None
    return MISTAKE if any(_is_among(each, given) for each in unread) else UNREADABLE


def _unread(error: Exception) -> list[Any] | None:
    """Return what could not be read."""
    if isinstance(error, UnicodeDecodeError):
        return [error.object]
    if isinstance(error, ValidationError):
        return [each["input"] for each in error.errors(include_url=False, include_context=False)]
    for cls in type(error).__mro__:
        if cls.__name__ == "JSONDecodeError":  # also of simplejson, requests and orjson
            return [getattr(error, "doc", None)]
        if cls.__name__ == "ValidationError" and cls.__module__.startswith("jsonschema."):
            return [getattr(error, "instance", None)]
    return None


def _is_among(data: Any, given: Collection[Any]) -> bool:
    """Whether *data* was given to the call: as a value, inside one, or put together of such."""
    if data is None:
        return False  # it is in many inputs, and in many answers
    if isinstance(data, Mapping) and data and all(_is_among(each, given) for each in data.values()):
        return True
    sought, waiting = _text(data), list(given)
    for part in islice(iter(waiting), MAX_PARTS):  # it grows while it is read
        if isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        try:
            if part is data or _text(part) == sought:
                return True
        except Exception:  # arrays and the like have a comparison of their own
            continue
    return False


def _text(data: Any) -> Any:
    if isinstance(data, bytes | bytearray):
        return bytes(data).decode(errors="replace").strip()
    return data.strip() if isinstance(data, str) else data


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
    if status == 402 and (wait := retry_after(headers, now)) is not None:
        return Failure("rate_limited", transient=True, retry_after=wait)
    if status in (401, 402, 403, 407):  # 402: the account has nothing left, and only an operator can change that
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
