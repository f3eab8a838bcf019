"""Questions to a model, for tests."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.events import ModelAsked, Option

__all__ = ("GIVE_UP", "OPTIONS", "SUPPLY", "ask", "completion", "nothing")

GIVE_UP = Option("give_up", "give_up")
SUPPLY = Option("supply:refund", "supply", ("refund",))
OPTIONS = (
    Option("retry:razorpay,stripe", "retry", ("razorpay", "stripe")),
    Option("demote:told", "demote", ("told",)),
    Option("ask", "ask"),
    GIVE_UP,
)


def ask(*options: Option, **changed: Any) -> ModelAsked:
    """Return a question: the refund cannot be made."""
    fields: dict[str, Any] = {
        "n": 1,
        "model": "small",
        "goal": "refunded",
        "reason": "no_route",
        "options": options or OPTIONS,
        "held": (("order", "crm"),),
        "failed": (("stripe", 1, "timeout", "no answer"),),
        "blocked": (("razorpay", "down"), ("stripe", "excluded: timeout")),
    }
    return ModelAsked(**(fields | changed))


def nothing(value: str, provider: str) -> str:
    """Show no value."""
    return "{}"


def completion(content: Any, *, finish: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    """Return a chat completion that says *content*: a text, or data that is written as JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 50, "total_tokens": 450} if usage is None else usage,
    }
