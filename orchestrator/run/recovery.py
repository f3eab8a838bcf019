"""What is decided when something fails, in one fixed order.

Absorb it -> retry the node -> reroute -> last chance -> escalate. The first that applies answers the failure; every
failed attempt is answered by exactly one decision, and several may share one. What an escalation decides is told in
`escalation`; `RunEnded` is for limits and cancellation only.
"""

from __future__ import annotations

from orchestrator.chance import unit_interval
from orchestrator.events import (
    Absorbed,
    AttemptEnded,
    Failure,
    NodeExcluded,
    Rerouted,
    Retried,
    Trigger,
    Warned,
)
from orchestrator.planner import NANO, Route
from orchestrator.run.commands import WakeAt
from orchestrator.run.context import Context
from orchestrator.run.escalation import escalate
from orchestrator.run.routing import adopt, last_chance, planned, take_chance
from orchestrator.run.state import Exclusion

__all__ = ("absorb", "begin", "exclude", "fail", "go_another_way", "jittered", "replan", "way_on")


def fail(run: Context, event: AttemptEnded, failure: Failure) -> None:
    """Answer a failed attempt whose outcome is known."""
    state, name = run.state, event.node
    state.failures[name] = state.failures.get(name, 0) + 1
    shed = failure.type == "overloaded" and not event.calls
    delay = None if shed or state.pending is not None else _retry_delay(run, name, failure)
    needed = state.phase == "running" and state.route is not None and name in state.route.uses
    state.open_failures[name] = event.attempt
    state.note_failure(name, event.attempt, failure.type, failure.message)
    if shed:
        # Our own limit: to ask again at once is what it is there to prevent, and the node has not failed.
        exclude(run, name, "limit:overload")
    elif delay is None:
        exclude(run, name, f"excluded: {failure.type}", transient=failure.transient and name not in state.lifted)
    if not needed:
        absorb(run)
    elif delay is not None:
        _retry(run, name, delay)
    else:
        _warn_unmarked(run, name)
        replan(run, "failed", name, failure.type)


def absorb(run: Context) -> None:
    """Answer what is open: nothing depends on it any more, or another decision covers it already."""
    if run.state.pending is not None:
        return  # the decision that is waited for answers it
    answers = run.state.take_open()
    if answers:
        run.emit(Absorbed(run.state.count("absorb"), answers))


def exclude(run: Context, name: str, reason: str, *, transient: bool = False) -> None:
    """Keep a node from being started again in this run."""
    run.state.excluded[name] = Exclusion(reason, transient)
    run.state.backoff.pop(name, None)
    run.emit(NodeExcluded(name, reason, transient))


def _retry_delay(run: Context, name: str, failure: Failure) -> float | None:
    """Return how long to wait before the next attempt, or None where there is to be none."""
    state, node = run.state, run.node(name)
    repeatable = node.effect in ("read", "idempotent") and failure.transient and name not in state.view.spent
    if not repeatable or name in state.lifted or state.failures[name] >= node.attempts:
        return None
    delay = jittered(run, name, "backoff", state.failures[name])
    if failure.retry_after is not None:
        if failure.retry_after > node.max_backoff:
            return None
        delay = max(delay, failure.retry_after)
    return delay if _fits_again(run, name, delay) else None


def _fits_again(run: Context, name: str, delay: float) -> bool:
    """Whether another attempt, and the rest of the route after it, is permitted and within the limits."""
    state, left, route = run.state, run.left(), run.state.route
    if route is None or name in dict(run.view().vetoes):
        return False
    todo = (n for n in route.nodes if n != name and n not in state.finished and n not in state.flights)
    rest = [name, *todo]
    usd = sum(round((run.node(n).usd or 0.0) * NANO) for n in rest)
    seconds = round((delay + _seconds_from(run, route, name)) * NANO)
    return (
        (left.usd is None or usd <= round(left.usd * NANO))
        and (left.calls is None or len(rest) <= left.calls)
        and (left.seconds is None or seconds <= round(left.seconds * NANO))
    )


def _seconds_from(run: Context, route: Route, name: str) -> float:
    """Return the declared time from the start of a node to the end of what waits for it."""
    later = [_seconds_from(run, route, other) for other, sources in route.sources.items() if name in sources]
    return (run.node(name).seconds or 0.0) + max(later, default=0.0)


def jittered(run: Context, name: str, kind: str, failures: int) -> float:
    """Return how long to wait after so many failures, in seconds.

    Full jitter: a share of a ceiling that doubles with every failure ("Exponential Backoff and Jitter", AWS, 2015).
    The share is a hash of (seed, node, failure), so a replay waits as long.
    """
    node = run.node(name)
    ceiling = min(node.backoff * 2.0 ** (failures - 1), node.max_backoff)
    return ceiling * unit_interval(run.first.seed, kind, name, failures)


def _retry(run: Context, name: str, delay: float) -> None:
    state = run.state
    until = state.at + delay
    state.backoff[name] = until
    run.emit(Retried(state.count("retry"), state.take_open(), name, until))
    run.command(WakeAt(until))


def _warn_unmarked(run: Context, name: str) -> None:
    if run.node(name).effect is None and name not in run.state.warned:
        run.state.warned[name] = True
        message = f"{name} does not say what repeating it does, so it is not tried again"
        run.emit(Warned(name, f"{message}; declare effect: read, idempotent or once"))


# ----------------------------------------------------------------------------------------------------------- planning


def begin(run: Context) -> None:
    """Plan the first route."""
    route = run.plan(run.state.goal)
    if route.feasible:
        adopt(run, route)
        planned(run, route, "start")
    else:
        escalate(run, route)


def replan(run: Context, trigger: Trigger, node: str | None = None, cause: str | None = None) -> None:
    """Plan again from the work already done: reroute, take the last chance, or escalate."""
    route = way_on(run)
    if route.feasible:
        go_another_way(run, route, trigger, node, cause)
    else:
        _last_chance_or_escalate(run, route)


def way_on(run: Context) -> Route:
    """Plan again; a route that the run may not take any more, because it was rerouted too often, is none."""
    route = run.plan(run.state.goal)
    if route.feasible and run.rerouted_enough:
        return Route(run.state.goal, "impossible", reason="limit:reroutes")
    return route


def go_another_way(
    run: Context, route: Route, trigger: Trigger, node: str | None = None, cause: str | None = None
) -> None:
    """Go along a new route to the same goal, and tell why."""
    state = run.state
    before = state.route
    adopt(run, route)
    if before is None:
        planned(run, route, trigger)
        return
    run.emit(
        Rerouted(
            state.count("reroute"),
            state.take_open(),
            trigger,
            node,
            cause,
            state.goal,
            _unfinished(run, before, node),
            route.nodes,
            run.planner.weigh(run.view(), before, run.situation()),
            route.weight,
            route.verdict,
        )
    )


def _unfinished(run: Context, route: Route, failed: str | None) -> tuple[str, ...]:
    """Return what was left of a route, the node that failed included."""
    left = tuple(name for name in route.nodes if name not in run.state.finished or name == failed)
    return left if failed is None or failed in left or failed not in route.uses else (failed, *left)


def _last_chance_or_escalate(run: Context, infeasible: Route) -> None:
    if run.state.pending is not None and not run.state.expired:
        return  # what failed meanwhile is answered by the decision that is waited for
    chance = last_chance(run, run.state.goal)
    if chance is None:
        escalate(run, infeasible)
    else:
        take_chance(run, run.state.goal, chance)
