"""The oracle itself: cases worked out by hand, and properties that tie its parts to each other and to networkx."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.graph import INPUT, Edge, Goal, Graph, Need, Node
from orchestrator.policy import Objective
from orchestrator.units import micro
from orchestrator.weight import View, declared_view
from tests.oracle import (
    Left,
    Route,
    Situation,
    Want,
    best_goal,
    cheapest,
    choices_by_parameter,
    enumerate_routes,
    feasible,
    figures,
    have,
    objections,
    recoverable,
    route_of,
    sources,
    tree_route,
    union_weight,
    usable_now,
)
from tests.strategies import Case, cases, graphs, single_need_graphs

DONE = Goal("done", ("out",))
START = Situation()


def node(name: str, provides: str = "", needs: str = "", units: float = 1.0, **more: object) -> Node:
    """Return a node; values are given as words of a text, its own name is what it provides by default."""
    wanted = tuple(Need(value, value) for value in needs.split())
    fields = {"needs": wanted, "provides": tuple((provides or name).split()), "units": units, **more}
    return Node(name, **fields)  # type: ignore[arg-type]


def graph_of(*nodes: Node, goal: Goal = DONE, edges: tuple[Edge, ...] = ()) -> Graph:
    """Return a graph of one goal."""
    return Graph(nodes, (goal,), edges)


def view_of(graph: Graph) -> View:
    """Return the view of the declared figures."""
    return declared_view(graph, Objective())


def best(graph: Graph, situation: Situation = START, limits: Left | None = None, view: View | None = None) -> float:
    """Return the cheapest union of the first goal in units; -1 where there is no route."""
    found = cheapest(graph, graph.goals[0], view or view_of(graph), situation, limits)
    return -1 if found is None else found[0] / 1_000_000


def nodes_of(graph: Graph, situation: Situation = START, limits: Left | None = None) -> str:
    """Return the names of the nodes that the cheapest route starts, sorted, as words."""
    found = cheapest(graph, graph.goals[0], view_of(graph), situation, limits)
    assert found is not None
    return " ".join(sorted(found[1].nodes))


def routes(graph: Graph, situation: Situation = START) -> list[Route]:
    """Return every route to the first goal."""
    return list(enumerate_routes(graph, graph.goals[0], view_of(graph), situation))


# ----------------------------------------------------------------------------------------------------- published graphs

SHARED = graph_of(
    node("s", units=4),
    node("a1", "a", "s"),
    node("b1", "b", "s"),
    node("a2", "a", units=4.5),
    node("b2", "b", units=4.5),
    goal=Goal("both", ("a", "b")),
)
SUPPORT = graph_of(
    node("crm", "order"),
    node("stripe", "refund", "order"),
    node("razorpay", "refund", "order", units=2),
    node("email", "out", "refund"),
    node("sms", "out", "refund", units=2),
    edges=(Edge("email", "done", cost=1), Edge("sms", "done", cost=1)),
)


def test_a_shared_result_is_paid_once() -> None:
    """The cheapest union shares s and costs 6, where the tree sum counts s twice and takes a2 and b2 at 9."""
    assert best(SHARED) == 6
    assert nodes_of(SHARED) == "a1 b1 s"
    assert len(routes(SHARED)) == 4
    tree = tree_route(SHARED, SHARED.goals[0], view_of(SHARED), START)
    assert tree is not None
    assert tree.nodes == {"a2", "b2"}
    assert have(SHARED, view_of(SHARED), START)["both"].cost == 9_000_000


@pytest.mark.parametrize(
    ("down", "weight", "route"),
    [
        ("", 4, "crm email stripe"),
        ("stripe email", 6, "crm razorpay sms"),
        ("stripe razorpay", -1, ""),
        ("crm", -1, ""),
    ],
)
def test_customer_support_costs_4_and_6(down: str, weight: float, route: str) -> None:
    """The published support graph costs 4, and 6 round two dead tools; the edge into the goal costs 1."""
    situation = Situation(excluded=frozenset(down.split()))
    assert best(SUPPORT, situation) == weight
    assert weight == -1 or nodes_of(SUPPORT, situation) == route


def test_customer_support_has_9_ways_to_survive() -> None:
    """Of the 32 sets of dead tools, exactly 9 leave a route: CRM lives, and one of each pair."""
    names = [member.name for member in SUPPORT.nodes]
    dead_sets = [set(dead) for size in range(6) for dead in combinations(names, size)]
    assert len(dead_sets) == 32
    assert sum(recoverable(SUPPORT, SUPPORT.goals, dead, ()) == 0 for dead in dead_sets) == 9
    assert sum(best(SUPPORT, Situation(excluded=frozenset(dead))) > 0 for dead in dead_sets) == 9


# ------------------------------------------------------------------------------------------------------------ the union


def test_a_node_costs_its_best_trail_once() -> None:
    """A node that serves two consumers is charged once, at the cheaper of the two trails used."""
    graph = graph_of(node("s", units=4), node("a", "a", "s"), node("b", "b", "s"), goal=Goal("both", ("a", "b")))
    view = replace(view_of(graph), trails=(("s", "a", 3_000_000), ("s", "b", 5_000_000)))
    assert best(graph, view=view) == 3 + 1 + 1
    assert have(graph, view, START)["both"].cost == 3_000_000 + 5_000_000 + 2_000_000


def test_a_trail_that_is_not_used_does_not_count() -> None:
    """A cheap trail to a consumer outside the route makes the node no cheaper."""
    graph = graph_of(node("s"), node("a", "out", "s"), node("z", "zoo", "s"))
    view = replace(view_of(graph), trails=(("s", "z", 1),))
    assert best(graph, view=view) == 2


def test_an_edge_is_paid_once_per_pair() -> None:
    """Two values from one provider to one consumer pay the extra edge cost once; the tree sum pays it twice."""
    graph = graph_of(node("pair", "x y"), node("end", "out", "x y"), edges=(Edge("pair", "end", cost=2),))
    assert best(graph) == 1 + 1 + 2
    assert have(graph, view_of(graph), START)["done"].cost == 2 * (1 + 2) * 1_000_000 + 1_000_000


@pytest.mark.parametrize(
    ("situation", "weight"),
    [
        (START, 3 + 2 + 1),
        (Situation(held={"x": ("source",)}), 2 + 1),
        (Situation(in_flight=frozenset({"source"})), 2 + 1),
        (Situation(held={"x": (INPUT,)}), 1),
    ],
    ids=["unfinished", "held", "in flight", "input"],
)
def test_what_is_there_pays_its_edge_only(situation: Situation, weight: float) -> None:
    """Held results and nodes in flight cost their edge and not themselves; a run input costs nothing."""
    graph = graph_of(node("source", "x", units=3), node("end", "out", "x"), edges=(Edge("source", "end", cost=2),))
    assert best(graph, situation) == weight
    assert have(graph, view_of(graph), situation)["done"].cost == weight * 1_000_000


def test_success_makes_a_node_dearer() -> None:
    """A node that works every other time costs twice its price; the undo is not divided by it."""
    assert best(graph_of(node("one", "out", units=3, success=0.5))) == 6


# ---------------------------------------------------------------------------------------------------- forbidden, absent


def test_a_forbidden_edge_is_no_edge() -> None:
    """The cheap provider may not feed the node, so the dear one does; a held result is bound by it too."""
    graph = graph_of(
        node("cheap", "x"),
        node("dear", "x", units=5),
        node("end", "out", "x"),
        edges=(Edge("cheap", "end", forbid=True),),
    )
    assert nodes_of(graph) == "dear end"
    assert nodes_of(graph, Situation(held={"x": ("cheap",)})) == "dear end"
    assert nodes_of(replace(graph, edges=())) == "cheap end"


def test_an_edge_into_the_goal_can_be_forbidden() -> None:
    """A goal is a consumer like any other."""
    graph = graph_of(node("one", "out"), edges=(Edge("one", "done", forbid=True),))
    assert best(graph) == -1
    assert best(graph, Situation(held={"out": ("one",)})) == -1


def test_a_vetoed_node_is_absent_but_what_it_gave_is_not() -> None:
    """A veto keeps a node from being started; its held result and its attempt in flight still serve."""
    graph = graph_of(node("one", "out"))
    view = declared_view(graph, Objective(), vetoes={"one": "open"})
    assert best(graph, view=view) == -1
    assert best(graph, Situation(held={"out": ("one",)}), view=view) == 0
    assert best(graph, Situation(in_flight=frozenset({"one"})), view=view) == 0


def test_a_finished_node_never_runs_again() -> None:
    """A finished node whose edge is forbidden is not started a second time for the same value."""
    graph = graph_of(node("one", "out other"), edges=(Edge("one", "done", forbid=True),))
    assert usable_now(graph, Situation(held={"out": ("one",), "other": ("one",)})) == frozenset()


def test_a_withdrawn_value_still_feeds_nodes() -> None:
    """What a goal's check refused cannot serve the goal again, but it can serve a node on the way."""
    graph = graph_of(node("one", "x"), node("two", "x", units=5), node("y", "y", "x"), goal=Goal("both", ("x", "y")))
    held = Situation(held={"x": ("one",)})
    assert nodes_of(graph, held) == "y"
    refused = routes(graph, replace(held, withdrawn=frozenset({("x", "one")})))
    assert {route.choices["both", 0] for route in refused} == {"two"}
    assert {route.choices["y", 0] for route in refused} == {"one", "two"}


def test_nodes_that_wait_for_each_other_are_not_usable() -> None:
    """A ring with no way in provides nothing; one way in makes exactly the acyclic routes."""
    ring = graph_of(node("x", "x", "y"), node("y", "y", "x"), node("end", "out", "x"))
    assert usable_now(ring, START) == frozenset()
    assert not routes(ring)
    entered = graph_of(*ring.nodes, node("y0", "y"))
    assert [sorted(route.nodes) for route in routes(entered)] == [["end", "x", "y0"]]


# ------------------------------------------------------------------------------------------------------- optional needs


def optional(price: float, **more: Node) -> Graph:
    """Return a graph whose end needs x and, for a price, may do without."""
    end = Node("end", needs=(Need("x", "x", optional=price),), provides=("out",), units=1)
    return graph_of(node("one", "x", units=2), end, *more.values())


@pytest.mark.parametrize(("price", "weight", "route"), [(1, 2, "end"), (3, 3, "end one")])
def test_an_optional_need_is_done_without_where_that_is_cheaper(price: float, weight: float, route: str) -> None:
    """Doing without costs its price once; the provider is taken where it costs less."""
    assert best(optional(price)) == weight
    assert nodes_of(optional(price)) == route
    assert len(routes(optional(price))) == 2


def test_an_optional_need_saves_a_route() -> None:
    """With its provider excluded, or with none at all, the need is done without at any price."""
    assert best(optional(50), Situation(excluded=frozenset({"one"}))) == 51
    assert best(graph_of(optional(50).by_name["end"])) == 51


def test_each_need_pays_its_own_price() -> None:
    """Two needs of one consumer done without are two prices, also for one and the same value."""
    needs = (Need("x", "x", optional=2), Need("again", "x", optional=3))
    assert best(graph_of(Node("end", needs=needs, provides=("out",), units=1))) == 6


def test_an_optional_need_takes_a_shared_result_where_it_is_there_anyway() -> None:
    """What another consumer has started costs nothing more, so doing without for a price is dearer."""
    graph = optional(1, other=node("other", "more", "x"))
    graph = replace(graph, goals=(Goal("done", ("out", "more")),))
    assert best(graph) == 2 + 1 + 1
    assert have(graph, view_of(graph), START)["end"].choices == (None,)


# ------------------------------------------------------------------------------------------------------- once, and undo


def effects(once: str, *, undo: bool = False) -> Graph:
    """Return two providers of x, of which neither may serve both consumers; those named are `once` nodes."""
    pair = [node(n, "x", effect="once" if n in once.split() else "read", undo=undo) for n in ("one", "two")]
    forbids = (Edge("one", "b", forbid=True), Edge("two", "a", forbid=True))
    return graph_of(*pair, node("a", "a", "x"), node("b", "b", "x"), goal=Goal("both", ("a", "b")), edges=forbids)


@pytest.mark.parametrize(("once", "weight"), [("", 4), ("one", -1), ("two", -1), ("one two", -1)])
def test_a_once_node_stands_alone_for_its_value(once: str, weight: float) -> None:
    """Two providers of one value may both be used, but not if one of them is a `once` node."""
    assert best(effects(once)) == weight


def test_a_once_node_conflicts_by_any_value_it_could_give() -> None:
    """A `once` node used for y stands against another provider of x, although nothing takes x from it."""
    graph = graph_of(
        node("both", "x y", effect="once"),
        node("other", "x"),
        goal=Goal("both-values", ("x", "y")),
        edges=(Edge("both", "both-values", cost=9),),
    )
    assert [sorted(route.nodes) for route in routes(graph)] == [["both"]]


def test_a_held_result_conflicts_with_a_once_node() -> None:
    """A held result and a `once` node of the same value do not stand together, whichever was first."""
    held = Situation(held={"x": ("one",)})
    assert best(effects("two"), held) == -1
    assert best(effects(""), held) == 3
    assert best(effects("one", undo=True), replace(held, finished_effects=frozenset({"one"}))) == -1


def test_a_result_in_flight_conflicts_with_a_once_node() -> None:
    """What a node in flight is about to give counts like a held result, if the route uses it."""
    flying = Situation(in_flight=frozenset({"one"}))
    assert best(effects("two"), flying) == -1
    only_b = replace(effects("two"), goals=(Goal("only-b", ("b",)),))
    assert best(only_b, flying) == 2


REFUND = graph_of(
    node("stripe", "refund", effect="once", undo=True, undo_units=2.5),
    node("razorpay", "refund", effect="once", units=3),
    node("end", "out", "refund"),
    edges=(Edge("stripe", "end", forbid=True),),
)
REFUNDED = Situation(held={"refund": ("stripe",)}, finished_effects=frozenset({"stripe"}))


@pytest.mark.parametrize(
    ("situation", "weight"),
    [
        (START, 4),
        (REFUNDED, 4 + 2.5),
        (replace(REFUNDED, undo_failed=frozenset({"stripe"})), -1),
        (Situation(unresolved=frozenset({"stripe"})), -1),
        (Situation(in_flight=frozenset({"stripe"})), -1),
        (Situation(excluded=frozenset({"stripe"})), 4),
    ],
    ids=["at start", "finished", "undo failed", "unknown", "in flight", "undone"],
)
def test_a_second_effect_waits_for_the_first(situation: Situation, weight: float) -> None:
    """Another provider may start once the first effect is undone, at the price of the undo, and never before."""
    assert best(REFUND, situation) == weight
    assert ("razorpay" in usable_now(REFUND, situation)) == (weight > 0)
    assert ("stripe" in usable_now(REFUND, situation)) == (situation == START)
    table = have(REFUND, view_of(REFUND), situation)
    assert ("done" in table and table["done"].cost / 1_000_000) == (weight if weight > 0 else False)


def test_an_effect_without_undo_is_final() -> None:
    """A finished `once` node without undo keeps every other provider of its value from starting."""
    final = replace(REFUND, nodes=(replace(REFUND.by_name["stripe"], undo=False), *REFUND.nodes[:2]))
    assert best(final) == 4
    assert best(final, REFUNDED) == -1


def test_a_finished_effect_that_serves_is_neither_undone_nor_repeated() -> None:
    """Where the finished effect may feed the node, the route takes it, for nothing."""
    assert nodes_of(replace(REFUND, edges=()), REFUNDED) == "end"
    assert best(replace(REFUND, edges=()), REFUNDED) == 1


def test_an_undo_costs_the_node_itself_by_default_and_is_paid_once() -> None:
    """Without a price of its own the undo costs what the node does, once for two values started elsewhere."""
    graph = graph_of(
        node("old", "x y", units=5, effect="once", undo=True),
        node("x1", "x"),
        node("y1", "y"),
        goal=Goal("both", ("x", "y")),
        edges=(Edge("old", "both", forbid=True),),
    )
    situation = Situation(held={"x": ("old",), "y": ("old",)}, finished_effects=frozenset({"old"}))
    assert best(graph, situation) == 1 + 1 + 5


@pytest.mark.parametrize(
    ("forbidden", "weight", "route"),
    [("", 1 + 1, "a b"), ("a", 2 + 1 + 1, "a b two"), ("a b", 2 + 1 + 1 + 3, "a b two")],
)
def test_an_abandoned_ordinary_node_pays_its_undo(forbidden: str, weight: float, route: str) -> None:
    """A finished node with an undo pays it when its value is provided anew and the route has no use for it at all."""
    graph = graph_of(
        node("one", "x", undo=True, undo_units=3),
        node("two", "x", units=2),
        node("a", "a", "x"),
        node("b", "b", "x"),
        goal=Goal("both", ("a", "b")),
        edges=tuple(Edge("one", name, forbid=True) for name in forbidden.split()),
    )
    situation = Situation(held={"x": ("one",)})
    assert best(graph, situation) == weight
    assert nodes_of(graph, situation) == route
    # An undo that has failed is not tried again, and without one there is nothing to pay.
    never = replace(graph, nodes=tuple(replace(each, undo=False) for each in graph.nodes))
    for free in (best(graph, replace(situation, undo_failed=frozenset({"one"}))), best(never, situation)):
        assert free == (2 if forbidden == "" else 4)


# --------------------------------------------------------------------------------------------------------------- limits

LIMITED = graph_of(
    node("fast", "x", units=9, usd=0.1, seconds=1),
    node("slow", "x", units=1, usd=0.0, seconds=5),
    node("beside", "y", units=0, seconds=4),
    node("end", "out", "x y", units=0, usd=0.2, seconds=1),
)


@pytest.mark.parametrize(
    ("limits", "route"),
    [
        (Left(), "beside end slow"),
        (Left(seconds=6), "beside end slow"),
        (Left(seconds=5.5), "beside end fast"),
        (Left(seconds=5), "beside end fast"),
        (Left(seconds=4.9), None),
        (Left(usd=0.2), "beside end slow"),
        (Left(usd=0.3, seconds=5), "beside end fast"),
        (Left(usd=0.29, seconds=5), None),
        (Left(calls=3), "beside end slow"),
        (Left(calls=2), None),
    ],
)
def test_limits_are_sums_of_money_and_calls_and_the_longest_chain_of_seconds(limits: Left, route: str | None) -> None:
    """Money and calls count every node once, time the critical path; 0.1 and 0.2 dollars fit into 0.3."""
    assert feasible(LIMITED, DONE, view_of(LIMITED), START, limits) == (route is not None)
    assert best(LIMITED, START, limits) == -1 if route is None else nodes_of(LIMITED, START, limits) == route


def test_what_is_done_or_under_way_needs_no_more_of_a_limit() -> None:
    """Finished nodes and nodes in flight count neither money nor seconds nor calls."""
    situation = Situation(held={"x": ("slow",)}, in_flight=frozenset({"beside"}))
    [route] = [route for route in routes(LIMITED, situation) if route.nodes == {"end"}]
    assert (figures(LIMITED, route).usd, figures(LIMITED, route).seconds, figures(LIMITED, route).calls) == (0.2, 1, 1)


def test_limits_count_attempts_as_declared() -> None:
    """Neither success nor undeclared figures enter a limit."""
    graph = graph_of(Node("end", provides=("out",), success=0.1, usd=0.01), node("other", "x"))
    assert feasible(graph, DONE, view_of(graph), START, Left(usd=0.01, seconds=0, calls=1))


# --------------------------------------------------------------------------------------------------- goals and recovery


def test_the_best_goal_that_can_be_had() -> None:
    """The first goal that has a route counts; none where no listed goal has one."""
    graph = replace(SUPPORT, goals=(DONE, Goal("refunded", ("refund",))))
    mute = Situation(excluded=frozenset({"email", "sms"}))
    poor = Situation(excluded=frozenset({"stripe", "razorpay"}))
    assert [best_goal(graph, graph.goals, view_of(graph), each) for each in (START, mute, poor)] == [0, 1, None]
    assert [recoverable(graph, graph.goals, each.excluded, ()) for each in (START, mute, poor)] == [0, 1, None]
    assert best_goal(graph, graph.goals, view_of(graph), START, Left(calls=2)) == 1


def test_recovery_needs_the_run_inputs() -> None:
    """A value that nothing provides is there only when the run is given it."""
    graph = graph_of(node("end", "out", "question"))
    assert recoverable(graph, graph.goals, (), ()) is None
    assert recoverable(graph, graph.goals, (), ("question",)) == 0


def test_recovery_is_not_foretold_for_once_nodes() -> None:
    """What a run with effects can still reach depends on what it has done, so the question is refused."""
    with pytest.raises(ValueError, match="once"):
        recoverable(REFUND, REFUND.goals, (), ())


# --------------------------------------------------------------------------------------------------------- the tie rule


def tie(*providers: Node, situation: Situation = START) -> str | None:
    """Return which provider of x the tree takes."""
    graph = graph_of(*providers, node("end", "out", "x"))
    return have(graph, view_of(graph), situation)["end"].choices[0]


def test_ties_go_by_nodes_then_by_name() -> None:
    """Of equal costs the tree of fewer unfinished nodes wins, then the smaller name; order of declaration never."""
    assert tie(node("b", "x"), node("a", "x")) == "a"
    assert tie(node("a", "x", "y"), node("y"), node("b", "x", units=2)) == "b"
    assert tie(node("b", "x"), node("a", "x"), situation=Situation(held={"x": ("b",)})) == "b"
    assert tie(node("z", "x"), node("a", "x"), situation=Situation(held={"x": ("z", INPUT)})) == INPUT
    flying = Situation(held={"x": ("z",)}, in_flight=frozenset({"a"}))
    assert tie(node("z", "x"), node("a", "x"), situation=flying) == "z"
    assert tie(node("z", "x"), node("a", "x"), situation=Situation(in_flight=frozenset({"z"}))) == "z"


def test_a_tie_counts_shared_nodes_with_multiplicity() -> None:
    """A shared node counts once per use: a tree of s, p, s, q is one of four nodes, not of three."""
    diamond = [node("s"), node("p", "p", "s"), node("q", "q", "s"), node("a", "x", "p q", units=1)]
    chain = [node("k1"), node("k2", "k2", "k1"), node("k3", "k3", "k2"), node("z", "x", "k3", units=2)]
    graph = graph_of(*diamond, *chain, node("end", "out", "x"))
    table = have(graph, view_of(graph), START)
    assert (table["a"].cost, table["a"].nodes) == (4_000_000, 4)
    assert (table["z"].cost, table["z"].nodes) == (3_000_000, 3)
    assert table["end"].choices == ("z",)


# ------------------------------------------------------------------------------------------------ the oracle and itself


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({("done", 0): "end", ("end", 0): "one", ("one", 0): INPUT}, None),
        ({("done", 0): "end", ("end", 0): "one"}, "one has no source of ask"),
        ({("done", 0): "end", ("end", 0): "two"}, "end may not take x from two"),
        ({("done", 0): "end", ("end", 0): None}, "end may not take x from None"),
        ({("done", 0): "gone"}, "gone cannot be started"),
        ({("done", 0): "end", ("end", 0): "r1", ("r1", 0): "r2", ("r2", 0): "r1"}, "r1 waits for itself"),
        ({("done", 0): "end", ("end", 0): "one", ("one", 0): INPUT, ("x", 0): "r1"}, "x is not of the route"),
    ],
)
def test_an_illegal_route_is_told_what_is_wrong(choices: dict[Want, str | None], complaint: str | None) -> None:
    """Every rule that a route of somebody else's may break is named."""
    graph = graph_of(
        node("one", "x", "ask"),
        node("two", "x"),
        node("end", "out", "x"),
        node("gone", "out"),
        node("r0", "r"),
        node("r1", "x r", "r2"),
        node("r2", "r2", "r"),
        edges=(Edge("two", "end", forbid=True),),
    )
    situation = Situation.at_start(graph, excluded=["gone"])
    found = objections(graph, DONE, view_of(graph), situation, route_of(graph, DONE, situation, choices))
    assert complaint in found if complaint else found == ()


def test_a_once_conflict_is_an_objection() -> None:
    """Two providers of one value are named when one of them is a `once` node."""
    graph = effects("one")
    inputs = {"both": {"a": "a", "b": "b"}, "a": {"x": "one"}, "b": {"x": "two"}}
    choices = choices_by_parameter(graph, graph.goals[0], inputs)
    found = objections(graph, graph.goals[0], view_of(graph), START, route_of(graph, graph.goals[0], START, choices))
    assert found == ("one and two may not stand together",)


def by_subsets(case: Case) -> Iterator[Route]:
    """Yield the legal routes in another way: every set of nodes, every product of sources, and only then the rules."""
    graph, goal, usable = case.graph, case.goal, sorted(usable_now(case.graph, case.situation, case.view))
    for size in range(len(usable) + 1):
        for members in combinations(usable, size):
            consumers: list[Node | Goal] = [goal, *(graph.by_name[name] for name in members)]
            wants = [((each.name, i), need) for each in consumers for i, need in enumerate(each.needs)]
            options = [
                sources(graph, case.situation, frozenset(members), consumer, need) for (consumer, _), need in wants
            ]
            for chosen in product(*options):
                choices = dict(zip((want for want, _ in wants), chosen, strict=True))
                route = route_of(graph, goal, case.situation, choices)
                if route.nodes == set(members) and not objections(graph, goal, case.view, case.situation, route):
                    yield route


@given(case=cases(max_nodes=6, max_routes=200, allow_limits=False))
@settings(max_examples=100)
def test_two_enumerations_find_the_same_routes(case: Case) -> None:
    """Walking down from the goal and trying all sets of nodes give the same routes, each of them once."""
    walked = [frozenset(r.choices.items()) for r in enumerate_routes(case.graph, case.goal, case.view, case.situation)]
    assert len(walked) == len(set(walked))
    assert set(walked) == {frozenset(route.choices.items()) for route in by_subsets(case)}


@given(case=cases())
@settings(max_examples=150)
def test_the_tree_sum_is_never_below_the_tree_s_union(case: Case) -> None:
    """Counting shared results once can only make a tree's route cheaper, undos of ordinary nodes apart."""
    table = have(case.graph, case.view, case.situation)
    route = tree_route(case.graph, case.goal, case.view, case.situation)
    unconstrained = cheapest(case.graph, case.goal, case.view, case.situation)
    if route is None:
        assert unconstrained is None
        return
    ordinary = [n.name for n in case.graph.nodes if n.undo and n.name not in case.situation.finished_effects]
    if not case.situation.finished & set(ordinary):
        assert union_weight(case.graph, case.view, case.situation, route) <= table[case.goal.name].cost
    if not objections(case.graph, case.goal, case.view, case.situation, route):
        assert unconstrained is not None
        assert unconstrained[0] <= union_weight(case.graph, case.view, case.situation, route)


@given(data=st.data(), graph=single_need_graphs())
@settings(max_examples=100)
def test_single_needs_are_shortest_paths(data: st.DataObject, graph: Graph) -> None:
    """On a graph of single needs tree sum and shortest path of networkx agree, and so does the cheapest union."""
    excluded = data.draw(st.sets(st.sampled_from([member.name for member in graph.nodes]), max_size=2))
    situation = Situation.at_start(graph, excluded=excluded)
    view = view_of(graph)
    goal = graph.goals[0]
    drawn: nx.DiGraph[str] = nx.DiGraph()
    drawn.add_nodes_from([INPUT, goal.name])
    consumers: list[Node | Goal] = [member for member in graph.nodes if member.name not in excluded]
    for consumer in [*consumers, goal]:
        if not consumer.needs or consumer.needs[0].value in situation.held:
            drawn.add_edge(INPUT, consumer.name, weight=0)
    for provider, consumer_name, _ in graph.implied_edges():
        if not {provider, consumer_name} & excluded:
            written = graph.written_edges.get((provider, consumer_name))
            weight = dict(view.weights)[provider] + (micro(written.cost) if written else 0)
            drawn.add_edge(provider, consumer_name, weight=weight)
    try:
        expected = nx.dijkstra_path_length(drawn, INPUT, goal.name)
    except nx.NetworkXNoPath:
        expected = None
    tree = have(graph, view, situation).get(goal.name)
    assert (tree and tree.cost) == expected
    found = cheapest(graph, goal, view, situation)
    assert (found and found[0]) == expected


@given(data=st.data(), graph=graphs(allow_once=False))
@settings(max_examples=100)
def test_recovery_is_feasibility_without_the_dead(data: st.DataObject, graph: Graph) -> None:
    """Without `once` nodes, what can be derived and what a complete enumeration finds is the same goal."""
    dead = data.draw(st.sets(st.sampled_from([member.name for member in graph.nodes])))
    situation = Situation.at_start(graph, excluded=dead)
    expected = best_goal(graph, graph.goals, view_of(graph), situation)
    assert recoverable(graph, graph.goals, dead, graph.run_inputs) == expected
