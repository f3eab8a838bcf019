"""What an error means: may another try help, and had the side effect happened by then?"""

from __future__ import annotations

import errno
import http.client
import io
import json
import socket
import sqlite3
import ssl
import urllib.error
from collections.abc import Callable
from email.message import Message
from typing import Any

import httpcore
import httpx
import jsonschema
import psycopg
import pytest
import requests
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlalchemy.orm.exc import StaleDataError

from orchestrator.errors import NotAvailableError, ToolFailed
from orchestrator.events import Failure
from orchestrator.nodes.classify import MESSAGE_LENGTH, Meaning, classify, retry_after
from orchestrator.nodes.contract import InvalidOutput, OutputTooLarge


def look_alike(name: str, *bases: type, module: str = "requests.exceptions", **members: Any) -> Any:
    """Return a class that looks like one of a library that is not installed here."""
    return type(name, bases or (Exception,), {"__module__": module, **members})


def meaning(error: Exception, **options: Any) -> tuple[str, bool, str]:
    """Return what the failure says, without its message."""
    failure = classify(error, **options)
    return failure.type, failure.transient, failure.happened


def caused(error: Exception, cause: Exception) -> Exception:
    """Return *error* as ``raise error from cause`` leaves it."""
    error.__cause__ = cause
    return error


def answered(status: int, **headers: str) -> httpx.HTTPStatusError:
    """Return the error of an HTTP answer."""
    request = httpx.Request("POST", "http://127.0.0.1/")
    response = httpx.Response(status, headers={name.replace("_", "-"): text for name, text in headers.items()})
    return httpx.HTTPStatusError(f"HTTP {status}", request=request, response=response)


def _raised(function: Callable[[], object]) -> Exception:
    """Return what a call raises."""
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


REFUSED = ("connection", True, "no")
LOST = ("connection", True, "unknown")
LATE = ("timeout", True, "unknown")
LATE_TO_CONNECT = ("timeout", True, "no")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), LATE),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), LATE),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), REFUSED),
        (socket.gaierror(socket.EAI_NONAME, "unknown name"), REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), LOST),
        (BrokenPipeError(errno.EPIPE, "broken"), LOST),
        (OSError(errno.EHOSTUNREACH, "no route"), LOST),
        (ssl.SSLCertVerificationError("not trusted"), REFUSED),
        (ssl.SSLEOFError("eof"), LOST),
        (http.client.RemoteDisconnected("gone"), LOST),
        (http.client.IncompleteRead(b"half"), LOST),
        (urllib.error.URLError(ConnectionRefusedError()), REFUSED),
        (urllib.error.URLError(TimeoutError()), LATE),
        (urllib.error.URLError("no host given"), LOST),
    ],
    ids=repr,
)
def test_errors_of_python_itself(error: Exception, expected: tuple[str, bool, str]) -> None:
    """A lost or late answer leaves it unknown whether the effect happened; a refused connection does not."""
    assert meaning(error) == expected


@pytest.mark.parametrize("library", [httpx, httpcore], ids=lambda library: library.__name__)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ConnectTimeout", LATE_TO_CONNECT),
        ("PoolTimeout", LATE_TO_CONNECT),
        ("ReadTimeout", LATE),
        ("WriteTimeout", LATE),
        ("ConnectError", REFUSED),
        ("ReadError", LOST),
        ("WriteError", LOST),
        ("RemoteProtocolError", LOST),
        ("LocalProtocolError", ("LocalProtocolError", False, "no")),
        ("UnsupportedProtocol", ("UnsupportedProtocol", False, "no")),
    ],
)
def test_errors_of_httpx(library: Any, name: str, expected: tuple[str, bool, str]) -> None:
    """Errors of httpx and of what it stands on are known by name, so those of a fork are too."""
    assert meaning(getattr(library, name)("it failed")) == expected


def test_every_transport_error_of_httpx_is_known() -> None:
    """No error of an exchange is taken for an unknown exception, which would claim that nothing happened."""
    waiting: list[type[httpx.TransportError]] = [httpx.TransportError]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls is not httpx.TransportError and cls.__module__ == "httpx":
            failure = classify(cls("it failed"))
            assert failure.type in ("timeout", "connection") or not failure.transient


def test_errors_of_requests() -> None:
    """Errors of requests say what the error that they wrap says, where they wrap one."""
    base = look_alike("RequestException", OSError)
    connection = look_alike("ConnectionError", base)
    timeout = look_alike("Timeout", base)
    urllib3 = look_alike("HTTPError", module="urllib3.exceptions")
    refused = look_alike("NewConnectionError", look_alike("ConnectTimeoutError", urllib3), module="urllib3.exceptions")
    retries = look_alike("MaxRetryError", urllib3, module="urllib3.exceptions")("too many")
    retries.reason = refused("refused")

    assert meaning(look_alike("ReadTimeout", timeout)()) == LATE
    assert meaning(look_alike("ConnectTimeout", connection, timeout)()) == LATE_TO_CONNECT
    assert meaning(connection(retries)) == REFUSED
    assert meaning(connection(look_alike("ProtocolError", urllib3)("Connection aborted."))) == LOST
    assert meaning(connection("nobody knows")) == LOST
    assert meaning(look_alike("ChunkedEncodingError", base)()) == LOST
    assert meaning(look_alike("MissingSchema", base, ValueError)()) == ("MissingSchema", False, "no")
    assert meaning(look_alike("JSONDecodeError", base, ValueError)()) == ("JSONDecodeError", True, "unknown")


def test_a_false_response_still_has_a_status() -> None:
    """A response of requests is false when its status is an error; the status counts all the same."""
    members = {"status_code": 429, "headers": {"retry-after": "3"}, "__bool__": lambda self: False}
    response = look_alike("Response", object, module="requests.models", **members)()
    error = look_alike("HTTPError", OSError)("429")
    error.response = response
    assert classify(error) == Failure("rate_limited", "429", transient=True, retry_after=3.0)


def test_errors_of_model_clients() -> None:
    """A client's own connection error says what its stated cause says."""
    base = look_alike("APIConnectionError", module="openai")
    assert meaning(caused(base("Connection error."), httpx.ConnectError("refused"))) == REFUSED
    assert meaning(look_alike("APITimeoutError", base, module="openai")("Request timed out.")) == LATE
    status = look_alike("InternalServerError", module="openai", status_code=500)
    assert meaning(status("oops")) == ("http_5xx", True, "unknown")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ("http_4xx", False, "no")),
        (401, ("unauthorised", False, "no")),
        (402, ("unauthorised", False, "no")),
        (403, ("unauthorised", False, "no")),
        (404, ("http_4xx", False, "no")),
        (407, ("unauthorised", False, "no")),
        (408, ("timeout", True, "no")),
        (422, ("http_4xx", False, "no")),
        (429, ("rate_limited", True, "no")),
        (500, ("http_5xx", True, "unknown")),
        (502, ("http_5xx", True, "unknown")),
        (503, ("http_5xx", True, "no")),
        (504, ("http_5xx", True, "unknown")),
        (303, ("http_3xx", False, "unknown")),
    ],
)
def test_a_status_decides(status: int, expected: tuple[str, bool, str]) -> None:
    """Only 429, 503 and 4xx say that nothing happened; a request that a server broke on may have had its effect."""
    assert meaning(answered(status)) == expected


def test_status_of_urllib_and_aiohttp() -> None:
    """The status is found where other libraries keep it, and not taken from a class that only has a `code`."""
    headers = Message()
    headers["Retry-After"] = "2"
    error = urllib.error.HTTPError("http://127.0.0.1/", 429, "slow down", headers, io.BytesIO())
    failure = classify(error)
    error.close()
    assert (failure.type, failure.retry_after) == ("rate_limited", 2.0)

    aiohttp = look_alike("ClientResponseError", module="aiohttp.client_exceptions", status=401, headers=None)
    assert meaning(aiohttp()) == ("unauthorised", False, "no")

    assert meaning(look_alike("LedgerError", code=404, status=429)("odd")) == ("LedgerError", True, "no")


def test_retry_after_in_seconds() -> None:
    """429 and 503 say when another try makes sense; other statuses do not."""
    assert classify(answered(429, Retry_After="7")).retry_after == 7.0
    assert classify(answered(503, Retry_After="0")).retry_after == 0.0
    assert classify(answered(500, Retry_After="7")).retry_after is None


def test_retry_after_as_a_date() -> None:
    """A date is counted from the time that is passed in, else from the answer's own clock, and is never negative."""
    date = {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}
    seconds = 1792567710.0
    assert retry_after(date, seconds - 30) == 30.0
    assert retry_after(date, seconds + 30) == 0.0
    assert retry_after({**date, "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}) == 30.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2026 09:28:30 +0200"}, seconds - 30) == 30.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2026 07:28:30 -0000"}, seconds - 30) == 30.0
    assert retry_after(date) is None
    assert classify(answered(429, Retry_After=date["retry-after"]), now=seconds - 5).retry_after == 5.0


@given(st.text(max_size=30))
def test_retry_after_is_never_a_surprise(text: str) -> None:
    """Whatever a server writes there, the wait is a finite number that is not negative, or unknown."""
    seconds = retry_after({"Retry-After": text}, 0.0)
    assert seconds is None or 0.0 <= seconds < float("inf")


@pytest.mark.parametrize("text", ["inf", "nan", "1e400", "-1", "", "soon", "Wed, 99 Oct 2026", "9" * 400])
def test_retry_after_nonsense_is_ignored(text: str) -> None:
    """A wait that is no wait is not taken over."""
    assert retry_after({"Retry-After": text}, 0.0) is None


def test_what_the_tool_says_holds() -> None:
    """`ToolFailed` is taken at its word, and a subclass may name its own type."""
    error = ToolFailed("card declined", transient=True, happened="yes", retry_after=4.0)
    assert classify(error) == Failure("ToolFailed", "card declined", transient=True, happened="yes", retry_after=4.0)
    assert classify(OutputTooLarge("too much", happened="yes")).type == "output_too_large"


def test_own_errors() -> None:
    """A broken output contract may be tried again; a node that cannot be called may not."""
    assert meaning(InvalidOutput("no id")) == ("invalid_output", True, "yes")
    assert meaning(NotAvailableError("not yet")) == ("not_available", False, "no")


@pytest.mark.parametrize(
    "error",
    [
        ArithmeticError(),
        AssertionError(),
        AttributeError(),
        KeyError("x"),
        NameError(),
        NotImplementedError(),
        TypeError(),
        UnicodeEncodeError("ascii", "\xff", 0, 1, "bad"),
        ZeroDivisionError(),
    ],
    ids=repr,
)
def test_mistakes_are_permanent(error: Exception) -> None:
    """A mistake in the code or in its input fails in the same way every time."""
    assert meaning(error) == (type(error).__name__, False, "no")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "disk full"), RuntimeError("?")], ids=repr)
def test_anything_else_may_pass(error: Exception) -> None:
    """An exception that nothing is known of may not come again."""
    assert meaning(error) == (type(error).__name__, True, "no")


def test_a_wrapped_timeout_is_still_a_timeout() -> None:
    """An error of the tool's own, raised from a lost answer, does not claim that nothing happened."""

    class PaymentError(Exception):
        pass

    wrapped = caused(PaymentError("payment failed"), httpx.ReadTimeout("late"))
    assert classify(wrapped) == Failure("timeout", "payment failed", transient=True, happened="unknown")
    assert meaning(caused(ValueError("bad answer"), KeyError("id"))) == ("ValueError", False, "no")


def test_causes_in_a_circle() -> None:
    """Errors that are each other's cause are classified like any others."""
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert meaning(first) == ("RuntimeError", True, "no")


def test_of_a_group_the_most_serious_counts() -> None:
    """An unknown outcome beats a permanent failure, which beats a transient one; of equals the first stands."""
    group = ExceptionGroup(
        "several", [RuntimeError("a"), ExceptionGroup("inner", [TimeoutError("b")]), ValueError("c")]
    )
    assert classify(group).message == "b"
    assert classify(ExceptionGroup("several", [RuntimeError("a"), ValueError("c")])).message == "c"
    assert classify(ExceptionGroup("several", [RuntimeError("a"), RuntimeError("c")])).message == "a"


def test_the_caller_knows_whether_it_was_sent() -> None:
    """What the caller knows of the sending beats what an error's class lets one guess."""
    assert meaning(TimeoutError(), sent=False) == ("timeout", True, "no")
    assert meaning(ConnectionRefusedError(), sent=True) == LOST
    assert meaning(answered(429), sent=True) == ("rate_limited", True, "no")
    assert meaning(InvalidOutput("x"), sent=True) == ("invalid_output", True, "yes")


def test_a_table_of_ones_own() -> None:
    """Users name classes, bare or with their module, and these beat everything else; subclasses follow."""

    class Declined(Exception):
        pass

    class Blocked(Declined):
        pass

    declined = Meaning("declined", transient=False, happened="no")
    assert meaning(Blocked(), table={"Declined": declined}) == ("declined", False, "no")
    qualified = {f"{Declined.__module__}.{Declined.__qualname__}": Meaning(None, transient=False, happened="no")}
    assert meaning(Declined(), table=qualified) == ("Declined", False, "no")
    assert meaning(TimeoutError(), table={"TimeoutError": declined}) == ("declined", False, "no")


def test_a_class_may_be_named_by_where_a_package_offers_it() -> None:
    """A library's public name for a class counts as much as the module that happens to define it."""
    refused = Meaning("declined", transient=False, happened="no")
    assert meaning(requests.ConnectionError(), table={"requests.ConnectionError": refused})[0] == "declined"
    assert meaning(requests.ConnectionError(), table={"requests.exceptions.ConnectionError": refused})[0] == "declined"
    assert meaning(requests.ConnectionError(), table={"requests.Timeout": refused, "nowhere.at.All": refused}) == LOST


def test_a_users_own_meaning_holds_for_a_stated_cause() -> None:
    """An error of the tool's own that was raised from a class in the table means what the table says."""
    late = {"LookupError": Meaning("gone", transient=True, happened="yes")}
    assert meaning(caused(RuntimeError("wrapped"), KeyError("id")), table=late) == ("gone", True, "yes")
    assert meaning(caused(ToolFailed("no"), KeyError("id")), table=late) == ("ToolFailed", False, "no")


def test_a_wait_is_read_where_the_table_says_rate_limited() -> None:
    """Retry-After of the answer, or what the error itself says in seconds; nonsense is no wait."""
    table = {"Limited": Meaning(None, transient=True, happened="no", evidence="rate_limited")}
    limited = look_alike("Limited")
    for said, wait in ((7, 7.0), (None, None), ("soon", None), (-1, None), (float("inf"), None)):
        error = limited("slow down")
        error.retry_after = said
        assert classify(error, table=table).retry_after == wait
    error = limited("slow down")
    error.response = httpx.Response(429, headers={"retry-after": "9"})
    assert classify(error, table=table).retry_after == 9.0


UNREADABLE: Any = [
    json.JSONDecodeError("no", "<html>", 0),
    UnicodeDecodeError("utf-16", b"<html>", 0, 1, "bad"),
    _raised(lambda: TypeAdapter(dict[str, int]).validate_python({"n": "<html>"})),
    _raised(lambda: TypeAdapter(int).validate_json("<html>")),
    _raised(lambda: jsonschema.validate("<html>", {"type": "object"})),
]


@pytest.mark.parametrize("error", UNREADABLE, ids=["json", "unicode", "pydantic", "pydantic json", "jsonschema"])
def test_what_cannot_be_read_is_an_answer_unless_it_was_given(error: Exception) -> None:
    """An unparsable answer breaks its contract; an unparsable input is the caller's, wherever in the inputs it lies."""
    failure = classify(error, given=["question", {"n": 1}])
    assert (failure.transient, failure.happened, failure.evidence) == (True, "unknown", "contract")
    for text in ("<html>", b"<html>", [{"body": " <html> "}], {"n": b"<html>"}):
        failure = classify(error, given=["question", text])
        assert (failure.transient, failure.evidence) == (False, "caller")


def test_the_comparison_with_what_was_given_never_fails() -> None:
    """Inputs that cannot be compared, and inputs without end, leave it an answer."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("ambiguous")

        __hash__ = None  # type: ignore[assignment]  # as that of arrays

    endless: list[Any] = []
    endless.append(endless)
    error = json.JSONDecodeError("no", "<html>", 0)
    assert classify(error, given=[Array(), endless]).evidence == "contract"
    # Null is in many inputs, and in many answers: it shows nothing.
    null = _raised(lambda: TypeAdapter(int).validate_python(None))
    assert classify(null, given=[None]).evidence == "contract"


@pytest.mark.parametrize("error", [RuntimeError(), KeyError("x"), LookupError(), SystemError()], ids=repr)
def test_in_doubt_an_effect_may_have_happened(error: Exception) -> None:
    """An error that says nothing of when it was raised takes what the caller says for a case of doubt."""
    assert classify(error, doubt="unknown").happened == "unknown"
    assert classify(error).happened == "no"


@pytest.mark.parametrize(
    "error",
    [answered(429), answered(400), ConnectionRefusedError(), ToolFailed("no"), NotAvailableError("no")],
    ids=repr,
)
def test_no_doubt_where_something_is_said(error: Exception) -> None:
    """A refusal is one also for an effect that must not happen twice: another provider may go on."""
    assert classify(error, doubt="unknown").happened == "no"


def test_databases_without_their_libraries() -> None:
    """Drivers that are not installed here are known by the names of PEP 249, by their states and by what they say."""
    base = look_alike("DatabaseError", module="odd")
    failed = look_alike("OperationalError", base, module="odd")
    assert meaning(failed("gone")) == ("OperationalError", True, "unknown")
    assert meaning(look_alike("InterfaceError", module="odd")("closed")) == ("InterfaceError", True, "unknown")
    assert meaning(look_alike("IntegrityError", base, module="odd")("twice")) == ("IntegrityError", False, "no")
    assert meaning(look_alike("PoolTimeout", failed, module="odd")("none free")) == LATE_TO_CONNECT
    assert meaning(look_alike("DataError", module="redis.exceptions")("?")) == ("DataError", True, "no")
    states = {
        "08006": LOST,
        "08001": REFUSED,
        "25006": ("OperationalError", True, "no"),
        "28P01": ("unauthorised", False, "no"),
        "40001": ("conflict", True, "no"),
        "40P01": ("conflict", True, "no"),
        "40003": LOST,
        "53300": ("OperationalError", True, "no"),
        "57P01": LOST,
        "57P03": REFUSED,
        "58030": ("OperationalError", True, "unknown"),
        "HY000": ("OperationalError", True, "unknown"),
        "nonsense": ("OperationalError", True, "unknown"),
    }
    for key in ("sqlstate", "pgcode"):
        for state, expected in states.items():
            error = failed("?")
            setattr(error, key, state)
            assert meaning(error) == expected, state


def test_a_lost_connection_of_sqlalchemy_is_unknown_whatever_the_driver_calls_it() -> None:
    """SQLAlchemy knows that the connection is gone; only a driver that never had one knows better."""
    integrity = sqlalchemy.exc.IntegrityError("q", {}, sqlite3.IntegrityError("?"), connection_invalidated=True)
    assert meaning(integrity) == LOST
    starting = sqlalchemy.exc.OperationalError(
        "q", {}, psycopg.errors.CannotConnectNow("starting up"), connection_invalidated=True
    )
    assert meaning(starting) == REFUSED
    assert meaning(sqlalchemy.exc.OperationalError("q", {}, OSError("?"))) == ("OperationalError", True, "unknown")
    assert meaning(sqlalchemy.exc.DisconnectionError("?")) == LOST
    assert meaning(StaleDataError("another was quicker")) == ("conflict", True, "no")


def test_the_message_is_short_and_never_fails() -> None:
    """A message is cut, an empty one is the class name, and an error that cannot be printed is still a failure."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    assert len(classify(RuntimeError("x" * 5000)).message) == MESSAGE_LENGTH
    assert classify(TimeoutError()).message == "TimeoutError"
    assert classify(Unprintable()).message == "Unprintable"


def test_a_secret_is_hidden_before_the_message_is_cut() -> None:
    """No half of a secret is left where the message ends."""
    error = ExceptionGroup("", [RuntimeError("x" * (MESSAGE_LENGTH - 4) + "hunter2")])
    failure = classify(error, redact=lambda text: text.replace("hunter2", "***"))
    assert failure.message.endswith("x***")
