"""Everything that is known of one node's health, in one place."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.graph import Node
from orchestrator.health.circuit import NodeCircuit, State
from orchestrator.health.hearsay import Hearsay
from orchestrator.health.quota import Quota
from orchestrator.health.steady import on_grid, time_of
from orchestrator.health.window import Window
from orchestrator.policy import Circuit, Policy

__all__ = ("Standing",)


class Standing:
    """The health of one node. Times are seconds on one steady clock.

    Args:
        node: The node.
        circuit: When its circuit opens.
        policy: The rest.
        seed: What jitter depends on.
    """

    def __init__(self, node: Node, circuit: Circuit, policy: Policy, seed: int) -> None:
        self.node = node
        self.circuit = NodeCircuit(circuit, node.name, seed)
        self.window = Window(circuit.window, policy.health.latency)
        self.quota = Quota(policy.retry.backoff, policy.retry.max_backoff, circuit.slow_start, circuit.window)
        self.hearsay = Hearsay()
        self.refused_at = -math.inf
        """When it last refused our credentials; it has not accepted any since."""
        self.awaited: tuple[float, ...] = ()
        self.told: tuple[State, bool, bool] = ("closed", False, False)

    def status(self, now: float) -> tuple[State, bool, bool]:
        """Return the state of its circuit, whether it is unauthorised, and whether its quota is used up."""
        return self.circuit.state(now), self.refuses_us(now), now < self.quota.not_before

    @property
    def unauthorised(self) -> bool:
        """Whether it has refused our credentials."""
        return self.refused_at > -math.inf

    @property
    def retried_at(self) -> float:
        """When credentials that it has refused may be tried again."""
        return on_grid(self.refused_at + self.circuit.policy.max_cooldown)

    def refuses_us(self, now: float) -> bool:
        """Return whether it has refused our credentials, and it is too early to try them again."""
        return self.unauthorised and now < self.retried_at

    def blocked(self, now: float) -> str | None:
        """Return why it may not be used now, in words that stay the same while it holds."""
        if self.refuses_us(now):
            return "unauthorised"
        if now < self.quota.not_before:
            return f"rate limited for {self.quota.wait:.1f}s"
        if self.circuit.state(now) == "open":
            return f"circuit open for {self.circuit.pause:.1f}s: {self.circuit.reason}"
        return None

    def too_short(self, seconds: float) -> bool:
        """Tell whether a deadline of *seconds* was below the time that the node is declared to take."""
        return 0 < seconds < (self.node.seconds or 0.0)

    def changes(self) -> tuple[float, ...]:
        """Return the times at which time alone changes something, those that are over too."""
        circuit = self.circuit
        times = [
            self.retried_at,
            self.quota.not_before,
            self.quota.whole_at,
            circuit.suspect_until,
        ]
        if circuit.opened_at is None:
            times.append(circuit.whole_at)
        else:
            times.append(circuit.until)
        if circuit.lease is not None:
            times.append(circuit.lease.expires)
        return tuple(times)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return it as JSON-ready data, with every time as an age."""
        return {
            "circuit": self.circuit.snapshot(now),
            "window": self.window.snapshot(now),
            "quota": self.quota.snapshot(now),
            "hearsay": self.hearsay.snapshot(now),
            "unauthorised": now - self.refused_at if self.unauthorised else None,
            "told": list(self.told),
        }

    def restore(self, data: dict[str, Any], then: float) -> None:
        """Take over what `snapshot` wrote; *then* is the time at which its ages hold."""
        self.circuit.restore(data["circuit"], then)
        self.window.restore(data["window"], then)
        self.quota.restore(data["quota"], then)
        self.hearsay.restore(data.get("hearsay", {}), then)
        refused = data["unauthorised"]
        self.refused_at = -math.inf if refused is None else time_of(refused, then)
        state, unauthorised, limited = data["told"]
        self.told = (state, unauthorised, limited)
