"""A tool that fails with an error of a real library, run until its process has made up its mind about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator import Orchestrator, tool
from orchestrator.events import AttemptEnded, Failure
from orchestrator.health import evidence_of
from orchestrator.health.rows import HealthRow
from orchestrator.result import RunResult

__all__ = ("Found", "Standing", "found", "standing", "substitutes")

RUNS = 6
"""One more than failures open a circuit."""

Standing = Literal["opened", "refused", "limited", "vetoed", "heavier", "untouched"]


@dataclass(frozen=True)
class Found:
    """What a process made of an error that came again and again."""

    failure: Failure
    """As it was recorded the first time."""
    evidence: str
    standing: Standing
    result: RunResult
    """Of the first run."""


def substitutes(raiser: Callable[[], object], effect: Any = "read", calls: list[str] | None = None) -> list[Any]:
    """Return a cheap tool that calls what is to raise, and a dear one that works."""

    @tool(name="bad", provides="page", effect=effect, units=1)
    def bad() -> object:
        if calls is not None:
            calls.append("bad")
        return raiser()

    @tool(name="good", provides="page", effect=effect, units=10)
    def good() -> str:
        if calls is not None:
            calls.append("good")
        return "text"

    return [bad, good]


def standing(row: HealthRow) -> Standing:
    """Say how a node stands with the process."""
    said = {(signal.monitor, signal.effect): signal for signal in row.reasons}
    if row.state == "open":
        return "opened"
    if ("contract", "veto") in said:
        return "vetoed"
    if ("contract", "factor") in said:
        return "heavier"
    barred = next((signal for signal in row.reasons if signal.effect == "veto"), None)
    if barred is None:
        return "untouched"
    return "refused" if barred.reason == "unauthorised" else "limited"


async def found(raiser: Callable[[], object], **options: Any) -> Found:
    """Run with a tool that raises, and return what was made of its error."""
    policy = {"retry": {"attempts": 1}}
    async with Orchestrator(tools=substitutes(raiser), goals={"g": ["page"]}, policy=policy, **options) as orchestrator:
        first = await orchestrator.run()
        for _ in range(RUNS - 1):
            await orchestrator.run()
        rows = {row.node: row for row in orchestrator.health()}
    ended = next(
        record.event
        for record in first.records
        if isinstance(record.event, AttemptEnded) and record.event.node == "bad"
    )
    assert ended.failure is not None
    return Found(ended.failure, evidence_of("failed", ended.failure), standing(rows["bad"]), first)
