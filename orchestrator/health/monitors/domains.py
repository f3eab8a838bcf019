"""Fault domains: what fails together is one incident, and whoever shares its fate is suspect.

Two nodes behind one provider, key or region are no backup of each other. When two of them fail within a short time,
and neither has worked since, all weigh more, and the others need less to be taken out of use, before they fail as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.graph import Graph
from orchestrator.health.circuits import Circuits
from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal
from orchestrator.policy import Circuit

__all__ = ("Domains",)

MONITOR = "domain"
SCORE = 0.97
SUSPICION = 0.87
SUSPECT = 2.0
"""By how much a suspect weighs more: enough to prefer an equal of another domain."""

_BAD = ("external", "timeout", "unauthorised", "unknown")


@dataclass(frozen=True, slots=True)
class _Incident:
    since: float
    until: float
    failing: tuple[str, ...]

    def reason(self, domain: str) -> str:
        names = ", ".join(self.failing[:3]) + (" and more" if len(self.failing) > 3 else "")
        return f"{names} of domain {domain} have failed"


class Domains:
    """Incidents of fault domains.

    An incident begins when two nodes of a domain have failed within the circuit's cooldown, neither having worked
    since. It ends when one of them works, or a window after the last failure.
    """

    def __init__(self, graph: Graph, policy: Circuit, circuits: Circuits) -> None:
        self._policy = policy
        self._circuits = circuits
        self._of = {node.name: node.domains for node in graph.nodes}
        self._members: dict[str, tuple[str, ...]] = {}
        for node in graph.nodes:
            for domain in node.domains:
                self._members[domain] = (*self._members.get(domain, ()), node.name)
        self._failed: dict[str, float] = {}
        """When each node failed that has not worked since."""
        self._worked: dict[str, float] = {}
        self._incidents: dict[str, _Incident] = {}

    def record(self, outcome: Outcome) -> bool:
        """Take note of a failure or a success; True if an incident begins or ends with it."""
        name, now = outcome.node, outcome.at
        domains = self._of.get(name, ())
        if not domains:
            return False
        if outcome.evidence == "ok":
            self._worked[name] = now
            self._failed.pop(name, None)
        elif outcome.evidence in _BAD:
            self._failed[name] = now
        else:
            return False
        before = tuple(self._incidents)
        for domain in domains:
            self._judge(domain, now)
        return before != tuple(self._incidents)

    def _judge(self, domain: str, now: float) -> None:
        failing = [name for name in self._members[domain] if name in self._failed]
        incident = self._incidents.get(domain)
        if incident is not None and (len(failing) < 2 or now >= incident.until):
            del self._incidents[domain]
            incident = None
        if incident is None:
            failing = [name for name in failing if now - self._failed[name] <= self._policy.cooldown]
            if len(failing) < 2:
                return
        since = now if incident is None else incident.since
        until = max(self._failed[name] for name in failing) + self._policy.window
        self._incidents[domain] = incident = _Incident(since, until, tuple(failing))
        self._circuits.suspect(self._suspects(domain, incident), incident.reason(domain), until)

    def _suspects(self, domain: str, incident: _Incident) -> tuple[str, ...]:
        return tuple(
            name
            for name in self._members[domain]
            if name not in self._failed and self._worked.get(name, -math.inf) < incident.since
        )

    def signals(self, now: float) -> Iterator[Signal]:
        """Yield a factor for each node that failed or is suspect; the first one's signal stands for the incident."""
        for domain, incident in sorted(self._incidents.items()):
            if now < incident.until:
                reason = incident.reason(domain)
                first, *others = incident.failing
                yield Signal(MONITOR, first, SCORE, f"one incident: {reason}", "factor", SUSPECT)
                for name in (*others, *self._suspects(domain, incident)):
                    yield Signal(MONITOR, name, SUSPICION, reason, "factor", SUSPECT)

    def next_change(self, now: float) -> float | None:
        """Return when an incident is over if nothing happens."""
        return min((each.until for each in self._incidents.values() if each.until > now), default=None)
