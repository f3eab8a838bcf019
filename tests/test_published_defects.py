"""Defects that were reproduced in the public routers of this kind, and that a run here does not have.

Bholani's code is the author's repository for arXiv 2603.01548 (2026-03-05); the others are the library
`jhammant/self-healing-router` 0.1.0 and `agenticraft-foundation` (2026-02-28).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator import Orchestrator, tool
from orchestrator.events import Escalated, Rerouted, RoutePlanned, RunFinished
from orchestrator.graph import Edge, Goal, Graph
from orchestrator.planner import Planner, Situation
from orchestrator.policy import Objective
from orchestrator.run import Start
from orchestrator.weight import View, declared_view
from tests.published import CUSTOMER_SUPPORT, GRAPHS, SCENARIOS, TRAVEL, run, walked
from tests.running import ByHand, attempts, began, graph, node, of, simulated, started, view

# ----------------------------------------------------------------------------------- an outage of this run, overwritten


def test_a_dead_tool_with_a_good_history_is_called_once() -> None:
    """However good a tool looks to the monitors after each failure, this run does not call it again.

    In jhammant's router the next reading of the monitors overwrote the outage: the dead tool was called three times.
    """
    tools = graph(node("fast", effect=None), node("prep"), node("backup", "prep", "fast", units=9.0), goals="g: fast")
    by_hand = ByHand(tools)
    praised = View("praised", tuple((name, 1 if name == "fast" else cost) for name, cost in by_hand.first.view.weights))
    by_hand.fail("fast", transient=True)
    by_hand.see(praised)
    by_hand.succeed("prep")
    by_hand.see(View("still praised", praised.weights))
    by_hand.succeed("backup")
    assert (by_hand.outcome, started(by_hand)) == ("met", ["fast", "prep", "backup"])


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_dead_tool_is_called_as_often_as_it_declares_and_no_more(calls: int) -> None:
    """Attempts are the node's own figure; with another provider at hand there is no last chance beyond them."""
    tools = graph(node("fast", attempts=calls), node("backup", "", "fast", units=9.0), goals="g: fast")
    assert started(simulated(tools, "fast: down")) == ["fast"] * calls + ["backup"]


def test_recovering_one_tool_does_not_bring_back_another() -> None:
    """A is re-admitted while B is out: nothing of B comes back, in this run's exclusions or in the shared view.

    In jhammant's router the edge A -> B had its base cost again, because outages were stored on shared edges.
    """
    nodes = (node("A"), node("B", "A", "end"), node("A2", units=3.0), node("C", "A2", "end", units=3.0))
    run = ByHand(graph(*nodes, goals="g: end"))
    run.see(view(run.machine.graph, id="both out", A="open", B="open"))
    run.end("A", "cancelled")
    assert run.in_flight == ["A2"]
    run.see(view(run.machine.graph, id="A is back", B="open"))
    run.succeed("A2", "C")
    assert (run.outcome, started(run)) == ("met", ["A", "A2", "C"])
    excluded = Situation(excluded={"B": "excluded: raised"})
    route = Planner(run.machine.graph).plan(declared_view(run.machine.graph, Objective()), "g", excluded)
    assert "B" not in route.nodes


# ----------------------------------------------------------------------------------------------- where a reroute starts


def test_a_reroute_goes_back_past_the_last_good_node() -> None:
    """A -> B -> C -> G with C down goes on by A -> D -> G, from what A has made.

    jhammant's router started only at the last good node, B, from which nothing led on, and asked the model.
    """
    nodes = (
        node("A"),
        node("B", "A"),
        node("C", "B", "near_end"),
        node("D", "A", "near_end", units=5.0),
        node("G", "near_end"),
    )
    result = simulated(graph(*nodes, goals="g: G"), "C: {raise: permanent}")
    assert (result.outcome, result.route, result.escalations) == ("met", ("A", "D", "G"), 0)
    assert started(result) == ["A", "B", "C", "D", "G"]


@pytest.mark.parametrize("published", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_reroute_never_starts_at_the_node_that_failed(published: Any) -> None:
    """Every single failure with an alternative is survived by one reroute.

    The paper's Appendix A recomputes from the failed node, whose edges are gone: it escalates on the first failure.
    """
    for down in published.tools:
        result = run(published.graph(), [down])
        if published.reachable([down]):
            assert (result.outcome, result.escalations) == ("met", 0), down
            assert result.reroutes == (1 if down in started(result) else 0), down


@pytest.mark.parametrize("effect", ["read", "once"])
def test_a_reroute_repeats_no_refund(effect: Any) -> None:
    """With Stripe -> SMS at 0.9 the way from Start would be cheaper by Razorpay; the refund made is kept all the same.

    Bholani's code plans from Start again: Stripe refunds, Email fails, Razorpay refunds a second time.
    """
    built = CUSTOMER_SUPPORT.graph(Stripe_SMS=0.9)
    paying = graph(
        *(with_effect(n, effect, {"Stripe", "Razorpay"}) for n in built.nodes), goals=built.goals, edges=built.edges
    )
    result = run(paying, ["Email"])
    assert walked(result) == ("CRM", "Stripe", "SMS", "Complete")
    assert "Razorpay" not in started(result)


@pytest.mark.parametrize("undo", [False, True])
def test_a_reroute_books_no_second_bed(undo: bool) -> None:
    """With Hotel -> Bus at 0.5 the way from Start would be cheaper by Hostel; the hotel stays the only booking."""
    built = TRAVEL.graph(Hotel_Bus=0.5)
    booking = (with_effect(n, "once", {"Hotel", "Hostel"}, undo=undo) for n in built.nodes)
    result = run(graph(*booking, goals=built.goals, edges=built.edges), ["Car"])
    assert walked(result) == ("Flight", "Hotel", "Bus", "Payment", "Confirm")
    assert (result.undone, "Hostel" in started(result)) == ((), False)


def with_effect(declared: Any, effect: Any, names: set[str], **more: Any) -> Any:
    """Return a node, with another effect if it is one of *names*."""
    return replace(declared, effect=effect, **more) if declared.name in names else declared


# ---------------------------------------------------------------------------------------------- exceptions and counting


async def test_an_exception_of_a_tool_is_a_failed_attempt_with_a_record() -> None:
    """Whatever a tool raises, the run goes round it, and result and log tell of it.

    In Bholani's code an executor's exception ended the task without a result and without a log.
    """

    class OddError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    def broken(kind: type[Exception], name: str) -> Any:
        @tool(name=name, provides="pages")
        def call() -> list[str]:
            raise kind

        return call

    kinds = [RuntimeError, KeyError, AssertionError, StopIteration, RecursionError, OddError]
    tools = [broken(kind, f"broken{number}") for number, kind in enumerate(kinds)]

    @tool(provides="pages", units=50)
    def sound() -> list[str]:
        return ["found"]

    async with Orchestrator(tools=[*tools, sound], goals={"found": ["pages"]}) as orchestrator:
        result = await orchestrator.run()
    assert (result.outcome, result.values, result.reroutes) == ("met", {"pages": ["found"]}, len(kinds))
    assert [a.answer for a in result.attempts] == [*(f"reroute-{n}" for n in range(1, len(kinds) + 1)), None]
    assert isinstance(result.records[-1].event, RunFinished)


def test_failures_are_not_counted_over_the_run() -> None:
    """Seven providers fail one after the other and the eighth serves: no number of failures ends a run with a way left.

    In Bholani's code `max_retries` counted the failures of the task, and the fourth escalated.
    """
    chain = graph(*(node(f"n{i}", "", "v", units=float(i)) for i in range(1, 9)), goals="g: v")
    result = simulated(chain, ", ".join(f"n{i}: {{raise: permanent}}" for i in range(1, 8)))
    assert (result.outcome, result.route, result.reroutes, result.escalations) == ("met", ("n8",), 7, 0)


def test_one_time_out_does_not_end_a_task() -> None:
    """A tool without an alternative that fails once for a passing reason is tried again.

    In Bholani's code a single timeout of the CRM ended in escalation, for want of any retry.
    """
    result = simulated(CUSTOMER_SUPPORT.graph(), "CRM: [raise, ok]")
    assert (result.outcome, result.retries, result.escalations) == ("met", 1, 0)


# ---------------------------------------------------------------------------------------------------------- the fan-out

CLASSIFIERS = ("image", "text", "history", "toxicity", "spam")


def fan_out(needs: str, **more: Any) -> Graph:
    """Return the moderation graph as it was meant: five classifiers and a queue."""
    return graph(
        *(node(name, seconds=1.0) for name in CLASSIFIERS), node("queue", needs, **more), goals="moderated: queue"
    )


def test_a_fan_out_runs_every_classifier_at_once() -> None:
    """All five are called, side by side, and the queue only after the last.

    A shortest path picks one branch: the published router made two tool calls here and was scored correct.
    """
    result = simulated(fan_out(" ".join(CLASSIFIERS)))
    assert set(started(result)) == {*CLASSIFIERS, "queue"}
    assert {began(result, name) for name in CLASSIFIERS} == {0.0}
    assert began(result, "queue") == 1.0


def test_a_classifier_that_is_needed_is_not_skipped() -> None:
    """With one of five down and no replacement the goal is not met: text is no substitute for image."""
    result = simulated(fan_out(" ".join(CLASSIFIERS)), "image: {raise: permanent}")
    assert (result.outcome, result.goal) == ("failed", None)
    assert "queue" not in started(result)


def test_a_classifier_that_may_be_missing_says_so_and_has_its_price() -> None:
    """Declared as optional, a lost classifier degrades the run openly: the queue is given null in its place."""
    result = simulated(fan_out(" ".join(f"{name}?10" for name in CLASSIFIERS)), "image: {raise: permanent}")
    assert (result.outcome, set(result.route)) == ("met", {*CLASSIFIERS, "queue"} - {"image"})
    assert of(result, Rerouted)[0].weight_after > 10_000_000


# ------------------------------------------------------------------------------------ correct means something came back


def test_a_demotion_is_not_success() -> None:
    """Reaching less than was asked is its own outcome, with its own goal; the demoted goal's nodes really ran.

    In the published benchmark any demotion string counted as correct: seven of nineteen never reached the goal.
    """
    demoting = graph(
        node("crm"), node("stripe", "crm", "refund"), node("ticket", "crm"), goals="refunded: refund; noted: ticket"
    )
    result = simulated(demoting, "stripe: {raise: permanent}")
    assert (result.outcome, result.goal, set(result.values)) == ("demoted", "noted", {"ticket"})
    assert "ticket" in started(result)


def test_seven_of_the_nineteen_scenarios_are_not_called_correct() -> None:
    """Where the end is out of reach and nothing less was listed, the run failed and says so."""
    outcomes = [run(scenario.graph.graph(), scenario.down).outcome for scenario in SCENARIOS]
    assert outcomes.count("failed") == 7


@pytest.mark.parametrize("fault", ["wrong", "[wrong, wrong]"])
def test_a_result_that_breaks_its_contract_is_no_result(fault: str) -> None:
    """An answer that came back wrong is a failed attempt, and its value is never held."""
    tools = graph(node("a", output=True, attempts=1), node("b", "", "a", units=3.0), goals="g: a")
    result = simulated(tools, f"a: {fault}")
    assert (result.outcome, result.route) == ("met", ("b",))
    assert attempts(result, "a")[0].error == "invalid_output"


def test_a_goal_that_is_reached_but_wrong_is_not_met() -> None:
    """All values are there and the check says no: that is failed."""
    checked = ByHand(graph(node("a"), goals=[Goal("g", ("a",), check=True)]))
    checked.succeed("a")
    checked.answer("check", "g", False, "the amount is negative")
    assert checked.outcome == "failed"


# ------------------------------------------------------------------------------------------------ risk masked by health


def test_a_risk_stops_the_call_whatever_else_is_going_on() -> None:
    """A refund of 15,000 is stopped by its gate although a tool has just gone down.

    Where monitors compete by a maximum, tool health at 0.99 masks risk at 0.95, and the refund was made.
    """
    risky = graph(
        node("crm"),
        node("backup_crm", "", "crm", units=4.0),
        node("stripe", "crm", "refund", effect="once", gate="function"),
        node("razorpay", "crm", "refund", effect="once", gate="function", units=3.0),
        goals="refunded: refund",
    )
    run = ByHand(risky)
    run.fail("crm")
    run.see(view(risky, id="alarm", crm="open"))
    run.succeed("backup_crm")
    assert run.calls == [("gate", "stripe")]
    run.see(view(risky, id="louder alarm", crm="open", razorpay="open"))
    run.answer("gate", "stripe", False, "15,000 is over 10,000")
    assert (run.outcome, run.result().questions[0].reason) == ("waiting", "15,000 is over 10,000")
    assert [command.node for command in run.issued(Start)] == ["crm", "backup_crm"]


def test_a_gate_is_not_gone_round_by_a_reroute() -> None:
    """A call that waits for a person is no failure: nothing is rerouted to a provider without a gate."""
    gated = graph(node("wire", "", "refund", gate="always"), node("cash", "", "refund", units=5.0), goals="g: refund")
    result = simulated(gated)
    assert (result.outcome, result.reroutes, result.attempts) == ("waiting", 0, ())


# ----------------------------------------------------------------------------------------------------- false "no route"


@pytest.mark.parametrize(("calls", "route"), [(4, "a b c t"), (3, "sc t"), (2, "sc t"), (1, "")])
def test_a_limit_on_hops_forgets_no_route(calls: int, route: str) -> None:
    """S-A-B-C-T at 1 each and S-C at 5: within three hops there is a route of two, and the run takes it.

    agenticraft's search pruned one label per node at the limit and answered that there was none.
    """
    hops = graph(
        node("a"),
        node("b", "a"),
        node("c", "b", "at_c"),
        node("sc", "", "at_c", units=5.0),
        node("t", "at_c"),
        goals="g: t",
    )
    result = simulated(hops, policy={"limits": {"calls": calls}})
    assert " ".join(result.route) == route
    assert (result.outcome, result.reason) == (("met", None) if route else ("failed", "limit:calls"))


def test_three_tools_down_are_no_reason_to_escalate() -> None:
    """TB-5: Flight, Hotel and Car are down and a path exists, so nobody and no model is asked.

    Bholani's code charges a model call as soon as three tools are down, before it looks for a path.
    """
    for known in (False, True):
        result = run(TRAVEL.graph(), ["Flight", "Hotel", "Car"], known=known)
        assert walked(result) == ("Train", "Hostel", "Bus", "Payment", "Confirm")
        assert (result.escalations, result.model_calls, of(result, Escalated)) == (0, 0, [])


def test_known_failures_cost_one_plan() -> None:
    """Three tools known to be down are one plan at the start, and no replanning on the way."""
    result = run(TRAVEL.graph(), ["Flight", "Hotel", "Car"], known=True)
    assert len(of(result, RoutePlanned)) == 1
    assert of(result, Rerouted) == []


def test_a_tool_that_is_down_is_absent_and_not_merely_heavy() -> None:
    """Where every provider is down there is no route at all; a sum of great weights would still have been one."""
    result = run(CUSTOMER_SUPPORT.graph(), ["Stripe", "Razorpay"], known=True)
    assert (result.outcome, result.attempts) == ("failed", ())


def test_a_forbidden_pair_is_not_taken_in_need() -> None:
    """An edge that is forbidden stays so when it would be the only way left."""
    shut = graph(
        node("a"), node("b", "", "a", units=3.0), node("c", "a"), goals="g: c", edges=[Edge("b", "c", forbid=True)]
    )
    result = simulated(shut, "a: {raise: permanent}")
    assert (result.outcome, started(result)) == ("failed", ["a"])
