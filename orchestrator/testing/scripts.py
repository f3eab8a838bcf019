"""Scripts: what a node, a model or a person answers in a test, step by step.

A script is strict in both directions. A call that no step covers is an `UnexpectedCallError`; a step that nothing
called for is an `UnusedStepError` at the end of the test. Both are assertion errors that tell what happened instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Literal, Self

import anyio

from orchestrator.units import parse_duration

__all__ = (
    "ANY",
    "Delay",
    "Lost",
    "NodeScript",
    "Script",
    "Step",
    "Times",
    "UnexpectedCallError",
    "UnusedStepError",
    "seconds_of",
    "shortened",
)

ANY: Literal["any"] = "any"
"""How often a step may be used that is never used up and need not be used."""

Times = int | Literal["any"]
Delay = str | float
"""A duration as in a graph file, ``"3s"``, or seconds."""

SHOWN = 100
"""Characters of a value that a message shows."""


class UnexpectedCallError(AssertionError):
    """Something was called that no step of its script covers."""


class UnusedStepError(AssertionError):
    """A script has steps left that nothing called for."""


class Lost(TimeoutError):
    """What a call of a script raises when its effect happened and its answer is lost: an unknown outcome."""


@dataclass(slots=True)
class Step:
    """One step of a script: what it does, in words and in deed, and how often."""

    text: str
    act: Callable[[Mapping[str, Any]], Awaitable[Any]]
    """Given the inputs by name: returns or raises what the call does."""
    times: Times
    takes_effect: bool = False
    """Whether the call has its effect, whatever becomes of its answer."""
    value: Any = None
    used: int = 0

    @property
    def left(self) -> bool:
        """Whether another call may use it."""
        return self.times == ANY or self.used < self.times

    @property
    def unused(self) -> bool:
        """Whether it should have been used more often."""
        return self.times != ANY and self.used < self.times


class Script:
    """What one thing answers in a test: steps, used in order, one for each call.

    Every step takes ``after``, how long the answer takes (default: none), and ``times``, for how many calls in a row it
    stands (default: one; ``"any"``: for all that come, also none). Each returns the script, so that steps are chained::

        world.tool("stripe").raises(ConnectionError("down"), times=2).returns({"id": 7}, after="3s")

    Args:
        name: Whose script it is, in messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.used = False
        """Whether it scripts anything; a node whose script was only looked at keeps its real function."""
        self.called: list[dict[str, Any]] = []
        """The inputs of every call so far, by name."""

    def returns(self, value: Any, *, after: Delay = 0.0, times: Times = 1, text: str | None = None) -> Self:
        """Answer with a value: a node's result, held against its output contract like any other.

        *text* says in messages what this step does; default: it returns the value.
        """
        seconds = seconds_of(after)

        async def act(inputs: Mapping[str, Any]) -> Any:
            await _wait(seconds)
            return value

        return self._add(Step(f"{text or f'returns {shortened(value)}'}{_after(after)}", act, times, True, value))

    def raises(self, error: BaseException | type[BaseException], *, after: Delay = 0.0, times: Times = 1) -> Self:
        """Fail with an error; it is classified as if the node itself had raised it."""
        seconds = seconds_of(after)
        if not isinstance(error, Exception) and not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(f"{self.name} can raise exceptions only, not {error!r}")

        async def act(inputs: Mapping[str, Any]) -> Any:
            await _wait(seconds)
            raise error

        return self._add(Step(f"raises {shortened(error)}{_after(after)}", act, times))

    def hangs(self, *, times: Times = 1) -> Self:
        """Never answer; the effect does not happen. The attempt ends with its timeout."""

        async def act(inputs: Mapping[str, Any]) -> Any:
            await anyio.sleep_forever()

        return self._add(Step("hangs", act, times))

    def loses(self, value: Any = None, *, after: Delay = 0.0, times: Times = 1) -> Self:
        """Let the effect happen and lose the answer: the outcome is unknown until a verify finds *value*."""
        seconds = seconds_of(after)

        async def act(inputs: Mapping[str, Any]) -> Any:
            await _wait(seconds)
            raise Lost("the answer was lost")

        return self._add(Step(f"loses {shortened(value)}{_after(after)}", act, times, True, value))

    def calls(self, function: Callable[..., Any], *, after: Delay = 0.0, times: Times = ANY) -> Self:
        """Call another function instead, sync or async, with the inputs by name; by default from now on."""
        seconds = seconds_of(after)

        async def act(inputs: Mapping[str, Any]) -> Any:
            await _wait(seconds)
            answer = function(**inputs)
            return await answer if isawaitable(answer) else answer

        name = getattr(function, "__qualname__", repr(function))
        return self._add(Step(f"calls {name}{_after(after)}", act, times, True))

    def never(self) -> Self:
        """Expect no call at all, or none beyond the steps before."""
        self.used = True
        return self

    def _add(self, step: Step) -> Self:
        if step.times != ANY and step.times < 1:
            raise ValueError(
                f"a step of {self.name} stands for 1 call or more, or for 'any' number, not {step.times!r}"
            )
        if self.steps and self.steps[-1].times == ANY:
            raise ValueError(f"{self.name} would never come to {step.text!r}: the step before it stands for all calls")
        self.used = True
        self.steps.append(step)
        return self

    # ------------------------------------------------------------------------------------------------------- playing

    def take(self, inputs: Mapping[str, Any]) -> Step | None:
        """Take a call's step; None where there is none."""
        self.called.append(dict(inputs))
        step = next((step for step in self.steps if step.left), None)
        if step is not None:
            step.used += 1
        return step

    def told(self) -> str:
        """Return the script in words."""
        if not self.steps:
            return f"{self.name} is not to be called"
        lines = [f"  {number}. {step.text}{_times(step)}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([f"the script of {self.name}:", *lines])

    def unused(self) -> list[str]:
        """Return the steps that should have been used, in words."""
        return [
            f"{self.name}: step {number}, {step.text}{_times(step)}"
            for number, step in enumerate(self.steps, 1)
            if step.unused
        ]


class NodeScript(Script):
    """What a node answers in a test, and what its other calls do.

    Of a scripted node nothing is really called: its undo succeeds, and its verify finds what the script has done,
    unless they have scripts of their own. Its guard and its gate are the graph's logic and stay real.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.others: dict[str, Script] = {}
        """Scripts of the node's other calls, by kind."""

    def _other(self, kind: str) -> Script:
        return self.others.setdefault(kind, Script(f"{self.name}.{kind}"))

    @property
    def undo(self) -> Script:
        """The script of its undo; what it returns means nothing."""
        return self._other("undo")

    @property
    def verify(self) -> Script:
        """The script of its verify: returns the node's result if the effect happened, None if not."""
        return self._other("verify")

    @property
    def guard(self) -> Script:
        """The script of its guard: returns whether the node has a part in the run."""
        return self._other("guard")

    @property
    def gate(self) -> Script:
        """The script of its gate: returns the reason why a person must be asked, or None."""
        return self._other("gate")


async def _wait(seconds: float) -> None:
    if seconds:
        await anyio.sleep(seconds)


def seconds_of(delay: Delay) -> float:
    """Return a delay in seconds; raises `ValueError` for what is none."""
    seconds = parse_duration(delay) if isinstance(delay, str) else float(delay)
    if not seconds >= 0:
        raise ValueError(f"an answer comes after 0 s or later, not after {delay!r}")
    return seconds


def _after(delay: Delay) -> str:
    return "" if not seconds_of(delay) else f" after {delay if isinstance(delay, str) else f'{delay:g}s'}"


def _times(step: Step) -> str:
    if step.times == ANY:
        return f", any number of times (used {step.used})" if step.used else ", any number of times"
    return (", used" if step.used else ", not used") if step.times == 1 else f", used {step.used} of {step.times} times"


def shortened(value: Any) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
