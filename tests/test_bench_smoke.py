"""The benchmarks measure what they say they do: their parts that need no peer, on tiny sizes. No time is asserted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from orchestrator.events import AttemptStarted
from orchestrator.graph import Graph
from orchestrator.planner import plan
from orchestrator.weight import View
from tests.bench import attempts, laps, planning, quality, report, rerouting, shapes, simulating

SHAPES = [shapes.layered, shapes.staged]


def test_candidates_have_their_turns_one_after_the_other() -> None:
    """A, B, A, B: one round to warm up and then as many as were asked for, each with a lap of its own."""
    measured = laps.Laps({"a": "a", "b": "b"}, rounds=3)
    assert list(measured.turns()) == ["a", "b"] * 4
    assert {name: len(seconds) for name, seconds in measured.seconds.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that slows down between two rounds does not change a ratio."""
    measured = laps.Laps({"a": None, "b": None}, rounds=2)
    measured.seconds = {"a": [1.0, 10.0], "b": [2.0, 20.0]}
    assert measured.ratio("b", "a") == laps.Spread(2.0, 2.0, 2.0)
    assert measured.time("a", 1e3) == laps.Spread(5500.0, 1000.0, 10000.0)


@pytest.mark.parametrize("draw", SHAPES)
def test_single_need_graphs_are_what_they_are_said_to_be(draw: Callable[[int, int], Graph]) -> None:
    """As many nodes as asked for, one need each, four edges per node on average, and the same again for a seed."""
    graph = draw(200, 1)
    assert len(graph.nodes) == 200
    assert {len(node.needs) for node in graph.nodes} == {1}
    assert len(list(graph.implied_edges())) / 200 == pytest.approx(4, abs=0.1)
    assert draw(200, 1) == graph
    assert draw(200, 2) != graph


@pytest.mark.parametrize("draw", SHAPES)
def test_networkx_is_given_the_same_problem(draw: Callable[[int, int], Graph]) -> None:
    """Planner, search and networkx agree on the weight, and the search expands no node twice."""
    problem = planning.Planning.of(draw(60, 1))
    assert problem.check() > 0
    assert problem.ours()["shortest_path"]().expansions <= 60


def test_networkx_that_weighs_differently_is_noticed() -> None:
    """A problem that is not the same stops the measurement."""
    problem = planning.Planning.of(shapes.staged(20, 1))
    for _, _, edge in problem.digraph.edges(data=True):
        edge["weight"] += 1
    with pytest.raises(AssertionError, match="not the same weight"):
        problem.check()


def test_joined_graphs_have_alternatives_joins_and_shared_results() -> None:
    """On the drawn graphs values have several providers, nodes several needs, and the tree is not always the best."""
    graphs = [shapes.joined(20, seed) for seed in range(8)]
    assert {len(graph.nodes) for graph in graphs} == {20}
    assert any(len(names) > 1 for graph in graphs for names in graph.providers.values())
    assert any(len(node.needs) > 1 for graph in graphs for node in graph.nodes)
    assert all(len(graph.run_inputs) == 1 for graph in graphs)


def test_routes_are_judged_by_the_oracle() -> None:
    """No stage of planning is better than exact or worse than the one before; some tree is worse than the rest."""
    judged = [quality.judge(shapes.joined(9, seed), quality.exhaustive, patient=20_000) for seed in range(25)]
    for one in judged:
        assert one.bound <= one.exact <= one.default <= one.tree
        assert one.exact <= one.local <= one.tree
        assert one.proved_patiently
    assert any(one.tree > one.exact for one in judged)
    assert max(one.excess(one.tree) for one in judged) > 0


def test_a_wrong_optimum_is_noticed() -> None:
    """A bound above the optimum, or a proved route that is not the best, stops the measurement."""

    def slipped(graph: Graph, view: View, *, by: int) -> int:
        return quality.exhaustive(graph, view) + by

    for by in (-1, 1):
        with pytest.raises(AssertionError, match="bound"):
            quality.judge(shapes.joined(9, 1), partial(slipped, by=by), patient=20_000)


def test_a_reroute_goes_round_a_node_from_what_is_held() -> None:
    """A reroute avoids the excluded node, starts nothing that is done, and its parts can be timed and left alone."""
    untimed = (plan.legal_tree, plan.local_search, plan.Frontier.run)  # type: ignore[attr-defined]  # used there only
    with rerouting.timed_parts() as spent:
        for moment in rerouting.reroutes(20, 5):
            route = moment.plan()
            assert route.feasible
            assert not set(route.nodes) & {*moment.situation.excluded, *moment.situation.finished}
            assert moment.situation.finished
            assert moment.situation.excluded
    assert tuple(spent) == rerouting.PARTS
    assert (plan.legal_tree, plan.local_search, plan.Frontier.run) == untimed  # type: ignore[attr-defined]


@pytest.mark.anyio
@pytest.mark.parametrize("sync", [False, True])
async def test_a_chain_makes_one_attempt_per_tool(sync: bool) -> None:
    """The local driver runs the chain to its end, and the run machine alone decides the same attempts."""
    chain = attempts.Chain.of(3, sync=sync)
    result = await chain.run()
    assert (result.outcome, dict(result.values)) == ("met", {"value-02": "why"})
    decided = [record.event.node for record in chain.decide() if isinstance(record.event, AttemptStarted)]
    assert decided == [attempt.node for attempt in result.attempts] == ["node-00", "node-01", "node-02"]


def test_simulated_runs_take_every_way_on() -> None:
    """Every run is counted once, and the faults lead to more than one outcome."""
    counted = simulating.outcomes(60)
    assert sum(counted.values()) == 60
    assert len(counted) > 1


def test_a_bar_that_is_not_met_is_said_to_be_so() -> None:
    """The page gives every bar its verdict, as it was measured."""
    bars = [report.Bar("twice as fast", "3.0x", met=True), report.Bar("no slower", "1.2x", met=False)]
    page = report.page([report.Section("Speed", "How fast.", [report.Table(("n",), [("1",)])], bars)], 2.0)
    assert "| Speed | twice as fast | 3.0x | met |" in page
    assert "| Speed | no slower | 1.2x | **not met** |" in page
    assert "## Speed\n\nHow fast.\n\n| n |\n| --- |\n| 1 |\n" in page


def test_a_foreseen_reroute_is_the_same_reroute() -> None:
    """What was planned ahead is measured against planning the very same thing."""
    for moment in rerouting.reroutes(20, 5):
        assert moment.foreseen().plan() == moment.plan()
