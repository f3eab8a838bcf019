"""Outcomes that nobody knows, and questions that only a person can answer."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.drivers.first import Blueprint
from orchestrator.events import Absorbed, CallEnded, Escalated, Failure, QuestionAsked, Rerouted, Settled
from orchestrator.faults import FaultPlan
from orchestrator.graph import Graph
from orchestrator.policy import Policy
from orchestrator.run import WakeAt
from orchestrator.simulate import Simulation
from tests.running import ByHand, attempts, graph, node, of, simulated, started


def refund(*, verify: bool = False, undo: bool = False, rival: bool = True) -> Graph:
    """Return a graph of one or two providers of a refund, and a letter that only reads."""
    stripe = node("stripe", "order", "refund", effect="once", verify=verify, undo=undo)
    razorpay = node("razorpay", "order", "refund", effect="once", units=3.0)
    nodes = [node("order"), stripe, *([razorpay] if rival else []), node("letter", "refund")]
    return graph(*nodes, goals="told: letter; seen: order")


def lost(run: ByHand, name: str) -> None:
    """Let the answer of an attempt be lost."""
    run.fail(name, type="timeout", transient=True, happened="unknown")


# --------------------------------------------------------------------------------------------------------------- verify


def test_an_unknown_outcome_is_verified_before_anything_is_decided() -> None:
    """While the verify runs, no other provider of the value starts and the failure has no answer yet."""
    run = ByHand(refund(verify=True))
    run.succeed("order")
    lost(run, "stripe")
    assert (run.calls, run.in_flight, of(run, Rerouted)) == ([("verify", "stripe")], [], [])


def test_a_verify_that_finds_the_effect_takes_its_value() -> None:
    """It happened: the run goes on with the value, the attempt is settled as done, and nothing is paid twice."""
    run = ByHand(refund(verify=True))
    run.succeed("order")
    lost(run, "stripe")
    run.answer("verify", "stripe", True)
    run.succeed("letter")
    result = run.result()
    assert (run.outcome, result.route, result.reroutes) == ("met", ("order", "stripe", "letter"), 0)
    [attempt] = attempts(result, "stripe")
    assert (attempt.outcome, attempt.error, attempt.settled, attempt.answer) == (
        "unknown",
        "timeout",
        "done",
        "absorb-1",
    )


def test_a_verify_that_finds_nothing_lets_another_provider_start() -> None:
    """It did not happen: the node is excluded, and the run reroutes with the trigger `unknown`."""
    run = ByHand(refund(verify=True))
    run.succeed("order")
    lost(run, "stripe")
    run.answer("verify", "stripe", False)
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, reroute.after) == ("unknown", ("razorpay", "letter"))
    run.succeed("razorpay", "letter")
    [attempt] = attempts(run.result(), "stripe")
    assert (run.outcome, attempt.settled, attempt.answer) == ("met", "not done", "reroute-1")


def test_what_did_not_happen_is_not_repeated_either() -> None:
    """A `once` node is not started a second time without a person's word, even where it certainly did nothing."""
    run = ByHand(refund(verify=True, rival=False))
    run.succeed("order")
    lost(run, "stripe")
    run.answer("verify", "stripe", False)
    assert (run.outcome, run.result().goal, started(run)) == ("demoted", "seen", ["order", "stripe"])


def test_a_verify_that_still_does_not_know_is_asked_again_and_then_left_to_a_person() -> None:
    """After the policy's number of attempts the run waits with one question; it has not guessed."""
    run = ByHand(refund(verify=True), {"effects": {"verify_attempts": 2}})
    run.succeed("order")
    lost(run, "stripe")
    run.answer("verify", "stripe", None, "the bank does not answer")
    assert (run.calls, run.outcome) == ([], None)
    run.wake(run.wakes[-1])
    assert run.calls == [("verify", "stripe")]
    run.answer("verify", "stripe", None, "the bank does not answer")
    assert (run.outcome, started(run)) == ("waiting", ["order", "stripe"])
    [question] = run.result().questions
    assert (question.id, question.kind, question.node) == ("settle:stripe", "settle", "stripe")


def test_waits_between_verifies_grow_and_survive_a_crash() -> None:
    """A bank that does not answer is given time; a restored run knows when to ask again."""
    run = ByHand(refund(verify=True), {"effects": {"verify_attempts": 3}})
    run.succeed("order")
    lost(run, "stripe")
    run.answer("verify", "stripe", None)
    first = run.wakes[-1]
    run.crash()
    assert WakeAt(first) in run.machine.outstanding()
    run.wake(first)
    run.answer("verify", "stripe", None)
    assert 0.0 < first < run.wakes[-1]
    run.wake(run.wakes[-1])
    run.answer("verify", "stripe", True)
    run.succeed("letter")
    assert run.outcome == "met"


def test_a_cancelled_run_verifies_to_the_end() -> None:
    """A verify that does not know yet is repeated also while the run ends; what is found done is undone."""
    run = ByHand(refund(verify=True, undo=True))
    run.succeed("order")
    run.cancel()
    lost(run, "stripe")
    run.answer("verify", "stripe", None)
    assert (run.calls, run.outcome) == ([], None)
    run.wake(run.wakes[-1])
    run.answer("verify", "stripe", True)
    assert run.calls == [("undo", "stripe")]
    run.answer("undo", "stripe", True)
    assert run.outcome == "cancelled"


@pytest.mark.parametrize(("truth", "outcome"), [("unknown", "done"), ("hang", "not done"), ("{hang: 40s}", "done")])
def test_a_simulated_verify_answers_the_truth_of_the_script(truth: str, outcome: str) -> None:
    """A lost answer and a late one were effects; a call that hangs for ever was none."""
    result = simulated(refund(verify=True), f"stripe: {truth}")
    [attempt] = attempts(result, "stripe")
    assert (result.outcome, attempt.outcome, attempt.settled) == ("met", "unknown", outcome)
    assert ("razorpay" in started(result)) == (outcome == "not done")


# -------------------------------------------------------------------------------------------------------------- waiting


def test_without_a_verify_the_run_waits_for_a_person() -> None:
    """No guess, no second refund, no demotion: one question, asked by one escalation."""
    run = ByHand(refund())
    run.succeed("order")
    lost(run, "stripe")
    result = run.result()
    assert (run.outcome, result.goal, result.undone, started(run)) == ("waiting", None, (), ["order", "stripe"])
    [escalated] = of(run, Escalated)
    assert (escalated.decision, escalated.answers) == ("ask", (("stripe", 1),))
    assert [question.id for question in result.questions] == ["settle:stripe"]


def test_a_way_round_an_open_outcome_is_taken_without_asking() -> None:
    """Where the goal can be had without the open value, the run goes there; the attempt stays open in the result."""
    run = ByHand(graph(node("pay", effect="once"), node("b", "pay"), node("c", "", "b", units=9.0), goals="g: b"))
    lost(run, "pay")
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, run.in_flight) == ("unknown", ["c"])
    run.succeed("c")
    result = run.result()
    [attempt] = attempts(result, "pay")
    assert (run.outcome, result.route, result.questions, result.escalations) == ("met", ("c",), (), 0)
    assert (attempt.outcome, attempt.settled, attempt.answer) == ("unknown", None, "reroute-1")


def test_an_effect_that_turns_out_done_off_the_route_is_undone_at_the_end() -> None:
    """The late result of an effect that was gone round does not turn the run back; it is undone like any other."""
    pay = node("pay", effect="once", undo=True)
    run = ByHand(graph(pay, node("b", "pay"), node("c", "", "b", units=9.0), goals="g: b"))
    lost(run, "pay")
    run.late("pay")
    run.succeed("c")
    assert run.calls == [("undo", "pay")]
    run.answer("undo", "pay", True)
    assert (run.outcome, run.result().route) == ("met", ("c",))


def test_other_effects_wait_while_an_outcome_is_open() -> None:
    """The next effect starts once the late result has come, and not before; what followed the first is done."""
    effects = [node(name, effect="once", units=float(i)) for i, name in enumerate(["pay", "ship", "thank"], 1)]
    run = ByHand(graph(*effects, node("letter", "pay"), goals="g: pay ship thank letter"))
    run.succeed("pay", "letter")
    lost(run, "ship")
    assert (run.outcome, [question.id for question in run.result().questions]) == ("waiting", ["settle:ship"])
    run.late("ship")
    assert run.in_flight == ["thank"]
    run.succeed("thank")
    assert (run.outcome, started(run)) == ("met", ["pay", "letter", "ship", "thank"])


def test_no_other_provider_starts_while_an_outcome_is_open() -> None:
    """A rival that merely reads is barred as well: the value has an open `once` attempt."""
    run = ByHand(graph(node("pay", effect="once"), node("note", "", "pay", units=5.0), goals="g: pay"))
    lost(run, "pay")
    assert (run.outcome, started(run)) == ("waiting", ["pay"])


def test_a_late_result_settles_an_open_attempt() -> None:
    """The answer comes after all: the run goes on from waiting, and the attempt is settled as done."""
    run = ByHand(refund())
    run.succeed("order")
    lost(run, "stripe")
    assert run.outcome == "waiting"
    run.late("stripe")
    assert (run.machine.finished, run.in_flight) == (False, ["letter"])
    run.succeed("letter")
    [attempt] = attempts(run.result(), "stripe")
    assert (run.outcome, attempt.settled, run.result().questions) == ("met", "done", ())
    assert [event.by for event in of(run, Settled)] == ["late_result"]


def test_a_late_failure_that_did_nothing_settles_too() -> None:
    """It did not happen after all: another provider may start."""
    run = ByHand(refund())
    run.succeed("order")
    lost(run, "stripe")
    run.late("stripe", outcome="failed", failure=Failure("refused", happened="no"))
    assert (run.outcome, run.in_flight) == (None, ["razorpay"])


def test_a_late_failure_that_did_something_is_settled_as_done() -> None:
    """It happened and gave no good value: it is paid for, and undone before another provider starts."""
    run = ByHand(refund(undo=True))
    run.succeed("order")
    run.end("stripe", "failed", failure=Failure("timeout", happened="unknown"), usd=0.3)
    run.late("stripe", outcome="failed", failure=Failure("invalid_output", happened="yes"))
    assert run.calls == [("undo", "stripe")]
    run.answer("undo", "stripe", True)
    run.succeed("razorpay", "letter")
    [attempt] = attempts(run.result(), "stripe")
    assert (run.outcome, attempt.settled, run.result().usd) == ("met", "done", 0.3)


def test_what_was_not_done_is_not_paid_for() -> None:
    """An unknown outcome is taken as paid for until it is known that nothing happened."""
    run = ByHand(refund(verify=True))
    run.succeed("order")
    run.end("stripe", "failed", failure=Failure("timeout", happened="unknown"), usd=0.3)
    assert run.result().usd == 0.3
    run.answer("verify", "stripe", False)
    assert (run.result().usd, run.machine.state.usd, attempts(run.result(), "stripe")[0].usd) == (0.0, 0.0, 0.0)


def test_a_late_result_beats_a_verify_that_is_still_asking() -> None:
    """Whichever knows first settles; the other one's answer is ignored."""
    run = ByHand(refund(verify=True))
    run.succeed("order")
    lost(run, "stripe")
    key = next(iter(run.machine.state.calls))
    run.late("stripe")
    assert run.in_flight == ["letter"]
    run.feed(CallEnded("verify", int(key.partition(":")[2]), "stripe", False))
    run.succeed("letter")
    assert (run.outcome, [event.done for event in of(run, Settled)]) == ("met", [True])


@pytest.mark.parametrize("attempt", [2, 3])
def test_a_late_result_of_another_attempt_settles_nothing(attempt: int) -> None:
    """Only the attempt that is open is settled by its own result."""
    run = ByHand(refund())
    run.succeed("order")
    lost(run, "stripe")
    run.late("stripe", attempt=attempt)
    assert (run.outcome, of(run, Settled)) == ("waiting", [])


def test_a_late_result_of_anything_else_changes_nothing() -> None:
    """A read that was given up and answers in the end is not taken up again: another provider already serves."""
    run = ByHand(graph(node("a"), node("b", "", "a", units=2.0), goals="g: a"))
    run.fail("a", type="timeout", happened="unknown")
    assert run.late("a").commands == ()
    assert not run.machine.finished
    run.succeed("b")
    assert (run.outcome, run.result().route) == ("met", ("b",))


def test_a_waiting_run_undoes_nothing() -> None:
    """Finished effects stand while a question is open."""
    run = ByHand(graph(node("a", effect="once", undo=True), node("b", "a", effect="once"), goals="g: b"))
    run.succeed("a")
    lost(run, "b")
    assert (run.outcome, run.calls, run.result().undone, run.result().route) == ("waiting", [], (), ("a",))


# ---------------------------------------------------------------------------------------------------------------- gates


def test_a_call_that_always_needs_approval_waits_after_everything_else_has_run() -> None:
    """The rest of the route is done first; then the run waits, and the gated node was not called."""
    result = simulated(graph(node("a"), node("b", "a"), node("pay", "a", gate="always"), goals="g: b pay"))
    assert (result.outcome, started(result)) == ("waiting", ["a", "b"])
    [question] = result.questions
    assert (question.id, question.kind, question.node) == ("approve:pay", "approve", "pay")
    assert (result.escalations, result.undone) == (0, ())


@pytest.mark.parametrize("effect", ["read", "idempotent", "once"])
def test_all_open_questions_are_asked_at_once(effect: Any) -> None:
    """Two calls that need approval are two questions of one waiting run, not one after the other."""
    two = graph(node("a", effect=effect, gate="always"), node("b", effect=effect, gate="always"), goals="g: a b")
    result = simulated(two)
    assert (result.outcome, [question.id for question in result.questions]) == ("waiting", ["approve:a", "approve:b"])


def test_a_gate_that_gives_a_reason_stops_the_call() -> None:
    """The reason of the gate's function is the question, and the node is never called."""
    run = ByHand(graph(node("amount"), node("pay", "amount", effect="once", gate="function"), goals="g: pay"))
    run.succeed("amount")
    assert (run.calls, run.in_flight) == ([("gate", "pay")], [])
    run.answer("gate", "pay", False, "15,000 is over the limit")
    assert (run.outcome, started(run)) == ("waiting", ["amount"])
    assert run.result().questions[0].reason == "15,000 is over the limit"


def test_a_gate_that_raises_stops_the_call_too() -> None:
    """Nothing passes a gate that could not be asked."""
    run = ByHand(graph(node("pay", gate="function"), goals="g: pay"))
    run.answer("gate", "pay", None, "KeyError: amount")
    assert (run.outcome, started(run), run.result().questions[0].reason) == ("waiting", [], "KeyError: amount")


def test_a_gate_that_passes_lets_the_call_start() -> None:
    """No reason, no question; the gate is asked once for these inputs, also when the node is retried."""
    run = ByHand(graph(node("pay", gate="function"), goals="g: pay"))
    run.answer("gate", "pay", True)
    run.fail("pay", transient=True)
    run.wake(run.wakes[0])
    assert (run.calls, run.in_flight) == ([], ["pay"])
    run.succeed("pay")
    assert run.outcome == "met"


def test_a_guard_comes_before_the_gate() -> None:
    """A node that does not apply is not put before a person."""
    run = ByHand(graph(node("pay", guard=True, gate="always"), node("b", "", "pay", units=4.0), goals="g: pay"))
    assert run.calls == [("guard", "pay")]
    run.answer("guard", "pay", False)
    run.succeed("b")
    assert (run.outcome, of(run, QuestionAsked)) == ("met", [])


def test_a_question_that_a_reroute_makes_needless_is_not_asked() -> None:
    """When the route turns away from the gated node, nobody is asked about it."""
    run = ByHand(
        graph(
            node("a"), node("pay", gate="always"), node("j", "a pay", "v"), node("k", "", "v", units=9.0), goals="g: v"
        )
    )
    assert not run.machine.finished
    run.fail("a")
    run.succeed("k")
    assert (run.outcome, of(run, QuestionAsked)) == ("met", [])


def test_an_unknown_outcome_of_what_is_not_needed_any_more_is_absorbed() -> None:
    """The route has gone elsewhere: the failure is answered, and the run does not wait for it."""
    run = ByHand(
        graph(node("pay", effect="once"), node("b", "pay"), node("c", "", "b", units=9.0), goals="g: b"),
    )
    run.cancel()
    lost(run, "pay")
    assert (run.outcome, [event.answers for event in of(run, Absorbed)]) == ("cancelled", [(("pay", 1),)])


def test_a_simulated_run_waits_although_a_cancelled_call_would_still_have_ended() -> None:
    """What was cancelled never comes, and a run that nobody answers is over where nothing else is to come."""
    of_graph = graph(
        node("slow"),
        node("bad"),
        node("j", "slow bad", "v"),
        node("wire", "", "v", units=9.0, gate="always"),
        goals="g: v",
    )
    plan = FaultPlan.from_text("nodes: {slow: hang, bad: {raise: permanent}}")
    result = Simulation(Blueprint(of_graph, Policy()), plan).run(
        script=lambda asked: () if isinstance(asked, QuestionAsked) else None
    )
    assert (result.outcome, [question.id for question in result.questions]) == ("waiting", ["approve:wire"])
    assert attempts(result, "slow")[0].outcome == "cancelled"
