"""The planner against an exhaustive oracle, a fixpoint, and networkx."""

from __future__ import annotations

from typing import Any

import networkx as nx
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.graph import Edge, Goal, Graph, Need, Node
from orchestrator.planner import Limits, Planner, Situation
from orchestrator.policy import Objective
from orchestrator.weight import declared_view
from tests import oracle
from tests.planning import oracle_route, planner_situation
from tests.strategies import Case, cases, single_need_graphs

LARGE = 2_000_000
"""A work budget that small graphs never use up."""

slow_to_draw = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def plan(case: Case, expansions: int = LARGE):
    """Plan a case."""
    situation = planner_situation(case.graph, case.situation, case.goal, case.limits)
    return Planner(case.graph, expansions=expansions).plan(case.view, case.goal.name, situation)


@slow_to_draw
@given(cases(max_nodes=8, allow_limits=False))
def test_a_route_is_legal_and_is_the_cheapest_union(case: Case) -> None:
    """With budget enough, the planner finds the cheapest legal union, proves it, and weighs it as the oracle does."""
    route = plan(case)
    best = oracle.cheapest(case.graph, case.goal, case.view, case.situation)
    assert route.feasible == (best is not None)
    if best is None:
        return
    found = oracle_route(case.graph, case.goal, case.situation, route)
    assert oracle.objections(case.graph, case.goal, case.view, case.situation, found) == ()
    assert oracle.union_weight(case.graph, case.view, case.situation, found) == route.weight == best[0]
    assert route.exact
    assert frozenset(route.nodes) == found.nodes


@slow_to_draw
@given(cases(max_nodes=8), st.integers(0, 60))
def test_bound_and_verdicts_hold_under_any_budget(case: Case, expansions: int) -> None:
    """However little work is allowed, the bound is true, the route legal, and impossible is said only when it is so."""
    route = plan(case, expansions)
    best = oracle.cheapest(case.graph, case.goal, case.view, case.situation, case.limits)
    anyhow = oracle.feasible(case.graph, case.goal, case.view, case.situation)
    if not anyhow:
        assert not route.feasible
        assert route.reason == "unreachable"
        return
    if route.verdict == "impossible":
        assert best is None
        assert route.reason is not None
        assert route.reason.startswith("limit:")
        return
    found = oracle_route(case.graph, case.goal, case.situation, route)
    assert oracle.objections(case.graph, case.goal, case.view, case.situation, found) == ()
    assert oracle.union_weight(case.graph, case.view, case.situation, found) == route.weight
    if best is not None:
        assert route.bound <= best[0]
    if route.verdict == "found":
        assert best is not None
        assert route.weight >= best[0]
        assert oracle.within(case.graph, found, case.limits)


@slow_to_draw
@given(cases(max_nodes=8))
def test_limits_are_judged_exactly_when_the_budget_suffices(case: Case) -> None:
    """With budget enough, a route within the limits is found, and is the cheapest one, exactly when there is one."""
    route = plan(case)
    best = oracle.cheapest(case.graph, case.goal, case.view, case.situation, case.limits)
    assert (route.verdict == "found") == (best is not None)
    if best is not None:
        assert route.weight == best[0]
        for figures in route.limits.values():
            assert figures.route is not None
            assert figures.least <= figures.route <= figures.left


@slow_to_draw
@given(cases(max_nodes=9, allow_limits=False, allow_once=False))
def test_the_tree_sum_and_its_ties_are_those_of_the_fixpoint(case: Case) -> None:
    """Without any improvement, the route is the one of the tree sum under the local tie rule."""
    from orchestrator.planner.search import search

    planner = Planner(case.graph)
    index = planner.index(case.view)
    ground = planner.ground(index, planner_situation(case.graph, case.situation, case.goal, case.limits))
    found = search(index, ground, index.goal_number[case.goal.name])
    tree = oracle.have(case.graph, case.view, case.situation).get(case.goal.name)
    assert (found is None) == (tree is None)
    if found is None or tree is None:
        return
    assert found.have == tree.cost
    expected = oracle.tree_route(case.graph, case.goal, case.view, case.situation)
    assert expected is not None
    names = [*index.names, None]
    positions = {
        m: (index.consumer_name[index.consumer[m]], index.needs[index.consumer[m]].index(m)) for m in found.choice
    }
    assert {positions[m]: names[p] for m, p in found.choice.items()} == dict(expected.choices)


@slow_to_draw
@given(single_need_graphs(max_nodes=20), st.data())
def test_single_needs_are_plain_dijkstra(graph: Graph, data: st.DataObject) -> None:
    """On a graph of single needs the weight is that of networkx on the same edge-weighted graph."""
    view = declared_view(graph, Objective())
    excluded = data.draw(st.sets(st.sampled_from([node.name for node in graph.nodes]), max_size=4))
    weight = dict(view.weights)
    digraph: nx.DiGraph[Any] = nx.DiGraph()
    digraph.add_node("source")
    for goal in graph.goals:
        digraph.add_node(("goal", goal.name))
    goals = {goal.name for goal in graph.goals}
    for provider, consumer, _ in graph.implied_edges():
        written = graph.written_edges.get((provider, consumer))
        cost = round((written.cost if written else 0.0) * 1_000_000) + weight[provider]
        target = ("goal", consumer) if consumer in goals else consumer
        if provider not in excluded and consumer not in excluded:
            digraph.add_edge(provider, target, weight=cost)
    for node in graph.nodes:
        if node.name not in excluded and (not node.needs or node.needs[0].value in graph.run_inputs):
            digraph.add_edge("source", node.name, weight=0)
    for goal in graph.goals:
        if any(value in graph.run_inputs for value in goal.values):
            digraph.add_edge("source", ("goal", goal.name), weight=0)
        situation = Situation(
            held=dict.fromkeys(graph.run_inputs, ("input",)), excluded=dict.fromkeys(excluded, "excluded")
        )
        route = Planner(graph).plan(view, goal.name, situation)
        try:
            expected = nx.dijkstra_path_length(digraph, "source", ("goal", goal.name))
        except nx.NetworkXNoPath:
            assert not route.feasible
        else:
            assert route.weight == expected
            assert route.exact


@slow_to_draw
@given(cases(max_nodes=8, allow_limits=False), st.randoms(use_true_random=False))
def test_the_order_of_a_file_changes_nothing(case: Case, random) -> None:
    """Nodes and edges in another order give the same route to the last field."""
    nodes, edges = list(case.graph.nodes), list(case.graph.edges)
    random.shuffle(nodes)
    random.shuffle(edges)
    shuffled = Graph(tuple(nodes), case.graph.goals, tuple(edges), case.graph.inputs, case.graph.name)
    situation = planner_situation(case.graph, case.situation, case.goal, case.limits)
    one = Planner(case.graph).plan(case.view, case.goal.name, situation)
    other = Planner(shuffled).plan(case.view, case.goal.name, situation)
    assert one == other


def tool(name: str, needs: str = "", provides: str = "", units: float = 1.0, **more: object) -> Node:
    """Build a node from words."""
    wants = tuple(Need(value, value) for value in needs.split())
    return Node(name, needs=wants, provides=tuple((provides or name).split()), units=units, **more)  # type: ignore[arg-type]


def test_the_union_can_be_cheaper_although_the_trees_route_shares_nothing() -> None:
    """Two cheap direct providers lose to two that share one dearer result: 6 against 9."""
    graph = Graph(
        (
            tool("s", units=4),
            tool("a1", "s", "a"),
            tool("b1", "s", "b"),
            tool("a2", "", "a", 4.5),
            tool("b2", "", "b", 4.5),
        ),
        (Goal("both", ("a", "b")),),
    )
    route = Planner(graph).plan(declared_view(graph, Objective()), "both", Situation())
    assert (route.nodes, route.weight, route.bound) == (("s", "a1", "b1"), 6_000_000, 6_000_000)


def test_a_limit_does_not_forget_the_dearer_but_lighter_way() -> None:
    """A chain of four cheap calls and a short-cut: every limit on calls finds the cheapest way that fits it."""
    graph = Graph(
        (
            tool("a", "", "va"),
            tool("b", "va", "vb"),
            tool("c", "vb", "vc"),
            tool("t", "vc", "vt"),
            tool("short", "", "vc", 5.0),
        ),
        (Goal("there", ("vt",)),),
    )
    view = declared_view(graph, Objective())
    planner = Planner(graph)

    def within(calls: int) -> tuple[str, tuple[str, ...], int]:
        route = planner.plan(view, "there", Situation(left=Limits(calls=calls)))
        return route.verdict, route.nodes, route.weight

    assert within(4) == ("found", ("a", "b", "c", "t"), 4_000_000)
    assert within(3) == ("found", ("short", "t"), 6_000_000)
    assert within(2) == ("found", ("short", "t"), 6_000_000)
    assert within(1) == ("impossible", (), 0)


def test_a_node_that_must_not_be_used_is_absent_and_never_heavy() -> None:
    """With every provider excluded there is no route, not an infinitely heavy one."""
    graph = Graph((tool("only", "", "v"),), (Goal("g", ("v",)),))
    route = Planner(graph).plan(declared_view(graph, Objective()), "g", Situation(excluded={"only": "down"}))
    assert not route.feasible
    assert route.nodes == ()


def test_equal_costs_are_decided_by_size_then_name() -> None:
    """Of two ways of equal cost the one with fewer unfinished nodes is taken, then the first by name."""
    graph = Graph(
        (
            tool("zoe", "", "v", 2.0),
            tool("amy", "w", "v", 1.0),
            tool("w", "", "w", 1.0),
            tool("bob", "", "v", 2.0),
        ),
        (Goal("g", ("v",)),),
    )
    assert Planner(graph).plan(declared_view(graph, Objective()), "g", Situation()).nodes == ("bob",)


def test_a_cycle_among_values_is_no_route() -> None:
    """Two nodes that need each other's value cannot serve; with a way in, they can."""
    needy = (tool("a", "y", "x"), tool("b", "x", "y"))
    graph = Graph(needy, (Goal("g", ("x",)),))
    assert not Planner(graph).plan(declared_view(graph, Objective()), "g", Situation()).feasible
    graph = Graph((*needy, tool("c", "", "y", 9.0)), (Goal("g", ("x",)),))
    assert Planner(graph).plan(declared_view(graph, Objective()), "g", Situation()).nodes == ("c", "a")


def test_ten_thousand_nodes_in_a_chain_are_planned_without_recursion() -> None:
    """A route of 10,000 nodes is found and ordered."""
    count = 10_000
    nodes = tuple(tool(f"n{i:05d}", f"v{i - 1:05d}" if i else "", f"v{i:05d}") for i in range(count))
    graph = Graph(nodes, (Goal("end", (f"v{count - 1:05d}",)),))
    route = Planner(graph).plan(declared_view(graph, Objective()), "end", Situation())
    assert len(route.nodes) == count
    assert route.nodes == tuple(node.name for node in graph.nodes)


def test_a_wide_join_of_a_thousand_needs_is_planned() -> None:
    """A node that joins 1,000 values is planned, with each alternative weighed."""
    nodes = [tool(f"p{i}", "", f"v{i}", 1.0) for i in range(1000)] + [
        tool(f"q{i}", "", f"v{i}", 2.0) for i in range(1000)
    ]
    join = Node("join", needs=tuple(Need(f"v{i}", f"v{i}") for i in range(1000)), provides=("all",), units=1.0)
    graph = Graph((*nodes, join), (Goal("end", ("all",)),))
    route = Planner(graph).plan(declared_view(graph, Objective()), "end", Situation())
    assert route.weight == 1_001_000_000
    assert route.exact


def test_edges_into_the_goal_and_forbids_count() -> None:
    """An extra cost into the goal can turn the choice, and a forbidden pair is no way at all."""
    nodes = (tool("a", "", "v", 1.0), tool("b", "", "v", 2.0))
    view_of = lambda graph: declared_view(graph, Objective())  # noqa: E731
    dear = Graph(nodes, (Goal("g", ("v",)),), (Edge("a", "g", cost=5.0),))
    assert Planner(dear).plan(view_of(dear), "g", Situation()).nodes == ("b",)
    shut = Graph(nodes, (Goal("g", ("v",)),), (Edge("b", "g", forbid=True), Edge("a", "g", forbid=True)))
    assert not Planner(shut).plan(view_of(shut), "g", Situation()).feasible


def test_a_drawn_case_is_not_always_feasible() -> None:
    """The generators draw both feasible and infeasible goals, or the properties above would prove little."""
    seen: set[bool] = set()

    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(cases(max_nodes=8))
    def collect(case: Case) -> None:
        assume(True)
        seen.add(plan(case).feasible)

    collect()
    assert seen == {True, False}
