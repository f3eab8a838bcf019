"""Which run tries substitutes of which none works: one at a time, while the others are told at once.

Circuits take at most a part of a group out of use, so that where all of it is down every run would call what is left,
and wait for it, and fail. It is enough that one run does. The permit lasts as long as the run, but not beyond `ALONE`:
a call that hangs keeps nobody from seeing that the group is back. A run that is alone is never held off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.health.circuits import Circuits

__all__ = ("ALONE", "Scouts")

ALONE = 2.0
"""Cooldowns of a circuit for which one run tries alone: as long as the second one is. After one, calls that hang would
have as many runs try as behind a gateway's fixed cooldown; after three, it takes too long to see that a group is back.
"""


class Scouts:
    """The runs that try dark groups, and those that are held off.

    Args:
        circuits: They know which groups are dark.
        providers: The nodes that provide each value.
        cooldown: Seconds of a circuit's first cooldown.
    """

    def __init__(self, circuits: Circuits, providers: Mapping[str, tuple[str, ...]], cooldown: float) -> None:
        self._circuits = circuits
        self._providers = providers
        self._patience = ALONE * cooldown
        self._trying: dict[str, tuple[str, float]] = {}
        """Who tries the providers of a value, and until when alone."""
        self._held_off: dict[str, tuple[str, ...]] = {}
        """Of each run, the values that it was shown as out of reach."""

    def ask(self, run_id: str, now: float) -> None:
        """A run begins: it is the one that tries each dark group, or is held off."""
        held_off = []
        for value in self._circuits.dark():
            run, until = self._trying.get(value, (run_id, now))
            if run != run_id and now < until:
                held_off.append(value)
            else:
                self._trying[value] = (run_id, now + self._patience)
        self._held_off.pop(run_id, None)
        if held_off:
            self._held_off[run_id] = tuple(held_off)

    def barred(self, run_id: str) -> dict[str, str]:
        """Return the nodes that a run is held off from, and why, as long as their groups are dark."""
        held_off = self._held_off.get(run_id)
        if held_off is None:
            return {}
        dark = self._circuits.dark()
        return {
            name: f"nothing that provides {value} works, and another run is trying it"
            for value in held_off
            if value in dark
            for name in self._providers[value]
        }

    def keep(self, run_id: str, wanted: Collection[str]) -> None:
        """Let another run try the groups of which this one wants no node."""
        for value in [value for value, (run, _) in self._trying.items() if run == run_id]:
            if not any(name in wanted for name in self._providers[value]):
                del self._trying[value]

    def drop(self, run_id: str) -> None:
        """The run is over."""
        self.keep(run_id, ())
        self._held_off.pop(run_id, None)
