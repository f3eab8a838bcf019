"""A run begins when it is driven, at first or after it waited: it goes by health as it is then, and leaves nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import Orchestrator, tool
from orchestrator.errors import OverloadedError
from orchestrator.events import RunStarted, ViewChanged
from orchestrator.health import Outcome
from orchestrator.health.board import Board
from orchestrator.run import Run


@tool(provides="allowed", effect="read", approve="always")
async def gate(question: str) -> str:
    """Need a person's yes."""
    return question


@tool(provides="page", effect="read", latency="100ms")
async def near(allowed: str) -> str:
    """Be back."""
    return "near"


@tool(provides="page", effect="read", latency="5s")
async def wide(allowed: str) -> str:
    """Work."""
    return "wide"


@tool(provides="page", effect="read", latency="5s")
async def far(allowed: str) -> str:
    """Refuse."""
    raise PermissionError("no")


@tool(provides="page", effect="read", latency="100ms")
async def here(question: str) -> str:
    """Be up again."""
    await anyio.lowlevel.checkpoint()
    return "here"


@tool(provides="page", effect="read", latency="5s")
async def there(question: str) -> str:
    """Work."""
    return "there"


def fail(board: Board, node: str, at: float) -> None:
    """Have a node fail until its circuit opens."""
    for number in range(5):
        board.record(Outcome(node, "external", at, 0.01, "down", run_id=f"other {number}"))


def board_of(orchestrator: Orchestrator) -> Board:
    """Return the board of an orchestrator that has one."""
    vitals = orchestrator._vitals()
    assert vitals is not None
    return vitals.board


def left_at(board: Board) -> list[object]:
    """Return all that runs have at a board."""
    return [*board._seats, *board._leases._trials.get("here", ()), *board._scouts._called, *board._scouts._held_off]


async def test_a_run_that_is_started_but_never_driven_keeps_nothing_from_others() -> None:
    """It takes no seat and no permit: the next run that goes may try what is half-open."""
    now = [0.0]
    async with Orchestrator(tools=[here, there], goals={"read": ["page"]}, clock=lambda: now[0]) as orchestrator:
        board = board_of(orchestrator)
        fail(board, "here", now[0])
        now[0] += 20.0
        for _ in range(3):
            orchestrator.start(question="why")
        assert left_at(board) == []
        result = await orchestrator.run(question="why")
    assert (result.outcome, result.route) == ("met", ("here",))


async def test_a_run_goes_by_health_as_it_is_when_it_is_driven() -> None:
    """Its first record holds that view, so that its record leads to the same decisions again; none is told later."""
    async with Orchestrator(tools=[here, there], goals={"read": ["page"]}, clock=lambda: 0.0) as orchestrator:
        run = orchestrator.start(question="why")
        fail(board_of(orchestrator), "here", 0.0)
        result = await run.run()
    assert result.route == ("there",)
    first = result.records[0].event
    assert isinstance(first, RunStarted)
    assert [name for name, _ in first.view.vetoes] == ["here"]
    assert not any(isinstance(record.event, ViewChanged) for record in result.records)
    machine, written = Run.replay(result.records)
    assert written == result.records
    assert machine.snapshot() == run.machine.snapshot()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["leave", "run", "cancel", "refuse"]), max_size=8))
def test_whatever_comes_of_runs_they_leave_nothing_at_the_board(lives: list[str]) -> None:
    """Never driven, over, cancelled at any moment, or refused by a full process."""

    async def live() -> None:
        async with Orchestrator(
            tools=[here, there], goals={"read": ["page"]}, policy={"overload": {"runs": 4}}, clock=lambda: now[0]
        ) as orchestrator:
            board = board_of(orchestrator)
            fail(board, "here", now[0])
            now[0] += 20.0
            for number, life in enumerate(lives):
                run = orchestrator.start(question="why")
                if life == "cancel":
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(run.run)
                        for _ in range(number):
                            await anyio.lowlevel.checkpoint()
                        tasks.cancel_scope.cancel()
                elif life == "refuse":
                    for _ in range(4):
                        orchestrator._lanes.begin()
                    with suppress(OverloadedError):
                        await run.run()
                    for other in range(4):
                        orchestrator._lanes.end(f"other {other}")
                elif life == "run":
                    assert (await run.run()).outcome == "met"
            assert left_at(board) == []

    now = [0.0]
    anyio.run(live)


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


async def test_a_resumed_run_goes_by_health_as_it_is_then(tmp_path: Path) -> None:
    """While it waited the node that it wanted has failed for others: it takes another one, and is told but once."""
    async with Orchestrator(
        tools=[gate, near, wide], goals={"read": ["page"]}, clock=lambda: 0.0, store=tmp_path / "runs.db"
    ) as orchestrator:
        waiting = await orchestrator.run(question="why")
        fail(board_of(orchestrator), "near", 0.0)
        result = await orchestrator.answer(waiting.run_id, waiting.questions[0].id, "yes")
    assert (result.outcome, result.route) == ("met", ("gate", "wide"))
    assert sum(isinstance(record.event, ViewChanged) for record in result.records) == 1


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
