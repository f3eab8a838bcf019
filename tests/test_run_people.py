"""What people are asked, what their answers do to a run, and what happens when nobody answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.events import (
    Absorbed,
    AttemptStarted,
    Escalated,
    Failure,
    NodeExcluded,
    QuestionAsked,
    Rerouted,
    RoutePlanned,
    RunFinished,
    Settled,
)
from orchestrator.graph import Edge, Graph, Need
from orchestrator.run import Call, Start, WakeAt
from tests.conftest import check_replay
from tests.running import ByHand, graph, node, of, started, view


def paid(**more: Any) -> Graph:
    """Return a graph of a payment that needs a yes, a dearer one that needs none, and something less."""
    gated = {"gate": "always", "effect": "once", **more}
    return graph(
        node("order"),
        node("wire", "order amount", "receipt", **gated),
        node("card", "order", "receipt", effect="once", units=9.0),
        goals="paid: receipt; seen: order",
    )


def before_the_wire(policy: dict[str, Any] | None = None, **more: Any) -> ByHand:
    """Return a run that waits for a person's word on the wire."""
    run = ByHand(paid(**more), policy)
    run.succeed("order")
    assert (run.outcome, run.questions) == ("waiting", ["approve:wire"])
    return run


def state_of(run: ByHand) -> Any:
    """Return all that a run remembers, but for how much it was told and when."""
    return {key: value for key, value in run.machine.snapshot()["state"].items() if key not in ("seq", "at")}


# ------------------------------------------------------------------------------------------------------------ approving


def test_a_call_that_was_approved_is_made() -> None:
    """A yes starts the call with the inputs that were shown, and the run goes on to its end."""
    run = before_the_wire()
    assert run.asked("approve:wire").inputs == (("order", "order", "order"), ("amount", "amount", "input"))
    assert run.asked("approve:wire").options == ("yes", "no", "edit")
    run.say("approve:wire", "yes")
    assert (run.in_flight, run.issued(Start)[-1].inputs) == (["wire"], run.asked("approve:wire").inputs)
    run.succeed("wire")
    assert (run.outcome, run.result().route) == ("met", ("order", "wire"))
    check_replay(run.log)


def test_a_call_that_was_refused_is_gone_round() -> None:
    """A no excludes the node, the run reroutes with the trigger `refused`, and both name the person's reason."""
    run = before_the_wire()
    run.say("approve:wire", "no", reason="not to this account")
    assert [(event.node, event.reason) for event in of(run, NodeExcluded)] == [("wire", "refused: not to this account")]
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, reroute.node, reroute.cause) == ("refused", "wire", "not to this account")
    run.succeed("card")
    assert (run.outcome, started(run)) == ("met", ["order", "card"])


def test_a_refusal_that_leaves_no_way_is_an_escalation() -> None:
    """Where only the refused call leads to the goal, the run demotes, and the refusal is named as the reason."""
    run = ByHand(graph(node("order"), node("wire", "order", gate="always"), goals="paid: wire; seen: order"))
    run.succeed("order")
    run.say("approve:wire", "no")
    [escalated] = of(run, Escalated)
    assert (escalated.decision, escalated.goal_after) == ("demote", "seen")
    assert escalated.blocked == (("wire", "refused: a person said no"),)
    assert (run.outcome, started(run)) == ("demoted", ["order"])


def test_an_edit_changes_what_the_call_is_given() -> None:
    """The edited parameter is the value NODE.PARAMETER of its old provider; the others stay as they were shown."""
    run = before_the_wire()
    run.say("approve:wire", "edit", "wire.amount")
    [start] = [command for command in run.issued(Start) if command.node == "wire"]
    assert start.inputs == (("order", "order", "order"), ("amount", "wire.amount", "input"))
    assert run.machine.state.edits["wire"]["amount"] == ("wire.amount", "input")


def test_an_edited_call_has_an_idempotency_key_of_its_own() -> None:
    """A provider that saw other inputs under the first key must not take the edited call for a repetition of it."""
    run = before_the_wire()
    run.say("approve:wire", "edit", "wire.amount")
    [order, wire] = run.issued(Start)
    assert (order.key, wire.key) == ("by-hand:order", "by-hand:wire:edit-1")
    plain = before_the_wire()
    plain.say("approve:wire", "yes")
    assert plain.issued(Start)[-1].key == "by-hand:wire"


def test_a_retry_of_an_edited_call_has_the_edited_inputs_and_key() -> None:
    """The second attempt is the same call as the first, and nobody is asked again."""
    run = before_the_wire(effect="idempotent")
    run.say("approve:wire", "edit", "wire.amount")
    run.fail("wire", transient=True)
    run.wake(run.wakes[-1])
    first, second = [command for command in run.issued(Start) if command.node == "wire"]
    assert (first.inputs, first.key) == (second.inputs, second.key)
    assert len(of(run, QuestionAsked)) == 1


@pytest.mark.parametrize("values", [(), ("amount",), ("wire.other",), ("wire.amount", "order")])
def test_an_edit_of_nothing_that_the_call_is_given_changes_nothing(values: tuple[str, ...]) -> None:
    """An edit without values, or with one that is no parameter of the call, leaves the question open."""
    run = before_the_wire()
    before = state_of(run)
    run.say("approve:wire", "edit", *values)
    assert (run.outcome, state_of(run), run.commands[-1:]) == ("waiting", before, run.commands[-1:])
    assert run.questions == ["approve:wire"]


def test_what_is_only_waited_for_cannot_be_edited() -> None:
    """An `after:` need is handed over to nobody, so that there is nothing to edit, also where a parameter shares it."""
    wire = replace(node("wire", gate="always"), needs=(Need("order", "order", passed=False), Need("order", "amount")))
    run = ByHand(graph(node("order"), wire, goals="g: wire"))
    run.succeed("order")
    run.say("approve:wire", "edit", "wire.order")
    assert run.machine.state.inputs["wire"] == (("order", "order", "order"), ("order", "wire.order", "input"))
    assert run.issued(Start)[-1].inputs == (("order", "wire.order", "input"),)


def test_after_an_edit_the_guard_looks_again_and_the_gate_does_not() -> None:
    """The guard sees what the call would now be given; a person who has seen it all outranks the gate's function."""
    run = ByHand(graph(node("wire", "amount", guard=True, gate="function"), goals="g: wire"))
    run.answer("guard", "wire", True)
    run.answer("gate", "wire", False, "15,000 is over the limit")
    run.say("approve:wire", "edit", "wire.amount")
    assert (run.calls, run.in_flight) == ([("guard", "wire")], [])
    assert run.issued(Call)[-1].inputs == (("amount", "wire.amount", "input"),)
    run.answer("guard", "wire", True)
    assert (run.calls, run.in_flight) == ([], ["wire"])
    run.succeed("wire")
    assert run.outcome == "met"


def test_a_second_edit_of_the_same_parameter_is_seen_by_the_guard() -> None:
    """The edited value has the same name both times, and yet it is another one."""
    run = ByHand(two_rates(gate="always", guard=True))
    run.succeed("live")
    run.answer("guard", "wire", True)
    run.say("approve:x1", "yes")
    run.say("approve:wire", "edit", "wire.amount")
    run.answer("guard", "wire", True)
    turn_to_the_other_rate(run)
    run.answer("guard", "wire", True)
    run.succeed("other2")
    assert run.asked("approve:wire").inputs == (("rate", "rate", "cached"), ("amount", "wire.amount", "input"))
    run.say("approve:wire", "edit", "wire.amount")
    assert (run.calls, run.in_flight) == ([("guard", "wire")], [])


def test_a_retry_of_an_approved_call_is_not_asked_again() -> None:
    """The yes was to this call with these inputs; that its first attempt failed changes neither."""
    run = before_the_wire(effect="idempotent")
    run.say("approve:wire", "yes")
    run.fail("wire", transient=True)
    run.wake(run.wakes[-1])
    assert (run.in_flight, len(of(run, QuestionAsked))) == (["wire"], 1)


def two_rates(**more: Any) -> Graph:
    """Return a graph whose wire takes the live rate, and another one once x1 has failed and `other` after it."""
    return graph(
        node("live", "", "rate"),
        node("cached", "", "rate", units=5.0),
        node("wire", "rate amount", **{"effect": "idempotent", "attempts": 3, **more}),
        node("x1", "", "x", gate="always"),
        node("other", "rate", "x", units=3.0),
        node("other2", "rate", "x", units=4.0),
        goals="g: wire x",
        edges=[
            Edge("live", "wire", cost=1.0),
            Edge("live", "other", forbid=True),
            Edge("live", "other2", forbid=True),
        ],
    )


def turn_to_the_other_rate(run: ByHand) -> None:
    """Let the wire fail for now, and the run turn to a route on which it takes the other rate."""
    run.fail("x1")
    run.fail("wire", transient=True)
    run.succeed("cached")
    run.fail("other")
    run.wake(run.wakes[-1])


def test_the_same_call_with_other_inputs_is_asked_about_again() -> None:
    """A yes to a call on one provider's data is no yes to the same call on another's."""
    run = ByHand(two_rates(gate="always"))
    run.succeed("live")
    run.say("approve:x1", "yes")
    run.say("approve:wire", "yes")
    turn_to_the_other_rate(run)
    assert run.in_flight == ["other2"]
    run.succeed("other2")
    assert (run.outcome, run.questions) == ("waiting", ["approve:wire"])
    assert run.asked("approve:wire").inputs[0] == ("rate", "rate", "cached")
    run.say("approve:wire", "yes")
    run.succeed("wire")
    assert (run.outcome, started(run).count("wire")) == ("met", 2)


def test_a_call_that_was_never_asked_about_cannot_be_approved() -> None:
    """A yes that comes before its question changes nothing: nobody has seen what the call would be given."""
    run = ByHand(
        graph(node("order"), node("slow", "order"), node("wire", "order", gate="always"), goals="g: wire slow")
    )
    run.succeed("order")
    assert "wire" in run.machine.state.asked_for
    before = state_of(run)
    run.say("approve:wire", "yes")
    assert state_of(run) == before
    run.succeed("slow")
    assert run.questions == ["approve:wire"]


@pytest.mark.parametrize("early", [True, False])
def test_an_answer_to_a_question_on_other_inputs_starts_nothing(early: bool) -> None:
    """The run turns to another route while a person is thinking: their yes was to what they had been shown."""
    run = ByHand(two_rates(gate="always"), {"people": {"deadline": "1h"}})
    run.succeed("live")
    assert run.questions == ["approve:x1", "approve:wire"]
    run.say("approve:x1", "no")
    assert run.in_flight == ["cached"]
    run.succeed("cached")
    if early:
        run.say("approve:wire", "yes")
    assert run.in_flight == ["other"]
    run.succeed("other", after=60.0)
    question = run.asked("approve:wire")
    assert (run.questions, question.inputs[0], question.until) == (
        ["approve:wire"],
        ("rate", "rate", "cached"),
        3660.0,
    )
    run.say("approve:wire", "yes")
    assert run.issued(Start)[-1].inputs == question.inputs


# ---------------------------------------------------------------------------------------------------- what stops a call


@pytest.mark.parametrize(
    ("policy", "more", "reason"),
    [
        ({"risk": "medium"}, {"risk": 0.5}, "its risk is 0.5, and 0.5 or more needs a person's yes"),
        ({}, {"risk": 1.0}, "its risk is 1, and 1 or more needs a person's yes"),
        ({"usd": 0.5}, {"usd": 0.51}, "it costs $0.51, and more than $0.5 a call needs a person's yes"),
        ({"budget": 0.5}, {"usd": 0.51}, "with it the run will have spent $0.51, and the budget is $0.5"),
        ({}, {"gate": "always"}, "every call of it needs a person's yes"),
    ],
)
def test_what_the_policy_says_about_a_call_stops_it(policy: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    """Risk, price, budget and `approve: always` stop the call before it is made, each with its reason."""
    run = ByHand(graph(node("wire", **more), goals="g: wire"), {"approval": policy})
    assert (run.outcome, started(run), run.asked("approve:wire").reason) == ("waiting", [], reason)
    run.say("approve:wire", "yes")
    run.succeed("wire")
    assert run.outcome == "met"


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ({"risk": "medium"}, {"risk": 0.25}),
        ({"risk": None}, {"risk": 1.0}),
        ({}, {"risk": 0.99}),
        ({"usd": 0.5}, {"usd": 0.5}),
        ({"usd": 0.0}, {}),
        ({"budget": 0.5}, {"usd": 0.5}),
        ({"budget": 0.0}, {}),
    ],
)
def test_what_lies_within_the_policy_is_not_asked_about(policy: dict[str, Any], more: dict[str, Any]) -> None:
    """Below the risk class, at the price or the budget exactly, or with no price at all, the call just starts."""
    assert ByHand(graph(node("wire", **more), goals="g: wire"), {"approval": policy}).in_flight == ["wire"]


def test_a_budget_counts_what_was_really_spent_and_what_is_in_flight() -> None:
    """The second of two calls that together exceed the budget is stopped, and so is one after a dear surprise."""
    two = graph(node("a", usd=0.3), node("b", usd=0.3), goals="g: a b")
    run = ByHand(two, {"approval": {"budget": 0.5}})
    assert (run.in_flight, list(run.machine.state.asked_for)) == (["a"], ["b"])
    chain = graph(node("a", usd=0.1), node("b", "a", usd=0.1), goals="g: b")
    run = ByHand(chain, {"approval": {"budget": 0.5}})
    run.succeed("a", usd=0.45)
    assert run.asked("approve:b").reason == "with it the run will have spent $0.55, and the budget is $0.5"


def test_a_budget_that_is_used_up_to_the_cent_stops_nothing() -> None:
    """0.1 and 0.2 dollars fit into a budget of 0.3, whatever floats make of it."""
    two = graph(node("a", usd=0.1), node("b", usd=0.2), goals="g: a b")
    assert ByHand(two, {"approval": {"budget": 0.3}}).in_flight == ["a", "b"]


def test_a_retry_that_the_budget_stops_is_asked_about() -> None:
    """The first attempt cost money and failed: the second one is over the budget, and the run waits for a word."""
    run = ByHand(graph(node("a", usd=0.3), goals="g: a"), {"approval": {"budget": 0.5}})
    run.end("a", "failed", failure=Failure("raised", transient=True), usd=0.3)
    run.wake(run.wakes[-1])
    assert (run.outcome, run.questions) == ("waiting", ["approve:a"])
    run.say("approve:a", "yes")
    assert run.in_flight == ["a"]
    run.succeed("a")
    assert run.outcome == "met"


def test_a_retry_that_the_route_took_for_granted_can_be_stopped_and_edited_too() -> None:
    """A node that was in flight when the route was planned is none of its nodes; its retry is asked about as well."""
    run = ByHand(
        graph(
            node("a", "ask", usd=0.3),
            node("b", "", "other"),
            node("c", "", "other", units=2.0),
            goals="g: a other",
        ),
        {"approval": {"budget": 0.5}},
    )
    run.fail("b")
    run.end("a", "failed", failure=Failure("raised", transient=True), usd=0.3)
    run.succeed("c")
    run.wake(run.wakes[-1])
    assert run.questions == ["approve:a"]
    run.say("approve:a", "edit", "a.ask")
    assert run.issued(Start)[-1].inputs == (("ask", "a.ask", "input"),)
    run.succeed("a")
    assert run.outcome == "met"


def test_every_reason_is_told_and_none_masks_another() -> None:
    """A gate's own reason, the risk, the price and the budget all stand in the question, in this order."""
    wire = node("wire", "amount", gate="function", risk=1.0, usd=2.0)
    run = ByHand(graph(wire, goals="g: wire"), {"approval": {"usd": 1.0, "budget": 1.5}})
    run.answer("gate", "wire", False, "15,000 is over the limit")
    assert run.asked("approve:wire").reason.split("; ") == [
        "15,000 is over the limit",
        "its risk is 1, and 1 or more needs a person's yes",
        "it costs $2, and more than $1 a call needs a person's yes",
        "with it the run will have spent $2, and the budget is $1.5",
    ]


def test_a_gate_that_passes_masks_no_other_reason() -> None:
    """The node's own rule has nothing against the call; the policy still has."""
    run = ByHand(graph(node("wire", gate="function", risk=1.0), goals="g: wire"))
    run.answer("gate", "wire", True)
    assert (run.outcome, started(run)) == ("waiting", [])


@pytest.mark.parametrize("ok", [True, False])
def test_a_gates_answer_is_taken_for_the_inputs_that_it_saw(ok: bool) -> None:
    """While the gate looks at one set of inputs the route turns to another: that one is looked at by itself."""
    run = ByHand(two_rates(gate="function"))
    run.succeed("live")
    assert run.issued(Call)[-1].inputs[0] == ("rate", "rate", "live")
    run.crash()
    run.see(view(run.machine.graph, x1="circuit open"))
    run.succeed("cached", "other")
    assert (run.calls, run.in_flight) == ([("gate", "wire")], [])
    assert run.machine.outstanding() == (run.issued(Call)[0],)
    run.answer("gate", "wire", ok, None if ok else "not at this rate")
    assert (run.calls, run.in_flight, run.questions) == ([("gate", "wire")], [], [])
    assert run.issued(Call)[-1].inputs[0] == ("rate", "rate", "cached")
    run.answer("gate", "wire", True)
    assert run.in_flight == ["wire"]


def test_a_gate_that_answers_about_a_call_that_is_not_to_be_made_any_more_asks_nobody() -> None:
    """The route has gone elsewhere while the gate was looking: the run ends without a question."""
    run = ByHand(
        graph(
            node("a"),
            node("wire", gate="function"),
            node("j", "a wire", "v"),
            node("k", "", "v", units=9.0),
            node("ask", gate="always"),
            goals="g: v ask",
        )
    )
    run.fail("a")
    run.answer("gate", "wire", False, "no")
    run.succeed("k")
    assert run.questions == ["approve:ask"]


# ------------------------------------------------------------------------------------------------------------- settling


def lost(policy: dict[str, Any] | None = None, *, pure: bool = False, rival: bool = True, **more: Any) -> ByHand:
    """Return a run that waits for a person to say whether a payment happened."""
    pay = node("pay", "", "pay" if pure else "proof", effect="once", pure=pure, **more)
    other = [node("card", "", "pay" if pure else "proof", effect="once", units=9.0)] if rival else []
    value = "pay" if pure else "proof"
    run = ByHand(graph(pay, *other, node("spare"), goals=f"paid: {value}; less: spare"), policy)
    run.fail("pay", type="timeout", transient=True, happened="unknown")
    assert (run.outcome, run.questions) == ("waiting", ["settle:pay"])
    return run


def test_a_person_who_knows_the_result_settles_a_lost_call() -> None:
    """Yes with the value: it is held as the node's own result, and the run goes on from it."""
    run = lost()
    run.say("settle:pay", "yes", "proof")
    assert [(event.done, event.by) for event in of(run, Settled)] == [(True, "person")]
    assert (run.outcome, run.result().route, started(run)) == ("met", ("pay",), ["pay"])


def test_a_lost_call_that_happened_without_a_known_result_is_replaced() -> None:
    """Yes without a value: there is nothing to go on from, and a rival may start only after the undo."""
    run = lost(undo=True)
    run.say("settle:pay", "yes")
    assert run.calls == [("undo", "pay")]
    run.answer("undo", "pay", True)
    run.succeed("card")
    assert (run.outcome, started(run)) == ("met", ["pay", "card"])
    final = lost()
    final.say("settle:pay", "yes")
    assert (final.in_flight, final.machine.state.goal) == (["spare"], "less")


def test_a_lost_pure_effect_that_happened_needs_no_value() -> None:
    """Its result is null anyway: a bare yes is enough to go on."""
    run = lost(pure=True)
    run.say("settle:pay", "yes")
    assert (run.outcome, run.result().route) == ("met", ("pay",))


def test_a_lost_call_that_did_not_happen_lets_another_provider_start() -> None:
    """No: it is excluded, its money is given back, and the rival starts."""
    run = lost()
    run.say("settle:pay", "no")
    assert (run.in_flight, [event.done for event in of(run, Settled)]) == (["card"], [False])
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, reroute.cause) == ("unknown", "not done")


def test_values_of_other_names_are_no_result() -> None:
    """What a person adds beside the node's own values is dropped; nothing of it is held."""
    run = lost()
    run.say("settle:pay", "yes", "spare")
    assert "spare" not in run.machine.state.held
    assert run.machine.state.excluded["pay"].reason == "excluded: done without a result"


def test_an_outcome_that_is_still_being_looked_up_is_not_settled_by_an_answer() -> None:
    """Nobody was asked yet: an answer, perhaps a repetition of an older one, changes nothing."""
    run = ByHand(graph(node("pay", effect="once", verify=True), goals="g: pay"))
    run.fail("pay", type="timeout", happened="unknown")
    run.say("settle:pay", "no")
    assert (run.calls, of(run, Settled)) == ([("verify", "pay")], [])


def test_a_call_that_a_person_had_repeated_is_settled_by_itself() -> None:
    """Its second unknown outcome is a question of its own, also where nobody answered the first one in time."""
    run = lost({"people": {"deadline": "1h"}, "escalation": {"by": "person"}}, rival=False)
    run.wake(3600.0)
    assert run.questions == ["decide:1"]
    run.late("pay", outcome="failed", failure=Failure("refused"))
    assert "retry:pay" in run.asked("decide:1").options
    run.say("decide:1", "retry:pay")
    assert run.in_flight == ["pay"]
    run.fail("pay", type="timeout", happened="unknown")
    assert run.questions == ["settle:pay"]
    assert run.asked("settle:pay").until == run.at + 3600.0


# ------------------------------------------------------------------------------------------------------------- deciding


def stuck(policy: dict[str, Any] | None = None, **more: Any) -> ByHand:
    """Return a run that waits for a person to decide, because its only payment failed for good."""
    of_graph = graph(
        node("order"),
        node("pay", "order", "proof", effect="once", **more),
        node("letter", "proof"),
        goals="told: letter; paid: proof; seen: order",
    )
    run = ByHand(of_graph, {"escalation": {"by": "person"}, **(policy or {})})
    run.succeed("order")
    run.fail("pay", message="card declined")
    assert (run.outcome, run.questions) == ("waiting", ["decide:1"])
    return run


def test_a_person_is_asked_what_to_do_where_no_route_is_left() -> None:
    """One escalation answers the failure; the question lists what leads on, and nothing is undone meanwhile."""
    run = stuck()
    [escalated] = of(run, Escalated)
    assert (escalated.by, escalated.decision, escalated.answers) == ("policy", "ask", (("pay", 1),))
    question = run.asked("decide:1")
    assert (question.kind, question.node, question.reason) == ("decide", "told", "unreachable")
    listed = ("demote:seen", "retry:pay", "supply:letter", "supply:proof", "give_up")
    assert question.options == ("yes", "no", *listed)


def test_a_person_may_demote() -> None:
    """The run goes on to the chosen goal; the escalation says that a person decided, and in which words."""
    run = stuck()
    run.say("decide:1", "demote:seen", reason="enough for today")
    escalated = of(run, Escalated)[-1]
    assert (escalated.by, escalated.decision, escalated.words) == ("person", "demote", "enough for today")
    assert (run.outcome, run.result().goal) == ("demoted", "seen")


def test_a_person_may_have_a_once_node_tried_again() -> None:
    """One more attempt, recorded as a decision to retry, under the key of the first one."""
    run = stuck()
    run.say("decide:1", "retry:pay")
    escalated = of(run, Escalated)[-1]
    assert (escalated.by, escalated.decision, escalated.nodes) == ("person", "retry", ("pay",))
    assert [command.key for command in run.issued(Start) if command.node == "pay"] == ["by-hand:pay"] * 2
    run.succeed("pay", "letter")
    assert (run.outcome, run.result().goal) == ("met", "told")


def test_a_retry_gives_one_more_attempt_and_no_more() -> None:
    """When it fails again the person is asked again; transient or not, nothing repeats it by itself."""
    run = stuck(attempts=5)
    run.say("decide:1", "retry:pay")
    run.fail("pay", transient=True)
    assert (run.questions, started(run)) == (["decide:2"], ["order", "pay", "pay"])


def test_a_person_may_supply_any_value_that_helps() -> None:
    """It is held with provider `input`, and the run goes on from it."""
    run = stuck()
    run.say("decide:1", "supply:proof", "proof")
    escalated = of(run, Escalated)[-1]
    assert (escalated.decision, escalated.value) == ("supply", "proof")
    assert (run.in_flight, run.issued(Start)[-1].inputs) == (["letter"], (("proof", "proof", "input"),))
    assert of(run, RoutePlanned)[-1].trigger == "escalated"
    run.succeed("letter")
    assert run.outcome == "met"


@pytest.mark.parametrize(("answer", "decision"), [("give_up", "give_up"), ("no", "give_up"), ("yes", "demote")])
def test_yes_is_the_first_option_and_no_is_to_give_up(answer: str, decision: str) -> None:
    """Whoever answers in one word decides as well."""
    run = stuck()
    run.say("decide:1", answer)
    assert of(run, Escalated)[-1].decision == decision
    assert run.outcome == ("failed" if decision == "give_up" else "demoted")


@pytest.mark.parametrize(
    ("question", "answer", "values"),
    [
        ("decide:1", "demote:nowhere", ()),
        ("decide:1", "demote:paid", ()),
        ("decide:1", "retry:order", ()),
        ("decide:1", "ask", ()),
        ("decide:1", "supply:proof", ()),
        ("decide:1", "supply:proof", ("letter",)),
        ("decide:1", "", ()),
        ("decide:2", "give_up", ()),
        ("decide:", "give_up", ()),
        ("approve:pay", "yes", ()),
        ("settle:pay", "yes", ()),
        ("approve:nobody", "yes", ()),
        ("settle:nobody", "no", ()),
        ("what?", "yes", ()),
        ("", "yes", ()),
    ],
)
def test_an_answer_to_no_question_changes_nothing(question: str, answer: str, values: tuple[str, ...]) -> None:
    """A question that is not open, an option that is not listed, a value that is missing: the run waits as before."""
    run = stuck()
    before = state_of(run)
    step = run.say(question, answer, *values)
    assert (step.commands, len(step.records), state_of(run)) == ((), 1, before)
    run.say("decide:1", "give_up")
    assert run.outcome == "failed"


def test_a_person_can_go_on_for_as_long_as_they_like() -> None:
    """Each further attempt is a person's word of its own, and the first no ends the run."""
    run = stuck()
    for n in range(1, 6):
        run.say(f"decide:{n}", "retry:pay")
        run.fail("pay")
    run.say("decide:6", "no")
    assert (run.outcome, started(run).count("pay")) == ("failed", 6)
    check_replay(run.log)


def test_where_only_several_nodes_together_help_they_are_offered_together() -> None:
    """Neither of two failed needs of one node alone makes a route: the option names both, and tries both again."""
    run = ByHand(graph(node("a"), node("b"), node("c", "a b"), goals="g: c"), {"escalation": {"by": "person"}})
    run.fail("a", "b")
    assert [option for option in run.asked("decide:1").options if option.startswith("retry")] == ["retry:a,b"]
    run.say("decide:1", "retry:a,b")
    assert sorted(run.in_flight) == ["a", "b"]


def test_a_refused_call_may_be_permitted_after_all() -> None:
    """A person who said no can say otherwise where nothing else is left; the call is still asked about."""
    run = ByHand(graph(node("wire", gate="always"), goals="g: wire"), {"escalation": {"by": "person"}})
    run.say("approve:wire", "no")
    run.say("decide:1", "retry:wire")
    assert run.questions == ["approve:wire"]
    run.say("approve:wire", "yes")
    run.succeed("wire")
    assert run.outcome == "met"


def test_an_effect_that_happened_is_not_offered_for_another_attempt() -> None:
    """Not while it stands, not while nobody knows, and not after it was undone: it happened."""
    run = ByHand(
        graph(
            node("pay", "", "proof", effect="once", undo=True),
            node("cash", "", "proof", units=9.0),
            goals="g: proof",
        ),
        {"escalation": {"by": "person"}},
    )
    run.fail("pay", happened="yes")
    run.answer("undo", "pay", True)
    run.fail("cash")
    assert [option for option in run.asked("decide:1").options if option.startswith("retry")] == ["retry:cash"]


def test_a_policy_that_forbids_demotion_offers_none() -> None:
    """Neither a person nor a model is offered a lower goal where the policy says that the run may not be demoted."""
    run = stuck({"escalation": {"by": "person", "demote": False}})
    assert not [option for option in run.asked("decide:1").options if option.startswith("demote")]


# ---------------------------------------------------------------------------------------------------- several questions


def several() -> ByHand:
    """Return a run that waits for three words at once: it went round a lost payment, to calls that need a yes."""
    run = ByHand(
        graph(
            node("pay", effect="once"),
            node("j", "pay", "v"),
            node("k", "", "v", units=9.0, gate="always"),
            node("ship", gate="always", effect="once"),
            goals="g: v ship",
        )
    )
    run.fail("pay", type="timeout", happened="unknown")
    assert (run.outcome, run.questions) == ("waiting", ["settle:pay", "approve:k", "approve:ship"])
    return run


def test_an_answer_to_one_of_several_questions_leaves_the_others_open() -> None:
    """What was answered goes on at once; then the run waits again, and asks what is still open again."""
    run = several()
    run.say("approve:k", "yes")
    assert (run.outcome, run.in_flight, run.questions) == (None, ["k"], [])
    run.succeed("k")
    assert (run.outcome, run.questions) == ("waiting", ["settle:pay", "approve:ship"])
    run.say("approve:ship", "yes")
    run.succeed("ship")
    assert (run.outcome, run.result().route) == ("met", ("k", "ship"))
    asked = [event.question for event in of(run, QuestionAsked)]
    assert asked == ["settle:pay", "approve:k", "approve:ship", "settle:pay", "approve:ship"]
    check_replay(run.log)


def test_answers_come_in_any_order_also_while_the_run_goes_on() -> None:
    """The second answer arrives after the first one has set the run going, and is taken as well."""
    run = several()
    run.say("approve:ship", "yes")
    run.say("settle:pay", "no")
    run.say("approve:k", "yes")
    assert run.in_flight == ["k"]
    run.succeed("k")
    assert run.in_flight == ["ship"]


def test_an_answer_that_is_given_twice_counts_once() -> None:
    """The second one finds no open question; a later no does not take the first yes back."""
    run = several()
    run.say("approve:k", "yes")
    step = run.say("approve:k", "no")
    assert (len(step.records), step.commands, run.in_flight) == (1, (), ["k"])


def test_a_refusal_can_make_other_questions_needless() -> None:
    """The run goes where it needs no second word, and the question about it is closed."""
    run = ByHand(
        graph(
            node("a", gate="always"),
            node("b", gate="always"),
            node("j", "a b", "v"),
            node("k", "", "v", units=20.0),
            goals="g: v",
        )
    )
    assert run.questions == ["approve:a", "approve:b"]
    run.say("approve:a", "no")
    assert run.in_flight == ["k"]
    step = run.say("approve:b", "yes")
    assert step.commands == ()
    run.succeed("k")
    assert run.outcome == "met"


def test_an_effect_is_asked_about_together_with_what_it_waits_for() -> None:
    """Effects come last, and yet a person is asked about them at once, wherever on the route they stand."""
    for names in (("a", "b"), ("b", "a")):
        read, effect = names
        nodes = node(read, gate="always"), node(effect, effect="once", gate="always")
        assert sorted(ByHand(graph(*nodes, goals="g: a b")).questions) == ["approve:a", "approve:b"]


def test_a_decision_is_asked_about_alone() -> None:
    """Where there is no route, nobody is asked to approve a call that lies on none."""
    run = ByHand(
        graph(node("a"), node("wire", gate="always"), node("j", "a wire", "v"), goals="g: v"),
        {"escalation": {"by": "person"}},
    )
    run.fail("a")
    assert run.questions == ["decide:1"]
    run.say("decide:1", "retry:a")
    run.succeed("a")
    assert run.questions == ["approve:wire"]


def test_a_node_that_waits_for_its_retry_does_not_keep_a_person_from_being_asked() -> None:
    """Nothing is retried while a decision is waited for; the wait for it is not a wait of the run."""
    run = ByHand(graph(node("a"), node("b"), node("c", "a b"), goals="g: c"), {"escalation": {"by": "person"}})
    run.fail("a", transient=True)
    run.fail("b")
    assert (run.outcome, run.questions) == ("waiting", ["decide:1"])
    run.wake(run.wakes[0])
    run.say("decide:1", "retry:b")
    assert sorted(run.in_flight) == ["a", "b"]


def test_options_are_those_of_the_moment_of_the_question() -> None:
    """What fails until nothing is in flight any more is not offered, and has its answer."""
    for slow_works in (True, False):
        slow = node("slow", effect="idempotent")
        of_graph = graph(node("a"), slow, node("c", "a"), goals="g: c slow; less: slow")
        run = ByHand(of_graph, {"escalation": {"by": "person"}})
        run.fail("a")
        assert (run.outcome, run.questions, run.in_flight) == (None, [], ["slow"])
        run.succeed("slow") if slow_works else run.fail("slow")
        assert ("demote:less" in run.asked("decide:1").options) == slow_works
        answers = [event.answers for event in of(run, Absorbed)]
        assert answers == ([] if slow_works else [(("slow", 1),)])


def test_an_option_that_no_longer_leads_on_is_not_taken() -> None:
    """A veto makes the chosen retry useless before it is answered: the run asks again, with what is open now."""
    of_graph = graph(node("a"), node("spare"), goals="g: a; less: spare")
    run = ByHand(of_graph, {"escalation": {"by": "person"}})
    run.fail("a")
    assert "retry:a" in run.asked("decide:1").options
    run.see(view(of_graph, a="circuit open"))
    run.say("decide:1", "retry:a")
    assert (run.outcome, run.questions, started(run)) == ("waiting", ["decide:1"], ["a"])
    assert "retry:a" not in run.asked("decide:1").options
    run.say("decide:1", "demote:less")
    assert run.in_flight == ["spare"]


# -------------------------------------------------------------------------------------------------------------- overdue


def test_a_call_that_nobody_approves_in_time_is_refused() -> None:
    """At the very moment of the deadline, and not before, the run goes another way."""
    run = before_the_wire({"people": {"deadline": "1h"}})
    assert (run.asked("approve:wire").until, run.wakes[-1]) == (3600.0, 3600.0)
    run.wake(3599.999)
    assert run.outcome == "waiting"
    run.wake(3600.0)
    assert (run.in_flight, run.machine.state.excluded["wire"].reason) == (["card"], "refused: nobody answered in time")
    assert of(run, Rerouted)[0].trigger == "refused"


def test_a_run_that_nobody_answers_in_time_can_be_cancelled() -> None:
    """With `overdue: cancel` it ends cancelled, and says why."""
    run = before_the_wire({"people": {"deadline": "1h", "overdue": "cancel"}})
    run.wake(3600.0)
    assert (run.outcome, run.result().reason) == ("cancelled", "nobody answered in time")


def test_an_answer_at_the_very_deadline_is_in_time() -> None:
    """What comes at that moment counts, if it comes before the moment has been acted upon."""
    run = before_the_wire({"people": {"deadline": "1h"}})
    run.say("approve:wire", "yes", after=3600.0)
    assert run.in_flight == ["wire"]


def test_an_answer_after_the_deadline_is_too_late_also_where_nobody_drove_the_run() -> None:
    """The policy has answered by then, whether or not anybody was there to say so."""
    run = before_the_wire({"people": {"deadline": "1h"}})
    run.say("approve:wire", "yes", after=3600.001)
    assert (run.in_flight, started(run)) == (["card"], ["order", "card"])


def test_a_settlement_that_is_overdue_is_left_open() -> None:
    """Nobody guesses: the outcome stays unknown, no rival starts, and the run takes the goal that does without."""
    run = lost({"people": {"deadline": "1h"}})
    run.wake(3600.0)
    assert (run.in_flight, started(run)) == (["spare"], ["pay", "spare"])
    run.succeed("spare")
    assert (run.outcome, run.result().goal, of(run, Settled)) == ("demoted", "less", [])


def test_a_decision_that_is_overdue_is_the_policys() -> None:
    """The rule decides: the best lower goal that can be reached."""
    run = stuck({"people": {"deadline": "1h"}})
    run.wake(3600.0)
    escalated = of(run, Escalated)[-1]
    assert (escalated.by, escalated.decision, run.outcome) == ("policy", "demote", "demoted")


def test_a_question_that_is_asked_again_keeps_its_deadline() -> None:
    """An answer to another question does not give more time to this one; a crash does not either."""
    run = ByHand(
        graph(node("a", gate="always"), node("b", gate="always"), goals="g: a b"), {"people": {"deadline": "1h"}}
    )
    run.say("approve:a", "yes", after=100.0)
    run.succeed("a", after=50.0)
    assert run.asked("approve:b").until == 3600.0
    run.crash()
    assert WakeAt(3600.0) in run.machine.outstanding()
    run.wake(3600.0)
    assert (run.outcome, started(run)) == ("failed", ["a"])


def test_a_question_that_has_gone_cannot_become_overdue() -> None:
    """A settled outcome cancels no run an hour later, although its question had a deadline."""
    run = ByHand(
        graph(node("pay", effect="once"), node("wire", "pay", gate="always"), goals="g: wire"),
        {"people": {"deadline": "1h", "overdue": "cancel"}},
    )
    run.fail("pay", type="timeout", happened="unknown")
    run.wake(1800.0)
    run.late("pay")
    assert (run.questions, run.asked("approve:wire").until) == (["approve:wire"], 5400.0)
    run.wake(3600.0)
    assert (run.outcome, run.questions) == ("waiting", ["approve:wire"])
    run.wake(5400.0)
    assert run.outcome == "cancelled"


GATED = [(1, "always", 1.0), (2, "never", 9.0)]


def test_several_overdue_questions_are_all_answered() -> None:
    """Each call is refused, each one is gone round, and nobody is asked again."""
    nodes = [node(f"{value}{i}", "", value, gate=gate, units=u) for value in "ab" for i, gate, u in GATED]
    run = ByHand(graph(*nodes, goals="g: a b"), {"people": {"deadline": "1h"}})
    assert run.questions == ["approve:a1", "approve:b1"]
    run.wake(3600.0)
    assert [event.node for event in of(run, NodeExcluded)] == ["a1", "b1"]
    assert run.in_flight == ["a2", "b2"]
    run.succeed("a2", "b2")
    assert run.outcome == "met"


# ------------------------------------------------------------------------------------------ time, crashes, cancellation


def test_waiting_for_people_does_not_count_against_the_time_limit() -> None:
    """A person's night is not the run's: after it the run has the seconds left that it had before."""
    run = before_the_wire({"limits": {"seconds": "10s"}})
    run.say("approve:wire", "yes", after=50_000.0)
    assert (run.in_flight, run.machine.state.expired) == (["wire"], False)
    run.wake(50_010.0)
    assert not run.machine.finished
    run.wake(run.wakes[-1])
    assert run.machine.state.expired
    run.succeed("wire")
    assert (run.outcome, of(run, Escalated)[-1].reason) == ("demoted", "limit:seconds")


def test_a_late_result_that_ends_the_wait_ends_it_like_an_answer() -> None:
    """The time of the wait does not count, and the run is woken at its new deadline."""
    run = ByHand(
        graph(node("pay", effect="once"), node("b", "pay", seconds=5.0), goals="g: b"), {"limits": {"seconds": "10s"}}
    )
    run.fail("pay", type="timeout", happened="unknown")
    run.wake(1000.0)
    run.late("pay")
    assert (run.in_flight, run.machine.state.waited, run.outcome) == (["b"], 1000.0, None)
    assert run.wakes[-1] > 1010.0
    run.wake(1010.0)
    assert not run.machine.state.expired


def test_time_in_which_nobody_drove_the_run_does_not_count_either() -> None:
    """A process that was down for a day takes no second off the limit, and the new deadline wakes the run."""
    run = ByHand(graph(node("a"), goals="g: a"), {"limits": {"seconds": "10s"}})
    run.wake(4.0)
    run.resume(after=86_400.0)
    assert run.machine.state.waited == 86_400.0
    assert run.wakes[-1] > 86_410.0
    run.wake(86_410.0)
    assert not run.machine.state.expired
    run.wake(run.wakes[-1])
    run.end("a", "cancelled")
    assert (run.outcome, run.result().reason) == ("failed", "limit:seconds")


def test_a_run_that_is_resumed_while_it_waits_counts_the_wait_once() -> None:
    """Waiting and downtime at once are one and the same time."""
    run = before_the_wire({"limits": {"seconds": "10s"}})
    run.resume(after=1000.0)
    assert run.questions == ["approve:wire"]
    run.say("approve:wire", "yes", after=500.0)
    assert (run.machine.state.waited, run.in_flight) == (1500.0, ["wire"])


def test_a_waiting_run_can_be_cancelled() -> None:
    """It ends at once, undoes what it did, and takes no answer any more."""
    run = ByHand(
        graph(node("a", effect="once", undo=True), node("wire", "a", effect="once", gate="always"), goals="g: wire")
    )
    run.succeed("a")
    run.cancel()
    assert run.calls == [("undo", "a")]
    run.say("approve:wire", "yes")
    assert run.in_flight == []
    run.answer("undo", "a", True)
    assert (run.outcome, [event.outcome for event in of(run, RunFinished)]) == ("cancelled", ["waiting", "cancelled"])
    run.say("approve:wire", "yes")
    assert (run.outcome, started(run)) == ("cancelled", ["a"])
    check_replay(run.log)


def test_a_veto_that_comes_while_a_person_thinks_is_heard() -> None:
    """A node whose circuit opened while the run waited is not called, whatever the person says afterwards."""
    run = before_the_wire()
    run.see(view(run.machine.graph, wire="circuit open"))
    assert run.in_flight == ["card"]
    run.say("approve:wire", "yes")
    assert started(run) == ["order", "card"]


def test_a_view_that_changes_nothing_leaves_the_run_waiting() -> None:
    """Nothing is asked twice because of it, whatever the question is."""
    for run in (before_the_wire(), stuck(), lost()):
        asked = len(of(run, QuestionAsked))
        step = run.see(view(run.machine.graph, id="calm"))
        assert (run.outcome, len(step.records), len(of(run, QuestionAsked))) == ("waiting", 1, asked)


def test_a_view_that_makes_a_route_needs_no_decision_any_more() -> None:
    """A node that is usable again while a person is asked what to do: the run goes on along it."""
    of_graph = graph(node("a", "", "v"), node("b", "", "v", units=2.0), goals="g: v")
    run = ByHand(of_graph, {"escalation": {"by": "person"}})
    run.see(view(of_graph, b="circuit open"))
    run.fail("a")
    assert run.questions == ["decide:1"]
    run.see(view(of_graph, id="closed again"))
    assert (run.in_flight, run.questions) == (["b"], [])
    assert of(run, Rerouted)[-1].trigger == "view"
    run.say("decide:1", "give_up")
    run.succeed("b")
    assert run.outcome == "met"


def test_what_a_run_waits_for_survives_a_crash() -> None:
    """Questions, answers, edits and deadlines go through a snapshot; the other machine ends as the first would."""

    def story(run: ByHand, step: Any = lambda: None) -> None:
        for act in (
            lambda: run.succeed("order"),
            lambda: run.say("approve:wire", "edit", "wire.amount", after=10.0),
            lambda: run.fail("wire", type="timeout", happened="unknown"),
            lambda: run.say("settle:wire", "no", after=10.0),
            lambda: run.fail("card"),
            lambda: run.say("decide:1", "retry:wire"),
            lambda: run.succeed("wire"),
        ):
            act()
            step()

    policy = {"escalation": {"by": "person"}, "people": {"deadline": "1h"}, "limits": {"seconds": "60s"}}
    plain, crashing = ByHand(paid(), policy), ByHand(paid(), policy)
    story(plain)
    story(crashing, crashing.crash)
    assert (plain.outcome, started(plain)) == ("met", ["order", "wire", "card", "wire"])
    assert (crashing.log, crashing.commands) == (plain.log, plain.commands)
    assert [event.key for event in of(plain, AttemptStarted) if event.node == "wire"] == ["by-hand:wire:edit-1"] * 2
    check_replay(plain.log)
