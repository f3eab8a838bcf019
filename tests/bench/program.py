"""The cheapest union as an integer program, solved by HiGHS: an exact method that shares nothing with the planner.

    minimise   sum node(p) x[p] + sum edge(p, c) z[p, c] + sum price(m) n[m]
    such that  sum over p of y[m, p] + n[m] = x[c]     for every need m of every consumer c; x[goal] = 1
               y[m, p] <= x[p],   y[m, p] <= z[p, c]

It holds for graphs without cycles among values, `once` nodes, trails and limits, which is what is drawn here.
"""

from __future__ import annotations

from math import inf
from typing import Any

from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from orchestrator.graph import Goal, Graph, Need
from orchestrator.units import micro
from orchestrator.weight import View

__all__ = ("cheapest_union",)


class _Program:
    """Variables by name, and rows of coefficients."""

    def __init__(self) -> None:
        self.column: dict[tuple[str, ...], int] = {}
        self.cost: list[int] = []
        self.entries: list[tuple[int, int, int]] = []
        self.lower: list[float] = []
        self.upper: list[float] = []

    def variable(self, *name: str, cost: int = 0) -> int:
        """Return a variable's column; a new one costs *cost*."""
        if name not in self.column:
            self.column[name] = len(self.cost)
            self.cost.append(cost)
        return self.column[name]

    def row(self, terms: dict[int, int], lower: float, upper: float) -> None:
        """Keep a sum between two bounds."""
        self.entries += [(len(self.lower), column, factor) for column, factor in terms.items()]
        self.lower.append(lower)
        self.upper.append(upper)

    def solve(self) -> dict[tuple[str, ...], bool]:
        """Return the variables of a best solution."""
        rows, columns, factors = zip(*self.entries, strict=True)
        matrix = coo_array((factors, (rows, columns)), shape=(len(self.lower), len(self.cost))).tocsr()
        found: Any = milp(
            self.cost,
            integrality=[1] * len(self.cost),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, self.lower, self.upper),
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            raise AssertionError(f"the solver gave up: {found.message}")
        return {name: found.x[column] > 0.5 for name, column in self.column.items()}


def cheapest_union(graph: Graph, view: View, goal: Goal) -> int:
    """Return the weight of the cheapest union from the run inputs, in micro-units.

    The solver's arithmetic is floating, so its solution is weighed here, in integers.
    """
    program = _Program()
    weights = dict(view.weights)
    consumers: list[tuple[str, tuple[Need, ...]]] = [(node.name, node.needs) for node in graph.nodes]
    for name, needs in [*consumers, (goal.name, goal.needs)]:
        used = program.variable("node", name, cost=weights.get(name, 0))
        for need in needs:
            if need.value in graph.run_inputs:
                continue
            terms = {used: -1}
            if need.optional is not None:
                terms[program.variable("without", name, need.parameter, cost=micro(need.optional))] = 1
            for provider in graph.providers[need.value]:
                written = graph.written_edges.get((provider, name))
                if provider == name or (written is not None and written.forbid):
                    continue
                takes = program.variable("takes", name, need.parameter, provider)
                terms[takes] = 1
                program.row({takes: 1, program.variable("node", provider, cost=weights[provider]): -1}, -inf, 0)
                if written is not None:
                    edge = program.variable("edge", provider, name, cost=micro(written.cost))
                    program.row({takes: 1, edge: -1}, -inf, 0)
            program.row(terms, 0, 0)
    program.row({program.variable("node", goal.name): 1}, 1, 1)
    solution = program.solve()
    return sum(cost for taken, cost in zip(solution.values(), program.cost, strict=True) if taken)
