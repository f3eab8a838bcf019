"""The nineteen published scenarios, and every failure set of their graphs."""

from __future__ import annotations

from functools import cache

import pytest

from orchestrator.events import Escalated, RoutePlanned
from orchestrator.result import RunResult
from tests.published import (
    CUSTOMER_SUPPORT,
    GRAPHS,
    SCENARIOS,
    TRAVEL,
    PublishedGraph,
    Scenario,
    failure_sets,
    run,
    walked,
)
from tests.running import graph, node, of, simulated, started

by_id = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
by_graph = pytest.mark.parametrize("published", GRAPHS.values(), ids=GRAPHS.keys())


# -------------------------------------------------------------------------------------------------------- the scenarios


@by_id
def test_a_published_scenario_takes_the_published_path(scenario: Scenario) -> None:
    """The tools that are executed are the published ones, in their order, whether the end is reached or not."""
    result = run(scenario.graph.graph(), scenario.down)
    assert walked(result) == scenario.executed
    assert (result.outcome, result.escalations) == (("met", 0) if scenario.reached else ("failed", 1))
    assert (result.reroutes, result.model_calls) == (scenario.reroutes, 0)


@by_id
def test_every_failure_of_a_scenario_is_answered_once(scenario: Scenario) -> None:
    """A dead end is one escalation, and not a reroute beside it: as many answers as failed attempts."""
    result = run(scenario.graph.graph(), scenario.down)
    answers = [attempt.answer for attempt in result.attempts if attempt.outcome == "failed"]
    assert len(set(answers)) == len(answers) == result.reroutes + result.escalations
    assert [attempt.answer for attempt in result.attempts if attempt.outcome != "failed"] == [None] * len(result.route)


@by_id
def test_no_dead_tool_is_called_twice(scenario: Scenario) -> None:
    """Each tool is called at most once, and of the dead ones only those that lay on the way."""
    result = run(scenario.graph.graph(), scenario.down)
    calls = started(result)
    assert len(set(calls)) == len(calls)
    assert set(calls) - set(result.route) <= set(scenario.down)


@by_id
def test_what_is_known_before_the_start_costs_no_call(scenario: Scenario) -> None:
    """Tools that are known to be down are planned round at once: no failed attempt and no reroute, however many."""
    result = run(scenario.graph.graph(), scenario.down, known=True)
    assert result.outcome == ("met" if scenario.reached else "failed")
    assert (result.reroutes, [a for a in result.attempts if a.outcome != "succeeded"]) == (0, [])
    assert not set(started(result)) & set(scenario.down)


def test_the_totals_are_those_of_real_discovery() -> None:
    """Seventeen reroutes and seven dead ends over the nineteen scenarios, and no model was asked in any."""
    results = [run(scenario.graph.graph(), scenario.down) for scenario in SCENARIOS]
    assert len(results) == 19
    assert sum(result.reroutes for result in results) == 17
    assert sum(result.escalations for result in results) == 7
    assert sum(result.model_calls for result in results) == 0
    assert [result.outcome for result in results].count("met") == 12


@pytest.mark.parametrize(("name", "size", "cost"), [("CS", (7, 9), 0.8), ("TB", (9, 13), 1.2), ("CM", (8, 10), 0.7)])
def test_the_graphs_are_the_published_ones(name: str, size: tuple[int, int], cost: float) -> None:
    """Nodes, edges and the weight of the happy path agree; each node on the path adds the least cost of a node."""
    built = GRAPHS[name].graph()
    assert (len(built.nodes), len(built.edges)) == size
    [planned] = of(run(built), RoutePlanned)
    assert planned.weight == round(cost * 1_000_000) + 1_000 * planned.calls


# ---------------------------------------------------------------------------------------------------- every failure set


@cache
def results(published: PublishedGraph, known: bool) -> dict[tuple[str, ...], RunResult]:
    """Run a graph under every failure set."""
    built = published.graph()
    return {down: run(built, down, known=known) for down in failure_sets(published)}


@pytest.mark.parametrize(("name", "reached", "sets"), [("CS", 9, 32), ("TB", 27, 128), ("CM", 21, 64)])
@pytest.mark.parametrize("known", [False, True], ids=["found out", "known before"])
def test_as_many_failure_sets_are_survived_as_can_be(name: str, reached: int, sets: int, known: bool) -> None:
    """9 of 32, 27 of 128 and 21 of 64 failure sets leave the end within reach, and the run reaches it in just those."""
    found = results(GRAPHS[name], known)
    assert len(found) == sets
    assert [result.outcome for result in found.values()].count("met") == reached


@by_graph
@pytest.mark.parametrize("known", [False, True], ids=["found out", "known before"])
def test_a_run_escalates_exactly_when_the_end_is_out_of_reach(published: PublishedGraph, known: bool) -> None:
    """For every failure set a plain walk over the edges and the run agree; no escalation where a path exists."""
    for down, result in results(published, known).items():
        assert (result.outcome == "met") == published.reachable(down), down
        assert result.escalations == (0 if published.reachable(down) else 1), down


@by_graph
def test_a_met_run_has_gone_through_every_stage(published: PublishedGraph) -> None:
    """No step is dropped silently: the standing route has exactly one working tool of each stage, in order."""
    for down, result in results(published, False).items():
        if result.outcome == "met":
            path = walked(result)
            assert len(path) == len(published.stages)
            assert all(tool in stage for tool, stage in zip(path, published.stages, strict=True))
            assert not set(path) & set(down)


@by_graph
def test_no_failure_set_makes_a_finished_tool_run_again(published: PublishedGraph) -> None:
    """Over all failure sets, every tool is called at most once in a run."""
    for result in results(published, False).values():
        assert len(set(started(result))) == len(result.attempts)


@by_graph
def test_with_a_lower_goal_every_failure_set_ends_in_a_reached_goal(published: PublishedGraph) -> None:
    """With the first stage's value as a lower goal, runs demote to it exactly where the end is out of reach."""
    built = published.graph()
    lower = graph(*built.nodes, goals="complete: {}; begun: stage-0".format(*built.goals[0].values), edges=built.edges)
    for down in failure_sets(published):
        result = run(lower, down)
        assert result.outcome == ("met" if published.reachable(down) else "demoted"), down
        assert [event.decision for event in of(result, Escalated)] == ["demote"] * result.demotions


# -------------------------------------------------------------------------------------------------------------- the tie


@pytest.mark.parametrize("backwards", [False, True], ids=["as published", "backwards"])
def test_the_published_tie_is_decided_by_name_and_not_by_the_order_of_the_file(backwards: bool) -> None:
    """With only Car down, the ways by Hotel and by Hostel cost the same: the provider's name decides."""
    tied = TRAVEL.graph(backwards=backwards)
    result = run(tied, ["Car"], known=True)
    assert walked(result) == ("Flight", "Hostel", "Bus", "Payment", "Confirm")
    weights = {of(run(tied, ["Car", other], known=True), RoutePlanned)[0].weight for other in ("Hotel", "Hostel")}
    assert len(weights) == 1


@by_graph
def test_the_order_of_a_file_changes_no_published_run(published: PublishedGraph) -> None:
    """Listed backwards, every graph gives the same route for every failure set that is known."""
    reversed_graph = published.graph(backwards=True)
    for down, result in results(published, True).items():
        assert walked(run(reversed_graph, down, known=True)) == walked(result), down


# -------------------------------------------------------------------------------------------- the paper's own scenarios

PAPER = graph(
    node("CRM"),
    node("Stripe", "CRM", "refund"),
    node("Razorpay", "CRM", "refund", units=2.0),
    node("Email", "refund", "told"),
    node("SMS", "refund", "told", units=2.0),
    node("GOAL", "told"),
    goals="done: GOAL",
)
"""The paper's worked example: 1 for a primary tool, 2 for a backup, on the edge that enters it."""


def test_the_papers_worked_example_weighs_what_it_says() -> None:
    """4 on the happy path, 6 with Stripe and Email down."""
    assert of(run(PAPER), RoutePlanned)[0].weight == 4_000_000
    both = run(PAPER, ["Stripe", "Email"], known=True)
    assert of(both, RoutePlanned)[0].weight == 6_000_000
    assert both.route == ("CRM", "Razorpay", "SMS", "GOAL")


@pytest.mark.parametrize(
    ("down", "calls", "reroutes"),
    [("", 3, 0), ("Stripe: {raise: permanent}", 4, 1), ("Email: {raise: permanent}", 4, 1)],
)
def test_the_papers_scenarios_take_as_many_tool_calls(down: str, calls: int, reroutes: int) -> None:
    """S1, S2 and S5: three calls when all is well, one more for each tool found down, and no model call."""
    result = simulated(PAPER, down)
    assert (result.outcome, result.reroutes, result.model_calls) == ("met", reroutes, 0)
    assert len([attempt for attempt in result.attempts if attempt.node != "GOAL"]) == calls


def test_a_dead_end_in_the_middle_keeps_what_is_done() -> None:
    """Email and SMS both down after the refund: the refund stands in the result and is made once."""
    result = run(CUSTOMER_SUPPORT.graph(), ["Email", "SMS"])
    assert walked(result) == ("CRM", "Stripe")
    assert started(result) == ["Start", "CRM", "Stripe", "Email", "SMS"]
