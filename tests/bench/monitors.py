"""What health costs a healthy run: the same chain with circuits and monitors, and without; and the board alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator import Orchestrator
from orchestrator.health import Board, Circuits, Outcome
from orchestrator.policy import Policy
from tests.bench.attempts import REPEATS, ROUNDS, Run, tools
from tests.bench.laps import Laps, time_sync
from tests.bench.report import Bar, Section, Table
from tests.bench.shapes import GOAL, QUESTION, joined

__all__ = ("measure",)

LENGTH = 10
SIZES = (10, 100)
BATCH = 100
MOST = 1.3
"""The promise: times as long as without."""


def measure() -> Section:
    """Measure the chain, then the board."""
    laps = asyncio.run(_time())
    ratio = laps.ratio("with", "without")
    chain = Table(
        ("tools", "with health, us", "without, us", "ratio"),
        [(f"{LENGTH}", laps.time("with", 1e6).text(0), laps.time("without", 1e6).text(0), ratio.text(2))],
    )
    rows = [_board(size) for size in SIZES]
    board = Table(("nodes", "an outcome, us", "a look, us", "a run's view, us", "all rows, us"), rows)
    text = (
        "Per attempt of a chain of async tools that do nothing, by `Orchestrator.run` without a store: health in use\n"
        "(circuits, all monitors, the board, a view for every run) against `health: {use: false}`. A call of a\n"
        "millisecond makes the difference a few hundredths. Below, the board alone: what an outcome takes, and what\n"
        "is done beside runs or once for each."
    )
    bar = Bar(f"health costs at most {MOST - 1:.0%} of an attempt in memory", ratio.text(2), ratio.median <= MOST)
    return Section("Health on a healthy run", text, [chain, board], [bar])


async def _time() -> Laps[Run]:
    def chain(use: bool) -> Orchestrator:
        goals = {GOAL: [f"value-{LENGTH - 1:02d}"]}
        return Orchestrator(tools=tools(LENGTH, sync=False), goals=goals, policy={"health": {"use": use}})

    async with chain(True) as watched, chain(False) as alone:
        laps: Laps[Run] = Laps(
            {"with": lambda: watched.run({QUESTION: "why"}), "without": lambda: alone.run({QUESTION: "why"})},
            ROUNDS,
            batch=LENGTH * REPEATS,
        )
        for run in laps.turns():
            for _ in range(REPEATS):
                await run()
    return laps


def _board(size: int) -> tuple[str, ...]:
    graph, policy, at = joined(size, 1), Policy(), [0.0]

    def clock() -> float:
        at[0] += 0.001
        return at[0]

    board = Board(graph, policy, Circuits(graph, policy, clock=clock), clock=clock)
    names = [node.name for node in graph.nodes]

    def record() -> None:
        for number in range(BATCH):
            board.record(Outcome(names[number % size], "ok", at[0], 0.1, run_id="run"))

    def look() -> None:
        for _ in range(BATCH):
            board.tick()

    def view() -> None:
        for number in range(BATCH):
            board.view(f"{number}")
            board.release(f"{number}")

    def rows() -> None:
        board.rows()

    figures: dict[str, tuple[Callable[[], None], int]] = {
        "record": (record, BATCH),
        "look": (look, BATCH),
        "view": (view, BATCH),
        "rows": (rows, 1),
    }
    laps = time_sync({name: call for name, (call, _) in figures.items()}, ROUNDS)
    per = (laps.time(name, 1e6 / count).text(0) for name, (_, count) in figures.items())
    return (f"{size}", *per)
