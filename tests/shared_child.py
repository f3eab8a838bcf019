"""A process that runs a graph on a store it shares with others; each line of stdin is a command, and has one answer.

python -m tests.shared_child URL FOLDER

    run GOAL    run towards it, and say the outcome, the route and the nodes that were called
    fail        run towards `page` until the circuit of `first` is open, and say when
    see STATE   wait until the circuit of `first` is in this state, without a run, and say when
    row         say the state of `first` and how long it is open
    close       close, and end

`first` is the cheap provider of `page`, and is down while FOLDER holds a file `down`; `second` stands in for it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from orchestrator import Orchestrator, tool
from tests.store_child import say

__all__ = ("POLICY", "graph", "state")

POLICY: dict[str, Any] = {
    "health": {"use": True},
    "circuit": {"cooldown": "40s", "max_cooldown": "40s"},
    "retry": {"attempts": 1},
}


def graph(folder: Path, **options: Any) -> Orchestrator:
    """Return the graph."""

    @tool(provides="page", effect="read", usd=0.001)
    def first() -> str:
        if (folder / "down").exists():
            raise ConnectionError("down")
        return "of the first"

    @tool(provides="page", effect="read", usd=0.1)
    def second() -> str:
        return "of the second"

    @tool(provides="other", effect="read")
    def third() -> str:
        return "of the third"

    goals = {"page": ["page"], "other": ["other"]}
    return Orchestrator([first, second, third], goals, name="pages", **{"policy": POLICY, **options})


def state(orchestrator: Orchestrator) -> str:
    """Return the state of the circuit of `first`."""
    return {row.node: row.state for row in orchestrator.health()}["first"]


async def main() -> None:
    """Carry out the commands."""
    url, folder = sys.argv[1:]
    async with graph(Path(folder), store=url) as orchestrator:
        await orchestrator.ready()
        say("ready")
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            match line.split():
                case ["run", goal]:
                    result = await orchestrator.run(goal=goal)
                    called = ",".join(attempt.node for attempt in result.attempts)
                    say(f"{result.outcome} {','.join(result.route)} {called}")
                case ["fail"]:
                    while state(orchestrator) != "open":
                        await orchestrator.run(goal="page")
                    say(f"{time.time()}")  # noqa: TID251  # a real process
                case ["see", wanted]:
                    while state(orchestrator) != wanted:  # noqa: ASYNC110  # it moves in the background
                        await anyio.sleep(0.005)
                    say(f"{time.time()}")  # noqa: TID251  # as above
                case ["row"]:
                    row = {row.node: row for row in orchestrator.health()}["first"]
                    say(f"{row.state} {row.open_for}")
                case ["close"]:
                    return


if __name__ == "__main__":
    anyio.run(main)
