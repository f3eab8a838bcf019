"""Side effects: last, one at a time, never twice, and undone where they do not stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from orchestrator.events import AttemptStarted, CallStarted, Rerouted
from orchestrator.graph import Edge, Goal, Graph, Node
from orchestrator.result import Undone
from orchestrator.run import Call, Start
from tests.running import ByHand, attempts, began, ended, graph, node, of, simulated, started


def effect(name: str, needs: str = "", provides: str | None = None, **more: Any) -> Node:
    """Return a `once` node that can be undone, unless said otherwise."""
    return node(name, needs, provides, **{"effect": "once", "undo": True, **more})


# -------------------------------------------------------------------------------------------------- last, one at a time


def booking() -> Graph:
    """Return a graph of two effects, and reads beside, before and after them."""
    return graph(
        effect("flight", seconds=1.0),
        effect("hotel", "city", seconds=1.0),
        node("city", seconds=3.0),
        node("weather", seconds=9.0),
        node("summary", "flight hotel", seconds=1.0),
        goals="trip: summary weather",
    )


def test_effects_wait_until_everything_that_needs_none_is_done() -> None:
    """A `once` node whose inputs are there still waits for the slowest read of the route, even an unrelated one."""
    result = simulated(booking())
    assert began(result, "flight") == ended(result, "weather") == 9.0
    assert result.outcome == "met"


def test_effects_come_one_at_a_time_in_route_order() -> None:
    """Two independent effects never overlap; what needs them comes after both."""
    result = simulated(booking())
    assert began(result, "hotel") == ended(result, "flight") == 10.0
    assert began(result, "summary") == ended(result, "hotel") == 11.0


def test_no_effect_is_made_for_a_route_that_a_read_still_breaks() -> None:
    """A read that fails for good after the effect was ready leads elsewhere before anything has happened."""
    result = simulated(booking(), "weather: {raise: permanent}")
    assert (result.outcome, result.undone) == ("failed", ())
    assert not {"flight", "hotel"} & set(started(result))


def test_an_effect_waits_for_the_retry_of_a_read() -> None:
    """A read that waits for its second attempt is still in the way of the first effect."""
    run = ByHand(graph(effect("pay"), node("check"), goals="g: pay check"))
    run.fail("check", transient=True)
    assert run.in_flight == []
    run.wake(run.wakes[0])
    run.succeed("check")
    assert run.in_flight == ["pay"]


# ------------------------------------------------------------------------------------------------------------- replaced


def paid() -> Graph:
    """Return a graph in which `brief` takes only Stripe's refund, and `thorough` only Razorpay's."""
    return graph(
        effect("stripe", provides="refund", undo_units=2.0),
        effect("razorpay", provides="refund", units=4.0),
        node("brief", "refund", "letter"),
        node("thorough", "refund", "letter", units=3.0),
        goals="told: letter",
        edges=[Edge("stripe", "thorough", forbid=True), Edge("razorpay", "brief", forbid=True)],
    )


def test_an_abandoned_effect_is_undone_before_its_replacement_starts() -> None:
    """The other provider starts only once the undo has worked, and both stay one of a kind."""
    run = ByHand(paid())
    run.succeed("stripe")
    run.fail("brief")
    assert (run.calls, run.in_flight) == ([("undo", "stripe")], [])
    run.answer("undo", "stripe", True)
    assert run.in_flight == ["razorpay"]
    run.succeed("razorpay", "thorough")
    result = run.result()
    assert (run.outcome, result.route, result.undone) == (
        "met",
        ("razorpay", "thorough"),
        (Undone("stripe", "undone"),),
    )


def test_the_price_of_an_undo_is_part_of_the_new_route() -> None:
    """The weight of a route that abandons an effect holds the undo, the replacement and what follows."""
    run = ByHand(paid())
    run.succeed("stripe")
    run.fail("brief")
    [reroute] = of(run, Rerouted)
    assert (reroute.after, reroute.weight_after) == (("razorpay", "thorough"), 2_000_000 + 4_000_000 + 3_000_000)


def test_an_effect_whose_undo_is_dear_is_kept_rather_than_replaced() -> None:
    """Of two ways round, the one that keeps the finished effect is taken although its own nodes cost more."""
    dear = replace(paid(), nodes=(*paid().nodes, node("slow_letter", "refund", "letter", units=8.5)))
    run = ByHand(dear)
    run.succeed("stripe")
    run.fail("brief")
    assert (run.calls, run.in_flight) == ([], ["slow_letter"])


def test_an_effect_that_cannot_be_undone_bars_every_other_provider() -> None:
    """A finished refund without an undo is not made a second time: the run fails instead."""
    final = replace(paid(), nodes=tuple(replace(n, undo=False) for n in paid().nodes))
    result = simulated(final, "brief: {raise: permanent}")
    assert (result.outcome, result.undone) == ("failed", ())
    assert started(result) == ["stripe", "brief"]


def test_an_undo_that_fails_is_tried_again_and_then_reported() -> None:
    """Three attempts by the policy, then it is reported as failed and no other provider of its value may start."""
    run = ByHand(paid())
    run.succeed("stripe")
    run.fail("brief")
    for _ in range(3):
        run.answer("undo", "stripe", False, "the bank is closed")
    result = run.result()
    assert (run.outcome, result.undone) == ("failed", (Undone("stripe", "failed"),))
    assert len([c for c in run.issued(Call) if c.kind == "undo"]) == 3
    assert "razorpay" not in started(run)


def test_an_undo_that_fails_once_is_retried_and_the_run_goes_on() -> None:
    """The second attempt of an undo works: the replacement starts, and one undo is reported."""
    run = ByHand(paid(), {"effects": {"undo_attempts": 2}})
    run.succeed("stripe")
    run.fail("brief")
    run.answer("undo", "stripe", False)
    run.answer("undo", "stripe", True)
    run.succeed("razorpay", "thorough")
    assert (run.outcome, run.result().undone) == ("met", (Undone("stripe", "undone"),))


def test_an_undo_has_the_inputs_and_the_key_of_the_effect() -> None:
    """The undo is called with what the effect was given, under the same idempotency key."""
    run = ByHand(graph(node("order"), effect("pay", "order"), node("send", "pay"), goals="g: send"))
    run.succeed("order", "pay")
    run.fail("send")
    [undo] = run.issued(Call)
    [pay] = [command for command in run.issued(Start) if command.node == "pay"]
    assert (undo.kind, undo.subject, undo.inputs, undo.key) == ("undo", "pay", pay.inputs, pay.key)


def test_a_result_that_breaks_its_contract_leaves_an_effect_to_undo() -> None:
    """The effect of a wrong result has happened: it is undone before another provider starts."""
    run = ByHand(paid())
    run.fail("stripe", type="invalid_output", happened="yes")
    assert (run.calls, run.in_flight) == ([("undo", "stripe")], [])
    run.answer("undo", "stripe", True)
    assert run.in_flight == ["razorpay"]


# ----------------------------------------------------------------------------------------------------------- at the end


def test_effects_off_the_standing_route_are_undone_after_a_demotion() -> None:
    """The lower goal keeps the effects that it stands on; the others are undone, the latest first."""
    steps = graph(
        effect("flight"), effect("hotel", "flight"), effect("car", "hotel"), node("all", "flight hotel car"),
        goals="trip: all; flown: flight",
    )  # fmt: skip
    result = simulated(steps, "all: {raise: permanent}")
    assert (result.outcome, result.goal, result.route, result.values) == (
        "demoted",
        "flown",
        ("flight",),
        {"flight": {"simulated": "flight"}},
    )
    assert result.undone == (Undone("car", "undone"), Undone("hotel", "undone"))


def test_a_policy_may_keep_the_effects_of_a_failed_run() -> None:
    """With `keep`, nothing is undone when a run fails; the result names what stands."""
    result = simulated(booking(), "summary: {raise: permanent}", {"effects": {"keep": True}})
    assert (result.outcome, result.undone) == ("failed", ())
    assert set(result.route) == {"weather", "city", "flight", "hotel"}
    assert simulated(booking(), "summary: {raise: permanent}").undone == (
        Undone("hotel", "undone"),
        Undone("flight", "undone"),
    )


def test_keeping_is_for_failed_runs_only() -> None:
    """A demoted run undoes what its goal does not stand on, whatever `keep` says."""
    steps = graph(effect("a"), effect("b", "a"), node("c", "b"), goals="g: c; less: a")
    result = simulated(steps, "c: {raise: permanent}", {"effects": {"keep": True}})
    assert (result.outcome, result.undone) == ("demoted", (Undone("b", "undone"),))


def test_a_finished_node_that_was_undone_is_not_run_again() -> None:
    """After its undo an effect's value is gone and the node stays spent: the run does without it or fails."""
    run = ByHand(graph(*paid().nodes, goals="told: letter", edges=paid().edges))
    run.succeed("stripe")
    run.fail("brief")
    run.answer("undo", "stripe", True)
    run.fail("razorpay")
    assert (run.outcome, started(run)) == ("failed", ["stripe", "brief", "razorpay"])


def test_no_value_of_a_met_run_rests_on_an_effect_that_was_undone() -> None:
    """A letter about a refund is not kept when that refund is undone and another one is made."""
    two = graph(
        effect("stripe", provides="refund"),
        effect("razorpay", provides="refund", units=4.0),
        node("brief", "refund", "letter"),
        node("print", "refund", "receipt"),
        node("reprint", "refund", "receipt", units=3.0),
        goals="told: letter receipt",
        edges=[Edge("stripe", "reprint", forbid=True)],
    )
    result = simulated(two, "print: {raise: permanent}")
    undone = {undone.node for undone in result.undone}
    assert result.outcome != "met" or not ("brief" in result.route and "stripe" in undone)


@pytest.mark.parametrize("declared", ["once", None])
def test_a_cancellation_that_nobody_asked_for_repeats_nothing(declared: Any) -> None:
    """A `once` or unmarked attempt that ended as cancelled by itself may have happened, and is not started again."""
    run = ByHand(graph(node("pay", effect=declared), goals="g: pay"))
    run.end("pay", "cancelled")
    assert started(run) == ["pay"]
    assert run.outcome == ("waiting" if declared else "failed")


# --------------------------------------------------------------------------------------------------------- the property


@st.composite
def journeys(draw: st.DrawFn) -> Graph:
    """Draw several effects that can be undone, some needing others, and a last step that needs them all."""
    names = [f"e{i}" for i in range(draw(st.integers(2, 5)))]
    nodes = []
    for position, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:position]), unique=True, max_size=2)) if position else []
        kind = draw(st.sampled_from(["once", "once", "once", "idempotent"]))
        undo = draw(st.sampled_from([True, True, True, False]))
        nodes.append(node(name, " ".join(needs), effect=kind, undo=undo, units=draw(st.sampled_from([1.0, 2.0]))))
    draw(st.randoms(use_true_random=False)).shuffle(nodes)
    lower = draw(st.sampled_from([None, *names]))
    goals = [Goal("whole", ("last",)), *([Goal("part", (lower,))] if lower else [])]
    return graph(*nodes, node("last", " ".join(names)), goals=goals)


def behind(drawn: Graph, name: str) -> set[str]:
    """Return a node and everything that it needs, directly or through others."""
    return {name}.union(*(behind(drawn, need.value) for need in drawn.by_name[name].needs))


@given(journeys(), st.data())
def test_what_does_not_stand_is_undone_in_reverse_order_of_completion(drawn: Graph, data: st.DataObject) -> None:
    """When the last step fails, every undoable effect off the standing route is undone once, the latest first."""
    stuck = data.draw(st.sets(st.sampled_from([n.name for n in drawn.nodes]), max_size=1))
    keep = data.draw(st.sampled_from([False, False, True]))
    run = ByHand(drawn, {"effects": {"keep": keep, "undo_attempts": 2}})
    completed: list[str] = []
    while run.in_flight:
        name = data.draw(st.sampled_from(run.in_flight))
        if name == "last":
            run.fail(name)
            break
        run.succeed(name)
        completed.append(name)
    assert sorted([*completed, "last"]) == sorted(started(run))
    while run.calls:
        kind, name = run.calls[0]
        assert (kind, len(run.calls)) == ("undo", 1)
        run.answer("undo", name, name not in stuck)
    result = run.result()
    reached = len(drawn.goals) > 1
    assert result.outcome == ("demoted" if reached else "failed")
    stands = behind(drawn, drawn.goals[1].values[0]) if reached else set()
    due = [name for name in reversed(completed) if drawn.by_name[name].undo and name not in stands]
    expected = [] if keep and not reached else due
    assert [undone.node for undone in result.undone] == expected
    assert [undone.outcome for undone in result.undone] == ["failed" if n in stuck else "undone" for n in expected]
    tried = [call.subject for call in of(run, CallStarted)]
    assert len(tried) == len(expected) + len(stuck & set(expected))
    event(f"undone: {len(expected)}, outcome {result.outcome}")


@given(journeys())
def test_effects_never_overlap(drawn: Graph) -> None:
    """At most one `once` node is in flight at any moment, and each is started at most once."""
    run = ByHand(drawn)
    while run.in_flight:
        flying = [name for name in run.in_flight if drawn.by_name[name].effect == "once"]
        assert len(flying) <= 1
        run.succeed(run.in_flight[0])
    assert run.outcome == "met"
    calls = [event.node for event in of(run, AttemptStarted)]
    assert len(set(calls)) == len(calls)
    assert all(a.attempt == 1 for n in drawn.nodes for a in attempts(run.result(), n.name))
