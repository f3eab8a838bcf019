"""The resilience report: what is found, as data and as text.

The data is that of ``validate --json``, under the key ``resilience`` of each file::

    {"most": 3, "goals": [{
        "name": "refunded_and_told",
        "feasible": true,              # whether there is a route with nothing lost
        "reason": null,                # why not: "unreachable", "limit:usd", ...
        "route": ["crm", "cardpay", "email"],   # the cheapest; empty where not feasible
        "weight": 30.655,              # in cost units; null where not feasible
        "survives": 0,                 # any so many losses at once leave it feasible, `most` at the most
        "exact": true,                 # false: at least so many
        "stopped": null,               # "budget", or "unproved": a limit could be judged neither way
        "breaking": [{"kind": "node", "name": "crm", "nodes": ["crm"]}],    # a smallest set that breaks it, or null
        "single_points": [{            # whatever breaks it alone, nodes first, by name
            "kind": "node",            # or "domain", which fails as a whole
            "name": "crm",
            "nodes": ["crm"],          # what is gone with it, of the nodes that could serve the goal
            "left": null,              # the goal that a run is then demoted to
            "values": ["contact", "order"],     # what nobody else can give
            "help": "add another provider of ..."
        }],
        "without": [{                  # every node of the route, dearest first
            "node": "cardpay",
            "route": ["crm", "bankpay", "email"],   # the cheapest found without it; empty where there is none
            "weight": 45.955,          # null where there is none
            "extra": 15.3,             # what it weighs more; null where there is none
            "exact": true              # false: the second-best route may be cheaper
        }],
        "alternative": {...},          # the cheapest of these, or null
        "searches": 4, "plans": 3      # the work that it took: searches for a way round, and planned routes
    }]}

Sets are compared by size, then by name, nodes before domains; `breaking` is the first. Where `stopped` is not null, it
is the first of those that were found; `single_points` is complete all the same, unless `survives` is 0 as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.export.flow import visible
from orchestrator.findings import listed
from orchestrator.resilience.losses import MOST, Loss
from orchestrator.resilience.survival import Stopped

__all__ = ("GoalResilience", "Price", "Resilience", "SinglePoint")

_SHOWN = 5
"""Single points of failure, and prices of one goal, that the text shows; the others are counted."""


@dataclass(frozen=True, slots=True)
class SinglePoint:
    """A loss that breaks a goal alone."""

    loss: Loss
    left: str | None
    """The goal that is left: the first lower one that does without it, if the policy demotes at all."""
    values: tuple[str, ...]
    """What nobody else can give."""
    help: str

    def as_dict(self) -> dict[str, Any]:
        """Return the single point of failure as JSON-ready data."""
        return {**self.loss.as_dict(), "left": self.left, "values": list(self.values), "help": self.help}


@dataclass(frozen=True, slots=True)
class Price:
    """What doing without one node of the cheapest route costs, in units."""

    node: str
    route: tuple[str, ...] = ()
    """The cheapest route found without it."""
    weight: float | None = None
    """Its weight; None where none was found."""
    extra: float | None = None
    """What it weighs more; below 0 only where the cheapest route is not proved to be that."""
    exact: bool = True
    """Whether no cheaper one without the node is left to be found; without a route: whether there is none."""

    def as_dict(self) -> dict[str, Any]:
        """Return the price as JSON-ready data."""
        return {
            "node": self.node,
            "route": list(self.route),
            "weight": self.weight,
            "extra": self.extra,
            "exact": self.exact,
        }


@dataclass(frozen=True, slots=True)
class GoalResilience:
    """What one goal survives. The defaults are those of a goal that is out of reach as it is."""

    goal: str
    feasible: bool = False
    reason: str | None = None
    """Why it is not feasible: `unreachable`, or `limit:usd` and the like."""
    route: tuple[str, ...] = ()
    weight: float | None = None
    survives: int = 0
    """Every set of so many losses leaves the goal feasible; `MOST` at the most."""
    exact: bool = True
    """Whether one loss more can break it (or `survives` is `MOST`); else `survives` is a proved lower bound."""
    stopped: Stopped | None = None
    """What ended the search for breaking sets early."""
    breaking: tuple[Loss, ...] | None = None
    """A smallest set that breaks it, the first by name; None where up to `MOST` losses do not."""
    single_points: tuple[SinglePoint, ...] = ()
    without: tuple[Price, ...] = ()
    """The price of doing without each node of the route, dearest first; no way round is the dearest."""
    searches: int = 0
    plans: int = 1

    @property
    def alternative(self) -> Price | None:
        """The second-best route: the cheapest one found that does without some node of the best."""
        priced = [price for price in self.without if price.weight is not None]
        return min(priced, key=lambda price: (price.weight or 0.0, price.node), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the goal's part of the report as JSON-ready data."""
        return {
            "name": self.goal,
            "feasible": self.feasible,
            "reason": self.reason,
            "route": list(self.route),
            "weight": self.weight,
            "survives": self.survives,
            "exact": self.exact,
            "stopped": self.stopped,
            "breaking": None if self.breaking is None else [loss.as_dict() for loss in self.breaking],
            "single_points": [point.as_dict() for point in self.single_points],
            "without": [price.as_dict() for price in self.without],
            "alternative": None if self.alternative is None else self.alternative.as_dict(),
            "searches": self.searches,
            "plans": self.plans,
        }


@dataclass(frozen=True, slots=True)
class Resilience:
    """The report over all goals, best first; as text, the bad news comes first."""

    goals: tuple[GoalResilience, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data; the module's docstring tells the keys."""
        return {"most": MOST, "goals": [goal.as_dict() for goal in self.goals]}

    def __str__(self) -> str:
        """Tell the bad news first: what breaks a goal alone, what each survives, what its nodes are worth."""
        return "\n".join([*self._single_lines(), "", *self._goal_lines(), *self._price_lines()])

    def _single_lines(self) -> Iterator[str]:
        """Tell the single points of failure, each once, with the goals that it breaks and one fix."""
        points: dict[tuple[bool, str], list[tuple[str, SinglePoint]]] = {}
        for goal in self.goals:
            alone = {point.loss.name for point in goal.single_points if not point.loss.domain}
            for point in goal.single_points:
                # A domain that holds a single point of failure is one too, and says nothing new.
                if not point.loss.domain or alone.isdisjoint(point.loss.nodes):
                    points.setdefault((point.loss.domain, point.loss.name), []).append((goal.goal, point))
        # What breaks most goals comes first; the sort is stable.
        ordered = sorted(points.values(), key=lambda found: -len(found))
        count = str(len(ordered)) if ordered else "no"
        yield f"resilience: {count} single point{'' if len(ordered) == 1 else 's'} of failure"
        for found in ordered[:_SHOWN]:
            (_, point), *_ = found
            broken = ", ".join(visible(name) for name, _ in found)
            left = "no goal is left" if point.left is None else f"goal {visible(point.left)} is left"
            yield f"  {_named(point.loss)} alone breaks {broken}: {left}"
            yield f"    = help: {point.help}"
        if ordered[_SHOWN:]:
            yield f"  and {len(ordered) - _SHOWN} more: {listed(found[0][1].loss.name for found in ordered[_SHOWN:])}"

    def _goal_lines(self) -> Iterator[str]:
        rows = [("goal", "survives", "second-best route", "broken by")]
        rows += [(visible(goal.goal), _survives(goal), _second(goal), _breaking(goal)) for goal in self.goals]
        yield from _table(rows, 2)

    def _price_lines(self) -> Iterator[str]:
        """Tell the prices of the best goal that has any; the others are in the data."""
        for goal in self.goals:
            priced = [price for price in goal.without if price.extra is not None]
            if priced:
                yield ""
                yield f"  goal {visible(goal.goal)} costs {goal.weight:g}: {_route(goal.route)}"
                yield from _table(
                    [(f"without {visible(p.node)}", _extra(p), _route(p.route)) for p in priced[:_SHOWN]], 4
                )
                if priced[_SHOWN:]:
                    yield f"    and {len(priced) - _SHOWN} that cost no more than the last of these"
                return


def _named(loss: Loss) -> str:
    inside = f" (domain of {', '.join(visible(name) for name in loss.nodes)})" if loss.domain else ""
    return visible(loss.name) + inside


def _survives(goal: GoalResilience) -> str:
    if not goal.feasible:
        return "out of reach"
    if goal.exact:
        return f"any {goal.survives}" if goal.survives else "no failure"
    why = "budget spent" if goal.stopped == "budget" else "limits unproved"
    return f"at least {goal.survives} ({why})"


def _breaking(goal: GoalResilience) -> str:
    if not goal.feasible:
        return goal.reason or ""
    if goal.breaking is None:
        return "-"
    return " + ".join(visible(loss.name) + (" (domain)" if loss.domain else "") for loss in goal.breaking)


def _second(goal: GoalResilience) -> str:
    best = goal.alternative
    return "-" if best is None else f"{_extra(best)} without {visible(best.node)}"


def _extra(price: Price) -> str:
    extra = price.extra or 0.0
    return f"{'' if price.exact else '<= '}{'+' if extra >= 0 else ''}{extra:g}"


def _route(names: Iterable[str]) -> str:
    return " > ".join(visible(name) for name in names) or "nothing to call"


def _table(rows: Sequence[tuple[str, ...]], indent: int) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield " " * indent + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
