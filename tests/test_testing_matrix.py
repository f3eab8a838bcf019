"""The failure matrix: every set of failures is run and judged, and the judge notices what a run must not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import Orchestrator
from orchestrator.escalation import Verdict
from orchestrator.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    Escalated,
    ModelAsked,
    Record,
    Rerouted,
    RunFinished,
)
from orchestrator.graph import Edge, Graph
from orchestrator.planner import Planner
from orchestrator.simulate import Simulation
from orchestrator.testing import failure_matrix
from orchestrator.testing.judge import judge, reachable
from orchestrator.testing.matrix import KINDS, MatrixPlan
from tests import oracle
from tests.running import graph, node, simulated
from tests.strategies import graphs

REFUND = Path(__file__).resolve().parent.parent / "examples" / "refund" / "refund.yaml"


def refund() -> Orchestrator:
    """Return the refund example, nothing of it imported."""
    return Orchestrator.from_yaml(REFUND, imports=False)


def of(some: Graph, **policy: Any) -> Any:
    """Return what a matrix needs of an orchestrator, for a graph made in a test."""

    class Holder:
        def simulation(self) -> Simulation:
            from orchestrator.drivers.first import Blueprint
            from orchestrator.policy import Policy

            return Simulation(Blueprint(some, Policy.model_validate(policy)))

    return Holder()


# ----------------------------------------------------------------------------------------------------------------- rows


def test_the_matrix_of_the_refund_example() -> None:
    """Singles first, then pairs; the table says what failed, how the run ended, and what was decided."""
    matrix = failure_matrix(refund(), kinds=["down"])
    matrix.check()
    assert str(matrix) == (
        "refund: 21 sets of failures, 6 single: 13 met, 2 demoted, 6 failed\n"
        "  FAILED           END                    ROUTE                  DECIDED\n"
        "  bankpay          refunded_and_told met  crm > cardpay > email  not called\n"
        "  cardpay          refunded_and_told met  crm > bankpay > email  reroute\n"
        "  crm              failed: unreachable    -                      retry, last chance, give up\n"
        "  email            refunded_and_told met  crm > cardpay > sms    retry, reroute\n"
        "  sms              refunded_and_told met  crm > cardpay > email  not called\n"
        "  ticket           refunded_and_told met  crm > cardpay > email  not called\n"
        "  bankpay+cardpay  demoted to noted       crm > ticket           reroute, demote\n"
        "  bankpay+crm      failed: unreachable    -                      retry, last chance, give up\n"
        "  bankpay+email    refunded_and_told met  crm > cardpay > sms    retry, reroute\n"
        "  bankpay+sms      refunded_and_told met  crm > cardpay > email  not called\n"
        "  bankpay+ticket   refunded_and_told met  crm > cardpay > email  not called\n"
        "  cardpay+crm      failed: unreachable    -                      retry, last chance, give up\n"
        "  cardpay+email    refunded_and_told met  crm > bankpay > sms    reroute, retry\n"
        "  cardpay+sms      refunded_and_told met  crm > bankpay > email  reroute\n"
        "  cardpay+ticket   refunded_and_told met  crm > bankpay > email  reroute\n"
        "  crm+email        failed: unreachable    -                      retry, last chance, give up\n"
        "  crm+sms          failed: unreachable    -                      retry, last chance, give up\n"
        "  crm+ticket       failed: unreachable    -                      retry, last chance, give up\n"
        "  email+sms        demoted to refunded    crm > cardpay          retry, reroute, last chance, demote\n"
        "  email+ticket     refunded_and_told met  crm > cardpay > sms    retry, reroute\n"
        "  sms+ticket       refunded_and_told met  crm > cardpay > email  not called"
    )


def test_a_row_can_be_asked_for() -> None:
    """A test of a user's own looks at the row of some nodes: its end, its route, and what answered each failure."""
    matrix = failure_matrix(refund(), kinds=["unknown", "hang"])
    row = matrix.row("email:hang", "cardpay:unknown")
    assert (row.outcome, row.goal, row.route) == ("met", "refunded_and_told", ("crm", "cardpay", "sms"))
    assert row.answers == {"cardpay #1": "absorb-1", "email #1": "retry-1", "email #2": "reroute-1"}
    assert row.failed == (("cardpay", "unknown"), ("email", "hang"))
    assert row.met_it
    with pytest.raises(KeyError, match=r"there is no row 'crm\+crm'"):
        matrix.row("crm", "crm")


def test_kinds_are_tried_where_they_can_happen() -> None:
    """Only a node with an output contract can answer wrong, only a `once` node can leave its outcome unknown."""
    singles = {row.id for row in failure_matrix(refund(), kinds=KINDS, size=1)}
    assert {"crm:permanent", "email:wrong", "cardpay:unknown", "cardpay:wrong"} <= singles
    assert not {"crm:wrong", "crm:unknown", "email:unknown"} & singles


def test_nodes_that_cannot_matter_are_left_out() -> None:
    """A node behind no goal that may be reached is no failure worth a run."""
    some = graph(node("a"), node("b"), node("odd"), goals="both: a b; one: a")
    assert [row.id for row in failure_matrix(of(some), kinds=["down"])] == ["a", "b", "a+b"]
    assert [row.id for row in failure_matrix(of(some), kinds=["down"], goal="one")] == ["a"]


def test_waiting_for_a_person_is_an_answer() -> None:
    """An effect whose outcome stays unknown ends in a question, not in a second payment."""
    some = graph(
        node("stripe", provides="refund", effect="once"),
        node("wire", provides="refund", effect="once", units=2.0),
        goals="refunded: refund",
    )
    matrix = failure_matrix(of(some), kinds=["unknown"])
    matrix.check()
    assert matrix.row("stripe:unknown").ended == "asks settle:stripe"


def test_a_limit_is_an_answer() -> None:
    """A run that stops at its limit says so, and that is not held against it."""
    some = graph(node("a", provides="x", usd=1.0), node("b", provides="x", usd=1.0, units=9.0), goals="g: x")
    matrix = failure_matrix(of(some, limits={"calls": 1}), kinds=["down", "hang"])
    matrix.check()
    assert matrix.row("a").ended == "failed: limit:calls"


def test_a_large_matrix_is_sampled() -> None:
    """Beyond the limit every single failure stays, the others are a sample that the seed picks, and it says so."""
    some = graph(*(node(f"n{number}", provides="x") for number in range(12)), goals="g: x")
    plan = MatrixPlan(of(some), kinds=["down"], limit=20, seed=3)
    assert plan.told() == "graph: 20 sets of failures, 12 single, a sample of 78 (seed 3)"
    assert [len(failed) for failed in plan.sets] == [1] * 12 + [2] * 8
    assert plan.sets == MatrixPlan(of(some), kinds=["down"], limit=20, seed=3).sets
    assert plan.sets != MatrixPlan(of(some), kinds=["down"], limit=20, seed=4).sets
    assert len(MatrixPlan(of(some), kinds=["down"], size=3, limit=9999).sets) == 12 + 66 + 220


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"kinds": ["dwn"]}, "no kind of failure 'dwn'"), ({"size": 0}, "at least one"), ({"limit": 0}, "at least one")],
)
def test_a_matrix_of_nothing_is_refused(arguments: dict[str, Any], message: str) -> None:
    """An unknown kind and an empty matrix are errors: a test that tries nothing would pass."""
    with pytest.raises(ValueError, match=message):
        failure_matrix(refund(), **arguments)


def gated(**policy: Any) -> Any:
    """Return a shop whose wire needs a person's yes, with lower goals; a voucher is the other way."""
    some = graph(
        node("crm", provides="order"),
        node("wire", "order", "refund", effect="once", gate="always"),
        node("voucher", "order", "refund", effect="once", units=2.0),
        node("sms", "refund", "notice"),
        goals="told: refund notice; refunded: refund; seen: order",
    )
    return of(some, **policy)


def test_a_question_is_an_explicit_end() -> None:
    """A run that needs a yes, or a person who decides, ends with its question; no problem, and no step further."""
    matrix = failure_matrix(gated(people={"deadline": "24h"}), kinds=["down"], size=1)
    matrix.check()
    assert [row.ended for row in matrix] == ["failed: unreachable", *["asks approve:wire"] * 3]
    matrix = failure_matrix(gated(escalation={"by": "person"}), kinds=["down"], size=1, approve=True)
    matrix.check()
    assert (matrix.row("crm").ended, matrix.row("sms").ended) == ("asks decide:1", "asks decide:1")
    assert matrix.row("sms").decided == "retry, last chance, ask"


def test_people_may_approve_so_that_failures_behind_a_gate_are_met() -> None:
    """With a yes to every call the gated one is made, and its failure is answered."""
    matrix = failure_matrix(gated(), kinds=["down"], approve=True)
    matrix.check()
    assert (matrix.row("wire").route, matrix.row("wire").decided) == (("crm", "voucher", "sms"), "reroute")
    assert matrix.row("voucher").route == ("crm", "wire", "sms")
    assert (matrix.row("voucher", "wire").ended, matrix.row("voucher", "wire").decided) == (
        "demoted to seen",
        "reroute, demote",
    )


@pytest.mark.parametrize(
    ("choice", "ended"),
    [
        ("demote:seen", "demoted to seen"),
        ("retry:sms", "demoted to refunded"),
        ("supply:notice", "told met"),
        ("ask", "asks decide:1"),
        ("give_up", "failed: unreachable"),
        ("demote:nowhere", "demoted to refunded"),
    ],
)
def test_a_verdict_may_be_given(choice: str, ended: str) -> None:
    """Where a model decides, the matrix is told what it answers; what is not open falls to the policy."""
    some = gated(escalation={"by": "model", "model": "m", "supply": ["notice"]})
    matrix = failure_matrix(some, kinds=["down"], size=1, approve=True, verdict=Verdict(choice))
    matrix.check()
    assert matrix.row("sms").ended == ended
    assert failure_matrix(some, kinds=["down"], size=1, approve=True).row("sms").ended == "demoted to refunded"


def test_a_verdict_may_depend_on_the_question() -> None:
    """A function of the question is asked each time."""
    asked = []

    def decide(question: ModelAsked) -> Verdict:
        asked.append(question.goal)
        return Verdict(question.options[0].id)

    some = gated(escalation={"by": "model", "model": "m"})
    matrix = failure_matrix(some, kinds=["down"], size=1, approve=True, verdict=decide)
    assert matrix.row("sms").ended == "demoted to refunded"
    assert asked == ["told"] * 3  # of crm twice: it is retried first


# ----------------------------------------------------------------------------------------------------------------- laws


@settings(suppress_health_check=list(HealthCheck), max_examples=25)
@given(graphs(max_nodes=6), st.data())
def test_no_run_of_a_generated_graph_is_held_against_it(some: Graph, data: st.DataObject) -> None:
    """Over generated graphs the judge finds nothing: the run machine answers every failure, of every kind.

    Whoever decides, and whatever a model says: the first option, one that is not listed, or nothing.
    """
    certain = replace(some, nodes=tuple(replace(each, success=1.0) for each in some.nodes))
    by = data.draw(st.sampled_from(["policy", "model", "person"]))
    escalation = {"by": by, "model": "m", "supply": list(some.values)[:3], "calls": 3}
    pick = data.draw(st.integers(-1, 9))

    def decide(question: ModelAsked) -> Verdict:
        return Verdict("nothing" if pick < 0 else question.options[pick % len(question.options)].id)

    people = {"deadline": data.draw(st.sampled_from([None, "1h"]))}
    plan = MatrixPlan(
        of(certain, escalation=escalation, people=people),
        kinds=KINDS,
        verdict=data.draw(st.sampled_from([None, decide])),
        approve=data.draw(st.booleans()),
    )
    for _ in range(min(len(plan.sets), 12)):
        row = plan.row(data.draw(st.sampled_from(plan.sets)))
        assert row.problems == (), row.explained()


@settings(suppress_health_check=list(HealthCheck))
@given(graphs(max_nodes=7, allow_once=False, allow_undo=False), st.data())
def test_reachable_is_what_the_oracle_finds(some: Graph, data: st.DataObject) -> None:
    """The judge's fixed point and the exhaustive oracle agree on what can be had without some nodes."""
    names = st.sampled_from([each.name for each in some.nodes])
    gone = data.draw(st.frozensets(names, max_size=3))
    start = replace(oracle.Situation.at_start(some), excluded=gone)
    from orchestrator.policy import Objective
    from orchestrator.weight import declared_view

    for goal in some.goals:
        routes = oracle.enumerate_routes(some, goal, declared_view(some, Objective()), start)
        assert reachable(some, goal.name, some.run_inputs, gone) == (next(iter(routes), None) is not None)


def test_an_optional_need_does_not_stand_in_the_way() -> None:
    """What can be done without is not waited for; a forbidden provider serves nobody, but others."""
    some = graph(
        node("score", provides="score"),
        node("text", provides="draft"),
        node("spell", provides="draft"),
        node("write", "draft score?5", "answer"),
        goals="answered: answer",
        edges=[Edge("text", "write", forbid=True, reason="raw")],
    )
    assert reachable(some, "answered", (), frozenset({"score", "text"}))
    assert not reachable(some, "answered", (), frozenset({"spell"}))


# ---------------------------------------------------------------------------------------------------- the judge bites

SHOP = graph(
    node("crm", provides="order"),
    node("stripe", "order", "refund", effect="once", undo=True),
    node("wire", "order", "refund", effect="once", units=3.0),
    node("email", "refund", "notice"),
    node("sms", "refund order?1", "notice", units=2.0),
    goals="told: refund notice; refunded: refund",
)


def judged(faults: str, change: Callable[[Record], Record | None], some: Graph = SHOP) -> list[str]:
    """Judge the log of a simulated run after a change to it; None drops a record."""
    failed = {part.split(":")[0].strip(): part.split(":")[1].strip() for part in faults.split(",")}
    records = simulated(some, faults).records
    return judge(some, Planner(some), failed, [new for record in records if (new := change(record)) is not None])


def with_event(record: Record, **fields: Any) -> Record:
    """Return a record whose event has other fields."""
    event: Any = record.event
    return replace(record, event=replace(event, **fields))


def test_an_untouched_log_has_no_problem() -> None:
    """What the changes below are compared with."""
    assert judged("stripe: down, email: down", lambda record: record) == []
    assert judged("email: down, sms: down", lambda record: record) == []


def test_a_failure_that_nothing_answers_is_a_problem() -> None:
    """A reroute that does not name its failure leaves it unanswered."""
    found = judged("stripe: down", lambda r: with_event(r, answers=()) if isinstance(r.event, Rerouted) else r)
    assert found == ["the failure of stripe #1 was answered by no decision"]


def test_a_failure_that_two_decisions_answer_is_a_problem() -> None:
    """One decision for each failure, not more."""
    twice = judged(
        "stripe: down",
        lambda r: with_event(r, answers=r.event.answers * 2) if isinstance(r.event, Rerouted) else r,
    )
    assert twice == ["the failure of stripe #1 was answered by 2 decisions"]


def test_a_goal_that_is_given_up_too_early_is_a_problem() -> None:
    """With email alone down, an escalation instead of the reroute to sms is found out by planning again."""

    def demote(record: Record) -> Record:
        event = record.event
        if not isinstance(event, Rerouted):
            return record
        escalated = Escalated(1, event.answers, "policy", "demote", "told", "refunded", "unreachable", ())
        return replace(record, event=escalated)

    found = judged("email: down", demote)
    assert found[0] == "goal told was given up although a route was left: sms"


def test_an_effect_that_happens_twice_is_a_problem() -> None:
    """Two payments stand: the second one was started although the first one's answer was only lost."""
    found = judged("stripe: unknown", lambda record: record)
    assert found == []
    records = list(simulated(SHOP, "stripe: unknown").records)
    start = next(r for r in records if isinstance(r.event, AttemptStarted) and r.event.node == "stripe")
    wire = [
        with_event(start, node="wire", inputs=(("order", "order", "crm"),)),
        replace(start, event=AttemptEnded("wire", 0, 1, "succeeded")),
    ]
    assert judge(SHOP, Planner(SHOP), {"stripe": "unknown"}, [*records, *wire])[-1].startswith(
        "stripe and wire both took effect for refund"
    )
    again = [with_event(start, attempt=2), replace(start, event=_lost(2))]
    found = judge(SHOP, Planner(SHOP), {"stripe": "unknown"}, [*records, *again])
    assert "stripe took effect 2 times" in found


def _lost(attempt: int) -> AttemptEnded:
    from orchestrator.faults import Fault

    return AttemptEnded("stripe", 0, attempt, "failed", (), Fault("unknown").failure())


def test_an_undone_effect_does_not_stand() -> None:
    """What was undone may be done by another provider; without the undo it is a problem."""
    some = replace(SHOP, edges=(Edge("stripe", "sms", forbid=True, reason="no"),))
    assert judged("email: down", lambda record: record, some) == []
    # What was undone is not held any more: with wire down too, nothing is left of either goal.
    assert judged("email: down, wire: down", lambda record: record, some) == []
    kept = judged(
        "email: down",
        lambda r: None if isinstance(r.event, CallEnded) and r.event.kind == "undo" else r,
        some,
    )
    assert "stripe and wire both took effect for refund, and neither was undone" in kept


def test_a_goal_that_lacks_a_value_is_a_problem() -> None:
    """A goal that was reached without one of its values: a branch was dropped in silence."""
    dropped = judged(
        "wire: down", lambda r: with_event(r, values=r.event.values[:1]) if isinstance(r.event, RunFinished) else r
    )
    assert dropped == ["goal told was reached without notice"]
    never_ran = judged(
        "wire: down",
        lambda r: None if getattr(r.event, "node", None) == "email" else r,
    )
    assert never_ran == ["goal told was reached without notice"]


def test_a_call_that_lacks_a_need_is_a_problem() -> None:
    """A node that was started without a required value, or before its provider had it."""
    found = judged(
        "wire: down",
        lambda r: with_event(r, inputs=()) if isinstance(r.event, AttemptStarted) and r.event.node == "email" else r,
    )
    assert found == ["email #1 was called without refund"]
    found = judged(
        "wire: down",
        lambda r: None if isinstance(r.event, AttemptEnded) and r.event.node == "crm" else r,
    )
    assert found[0] == "stripe #1 was called without order"


def test_an_end_without_a_word_is_a_problem() -> None:
    """A demoted, failed or cut-off run needs a decision that says so."""
    silent = judged("email: down, sms: down", lambda r: None if isinstance(r.event, Escalated) else r)
    assert "the goal was demoted, and no decision says so" in silent
    silent = judged("crm: down", lambda r: None if isinstance(r.event, Escalated) else r)
    assert "the run ended as failed, and no decision says so" in silent
    assert judged("crm: down", lambda r: None if isinstance(r.event, RunFinished) else r)[-1] == "the run did not end"


def test_a_goal_that_nothing_could_reach_is_a_problem() -> None:
    """Reached without its only provider: the judge does not believe it."""
    met = simulated(SHOP, "wire: down").records
    assert judge(SHOP, Planner(SHOP), {"crm": "down"}, met)[-1] == (
        "goal told was reached although nothing could reach it"
    )


def test_a_met_goal_is_the_asked_one() -> None:
    """Met and demoted are not mixed up."""
    found = judged(
        "email: down, sms: down", lambda r: with_event(r, outcome="met") if isinstance(r.event, RunFinished) else r
    )
    assert found == ["the run ended as met, and its goal is refunded"]


def test_a_machine_that_never_reroutes_fails_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole check on a broken run machine: it gives up where it should go round, and the matrix explains it."""
    from orchestrator.run import escalation, recovery

    def give_up(run: Any, trigger: Any, node: Any = None, cause: Any = None) -> None:
        escalation._give_up(run, "unreachable", "policy")

    monkeypatch.setattr(recovery, "replan", give_up)
    matrix = failure_matrix(refund(), kinds=["down"], size=1)
    assert [row.id for row in matrix.problems] == ["cardpay", "email"]
    with pytest.raises(AssertionError) as caught:
        matrix.check()
    told = str(caught.value)
    assert told.startswith("refund: 6 sets of failures, 6 single: 3 met, 3 failed; 2 with problems\n\nwith cardpay:")
    assert "problem: goal refunded_and_told was given up although a route was left: bankpay > email" in told
    assert " s  escalation  give up, decided by policy" in told
