"""What a run machine asks of its driver.

A command has an id: (node, part, attempt) for an attempt, (kind, n) for any other call. A driver may carry out a
command again under the same id, after a crash say; the machine takes the first answer and ignores others.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.events import CallKind, ModelAsked

__all__ = ("AskModel", "Call", "Cancel", "Command", "Finish", "Inputs", "Start", "WakeAt")

Inputs = tuple[tuple[str, str, str | None], ...]
"""(parameter, value, provider) of everything that is handed over; a provider of None hands over null."""


@dataclass(frozen=True, slots=True)
class Start:
    """Call a node. For a `once` node, only after the record `attempt_started` is durable."""

    node: str
    part: int
    attempt: int
    inputs: Inputs
    key: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel an attempt; answered by `AttemptEnded`, usually with the outcome `cancelled`."""

    node: str
    part: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Call:
    """Call a guard, gate, check, verify or undo of *subject*, a node or (for a check) a goal."""

    kind: CallKind
    n: int
    subject: str
    inputs: Inputs
    key: str
    timeout: float


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask the model what to decide; answered by `ModelAnswered`, also where there is no answer within the time."""

    n: int
    question: ModelAsked
    timeout: float


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Feed `Woken` at this time of the run's clock."""

    at: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over, or waits for people; the record `run_finished` says which."""


Command = Start | Cancel | Call | AskModel | WakeAt | Finish
