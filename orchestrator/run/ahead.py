"""Planning ahead: while calls are in flight, the ways round each of them are found before one is needed.

It decides nothing. The planner remembers what it has solved, so that a reroute whose situation is exactly the one that
was planned is a look-up; any other is planned as if nothing had been done ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.planner import Situation
from orchestrator.run.context import Context

__all__ = ("EXPANSIONS", "plan_ahead")

EXPANSIONS = 2_000
"""Node expansions for one situation: what takes more would keep the event loop from its calls for too long."""


def plan_ahead(run: Context) -> bool:
    """Find the way round one call in flight; return whether there was still one to be found."""
    state = run.state
    if state.phase != "running" or state.pending is not None:
        return False
    view, now = run.view(), run.situation()
    return any(run.planner.plan_ahead(view, state.goal, failed, expansions=EXPANSIONS) for failed in _failures(now))


def _failures(now: Situation) -> Iterator[Situation]:
    """Yield where the run stands if a node in flight fails, and nothing of it has happened."""
    for name in now.in_flight:
        in_flight = {other: left for other, left in now.in_flight.items() if other != name}
        yield replace(now, excluded={**now.excluded, name: "failed"}, in_flight=in_flight)
