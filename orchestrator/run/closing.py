"""The end of a run: let effects in flight finish, undo what does not stand, say how it went.

After a goal was met or demoted to, finished effects that are not on the standing route are undone in reverse order of
completion; in a failed or cancelled run, all of them, unless the policy keeps them. A waiting run undoes nothing.
"""

from __future__ import annotations

from orchestrator.events import RunFinished
from orchestrator.run.commands import Cancel, Finish
from orchestrator.run.context import Context
from orchestrator.run.starting import undo

__all__ = ("close",)


def close(run: Context) -> None:
    """Take the next step towards the end, if nothing is in the way of it."""
    state = run.state
    state.backoff = {}
    for name, flight in state.flights.items():
        if run.node(name).effect == "read" and not flight.cancelling:
            flight.cancelling = True
            run.command(Cancel(name, 0, flight.attempt))
    if state.flights or state.calls or state.verifying_later:
        return
    reached = state.outcome in ("met", "demoted")
    standing = run.standing() if reached else {}
    keep = not reached and run.policy.effects.keep
    due = [
        name
        for name in state.effects
        if run.node(name).undo and name not in standing and name not in state.stuck and not keep
    ]
    if due:
        undo(run, due[-1])
        return
    _finish(run, standing if reached else state.finished)


def _finish(run: Context, results: dict[str, None] | dict[str, int]) -> None:
    state = run.state
    assert state.outcome is not None
    reached = state.outcome in ("met", "demoted")
    undone = {name for name, done in state.undone if done}
    state.phase = "finished"
    run.emit(
        RunFinished(
            state.outcome,
            state.goal if reached else None,
            tuple(name for name in state.finished if name in results and name not in undone),
            tuple((value, provider or "") for _, value, provider in run.goal_inputs() or ()) if reached else (),
            tuple(state.undone),
            state.reason,
        )
    )
    run.command(Finish())
