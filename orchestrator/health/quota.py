"""Quotas: a rate limit speaks of capacity, not of health.

A refusal for too many calls sets a time before which none is made, the node's own Retry-After if it names one. Each
burst of refusals also halves a learned share of traffic, which rises again while none comes (AIMD). What a node says
is left of its limit lowers the share before the first refusal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from orchestrator.health.steady import on_grid, time_of
from orchestrator.health.window import fading

__all__ = ("LEAST", "Quota")

LEAST = 0.1
"""No share falls below a tenth: what gets no traffic can prove nothing."""
SCARCE = 0.2
"""Share of a rate limit below which the rest is saved."""
LONGEST = 86_400.0
"""Seconds; no quota lasts longer than a day, and a larger Retry-After is a slip."""


@dataclass(slots=True)
class Quota:
    """The rate limit of one node, as far as it is known.

    Args:
        backoff: Seconds of the first wait where the node names none; it doubles while refusals follow each other.
        max_backoff: Seconds of the longest such wait.
        recovery: Seconds in which the learned share rises from a tenth to the whole.
        memory: Seconds over which a told headroom fades.
    """

    backoff: float
    max_backoff: float
    recovery: float
    memory: float
    not_before: float = -math.inf
    wait: float = 0.0
    """The wait that ends then."""
    refused_at: float = -math.inf
    burst: int = 0
    """Refusals since a call last went through, those of calls already under way counting as one."""
    cap: float = 1.0
    """The learned share at the end of the last wait."""
    headroom: float = 1.0
    told_at: float = -math.inf

    def refused(self, now: float, began: float, retry_after: float | None, chance: float) -> None:
        """Note a refusal of a call that began at *began*; *chance* in [0, 1) spreads a wait that is not named."""
        if began > self.refused_at:
            self.cap = max(self.learned(now) / 2, LEAST)
            self.burst += 1
            self.refused_at = now
        if retry_after is not None and math.isfinite(retry_after) and retry_after >= 0:
            wait = on_grid(min(retry_after, LONGEST))
        else:
            ceiling = min(self.backoff * 2.0 ** min(self.burst - 1, 30), self.max_backoff)
            wait = on_grid(ceiling * (1 + chance) / 2)
        if now + wait > self.not_before:
            self.not_before, self.wait = now + wait, wait

    def passed(self, began: float) -> None:
        """Note that a call that began at *began* went through: what was refused before it is over."""
        if began >= self.refused_at:
            self.burst = 0
            # The cap keeps rising from here instead of from the end of the wait.
            self.not_before = min(self.not_before, began)

    def told(self, now: float, headroom: float) -> None:
        """Note the share of its rate limit that the node says is left."""
        self.headroom, self.told_at = min(max(headroom, 0.0), 1.0), now

    def learned(self, now: float) -> float:
        """Return the learned share: halved by each burst, whole again after `recovery` seconds without one."""
        rested = now - self.not_before
        if self.cap >= 1.0 or rested <= 0:
            return self.cap
        if now >= self.whole_at:
            return 1.0
        return min(self.cap + (1 - LEAST) * rested / self.recovery, 1.0)

    @property
    def whole_at(self) -> float:
        """When the learned share is whole again."""
        return on_grid(self.not_before + (1.0 - self.cap) * self.recovery / (1 - LEAST))

    def share(self, now: float) -> float:
        """Return the share of its usual traffic that the node can take, from a tenth to the whole."""
        scarce = min(self.headroom / SCARCE, 1.0)
        saved = 1 - (1 - scarce) * fading(now - self.told_at, self.memory)
        return max(self.learned(now) * saved, LEAST)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return what is known as JSON-ready data, with every time as an age."""
        data: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)[4:]}
        for name in _TIMES:
            data[name] = None if data[name] == -math.inf else now - data[name]
        return data

    def restore(self, data: dict[str, Any], now: float) -> None:
        """Take over what `snapshot` wrote; *now* is the time at which its ages hold."""
        for each in fields(self)[4:]:
            if each.name in data:
                setattr(self, each.name, data[each.name])
        for name in _TIMES:
            age = data.get(name)
            setattr(self, name, -math.inf if age is None else time_of(age, now))


_TIMES = ("not_before", "refused_at", "told_at")
