"""Scripted minds: the model that decides where no route is left, and the people who are asked.

Both keep the questions that they were asked, and both are strict: a question without an answer is unexpected, an
answer without a question is an unused step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from orchestrator.events import ModelAsked, QuestionAsked
from orchestrator.testing.scripts import Delay, Script, Times, UnexpectedCallError, UnusedStepError

__all__ = ("DecisionModel", "PersonAnswer", "ScriptedModel", "ScriptedPeople", "Verdict")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model decides, in the shape in which an orchestrator takes it."""

    choice: str | None
    """The id of one of the options; None with an ``error``."""
    content: Any = None
    """The value that it supplies."""
    reason: str = ""
    error: str | None = None
    calls: int = 1
    usd: float = 0.0
    tokens: int = 0


class DecisionModel(Protocol):
    """What an orchestrator asks where no route is left. `ScriptedModel` is one."""

    name: str

    async def decide(
        self,
        question: ModelAsked,
        preview: Any,
        *,
        timeout: float,  # noqa: ASYNC109  # the time that a model has is part of the question
        usd_left: float | None,
    ) -> Verdict:
        """Return which option to take."""

    async def aclose(self) -> None:
        """Close what was opened."""


class ScriptedModel:
    """A model whose answers a test writes down.

    It may lie as a real one may: a choice that is not among the options is passed on, for the run to refuse::

        world.model.chooses("demote:found", reason="better than nothing").fails("timeout")
    """

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.questions: list[ModelAsked] = []
        """What it was asked, in order."""
        self.unexpected: list[str] = []
        """Questions that no answer was left for, in words."""
        self._script = Script("the model")

    def chooses(
        self,
        choice: str,
        *,
        content: Any = None,
        reason: str = "",
        usd: float = 0.0,
        tokens: int = 0,
        after: Delay = 0.0,
        times: Times = 1,
    ) -> Self:
        """Answer with the id of an option, such as ``demote:GOAL``; *content* is the value that it supplies."""
        verdict = Verdict(choice, content, reason, None, 1, usd, tokens)
        self._script.returns(verdict, after=after, times=times, text=f"chooses {choice!r}")
        return self

    def fails(self, error: str = "invalid", *, usd: float = 0.0, after: Delay = 0.0, times: Times = 1) -> Self:
        """Give no usable answer: timeout, connection, http_5xx, refused, invalid, budget and the like."""
        verdict = Verdict(None, error=error, usd=usd)
        self._script.returns(verdict, after=after, times=times, text=f"fails with {error!r}")
        return self

    def raises(self, error: Exception | type[Exception], *, after: Delay = 0.0, times: Times = 1) -> Self:
        """Break, as no model should."""
        self._script.raises(error, after=after, times=times)
        return self

    def hangs(self, *, times: Times = 1) -> Self:
        """Never answer."""
        self._script.hangs(times=times)
        return self

    async def decide(
        self,
        question: ModelAsked,
        preview: Any,
        *,
        timeout: float,  # noqa: ASYNC109  # the time that a model has is part of the question
        usd_left: float | None,
    ) -> Verdict:
        """Return the next answer.

        Raises:
            UnexpectedCallError: There is none left.
        """
        self.questions.append(question)
        step = self._script.take({})
        if step is None:
            options = ", ".join(option.id for option in question.options)
            text = f"unexpected question to the model about {question.goal}: {question.reason}; options: {options}"
            self.unexpected.append(f"{text}\n{self._script.told()}")
            raise UnexpectedCallError(text)
        verdict: Verdict = await step.act({})
        return verdict

    async def aclose(self) -> None:
        """Close nothing."""

    def unused(self) -> list[str]:
        """Return the answers that were not asked for, in words."""
        return self._script.unused()

    def finish(self) -> None:
        """Check that every question had an answer and every answer a question.

        Raises:
            UnexpectedCallError: A question had none.
            UnusedStepError: An answer was not asked for.
        """
        _finish(self)


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """What a person answers: as `orchestrator.events.Answered`, with the values themselves."""

    answer: str
    values: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    by: str = "scripted"


class ScriptedPeople:
    """People whose answers a test writes down, by the id of the question.

    ::

        world.people.answer("approve:wire", "no", reason="too much")
    """

    def __init__(self) -> None:
        self.questions: list[QuestionAsked] = []
        """What they were asked, in order."""
        self.unexpected: list[str] = []
        """Questions that no answer was left for, in words."""
        self._scripts: dict[str, Script] = {}

    def answer(
        self,
        question: str,
        answer: str,
        *,
        values: Mapping[str, Any] | None = None,
        reason: str | None = None,
        after: Delay = 0.0,
        times: Times = 1,
    ) -> Self:
        """Answer a question, such as ``approve:NODE``, with yes, no, edit or the id of an option."""
        script = self._scripts.setdefault(question, Script(question))
        answered = PersonAnswer(answer, dict(values or {}), reason)
        script.returns(answered, after=after, times=times, text=f"answered {answer!r}")
        return self

    async def ask(self, question: QuestionAsked) -> PersonAnswer:
        """Return the next answer to a question.

        Raises:
            UnexpectedCallError: There is none left.
        """
        self.questions.append(question)
        script = self._scripts.get(question.question, Script(question.question))
        step = script.take({})
        if step is None:
            text = f"unexpected question to a person: {question.question}: {question.reason}"
            known = ", ".join(self._scripts) or "nothing"
            self.unexpected.append(f"{text}\nanswers were written down to {known}")
            raise UnexpectedCallError(text)
        answer: PersonAnswer = await step.act({})
        return answer

    def unused(self) -> list[str]:
        """Return the answers that were not asked for, in words."""
        return [text for script in self._scripts.values() for text in script.unused()]

    def finish(self) -> None:
        """Check that every question had an answer and every answer a question; raises as `ScriptedModel.finish`."""
        _finish(self)


def _finish(double: ScriptedModel | ScriptedPeople) -> None:
    if double.unexpected:
        raise UnexpectedCallError(double.unexpected[0])
    unused = double.unused()
    if unused:
        raise UnusedStepError("\n".join(["unused step", *(f"  {text}" for text in unused)]))
