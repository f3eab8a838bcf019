"""A run that goes on after it waited: it goes by health as it is then, and a full process keeps none of its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Orchestrator, tool
from orchestrator.errors import OverloadedError
from orchestrator.health import Outcome


@tool(provides="allowed", effect="read", approve="always")
async def gate(question: str) -> str:
    """Need a person's yes."""
    return question


@tool(provides="page", effect="read", latency="100ms")
async def near(allowed: str) -> str:
    """Be back."""
    return "near"


@tool(provides="page", effect="read", latency="5s")
async def far(allowed: str) -> str:
    """Refuse."""
    raise PermissionError("no")


async def test_a_resumed_run_may_try_the_node_that_it_was_given(tmp_path: Path) -> None:
    """While it waited a node became half-open: it has the permit, and no older word takes the node from it."""
    now = [0.0]
    async with Orchestrator(
        tools=[gate, near, far], goals={"read": ["page"]}, clock=lambda: now[0], store=tmp_path / "runs.db"
    ) as orchestrator:
        waiting = await orchestrator.run(question="why")
        vitals = orchestrator._process
        assert vitals is not None
        for number in range(5):
            vitals.board.record(Outcome("near", "external", now[0], 0.01, "down", run_id=f"other {number}"))
        vitals.board.record(Outcome("far", "unauthorised", now[0], 0.01, "refused", run_id="another"))
        now[0] += 20.0
        result = await orchestrator.answer(waiting.run_id, waiting.questions[0].id, "yes")
    assert (result.outcome, result.route) == ("met", ("gate", "near"))


async def test_a_run_that_is_refused_keeps_nothing(tmp_path: Path) -> None:
    """A process with as many runs as it may have lets go of one that it cannot resume, and of its seat at the board."""
    policy = {"overload": {"runs": 1}}
    async with Orchestrator(
        tools=[gate, near], goals={"read": ["page"]}, policy=policy, store=tmp_path / "runs.db"
    ) as orchestrator:
        waiting = await orchestrator.run(question="why")
        question = waiting.questions[0].id
        orchestrator._lanes.begin()
        with pytest.raises(OverloadedError):
            await orchestrator.answer(waiting.run_id, question, "yes")
        orchestrator._lanes.end("other")
        assert orchestrator._process is not None
        assert not orchestrator._process.board._seats
        result = await orchestrator.answer(waiting.run_id, question, "yes")
    assert result.outcome == "met"
