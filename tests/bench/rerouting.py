"""Planning again in the middle of a run: half of the route is done, and the next node of it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Planner, Route, Situation, plan
from orchestrator.policy import Objective
from orchestrator.run.ahead import EXPANSIONS
from orchestrator.weight import View, declared_view
from tests.bench.laps import percentile
from tests.bench.report import Bar, Section, Table
from tests.bench.shapes import GOAL, QUESTION, joined

__all__ = ("Reroute", "measure", "reroutes")

SIZES = (20, 100)
WANTED = 100
"""Reroutes per size."""

ROUNDS = 5
PARTS = ("tree", "local search", "branch and bound")


@dataclass(frozen=True, slots=True)
class Reroute:
    """One moment of a run at which it plans again."""

    planner: Planner
    view: View
    situation: Situation

    def plan(self) -> Route:
        """Plan."""
        return self.planner.plan(self.view, GOAL, self.situation)

    def foreseen(self) -> Reroute:
        """Return the same moment with a planner that has planned ahead, as far as a run does."""
        planner = Planner(self.planner.graph, remember=1)
        planner.plan_ahead(self.view, GOAL, self.situation, expansions=EXPANSIONS)
        planner.remember = 0  # what took longer than that is planned in every turn
        return Reroute(planner, self.view, self.situation)


def reroutes(size: int, wanted: int) -> Iterator[Reroute]:
    """Yield reroutes on graphs of *size* nodes: the first half of a route has finished, and a node after it fails."""
    seed = 0
    while wanted:
        found = _reroute(joined(size, seed))
        seed += 1
        if found is not None:
            wanted -= 1
            yield found


def _reroute(graph: Graph) -> Reroute | None:
    view, planner = declared_view(graph, Objective()), Planner(graph, remember=0)
    route = planner.plan(view, GOAL, Situation(held={QUESTION: (INPUT,)}))
    done = route.nodes[: len(route.nodes) // 2]
    held = {QUESTION: (INPUT,), **{graph.by_name[name].provides[0]: (name,) for name in done}}
    for failed in route.nodes[len(done) :]:
        situation = Situation(held=held, excluded={failed: "failed"}, finished=frozenset(done))
        if len(route.nodes) > 2 and planner.plan(view, GOAL, situation).feasible:
            return Reroute(planner, view, situation)
    return None


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Collect the seconds that planning spends in each of its parts."""
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += perf_counter() - began

        return call

    planning: Any = plan
    places = ((planning, "legal_tree"), (planning, "local_search"), (planning.Frontier, "run"))
    untimed = [getattr(owner, name) for owner, name in places]
    try:
        for part, (owner, name), function in zip(PARTS, places, untimed, strict=True):
            setattr(owner, name, timed(part, function))
        yield spent
    finally:
        for (owner, name), function in zip(places, untimed, strict=True):
            setattr(owner, name, function)


def measure() -> Section:
    """Time reroutes of every size."""
    rows, bars = [], []
    for size in SIZES:
        moments = list(reroutes(size, WANTED))
        best = [_least(moment.plan) for moment in moments]
        found = [_least(moment.foreseen().plan) for moment in moments]
        with timed_parts() as spent:
            began = perf_counter()
            for moment in moments:
                moment.plan()
            whole = perf_counter() - began
        shares = {part: seconds / whole for part, seconds in spent.items()}
        exact = sum(moment.plan().exact for moment in moments) / len(moments)
        rows.append(
            (
                f"{size}",
                f"{len(moments)}",
                f"{median(best) * 1e3:.2f}",
                f"{median(found) * 1e3:.2f}",
                f"{percentile(best, 99) * 1e3:.2f}",
                f"{max(best) * 1e3:.2f}",
                f"{exact:.0%}",
                *(f"{shares[part]:.0%}" for part in PARTS),
                f"{1 - sum(shares.values()):.0%}",
            )
        )
        if size == 100:
            promise = "100 nodes: a reroute with improvement under 1 ms"
            bars.append(Bar(promise, f"median {median(best) * 1e3:.2f} ms", median(best) < 1e-3))
            promise = "100 nodes: looked up where it was foreseen, a tenth of that"
            bars.append(Bar(promise, f"median {median(found) * 1e3:.2f} ms", median(found) < median(best) / 10))
    header = ("nodes", "reroutes", "median, ms", "foreseen, ms", "p99, ms", "most, ms", "proved", *PARTS, "rest")
    text = (
        "From the values held after half of the route, one node of the other half excluded; default budget, several\n"
        f"needs per node. The time of a reroute is the least of {ROUNDS} turns. *Foreseen* is the same once the\n"
        "driver has planned ahead, while the call was under way: a look-up, or planning where that would have taken\n"
        "too long. The last columns say where the time goes without; the rest is finding out what lies behind the\n"
        "goal, first bounds, and writing the route."
    )
    return Section("A reroute in the middle of a run", text, [Table(header, rows)], bars)


def _least(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = perf_counter()
        call()
        taken.append(perf_counter() - began)
    return min(taken)
