"""What the strategies draw: consistent, and rich enough that a property over it means something."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.graph import Effect, Graph, Node
from tests.oracle import (
    abandoned,
    best_goal,
    cheapest,
    enumerate_routes,
    objections,
    recoverable,
    sources,
    tree_route,
    union_weight,
)
from tests.strategies import Case, cases, fate, fault_scripts, graphs, situations


def count(counts: Counter[str], case: Case) -> None:
    """Count what one drawn case has."""
    graph, goal, view, situation = case.graph, case.goal, case.view, case.situation
    legal = list(enumerate_routes(graph, goal, view, situation))
    tolerant = replace(graph, nodes=tuple(replace(n, effect=None) for n in graph.nodes))
    unforbidden = replace(graph, edges=tuple(edge for edge in graph.edges if not edge.forbid))
    weight = cheapest(graph, goal, view, situation)
    freed = cheapest(unforbidden, goal, view, situation)
    tree = tree_route(graph, goal, view, situation)
    lower = best_goal(graph, graph.goals, view, situation)
    counts["cases"] += 1
    counts["two routes"] += len(legal) > 1
    counts["ten routes"] += len(legal) > 9
    counts["join"] += any(len(graph.by_name[name].needs) > 1 for route in legal for name in route.nodes)
    counts["done without"] += any(None in route.choices.values() for route in legal)
    counts["lower goal only"] += not legal and lower is not None
    counts["no goal"] += lower is None
    counts["forbid matters"] += (weight and weight[0]) != (freed and freed[0])
    if weight and tree and not objections(graph, goal, view, situation, tree):
        counts["tree not cheapest"] += union_weight(graph, view, situation, tree) > weight[0]
    erased = replace(situation, finished_effects=frozenset(), unresolved=frozenset())
    counts["once conflict"] += len(list(enumerate_routes(tolerant, goal, view, erased))) > len(legal)
    counts["tie"] += sum(union_weight(graph, view, situation, r) == weight[0] for r in legal if weight) > 1
    limited = cheapest(graph, goal, view, situation, case.limits)
    counts["limit makes dearer"] += bool(weight and limited and weight[0] < limited[0])
    counts["limit breaks all"] += bool(weight and not limited)
    counts["held"] += any(route.sources & situation.finished for route in legal)
    counts["in flight"] += any(route.sources & situation.in_flight for route in legal)
    counts["undo"] += any(abandoned(graph, situation, route) for route in legal)
    counts["unicode"] += not all(n.name.isascii() for n in graph.nodes)


def drawn(strategy: st.SearchStrategy[Case], examples: int = 300) -> Counter[str]:
    """Return what *examples* drawn cases have, the same ones each time."""
    counts: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def look(case: Case) -> None:
        count(counts, case)

    look()
    return counts


def test_drawn_cases_are_worth_judging_by() -> None:
    """Fresh runs on drawn graphs have enough of everything that planning can get wrong."""
    counts = drawn(cases(allow_progress=False))
    at_least = {
        "two routes": 40,
        "ten routes": 8,
        "join": 18,
        "done without": 15,
        "tree not cheapest": 4,
        "forbid matters": 2,
        "lower goal only": 3,
        "once conflict": 4,
        "tie": 5,
        "limit makes dearer": 1,
        "limit breaks all": 2,
        "unicode": 10,
    }
    missed = {what: counts[what] for what, share in at_least.items() if counts[what] * 100 < share * counts["cases"]}
    assert not missed, dict(counts)


def test_drawn_moments_of_a_run_are_worth_judging_by() -> None:
    """Runs half way through have held results, nodes in flight, effects to undo and goals out of reach."""
    counts = drawn(cases())
    at_least = {"two routes": 30, "held": 15, "in flight": 6, "undo": 1, "lower goal only": 3, "once conflict": 5}
    missed = {what: counts[what] for what, share in at_least.items() if counts[what] * 100 < share * counts["cases"]}
    assert not missed, dict(counts)


@given(data=st.data(), graph=graphs())
@settings(max_examples=100)
def test_a_drawn_moment_could_have_come_about(data: st.DataObject, graph: Graph) -> None:
    """Every finished node had a permitted source for all it needs, and no two rival effects have happened."""
    situation = data.draw(situations(graph))
    for name in sorted(situation.finished | situation.in_flight | situation.unresolved):
        for need in graph.by_name[name].needs:
            assert sources(graph, situation, situation.finished, name, need)
    done = [graph.by_name[name] for name in sorted(situation.finished_effects | situation.unresolved)]
    assert all(one.effect == "once" for one in done)
    assert not any(set(one.provides) & set(other.provides) for one, other in combinations(done, 2))
    assert not situation.excluded & (situation.finished | situation.in_flight)


@pytest.mark.parametrize(
    ("script", "effect", "expected"),
    [
        ("ok", "read", "works"),
        ("down", "read", "dead"),
        (["raise", "ok"], "read", "works"),
        (["raise", "ok"], None, "dead"),
        (["raise", "raise", "ok"], "read", "open"),
        (["raise", "raise", "raise", "ok"], "read", "dead"),
        ([{"raise": "permanent"}, "ok"], "read", "dead"),
        (["wrong", "ok"], "idempotent", "open"),
        ("wrong", "idempotent", "dead"),
        ("hang", "read", "dead"),
        ("hang", "once", "open"),
        ("unknown", "once", "open"),
        ("down", "once", "dead"),
        ({"hang": "5s"}, "read", "works"),
        ({"hang": "31s"}, "read", "dead"),
        ({"hang": "31s"}, "once", "open"),
        ({"slow": "3x"}, "read", "works"),
        ({"slow": "100x"}, "read", "dead"),
        ([{"rate_limited": {"retry_after": "1s"}}, "ok"], "read", "works"),
    ],
)
def test_the_fate_of_a_scripted_node(script: object, effect: Effect | None, expected: str) -> None:
    """Two attempts and a last chance for what may be repeated, one attempt for the rest; permanent ends it."""
    subject = Node("one", effect=effect, seconds=1.0, output=True)
    assert fate(subject, {"nodes": {"one": script}}) == expected
    assert fate(subject, {"nodes": {}}) == "works"


def test_chance_decides_an_unlisted_node_of_low_success() -> None:
    """A node that declares a success below 1 and is not scripted may or may not work."""
    assert fate(Node("one", success=0.5), {"nodes": {}}) == "open"


@given(data=st.data(), graph=graphs(allow_once=False))
@settings(max_examples=100)
def test_drawn_faults_fit_their_graph(data: st.DataObject, graph: Graph) -> None:
    """A script names nodes of the graph, leaves nothing to chance, and breaks contracts only where there are any."""
    faults = data.draw(fault_scripts(graph))
    assert set(faults["nodes"]) <= set(graph.by_name)
    for member in graph.nodes:
        assert member.success == 1 or member.name in faults["nodes"]
        assert member.output or "wrong" not in str(faults["nodes"].get(member.name))
    dead = {member.name for member in graph.nodes if fate(member, faults) == "dead"}
    unsure = dead | {member.name for member in graph.nodes if fate(member, faults) == "open"}
    hoped = recoverable(graph, graph.goals, dead, graph.run_inputs)
    certain = recoverable(graph, graph.goals, unsure, graph.run_inputs)
    assert hoped is not None or certain is None
    assert hoped is None or certain is None or hoped <= certain
