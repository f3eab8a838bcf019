"""The answer of a model: the schema that binds it, and the check of everything that comes back.

A server may promise a schema and break it, or never have heard of one. So the whole answer is checked here against
the closed set of options: a choice is one of their ids or there is none, and everything else in an answer is text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.escalation.plain import Redact, plain
from orchestrator.escalation.question import REASON_LENGTH
from orchestrator.events import ModelAsked

__all__ = ("Price", "Verdict", "answer_schema", "read_answer", "response_format")

CONTENT_BYTES = 4 * 2**10
"""Longest value that a model may supply, as JSON: what its answer of 1,024 tokens can hold."""
CONTENT_DEPTH = 20
"""Deepest one: no record that is written by hand is nested as deep."""
CHARACTERS_PER_TOKEN = 4
"""Of English, about; used where a server does not count, and before it can."""
MOST_TOKENS = 10_000_000
"""A larger count is no count: no context window holds as many."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model answered, before the run machine sees it.

    ``choice`` is the id of an option, or None with the ``error``: timeout, connection, http_3xx, http_4xx, http_5xx,
    rate_limited, unauthorised, refused, truncated, invalid, not_listed, budget, not_configured, else the class name of
    what was raised. ``content`` is the value that the model supplies. ``reason`` holds the model's own words, or what
    went wrong. ``calls`` counts requests that were sent, ``usd`` and ``tokens`` what they took.
    """

    choice: str | None
    content: Any = None
    reason: str = ""
    error: str | None = None
    calls: int = 0
    usd: float = 0.0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0

    def usd(self, input_tokens: float, output_tokens: float = 0) -> float:
        """Return what so many tokens cost."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


def answer_schema(question: ModelAsked, *, bounded: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of an answer; ``content`` is part of it only where a value may be supplied.

    Args:
        question: What is asked; its options are the only choices.
        bounded: Whether the length of the reason is part of the schema. It keeps a small model from going on for ever,
            but not every server takes it in a strict schema.
    """
    reason: dict[str, Any] = {"type": "string", "description": f"one sentence, at most {REASON_LENGTH} characters"}
    if bounded:
        reason["maxLength"] = REASON_LENGTH
    properties = {"reason": reason, "choice": {"type": "string", "enum": [option.id for option in question.options]}}
    if _may_supply(question):
        properties["content"] = {"description": "the value that is supplied, as JSON; null where none is"}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def response_format(question: ModelAsked, *, bounded: bool = False) -> dict[str, Any]:
    """Return the ``response_format`` of the request."""
    # "Any JSON" is nothing that a strict schema can say, to OpenAI at least.
    strict = not _may_supply(question)
    schema = answer_schema(question, bounded=bounded)
    return {"type": "json_schema", "json_schema": {"name": "decision", "strict": strict, "schema": schema}}


def read_answer(body: bytes, question: ModelAsked, *, asked: int, price: Price, redact: Redact = str) -> Verdict:
    """Return the verdict that a server's answer stands for; never raises.

    Args:
        body: The chat completion, as it came.
        question: What was asked.
        asked: How many tokens the question takes, where the server does not say.
        price: What they cost.
        redact: Hides secrets in the model's words.
    """
    try:
        completion = _object(body, "the server's answer")
    except _Unusable as unusable:
        return Verdict(None, reason=unusable.told(redact), error=unusable.error, calls=1, usd=price.usd(asked))
    took = _taken(completion, asked, price)
    try:
        choice, content, reason = _decision(_text(completion), question)
    except _Unusable as unusable:
        return replace(took, reason=unusable.told(redact), error=unusable.error)
    return replace(took, choice=choice, content=content, reason=plain(reason, REASON_LENGTH, redact))


class _Unusable(Exception):
    """The answer is none; says why."""

    def __init__(self, reason: str, error: str = "invalid") -> None:
        super().__init__(reason)
        self.error = error

    def told(self, redact: Redact) -> str:
        return plain(str(self), REASON_LENGTH, redact)


def _may_supply(question: ModelAsked) -> bool:
    return any(option.decision == "supply" for option in question.options)


# --------------------------------------------------------------------------------------------------- the completion


def _text(completion: Mapping[str, Any]) -> str:
    """Return what the model said."""
    choices = completion.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        raise _Unusable("the server's answer holds no message")
    refusal, finish = message.get("refusal"), first.get("finish_reason")
    if isinstance(refusal, str) and refusal:
        raise _Unusable(refusal, "refused")
    if finish == "content_filter":
        raise _Unusable("a content filter stopped the answer", "refused")
    if finish == "length":
        raise _Unusable("the answer was cut off at its longest", "truncated")
    text = message.get("content")
    if not isinstance(text, str):
        raise _Unusable("the message holds no text")
    return text


def _taken(completion: Mapping[str, Any], asked: int, price: Price) -> Verdict:
    """Return a verdict that says what the answer took: by the server's count, else by the length of the texts."""
    usage = completion.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    input_tokens, output_tokens = _count(counted.get("prompt_tokens")), _count(counted.get("completion_tokens"))
    if input_tokens is None or output_tokens is None:
        try:
            said = len(_text(completion))
        except _Unusable:
            said = 0
        input_tokens, output_tokens = asked, math.ceil(said / CHARACTERS_PER_TOKEN)
    usd = price.usd(input_tokens, output_tokens)
    return Verdict(None, calls=1, usd=usd, tokens=input_tokens + output_tokens)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


# ----------------------------------------------------------------------------------------------------- the decision


def _decision(text: str, question: ModelAsked) -> tuple[str, Any, str]:
    """Return choice, content and reason of an answer that keeps to the options."""
    answer = _object(text, "the answer")
    offered = {option.id: option for option in question.options}
    allowed = ("reason", "choice", "content") if _may_supply(question) else ("reason", "choice")
    for key in answer:
        if key not in allowed:
            raise _Unusable(f"the answer has a key that was not asked for: {key}")
    choice, reason = answer.get("choice"), answer.get("reason", "")
    if not isinstance(choice, str) or not isinstance(reason, str):
        raise _Unusable("choice and reason are not both texts")
    if choice not in offered:
        raise _Unusable(f"this is not listed: {choice}", "not_listed")
    if offered[choice].decision != "supply":
        return choice, None, reason
    content = answer.get("content")
    if content is None:
        raise _Unusable("a value is to be supplied, and content is missing")
    _check_content(content)
    return choice, content, reason


def _check_content(content: Any) -> None:
    if _depth(content) > CONTENT_DEPTH:
        raise _Unusable(f"content is nested deeper than {CONTENT_DEPTH}")
    try:
        size = len(json.dumps(content, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise _Unusable("content is no text that can be written down") from None
    if size > CONTENT_BYTES:
        raise _Unusable(f"content has {size} bytes, and may have {CONTENT_BYTES}")


def _depth(content: Any) -> int:
    """Return how deep *content* is nested, or what is just too deep."""
    level, depth = [content], 0
    while level and depth <= CONTENT_DEPTH:
        depth += 1
        inner = [list(item.values()) if isinstance(item, dict) else item for item in level]
        level = [part for item in inner if isinstance(item, list) for part in item]
    return depth


# ------------------------------------------------------------------------------------------------------------- JSON


def _object(text: str | bytes, what: str) -> dict[str, Any]:
    """Read an object; unlike `json.loads` refuse NaN, numbers that are none, and a key that is given twice."""
    try:
        data = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise _Unusable(f"{what} is no JSON") from None
    if not isinstance(data, dict):
        raise _Unusable(f"{what} is no JSON object")
    return data


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found
