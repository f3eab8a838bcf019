"""What a run decides when the way it planned is not the way it goes: guards, optional needs, checks, demotions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.events import AttemptEnded, Escalated, NodeExcluded, Rerouted, RoutePlanned, RunFinished
from orchestrator.graph import Edge, Goal, Graph
from orchestrator.run import Call, Start
from tests.running import ByHand, attempts, graph, node, of, simulated, started

# ---------------------------------------------------------------------------------------------------- guards, optionals


def guarded() -> Graph:
    """Return a graph whose cheap provider has a guard."""
    return graph(node("a"), node("b", "a", "v", guard=True), node("c", "a", "v", units=3.0), goals="g: v")


def test_a_guard_that_passes_lets_the_node_start() -> None:
    """The guard is called with the node's inputs before the node, and once."""
    run = ByHand(guarded())
    run.succeed("a")
    assert (run.calls, run.in_flight) == ([("guard", "b")], [])
    [asked] = run.issued(Call)
    assert asked.inputs == (("a", "a", "a"),)
    run.answer("guard", "b", True)
    run.succeed("b")
    assert (run.outcome, len(run.issued(Call))) == ("met", 1)


def test_a_guard_that_says_no_is_a_reroute_and_no_failure() -> None:
    """A node that does not apply is gone round with the trigger `inapplicable`; there is no attempt to answer."""
    run = ByHand(guarded())
    run.succeed("a")
    run.answer("guard", "b", False)
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, reroute.node, reroute.answers) == ("inapplicable", "b", ())
    run.succeed("c")
    assert (run.outcome, started(run)) == ("met", ["a", "c"])
    assert [event.transient for event in of(run, NodeExcluded)] == [False]


def test_a_tool_that_says_it_does_not_apply_is_no_failure() -> None:
    """The outcome `inapplicable` reroutes like a guard does, and has no answer among the failures."""
    run = ByHand(graph(node("b", "", "v"), node("c", "", "v", units=3.0), goals="g: v"))
    run.end("b", "inapplicable")
    run.succeed("c")
    result = run.result()
    assert (run.outcome, result.reroutes) == ("met", 1)
    assert [(a.outcome, a.answer) for a in attempts(result, "b")] == [("inapplicable", None)]


def test_what_does_not_apply_has_no_last_chance() -> None:
    """An inapplicable node stays so for the run; the goal that needs it is given up."""
    run = ByHand(graph(node("a", guard=True), node("spare"), goals="g: a; less: spare"))
    run.answer("guard", "a", False)
    run.succeed("spare")
    assert (run.outcome, run.result().last_chances, started(run)) == ("demoted", 0, ["spare"])


def scored() -> Graph:
    """Return a graph in which a score may be done without, at a price of 5."""
    return graph(node("score"), node("rich", "", "score", units=4.0), node("decide", "score?5"), goals="g: decide")


def test_an_optional_need_is_served_while_that_costs_less_than_doing_without() -> None:
    """A provider that failed is replaced by another one below the price; above it the need is done without."""
    result = simulated(scored(), "score: {raise: permanent}")
    assert result.route == ("rich", "decide")
    dear = replace(scored(), nodes=tuple(replace(n, units=6.0) if n.name == "rich" else n for n in scored().nodes))
    result = simulated(dear, "score: {raise: permanent}")
    assert (result.outcome, result.route, result.reroutes) == ("met", ("decide",), 1)
    assert of(result, Rerouted)[0].weight_after == 6_000_000


def test_a_need_that_is_done_without_is_given_null() -> None:
    """The consumer is called with no provider for that parameter, and the value is not held for anybody else."""
    run = ByHand(graph(node("score"), node("decide", "score?5"), goals="g: decide"))
    run.fail("score")
    assert [command.inputs for command in run.issued(Start) if command.node == "decide"] == [
        (("score", "score", None),)
    ]
    run.succeed("decide")
    assert run.outcome == "met"
    assert "score" not in run.machine.state.held


def test_two_of_three_are_had_by_prices_alone() -> None:
    """A vote of three optional voices goes on with those that are left, and pays the price of the missing one."""
    vote = graph(*(node(f"v{i}") for i in (1, 2, 3)), node("vote", "v1?10 v2?10 v3?10"), goals="g: vote")
    result = simulated(vote, "v2: {raise: permanent}")
    assert (result.outcome, set(result.route)) == ("met", {"v1", "v3", "vote"})


# --------------------------------------------------------------------------------------------------------------- checks


def checked(*more: Goal) -> Graph:
    """Return a graph of four providers of one value that a check looks at."""
    nodes = (node(f"n{i}", "", "v", units=float(i)) for i in (1, 2, 3, 4))
    return graph(*nodes, node("spare"), goals=[Goal("g", ("v",), check=True), *more])


def test_a_goal_is_met_only_when_its_check_passes() -> None:
    """Holding every value is not enough: the check is called with the values, and its yes ends the run."""
    run = ByHand(checked())
    run.succeed("n1")
    assert (run.outcome, run.calls) == (None, [("check", "g")])
    assert run.issued(Call)[0].inputs == (("v", "v", "n1"),)
    run.answer("check", "g", True)
    assert (run.outcome, run.result().values) == ("met", {"v": None})


def test_a_check_that_fails_withdraws_the_value_and_another_provider_is_tried() -> None:
    """The provider is excluded, the run reroutes with the trigger `check`, and the next value is checked anew."""
    run = ByHand(checked())
    run.succeed("n1")
    run.answer("check", "g", False, "not a refund")
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, reroute.cause, reroute.after) == ("check", "not a refund", ("n2",))
    run.succeed("n2")
    run.answer("check", "g", True)
    assert (run.outcome, run.result().route) == ("met", ("n2",))


def test_a_goal_whose_check_fails_is_planned_again_at_most_twice() -> None:
    """The third failed check gives the goal up, although a fourth provider is there."""
    run = ByHand(checked(Goal("less", ("spare",))))
    for name in ("n1", "n2", "n3"):
        run.succeed(name)
        run.answer("check", "g", False, "no")
    assert started(run) == ["n1", "n2", "n3", "spare"]
    [escalated] = of(run, Escalated)
    assert (escalated.decision, escalated.reason, escalated.goal_after) == ("demote", "check", "less")


def test_a_value_withdrawn_from_one_goal_is_held_again_for_a_lower_one() -> None:
    """What failed the asked goal's check serves a lower goal, and nothing is run for it again."""
    two = graph(node("a"), goals=[Goal("strict", ("a",), check=True), Goal("lax", ("a",))])
    run = ByHand(two)
    run.succeed("a")
    run.answer("check", "strict", False, "too short")
    result = run.result()
    assert (run.outcome, result.goal, result.route, started(run)) == ("demoted", "lax", ("a",), ["a"])


def test_a_withdrawn_value_still_serves_other_nodes() -> None:
    """The check takes the value from the goal only: a node that needs it may still use it."""
    repaired = graph(
        node("draft", provides="text"), node("polish", "text", "better"), node("print", "better", "text", units=9.0),
        goals=[Goal("g", ("text",), check=True)],
    )  # fmt: skip
    run = ByHand(repaired)
    run.succeed("draft")
    run.answer("check", "g", False, "rough")
    run.succeed("polish", "print")
    run.answer("check", "g", True)
    assert (run.outcome, run.result().route, run.result().values) == (
        "met",
        ("draft", "polish", "print"),
        {"text": None},
    )


def test_a_check_that_fails_with_nobody_else_to_ask_fails_the_run() -> None:
    """Something came back, and it was not good enough: that is failed, not met."""
    run = ByHand(graph(node("a"), goals=[Goal("g", ("a",), check=True)]))
    run.succeed("a")
    run.answer("check", "g", False, "empty")
    assert (run.outcome, run.result().goal, run.result().values) == ("failed", None, {})


# ----------------------------------------------------------------------------------------------------------- escalation


def ladder() -> Graph:
    """Return a graph with three goals, best first."""
    nodes = (node("a"), node("b"), node("c"))
    return graph(*nodes, goals="all: a b c; two: a b; one: a")


def test_a_run_is_demoted_down_the_list_one_goal_at_a_time() -> None:
    """The next goal that can be reached is taken; each step is one escalation, and what is done is kept."""
    result = simulated(ladder(), "c: {raise: permanent}")
    assert (result.outcome, result.goal, result.demotions, result.escalations) == ("demoted", "two", 1, 1)
    result = simulated(ladder(), "b: {raise: permanent}, c: {raise: permanent}")
    assert (result.outcome, result.goal) == ("demoted", "one")
    assert sorted(started(result)) == ["a", "b", "c"]
    assert of(result, RoutePlanned)[0].trigger == "start"


def test_a_demotion_skips_a_goal_that_cannot_be_reached_either() -> None:
    """One escalation leads past every goal that is out of reach."""
    result = simulated(ladder(), down={"b": "down: it is broken"})
    assert (result.outcome, result.goal, result.demotions, result.escalations) == ("demoted", "one", 1, 1)
    assert "b" not in started(result)
    assert of(result, Escalated)[0].blocked == (("b", "down: it is broken"),)


def test_a_run_never_climbs_above_the_asked_goal() -> None:
    """Goals that are listed before the asked one are none of its business: reaching it is met, not demoted."""
    result = simulated(ladder(), goal="two")
    assert (result.outcome, result.goal, started(result)) == ("met", "two", ["a", "b"])


def test_when_no_goal_can_be_reached_the_run_gives_up_and_says_what_stood_in_the_way() -> None:
    """Giving up is one escalation, with the excluded nodes and their reasons; no goal and no value is reported."""
    result = simulated(ladder(), "a: {raise: permanent}")
    assert (result.outcome, result.goal, result.values, result.reason) == ("failed", None, {}, "unreachable")
    [escalated] = of(result, Escalated)
    assert (escalated.decision, escalated.goal_after, escalated.answers) == ("give_up", None, (("a", 1),))
    assert escalated.blocked == (("a", "excluded: raised"),)


def test_a_policy_may_forbid_demotion() -> None:
    """With `demote: false` a run fails rather than reach less than was asked."""
    result = simulated(ladder(), "c: {raise: permanent}", {"escalation": {"demote": False}})
    assert (result.outcome, result.goal, result.demotions, result.escalations) == ("failed", None, 0, 1)


def test_a_demoted_goal_is_planned_and_run() -> None:
    """A demotion is a route to the lower goal and not only a word: its own nodes run."""
    lower = graph(node("a"), node("x"), node("y", "x"), goals="g: a; less: y")
    result = simulated(lower, "a: {raise: permanent}")
    assert (result.outcome, result.route, result.values) == ("demoted", ("x", "y"), {"y": {"simulated": "y"}})


def test_no_control_decision_asks_a_model() -> None:
    """Retries, reroutes, the last chance and a demotion by the policy cost no model call."""
    result = simulated(ladder(), "a: [raise, ok], b: down, c: down")
    assert (result.outcome, result.retries, result.last_chances, result.demotions) == ("demoted", 3, 1, 2)
    assert (result.model_calls, result.intent_calls, result.judge_calls) == (0, 0, 0)


def test_a_failure_during_a_demoted_run_demotes_further() -> None:
    """The lower goal has its own recovery: when its provider fails as well, the next goal is taken."""
    result = simulated(
        graph(node("a"), node("b"), node("c"), goals="x: a; y: b; z: c"), "a: {raise: permanent}, b: {raise: permanent}"
    )
    assert (result.outcome, result.goal, result.demotions) == ("demoted", "z", 2)
    assert [a.answer for a in result.attempts] == ["escalation-1", "escalation-2", None]


# ----------------------------------------------------------------------------------------------- one answer per failure


def test_failures_after_the_end_was_decided_are_answered_too() -> None:
    """What is still in flight when a run gives up may fail as well: each failure has its own answer, once."""
    run = ByHand(graph(*(node(name, effect="idempotent") for name in "abc"), goals="g: a b c"))
    run.fail("b", "a", "c", transient=False)
    result = run.result()
    assert run.outcome == "failed"
    assert [(a.node, a.answer) for a in result.attempts] == [
        ("a", "absorb-1"),
        ("b", "escalation-1"),
        ("c", "absorb-2"),
    ]


def test_a_second_end_of_the_same_attempt_is_ignored() -> None:
    """A repeated fact changes nothing: no record but its own, no command, and the first outcome stands."""
    run = ByHand(graph(node("a"), node("b", "a"), goals="g: b"))
    end = AttemptEnded("a", 0, 1, "succeeded")
    run.succeed("a")
    before = run.machine.snapshot()
    for again in (end, replace(end, outcome="failed"), replace(end, attempt=2)):
        step = run.feed(again)
        assert (len(step.records), step.commands) == (1, ())
    after = run.machine.snapshot()
    assert {**after["state"], "seq": 0} == {**before["state"], "seq": 0}
    run.succeed("b")
    assert (run.outcome, len(run.result().attempts)) == ("met", 2)


def test_the_end_of_an_earlier_attempt_does_not_end_a_later_one() -> None:
    """While the second attempt is in flight, a fact about the first is ignored."""
    run = ByHand(graph(node("a"), goals="g: a"))
    run.fail("a", transient=True)
    run.wake(run.wakes[0])
    assert run.feed(AttemptEnded("a", 0, 1, "succeeded")).commands == ()
    assert (run.in_flight, run.outcome) == (["a"], None)


def test_facts_after_the_end_change_nothing() -> None:
    """A finished run takes every later fact into its log and answers none."""
    run = ByHand(graph(node("a"), goals="g: a"))
    run.succeed("a")
    assert run.cancel().commands == ()
    assert run.wake(100.0).commands == ()
    assert run.late("a").commands == ()
    assert [event.outcome for event in of(run, RunFinished)] == ["met"]


@pytest.mark.parametrize("forbid", [True, False])
def test_a_consumer_takes_the_value_that_its_route_names(forbid: bool) -> None:
    """Of two held values of one name, a consumer is given the permitted one, and the goal the first one held."""
    nodes = (node("p"), node("q", "", "p", units=2.0), node("j", "p"), node("k", "p q2"), node("q2", units=5.0))
    edges = [Edge("p", "k", forbid=True)] if forbid else []
    run = ByHand(graph(*nodes, goals="g: j k", edges=edges))
    while run.in_flight:
        run.succeed(run.in_flight[0])
    given = {command.node: command.inputs[0] for command in run.issued(Start) if command.inputs}
    assert given["k"] == ("p", "p", "q" if forbid else "p")
    assert run.outcome == "met"
