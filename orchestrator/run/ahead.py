"""Planning ahead: while calls are in flight, the ways round each of them are found before one is needed.

It decides nothing. The planner remembers what it has solved, so that a reroute whose situation is exactly the one that
was planned is a look-up; any other is planned as if nothing had been done ahead. What was found may be told to whoever
watches the run, but it is no record: it depends on how long calls take.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.planner import Route, Situation
from orchestrator.planner.backups import Backup, detour, sharing
from orchestrator.run.context import Context

__all__ = ("EXPANSIONS", "Foreseen", "foresee", "plan_ahead")

EXPANSIONS = 2_000
"""Node expansions for one situation: what takes more would keep the event loop from its calls for too long."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would follow if a call in flight failed for good and nothing of it had happened."""

    at: float
    """When this was found, on the run's clock."""
    node: str
    attempt: int
    backup: Backup
    shared: tuple[str, ...] = ()
    """What goes with the node if all of its domain does; without any, nothing is said of domains."""

    def same_as(self, other: Foreseen | None) -> bool:
        """Whether this says what *other* said before."""
        return other is not None and replace(self, at=other.at) == other


def plan_ahead(run: Context, *, watched: bool = False) -> bool:
    """Find the way round one call in flight; return whether there was still one to be found.

    Where the run is *watched*, also what no reroute would gain by: mere paths, and the way round the call's domain.
    """
    if not _looks(run):
        return False
    now = run.situation()
    return any(_plan_round(run, now, name, watched=watched) for name in now.in_flight)


def foresee(run: Context, name: str, at: float) -> Foreseen | None:
    """Return what was planned ahead for a call in flight; None where nothing was, or it is none of the run's calls."""
    flight = run.state.flights.get(name)
    if flight is None or flight.cancelling or not _looks(run):
        return None
    if run.rerouted_enough:
        return Foreseen(at, name, flight.attempt, Backup(None, None))
    now, shared = run.situation(), (name,)
    alone = _way_round(run, now, shared)
    if alone is None:
        return None
    together = sharing(run.graph, name, now)
    domain = alone if together == shared else _way_round(run, now, together)
    if domain is None:
        together, domain = shared, alone
    return Foreseen(at, name, flight.attempt, Backup(detour(shared, alone), detour(together, domain)), together[1:])


def _looks(run: Context) -> bool:
    """Whether the failure of a call would have the run plan again at once."""
    return run.state.phase == "running" and run.state.pending is None


def _way_round(run: Context, now: Situation, without: tuple[str, ...]) -> Route | None:
    return run.planner.foreseen(run.view(), run.state.goal, _failed(now, without))


def _plan_round(run: Context, now: Situation, name: str, *, watched: bool) -> bool:
    """Find the way round one call, and round its domain in the same turn: they are told together."""
    lost = dict.fromkeys([(name,), sharing(run.graph, name, now)] if watched else [(name,)])
    view, goal, planner = run.view(), run.state.goal, run.planner
    found = [
        planner.plan_ahead(view, goal, _failed(now, names), expansions=EXPANSIONS, paths=watched) for names in lost
    ]
    return any(found)


def _failed(now: Situation, names: tuple[str, ...]) -> Situation:
    """Return where the run stands if nodes fail and nothing of them has happened."""
    in_flight = {other: left for other, left in now.in_flight.items() if other not in names}
    return replace(now, excluded={**now.excluded, **dict.fromkeys(names, "failed")}, in_flight=in_flight)
