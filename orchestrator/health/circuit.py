"""One node's circuit: when it opens, for how long, who may probe it, and how the node comes back.

It opens by Finagle's pair of triggers, failures in a row or a decayed success rate. Its cooldown doubles with every
opening and halves again with time in use (Envoy), for each longest cooldown of it once: a node that flaps stays at its
longest. Until a node has been in use for so long, half of the usual evidence takes it out again. Equal jitter keeps the
probes of several nodes apart. Once a cooldown is over the circuit is half-open: one holder at a time has the permit for
a probe. The permit is a lease, so that one which is cancelled is given back and one which is lost expires; neither says
anything about the node. A success closes the circuit, a failed probe opens it for longer, and traffic comes back from a
tenth to the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.chance import unit_interval
from orchestrator.health.steady import on_grid, time_of
from orchestrator.health.window import Origin, Window
from orchestrator.policy import Circuit

__all__ = ("LEAST", "Lease", "NodeCircuit", "State")

State = Literal["closed", "open", "half_open"]

LEAST = 0.1
"""The share of its traffic with which a node comes back."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may probe, and until when."""

    holder: str
    expires: float


@dataclass(slots=True)
class NodeCircuit:
    """The circuit of one node. Times are seconds on one steady clock.

    Args:
        policy: When it opens, for how long, and how the node comes back.
        name: The node, on which its jitter depends.
        seed: The other thing that the jitter depends on.
    """

    policy: Circuit
    name: str
    seed: int
    opened_at: float | None = None
    """None while it is closed."""
    until: float = -math.inf
    """When the cooldown ends."""
    reason: str = ""
    growth: int = 0
    """Doublings of the next cooldown."""
    openings: int = 0
    readmitted_at: float = -math.inf
    lease: Lease | None = None
    suspect_until: float = -math.inf
    suspicion: str = ""

    def state(self, now: float) -> State:
        """Return the state; an open circuit whose cooldown is over is half-open."""
        if self.opened_at is None:
            return "closed"
        return "half_open" if now >= self.until else "open"

    @property
    def pause(self) -> float:
        """Seconds that it is open for."""
        return 0.0 if self.opened_at is None else self.until - self.opened_at

    @property
    def whole_at(self) -> float:
        """When it gets the whole of its traffic again since it was last admitted."""
        return on_grid(self.readmitted_at + self.policy.slow_start)

    def trigger(self, window: Window, origin: Origin, now: float) -> str | None:
        """Return why the node should be taken out of use, if it should.

        Half as much is needed of a suspect one, and of one that has not been in use for long since it was last out.
        """
        suspect = now < self.suspect_until or (self.growth > 0 and self._growth_left(now) == self.growth)
        failures = _half(self.policy.failures) if suspect else self.policy.failures
        volume = _half(self.policy.volume) if suspect else self.policy.volume
        what = "failures" if origin == "external" else "timeouts"
        row = window.in_a_row(origin)
        if row >= failures:
            return f"{row} {what} in a row"
        rate = window.rate(origin, volume)
        if rate is not None and rate < self.policy.success:
            return f"{what}: only {rate:.0%} of calls succeeded"
        return None

    def open(self, now: float, reason: str) -> None:
        """Open it, or open it again after a failed probe, for twice as long as the last time."""
        if self.opened_at is None:
            self.growth = self._growth_left(now)
        ceiling = min(self.policy.cooldown * 2.0**self.growth, self.policy.max_cooldown)
        self.openings += 1
        # Equal jitter: half of the time is certain.
        pause = on_grid(ceiling * (1 + unit_interval(self.seed, self.name, "cooldown", self.openings)) / 2)
        if ceiling < self.policy.max_cooldown:
            self.growth += 1
        self.opened_at, self.until, self.reason = now, now + pause, reason

    def hear(self, now: float, until: float, reason: str) -> None:
        """Open it on another's word: no failure of its own makes the next cooldown longer."""
        self.opened_at, self.until, self.reason = now, until, reason

    def close(self, now: float) -> None:
        """Close it; the node's share of traffic grows from here."""
        self.opened_at, self.until, self.lease, self.reason = None, -math.inf, None, ""
        self.readmitted_at = now

    def take_lease(self, holder: str, now: float, seconds: float) -> bool:
        """Give the permit to *holder* for *seconds* unless another has it; its own is prolonged."""
        if self.leased_to_another(holder, now):
            return False
        expires = now + on_grid(max(seconds, 0.0))
        if self.lease is not None and self.lease.holder == holder:
            expires = max(expires, self.lease.expires)
        self.lease = Lease(holder, expires)
        return True

    def give_back(self, holder: str) -> None:
        """Take the permit back from *holder*, if it has it."""
        if self.lease is not None and self.lease.holder == holder:
            self.lease = None

    def holds(self, holder: str, now: float) -> bool:
        """Tell whether *holder* has the permit now."""
        return self.lease is not None and self.lease.holder == holder and now < self.lease.expires

    def leased_to_another(self, holder: str, now: float) -> bool:
        """Tell whether somebody else has the permit now."""
        return self.lease is not None and self.lease.holder != holder and now < self.lease.expires

    def share(self, now: float) -> float:
        """Return the share of its traffic that a node gets since it was admitted again: from a tenth to the whole."""
        if self.opened_at is not None or now >= self.whole_at:
            return 1.0
        return max((now - self.readmitted_at) / self.policy.slow_start, LEAST)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return it as JSON-ready data, with every time as an age; what is yet to come has a negative one."""
        data: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        for name in _TIMES:
            time = getattr(self, name)
            data[name] = None if time is None or time == -math.inf else now - time
        if self.lease is not None:
            data["lease"] = [self.lease.holder, now - self.lease.expires]
        return data

    def restore(self, data: dict[str, Any], now: float) -> None:
        """Take over what `snapshot` wrote; *now* is the time at which its ages hold."""
        for name in _PLAIN:
            if name in data:
                setattr(self, name, data[name])
        for name in _TIMES:
            age = data.get(name)
            never = None if name == "opened_at" else -math.inf
            setattr(self, name, never if age is None else time_of(age, now))
        leased = data.get("lease")
        self.lease = Lease(leased[0], time_of(leased[1], now)) if leased else None

    def _growth_left(self, now: float) -> int:
        """Return the doublings that the time in use since the last admission has not taken back."""
        if self.growth == 0:
            return 0
        spans = (now - self.readmitted_at) / max(self.policy.max_cooldown, self.policy.window, 1e-9)
        return self.growth - int(min(spans, self.growth))


_PLAIN = ("reason", "growth", "openings", "suspicion")
_TIMES = ("opened_at", "until", "readmitted_at", "suspect_until")


def _half(count: int) -> int:
    return (count + 1) // 2
