"""No secret may be seen, however it was written."""

from __future__ import annotations

import base64
import json
import re
from collections import namedtuple
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.events import AttemptEnded, Failure
from orchestrator.redact import Redactor

SECRET = "pä$s/w+ör d'\"\n\\=&?"
REDACTOR = Redactor([SECRET])

# Letters that mean something to none of the encodings, so that a drawn secret is no part of what surrounds it.
plain = st.text(alphabet="0123456789 .,", max_size=20)
secrets = st.text(
    st.characters(exclude_categories=["Cs", "Nd"], exclude_characters=" .,*"), min_size=4, max_size=30
).filter(lambda text: text == text.strip())


FORMS = {
    "plain": SECRET,
    "path": quote(SECRET),
    "segment": quote(SECRET, safe=""),
    "lower case": re.sub("%..", lambda match: match[0].lower(), quote(SECRET, safe="")),
    "form": quote_plus(SECRET),
    "repr": repr(SECRET)[1:-1],
    "ascii": ascii(SECRET)[1:-1],
    "bytes": repr(SECRET.encode())[2:-1],
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON with letters": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(SECRET.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret(form: str) -> None:
    """A secret is found plain, percent-encoded, escaped by repr or JSON, and as base64."""
    assert REDACTOR.redact(f"key={FORMS[form]}; next") == "key=***; next"


@pytest.mark.parametrize("write", [repr, ascii, lambda text: repr(text.encode()), json.dumps, quote, quote_plus])
@given(secret=secrets, before=plain, after=plain, quotes=st.sampled_from(["", "'", '"', "'\""]))
def test_a_text_that_is_written_as_a_whole(write: Any, secret: str, before: str, after: str, quotes: str) -> None:
    """A secret is found in an escaped text, whatever else in that text decides how it is escaped."""
    masked = Redactor([secret]).redact(write(before + secret + after + quotes))
    assert "***" in masked
    # All of it: what is left is no longer than what stood around it, a quote or two escaped.
    assert len(masked) <= len(write(before + after + quotes)) + len("***") + len(quotes)


@given(secrets, plain, plain)
def test_nothing_of_a_text_but_the_secret_is_lost(secret: str, before: str, after: str) -> None:
    """What stands around a secret stays as it was, and the secret is gone."""
    assert Redactor([secret]).redact(before + secret + after) == f"{before}***{after}"


@given(st.binary(max_size=5), st.binary(min_size=9, max_size=40), st.binary(max_size=5))
def test_base64_inside_a_longer_text(before: bytes, secret: bytes, after: bytes) -> None:
    """A secret is found in base64 at any offset, as in a Basic authorization header."""
    text = base64.b64encode(secret).decode()
    masked = Redactor([text]).redact(base64.b64encode(before + text.encode() + after).decode())
    assert "***" in masked
    # Of the characters that hold the secret's bits at most the two that its neighbours share are left.
    assert len(masked) - 3 <= len(base64.b64encode(before + after)) + 8


@given(st.lists(secrets, max_size=5), plain)
def test_no_secret_is_left(found: list[str], filler: str) -> None:
    """Of several secrets, also where one is a part of another, none is left anywhere."""
    masked = Redactor(found).redact(filler.join(found) + filler)
    assert not any(secret in masked for secret in found)


def test_the_longest_secret_counts() -> None:
    """Where secrets overlap or touch, all of it is hidden by one mask."""
    assert Redactor(["abcd", "abcdef"]).redact("xabcdefx") == "x***x"
    assert Redactor(["abcd", "cdef"]).redact("xabcdefx") == "x***x"
    assert Redactor(["abcd", "efgh"]).redact("xabcdefghx") == "x***x"
    assert Redactor(["abcdef", "bcde"]).redact("xabcdefx") == "x***x"
    assert Redactor(["abab"]).redact("xabababx abab") == "x***x ***"
    assert Redactor(["abcd"]).redact("abcd") == "***"


def test_short_texts_are_no_secrets() -> None:
    """Fewer than four characters are left alone: they occur everywhere."""
    assert Redactor(["abc", "", " a "]).redact("abc a ") == "abc a "


def test_a_secret_is_found_without_its_line_break() -> None:
    """A key that was read from a file with its line break is used without it."""
    assert Redactor(["hunter2\n"]).redact("key=hunter2") == "key=***"


def test_half_a_surrogate_is_no_trouble() -> None:
    """A secret that has no UTF-8 form, as the environment may hold, is found."""
    assert Redactor(["abc\udcff"]).redact("x abc\udcff x") == "x *** x"


# ----------------------------------------------------------------------------------------------------------------- data

Pair = namedtuple("Pair", ["left", "right"])


@dataclass(frozen=True, slots=True)
class Frozen:
    text: str
    number: int = 0

    def __post_init__(self) -> None:
        if "*" in self.text:
            raise ValueError("refused")


class Model(BaseModel, frozen=True):
    text: str


@pytest.mark.parametrize(
    ("data", "masked"),
    [
        ({"a": [1, ("hunter2",)]}, {"a": [1, ("***",)]}),
        ({"hunter2": 1, "b": None}, {"***": 1, "b": None}),
        ({"hunter2", "x"}, {"***", "x"}),
        (frozenset({"hunter2"}), frozenset({"***"})),
        (b"x hunter2\xff", b"x ***\xff"),
        (bytearray(b"hunter2"), b"***"),
        (Pair("hunter2", 1), Pair("***", 1)),
        (Model(text="hunter2"), Model(text="***")),
    ],
    ids=["mapping", "key", "set", "frozenset", "bytes", "bytearray", "namedtuple", "model"],
)
def test_nested_data(data: Any, masked: Any) -> None:
    """Secrets are found in everything that holds others, keys included, and its type stays."""
    assert Redactor(["hunter2"]).redact(data) == masked


def test_records_are_not_built_again() -> None:
    """A frozen record keeps its type and its other fields, also where its constructor would refuse a mask."""
    masked = Redactor(["hunter2"]).redact(Frozen("hunter2", 3))
    assert (type(masked), masked.text, masked.number) == (Frozen, "***", 3)
    event = AttemptEnded("it", 0, 1, "failed", failure=Failure("timeout", "POST /?key=hunter2"))
    assert Redactor(["hunter2"]).redact(event).failure == Failure("timeout", "POST /?key=***")


@pytest.mark.parametrize(
    "data",
    ["text", b"bytes", {"a": [1, {"b": (None, True)}]}, Frozen("text"), Model(text="text"), {1, 2}, object()],
    ids=lambda data: type(data).__name__,
)
def test_what_holds_no_secret_is_the_same_object(data: Any) -> None:
    """Nothing is copied where there is nothing to hide."""
    assert Redactor(["hunter2"]).redact(data) is data
    assert Redactor([]).redact(data) is data


def test_data_that_holds_itself() -> None:
    """Data without an end is cut, not followed for ever."""
    data: list[Any] = ["hunter2"]
    data.append(data)
    assert "hunter2" not in str(Redactor(["hunter2"]).redact(data))


# ---------------------------------------------------------------------------------------------------------- environment


def test_secrets_of_the_environment() -> None:
    """Values are taken by the names of their variables, in any case; short ones and other variables are left."""
    environ = {
        "OPENAI_API_KEY": "aaaaaa1",
        "github_token": "bbbbbb2",
        "Db_Password": "cccccc3",
        "MYSQL_PASSWD": "dddddd4",
        "AWS_CREDENTIALS": "eeeeee5",
        "CLIENT_SECRET": "ffffff6",
        "SHORT_KEY": "true",
        "EMPTY_TOKEN": "",
        "LANG": "en_GB.UTF-8",
    }
    redactor = Redactor.from_environment(["given7"], environ)
    text = "aaaaaa1 bbbbbb2 cccccc3 dddddd4 eeeeee5 ffffff6 given7 true en_GB.UTF-8"
    assert redactor.redact(text) == "*** *** *** *** *** *** *** true en_GB.UTF-8"
