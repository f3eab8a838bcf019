"""What stops a run from outside: limits on money, time, calls and reroutes, and a cancellation."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.events import Escalated, Failure, NodeExcluded, RoutePlanned, RunEnded, Warned
from orchestrator.graph import Graph
from orchestrator.result import Undone
from tests.running import ByHand, attempts, graph, node, of, simulated, started


def priced() -> Graph:
    """Return a graph of a dear goal and a cheap one; what they share costs 0.10 dollars and one second."""
    return graph(
        node("base", usd=0.10, seconds=1.0),
        node("film", "base", usd=0.50, seconds=5.0),
        node("photo", "base", usd=0.05, seconds=1.0),
        goals="moving: film; still: photo",
    )


# ----------------------------------------------------------------------------------------------------- before it starts


@pytest.mark.parametrize(("limit", "figure"), [("usd", 0.3), ("seconds", "3s")])
def test_a_goal_over_a_limit_is_given_up_for_one_that_fits(limit: str, figure: Any) -> None:
    """The run demotes before it has spent anything on the goal that it cannot afford."""
    result = simulated(priced(), policy={"limits": {limit: figure}})
    assert (result.outcome, result.goal, started(result)) == ("demoted", "still", ["base", "photo"])
    [escalated] = of(result, Escalated)
    assert (escalated.decision, escalated.reason) == ("demote", f"limit:{limit}")


def test_a_limit_on_calls_counts_every_node_of_the_route() -> None:
    """A route of more nodes than calls are left is no route; a shorter and dearer one is taken."""
    detour = graph(node("a"), node("b", "a"), node("c", "b"), node("short", "", "c", units=50.0), goals="g: c")
    assert simulated(detour, policy={"limits": {"calls": 3}}).route == ("a", "b", "c")
    assert simulated(detour, policy={"limits": {"calls": 2}}).route == ("short",)
    result = simulated(detour, policy={"limits": {"calls": 0}})
    assert (result.outcome, result.reason, result.attempts) == ("failed", "limit:calls", ())


@pytest.mark.parametrize(("limit", "figure"), [("usd", 0.1), ("seconds", "1500ms"), ("calls", 1)])
def test_where_no_goal_fits_the_run_fails_and_names_the_limit(limit: str, figure: Any) -> None:
    """The reason is `limit:` and its name; it is a run ended, and no escalation."""
    result = simulated(priced(), policy={"limits": {limit: figure}})
    assert (result.outcome, result.reason, result.escalations) == ("failed", f"limit:{limit}", 0)
    assert [event.reason for event in of(result, RunEnded)] == [f"limit:{limit}"]
    assert result.attempts == ()


def test_a_cheaper_way_within_the_limit_is_taken_although_it_weighs_more() -> None:
    """Where only money is limited, the free provider that weighs more serves the asked goal."""
    slow = graph(node("fast", usd=0.5), node("slow", "", "fast", units=80.0), goals="g: fast")
    assert simulated(slow).route == ("fast",)
    result = simulated(slow, policy={"limits": {"usd": 0.4}})
    assert (result.outcome, result.route) == ("met", ("slow",))


@pytest.mark.parametrize(("limit", "figure"), [("usd", 0.6), ("seconds", "6s"), ("calls", 2)])
def test_a_limit_that_is_exactly_used_up_is_kept(limit: str, figure: Any) -> None:
    """A route that takes what the limit allows, to the last cent, second or call, is run to its end."""
    result = simulated(priced(), policy={"limits": {limit: figure}})
    assert (result.outcome, result.goal, result.seconds) == ("met", "moving", 6.0)
    assert result.usd == pytest.approx(0.6)


# ----------------------------------------------------------------------------------------------------------- on the way


def test_what_a_call_really_cost_is_taken_off_the_limit() -> None:
    """A call that was dearer than declared leaves no money for the asked goal, and the run demotes."""
    run = ByHand(priced(), {"limits": {"usd": 0.62}})
    run.succeed("base", usd=0.15)
    assert run.in_flight == ["photo"]
    run.succeed("photo", usd=0.05)
    result = run.result()
    assert (run.outcome, result.goal, round(result.usd, 2)) == ("demoted", "still", 0.2)
    assert [event.node for event in of(run, NodeExcluded)] == ["film"]


def test_a_retry_that_the_money_does_not_allow_is_not_made() -> None:
    """Paid attempts that fail count; a second one over the limit gives way to the lower goal."""
    run = ByHand(priced(), {"limits": {"usd": 0.7}})
    run.succeed("base", usd=0.1)
    run.end("film", "failed", failure=Failure("raised", transient=True), usd=0.5)
    assert run.in_flight == ["photo"]


def test_every_attempt_counts_as_a_call() -> None:
    """A retry takes a call off the limit as a first attempt does."""
    alone = graph(node("a"), node("b"), goals="both: a b; one: a")
    result = simulated(alone, "a: [raise, ok]", {"limits": {"calls": 2}})
    assert len(result.attempts) == 2
    result = simulated(alone, "a: [raise, ok]", {"limits": {"calls": 3}})
    assert (result.outcome, len(result.attempts)) == ("met", 3)


def test_after_the_last_reroute_the_run_demotes() -> None:
    """With no reroute left a third provider is not tried; a demotion is no reroute."""
    wide = graph(*(node(f"n{i}", "", "v", units=float(i)) for i in (1, 2, 3)), node("spare"), goals="g: v; less: spare")
    faults = "n1: {raise: permanent}, n2: {raise: permanent}"
    assert simulated(wide, faults).route == ("n3",)
    result = simulated(wide, faults, {"limits": {"reroutes": 1}})
    assert (result.outcome, result.goal, result.reroutes, started(result)) == (
        "demoted",
        "less",
        1,
        ["n1", "n2", "spare"],
    )
    assert of(result, Escalated)[0].reason == "limit:reroutes"
    result = simulated(graph(*wide.nodes, goals="g: v"), faults, {"limits": {"reroutes": 0}})
    assert (result.outcome, result.reason) == ("failed", "limit:reroutes")


def test_a_run_whose_time_is_up_stops() -> None:
    """At the deadline reads in flight are cancelled and the run fails with the limit's name, not a moment later."""
    result = simulated(graph(node("a"), node("b", "a"), goals="g: b"), "b: hang", {"limits": {"seconds": "2s"}})
    assert (result.outcome, result.reason, round(result.seconds, 9)) == ("failed", "limit:seconds", 2.0)
    assert attempts(result, "b")[0].outcome == "cancelled"


def test_a_run_whose_time_is_up_takes_the_lower_goal_that_it_holds() -> None:
    """What was reached in time counts: the run demotes to it at the deadline."""
    held = graph(node("a"), node("b", "a"), goals="g: b; less: a")
    result = simulated(held, "b: hang", {"limits": {"seconds": "2s"}})
    assert (result.outcome, result.goal, result.route, round(result.seconds, 9)) == ("demoted", "less", ("a",), 2.0)


def test_an_effect_in_flight_at_the_deadline_finishes_and_is_undone() -> None:
    """It is never cancelled; what it did for a run that failed is undone."""
    slow = graph(node("pay", effect="once", undo=True, seconds=1.0), goals="g: pay")
    result = simulated(slow, "pay: {slow: 5x}", {"limits": {"seconds": "2s"}})
    assert (result.outcome, result.reason, result.undone) == ("failed", "limit:seconds", (Undone("pay", "undone"),))
    assert attempts(result, "pay")[0].outcome == "succeeded"


def unproved() -> Graph:
    """Return a graph whose only route costs 0.60 dollars, while a quick bound says no more than 0.47."""
    return graph(
        node("s", usd=0.4),
        node("a1", "s", "a", usd=0.1),
        node("a2", "s", "a", usd=0.3),
        node("b1", "s", "b", usd=0.1),
        node("spare"),
        goals="g: a b; less: spare",
    )


UNPROVED = {"limits": {"usd": 0.55}, "planning": {"expansions": 0}}


def test_a_route_that_could_not_be_proved_is_run_and_stopped_by_its_guard() -> None:
    """Without a budget for planning, the cheapest known route starts with a warning and ends at the limit."""
    result = simulated(unproved(), policy=UNPROVED)
    assert of(result, RoutePlanned)[0].verdict == "unproved"
    assert len(of(result, Warned)) == 1
    assert (result.outcome, result.goal) == ("demoted", "less")
    assert started(result)[0] == "s"
    assert result.usd <= 0.55


def test_a_run_that_its_guard_stopped_fails_for_the_limit() -> None:
    """Where no lower goal fits, the reason is the limit that stopped the route, as if it had been known before."""
    result = simulated(graph(*unproved().nodes, goals="g: a b"), policy=UNPROVED)
    assert (result.outcome, result.reason) == ("failed", "limit:usd")
    run = ByHand(graph(*priced().nodes, goals="moving: film"), {"limits": {"usd": 0.62}})
    run.succeed("base", usd=0.15)
    assert (run.outcome, run.result().reason) == ("failed", "limit:usd")


def test_a_route_that_is_proved_over_the_limit_is_not_begun() -> None:
    """With a budget for planning, the same limit is known to be too low before a cent is spent."""
    result = simulated(unproved(), policy={"limits": {"usd": 0.55}})
    assert (result.outcome, result.usd, started(result)) == ("demoted", 0.0, ["spare"])


# --------------------------------------------------------------------------------------------------------- cancellation


def travelling(**more: Any) -> Graph:
    """Return a graph of an effect, a read that follows it, and an end."""
    return graph(node("book", effect="once", undo=True, **more), node("map", "book"), goals="g: map")


def test_a_cancelled_run_cancels_its_reads() -> None:
    """Reads in flight are cancelled at once, and the run ends when they have."""
    run = ByHand(graph(node("a"), node("b"), goals="g: a b; less: a"))
    run.cancel()
    assert (run.cancelled, run.outcome) == (["a", "b"], None)
    run.end("a", "cancelled")
    run.end("b", "cancelled")
    result = run.result()
    assert (run.outcome, result.goal, result.escalations) == ("cancelled", None, 0)
    assert [event.reason for event in of(run, RunEnded)] == ["cancelled"]


def test_an_effect_in_flight_is_not_cancelled_but_finished_and_undone() -> None:
    """A cancelled run waits for its effect, undoes it, and only then ends; nothing new starts."""
    run = ByHand(travelling())
    run.cancel()
    assert (run.cancelled, run.outcome) == ([], None)
    run.succeed("book")
    assert (run.calls, run.in_flight) == ([("undo", "book")], [])
    run.answer("undo", "book", True)
    assert (run.outcome, run.result().undone, run.result().route) == ("cancelled", (Undone("book", "undone"),), ())


def test_a_cancelled_run_undoes_what_had_finished() -> None:
    """An effect that stood before the cancellation is undone as well."""
    run = ByHand(travelling())
    run.succeed("book")
    run.cancel()
    run.end("map", "cancelled")
    run.answer("undo", "book", True)
    assert (run.outcome, run.result().undone) == ("cancelled", (Undone("book", "undone"),))


def test_a_policy_may_keep_the_effects_of_a_cancelled_run() -> None:
    """With `keep`, a cancelled run ends without an undo."""
    run = ByHand(travelling(), {"effects": {"keep": True}})
    run.cancel()
    run.succeed("book")
    assert (run.outcome, run.calls, run.result().route) == ("cancelled", [], ("book",))


def test_an_unknown_outcome_in_a_cancelled_run_is_verified_and_undone() -> None:
    """A lost answer is looked up even at the end; if it happened, it is undone."""
    run = ByHand(travelling(verify=True))
    run.cancel()
    run.fail("book", type="timeout", happened="unknown")
    assert (run.calls, run.outcome) == ([("verify", "book")], None)
    run.answer("verify", "book", True)
    assert run.calls == [("undo", "book")]
    run.answer("undo", "book", True)
    assert run.outcome == "cancelled"
    assert [a.answer for a in run.result().attempts] == ["absorb-1"]


def test_a_retry_that_waits_is_not_made_after_a_cancellation() -> None:
    """A cancelled run starts nothing, also when the time of a wait comes."""
    run = ByHand(graph(node("a"), goals="g: a"))
    run.fail("a", transient=True)
    run.cancel()
    assert run.outcome == "cancelled"
    run.wake(run.wakes[0])
    assert started(run) == ["a"]


def test_a_failure_after_a_cancellation_is_answered() -> None:
    """An idempotent call that fails while the run ends is absorbed: no retry, no reroute."""
    run = ByHand(graph(node("a", effect="idempotent"), node("b", "", "a", units=2.0), goals="g: a"))
    run.cancel()
    run.fail("a", transient=True)
    assert (run.outcome, started(run)) == ("cancelled", ["a"])
    assert [attempt.answer for attempt in run.result().attempts] == ["absorb-1"]


def test_a_simulated_deadline_and_a_simulated_failure_agree_on_the_money_spent() -> None:
    """A failed attempt that did nothing costs nothing; one that was cancelled costs nothing."""
    result = simulated(priced(), "film: {raise: permanent}")
    assert result.usd == pytest.approx(0.15)
    result = simulated(priced(), "film: hang", {"limits": {"seconds": "10s"}})
    assert result.usd == pytest.approx(0.10)
