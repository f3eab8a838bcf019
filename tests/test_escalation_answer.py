"""What a model may answer, and that nothing else becomes a choice."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.escalation.answer import Price, Verdict, answer_schema, read_answer, response_format
from orchestrator.redact import Redactor
from tests.asking import GIVE_UP, OPTIONS, SUPPLY, ask, completion

PLAIN = ask()
SUPPLYING = ask(*OPTIONS, SUPPLY)


def read(content: Any, question=PLAIN, *, asked: int = 100, price: Price | None = None, **changed: Any) -> Verdict:
    """Return the verdict of a completion that says *content*."""
    body = json.dumps(completion(content, **changed)).encode()
    return read_answer(body, question, asked=asked, price=price or Price(), redact=Redactor(["hunter2"]).redact)


def test_the_schema_is_the_closed_set() -> None:
    """The ids of the options are the only choices; there is no content where nothing may be supplied."""
    assert answer_schema(PLAIN) == {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "one sentence, at most 300 characters"},
            "choice": {"type": "string", "enum": ["retry:razorpay,stripe", "demote:told", "ask", "give_up"]},
        },
        "required": ["reason", "choice"],
        "additionalProperties": False,
    }
    assert answer_schema(SUPPLYING)["required"] == ["reason", "choice", "content"]
    assert answer_schema(PLAIN, bounded=True)["properties"]["reason"]["maxLength"] == 300
    for question in (PLAIN, SUPPLYING):
        jsonschema.Draft202012Validator.check_schema(answer_schema(question, bounded=True))


def test_the_schema_is_strict_where_it_can_be() -> None:
    """A schema that says "any JSON" is no strict one; all others are."""
    assert response_format(PLAIN)["json_schema"]["strict"] is True
    assert response_format(SUPPLYING)["json_schema"]["strict"] is False


def test_a_choice() -> None:
    """A listed id is a choice, with the model's words and what it took."""
    verdict = read({"reason": "it will last", "choice": "demote:told"}, price=Price(2.0, 10.0))
    assert verdict == Verdict("demote:told", None, "it will last", None, 1, 0.0013, 450)


@pytest.mark.parametrize("content", [0, False, "", [], {}, "text", {"id": [1, 2.5, None, "ü"]}])
def test_a_value_that_is_supplied(content: Any) -> None:
    """Any JSON but null is a value, where the choice is to supply one."""
    verdict = read({"reason": "", "choice": "supply:refund", "content": content}, SUPPLYING)
    assert (verdict.choice, verdict.error) == ("supply:refund", None)
    assert verdict.content == content
    assert type(verdict.content) is type(content)


def test_content_beside_another_choice_is_left_out() -> None:
    """A value is supplied by choosing so, and not by the way."""
    verdict = read({"reason": "", "choice": "ask", "content": {"amount": 10**9}}, SUPPLYING)
    assert (verdict.choice, verdict.content) == ("ask", None)


def deep(levels: int) -> list[Any]:
    """Return a list in a list in a list."""
    content: list[Any] = []
    for _ in range(levels - 1):
        content = [content]
    return content


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("not JSON", "invalid"),
        ("", "invalid"),
        (None, "invalid"),
        ("[]", "invalid"),
        ('"demote:told"', "invalid"),
        ("demote:told", "invalid"),
        ('```json\n{"reason": "", "choice": "ask"}\n```', "invalid"),
        ('{"reason": "", "choice": "ask"', "invalid"),
        ('{"reason": "", "choice": "ask"} and more', "invalid"),
        ({"reason": ""}, "invalid"),
        ({"reason": "", "choice": None}, "invalid"),
        ({"reason": "", "choice": ["ask"]}, "invalid"),
        ({"reason": "", "choice": 3}, "invalid"),
        ({"reason": 3, "choice": "ask"}, "invalid"),
        ({"reason": None, "choice": "ask"}, "invalid"),
        ({"reason": "", "choice": "ask", "tool": "rm"}, "invalid"),
        ({"reason": "", "choice": "ask", "content": 1}, "invalid"),
        ('{"choice": "ask", "choice": "give_up", "reason": ""}', "invalid"),
        ("[" * 100_000, "invalid"),
        ({"reason": "", "choice": ""}, "not_listed"),
        ({"reason": "", "choice": "ASK"}, "not_listed"),
        ({"reason": "", "choice": "ask "}, "not_listed"),
        ({"reason": "", "choice": "demote:refunded"}, "not_listed"),
        ({"reason": "", "choice": "retry:razorpay"}, "not_listed"),
        ({"reason": "", "choice": "supply:refund"}, "not_listed"),
        ({"reason": "", "choice": "http://evil.example/x"}, "not_listed"),
    ],
)
def test_an_answer_that_is_none(content: Any, error: str) -> None:
    """Whatever the server promised: an answer that does not keep to the options is an error with a reason."""
    verdict = read(content)
    assert (verdict.choice, verdict.content, verdict.error) == (None, None, error)
    assert verdict.reason
    assert (verdict.calls, verdict.tokens) == (1, 450)


@pytest.mark.parametrize(
    "content",
    [
        "null",
        "NaN",
        "-Infinity",
        "1e999",
        "[1, NaN]",
        "9" * 5000,
        '"\\ud800"',
        '{"a": 1, "a": 2}',
        json.dumps("x" * 5000),
        json.dumps([0] * 5000),
        json.dumps(deep(21)),
        "[" * 5000 + "]" * 5000,
    ],
)
def test_content_that_no_value_can_be(content: str) -> None:
    """Numbers that are none, texts that are none, and what is too long or nested too deep are not supplied."""
    verdict = read(f'{{"reason": "", "choice": "supply:refund", "content": {content}}}', SUPPLYING)
    assert (verdict.choice, verdict.error) == (None, "invalid")
    assert read({"reason": "", "choice": "supply:refund", "content": deep(20)}, SUPPLYING).choice == "supply:refund"


def test_a_missing_reason_costs_no_choice() -> None:
    """The words are for people; a choice without them is one."""
    assert read({"choice": "ask"}) == Verdict("ask", calls=1, tokens=450)


def test_a_refusal_is_told() -> None:
    """A model that refuses, and a filter that stops it, are told apart from an answer that makes no sense."""
    verdict = read(None, refusal="I can't help with hunter2\x1b.")
    assert (verdict.error, verdict.reason) == ("refused", "I can't help with ***.")
    assert read({"choice": "ask"}, finish="content_filter").error == "refused"


def test_an_answer_that_was_cut_off_is_told() -> None:
    """Also where what there is of it happens to be whole."""
    assert read({"choice": "ask"}, finish="length").error == "truncated"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"<html>Bad gateway</html>",
        b"\xff\xfe\x00",
        b'{"choices": [',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [null]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": ["ask"]}}]}',
        b'{"choices": {"0": {"message": {}}}}',
        b'{"error": {"message": "no such model"}}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_completion(body: bytes) -> None:
    """A server that answers something else gives no choice, and no exception."""
    verdict = read_answer(body, PLAIN, asked=100, price=Price(1.0))
    assert (verdict.choice, verdict.error, verdict.calls) == (None, "invalid", 1)


def test_words_are_cut_plain_and_without_secrets() -> None:
    """What the model says is one line of at most 300 characters, in which secrets are hidden."""
    verdict = read({"choice": "ask", "reason": "\x1b[31m hunter2\n" + "x" * 1000})
    assert verdict.reason.startswith("[31m *** xxx")
    assert len(verdict.reason) == 300


@pytest.mark.parametrize(
    "usage",
    [{}, [], "many", {"prompt_tokens": -1, "completion_tokens": 5}, {"prompt_tokens": 1e9, "completion_tokens": 1},
     {"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": 10**12, "completion_tokens": 1},
     {"prompt_tokens": 3}],
)  # fmt: skip
def test_a_server_that_does_not_count_is_counted_for(usage: Any) -> None:
    """Without a usable count, tokens and money are taken from the length of question and answer."""
    verdict = read('{"choice": "ask"}', usage=usage, asked=100, price=Price(1.0, 2.0))
    assert verdict.tokens == 105
    assert verdict.usd == pytest.approx(110e-6)


KEYS = st.text(max_size=8) | st.just("choice")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("give_up"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "choice": JSON | st.sampled_from([option.id for option in (*OPTIONS, SUPPLY)]),
        "reason": JSON | st.text(),
        "content": JSON,
        "tool": JSON,
    },
)


@given(ANSWERS | JSON, st.sampled_from([PLAIN, SUPPLYING, ask(GIVE_UP)]), st.sampled_from(["stop", "length", 3, None]))
def test_a_choice_is_listed_or_there_is_none(answer: Any, question, finish: Any) -> None:
    """Whatever a model says, a verdict has a listed choice or an error, never both and never neither."""
    verdict = read(json.dumps(answer), question, finish=finish)
    listed = [option.id for option in question.options]
    assert (verdict.choice in listed) == (verdict.error is None)
    assert verdict.choice is None or verdict.choice in listed
    assert verdict.error in (None, "invalid", "not_listed", "truncated")
    assert verdict.content is None or verdict.choice == SUPPLY.id
    assert len(verdict.reason) <= 300
    if verdict.error is None:
        jsonschema.validate({"reason": "", "content": None, **answer}, answer_schema(SUPPLYING))
    json.dumps(verdict.content, allow_nan=False)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_survived(body: bytes) -> None:
    """Bytes of any kind are an answer that is none."""
    assert read_answer(body, PLAIN, asked=1, price=Price()).error == "invalid"
