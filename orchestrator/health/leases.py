"""Which run may try which half-open node: one at a time, for a time, given back when it is not needed.

The circuits hold the one permit of each node; this remembers which run has it, so that the run's view can say so, and
until when, so that a run which is lost or waits for somebody is told that it no longer has it.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.health.circuits import Circuits

__all__ = ("Leases",)


class Leases:
    """The permits that runs hold. Times are seconds on the circuits' clock."""

    def __init__(self, circuits: Circuits) -> None:
        self._circuits = circuits
        self._held: dict[str, tuple[str, float]] = {}
        """The run that has the permit of each node, and until when."""

    def of(self, run_id: str) -> tuple[str, ...]:
        """Return the nodes that the run may try though they are half-open."""
        return tuple(name for name, (run, _) in self._held.items() if run == run_id)

    def ask(self, run_id: str, node: str, now: float, seconds: float) -> bool:
        """Ask for the permit of a node, or for more time; the circuits decide."""
        if not self._circuits.lease(node, run_id, seconds=seconds):
            return False
        run, until = self._held.get(node, (run_id, now))
        self._held[node] = (run_id, max(now + seconds, until if run == run_id else now))
        return True

    def keep(self, run_id: str, wanted: Collection[str]) -> None:
        """Give back what the run does not want."""
        for name in [name for name in self.of(run_id) if name not in wanted]:
            self.give_back(run_id, name)

    def give_back(self, run_id: str, node: str) -> bool:
        """The run has used the permit, or will not; True if it had it."""
        if node not in self.of(run_id):
            return False
        del self._held[node]
        self._circuits.release(node, run_id)
        return True

    def only(self, half_open: Collection[str]) -> None:
        """Forget the permits of nodes that need none any more."""
        for name in [name for name in self._held if name not in half_open]:
            del self._held[name]

    def expire(self, now: float) -> tuple[str, ...]:
        """Take back the permits whose time is over, and return the runs that had one."""
        lost = {name: run for name, (run, until) in self._held.items() if now >= until}
        for name, run in lost.items():
            self.give_back(run, name)
        return tuple(dict.fromkeys(lost.values()))

    def next_change(self) -> float | None:
        """Return when the next permit ends."""
        return min((until for _, until in self._held.values()), default=None)
