"""What-if: a recorded run under another graph or policy, and under its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.first import Blueprint
from orchestrator.errors import InputError
from orchestrator.events import Answered, QuestionAsked, RunFinished, Value
from orchestrator.faults import FaultPlan
from orchestrator.graph import Graph
from orchestrator.policy import Policy
from orchestrator.replaying import replay
from orchestrator.run import AskModel, Call, Start
from orchestrator.simulate import Coming, Simulation, simulate
from tests.running import ByHand, graph, node, of, simulated, started
from tests.shop import GRAPH, call, document, open_shop, start
from tests.strategies import fault_scripts, graphs


def refund(**pay: Any) -> Graph:
    """Return the graph of a refund: `pay` needs an account and may need a yes; `card` is dearer."""
    return graph(
        node("account", seconds=0.1),
        node("pay", "account", "refund", effect="once", **{"gate": "always", **pay}),
        node("card", "account", "refund", effect="once", units=5.0),
        node("note", "account", "ticket"),
        goals="refunded: refund; noted: ticket",
    )


def events(log: Any) -> list[Any]:
    """Return the events of a log."""
    return [record.event for record in log]


# ------------------------------------------------------------------------------------------------------- the same again


@given(st.data())
def test_under_its_own_graph_a_run_is_the_same(data: st.DataObject) -> None:
    """Whatever fails and however, the replay has the same events, to the last weight and second."""
    drawn = data.draw(graphs())
    script = FaultPlan.from_text(yaml.safe_dump(data.draw(fault_scripts(drawn)), allow_unicode=True))
    recorded = simulate(drawn, faults=script, seed=data.draw(st.integers(0, 9)))
    found = replay(recorded.records)
    assert found.same
    assert events(found.today.records) == events(recorded.records)


def approved(*answer: str, **more: Any) -> ByHand:
    """Drive a run in which a person answers the question to pay, after an hour."""
    run = ByHand(refund(), more or None)
    run.succeed("account", after=0.25)
    run.say("approve:pay", *answer, reason="because", after=3600.0)
    return run


@pytest.mark.parametrize("answer", [("yes",), ("edit", "pay.account"), ("no",)])
def test_people_answer_again(answer: tuple[str, ...]) -> None:
    """A yes, an edit and a no are given again, as late as they were."""
    run = approved(*answer)
    run.succeed("card" if answer == ("no",) else "pay", after=0.5)
    found = replay(run.log)
    assert found.today.outcome == "met"
    assert events(found.today.records) == events(run.log)
    assert found.today.seconds == pytest.approx(3600.0)


def test_a_question_that_is_asked_again_is_answered_once() -> None:
    """Of two open questions one is answered first; the other stays open, is asked again, and then answered too."""
    both = graph(
        node("pay", effect="once", gate="always"), node("mail", effect="once", gate="always"), goals="both: pay mail"
    )
    run = ByHand(both)
    run.say("approve:mail", "yes", after=10.0)
    run.succeed("mail", after=1.0)
    run.say("approve:pay", "yes", after=10.0)
    run.succeed("pay", after=1.0)
    assert run.outcome == "met"
    assert events(replay(run.log).today.records) == events(run.log)


def test_a_script_is_asked_once_for_what_is_on_its_way() -> None:
    """Of a question that is asked again before its answer comes, the script is not asked again."""
    both = graph(
        node("pay", effect="once", gate="always"), node("mail", effect="once", gate="always"), goals="both: pay mail"
    )
    asked = []

    def script(happens: Start | Call | AskModel | QuestionAsked) -> Coming | None:
        if not isinstance(happens, QuestionAsked):
            return None
        asked.append(happens.question)
        seconds = {"approve:mail": 10.0, "approve:pay": 20.0}[happens.question]
        return ((seconds, Answered(happens.question, "yes")),)

    result = Simulation(Blueprint(both, Policy())).run(script=script)
    assert (result.outcome, sorted(asked)) == ("met", ["approve:mail", "approve:pay"])
    assert [event.question for event in of(result, QuestionAsked)].count("approve:pay") == 2


def test_a_run_that_waits_still_waits() -> None:
    """What nobody has answered yet is open today as well, whatever time the policy gives."""
    run = ByHand(refund(), {"people": {"deadline": "60s"}})
    run.succeed("account")
    found = replay(run.log)
    assert (found.same, found.today.outcome) == (True, "waiting")
    assert [question.id for question in found.today.questions] == ["approve:pay"]


def test_nobody_answers_again() -> None:
    """Where a question was overdue, so it is today, and the policy goes the same way."""
    run = ByHand(refund(), {"people": {"deadline": "60s"}})
    run.succeed("account")
    run.wake(run.at + 60.0)
    run.succeed("card")
    found = replay(run.log)
    assert (run.outcome, found.today.outcome) == ("met", "met")
    assert events(found.today.records) == events(run.log)


@pytest.mark.parametrize("answer", ["yes", "demote:noted", "retry:card"])
def test_decisions_of_people_are_taken_again(answer: str) -> None:
    """What was decided where no route was left is decided again; a yes is what it meant then."""
    run = ByHand(refund(gate="never"), {"escalation": {"by": "person"}})
    run.succeed("account")
    run.fail("pay")
    run.fail("card")
    run.say("decide:1", answer, after=60.0)
    run.succeed("card" if answer == "retry:card" else "note")
    found = replay(run.log)
    assert run.outcome in ("met", "demoted")
    assert (found.same, found.today.outcome) == (True, run.outcome)


def test_a_decision_that_is_not_open_today_is_not_taken() -> None:
    """Without the goal that a person chose, the question stays open, and nobody is said to have answered it."""
    run = ByHand(refund(gate="never"), {"escalation": {"by": "person"}})
    run.succeed("account")
    run.fail("pay")
    run.fail("card")
    run.say("decide:1", "yes")
    run.succeed("note")
    today = replace(refund(gate="never"), goals=refund().goals[:1])
    found = replay(run.log, today)
    assert (run.outcome, found.today.outcome) == ("demoted", "waiting")
    assert [question.kind for question in found.today.questions] == ["decide"]


@pytest.mark.parametrize("choice", ["demote:noted", "supply:refund", None])
def test_the_model_chooses_again(choice: str | None) -> None:
    """Its choice, its time, its price and its failure are those of the record."""
    policy = {"escalation": {"by": "model", "model": "small", "supply": ["refund"]}}
    run = ByHand(refund(gate="never"), policy)
    run.succeed("account")
    run.fail("pay")
    run.fail("card")
    run.decide(choice, *(["refund"] if choice == "supply:refund" else []), after=1.5, seconds=1.5, usd=0.01, calls=1)
    if choice != "supply:refund":
        run.succeed("note")
    found = replay(run.log)
    assert run.outcome == ("met" if choice == "supply:refund" else "demoted")
    assert events(found.today.records) == events(run.log)
    assert (found.today.model_calls, found.today.usd) == (1, 0.01)


def test_guards_gates_checks_and_verifies_answer_again() -> None:
    """A guard that was false, a gate that stopped, a check that failed and a verify that found nothing do so again."""
    guarded = graph(
        node("draft", guard=True),
        node("plain", provides="draft", units=2.0),
        node("pay", "draft", "refund", effect="once", gate="function", verify=True, units=1.0),
        node("card", "draft", "refund", effect="once", units=5.0),
        goals="refunded: refund",
    )
    checked = replace(guarded, goals=tuple(replace(goal, check=True) for goal in guarded.goals))
    run = ByHand(checked)
    run.answer("guard", "draft", False)
    run.succeed("plain")
    run.answer("gate", "pay", False, "over the limit")
    run.say("approve:pay", "yes")
    run.fail("pay", happened="unknown", transient=True)
    run.answer("verify", "pay", False)
    run.succeed("card")
    run.answer("check", "refunded", False, "too little")
    found = replay(run.log)
    assert run.outcome == "failed"
    assert (found.same, found.today.reason) == (True, run.result().reason)
    assert of(found.today, RunFinished)[-1] == of(run, RunFinished)[-1]


# -------------------------------------------------------------------------------------------------------- what if


def test_another_route_is_taken_from_what_is_known() -> None:
    """With other costs another provider is called: it answers as it declares, and the rest as recorded."""
    run = approved("yes")
    run.succeed("pay", after=0.5, usd=0.25)
    dearer = refund(units=9.0)
    found = replay(run.log, dearer)
    assert not found.same
    assert (started(found.recorded), started(found.today)) == (["account", "pay"], ["account", "card"])
    assert found.today.attempts[0].seconds == found.recorded.attempts[0].seconds
    assert replay(run.log).today.usd == 0.25


@pytest.mark.parametrize(("verify", "outcome"), [(False, "waiting"), (True, "met")])
def test_a_shorter_timeout_is_too_short(verify: bool, outcome: str) -> None:
    """An answer that took longer than today's timeout is lost today; a verify then finds that it happened."""
    slow = node("pay", effect="once", seconds=8.0, timeout=30.0, verify=verify)
    recorded = simulated(graph(slow, goals="paid: pay"))
    found = replay(recorded.records, graph(replace(slow, timeout=5.0), goals="paid: pay"))
    (attempt,) = found.today.attempts
    assert (attempt.outcome, attempt.error, attempt.seconds) == ("unknown", "timeout", 5.0)
    assert (attempt.settled, found.today.outcome) == ("done" if verify else None, outcome)


def test_a_wait_for_a_turn_is_not_part_of_the_timeout() -> None:
    """What was answered in its node's time, after a wait that was longer, is answered in a replay too."""
    both = graph(node("a", timeout=5.0), goals="got: a")
    run = ByHand(both)
    run.end("a", "succeeded", after=8.0, seconds=8.0, waited=4.0, values=(Value("a"),))
    (attempt,) = replay(run.log, both).today.attempts
    assert (attempt.outcome, attempt.seconds) == ("succeeded", 8.0)


def test_a_node_that_is_called_more_often_does_its_last_again() -> None:
    """With more attempts than were recorded, the last outcome is repeated."""
    recorded = simulated(graph(node("a", attempts=1), goals="a: a"), "a: {raise: permanent}")
    patient = graph(node("a", attempts=3), goals="a: a")
    found = replay(recorded.records, patient)
    assert {attempt.error for attempt in found.today.attempts} == {"raised"}
    transient = simulated(graph(node("a", attempts=1), goals="a: a"), "a: [down, down]")
    assert len(replay(transient.records, patient).today.attempts) > len(transient.attempts)


def test_another_goal_and_nodes_to_do_without() -> None:
    """Both may be changed; what is not in the graph is one clear error."""
    run = approved("yes")
    run.succeed("pay")
    assert replay(run.log, goal="noted").today.route == ("account", "note")
    assert "pay" not in replay(run.log, down=["pay"]).today.route
    with pytest.raises(InputError, match="no goal 'paid'; the goals are refunded, noted"):
        replay(run.log, goal="paid")
    with pytest.raises(InputError, match="no node 'pya'; the nodes are account, card, note, pay"):
        replay(run.log, down=["pya"])
    with pytest.raises(ValueError, match="run_started"):
        replay(run.log[1:])


def test_what_is_gone_from_the_graph_is_named() -> None:
    """Nodes of the record that today's graph lacks are listed; a goal that it lacks is its best one."""
    run = approved("yes")
    run.succeed("pay")
    found = replay(run.log, graph(node("card", provides="refund"), goals="done: refund"))
    assert (found.unknown, found.today.goal) == (("account", "pay"), "done")


def test_a_simulation_asks_nobody() -> None:
    """Without a script a run that needs people ends waiting, as ever, also past its deadline."""
    result = simulated(refund(), policy={"people": {"deadline": "60s"}})
    assert (result.outcome, result.seconds) == ("waiting", 0.1)


# -------------------------------------------------------------------------------------------------- on the command line


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the shop and go there."""
    return open_shop(tmp_path, monkeypatch)


def replayed(run: str, *more: str) -> dict[str, Any]:
    """Return the document of a replay."""
    result = call("runs", "replay", run, *more, "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = document(result)
    return found


def test_a_replay_calls_nothing_and_finds_the_same(shop: Path) -> None:
    """Under the file as it is, a run with a failure, a refusal and an approval goes as it went."""
    run = start("-i", "amount=2000", BROKEN="card")
    assert call("approve", run, "no", "--reason", "too much", BROKEN="card").exit_code == 3
    before = Path("calls.txt").read_text()
    result = call("runs", "replay", run)
    assert (result.exit_code, Path("calls.txt").read_text()) == (0, before)
    assert result.stdout.splitlines()[0] == f"run {run} of refund, under {shop}"
    assert result.stdout.splitlines()[-1] == "the same calls, the same end"
    assert replayed(run)["same"] is True


def test_a_replay_under_changed_costs(shop: Path) -> None:
    """What differs is told line by line; the run's own graph is still there to compare with."""
    run = start()
    shop.write_text(GRAPH.replace("usd: 0.01", "usd: 0.50"))
    result = call("runs", "replay", run)
    assert (
        "what differs (- recorded, + today):\n    lookup: succeeded\n  - pay: succeeded\n  + card: succeeded\n"
        in result.stdout
    )
    assert replayed(run)["today"]["route"] == ["lookup", "card"]
    assert replayed(run, "--recorded-graph")["same"] is True
    assert "under its own graph" in call("runs", "replay", run, "--recorded-graph").stdout
    Path("old.yaml").write_text(GRAPH)
    assert replayed(run, "--file", "old.yaml")["same"] is True
    shop.unlink()
    assert replayed(run)["same"] is True  # all that is left is the run's own graph
    clash = call("runs", "replay", run, "--recorded-graph", "--file", "old.yaml")
    assert (clash.exit_code, "leave out --recorded-graph" in clash.stderr) == (2, True)


def test_a_replay_under_another_policy(shop: Path) -> None:
    """By name or file, with today's graph or the run's own."""
    run = start(BROKEN="pay,card")
    Path("strict.yaml").write_text("escalation: {demote: false}\n")
    for more in ((), ("--recorded-graph",)):
        assert replayed(run, "--policy", "strict.yaml", *more)["today"]["outcome"] == "failed"
        assert replayed(run, "--policy", "default", *more)["same"] is True
    unknown = call("runs", "replay", run, "--policy", "nowhere")
    assert (unknown.exit_code, "nowhere" in unknown.stderr) == (2, True)


def test_a_replay_towards_another_goal_and_without_a_node(shop: Path) -> None:
    """`--goal` and `--down`; wrong names are one clear error."""
    run = start()
    assert replayed(run, "--goal", "noted")["today"]["goal"] == "noted"
    assert replayed(run, "--down", "pay")["today"]["route"] == ["lookup", "card"]
    assert replayed(run, "--down", "pay", "--down", "card")["today"]["outcome"] == "demoted"
    for more, error in ((("--goal", "x"), "there is no goal 'x'"), (("--down", "x"), "there is no node 'x'")):
        wrong = call("runs", "replay", run, *more)
        assert (wrong.exit_code, wrong.stderr.startswith(f"error: {error}; ")) == (2, True)


def test_a_replay_says_what_nobody_has_answered(shop: Path) -> None:
    """A question that the record does not know stays open, and is named."""
    run = start()
    shop.write_text(GRAPH.replace('approve: "recorded_shop:over_the_limit"', "approve: always"))
    result = call("runs", "replay", run)
    assert "  asks      approve:pay: every call of it needs a person's yes; the record has no answer\n" in result.stdout
    Path("gone.yaml").write_text(GRAPH.replace("lookup:", "look:"))
    assert (
        "  gone      lookup: today's graph does not have them\n"
        in call("runs", "replay", run, "--file", "gone.yaml").stdout
    )


def test_a_replay_document_is_whole(shop: Path) -> None:
    """Both runs with the same keys, and what is gone."""
    found = replayed(start())
    assert found.keys() == {"run_id", "same", "unknown", "recorded", "today"}
    assert found["recorded"].keys() == found["today"].keys()
    assert json.dumps(found["recorded"]["attempts"][0]["outcome"]) == '"succeeded"'
