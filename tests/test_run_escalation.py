"""Where no route is left: what a model is asked, what its answer may do, and when the policy decides instead."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.events import (
    Absorbed,
    Escalated,
    Failure,
    LastChance,
    ModelAnswered,
    ModelAsked,
    Rerouted,
    RoutePlanned,
    RunEnded,
    Settled,
)
from orchestrator.graph import Goal, Graph
from orchestrator.planner import Planner, Route, Situation
from orchestrator.run import AskModel
from orchestrator.weight import View
from tests.conftest import check_replay
from tests.running import ByHand, graph, node, of, simulated, started, view


def model(**more: Any) -> dict[str, Any]:
    """Return a policy by which a model decides."""
    return {"escalation": {"by": "model", "model": "small", **more}}


def trip(**more: Any) -> Graph:
    """Return a graph of one flight, a hotel that needs it, and goals below."""
    return graph(
        node("city"),
        node("flight", "city", **more),
        node("hotel", "flight"),
        goals="trip: hotel; flown: flight; seen: city",
    )


def asking(policy: dict[str, Any] | None = None, **more: Any) -> ByHand:
    """Return a run in which a model is being asked, because the only flight has failed for good."""
    run = ByHand(trip(**more), policy or model())
    run.succeed("city")
    run.fail("flight", message="fully booked")
    assert isinstance(run.commands[-1], AskModel)
    return run


# --------------------------------------------------------------------------------------------------------- the question


def test_a_model_is_asked_what_to_decide_where_no_route_is_left() -> None:
    """The question holds the goal, the reason, what is held, what failed, what is blocked, and what may be chosen."""
    run = asking(model(timeout="7s", supply=["flight"]))
    [question] = of(run, ModelAsked)
    assert (question.n, question.model, question.goal, question.reason) == (1, "small", "trip", "unreachable")
    assert question.held == (("city", "city"),)
    assert question.failed == (("flight", 1, "raised", "fully booked"),)
    assert question.blocked == (("flight", "excluded: raised"),)
    assert run.offered == ("demote:seen", "retry:flight", "supply:flight", "ask", "give_up")
    assert run.commands[-1] == AskModel(1, question, 7.0)
    assert (run.in_flight, run.outcome) == ([], None)


def test_no_model_is_asked_while_a_route_is_left() -> None:
    """Retry, reroute and last chance come first, and need nobody."""
    wide = graph(node("a", "", "v"), node("b", "", "v", units=2.0), goals="g: v")
    run = ByHand(wide, model())
    run.fail("a", transient=True)
    run.wake(run.wakes[-1])
    run.fail("a", transient=True)
    run.fail("b")
    assert (run.in_flight, len(of(run, LastChance)), of(run, ModelAsked)) == (["a"], 1, [])
    run.fail("a")
    assert len(of(run, ModelAsked)) == 1


@pytest.mark.parametrize("more", [{"gate": "always"}, {"risk": 1.0}, {"gate": "function"}])
def test_a_gate_asks_a_person_and_never_a_model(more: dict[str, Any]) -> None:
    """What stops a call before it is made is no want of a route."""
    run = ByHand(graph(node("wire", **more), goals="g: wire"), model())
    if run.calls:
        run.answer("gate", "wire", False)
    assert (run.questions, of(run, ModelAsked)) == (["approve:wire"], [])


def test_a_lost_outcome_is_for_a_person_and_no_model() -> None:
    """Whether an effect happened is no matter of opinion."""
    run = ByHand(graph(node("pay", effect="once"), node("spare"), goals="g: pay; less: spare"), model())
    run.fail("pay", type="timeout", happened="unknown")
    assert (run.questions, of(run, ModelAsked)) == (["settle:pay"], [])


@pytest.mark.parametrize("limit", [{"usd": 0.05}, {"calls": 1}, {"seconds": "500ms"}])
def test_a_limit_is_the_policys_business(limit: dict[str, Any]) -> None:
    """Where a limit leaves no route nobody is asked: the run demotes, or it ends."""
    dear = graph(node("a", usd=0.1, seconds=1.0), node("b", "a"), node("c"), goals="g: b; less: c")
    for by in ("model", "person"):
        run = ByHand(dear, {**model(by=by), "limits": limit})
        assert (of(run, ModelAsked), run.questions, run.in_flight) == ([], [], ["c"])
        assert [event.by for event in of(run, Escalated)] == ["policy"]


def test_a_model_is_asked_at_the_start_where_there_is_no_route_at_all() -> None:
    """A node that is down from the beginning is no reason to decide nothing."""
    result = simulated(trip(), policy=model(), down={"flight": "down for maintenance"})
    [question] = of(result, ModelAsked)
    assert question.blocked == (("flight", "down for maintenance"),)
    assert (result.outcome, result.goal) == ("demoted", "seen")


@pytest.mark.parametrize("policy", [model(calls=0), model(usd=0.0), {"escalation": {"by": "model"}}])
def test_a_model_that_may_not_be_asked_costs_no_plan(policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With no model, no call or no money for it the policy decides, and plans no more than it would by itself."""

    def plans(policy: dict[str, Any]) -> int:
        counted: list[str] = []
        plan = Planner.plan

        def count(self: Planner, view: View, goal: str, situation: Situation) -> Route:
            counted.append(goal)
            return plan(self, view, goal, situation)

        with monkeypatch.context() as patch:
            patch.setattr(Planner, "plan", count)
            run = ByHand(trip(), policy)
            run.succeed("city")
            run.fail("flight")
        assert (run.outcome, of(run, ModelAsked)) == ("demoted", [])
        return len(counted)

    assert plans(policy) == plans({})


def test_where_there_is_nothing_to_choose_no_model_is_asked() -> None:
    """To ask somebody else or to give up is no choice that is worth a question."""
    run = ByHand(graph(node("a", effect="once"), goals="g: a"), model())
    run.fail("a")
    assert (run.outcome, of(run, ModelAsked)) == ("failed", [])


def test_only_the_latest_failures_are_told_and_cut() -> None:
    """A message is cut, and of many failures the last ones are told: nobody reads more."""
    of_graph = graph(*(node(f"n{i:02}", "", "v", units=1.0 + i) for i in range(25)), goals="g: v")
    run = ByHand(of_graph, model())
    for i in range(25):
        run.fail(f"n{i:02}", message="x" * 1000)
    [question] = of(run, ModelAsked)
    assert [name for name, *_ in question.failed] == [f"n{i:02}" for i in range(5, 25)]
    assert {len(message) for *_, message in question.failed} == {300}


# ----------------------------------------------------------------------------------------------------------- the answer


def test_a_model_may_demote() -> None:
    """The run goes on to the listed goal, and the escalation says by whom and in which words."""
    run = asking()
    run.decide("demote:seen", reason="the city is better than nothing")
    escalated = of(run, Escalated)[-1]
    assert (escalated.by, escalated.decision, escalated.goal_after) == ("model", "demote", "seen")
    assert (escalated.words, escalated.answers) == ("the city is better than nothing", (("flight", 1),))
    assert (run.outcome, run.result().goal) == ("demoted", "seen")
    check_replay(run.log)


def test_a_model_may_have_a_node_tried_again() -> None:
    """One more attempt, whatever its number of attempts was, recorded as a decision to retry."""
    run = asking()
    run.decide("retry:flight")
    assert (of(run, Escalated)[-1].nodes, run.in_flight) == (("flight",), ["flight"])
    run.fail("flight", transient=True)
    assert len(of(run, ModelAsked)) == 2
    run.decide("retry:flight")
    run.succeed("flight", "hotel")
    assert (run.outcome, started(run).count("flight")) == ("met", 3)


def test_a_model_may_supply_a_value_that_the_policy_lists() -> None:
    """It is held with provider `input`, and the route goes on from it."""
    run = asking(model(supply=["flight", "flight", "city", "weather"]))
    assert [option for option in run.offered if option.startswith("supply")] == ["supply:flight"]
    run.decide("supply:flight", "flight")
    assert (of(run, Escalated)[-1].value, run.in_flight) == ("flight", ["hotel"])
    assert of(run, RoutePlanned)[-1].trigger == "escalated"
    run.succeed("hotel")
    assert (run.outcome, run.result().route) == ("met", ("hotel",))


def test_a_model_may_have_a_person_decide() -> None:
    """The question goes on to a person, who has more to choose from."""
    run = asking()
    run.decide("ask", reason="I do not know")
    assert (run.outcome, run.questions) == ("waiting", ["decide:1"])
    asked = of(run, Escalated)[-1]
    assert (asked.by, asked.decision, asked.words) == ("model", "ask", "I do not know")
    assert "supply:hotel" in run.asked("decide:1").options
    run.say("decide:1", "supply:hotel", "hotel")
    assert (run.outcome, [event.by for event in of(run, Escalated)]) == ("met", ["model", "person"])


def test_a_model_may_give_up() -> None:
    """The run fails although a lower goal was in reach: that was listed, and not chosen."""
    run = asking()
    run.decide("give_up")
    assert (run.outcome, of(run, Escalated)[-1].by, run.result().reason) == ("failed", "model", "unreachable")


@pytest.mark.parametrize("effect", ["once", None])
def test_a_model_can_never_have_an_effect_repeated(effect: Any) -> None:
    """A `once` or unmarked node is not offered, and naming it all the same is no answer."""
    run = asking(effect=effect)
    assert not [option for option in run.offered if option.startswith("retry")]
    run.decide("retry:flight")
    assert (started(run), run.outcome, of(run, Escalated)[-1].by) == (["city", "flight"], "demoted", "policy")


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        (None, ()),
        ("", ()),
        ("demote:trip", ()),
        ("demote:flown", ()),
        ("demote:moon", ()),
        ("retry:city", ()),
        ("retry:hotel", ()),
        ("retry:flight,hotel", ()),
        ("retry:", ()),
        ("supply:city", ("city",)),
        ("supply:hotel", ("hotel",)),
        ("supply:flight", ()),
        ("supply:flight", ("hotel",)),
        ("supply:flight", ("flight", "hotel")),
        ("call:http://evil.example", ()),
        ("DEMOTE:SEEN", ()),
        ("demote:seen ", ()),
        ("yes", ()),
    ],
)
def test_an_answer_that_is_no_listed_option_is_the_policys(choice: str | None, values: tuple[str, ...]) -> None:
    """Whatever else a model says, the rule decides, and nothing that it named is called or held."""
    run = asking(model(supply=["flight"]))
    run.decide(choice, *values, error=None if choice else "timeout")
    plain = ByHand(trip())
    plain.succeed("city")
    plain.fail("flight", message="fully booked")
    assert of(run, Escalated) == of(plain, Escalated)
    assert (run.outcome, run.result().goal, started(run)) == ("demoted", "seen", ["city", "flight"])
    assert run.machine.state.held == plain.machine.state.held


@pytest.mark.parametrize(
    "fact", [ModelAnswered(0, "give_up"), ModelAnswered(2, "give_up", usd=5.0), ModelAnswered(-1, None, usd=1.0)]
)
def test_an_answer_to_another_question_changes_nothing(fact: ModelAnswered) -> None:
    """The model that was asked is still waited for, and what was never asked costs nothing."""
    run = asking()
    step = run.feed(fact)
    assert (len(step.records), step.commands, run.machine.state.usd) == (1, (), 0.0)
    run.decide("demote:seen")
    assert run.outcome == "demoted"


def test_an_answer_that_comes_twice_counts_once() -> None:
    """Neither its choice nor its price is taken a second time."""
    run = asking()
    run.decide("retry:flight", usd=0.02)
    run.decide("give_up", usd=0.02, n=1)
    assert (run.in_flight, run.machine.state.usd, run.machine.state.model_usd) == (["flight"], 0.02, 0.02)


# ------------------------------------------------------------------------------------------------------- its own limits


def test_a_model_is_asked_a_limited_number_of_times() -> None:
    """One that has the same node tried for ever is asked twice; then the policy decides."""
    run = asking()
    for _ in range(2):
        run.decide("retry:flight")
        run.fail("flight")
    assert (run.outcome, len(of(run, ModelAsked)), started(run).count("flight")) == ("demoted", 2, 3)
    assert [event.by for event in of(run, Escalated)] == ["model", "model", "policy"]


def test_a_model_is_asked_for_a_limited_amount_of_money() -> None:
    """What its answers cost is counted, also in the run's own spending; at the limit it is not asked any more."""
    run = asking(model(calls=10, usd=0.05))
    run.decide("retry:flight", usd=0.03)
    run.fail("flight")
    run.decide("retry:flight", usd=0.03)
    run.fail("flight")
    assert (run.outcome, len(of(run, ModelAsked))) == ("demoted", 2)
    assert run.machine.state.usd == run.machine.state.model_usd == 0.06


def test_the_money_of_a_model_is_the_runs_money() -> None:
    """After a dear answer what it chose does not fit into the limit any more: the policy decides."""
    run = asking({**model(), "limits": {"usd": 0.5}}, usd=0.1)
    run.decide("retry:flight", usd=0.45)
    assert (run.in_flight, of(run, Escalated)[-1].by, run.outcome) == ([], "policy", "demoted")


def test_a_model_is_asked_again_below_the_goal_that_it_chose() -> None:
    """Another goal, another want of a route, another question; each with the options of its moment."""
    of_graph = graph(node("a"), node("b"), node("c"), goals="g: a; h: b; i: c")
    run = ByHand(of_graph, model())
    run.fail("a")
    run.decide("demote:h")
    run.fail("b")
    assert [question.goal for question in of(run, ModelAsked)] == ["g", "h"]
    assert run.offered == ("demote:i", "retry:b", "ask", "give_up")
    run.decide("demote:i")
    run.succeed("c")
    assert (run.outcome, run.result().goal) == ("demoted", "i")


# --------------------------------------------------------------------------------------------- while the model is asked


def busy() -> ByHand:
    """Return a run in which a model is asked while an idempotent node is in flight."""
    nodes = (node("a"), node("b", effect="idempotent"), node("c", "a b"), node("c2"))
    run = ByHand(graph(*nodes, goals="g: c; less: b; least: c2"), model())
    run.fail("a")
    assert (run.in_flight, isinstance(run.commands[-1], AskModel)) == (["b"], True)
    return run


def test_what_fails_while_a_model_is_asked_is_answered_by_the_coming_decision() -> None:
    """The failure waits for the answer; nothing is retried or started meanwhile, and it has exactly one answer."""
    run = busy()
    run.fail("b", transient=True)
    assert (run.in_flight, of(run, Absorbed), [e.answers for e in of(run, Escalated)]) == ([], [], [])
    assert len(of(run, ModelAsked)) == 1
    run.decide("demote:least")
    assert [event.answers for event in of(run, Escalated)] == [(("a", 1), ("b", 1))]
    run.succeed("c2")
    check_replay(run.log)
    assert {(attempt.node, attempt.answer) for attempt in run.result().attempts if attempt.error} == {
        ("a", "escalation-1"),
        ("b", "escalation-1"),
    }


def test_an_option_that_was_closed_meanwhile_is_not_taken() -> None:
    """The goal that the model chose cannot be reached any more: the policy decides among what is left."""
    run = busy()
    run.fail("b")
    run.decide("demote:less")
    escalated = of(run, Escalated)[-1]
    assert (escalated.by, escalated.goal_after, run.in_flight) == ("policy", "least", ["c2"])


def test_a_success_while_a_model_is_asked_is_kept() -> None:
    """What ends meanwhile is held, and the chosen goal may be complete at once."""
    run = busy()
    run.succeed("b")
    run.decide("demote:less")
    assert (run.outcome, run.result().goal) == ("demoted", "less")


def vetoed(by: str = "model", **more: Any) -> ByHand:
    """Return a run that waits for a decision: one provider failed, and the other one's circuit is open."""
    of_graph = graph(node("a", "", "v"), node("b", "", "v", units=2.0), node("spare"), goals="g: v; less: spare")
    run = ByHand(of_graph, {**model(by=by), **more})
    run.see(view(of_graph, b="circuit open"))
    run.fail("a")
    assert bool(of(run, ModelAsked)) != bool(run.questions)
    return run


def test_a_view_that_makes_a_route_needs_no_answer_any_more() -> None:
    """The run goes on along it; the answer that comes later is not acted on, and its money counts."""
    run = vetoed()
    run.see(view(run.machine.graph, id="closed again"))
    assert (run.in_flight, of(run, Rerouted)[-1].trigger) == (["b"], "view")
    run.decide("give_up", usd=0.02)
    assert (run.in_flight, run.outcome, run.machine.state.usd) == (["b"], None, 0.02)
    run.succeed("b")
    assert (run.outcome, of(run, Escalated)) == ("met", [])
    check_replay(run.log)


def test_a_late_result_that_makes_a_route_needs_no_answer_any_more() -> None:
    """A lost effect turns out not to have happened: its rival may start, and the run goes on along it."""
    of_graph = graph(
        node("pay", "", "proof", effect="once"),
        node("paper", "", "proof", units=50.0),
        node("way"),
        node("letter", "way"),
        node("note", "proof", "letter", units=90.0),
        node("spare"),
        goals="g: letter proof; less: spare",
    )
    for by in ("model", "person"):
        run = ByHand(of_graph, {**model(by=by), "people": {"deadline": "1h"}})
        run.succeed("way", "letter")
        run.fail("pay", type="timeout", happened="unknown")
        run.wake(3600.0)
        assert bool(of(run, ModelAsked)) == (by == "model")
        run.late("pay", outcome="failed", failure=Failure("refused"))
        assert (run.in_flight, run.outcome, [event.done for event in of(run, Settled)]) == (["paper"], None, [False])
        run.succeed("paper")
        assert run.outcome == "met"
        check_replay(run.log)


def test_an_attempt_that_ends_and_makes_a_route_needs_no_answer_any_more() -> None:
    """A read that was cancelled answers all the same: what it brings makes a route, and nobody decides anything."""
    of_graph = graph(
        node("slow", "", "v"),
        node("x"),
        node("j", "v x", "w"),
        node("k", "", "w", units=20.0),
        node("m", "v", "w", units=90.0),
        node("spare"),
        goals="g: w; less: spare",
    )
    run = ByHand(of_graph, model())
    run.fail("x")
    assert (run.cancelled, run.in_flight) == (["slow"], ["slow", "k"])
    run.see(view(of_graph, slow="circuit open"))
    run.fail("k")
    assert (run.in_flight, isinstance(run.commands[-1], AskModel)) == (["slow"], True)
    run.succeed("slow")
    assert (run.in_flight, of(run, Rerouted)[-1].trigger) == (["m"], "answered")
    assert of(run, Rerouted)[-1].answers == (("k", 1),)
    run.decide("give_up", usd=0.01)
    run.succeed("m")
    assert (run.outcome, run.machine.state.usd) == ("met", 0.01)
    check_replay(run.log)


def test_a_verify_that_ends_and_makes_a_route_needs_no_answer_any_more() -> None:
    """While the model is asked, an effect turns out not to have happened: its rival may start."""
    of_graph = graph(
        node("pay", "", "proof", effect="once", verify=True),
        node("paper", "", "proof letter", units=50.0),
        node("note", "proof", "letter"),
        node("spare"),
        goals="g: letter; less: spare",
    )
    run = ByHand(of_graph, model())
    run.fail("pay", type="timeout", happened="unknown")
    run.see(view(of_graph, note="circuit open"))
    assert (run.calls, isinstance(run.commands[-1], AskModel)) == ([("verify", "pay")], True)
    run.answer("verify", "pay", False)
    assert (run.in_flight, of(run, Escalated)) == (["paper"], [])
    run.succeed("paper")
    assert (run.outcome, [attempt.answer for attempt in run.result().attempts if attempt.error]) == (
        "met",
        ["reroute-1"],
    )


@pytest.mark.parametrize("by", ["model", "person"])
def test_a_run_that_finds_a_route_but_may_not_be_rerouted_acts_on_the_answer(by: str) -> None:
    """With no reroute left the way that has opened is none: the answer counts, and the run does not wait for ever."""
    run = vetoed(by, limits={"reroutes": 0})
    run.see(view(run.machine.graph, id="closed again"))
    assert (run.in_flight, of(run, Rerouted)) == ([], [])
    if by == "model":
        run.decide("demote:less")
    else:
        run.say("decide:1", "demote:less")
    assert (run.in_flight, of(run, Escalated)[-1].by) == (["spare"], by)
    run.succeed("spare")
    assert run.outcome == "demoted"


def test_a_time_limit_that_is_up_while_a_model_is_asked_ends_the_question() -> None:
    """Nobody is asked again: the run takes the goal that it holds, else it ends for the limit."""
    run = asking({**model(calls=10), "limits": {"seconds": "10s"}})
    run.wake(run.wakes[0])
    assert (run.outcome, run.result().goal, len(of(run, ModelAsked))) == ("demoted", "seen", 1)
    assert of(run, Escalated)[-1].reason == "limit:seconds"
    bare = ByHand(graph(node("a"), node("b"), goals="g: a; less: b"), {**model(), "limits": {"seconds": "10s"}})
    bare.fail("a")
    bare.wake(bare.wakes[0])
    assert (bare.outcome, [event.reason for event in of(bare, RunEnded)]) == ("failed", ["limit:seconds"])
    bare.decide("demote:less", usd=0.01)
    assert (bare.outcome, bare.in_flight, bare.machine.state.usd) == ("failed", [], 0.01)


def test_a_run_in_which_a_model_is_asked_can_be_cancelled() -> None:
    """It ends at once and takes no answer any more; what failed has its answer."""
    run = asking()
    run.cancel()
    assert (run.outcome, [event.answers for event in of(run, RunEnded)]) == ("cancelled", [(("flight", 1),)])
    run.decide("retry:flight")
    assert run.in_flight == []


def test_a_model_that_was_being_asked_is_asked_again_after_a_crash() -> None:
    """The question is outstanding under the same number, word for word, and a first answer to it is taken."""
    run = asking()
    run.resume(after=100.0)
    assert [command for command in run.machine.outstanding() if isinstance(command, AskModel)] == [run.commands[-1]]
    run.decide("demote:seen")
    assert run.outcome == "demoted"
    check_replay(run.log)


# --------------------------------------------------------------------------------------------------------------- checks


def checked() -> ByHand:
    """Return a run by a model whose goal's check has failed once too often, with a fourth provider left."""
    nodes = [node(f"n{i}", "", "v", units=float(i)) for i in (1, 2, 3, 4)]
    goals = [Goal("g", ("v",), check=True), Goal("less", ("spare",))]
    run = ByHand(graph(*nodes, node("spare"), goals=goals), model(supply=["v"]))
    for i in (1, 2, 3):
        run.succeed(f"n{i}")
        run.answer("check", "g", False, "no good")
    return run


def test_a_goal_whose_check_failed_too_often_is_not_planned_again_by_an_answer() -> None:
    """The model chooses among what is left; that another provider could be tried is no route to a goal given up."""
    run = checked()
    assert (of(run, ModelAsked)[-1].reason, run.offered) == ("check", ("demote:less", "supply:v", "ask", "give_up"))
    run.decide("demote:less")
    assert (run.in_flight, started(run)) == (["spare"], ["n1", "n2", "n3", "spare"])


def test_a_person_is_asked_although_every_value_of_the_goal_is_held() -> None:
    """What the check has taken from the goal completes nothing: the run waits for the decision, and does not hang."""
    goals = [Goal("g", ("v",), check=True), Goal("less", ("spare",))]
    run = ByHand(graph(node("n", "", "v"), node("spare"), goals=goals), model(by="person"))
    run.succeed("n")
    run.answer("check", "g", False, "no good")
    assert (run.outcome, run.questions) == ("waiting", ["decide:1"])
    run.say("decide:1", "demote:less")
    assert run.in_flight == ["spare"]


def test_a_value_that_is_supplied_for_a_check_is_checked_once() -> None:
    """The check looks at it like at any other; where it fails again the value is not asked for a second time."""
    run = checked()
    run.decide("supply:v", "v")
    assert run.calls == [("check", "g")]
    run.answer("check", "g", True)
    assert run.outcome == "met"
    run = checked()
    run.decide("supply:v", "v")
    run.answer("check", "g", False, "no good either")
    assert run.offered == ("demote:less", "ask", "give_up")
    run.decide("give_up")
    assert (run.outcome, run.result().reason) == ("failed", "check")


# ---------------------------------------------------------------------------------------------------------- by a person


def test_a_person_decides_where_the_policy_says_so() -> None:
    """No model is asked: the question goes to a person, at quiescence, and the policy's rule waits for them."""
    run = ByHand(trip(), model(by="person"))
    run.succeed("city")
    run.fail("flight")
    assert (run.outcome, run.questions, of(run, ModelAsked)) == ("waiting", ["decide:1"], [])
    assert [(event.by, event.decision) for event in of(run, Escalated)] == [("policy", "ask")]


def test_a_person_is_offered_a_bounded_number_of_values() -> None:
    """Of a thousand values that would help twenty are offered, the goal's own among them, after a bounded search."""
    chain = [node("v000", "", "v000")]
    chain += [node(f"v{i:03}", f"v{i - 1:03}") for i in range(1, 300)]
    run = ByHand(graph(*chain, goals="g: v299"), model(by="person"))
    run.fail("v000")
    supplied = [option for option in run.asked("decide:1").options if option.startswith("supply")]
    assert len(supplied) == 20
    assert "supply:v299" in supplied
