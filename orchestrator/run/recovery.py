"""What is decided when something fails, in one fixed order.

Absorb it -> retry the node -> reroute -> last chance -> escalate. The first that applies answers the failure; every
failed attempt is answered by exactly one decision, and several may share one. Escalation is answered by the policy:
demote to the best lower goal that can be reached, wait for a person where an open `once` outcome stands in the way,
else give up. `RunEnded` is for limits and cancellation only.
"""

from __future__ import annotations

from typing import Literal

from orchestrator.chance import unit_interval
from orchestrator.events import (
    Absorbed,
    AttemptEnded,
    Escalated,
    Failure,
    LastChance,
    NodeExcluded,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    Trigger,
    Warned,
)
from orchestrator.planner import NANO, Route
from orchestrator.run.commands import Cancel, WakeAt
from orchestrator.run.context import Context
from orchestrator.run.state import Exclusion

__all__ = ("absorb", "begin", "end", "escalate", "exclude", "fail", "give_up", "jittered", "replan")

CHECKS = 2
"""How often a goal is planned again after its check failed; the next failure gives the goal up."""


def fail(run: Context, event: AttemptEnded, failure: Failure) -> None:
    """Answer a failed attempt whose outcome is known."""
    state, name = run.state, event.node
    state.failures[name] = state.failures.get(name, 0) + 1
    delay = _retry_delay(run, name, failure)
    needed = state.phase == "running" and state.route is not None and name in state.route.uses
    state.open_failures[name] = event.attempt
    if delay is None:
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
    repeatable = node.effect in ("read", "idempotent") and failure.transient
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
    if route is None or name in dict(state.view.vetoes):
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
        _adopt(run, route)
        _emit_planned(run, route, "start")
    else:
        escalate(run, route)


def replan(run: Context, trigger: Trigger, node: str | None = None, cause: str | None = None) -> None:
    """Plan again from the work already done: reroute, take the last chance, or escalate."""
    state = run.state
    before = state.route
    route = run.plan(state.goal)
    limit = run.policy.limits.reroutes
    if route.feasible and limit is not None and state.counts.get("reroute", 0) >= limit:
        route = Route(state.goal, "impossible", reason="limit:reroutes")
    if not route.feasible:
        _last_chance_or_escalate(run, route)
        return
    _adopt(run, route)
    if before is None:
        _emit_planned(run, route, trigger)
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
            run.planner.weigh(state.view, before, run.situation()),
            route.weight,
            route.verdict,
        )
    )


def _unfinished(run: Context, route: Route, failed: str | None) -> tuple[str, ...]:
    """Return what was left of a route, the node that failed included."""
    left = tuple(name for name in route.nodes if name not in run.state.finished or name == failed)
    return left if failed is None or failed in left or failed not in route.uses else (failed, *left)


def _adopt(run: Context, route: Route) -> None:
    """Go along a new route: cancel the reads that it drops, and forget waits and questions that it does not need."""
    state = run.state
    state.route = route
    uses = route.uses
    for name, flight in state.flights.items():
        if name not in uses and not flight.cancelling and run.node(name).effect == "read":
            flight.cancelling = True
            run.command(Cancel(name, 0, flight.attempt))
    state.backoff = {name: until for name, until in state.backoff.items() if name in uses}
    state.asked_for = {name: reason for name, reason in state.asked_for.items() if name in uses}
    state.check_passed = None
    if route.verdict == "unproved" and "limits" not in state.warned:
        state.warned["limits"] = True
        message = "no route within the limits was found; the cheapest one is taken and stopped at the limit"
        run.emit(Warned(None, message))


def _emit_planned(run: Context, route: Route, trigger: Trigger) -> None:
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


# ----------------------------------------------------------------------------------------- last chance and escalation


def _last_chance_or_escalate(run: Context, infeasible: Route) -> None:
    chance = _last_chance(run, run.state.goal)
    if chance is None:
        escalate(run, infeasible)
    else:
        _take(run, run.state.goal, chance)


def _last_chance(run: Context, goal: str) -> Route | None:
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


def _take(run: Context, goal: str, route: Route) -> None:
    """Give nodes excluded for transient reasons one more attempt each, once per run."""
    state = run.state
    lift = _liftable(run)
    state.last_chance_taken = True
    for name in lift:
        del state.excluded[name]
        state.lifted[name] = True
    _adopt(run, route)
    answers = state.take_open()
    run.emit(LastChance(state.count("last_chance"), answers, lift, goal, route.nodes, route.weight))


def escalate(run: Context, infeasible: Route) -> None:
    """Decide by the policy's rule: ask, demote, or give up."""
    state = run.state
    reason = infeasible.reason or "unreachable"
    if state.expired and reason.startswith("limit:"):
        reason = "limit:seconds"
    if reason != "check" and not state.expired and reason != "limit:reroutes" and _ask(run):
        return
    if reason == "unreachable":
        reason = _stopped_by(run) or reason
    if run.policy.escalation.demote:
        goals = [goal.name for goal in run.graph.goals]
        for goal in goals[goals.index(state.goal) + 1 :]:
            route = run.plan(goal)
            chance = None if route.feasible else _last_chance(run, goal)
            if route.feasible or chance is not None:
                _demote(run, goal, reason)
                if chance is None:
                    _adopt(run, route)
                    _emit_planned(run, route, "demoted")
                else:
                    _take(run, goal, chance)
                return
    if reason.startswith("limit:"):
        end(run, reason)
    else:
        give_up(run, reason)


def _stopped_by(run: Context) -> str | None:
    """Return the limit without whose guard there would be a route, if it is one that leaves none."""
    stopped = {name: found.reason for name, found in run.state.excluded.items() if found.reason.startswith("limit:")}
    if stopped and run.plan(run.state.goal, lift=tuple(stopped)).reason != "unreachable":
        return list(stopped.values())[-1]
    return None


def _demote(run: Context, goal: str, reason: str) -> None:
    state = run.state
    state.count("demotion")
    _emit_escalated(run, "demote", goal, reason)
    state.goal = goal


def _ask(run: Context) -> bool:
    """Wait for a person where settling an open `once` outcome would make a route."""
    state = run.state
    if not any(not found.verifying for found in state.unresolved.values()):
        return False
    route = run.plan(state.goal, settled=True)
    if not route.feasible:
        return False
    _emit_escalated(run, "ask", None, "an outcome is unknown")
    _adopt(run, route)
    return True


def give_up(run: Context, reason: str) -> None:
    """Fail the run: no listed goal can be reached."""
    _emit_escalated(run, "give_up", None, reason)
    run.state.phase, run.state.outcome, run.state.reason = "closing", "failed", reason


def _emit_escalated(run: Context, decision: Literal["demote", "give_up", "ask"], goal: str | None, reason: str) -> None:
    state = run.state
    blocked = tuple((name, found.reason) for name, found in state.excluded.items())
    number, answers = state.count("escalation"), state.take_open()
    run.emit(Escalated(number, answers, "policy", decision, state.goal, goal, reason, blocked))


def end(run: Context, reason: str, *, cancelled: bool = False) -> None:
    """Stop the run for a limit, or because it was cancelled."""
    state = run.state
    run.emit(RunEnded(state.count("end"), state.take_open(), reason))
    state.phase, state.outcome, state.reason = "closing", "cancelled" if cancelled else "failed", reason
