"""Whether what a run would talk to answers: one small request each, within a bounded time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

__all__ = ("Answer", "UnreachableError", "ask", "bounded")

T = TypeVar("T")
LONGEST_BODY = 1_000_000


class UnreachableError(Exception):
    """Nobody answered; the message says why, without the address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    date: float | None
    """The server's own clock, in seconds since 1970, where it tells."""

    def json(self) -> Any:
        """Return the body as data; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def bounded(call: Callable[[], T], seconds: float) -> T:
    """Return what *call* returns; it runs in a thread that nobody waits for any longer than *seconds*.

    Raises:
        UnreachableError: It takes longer.
    """
    done: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        try:
            done.put((True, call()))
        except Exception as error:
            done.put((False, error))

    threading.Thread(target=work, name="orchestrator-doctor", daemon=True).start()
    try:
        fine, found = done.get(timeout=seconds)
    except Empty:
        raise UnreachableError(f"no answer within {seconds:g} s") from None
    if fine:
        value: T = found
        return value
    raise found


def ask(url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None, seconds: float) -> Answer:
    """Send one request, a POST where there is a body.

    Raises:
        UnreachableError: Nobody answered within *seconds*, name look-up and connecting included.
    """
    return bounded(lambda: _ask(url, body, dict(headers or {}), seconds), seconds)


def _ask(url: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Answer:
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return Answer(response.status, response.read(LONGEST_BODY), _date(response.headers.get("Date")))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, b"", _date(error.headers.get("Date")))
    except urllib.error.URLError as error:
        reason = error.reason
        text = getattr(reason, "strerror", None) or type(reason).__name__
        raise UnreachableError(str(text)) from None
    except (OSError, ValueError) as error:  # a URL that is none, a connection that breaks off
        raise UnreachableError(getattr(error, "strerror", None) or type(error).__name__) from None


def _date(text: str | None) -> float | None:
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
