"""What a durable attempt costs: a chain of tools under a run log in SQLite, against LangGraph with its own.

Both write every step to a file and wait for the disk before the next one: our run log in WAL mode with
``synchronous = FULL``, LangGraph's ``AsyncSqliteSaver`` as it comes, with ``durability="sync"``.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator import Orchestrator
from tests.bench.attempts import chain_of_steps, tools
from tests.bench.laps import Laps
from tests.bench.report import Bar, Section, Table
from tests.bench.shapes import GOAL, QUESTION

__all__ = ("measure",)

LENGTH = 10
ROUNDS = 41

Run = Callable[[], Awaitable[Any]]


async def _time(folder: Path) -> Laps[Run]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    chain: dict[str, Any] = {"tools": tools(LENGTH, sync=False), "goals": {GOAL: [f"value-{LENGTH - 1:02d}"]}}
    threads = count()
    async with AsyncExitStack() as stack:
        alone = {**chain, "policy": {"health": {"use": False}}}
        durable = await stack.enter_async_context(Orchestrator(**alone, store=folder / "runs.db"))
        shared = await stack.enter_async_context(Orchestrator(**chain, store=folder / "shared.db"))
        memory = await stack.enter_async_context(Orchestrator(**alone))
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.db")))
        steps = chain_of_steps(LENGTH, sync=False, retry=False, checkpointer=saver)

        async def langgraph() -> Any:
            config = {"recursion_limit": LENGTH + 5, "configurable": {"thread_id": str(next(threads))}}
            return await steps.ainvoke({"value": "why"}, config, durability="sync")

        result = await durable.run({QUESTION: "why"})
        assert (result.outcome, len(result.attempts)) == ("met", LENGTH)
        laps: Laps[Run] = Laps(
            {
                "durable": lambda: durable.run({QUESTION: "why"}),
                "LangGraph": langgraph,
                "memory": lambda: memory.run({QUESTION: "why"}),
                "health": lambda: shared.run({QUESTION: "why"}),
            },
            ROUNDS,
            batch=LENGTH,
        )
        for run in laps.turns():
            await run()
    return laps


def measure() -> Section:
    """Measure a chain of tools."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        laps = asyncio.run(_time(Path(folder)))
    ratio = laps.ratio("durable", "LangGraph")
    text = (
        f"Per attempt of a chain of {LENGTH} async tools that do nothing, with every record durable before anything\n"
        "follows from it (SQLite, WAL, `synchronous = FULL`), and per super-step of the same chain in LangGraph with\n"
        'its own `AsyncSqliteSaver` and `durability="sync"`. *In memory* is `Orchestrator.run` without a store. The\n'
        "bar is for the run log alone, without health, which LangGraph has none of; *with health* is our default."
    )
    row = (
        f"{LENGTH}",
        *(laps.time(name, 1e6).text(0) for name in laps.candidates),
        ratio.text(3),
        laps.ratio("health", "LangGraph").text(3),
    )
    header = (
        "chain",
        "durable, us",
        "LangGraph, us",
        "in memory, us",
        "with health, us",
        "durable / LangGraph",
        "with health / LangGraph",
    )
    promise = f"durable chain of {LENGTH} tools: at most half of a durable super-step"
    return Section("Durable attempts", text, [Table(header, [row])], [Bar(promise, ratio.text(3), ratio.median <= 0.5)])
