"""A process that forks with an orchestrator in hand: once its loop is over, and from within a running one.

python -m tests.forking STORE FOLDER over|within
"""

from __future__ import annotations

import contextvars
import os
import sys
from pathlib import Path

import anyio
import anyio.to_thread

from orchestrator import Orchestrator
from tests.shared_child import graph, state
from tests.store_child import say


def forked(orchestrator: Orchestrator) -> int:
    """Fork; the child runs once and says how it went. Return its pid."""
    pid = os.fork()
    if pid == 0:
        # A context of its own: in this one a loop runs, as anyio sees it.
        result = contextvars.Context().run(lambda: orchestrator.run_sync(goal="page"))
        say(f"child {result.outcome} {','.join(result.route)} {state(orchestrator)}")
        os._exit(0)
    return pid


def main() -> None:
    """Carry it out."""
    store, folder, when = sys.argv[1:]
    orchestrator = graph(Path(folder), store=store)

    async def runs() -> None:
        for _ in range(5):
            await orchestrator.run(goal="page")
        if when == "within":
            say(str((await anyio.to_thread.run_sync(os.waitpid, forked(orchestrator), 0))[1]))
            await orchestrator.aclose()

    anyio.run(runs)
    if when == "over":
        say(str(os.waitpid(forked(orchestrator), 0)[1]))
    result = orchestrator.run_sync(goal="page")
    say(f"parent {result.outcome} {','.join(result.route)} {state(orchestrator)}")


if __name__ == "__main__":
    main()
