"""How the lists of an event are written as one text: viewers draw arrays as trees, and log fields are flat."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.events import Option, Value
from orchestrator.weight import Concern

__all__ = (
    "answers_text",
    "blocked_text",
    "concern_text",
    "inputs_text",
    "options_text",
    "outputs_text",
    "route_text",
    "undone_text",
    "weights_text",
)


def route_text(route: Iterable[str]) -> str:
    """Write the nodes of a route in order.

    >>> route_text(("crm", "stripe"))
    'crm > stripe'
    """
    return " > ".join(route)


def answers_text(answers: Iterable[tuple[str, int]]) -> str | None:
    """Write which attempts a decision answers; None if none.

    >>> answers_text([("crm", 1), ("stripe", 2)])
    'crm #1, stripe #2'
    """
    return ", ".join(f"{node} #{attempt}" for node, attempt in answers) or None


def blocked_text(blocked: Iterable[tuple[str, str]]) -> str | None:
    """Write why each node could not be used; None if none is named.

    >>> blocked_text([("crm", "down")])
    'crm: down'
    """
    return ", ".join(f"{node}: {reason}" for node, reason in blocked) or None


def weights_text(weights: Iterable[tuple[str, float]]) -> str | None:
    """Write how many times its declared weight each node weighs; None if none is named.

    >>> weights_text([("crm", 3.0), ("stripe", 0.34)])
    'crm: 3 times, stripe: 0.34 times'
    """
    return ", ".join(f"{node}: {ratio:.2g} times" for node, ratio in weights) or None


def concern_text(concern: Concern | None) -> str | None:
    """Write what takes attention, with its monitor and score; None if nothing does.

    >>> concern_text(Concern("latency", "crm", 0.7, "takes 3.0s now, mostly 1.0s"))
    'crm: takes 3.0s now, mostly 1.0s (latency, 0.7)'
    """
    if concern is None:
        return None
    about = f"{concern.node}: " if concern.node else ""
    return f"{about}{concern.reason} ({concern.monitor}, {concern.score:g})"


def options_text(options: Iterable[Option]) -> str | None:
    """Write what may be decided; None if nothing.

    >>> options_text([Option("demote:told", "demote", ("told",)), Option("ask", "ask")])
    'demote:told | ask'
    """
    return " | ".join(option.id for option in options) or None


def undone_text(undone: Iterable[tuple[str, bool]]) -> str | None:
    """Write which effects were undone; None if none.

    >>> undone_text([("stripe", True), ("wire", False)])
    'stripe, wire (failed)'
    """
    return ", ".join(node if worked else f"{node} (failed)" for node, worked in undone) or None


def inputs_text(inputs: Iterable[tuple[str, str, str | None]]) -> str | None:
    """Write, per parameter, the name of its value and who provides it; None if there are no parameters.

    >>> inputs_text([("order", "order", "crm"), ("score", "image_score", None)])
    'order: order of crm, score: none'
    """
    texts = (f"{parameter}: none" if by is None else f"{parameter}: {value} of {by}" for parameter, value, by in inputs)
    return ", ".join(texts) or None


def outputs_text(values: Iterable[Value]) -> str | None:
    """Write names, digests and sizes of values; None if there are none.

    >>> outputs_text([Value("order", "9f86", 120)])
    'order 9f86 120 B'
    """
    return ", ".join(f"{value.name} {value.digest} {value.size} B" for value in values) or None
