"""Which run may try which half-open node: whoever calls it first, and then nobody else.

A run that is on its way to such a node has no permit yet, for it may have far to go. It only keeps others from setting
out for a while: not for longer, else one that comes late would keep those from the node that are nearly there. The
permit itself, of which the circuits hold one for each node, is taken when the call is made. Those that are still on
their way are then told that they need another one, and so is a run that is lost or waits for somebody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.health.circuits import Circuits

__all__ = ("HALF_OPEN", "PROBED", "Leases")

HALF_OPEN = "half-open: one run at a time may try it"
PROBED = "half-open: waits for its probe"


@dataclass(slots=True)
class _Trial:
    """A run that may try a node."""

    since: float
    """When it set out."""
    until: float
    """When it must have been there at the latest, or its call must be over."""


class Leases:
    """The runs that may try half-open nodes. Times are seconds on the circuits' clock.

    Args:
        circuits: They hold the permits.
        patience: Seconds for which a run that has set out keeps others from it.
    """

    def __init__(self, circuits: Circuits, patience: float) -> None:
        self._circuits = circuits
        self._patience = patience
        self._trials: dict[str, dict[str, _Trial]] = {}
        """Of each node, by run."""

    def of(self, run_id: str) -> tuple[str, ...]:
        """Return the nodes that the run may try though they are half-open."""
        return tuple(name for name, trials in self._trials.items() if run_id in trials)

    def ask(self, run_id: str, node: str, now: float, seconds: float) -> bool:
        """Have a run set out for a node, or go on: it will be done within so many seconds. True if it may try it."""
        # Zero seconds: whether anybody calls it now; the circuits give the permit for no time.
        if not self._circuits.lease(node, run_id, seconds=0.0):
            return False
        trials = self._trials.setdefault(node, {})
        if run_id in trials:
            trials[run_id].until = max(trials[run_id].until, now + seconds)
        elif all(now >= trial.since + self._patience for trial in trials.values()):
            trials[run_id] = _Trial(now, now + seconds)
        return run_id in trials

    def call(self, run_id: str, node: str, now: float, seconds: float) -> tuple[str, ...] | None:
        """Give the permit to a run that calls a node now, for so many seconds.

        Returns:
            The runs that were on their way to it, and may not try it any more; None: another one calls it.
        """
        self._circuits.release(node, run_id)  # else what it has of an earlier call would last for longer
        if not self._circuits.lease(node, run_id, seconds=seconds):
            return None
        others = tuple(other for other in self._trials.get(node, ()) if other != run_id)
        self._trials[node] = {run_id: _Trial(now, now + seconds)}
        return others

    def keep(self, run_id: str, wanted: Collection[str]) -> None:
        """Give back what the run does not want."""
        for name in [name for name in self.of(run_id) if name not in wanted]:
            self.give_back(run_id, name)

    def give_back(self, run_id: str, node: str) -> bool:
        """The run has tried the node, or will not; True if it might have."""
        if self._trials.get(node, {}).pop(run_id, None) is None:
            return False
        self._circuits.release(node, run_id)
        return True

    def only(self, half_open: Collection[str]) -> None:
        """Forget about nodes that need no permit any more."""
        for name in [name for name in self._trials if name not in half_open]:
            del self._trials[name]

    def expire(self, now: float) -> tuple[str, ...]:
        """Take back what runs have had for too long, and return those runs."""
        if not self._trials:
            return ()
        late = [
            (run, name) for name, trials in self._trials.items() for run, trial in trials.items() if now >= trial.until
        ]
        for run, name in late:
            self.give_back(run, name)
        return tuple(dict.fromkeys(run for run, _ in late))

    def next_change(self) -> float | None:
        """Return when the next run will have had it for too long."""
        return min((trial.until for trials in self._trials.values() for trial in trials.values()), default=None)
