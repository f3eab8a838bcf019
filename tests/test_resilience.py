"""The resilience report against brute force: every set of losses, judged by the planner and by the oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.graph import Edge, Goal, Graph, Need, Node
from orchestrator.planner import Planner, Situation
from orchestrator.planner.behind import nodes_behind
from orchestrator.policy import Limits, Policy
from orchestrator.resilience import MOST, GoalResilience, Loss, Resilience, assess
from orchestrator.runtime import Orchestrator
from orchestrator.units import MICRO
from tests import oracle
from tests.planning import planner_limits
from tests.strategies import Case, cases

LARGE = 2_000_000
"""A budget that small graphs never use up."""

EXAMPLE = Path(__file__).parents[1] / "examples" / "refund" / "refund.yaml"

slow_to_draw = settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


@st.composite
def problems(draw: st.DrawFn) -> Case:
    """Draw a graph with fault domains before anything has run; a view with trails and vetoes; limits now and then."""
    allow_limits = draw(st.booleans())
    case = draw(cases(max_nodes=7, max_routes=150, allow_progress=False, allow_limits=allow_limits))
    domains = st.lists(st.sampled_from(["east", "west"]), max_size=2, unique=True).map(tuple)
    nodes = tuple(replace(node, domains=draw(domains)) for node in case.graph.nodes)
    graph = replace(case.graph, nodes=nodes)
    return replace(case, graph=graph, situation=oracle.Situation.at_start(graph))


def policy_of(case: Case, expansions: int = LARGE) -> Policy:
    """Write a case's limits as a policy."""
    left = case.limits
    seconds = None if left.seconds is None else f"{left.seconds:.9f}s"
    limits = Limits.model_validate({"usd": left.usd, "seconds": seconds, "calls": left.calls})
    return Policy.model_validate({"planning": {"expansions": expansions}}).model_copy(update={"limits": limits})


class Brute:
    """Every set of up to three losses, one by one."""

    def __init__(self, case: Case, goal: Goal) -> None:
        graph = case.graph
        behind = nodes_behind(graph, goal.name)
        domains = sorted({domain for name in behind for domain in graph.by_name[name].domains})
        self.losses = [Loss(name, (name,)) for name in behind]
        self.losses += [
            Loss(domain, tuple(name for name in behind if domain in graph.by_name[name].domains), domain=True)
            for domain in domains
        ]
        self.feasible = _judge(case, goal)

    def without(self, losses: tuple[Loss, ...]) -> bool:
        return self.feasible(frozenset(name for loss in losses for name in loss.nodes))

    def breaking(self) -> tuple[Loss, ...] | None:
        """Return the smallest breaking set, the first by name."""
        sets = (found for size in range(1, MOST + 1) for found in combinations(self.losses, size))
        return next((found for found in sets if not self.without(found)), None)


def _judge(case: Case, goal: Goal) -> Callable[[frozenset[str]], bool]:
    planner = Planner(case.graph, expansions=LARGE)

    @cache
    def feasible(lost: frozenset[str]) -> bool:
        situation = replace(case.situation, excluded=lost)
        known = oracle.feasible(case.graph, goal, case.view, situation, case.limits)
        start = Situation(
            held=situation.held, excluded=dict.fromkeys(sorted(lost), "lost"), left=planner_limits(case.limits)
        )
        assert planner.plan(case.view, goal.name, start).feasible == known
        return known

    return feasible


@slow_to_draw
@given(problems())
def test_the_report_is_what_brute_force_finds(case: Case) -> None:
    """With budget enough, feasibility, survivals, sets, single points and what is left are those of every set tried."""
    found = assess(case.graph, policy_of(case), view=case.view, expansions=LARGE)
    every = {goal.name: Brute(case, goal) for goal in case.graph.goals}
    for rank, (goal, report) in enumerate(zip(case.graph.goals, found.goals, strict=True)):
        brute = every[goal.name]
        assert report.goal == goal.name
        assert report.feasible == brute.without(())
        if not report.feasible:
            assert (report.route, report.weight, report.breaking, report.single_points) == ((), None, None, ())
            continue
        breaking = brute.breaking()
        assert report.exact
        assert report.stopped is None
        assert report.breaking == breaking
        assert report.survives == (MOST if breaking is None else len(breaking) - 1)
        assert [point.loss for point in report.single_points] == [
            loss for loss in brute.losses if not brute.without((loss,))
        ]
        for point in report.single_points:
            # A domain takes more nodes with it than those that could serve the goal it was found for.
            gone = frozenset(
                node.name
                for node in case.graph.nodes
                if (point.loss.name in node.domains if point.loss.domain else node.name == point.loss.name)
            )
            lower = (low.name for low in case.graph.goals[rank + 1 :] if every[low.name].feasible(gone))
            assert point.left == next(lower, None)
            assert point.values


@slow_to_draw
@given(problems())
def test_prices_are_those_of_the_cheapest_other_route(case: Case) -> None:
    """With budget enough, doing without a node costs what the oracle's cheapest route without it costs more."""
    for report in assess(case.graph, policy_of(case), view=case.view, expansions=LARGE).goals:
        goal = case.graph.goal_by_name[report.goal]
        assert sorted(price.node for price in report.without) == sorted(report.route)
        for price in report.without:
            situation = replace(case.situation, excluded=frozenset({price.node}))
            best = oracle.cheapest(case.graph, goal, case.view, situation, case.limits)
            assert price.exact
            assert price.weight == (None if best is None else best[0] / MICRO)
            if price.weight is not None and price.extra is not None and report.weight is not None:
                assert price.extra == pytest.approx(price.weight - report.weight)
                assert price.extra >= 0
                assert price.node not in price.route
        known = [price.weight for price in report.without if price.weight is not None]
        assert (None if report.alternative is None else report.alternative.weight) == min(known, default=None)
        extras = [float("inf") if price.extra is None else price.extra for price in report.without]
        assert extras == sorted(extras, reverse=True)


@slow_to_draw
@given(problems(), st.integers(0, 60), st.integers(0, 400))
def test_what_is_said_under_any_budget_is_true(case: Case, planning: int, expansions: int) -> None:
    """However little work is allowed, survivals are true lower bounds, sets break, and prices can be had."""
    for report in assess(case.graph, policy_of(case, planning), view=case.view, expansions=expansions).goals:
        goal = case.graph.goal_by_name[report.goal]
        brute = Brute(case, goal)
        if not brute.without(()):
            # Only a limit that could not be judged lets a goal that is out of reach pass for feasible.
            assert not report.feasible or (report.survives, report.exact, report.stopped) == (0, False, report.stopped)
            assert not report.feasible or report.stopped is not None
            continue
        assert report.feasible
        breaking = brute.breaking()
        survives = MOST if breaking is None else len(breaking) - 1
        assert report.survives <= survives
        assert report.exact or report.stopped is not None
        if report.exact:
            assert report.survives == survives
        if report.breaking is not None:
            assert not brute.without(report.breaking)
        if report.stopped is None:
            assert report.breaking == breaking
        single = [loss for loss in brute.losses if not brute.without((loss,))]
        if report.stopped is None or report.survives:
            assert [point.loss for point in report.single_points] == single
        assert {point.loss for point in report.single_points} <= set(single)
        for price in report.without:
            situation = replace(case.situation, excluded=frozenset({price.node}))
            best = oracle.cheapest(case.graph, goal, case.view, situation, case.limits)
            if price.weight is None:
                assert best is None or not price.exact
            else:
                assert best is not None
                assert price.weight >= best[0] / MICRO
                assert not price.exact or price.weight == best[0] / MICRO


# ------------------------------------------------------------------------------------------------------------ by hand


def node(name: str, *needs: str, gives: str, units: float = 1.0, **more: object) -> Node:
    """Return a node that gives one value."""
    return replace(
        Node(name, needs=tuple(Need(value, value) for value in needs), provides=(gives,), units=units),
        **more,  # type: ignore[arg-type]  # fields of a node
    )


def only(found: Resilience) -> GoalResilience:
    """Return the report of the only goal."""
    (goal,) = found.goals
    return goal


def names(losses: tuple[Loss, ...] | None) -> list[str] | None:
    """Return the names of a set."""
    return None if losses is None else [loss.name for loss in losses]


TWO_CLOUDS = Graph(
    (
        node("blob", gives="file", domains=("east",)),
        node("disk", gives="file", units=2.0, domains=("east",)),
        node("tape", gives="page", domains=("west",)),
        node("book", gives="page", units=3.0),
    ),
    (Goal("both", ("file", "page")), Goal("read", ("page",))),
)


def test_a_domain_that_fails_as_a_whole_is_one_failure() -> None:
    """Two providers in one domain are no safety: the domain alone breaks the goal, though no node does."""
    both, read = assess(TWO_CLOUDS).goals
    assert [(point.loss.name, point.loss.domain, point.loss.nodes) for point in both.single_points] == [
        ("east", True, ("blob", "disk"))
    ]
    assert (both.survives, names(both.breaking)) == (0, ["east"])
    assert (both.single_points[0].left, both.single_points[0].values) == ("read", ("file",))
    assert both.single_points[0].help == "add another provider of `file` outside `east`"
    assert (read.survives, names(read.breaking)) == (1, ["book", "tape"])


def test_the_fix_names_only_what_nobody_else_can_give() -> None:
    """A domain may take a value with it that others give as well: that one is not asked for."""
    nodes = tuple(replace(each, domains=("east",)) if each.name == "tape" else each for each in TWO_CLOUDS.nodes)
    both, _ = assess(replace(TWO_CLOUDS, nodes=nodes)).goals
    assert (both.single_points[0].loss.nodes, both.single_points[0].values) == (("blob", "disk", "tape"), ("file",))


def test_a_policy_that_does_not_demote_leaves_no_goal() -> None:
    """What is left follows the policy: without demotion nothing is."""
    point = only(assess(TWO_CLOUDS, Policy.model_validate({"escalation": {"demote": False}}), goal="both"))
    assert point.single_points[0].left is None


def test_a_way_round_over_the_limit_is_no_way_round() -> None:
    """Where the only way round breaks a limit, the node is a single point of failure, and the fix names the limit."""
    graph = Graph(
        (node("cheap", gives="a", usd=0.01), node("dear", gives="a", usd=0.5), node("last", "a", gives="b")),
        (Goal("goal", ("b",)),),
    )
    free = only(assess(graph))
    assert names(tuple(point.loss for point in free.single_points)) == ["last"]
    bound = only(assess(graph, Policy.model_validate({"limits": {"usd": 0.1}})))
    cheap, _ = bound.single_points
    assert cheap.loss.name == "cheap"
    assert cheap.help.startswith("a way round it breaks the limit on usd: raise it, or add another provider of `a`")
    unreachable = only(assess(graph, Policy.model_validate({"limits": {"usd": 0.001}})))
    assert (unreachable.feasible, unreachable.reason) == (False, "limit:usd")


def test_two_effects_for_one_value_are_no_way_round() -> None:
    """A way that would take one value from two effects is none, though each of its parts is at hand."""
    graph = Graph(
        (
            node("pay", gives="paid", effect="once"),
            node("wire", gives="paid", effect="once", units=5.0),
            node("letter", "paid", gives="told"),
            node("form", "paid", gives="filed"),
            node("paper", "paid", gives="filed", units=2.0),
        ),
        (Goal("goal", ("told", "filed")),),
        (Edge("wire", "letter", forbid=True), Edge("pay", "paper", forbid=True)),
    )
    found = only(assess(graph))
    assert [point.loss.name for point in found.single_points] == ["form", "letter", "pay"]
    assert found.single_points[0].values == ("filed",)


def test_an_optional_need_is_no_single_point_of_failure() -> None:
    """What can be done without at a price costs that price, and breaks nothing."""
    maker = Node("make", needs=(Need("score", "score", optional=5.0),), provides=("made",), units=1.0)
    found = only(assess(Graph((maker, node("score", gives="score")), (Goal("goal", ("made",)),))))
    assert names(tuple(point.loss for point in found.single_points)) == ["make"]
    assert [(price.node, price.extra) for price in found.without] == [("make", None), ("score", 4.0)]
    assert found.plans == 2  # the route, and the one without the score: nothing is planned round what has no way round


def test_a_goal_of_run_inputs_survives_everything() -> None:
    """A goal that needs no node has nothing to lose."""
    found = only(assess(Graph((node("idle", gives="other"),), (Goal("goal", ("given",)),))))
    assert (found.feasible, found.survives, found.exact, found.breaking, found.route) == (True, MOST, True, None, ())


def test_a_goal_out_of_reach_says_so() -> None:
    """A goal without a route is reported with its reason, and nothing is said to break it."""
    found = only(assess(Graph((node("a", "b", gives="a"), node("b", "a", gives="b")), (Goal("goal", ("a",)),))))
    assert (found.feasible, found.reason, found.survives, found.breaking) == (False, "unreachable", 0, None)
    assert "out of reach" in str(Resilience((found,)))


def test_an_unknown_goal_is_one_clear_error() -> None:
    """A goal that is not listed is refused with those that are."""
    with pytest.raises(InputError, match="there is no goal 'nowhere'; the goals are both, read"):
        assess(TWO_CLOUDS, goal="nowhere")


def test_the_report_is_frozen_and_is_data() -> None:
    """The result cannot be changed, and its data is JSON with the documented keys."""
    found = assess(TWO_CLOUDS)
    with pytest.raises(FrozenInstanceError):
        found.goals = ()  # type: ignore[misc]  # it is frozen: that is what is tested
    data = json.loads(json.dumps(found.as_dict()))
    assert data["most"] == MOST
    keys = "name feasible reason route weight survives exact stopped breaking single_points without alternative"
    assert set(data["goals"][0]) == {*keys.split(), "searches", "plans"}
    assert set(data["goals"][0]["single_points"][0]) == {"kind", "name", "nodes", "left", "values", "help"}
    assert set(data["goals"][0]["without"][0]) == {"node", "route", "weight", "extra", "exact"}


def test_the_refund_example_reads_like_this() -> None:
    """Bad news first: what breaks a goal alone with one fix, what each goal survives, what its nodes are worth."""
    orchestrator = Orchestrator.from_yaml(EXAMPLE, environ={})
    assert str(assess(orchestrator.graph, orchestrator.policy)).splitlines() == [
        "resilience: 2 single points of failure",
        "  crm alone breaks refunded_and_told, refunded, noted: no goal is left",
        "    = help: add another provider of `contact` and `order`, or list a lower goal that does without them",
        "  ticket alone breaks noted: no goal is left",
        "    = help: add another provider of `ticket`, or list a lower goal that does without it",
        "",
        "  goal               survives    second-best route      broken by",
        "  refunded_and_told  no failure  +2.05 without email    crm",
        "  refunded           no failure  +15.3 without cardpay  crm",
        "  noted              no failure  -                      crm",
        "",
        "  goal refunded_and_told costs 30.655: crm > cardpay > email",
        "    without cardpay  +15.3  crm > bankpay > email",
        "    without email    +2.05  crm > cardpay > sms",
    ]


def test_the_text_tells_each_single_point_once() -> None:
    """A domain is told only where none of its nodes breaks the goal alone, and its nodes are named then."""
    text = str(assess(TWO_CLOUDS))
    assert "  east (domain of blob, disk) alone breaks both: goal read is left\n" in text
    alone = replace(TWO_CLOUDS, nodes=tuple(node for node in TWO_CLOUDS.nodes if node.name != "disk"))
    text = str(assess(alone))
    assert text.startswith("resilience: 1 single point of failure\n  blob alone breaks both: goal read is left\n")


# --------------------------------------------------------------------------------------------------------------- work


def stages(number: int, alternatives: int) -> Graph:
    """Return a chain of values, each with so many alternative providers."""
    nodes = [
        node(f"n{stage:03d}-{rank}", f"v{stage}", gives=f"v{stage + 1}", units=1.0 + rank / 10)
        for stage in range(number)
        for rank in range(alternatives)
    ]
    return Graph(tuple(nodes), (Goal("goal", (f"v{number}",)),))


def test_a_hundred_nodes_take_few_plans() -> None:
    """Layers of many alternatives are settled by a few ways without a node in common, and one plan for each price."""
    found = only(assess(stages(20, 5)))
    assert (found.survives, found.exact, found.breaking) == (MOST, True, None)
    assert found.searches <= MOST
    assert found.plans <= 21


def test_a_breaking_triple_among_a_hundred_nodes_takes_few_searches() -> None:
    """Ways that are known spare most searches: of 35,000 sets of up to three losses few need one."""
    found = only(assess(stages(33, 3)))
    assert (found.survives, names(found.breaking)) == (2, ["n000-0", "n000-1", "n000-2"])
    assert found.exact
    assert found.searches <= 400


def test_a_spent_budget_is_said_with_what_was_proved() -> None:
    """Where the budget ends the search, the report says so and keeps what is proved: three ways survive two losses."""
    found = only(assess(stages(33, 3), expansions=500))
    assert (found.survives, found.exact, found.stopped, found.breaking) == (2, False, "budget", None)
    assert "at least 2 (budget spent)" in str(Resilience((found,)))


def split(*more: Node) -> tuple[Graph, dict[str, object]]:
    """Return a chain whose steps cost either money or time, and limits that only an even split of them keeps to."""
    nodes = [
        node(f"{way}{step}", f"v{step}", gives=f"v{step + 1}", **figures)
        for step in range(6)
        for way, figures in (("paid", {"usd": 0.03}), ("slow", {"seconds": 3.0, "units": 2.0}))
    ]
    return Graph((*nodes, *more), (Goal("goal", ("v6",)),)), {"usd": 0.09, "seconds": "9s"}


def under(limits: dict[str, object], expansions: int) -> Policy:
    """Return a policy of these limits and this planning budget."""
    return Policy.model_validate({"limits": limits, "planning": {"expansions": expansions}})


def test_a_goal_whose_limits_are_not_judged_survives_nothing_for_sure() -> None:
    """Where no route within the limits is found, and none proved impossible, nothing is claimed to be survived."""
    graph, limits = split()
    found = only(assess(graph, under(limits, 0)))
    assert (found.feasible, found.survives, found.exact, found.stopped) == (True, 0, False, "unproved")
    assert "at least 0 (limits unproved)" in str(Resilience((found,)))
    found = only(assess(graph, under(limits, LARGE)))
    assert (found.survives, found.exact, names(found.breaking)) == (1, True, ["paid0", "slow0"])


def test_a_loss_whose_limits_are_not_judged_is_neither_survived_nor_fatal() -> None:
    """A loss after which the planner can say neither yes nor no ends the proof, and is no single point of failure."""
    graph, limits = split(node("shortcut", gives="v6"))
    found = only(assess(graph, under(limits, 0)))
    assert (found.route, found.survives, found.exact, found.stopped) == (("shortcut",), 0, False, "unproved")
    assert found.single_points == ()
    assert [(price.weight, price.exact) for price in found.without] == [(None, False)]
    found = only(assess(graph, under(limits, LARGE)))
    assert (found.survives, found.exact, names(found.breaking)) == (2, True, ["paid0", "shortcut", "slow0"])


def test_a_single_point_is_found_although_the_limits_are_not_judged() -> None:
    """What no route can do without breaks the goal, whatever the limits; but it is not said to be all that does."""
    graph, limits = split(node("last", "v6", gives="end"))
    found = only(assess(replace(graph, goals=(Goal("goal", ("end",)),)), under(limits, 0)))
    assert [point.loss.name for point in found.single_points] == ["last"]
    assert (found.survives, found.exact, found.stopped) == (0, False, "unproved")


def test_a_route_within_the_limits_counts_although_the_planner_missed_it() -> None:
    """Where the planner's route is over the limits and a search meets one within, the report is of the latter."""
    chain = [node(f"p{step}", f"v{step}", gives=f"v{step + 1}", units=0.1, usd=0.03) for step in range(6)]
    by_way = [
        node("enter", "v0", gives="inside"),
        node("dear", "inside", gives="v6", units=1000.0, usd=0.05, seconds=5.0),
        node("long", "inside", gives="v6", seconds=20.0),
    ]
    graph = Graph((*chain, *by_way), (Goal("goal", ("v6",)),))
    found = only(assess(graph, under({"usd": 0.09, "seconds": "9s"}, 0)))
    assert "enter" not in found.route
    enter = next(point for point in found.single_points if point.loss.name == "enter")
    assert enter.values == ("inside",)
