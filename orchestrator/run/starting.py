"""What may start now: inputs at hand, guards and gates passed, effects last and one at a time.

A `once` node waits until everything on the route that can run without an effect has finished; then `once` nodes start
one at a time, in route order. So no effect is made for a route that a mere read would still have broken.
"""

from __future__ import annotations

from typing import Literal

from orchestrator.events import AttemptStarted, CallStarted
from orchestrator.graph import Node
from orchestrator.planner import Route
from orchestrator.run.commands import Call, Inputs, Start
from orchestrator.run.context import Context
from orchestrator.run.recovery import exclude, replan
from orchestrator.run.state import Approvable, Flight

__all__ = ("call", "start_ready", "stops", "undo")

TOLERANCE = 1e-12
"""Dollars are floats: 0.1 + 0.2 fit into 0.3."""


def start_ready(run: Context) -> bool:
    """Start or clear every node of the route that is ready; True where the route was planned again on the way."""
    state = run.state
    route = state.route
    assert route is not None
    again = [name for name in state.backoff if name not in route.nodes]
    asked = len(state.asked_for)
    for name in (*again, *route.nodes):
        if name in state.finished or name in state.flights or name in state.unresolved or name in state.asked_for:
            continue
        if state.backoff.get(name, state.at) > state.at:
            continue
        inputs = run.offered(name)
        if inputs is None:
            continue
        turn = run.node(name).effect != "once" or _effects_turn(run, route, name)
        # People are asked everything at once, so an effect behind one that waits for them is cleared already.
        if not turn and not state.asked_for:
            continue
        if _over_limit(run, name):
            return True
        if _cleared(run, name, inputs) and turn and _replaced_effects_undone(run, route, name):
            _start(run, name, inputs)
    # What has to be asked may lie behind an effect that has been passed over: once more, for what is asked with it.
    return len(state.asked_for) > asked and start_ready(run)


def _effects_turn(run: Context, route: Route, name: str) -> bool:
    """Whether it is this `once` node's turn."""
    state = run.state
    if any(found.verifying or other in route.uses for other, found in state.unresolved.items()):
        return False
    if any(run.node(other).effect == "once" for other in state.flights):
        return False
    todo = [other for other in route.nodes if other not in state.finished]
    dependent: dict[str, None] = {}
    for other in todo:
        waits = any(provider in dependent for provider in route.sources[other])
        if waits or run.node(other).effect == "once":
            dependent[other] = None
    if any(other not in dependent for other in todo):
        return False
    pending = [*state.backoff, *(other for other, flight in state.flights.items() if not flight.cancelling)]
    if any(other in route.uses and other not in dependent for other in pending):
        return False
    return name == next(other for other in todo if run.node(other).effect == "once")


def _over_limit(run: Context, name: str) -> bool:
    """Exclude a node that no longer fits a limit, and plan again: the guard behind an unproved route."""
    left, node = run.left(), run.node(name)
    if left.usd is not None and (node.usd or 0.0) > left.usd + TOLERANCE:
        limit = "usd"
    elif left.calls == 0:
        limit = "calls"
    else:
        return False
    exclude(run, name, f"limit:{limit}")
    replan(run, "limit", name, f"limit:{limit}")
    return True


def _cleared(run: Context, name: str, inputs: Inputs) -> bool:
    """Whether guard and gate have passed for exactly these inputs; calls the one that is due where not."""
    node = run.node(name)
    seen = repr(inputs)
    if any(subject == name for key, subject in run.state.calls.items() if key.startswith(("guard:", "gate:"))):
        return False  # what is being looked at are perhaps other inputs; its answer must not be taken for these
    if node.guard and run.state.cleared.get(f"guard:{name}") != seen:
        _look(run, "guard", node, inputs)
        return False
    if run.state.cleared.get(f"yes:{name}") == seen:
        return True
    if node.gate == "function" and run.state.cleared.get(f"gate:{name}") != seen:
        _look(run, "gate", node, inputs)
        return False
    reasons = stops(run, node)
    if reasons:
        run.state.asked_for[name] = Approvable("; ".join(reasons), inputs)
    return not reasons


def stops(run: Context, node: Node) -> list[str]:
    """Return why a call of a node needs a person's yes, its own gate function apart; every reason counts."""
    limits, found = run.policy.approval, []
    price, spent = node.usd or 0.0, run.state.usd + sum(flight.usd for flight in run.state.flights.values())
    if node.gate == "always":
        found.append("every call of it needs a person's yes")
    if limits.risk is not None and limits.risk > 0 and node.risk >= limits.risk:
        found.append(f"its risk is {node.risk:g}, and {limits.risk:g} or more needs a person's yes")
    if limits.usd is not None and price > limits.usd:
        found.append(f"it costs ${price:g}, and more than ${limits.usd:g} a call needs a person's yes")
    if limits.budget is not None and price and spent + price > limits.budget + TOLERANCE:
        found.append(f"with it the run will have spent ${spent + price:g}, and the budget is ${limits.budget:g}")
    return found


def _look(run: Context, kind: Literal["guard", "gate"], node: Node, inputs: Inputs) -> None:
    """Have a guard or gate look at what the node would be given."""
    run.state.inputs[node.name] = inputs
    call(run, kind, node.name, run.passed(node.name, inputs), node.timeout)


def call(run: Context, kind: str, subject: str, inputs: Inputs, timeout: float) -> None:
    """Ask the driver for a guard, gate, check, verify or undo."""
    n = run.state.count(kind)
    run.state.calls[f"{kind}:{n}"] = subject
    match kind:
        case "guard" | "gate" | "check" | "verify" | "undo":
            run.emit(CallStarted(kind, n, subject))
            run.command(Call(kind, n, subject, inputs, run.key(subject), timeout))


def _replaced_effects_undone(run: Context, route: Route, name: str) -> bool:
    """Whether no abandoned effect stands that this node replaces; undoes the latest one where not."""
    state = run.state
    values = run.node(name).provides
    due = [e for e in state.effects if e in route.abandons and set(run.node(e).provides) & set(values)]
    if not due:
        return True
    if not any(key.startswith("undo:") for key in state.calls):
        undo(run, due[-1])
    return False


def undo(run: Context, name: str) -> None:
    """Ask for the undo of a finished effect, with the inputs that it was given."""
    node = run.node(name)
    run.state.undo_tries[name] = run.state.undo_tries.get(name, 0) + 1
    call(run, "undo", name, run.passed(name, run.state.inputs[name]), node.timeout)


def _start(run: Context, name: str, inputs: Inputs) -> None:
    state, node = run.state, run.node(name)
    state.backoff.pop(name, None)
    state.inputs[name] = inputs
    attempt = state.attempts[name] = state.attempts.get(name, 0) + 1
    state.flights[name] = Flight(attempt, state.at, node.usd or 0.0)
    state.calls_made += 1
    passed = run.passed(name, inputs)
    run.emit(AttemptStarted(name, 0, attempt, passed, run.key(name), node.effect))
    run.command(Start(name, 0, attempt, passed, run.key(name), node.timeout))
