"""What has lately been seen of one node: counts and a latency that forget smoothly.

Every count decays with the exponential of the time that went by, so that nothing is forgotten at the turn of a minute,
no sample is kept for being old, and no number of samples ends the learning. Failures of the other side and timeouts of
our own are counted apart (Envoy: external and local origin), because our deadline may be what is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from orchestrator.health.steady import time_of

__all__ = ("Figures", "Origin", "Window", "fading")

Origin = Literal["external", "timeout"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured of a node, as of now. Times are seconds on the board's clock."""

    success: float
    """Posterior mean of the success rate: the declared one counts as `health.prior` attempts."""
    n: float = 0.0
    """Attempts behind it; decayed, like those that succeeded."""
    ok: float = 0.0
    latency: float | None = None
    """Seconds: the peak of late, decaying to what is measured now; None: never measured."""
    measured_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None


def fading(age: float, time: float) -> float:
    """Return the share of a figure that is left after *age* seconds when it decays over *time* seconds.

    >>> fading(0.0, 30.0), fading(5.0, 0.0)
    (1.0, 0.0)
    """
    if age <= 0:
        return 1.0
    return math.exp(-age / time) if time > 0 else 0.0


@dataclass(slots=True)
class Window:
    """The decayed counts of one node.

    ``ok``, ``external`` and ``timeout`` are counted since the node was last admitted and say when its circuit opens;
    ``measured_ok`` and ``measured`` go on through openings and say what it is worth.

    Args:
        time: Seconds over which outcomes decay.
        latency_time: Seconds over which latencies do.
    """

    time: float
    latency_time: float
    at: float = -math.inf
    """When the counts were last brought up to date."""
    ok: float = 0.0
    external: float = 0.0
    timeout: float = 0.0
    external_row: int = 0
    """Failures since the last success."""
    timeout_row: int = 0
    probe_row: int = 0
    """Failed probes since the last success, of a probe or a call."""
    measured_ok: float = 0.0
    measured: float = 0.0
    latency: float | None = None
    latency_at: float = -math.inf
    measured_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None

    def succeeded(self, now: float, seconds: float) -> None:
        """Count a success that took *seconds*."""
        self._forget(now)
        self.ok += 1
        self.external_row = self.timeout_row = self.probe_row = 0
        self._measure(now, 1.0)
        self._took(now, seconds)

    def failed(self, now: float, origin: Origin, seconds: float) -> None:
        """Count a failure; a timeout says that the latency was at least *seconds*."""
        self._forget(now)
        if origin == "external":
            self.external += 1
            self.external_row += 1
        else:
            self.timeout += 1
            self.timeout_row += 1
            if self.latency is None or seconds > self.latency:
                self._took(now, seconds)
        self._measure(now, 0.0)

    def probed(self, *, ok: bool) -> None:
        """Count an active probe: failures in a row, and nothing else.

        A call of another kind, often of a cheap page, says nothing about how well or how fast real calls go; and while
        it is answered, failures of real calls go on being a row.
        """
        self.probe_row = 0 if ok else self.probe_row + 1

    def note(self, now: float, error: str) -> None:
        """Remember the last error, whatever it is evidence of."""
        self.last_error, self.last_error_at = error, now

    def in_a_row(self, origin: Origin) -> int:
        """Return the failures of this origin since the last success, and those of probes."""
        return (self.external_row if origin == "external" else self.timeout_row) + self.probe_row

    def rate(self, origin: Origin, volume: int) -> float | None:
        """Return the decayed success rate against one origin; None where too little was seen to speak of a rate.

        More than *volume* - 1 decayed outcomes take at least *volume* real ones. One failure alone is no rate, however
        much the successes before it have faded.
        """
        bad = self.external if origin == "external" else self.timeout
        seen = self.ok + bad
        return self.ok / seen if seen > volume - 1 and bad > 1 else None

    def restart(self) -> None:
        """Judge afresh from here on; what was measured stays."""
        self.ok = self.external = self.timeout = 0.0
        self.external_row = self.timeout_row = self.probe_row = 0

    def figures(self, now: float, declared: float, prior: int) -> Figures:
        """Return what is measured, decayed to *now*.

        Args:
            now: The time.
            declared: The declared success rate.
            prior: How many attempts it counts for.
        """
        left = fading(now - self.at, self.time)
        ok, n = self.measured_ok * left, self.measured * left
        success = (prior * declared + ok) / (prior + n)
        return Figures(success, n, ok, self.latency, self.measured_at, self.last_error, self.last_error_at)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return the counts as JSON-ready data, with every time as an age."""
        data: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        del data["time"], data["latency_time"]
        for name in _TIMES:
            data[name] = None if data[name] is None or data[name] == -math.inf else now - data[name]
        return data

    def restore(self, data: dict[str, Any], now: float) -> None:
        """Take over what `snapshot` wrote; *now* is the time at which its ages hold, the past of a later clock."""
        for each in fields(self):
            if each.name in data:
                setattr(self, each.name, data[each.name])
        for name in _TIMES:
            age = data.get(name)
            never = -math.inf if name in ("at", "latency_at") else None
            setattr(self, name, never if age is None else time_of(age, now))

    def _forget(self, now: float) -> None:
        left = fading(now - self.at, self.time)
        self.at = max(self.at, now)
        self.ok *= left
        self.external *= left
        self.timeout *= left
        self.measured_ok *= left
        self.measured *= left

    def _measure(self, now: float, ok: float) -> None:
        self.measured_ok += ok
        self.measured += 1
        self.measured_at = now

    def _took(self, now: float, seconds: float) -> None:
        # Finagle's Peak EWMA: up at once, down slowly.
        if self.latency is None or seconds > self.latency:
            self.latency = seconds
        else:
            left = fading(now - self.latency_at, self.latency_time)
            self.latency = self.latency * left + seconds * (1 - left)
        self.latency_at = max(self.latency_at, now)


_TIMES = ("at", "latency_at", "measured_at", "last_error_at")
