"""Which run tries substitutes of which none works: one at a time, while the others are told at once.

Circuits take at most a part of a group out of use, so that where all of it is down every run would call what is left,
and wait for it, and fail. It is enough that one run does. It holds others off from its first call of the group, for as
long as it lasts, but not beyond `ALONE`: a call that hangs keeps nobody from seeing that the group is back. A run that
still has far to go holds off nobody; of those that come to a group together, the first one calls. Whoever has called
goes on as it likes, but holds nobody off again: it may have tried already what is back. A run that is alone is never
held off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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
        patience: Seconds for which one run tries alone.
    """

    def __init__(self, circuits: Circuits, providers: Mapping[str, tuple[str, ...]], patience: float) -> None:
        self._circuits = circuits
        self._providers = providers
        self._patience = patience
        self._of: dict[str, list[str]] = {}
        """Of each node, the values for which there are substitutes."""
        for value, names in providers.items():
            for name in names if len(names) > 1 else ():
                self._of.setdefault(name, []).append(value)
        self._called: dict[str, dict[str, float]] = {}
        """Of each value, the runs that have called a provider of it, and until when each holds others off."""
        self._held_off: dict[str, dict[str, None]] = {}
        """Of each run, the values that it was shown as out of reach."""

    def ask(self, run_id: str, now: float) -> None:
        """A run begins: it is held off from the dark groups that another one is trying."""
        self._held_off.pop(run_id, None)
        self._hold_off(run_id, self._circuits.dark(), now)

    def call(self, run_id: str, node: str, now: float) -> bool:
        """A run is about to call a node: True if it may. It is held off if another one is trying what it comes to."""
        values = self._of.get(node, ())
        dark = self._circuits.dark() if values else ()
        if self._hold_off(run_id, (value for value in values if value in dark), now):
            return False
        for value in values:
            self._called.setdefault(value, {}).setdefault(run_id, now + self._patience if value in dark else now)
        return True

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
        for value, called in tuple(self._called.items()):
            if run_id in called and not any(name in wanted for name in self._providers[value]):
                del called[run_id]
                if not called:
                    del self._called[value]

    def drop(self, run_id: str) -> None:
        """The run is over."""
        self.keep(run_id, ())
        self._held_off.pop(run_id, None)

    def _hold_off(self, run_id: str, dark: Iterable[str], now: float) -> bool:
        """Hold a run off from what another one is trying and it has not called itself; True if there is such."""
        held_off = [
            value
            for value in dark
            if run_id not in (called := self._called.get(value, {})) and any(now < until for until in called.values())
        ]
        if held_off:
            self._held_off.setdefault(run_id, {}).update(dict.fromkeys(held_off))
        return bool(held_off)
