"""Unknown outcomes: a `once` call whose answer was lost, and how it is settled.

Nobody guesses. The node's `verify` finds out, with growing waits between its tries; a late result of the attempt itself
settles it too; else it stays open and a person is asked at the end. Until then no other provider of its values starts.
"""

from __future__ import annotations

from typing import Literal

from orchestrator.events import AttemptEnded, CallEnded, Failure, LateResult, Settled, Value, Warned
from orchestrator.run.commands import WakeAt
from orchestrator.run.context import Context
from orchestrator.run.recovery import absorb, exclude, jittered, replan
from orchestrator.run.routing import go_on
from orchestrator.run.starting import call
from orchestrator.run.state import Unresolved

__all__ = ("late_result", "settle", "unknown", "verified", "verify_due")


def unknown(run: Context, fact: AttemptEnded) -> None:
    """Take in a `once` attempt that may or may not have happened."""
    verifying = run.node(fact.node).verify
    failure = fact.failure or Failure("unknown")
    run.state.note_failure(fact.node, fact.attempt, failure.type, failure.message)
    run.state.unresolved[fact.node] = Unresolved(fact.attempt, verifying, fact.usd)
    if verifying:
        _verify(run, fact.node)
    else:
        _left_open(run, fact.node)


def verify_due(run: Context) -> None:
    """Verify again what has waited long enough."""
    for name, found in run.state.unresolved.items():
        if found.verify_at is not None and found.verify_at <= run.state.at:
            _verify(run, name)


def _verify(run: Context, name: str) -> None:
    open_ = run.state.unresolved[name]
    open_.tries += 1
    open_.verify_at = None
    call(run, "verify", name, run.passed(name, run.state.inputs[name]), run.node(name).timeout)


def verified(run: Context, fact: CallEnded) -> None:
    """Take in the answer of a verify."""
    open_ = run.state.unresolved.get(fact.subject)
    if open_ is None:
        return
    if fact.ok is not None:
        settle(run, fact.subject, fact.ok, fact.values, "verify")
    elif open_.tries < run.policy.effects.verify_attempts:
        open_.verify_at = run.state.at + jittered(run, fact.subject, "verify", open_.tries)
        run.command(WakeAt(open_.verify_at))
    else:
        _left_open(run, fact.subject)


def late_result(run: Context, fact: LateResult) -> None:
    """Settle an open attempt by its own late result; any other late result changes nothing."""
    state = run.state
    open_ = state.unresolved.get(fact.node)
    if open_ is None or open_.attempt != fact.attempt or state.phase == "finished":
        return
    happened = "yes" if fact.outcome == "succeeded" else (fact.failure or Failure("unknown")).happened
    if happened == "unknown":
        return
    go_on(run)
    settle(run, fact.node, happened == "yes", fact.values, "late_result", useful=fact.outcome == "succeeded")


def settle(
    run: Context,
    name: str,
    done: bool,
    values: tuple[Value, ...],
    by: Literal["verify", "late_result", "person"],
    *,
    useful: bool = True,
) -> None:
    """Take an unknown outcome as known: done or not, and whether there is a result that can be used."""
    state = run.state
    open_ = state.unresolved.pop(name)
    state.left_open.pop(name, None)
    run.emit(Settled(name, open_.attempt, done, by))
    if open_.verifying:
        state.open_failures[name] = open_.attempt
    if done and useful:
        run.hold(name, open_.attempt, values)
        absorb(run)
        return
    if done:
        # It gave no value, and yet what replaces it has to undo it first.
        run.note_effect(name, open_.attempt)
    else:
        state.usd -= open_.usd
    cause = "done without a result" if done else "not done"
    exclude(run, name, f"excluded: {cause}")
    _go_on(run, name, cause)


def _left_open(run: Context, name: str) -> None:
    """Nothing here can find out what happened: go round it, or ask."""
    open_ = run.state.unresolved[name]
    open_.verifying = False
    run.state.open_failures[name] = open_.attempt
    message = f"it is not known whether {name} happened, so no other provider of its value may start"
    run.emit(Warned(name, message))
    _go_on(run, name, "unknown")


def _go_on(run: Context, name: str, cause: str) -> None:
    route = run.state.route
    if run.state.phase == "running" and route is not None and name in route.uses:
        replan(run, "unknown", name, cause)
    else:
        absorb(run)
