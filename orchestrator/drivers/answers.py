"""Answers of people: checked against what was asked, and turned into facts."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.drivers.values import Values
from orchestrator.errors import InputError
from orchestrator.events import Answered, QuestionAsked, Value
from orchestrator.graph import INPUT
from orchestrator.result import Question
from orchestrator.run import Run

__all__ = ("Answer", "Ask", "checked", "report_unasked", "to_fact")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says to one question.

    ``answer`` is yes, no or edit for an approval, yes or no for a settlement, and one of the question's options for a
    decision. ``values`` holds other inputs by parameter (edit), the result by value (a settlement), or the value that
    is supplied.
    """

    question: str
    answer: str
    values: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    reason: str | None = None


Ask = Callable[[tuple[Question, ...]], Awaitable[Iterable[Answer] | None]]
"""Asks people all open questions at once; None or nothing leaves the run waiting.

It is cancelled where its questions are not open any more, and called again where there are others.
"""


def checked(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Return answers of an application, if that is what they are."""
    found = tuple(answers)
    for answer in found:
        if not isinstance(answer, Answer):
            raise TypeError(f"people are answered by Answer, not by {type(answer).__name__}")
    return found


def to_fact(run: Run, answer: Answer, values: Values) -> Answered:
    """Return an answer as a fact, its values kept.

    Raises:
        InputError: The question is not open, or this is no answer to it; says what would be.
    """
    open_ = run.questions()
    if answer.question not in open_:
        listed = ", ".join(open_) or "none"
        raise InputError(f"there is no open question {answer.question!r}; open: {listed}")
    asked = open_[answer.question]
    if answer.answer not in asked.options:
        raise InputError(f"{answer.answer!r} is no answer to {answer.question}; answer {', '.join(asked.options)}")
    names = _names(run, asked, answer)
    unknown = [name for name in answer.values if name not in names]
    if unknown:
        given = ", ".join(names) or "none"
        raise InputError(f"{answer.question} takes no value {', '.join(map(repr, unknown))}; it takes {given}")
    if answer.answer == "edit" and not answer.values:
        raise InputError(f"edit says which inputs to change; {asked.node} takes {', '.join(names)}")
    missing = [name for name in names if name not in answer.values]
    if answer.answer.startswith("supply:") and missing:
        raise InputError(f"{answer.answer} needs the value of {', '.join(missing)}")
    if asked.kind == "settle" and answer.values and missing:
        raise InputError(f"the result of {asked.node} has {', '.join(names)}; {', '.join(missing)} is missing")
    return Answered(
        answer.question,
        answer.answer,
        tuple(_kept(values, *names[name], value) for name, value in answer.values.items()),
        answer.by,
        answer.reason,
    )


def _kept(values: Values, name: str, provider: str, value: Any) -> Value:
    try:
        return values.take(name, provider, value)
    except ValueError as error:
        raise InputError(str(error)) from None


def _names(run: Run, asked: QuestionAsked, answer: Answer) -> dict[str, tuple[str, str]]:
    """Return what an answer may bring, as the name in it to the name and the provider of the value."""
    if answer.answer == "edit":
        # What a person changes is still made from what its provider gave.
        return {name: (f"{asked.node}.{name}", provider or INPUT) for name, _, provider in asked.inputs}
    if asked.kind == "settle" and answer.answer == "yes":
        return {value: (value, asked.node) for value in run.graph.by_name[asked.node].provides}
    if answer.answer.startswith("supply:"):
        value = answer.answer.removeprefix("supply:")
        return {value: (value, INPUT)}
    return {}


def report_unasked(error: Exception, redact: Callable[[str], str]) -> None:
    """Warn that a question could not be answered."""
    reason = redact(f"{type(error).__name__}: {error}")
    message = f"a question could not be answered, so the run is left waiting: {reason}"
    warnings.warn(message, RuntimeWarning, stacklevel=3)
