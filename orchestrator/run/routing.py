"""Taking a route: what changes when a run goes along a new one, and the last chance before there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.events import LastChance, RoutePlanned, Trigger, Warned
from orchestrator.planner import Route
from orchestrator.run.commands import Cancel, WakeAt
from orchestrator.run.context import Context

__all__ = ("Chance", "adopt", "after", "go_on", "last_chance", "planned", "take_chance", "watch_time")


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


@dataclass(frozen=True, slots=True)
class Chance:
    """A route of the last-chance stage, and what it needs: exclusions lifted, open circuits passed."""

    route: Route
    lift: tuple[str, ...]
    passing: tuple[str, ...]


def last_chance(run: Context, goal: str) -> Chance | None:
    """Plan with what is left to try; None where nothing is, or it does not help.

    First the nodes that were excluded for transient reasons, once per run; then open circuits that were not tried yet.
    """
    lift = () if run.state.last_chance_taken else _liftable(run)
    untried = tuple(name for name in run.state.view.open if name not in run.state.passing)
    for passing in ((), untried):
        if lift or passing:
            route = run.plan(goal, lift=lift, passing=passing)
            if route.feasible:
                return Chance(route, lift, passing)
    return None


def _liftable(run: Context) -> tuple[str, ...]:
    return tuple(
        name
        for name, found in run.state.excluded.items()
        if found.transient and run.node(name).effect in ("read", "idempotent")
    )


def take_chance(run: Context, goal: str, chance: Chance) -> None:
    """Give what is left to try one more attempt each."""
    state = run.state
    state.last_chance_taken |= bool(chance.lift)
    for name in chance.lift:
        del state.excluded[name]
    for name in (*chance.lift, *chance.passing):
        state.lifted[name] = True
    state.passing.update(dict.fromkeys(chance.passing, True))
    adopt(run, chance.route)
    answers, nodes = state.take_open(), (*chance.lift, *chance.passing)
    run.emit(LastChance(state.count("last_chance"), answers, nodes, goal, chance.route.nodes, chance.route.weight))
