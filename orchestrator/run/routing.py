"""Taking a route: what changes when a run goes along a new one, and the last chance before there is none."""

from __future__ import annotations

import math

from orchestrator.events import LastChance, RoutePlanned, Trigger, Warned
from orchestrator.planner import Route
from orchestrator.run.commands import Cancel, WakeAt
from orchestrator.run.context import Context

__all__ = ("adopt", "after", "go_on", "last_chance", "planned", "take_chance", "watch_time")


def after(deadline: float) -> float:
    """Return the first moment after a deadline: what ends exactly at it is in time."""
    return math.nextafter(deadline, math.inf)


def watch_time(run: Context) -> None:
    """Have the run woken when its time is up."""
    if run.deadline is not None:
        run.command(WakeAt(after(run.deadline)))


def go_on(run: Context) -> None:
    """Leave the wait for people: the time of it does not count against the run's limit."""
    state = run.state
    if state.phase != "waiting":
        return
    state.phase = "running"
    state.waited += state.at - state.waiting_since
    watch_time(run)


def adopt(run: Context, route: Route) -> None:
    """Go along a new route: cancel the reads that it drops, and forget waits and questions that it does not need."""
    state = run.state
    state.route = route
    state.pending = None
    uses = route.uses
    for name, flight in state.flights.items():
        if name not in uses and not flight.cancelling and run.node(name).effect == "read":
            flight.cancelling = True
            run.command(Cancel(name, 0, flight.attempt))
    state.backoff = {name: until for name, until in state.backoff.items() if name in uses}
    # What somebody says to one call is no word on a call with other inputs.
    state.asked_for = {
        name: asked for name, asked in state.asked_for.items() if name in uses and run.offered(name) == asked.inputs
    }
    state.check_passed = None
    if route.verdict == "unproved" and "limits" not in state.warned:
        state.warned["limits"] = True
        message = "no route within the limits was found; the cheapest one is taken and stopped at the limit"
        run.emit(Warned(None, message))


def planned(run: Context, route: Route, trigger: Trigger) -> None:
    """Tell of a route that was not there before."""
    run.emit(
        RoutePlanned(
            route.goal,
            route.nodes,
            route.weight,
            route.bound,
            route.verdict,
            trigger,
            route.usd,
            route.seconds,
            route.calls,
            len(run.graph.nodes),
        )
    )


def last_chance(run: Context, goal: str) -> Route | None:
    """Plan with the nodes that were excluded for transient reasons; None where the stage is over or does not help."""
    if run.state.last_chance_taken:
        return None
    lift = _liftable(run)
    route = run.plan(goal, lift=lift) if lift else None
    return route if route is not None and route.feasible else None


def _liftable(run: Context) -> tuple[str, ...]:
    return tuple(
        name
        for name, found in run.state.excluded.items()
        if found.transient and run.node(name).effect in ("read", "idempotent")
    )


def take_chance(run: Context, goal: str, route: Route) -> None:
    """Give nodes excluded for transient reasons one more attempt each, once per run."""
    state = run.state
    lift = _liftable(run)
    state.last_chance_taken = True
    for name in lift:
        del state.excluded[name]
        state.lifted[name] = True
    adopt(run, route)
    answers = state.take_open()
    run.emit(LastChance(state.count("last_chance"), answers, lift, goal, route.nodes, route.weight))
