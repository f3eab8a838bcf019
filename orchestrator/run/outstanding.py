"""What a run still waits for: the commands that a driver has to carry out, or to answer, when it takes a run over."""

from __future__ import annotations

from orchestrator.events import CALL_KINDS
from orchestrator.run.commands import AskModel, Call, Cancel, Command, Start, WakeAt
from orchestrator.run.context import Context
from orchestrator.run.people import deadlines
from orchestrator.run.routing import after

__all__ = ("outstanding",)


def outstanding(run: Context) -> tuple[Command, ...]:
    """Return the commands that are not answered yet; see `Run.outstanding`."""
    state = run.state
    starts: list[Command] = [
        Cancel(n, 0, f.attempt)
        if f.cancelling
        else Start(n, 0, f.attempt, run.passed(n, state.inputs[n]), run.key(n), run.node(n).timeout)
        for n, f in state.flights.items()
    ]
    calls: list[Command] = []
    for key, subject in state.calls.items():
        kind, _, n = key.partition(":")
        inputs = run.goal_inputs() if kind == "check" else run.passed(subject, state.inputs[subject])
        timeout = run.policy.timeout if kind == "check" else run.node(subject).timeout
        calls.append(Call(CALL_KINDS[kind], int(n), subject, inputs or (), run.key(subject), timeout))
    asked = state.pending.asked if state.pending is not None else None
    if asked is not None:
        calls.append(AskModel(asked.n, asked, run.policy.escalation.timeout))
    times = [*state.backoff.values(), *(found.verify_at for found in state.unresolved.values())]
    times += deadlines(run) if state.phase == "waiting" else ()
    wakes = [WakeAt(at) for at in times if at is not None]
    if run.deadline is not None and state.phase not in ("finished", "waiting"):
        wakes.append(WakeAt(after(run.deadline)))
    return (*starts, *calls, *wakes)
