"""Look a graph over for what its goals survive, and what doing without each node costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.errors import InputError
from orchestrator.findings import listed
from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Limits, Planner, Route, Situation
from orchestrator.planner.behind import nodes_behind
from orchestrator.planner.bound import Sharing
from orchestrator.planner.improve import Work
from orchestrator.policy import Policy
from orchestrator.resilience.losses import Loss, bits, losses_of
from orchestrator.resilience.report import GoalResilience, Price, Resilience, SinglePoint
from orchestrator.resilience.survival import survival
from orchestrator.resilience.ways import Ways
from orchestrator.units import MICRO
from orchestrator.weight import View, declared_view

__all__ = ("EXPANSIONS", "assess")

EXPANSIONS = 100_000
"""Default budget for each goal; graphs of 100 nodes without limits seldom take a third of it."""

LOST = "lost"
"""The reason of an exclusion here."""


def assess(
    graph: Graph,
    policy: Policy | None = None,
    *,
    goal: str | None = None,
    view: View | None = None,
    inputs: Iterable[str] = (),
    expansions: int = EXPANSIONS,
) -> Resilience:
    """Say what each goal survives, what breaks it, and what doing without each node of its route costs.

    A loss is a node, or a fault domain that fails as a whole, that is gone from the start and known to be: the limits
    are whole, nothing has been tried. Feasible is what the planner finds feasible: guards, checks and gates pass,
    forbidden pairs, limits and `once` conflicts count. Nothing is called.

    Args:
        graph: The graph.
        policy: The policy that the runs will obey; default: the default one.
        goal: Look at this goal only; default: at every one.
        view: The weights; default: the declared ones, where nothing has been measured or learnt.
        inputs: Run inputs to take as given, beside the required ones and those with a default.
        expansions: Budget in node expansions, for the sets of each goal and for its prices.

    Raises:
        InputError: There is no such goal.
    """
    if goal is not None and goal not in graph.goal_by_name:
        raise InputError(f"there is no goal {goal!r}; the goals are {', '.join(graph.goal_by_name)}")
    assessment = _Assessment(graph, policy or Policy(), view, inputs, expansions)
    names = list(graph.goal_by_name) if goal is None else [goal]
    return Resilience(tuple(assessment.goal(name) for name in names))


class _Assessment:
    def __init__(self, graph: Graph, policy: Policy, view: View | None, inputs: Iterable[str], expansions: int) -> None:
        self.graph = graph
        self.policy = policy
        self.view = view or declared_view(graph, policy.objective)
        self.expansions = expansions
        self.planner = Planner(graph, policy.objective, expansions=policy.planning.expansions)
        defaults = (item.name for item in graph.inputs if not item.required)
        given = {*graph.run_inputs, *defaults, *inputs}
        limits = policy.limits
        self.situation = Situation(
            held=dict.fromkeys(sorted(given), (INPUT,)), left=Limits(limits.usd, limits.seconds, limits.calls)
        )
        self._ways: dict[str, tuple[Route, Ways]] = {}
        single = self.planner.index(self.view).single
        # How often one plan goes over the nodes behind its goal, about: the part of its work that has no budget.
        self._sweeps = 25 if not self.situation.left.unlimited else 1 if single else 5

    def ways(self, goal: str) -> tuple[Route, Ways]:
        """Return a goal's cheapest route, and the ways to it that are known so far."""
        if goal not in self._ways:
            route = self.planner.plan(self.view, goal, self.situation)
            losses = losses_of(self.graph, goal)
            self._ways[goal] = (
                route,
                Ways(self.planner, self.view, goal, self.situation, losses, Work(self.expansions)),
            )
        return self._ways[goal]

    def goal(self, goal: str) -> GoalResilience:
        """Assess one goal."""
        route, ways = self.ways(goal)
        if not route.feasible:
            return GoalResilience(goal, reason=route.reason)
        first = ways.know(route)
        ways.spread()
        if not first.proved and ways.known:
            first = ways.round(0) or first
        found = survival(ways, first)
        single = [ways.losses[next(bits(mask))] for mask in sorted(found.single)]
        prices, plans = self.prices(route, {loss.name for loss in single if not loss.domain})
        return GoalResilience(
            goal,
            feasible=True,
            route=route.nodes,
            weight=route.weight / MICRO,
            survives=found.survives,
            exact=found.exact,
            stopped=found.stopped,
            breaking=None if found.breaking is None else tuple(ways.losses[i] for i in bits(found.breaking)),
            single_points=tuple(self.single_point(route, loss) for loss in single),
            without=prices,
            searches=ways.searches,
            plans=plans + 1,
        )

    # ---------------------------------------------------------------------------------------- single points of failure

    def single_point(self, route: Route, loss: Loss) -> SinglePoint:
        """Say what is left when a loss breaks the goal of *route* alone, and what would mend it."""
        excluded = replace(self.situation, excluded=dict.fromkeys(loss.nodes, LOST))
        reason = self.planner.plan(self.view, route.goal, excluded).reason
        left = self.left(route.goal, loss) if self.policy.escalation.demote else None
        values = self.values(route, loss, excluded)
        mend = f"add another provider of {_and(values)}" + (f" outside {listed([loss.name])}" if loss.domain else "")
        if reason != "unreachable":
            limit = "" if reason is None else f" on {reason.removeprefix('limit:')}"
            mend = f"a way round it breaks the limit{limit}: raise it, or {mend}"
        if left is None:
            mend += f", or list a lower goal that does without {'it' if len(values) == 1 else 'them'}"
        return SinglePoint(loss, left, values, mend)

    def left(self, goal: str, loss: Loss) -> str | None:
        """Return the first goal below *goal* that is feasible without *loss*."""
        names = list(self.graph.goal_by_name)
        for lower in names[names.index(goal) + 1 :]:
            route, ways = self.ways(lower)
            if route.feasible and ways.round(ways.mask(loss)) is not None:
                return lower
        return None

    def values(self, route: Route, loss: Loss, situation: Situation) -> tuple[str, ...]:
        """Return the values that *route* takes from what is lost and that nobody else can give.

        Where others could, but not within the limits or beside the effects of the route: all that it takes.
        """
        index = self.planner.index(self.view)
        ground = self.planner.ground(index, situation)
        alive = Sharing(index, ground, index.goal_number[route.goal]).alive
        taken: dict[str, None] = {}
        missing: dict[str, None] = {}
        consumers = [(index.number[name], sources) for name, sources in route.sources.items()]
        for c, sources in [*consumers, (index.goal_number[route.goal], route.goal_sources)]:
            for m, source in zip(index.needs[c], sources, strict=True):
                if source is None or source not in loss.nodes or index.consumer_name[c] in loss.nodes:
                    continue
                taken[index.value[m]] = None
                if not any(p in alive for p, _, _ in index.candidates[m]):
                    missing[index.value[m]] = None
        # A route over the limits may take nothing from what a route within them depends on.
        provided = (value for name in loss.nodes for value in self.graph.by_name[name].provides)
        return tuple(sorted(missing or taken or dict.fromkeys(provided)))

    # ----------------------------------------------------------------------------------------------------------- prices

    def prices(self, route: Route, hopeless: set[str]) -> tuple[tuple[Price, ...], int]:
        """Return the price of doing without each node of a route, dearest first, and how many plans that took.

        Improving all these routes takes no more than improving one may; each of them is searched for besides.
        """
        budget = self.policy.planning.expansions // max(len(route.nodes), 1)
        planner = Planner(self.graph, self.policy.objective, expansions=budget)
        work = Work(self.expansions)
        charge = budget + self._sweeps * len(nodes_behind(self.graph, route.goal))
        others: dict[str, Route] = {}
        for name in route.nodes:
            if name not in hopeless and not work.spent:
                others[name] = planner.plan(self.view, route.goal, replace(self.situation, excluded={name: LOST}))
                work.spend(charge)
        # A route that was planned without one node may do without another, too, and be the cheaper one.
        known = sorted(
            (other for other in others.values() if other.verdict == "found"), key=lambda r: (r.weight, r.nodes)
        )
        found = []
        for name in route.nodes:
            best = next((other for other in known if name not in other.nodes), None)
            if best is None:
                none = name in hopeless or (name in others and not others[name].feasible)
                found.append(Price(name, exact=none))
                continue
            exact = name in others and others[name].bound == best.weight
            found.append(Price(name, best.nodes, best.weight / MICRO, (best.weight - route.weight) / MICRO, exact))
        # No way round is the dearest; the sort is stable, so equal prices stay in the order of the route.
        found.sort(key=lambda price: (price.extra is not None, -(price.extra or 0.0)))
        return tuple(found), len(others)


def _and(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{listed(most)} and {listed([last])}" if most else listed([last])
