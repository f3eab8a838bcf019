"""A route: the planned sub-graph, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ("LimitFigures", "Limits", "Route", "Situation", "Verdict")

Verdict = Literal["found", "impossible", "unproved"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may still spend; None is no limit. Money in US dollars, time in seconds, calls counted."""

    usd: float | None = None
    seconds: float | None = None
    calls: int | None = None

    @property
    def unlimited(self) -> bool:
        """Whether nothing is limited."""
        return self.usd is None and self.seconds is None and self.calls is None


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a run stands when it plans."""

    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Providers of each held value; `graph.INPUT` for run inputs."""
    in_flight: Mapping[str, float] = field(default_factory=dict)
    """Nodes that are running, and the seconds they still take by declared figures."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Nodes that this run may not start, with the reason."""
    effects: Mapping[str, bool] = field(default_factory=dict)
    """Finished nodes whose effect stands, and whether it can be undone."""
    unresolved: frozenset[str] = frozenset()
    """`once` nodes whose outcome is unknown."""
    rests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Nodes whose results were made, directly or through others, from what an effect gave: which effects."""
    finished: frozenset[str] = frozenset()
    """Nodes that never run again in this run."""
    withdrawn: frozenset[tuple[str, str]] = frozenset()
    """(provider, goal): what a failed check took from a goal."""
    left: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """One limit: what is left, what the route takes, and the least that any route takes (a proved lower bound)."""

    left: float
    route: float | None
    least: float


@dataclass(frozen=True, slots=True)
class Route:
    """The answer of the planner. Weights are integer micro-units; an infeasible one has no nodes.

    ``sources`` names, for every node of the route and for the goal, the provider of each need in the order of the
    consumer's needs: a node, `graph.INPUT`, or None for done without.
    """

    goal: str
    verdict: Verdict
    nodes: tuple[str, ...] = ()
    """Unfinished nodes, in an order that can be run."""
    sources: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    goal_sources: tuple[str | None, ...] = ()
    weight: int = 0
    bound: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    calls: int = 0
    abandons: tuple[str, ...] = ()
    """Finished effects that are undone before this route's other providers of their values start."""
    limits: Mapping[str, LimitFigures] = field(default_factory=dict)
    reason: str | None = None
    """Why there is no route: `unreachable`, or `limit:usd` and the like."""

    @property
    def feasible(self) -> bool:
        """Whether there is a route; unproved counts as feasible."""
        return self.verdict != "impossible"

    @property
    def exact(self) -> bool:
        """Whether the route is proved to be the cheapest permitted union."""
        return self.feasible and self.bound == self.weight

    @property
    def uses(self) -> frozenset[str]:
        """Every provider that the route takes something from."""
        found = {name for names in self.sources.values() for name in names if name is not None}
        found.update(name for name in self.goal_sources if name is not None)
        return frozenset(found)
