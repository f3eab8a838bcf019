"""The planner: from a view and a situation to the cheapest route to a goal.

Three steps, each only where the one before has not proved its answer: the tree of least sum (`search`), local search
towards the cheapest union (`improve`), and an exact branch and bound. Limits are judged on the union that comes out:
money and calls by its sum, time by its critical path. A route is *found*, *impossible* (a lower bound exceeds a limit,
or no route exists at all), or *unproved*: none within the limits was found within the budget; the run then takes the
cheapest route known and its own guard stops it.

What was once solved under a view is remembered: the same situation gives the same answer, so that looking it up
decides nothing. Runs of one graph stand in the same situations again and again, and a driver has those solved ahead
that would follow if a call in flight failed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from orchestrator.graph import Graph
from orchestrator.planner.bound import Sharing
from orchestrator.planner.improve import HOPELESS, Frontier, Work, legal_tree, local_search
from orchestrator.planner.index import NANO, Index
from orchestrator.planner.limits import Allowance
from orchestrator.planner.route import Route, Situation
from orchestrator.planner.search import Choice, Ground, shortest_path
from orchestrator.planner.union import Union, abandoned, conflict, order, union_weight
from orchestrator.policy import Objective
from orchestrator.weight import View, undo_cost

__all__ = ("Planner",)


@dataclass(slots=True)
class Solution:
    """A route in the index's numbers, and how much of it is proved."""

    union: Union
    bound: int
    unfinished: bool = False
    """Whether a larger budget may lead to another one."""


@dataclass(frozen=True, slots=True)
class Known:
    """A solution without the times of the moment, and the budget that was left after it."""

    choice: Choice | None
    """None: the goal cannot be had."""
    bound: int = 0
    left: int = 0


TOO_LONG = Known(None)
"""In place of a solution that takes longer than planning ahead may; it is looked for when it is needed."""


class Planner:
    """Plans routes over one graph. Holds nothing but the index of the latest view, and what was solved on it.

    Args:
        graph: The graph.
        objective: Rates at which the undo of a finished effect is charged.
        expansions: Budget for improving and proving one route, in node expansions.
        remember: How many solutions are remembered; all are forgotten when there are more.
    """

    def __init__(
        self, graph: Graph, objective: Objective | None = None, *, expansions: int = 20_000, remember: int = 256
    ) -> None:
        self.graph = graph
        self.objective = objective or Objective()
        self.expansions = expansions
        self.remember = remember
        self._index: Index | None = None

    def index(self, view: View) -> Index:
        """Return the integer form of the graph under *view*; built once per view."""
        if self._index is None or (self._index.view is not view and self._index.view != view):
            self._index = Index(self.graph, view)
        return self._index

    def plan(self, view: View, goal: str, situation: Situation) -> Route:
        """Return the cheapest route to *goal* that is feasible now, within what is left of the limits.

        Raises:
            KeyError: The graph has no such goal.
        """
        index = self.index(view)
        ground = self.ground(index, situation)
        target = index.goal_number[goal]
        if index.single and not index.effects and situation.left.unlimited and not ground.undo:
            return self._plan_path(index, ground, goal, target)
        allowance = Allowance(situation.left)
        work = Work(self.expansions)
        solution = self._recalled(index, ground, target, work)
        if solution is None:
            return Route(goal, "impossible", reason="unreachable")
        if allowance.unlimited:
            return self._route(index, ground, goal, solution, "found", allowance, {})
        verdict, within, least = allowance.judge(index, ground, target, solution.union, work)
        if verdict == "impossible":
            figures = allowance.figures(None, least)
            return Route(goal, "impossible", limits=figures, reason=allowance.broken(solution.union, least))
        if within is not None:
            solution = Solution(within.union, max(within.bound, solution.bound))
        return self._route(index, ground, goal, solution, verdict, allowance, least)

    def plan_ahead(self, view: View, goal: str, situation: Situation, *, expansions: int, paths: bool = False) -> bool:
        """Solve what may have to be planned later, so that it then is a look-up; return whether that was any work.

        No solution is kept of what takes more than *expansions* to prove: a smaller budget must not decide. Mere paths
        are found about as fast as they are looked up, so they are solved only where *paths* says that somebody asks.
        """
        index = self.index(view)
        ground, target = self.ground(index, situation), index.goal_number[goal]
        if index.single and not ground.undo and not paths:
            return False
        key, work = _key(ground, target), Work(self.expansions)
        if key in index.solved:
            return False
        solution = self.solve(index, ground, target, work, at_first=expansions)
        unfinished = solution is not None and solution.unfinished
        self._keep(index, key, TOO_LONG if unfinished else _known(solution, work))
        return True

    def foreseen(self, view: View, goal: str, situation: Situation) -> Route | None:
        """Return what `plan` would, if it was planned ahead; None where it is still to be searched for."""
        index = self.index(view)
        ground, target = self.ground(index, situation), index.goal_number[goal]
        known = index.solved.get(_key(ground, target))
        if known is None or known is TOO_LONG:
            return None
        if known.choice is not None and not Allowance(situation.left).fits(Union(index, ground, known.choice, target)):
            return None  # a way within the limits, if there is one, takes a search
        return self.plan(view, goal, situation)

    def _recalled(self, index: Index, ground: Ground, target: int, work: Work) -> Solution | None:
        """Solve, or remember how it was solved; the budget is as far down either way."""
        key = _key(ground, target)
        known = index.solved.get(key)
        if known is None or known is TOO_LONG:
            solution = self.solve(index, ground, target, work)
            self._keep(index, key, _known(solution, work))
            return solution
        if known.choice is None:
            return None
        work.left = known.left
        return Solution(Union(index, ground, known.choice, target), known.bound)

    def _keep(self, index: Index, key: Hashable, known: Known) -> None:
        if len(index.solved) >= self.remember:
            index.solved.clear()  # in one step: runs on several threads may share a planner
        if self.remember:
            index.solved[key] = known

    def _plan_path(self, index: Index, ground: Ground, goal: str, target: int) -> Route:
        """Plan a graph of single needs, where nothing is shared: the path is the union, and is exact."""
        found = shortest_path(index, ground, target)
        if found is None:
            return Route(goal, "impossible", reason="unreachable")
        names, consumer = index.names, index.consumer
        nodes: list[int] = []
        sources: dict[str, tuple[str | None, ...]] = {}
        source = index.null
        for m, source in found.choice.items():
            c = consumer[m]
            if c != target:
                nodes.append(c)
                sources[names[c]] = (names[source],)
        if source != index.null and source not in ground.standing:
            # The path begins with a node that needs nothing.
            nodes.append(source)
            sources[names[source]] = ()
        nodes.reverse()
        waits = ground.in_flight.get(source, 0)
        return Route(
            goal,
            "found",
            tuple([names[p] for p in nodes]),
            sources,
            (names[found.choice[index.needs[target][0]]],) if found.choice else (),
            found.have,
            found.have,
            sum([index.usd[p] for p in nodes]) / NANO,
            (waits + sum([index.seconds[p] for p in nodes])) / NANO,
            len(nodes),
        )

    def weigh(self, view: View, route: Route, situation: Situation) -> int:
        """Return what is left of *route* to do, in micro-units, whether or not it is still feasible."""
        index = self.index(view)
        ground = self.ground(index, situation)
        standing = ground.standing
        choice: Choice = {}
        consumers = [(index.number[name], sources) for name, sources in route.sources.items()]
        for c, sources in [*consumers, (index.goal_number[route.goal], route.goal_sources)]:
            if c not in standing:
                for m, source in zip(index.needs[c], sources, strict=True):
                    choice[m] = index.null if source is None else index.number[source]
        return union_weight(index, ground, choice)

    def ground(self, index: Index, situation: Situation) -> Ground:
        """Translate a situation into the index's numbers and decide which nodes may not be started."""
        number = index.number
        held = {value: tuple(sorted(number[name] for name in providers)) for value, providers in situation.held.items()}
        in_flight = {number[name]: round(left * NANO) for name, left in situation.in_flight.items()}
        barred = {index.input, *index.vetoed, *in_flight}
        barred.update(number[name] for name in situation.excluded if name in number)
        barred.update(number[name] for name in situation.finished)
        # A value with an open `once` attempt, or a finished one that cannot be undone, has no other provider.
        for name in situation.unresolved | {name for name in situation.in_flight if index.once[number[name]]}:
            barred.add(number[name])
            barred.update(self._rivals(index, number[name]))
        undo: dict[int, list[int]] = {}
        cost: dict[int, int] = {}
        for name, can_undo in sorted(situation.effects.items()):
            effect = number[name]
            rivals = self._rivals(index, effect)
            if can_undo:
                cost[effect] = undo_cost(self.graph.by_name[name], self.objective)
                for rival in rivals:
                    undo.setdefault(rival, []).append(effect)
            elif index.once[effect]:
                barred.update(rivals)
        undo = {p: effects for p, effects in undo.items() if p not in barred}
        surcharge = {p: sum(cost[effect] for effect in effects if index.once[effect]) for p, effects in undo.items()}
        withdrawn = {(number[provider], index.goal_number[goal]) for provider, goal in situation.withdrawn}
        return Ground(
            held,
            in_flight,
            frozenset(barred),
            undo={p: tuple(effects) for p, effects in undo.items()},
            undo_cost=cost,
            surcharge=surcharge,
            rests={
                number[name]: sum(1 << number[effect] for effect in effects)
                for name, effects in situation.rests.items()
            },
            withdrawn=frozenset(withdrawn),
        )

    def _rivals(self, index: Index, node: int) -> set[int]:
        """Return the other providers of a node's values."""
        values = self.graph.by_name[index.names[node]].provides
        return {index.number[name] for value in values for name in self.graph.providers[value]} - {node}

    def solve(
        self, index: Index, ground: Ground, goal: int, work: Work, *, at_first: int | None = None
    ) -> Solution | None:
        """Return the cheapest union found without regard to limits, or None where the goal cannot be had.

        With *at_first* it is left unfinished where the exact search alone needs more expansions than that.
        """
        if index.single and not ground.undo:
            path = shortest_path(index, ground, goal)
            if path is None:
                return None
            if conflict(index, ground, path.choice) is None:
                return Solution(Union(index, ground, path.choice, goal), path.have)
        choice = legal_tree(index, ground, goal, work)
        if choice is None:
            return None
        union = Union(index, ground, choice, goal)
        sharing = Sharing(index, ground, goal)
        if not ground.undo and not any(index.conflict[p] for p in sharing.nodes) and sharing.disjoint():
            return Solution(union, union.weight)
        root = sharing.least(index.needs[goal])
        if root >= union.weight or root >= HOPELESS:
            return Solution(union, union.weight)
        # Most routes are soon proved by the exact search alone; where a quarter of the budget does not do it, the
        # local search finds better bounds for the rest of it.
        quarter = work.left // 4
        first = Work(quarter if at_first is None else min(quarter, at_first))
        frontier = Frontier(index, ground, sharing, union, first)
        frontier.run()
        assert frontier.best is not None
        if frontier.complete or work.spent:
            return Solution(frontier.best, max(root, frontier.bound))
        if at_first is not None:
            return Solution(frontier.best, max(root, frontier.bound), unfinished=True)
        work.spend(quarter - first.left)
        shared = [p for p in sharing.nodes if sharing.uses[p] > 1]
        union = local_search(index, ground, goal, frontier.best, shared, work)
        frontier = Frontier(index, ground, sharing, union, work)
        frontier.run()
        assert frontier.best is not None
        return Solution(frontier.best, max(root, frontier.bound))

    def _route(
        self,
        index: Index,
        ground: Ground,
        goal: str,
        solution: Solution,
        verdict: str,
        allowance: Allowance,
        least: dict[str, int],
    ) -> Route:
        union = solution.union
        choice = union.choice
        names = [*index.names, None]
        nodes = order(index, ground, choice)
        return Route(
            goal,
            "found" if verdict == "found" else "unproved",
            tuple(index.names[p] for p in nodes),
            {index.names[p]: tuple(names[choice[m]] for m in index.needs[p]) for p in nodes},
            tuple(names[choice[m]] for m in index.needs[index.goal_number[goal]]),
            union.weight,
            min(solution.bound, union.weight),
            union.usd / NANO,
            union.seconds / NANO,
            union.calls,
            tuple(index.names[effect] for effect in abandoned(index, ground, choice)),
            allowance.figures(union, least),
        )


def _known(solution: Solution | None, work: Work) -> Known:
    return Known(None) if solution is None else Known(solution.union.choice, solution.bound, work.left)


def _key(ground: Ground, target: int) -> Hashable:
    """Return all of a situation that decides what is solved: not how long calls in flight still take."""
    return (
        target,
        frozenset(ground.held.items()),
        frozenset(ground.in_flight),
        ground.barred,
        tuple(ground.undo.items()),
        tuple(ground.undo_cost.items()),
        tuple(ground.surcharge.items()),
        tuple(ground.rests.items()),
        frozenset(ground.withdrawn),
    )
