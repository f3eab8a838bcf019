"""What other processes say of one node, and how far it is believed.

A word is no evidence: it opens a circuit for a while, and is not counted, not repeated, and no reason to stay away
longer the next time. One's own evidence outweighs it. A process with a broken network of its own must not take a node
from all the others, so whoever has found a word wrong listens to the next ones with half an ear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from orchestrator.health.steady import time_of
from orchestrator.health.window import Window

__all__ = ("Hearsay",)

FRESH = 1.0
"""Seconds for which an own success outweighs a word: it takes others up to that long to be heard."""


@dataclass(slots=True)
class Hearsay:
    """Where one node's circuit comes from, and whether others are to be believed. Times are as the circuit's."""

    own: bool = False
    """Whether the circuit moved by evidence of this process since others were last heard: only that is told to them."""
    vouched_until: float = -math.inf
    """Until when a success of one's own, which a word did not foresee, outweighs further ones."""

    def outweighed(self, window: Window, now: float) -> bool:
        """Return whether what this process has seen speaks against an outage that others tell of."""
        failing = window.external_row or window.timeout_row
        fresh = window.measured_at is not None and now - window.measured_at <= FRESH
        return now < self.vouched_until or (fresh and not failing)

    def listened(self, now: float, until: float) -> None:
        """Others tell of an outage until then. While they are not believed, the next time they are not either."""
        self.own = False
        if now < self.vouched_until:
            # They tell of it again when it is over, for up to twice as long.
            self.vouched_until = max(self.vouched_until, now + 2 * (until - now))

    def opened(self) -> None:
        """The circuit opened by own evidence."""
        self.own, self.vouched_until = True, -math.inf

    def closed(self, now: float, pause: float) -> None:
        """The circuit closed by own evidence; it was to be open for *pause* seconds, by whoever's word."""
        if not self.own:
            self.vouched_until = now + pause
        self.own = True

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return it as JSON-ready data, with every time as an age."""
        vouched = None if self.vouched_until == -math.inf else now - self.vouched_until
        return {"own": self.own, "vouched_until": vouched}

    def restore(self, data: dict[str, Any], now: float) -> None:
        """Take over what `snapshot` wrote; *now* is the time at which its ages hold."""
        age = data.get("vouched_until")
        self.own, self.vouched_until = bool(data.get("own")), -math.inf if age is None else time_of(age, now)
