"""Scripted minds: the model that decides where no route is left, and the people who are asked.

Both keep the questions that they were asked, and both are strict: a question without an answer is unexpected, an
answer without a question is an unused step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Self

import anyio

from orchestrator.drivers.answers import Answer
from orchestrator.escalation import Verdict
from orchestrator.escalation.question import Preview
from orchestrator.events import ModelAsked
from orchestrator.result import Question
from orchestrator.testing.scripts import Delay, Script, Times, UnexpectedCallError, UnusedStepError, seconds_of

__all__ = ("RUN", "ScriptedModel", "ScriptedPeople", "SilentModel", "nobody")

RUN: ContextVar[str] = ContextVar("RUN", default="")
"""The run that asks: two runs may ask the same question, and each has an answer of its own."""


class ScriptedModel:
    """A decision model whose answers a test writes down.

    It may lie as a real one may: a choice that is not among the options is passed on, for the run to refuse::

        world.model.chooses("demote:found", reason="better than nothing").fails("timeout")

    Args:
        name: How it is called.
        unexpected: Takes the questions that no answer was left for, in words; default: a list of its own.
    """

    def __init__(self, name: str = "scripted", unexpected: list[str] | None = None) -> None:
        self.name = name
        self.questions: list[ModelAsked] = []
        """What it was asked, in order."""
        self.unexpected: list[str] = [] if unexpected is None else unexpected
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
        verdict = Verdict(None, error=error, calls=1, usd=usd)
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
        preview: Preview,
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


class SilentModel:
    """A decision model without an answer, so that the policy decides."""

    name = "silent"

    async def decide(
        self,
        question: ModelAsked,
        preview: Preview,
        *,
        timeout: float,  # noqa: ASYNC109  # as above
        usd_left: float | None,
    ) -> Verdict:
        """Return no answer."""
        return Verdict(None, error="simulated")

    async def aclose(self) -> None:
        """Close nothing."""


class ScriptedPeople:
    """People whose answers a test writes down, by the id of the question.

    Each question is answered in its own time, also where several are asked at once. What is answered too late is not
    waited for: a question may be overdue before::

        world.people.answer("approve:wire", "no", reason="too much", after="2h")

    Args:
        unexpected: Takes the questions that no answer was left for, in words; default: a list of its own.
    """

    def __init__(self, unexpected: list[str] | None = None) -> None:
        self.questions: list[Question] = []
        """What they were asked, in order; what is asked again is in it once."""
        self.unexpected: list[str] = [] if unexpected is None else unexpected
        self._scripts: dict[str, Script] = {}
        self._thinking: dict[tuple[str, str], tuple[float, Answer | None]] = {}
        """What is being answered, by run and question: when, and how; None: never."""

    def answer(
        self,
        question: str,
        answer: str,
        *,
        values: Mapping[str, Any] | None = None,
        by: str = "",
        reason: str | None = None,
        after: Delay = 0.0,
        times: Times = 1,
    ) -> Self:
        """Answer a question, such as ``approve:NODE``; the arguments are those of `Orchestrator.answer`."""
        answered = Answer(question, answer, dict(values or {}), by, reason)
        return self._write(question, (seconds_of(after), answered), f"answered {answer!r}", after, times)

    def ignore(self, question: str, *, times: Times = 1) -> Self:
        """Do not answer a question: it is open until its deadline, or the run is left waiting if it has none."""
        return self._write(question, (math.inf, None), "ignored", 0, times)

    def _write(self, question: str, step: tuple[float, Answer | None], text: str, after: Delay, times: Times) -> Self:
        script = self._scripts.setdefault(question, Script(question))
        told = text if not seconds_of(after) else f"{text} after {after if isinstance(after, str) else f'{after:g}s'}"
        script.returns(step, times=times, text=told)
        return self

    async def ask(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        """Return the answers that come first; nothing where a question is unexpected or none will be answered."""
        run = RUN.get()
        open_ = {(run, question.id): question for question in questions}
        for key in [key for key in self._thinking if key[0] == run and key not in open_]:
            del self._thinking[key]
        for key, question in open_.items():
            if key not in self._thinking and not await self._take(key, question):
                return ()
        first = min(self._thinking[key][0] for key in open_)
        if first == math.inf:
            if all(question.until is None for question in questions):
                return ()
            await anyio.sleep_forever()
        await anyio.sleep_until(first)
        answers = [self._thinking.pop(key)[1] for key in open_ if self._thinking[key][0] <= first]
        return tuple(answer for answer in answers if answer is not None)

    async def _take(self, key: tuple[str, str], question: Question) -> bool:
        """Begin to think about a question; False where there is no answer to it, or one that is none."""
        self.questions.append(question)
        script = self._scripts.get(question.id, Script(question.id))
        step = script.take({})
        if step is None:
            known = ", ".join(self._scripts) or "nothing"
            told = script.told() if script.steps else f"answers were written down to {known}"
            self.unexpected.append(f"unexpected question to people: {question.id}: {question.reason}\n{told}")
            return False
        seconds, answer = await step.act({})
        if answer is not None and answer.answer not in question.options:
            options = ", ".join(question.options)
            self.unexpected.append(f"{answer.answer!r} is no answer to {question.id}; it takes {options}")
            return False
        self._thinking[key] = (anyio.current_time() + seconds, answer)
        return True

    def unused(self) -> list[str]:
        """Return the answers that were not asked for, in words."""
        return [text for script in self._scripts.values() for text in script.unused()]

    def finish(self) -> None:
        """Check that every question had an answer and every answer a question; raises as `ScriptedModel.finish`."""
        _finish(self)


async def nobody(questions: tuple[Question, ...]) -> None:
    """Ask nobody, so that the run is left waiting."""


def _finish(double: ScriptedModel | ScriptedPeople) -> None:
    if double.unexpected:
        raise UnexpectedCallError(double.unexpected[0])
    unused = double.unused()
    if unused:
        raise UnusedStepError("\n".join(["unused step", *(f"  {text}" for text in unused)]))
