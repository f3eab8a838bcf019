"""How far planned routes are from the cheapest union, on graphs of alternatives, joins and shared sub-results.

What is exact is said by an integer program. The planner's own proof (branch and bound, with a large budget) must agree
with it wherever there is one, and on the smallest graphs so must the exhaustive oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Planner, Situation
from orchestrator.planner.bound import Sharing
from orchestrator.planner.improve import Work, legal_tree, local_search
from orchestrator.planner.union import Union
from orchestrator.policy import Objective, Planning
from orchestrator.weight import View, declared_view
from tests import oracle
from tests.bench.laps import percentile
from tests.bench.report import Bar, Section, Table
from tests.bench.shapes import GOAL, QUESTION, joined

__all__ = ("Judged", "judge", "measure")

SIZES = (9, 20, 40, 60, 80, 100)
SEEDS = range(60)
SMALL = 9
"""Nodes that the exhaustive oracle copes with."""

PATIENT = 500_000
"""Work budget of the branch and bound where a proof is wanted."""

START = Situation(held={QUESTION: (INPUT,)})
Exact = Callable[[Graph, View], int]


@dataclass(frozen=True, slots=True)
class Judged:
    """Weights of one graph's routes, in micro-units, and what was proved about them."""

    exact: int
    tree: int
    local: int
    default: int
    bound: int
    proved: bool
    """Whether the default budget was enough for a proof."""
    proved_patiently: bool

    def excess(self, weight: int) -> float:
        """Return how much more than the cheapest union a route weighs, in percent."""
        return 100 * (weight / self.exact - 1) if self.exact else 0.0


def exhaustive(graph: Graph, view: View) -> int:
    """Return the weight of the cheapest union by trying every route."""
    best = oracle.cheapest(graph, graph.goals[0], view, oracle.Situation.at_start(graph))
    assert best is not None
    return best[0]


def judge(graph: Graph, exact: Exact, *, patient: int = PATIENT) -> Judged:
    """Plan with each part of the planner in turn, and compare.

    Raises:
        AssertionError: A bound is above the cheapest union, a route below it, or a proof is wrong.
    """
    view = declared_view(graph, Objective())
    best = exact(graph, view)
    default, thorough = (Planner(graph, expansions=n) for n in (Planning().expansions, patient))
    index = default.index(view)
    ground, goal, work = default.ground(index, START), index.goal_number[GOAL], Work(patient)
    choice = legal_tree(index, ground, goal, work)
    assert choice is not None
    tree = Union(index, ground, choice, goal)
    sharing = Sharing(index, ground, goal)
    local = local_search(index, ground, goal, tree, [p for p in sharing.nodes if sharing.uses[p] > 1], work)
    quick, slow = (planner.plan(view, GOAL, START) for planner in (default, thorough))
    for route in (quick, slow):
        # A proof is a bound that equals the weight, so a wrong one is caught here too.
        if not route.bound <= best <= route.weight:
            raise AssertionError(f"bound {route.bound}, exact {best}, weight {route.weight}")
    return Judged(best, tree.weight, local.weight, quick.weight, quick.bound, quick.exact, slow.exact)


def measure() -> Section:
    """Judge graphs of every size."""
    from tests.bench.program import cheapest_union

    def program(graph: Graph, view: View) -> int:
        best = cheapest_union(graph, view, graph.goals[0])
        if len(graph.nodes) <= SMALL and best != exhaustive(graph, view):
            raise AssertionError(f"the integer program says {best}, the oracle {exhaustive(graph, view)}")
        return best

    rows, bars, everything = [], [], []
    for size in SIZES:
        judged = [judge(joined(size, seed), program) for seed in SEEDS]
        everything += judged
        rows += _rows(f"{size}", judged)
    rows += _rows("all", everything)
    excess = [one.excess(one.default) for one in everything]
    bars.append(Bar("median excess 0, default budget", f"{median(excess):.3f} %", median(excess) == 0))
    bars.append(Bar("mean excess under 1 %, default budget", f"{mean(excess):.3f} %", mean(excess) < 1))
    bars.append(Bar("bound <= exact, always", f"{len(everything)} of {len(everything)}", True))
    header = ("nodes", "route", "proved", "excess: mean", "median", "p99", "most")
    text = (
        f"Excess over the exact cheapest union in percent; {len(SEEDS)} graphs of each size, from fixed seeds. Exact\n"
        "is what an integer program says (HiGHS, by `scipy.optimize.milp`); the exhaustive oracle agreed with it on\n"
        f"every graph of up to {SMALL} nodes, and so did the planner's own branch and bound wherever it gave a proof\n"
        f"(*proved*: within the default budget of {Planning().expansions:,} expansions; *patient*: {PATIENT:,}).\n"
        "*Tree*: the sum over uses alone. *Local search*: then dropping one node, or paying for one shared node.\n"
        "*Default*: what `Planner.plan` returns."
    )
    return Section("Planning quality", text, [Table(header, rows)], bars)


def _rows(name: str, judged: Sequence[Judged]) -> list[tuple[str, ...]]:
    default = sum(one.proved for one in judged) / len(judged)
    patient = sum(one.proved_patiently for one in judged) / len(judged)
    stages = (
        ("tree", "", [one.excess(one.tree) for one in judged]),
        ("local search", "", [one.excess(one.local) for one in judged]),
        ("default", f"{default:.0%} (patient {patient:.0%})", [one.excess(one.default) for one in judged]),
    )
    return [
        (
            name,
            route,
            proved,
            f"{mean(excess):.3f}",
            f"{median(excess):.3f}",
            f"{percentile(excess, 99):.2f}",
            f"{max(excess):.2f}",
        )
        for route, proved, excess in stages
    ]
