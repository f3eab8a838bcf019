"""Planning where nodes and edges are shared by several needs: graphs made for nothing else, against the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.graph import Edge, Graph, Node
from orchestrator.planner import Limits, Planner, Route, Situation
from orchestrator.policy import Objective
from orchestrator.weight import View, declared_view
from tests import oracle
from tests.planning import oracle_route, planner_situation
from tests.running import graph, node

LARGE = 2_000_000
"""A work budget that small graphs never use up."""


def plan(of_graph: Graph, *, expansions: int = LARGE, of_view: View | None = None, **left: float) -> Route:
    """Plan the only goal of a graph from nothing."""
    view = of_view or declared_view(of_graph, Objective())
    situation = Situation(
        held=dict.fromkeys(of_graph.run_inputs, ("input",)),
        left=Limits(**left),  # type: ignore[arg-type]
    )
    return Planner(of_graph, expansions=expansions).plan(view, of_graph.goals[0].name, situation)


# -------------------------------------------------------------------------------------------------------- drawn graphs


@st.composite
def shared(draw: st.DrawFn) -> tuple[Graph, View]:
    """Draw providers of several values each, consumers that join them, dear edges, prices and trails between."""
    values = ["x", "y", "z"]
    costs = st.sampled_from([0.5, 1.0, 1.0, 2.0, 4.0])
    nodes = [node("base", units=draw(costs))]
    for number in range(draw(st.integers(3, 5))):
        made = draw(st.lists(st.sampled_from(values), unique=True, min_size=1, max_size=3))
        needs = draw(st.sampled_from(["", "", "base"]))
        nodes.append(
            node(f"p{number}", needs, " ".join(made), units=draw(costs), usd=draw(st.sampled_from([None, 0.01, 0.02])))
        )
    known = sorted({value for each in nodes for value in each.provides} - {"base"})
    for number in range(draw(st.integers(1, 2))):
        wanted = draw(st.lists(st.sampled_from([*known, "base"]), unique=True, min_size=2, max_size=3))
        prices = [draw(st.sampled_from(["", "", "", "?1", "?3"])) for _ in wanted]
        needs = " ".join(value + price for value, price in zip(wanted, prices, strict=True))
        nodes.append(node(f"c{number}", needs, f"out{number}", units=draw(costs)))
    outs = [each.provides[0] for each in nodes if each.name.startswith("c")]
    goal = " ".join([*outs, *draw(st.lists(st.sampled_from(known), unique=True, max_size=1))])
    bare = graph(*nodes, goals=f"g: {goal}")
    pairs = sorted({(provider, consumer) for provider, consumer, _ in bare.implied_edges()})
    dear = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=5))
    edges = [Edge(*pair, cost=draw(st.sampled_from([0.5, 1.0, 3.0, 5.0]))) for pair in dear]
    drawn = graph(*nodes, goals=f"g: {goal}", edges=edges)
    declared = declared_view(drawn, Objective())
    trodden = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2))
    weights = dict(declared.weights)
    trails = tuple((*pair, max(int(weights[pair[0]] * draw(st.sampled_from([0.5, 2.0]))), 1)) for pair in trodden)
    return drawn, View("drawn", declared.weights, trails)


@given(shared())
def test_shared_nodes_and_edges_are_planned_to_the_cheapest_union(case: tuple[Graph, View]) -> None:
    """With budget enough, the route is the cheapest one that the oracle finds, and it is said to be."""
    drawn, view = case
    goal, start = drawn.goals[0], oracle.Situation.at_start(drawn)
    best = oracle.cheapest(drawn, goal, view, start)
    assert best is not None
    route = Planner(drawn, expansions=LARGE).plan(view, "g", planner_situation(drawn, start, goal, oracle.Left()))
    assert (route.weight, route.bound, route.exact) == (best[0], best[0], True)
    assert oracle.objections(drawn, goal, view, start, oracle_route(drawn, goal, start, route)) == ()


@given(shared(), st.integers(0, 40))
def test_the_bound_is_true_for_shared_nodes_and_edges_under_any_budget(
    case: tuple[Graph, View], expansions: int
) -> None:
    """However little work is allowed, nothing cheaper than the bound exists."""
    drawn, view = case
    best = oracle.cheapest(drawn, drawn.goals[0], view, oracle.Situation.at_start(drawn))
    assert best is not None
    route = plan(drawn, expansions=expansions, of_view=view)
    assert route.bound <= best[0] <= route.weight


@given(shared(), st.sampled_from([0.0, 0.01, 0.02, 0.03, 0.05]), st.sampled_from([2, 3, 4, 6]))
def test_limits_are_exact_for_shared_nodes_and_edges(case: tuple[Graph, View], usd: float, calls: int) -> None:
    """Within limits on money and calls, the cheapest route that fits is found exactly where there is one."""
    drawn, view = case
    left = oracle.Left(usd=usd, calls=calls)
    best = oracle.cheapest(drawn, drawn.goals[0], view, oracle.Situation.at_start(drawn), left)
    route = plan(drawn, of_view=view, usd=usd, calls=calls)
    assert (route.verdict == "found") == (best is not None)
    if best is not None:
        assert route.weight == best[0]


# ------------------------------------------------------------------------------------------------------------ by hand


def two_values_over_one_edge(*others: Node) -> Graph:
    """Return a graph in which `c` takes two values from `p` over an edge of 5."""
    nodes = (node("p", "", "x y"), node("c", "x y"), *others)
    return graph(*nodes, goals="g: c", edges=[Edge("p", "c", cost=5.0)])


def test_an_edge_is_paid_once_however_many_values_it_carries() -> None:
    """A consumer that takes two values from one provider over a dear edge pays for the node and the edge once."""
    route = plan(two_values_over_one_edge())
    assert (route.weight, route.bound) == (7_000_000, 7_000_000)


def test_a_route_is_found_through_hundreds_of_layers_of_shared_joins() -> None:
    """Each layer needs two values of the one before: a tree's sum has doubled 400 times, and no route is that dear."""
    layers = [node(f"n{n}", f"a{n} b{n}" if n else "", f"a{n + 1} b{n + 1}") for n in range(400)]
    route = plan(graph(*layers, goals="g: a400"), expansions=1000)
    assert route.nodes == tuple(f"n{n}" for n in range(400))


def test_a_dear_edge_that_carries_two_values_beats_two_dearer_nodes() -> None:
    """6 for both values through one provider, against 4 and 4.5 for each alone: the shared edge is found."""
    others = (node("x2", "", "x", units=4.0), node("y2", "", "y", units=4.5))
    route = plan(two_values_over_one_edge(*others))
    assert (route.nodes, route.weight, route.bound) == (("p", "c"), 7_000_000, 7_000_000)


def test_a_shared_node_is_paid_once_at_its_best_trail() -> None:
    """A node that feeds two consumers costs what it costs on the better trodden of the two edges."""
    fork = graph(node("s", units=4.0), node("a", "s"), node("b", "s"), goals="g: a b")
    view = View("trodden", declared_view(fork, Objective()).weights, (("s", "b", 1_000_000),))
    assert plan(fork, of_view=view).weight == 3_000_000


@pytest.mark.parametrize("calls", [0, 1])
def test_a_goal_of_held_values_needs_no_call(calls: int) -> None:
    """What the run was given costs nothing and fits every limit."""
    given_all = graph(node("a", "x"), goals="g: x")
    route = plan(given_all, calls=calls)
    assert (route.verdict, route.nodes, route.weight, route.exact) == ("found", (), 0, True)


def test_what_lies_behind_a_goal_is_told_providers_first() -> None:
    """A node that both the goal and a later node can use still comes after what it needs itself."""
    from orchestrator.planner.bound import Sharing

    found = graph(node("a"), node("b", "a"), node("c", "a b"), goals="g: b a c")
    planner = Planner(found)
    index = planner.index(declared_view(found, Objective()))
    sharing = Sharing(index, planner.ground(index, Situation()), index.goal_number["g"])
    assert [index.names[p] for p in sharing.nodes] == ["a", "b", "c"]
