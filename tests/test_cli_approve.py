"""Answers on the command line: what a waiting run asks is shown, answered, and the run goes on."""

from __future__ import annotations

import getpass
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.asking import question_lines
from orchestrator.cli.store import Named
from orchestrator.events import QuestionAsked, Record, RunFinished
from orchestrator.result import fold
from tests.shop import GRAPH, call, calls, document, open_shop, spawn, start, until

PEOPLE = "policy: {escalation: {by: person}}\n"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the shop and go there."""
    return open_shop(tmp_path, monkeypatch)


def waiting(*more: str, **env: str) -> str:
    """Run the graph until a person has to approve; return the run's id."""
    return start("-i", "amount=2000", *more, **env)


def events(run: str, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind of a recorded run."""
    import json

    lines = call("runs", "show", run, "--events").stdout.splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] == kind]


# -------------------------------------------------------------------------------------------------------------- showing


def test_without_an_answer_the_question_is_shown(graph: Path) -> None:
    """What is asked, what the call would be given, and each answer with what it means; the run goes on waiting."""
    run = waiting()
    result = call("approve", run)
    assert result.exit_code == 5
    assert result.stdout.splitlines() == [
        "? approve:pay: 2000 is over 1000",
        '    account = {"order":"A1","key":""}',
        "    amount = 2000",
        f"  answer with: orchestrator approve {run[:8]} ANSWER",
        "    yes                 make the call",
        "    no --reason WHY     do not make it; the run goes another way",
        "    edit -i NAME=VALUE  make it with another account or amount",
    ]
    assert call("approve", run).stdout == result.stdout


def test_a_question_as_data(graph: Path) -> None:
    """`--json` holds every open question with what may be answered."""
    run = waiting()
    result = call("approve", run, "--json")
    found = document(result)
    assert (result.exit_code, found["run_id"]) == (5, run)
    (question,) = found["questions"]
    assert (question["id"], question["options"]) == ("approve:pay", ["yes", "no", "edit"])
    assert question["inputs"]["amount"] == 2000


def test_every_option_of_a_decision_says_what_it_does(graph: Path) -> None:
    """Where no route is left, each way on has its sentence, and the value to supply its place."""
    graph.write_text(GRAPH + PEOPLE)
    run = start(BROKEN="pay,card")
    lines = call("approve", run).stdout.splitlines()
    assert lines[0] == "? decide:1: no route to refunded is left (unreachable); what now?"
    assert lines[2:] == [
        "    demote:noted                   settle for the goal noted",
        "    retry:pay                      call pay once more",
        "    retry:card                     call card once more",
        "    supply:refund -i refund=VALUE  go on with a refund that you give",
        "    give_up                        end the run without a goal",
    ]


def test_a_lost_call_asks_whether_it_happened(graph: Path) -> None:
    """The answers are yes, yes with the result, and no."""
    lines = call("approve", start(LOST="pay")).stdout.splitlines()
    assert lines[0] == "? settle:pay: the call was lost on the way: did it happen?"
    assert [line.split("  ")[2] for line in lines[-3:]] == ["yes", "yes -i refund=VALUE", "no"]


def test_a_deadline_is_told(graph: Path) -> None:
    """How long there is to answer, and that the policy does afterwards; it goes by the wall clock."""
    graph.write_text(GRAPH + "policy: {people: {deadline: 24h}}\n")
    result = call("approve", waiting())
    assert result.stdout.splitlines()[-1] in (
        "  within 1 d; after that, the policy answers",
        "  within 23 h 59 min; after that, the policy answers",
    )


def test_what_is_overdue_is_told() -> None:
    """After the deadline, the way on is to resume the run."""
    asked = QuestionAsked("settle:pay", "settle", "pay", "lost", (), ("yes", "no"), until=60.0)
    log = [Record(1, 0.0, asked), Record(2, 0.0, RunFinished("waiting", None, (), (), ()))]
    lines = question_lines(fold(log), Named("7d44", " --store x.db"), now=61.0)
    assert lines[-1].endswith("the policy answers when the run goes on: orchestrator runs resume 7d44 --store x.db")
    assert question_lines(fold(log), Named("7d44"), now=0.5)[-1] == "  within 59.50 s; after that, the policy answers"


def test_long_inputs_and_options_keep_their_place() -> None:
    """A long input is cut; the meaning of a long answer stands below it."""
    option = f"retry:{','.join(f'provider-{number}' for number in range(9))}"
    asked = QuestionAsked("decide:1", "decide", "refunded", "unreachable", (), ("yes", "no", option, "give_up"))
    letter = QuestionAsked(
        "approve:mail", "approve", "mail", "always", (("text", "text", "write"),), ("yes", "no", "edit")
    )
    log = [Record(1, 0.0, asked), Record(2, 0.0, letter), Record(3, 0.0, RunFinished("waiting", None, (), (), ()))]
    lines = question_lines(fold(log, lookup=lambda value, provider: "x" * 5000), Named("7d44"))
    assert lines[2:4] == [
        f"    {option}",
        "             call provider-0, " + ", ".join(f"provider-{n}" for n in range(1, 9)) + " once more",
    ]
    assert max(map(len, lines)) < 230
    assert "-q decide:1" in lines[1]
    assert [line for line in lines if "-q approve:mail" in line] != []


# ------------------------------------------------------------------------------------------------------------ answering


def test_yes_makes_the_call(graph: Path) -> None:
    """The run goes on from the work already done, and ends as any run: its value on stdout, exit 0."""
    run = waiting()
    assert calls() == ["lookup"]
    result = call("approve", run[:4], "yes")
    assert (result.exit_code, result.stdout, calls()) == (0, "paid 2000\n", ["lookup", "pay"])
    assert "goal refunded met" in result.stderr
    assert events(run, "answered")[0]["by"] == getpass.getuser()


def test_no_goes_another_way(graph: Path) -> None:
    """The refused call is never made; who refused it and why is recorded and shown."""
    run = waiting()
    result = call("approve", run, "no", "--reason", "too much", "--by", "Ann")
    assert (result.exit_code, result.stdout, calls()) == (0, "card 2000\n", ["lookup", "card"])
    assert "approve:pay no by Ann: too much" in result.stderr


def test_edit_makes_the_call_with_another_input(graph: Path) -> None:
    """What it replaces says whether a value is text or JSON; what it cannot be is one clear error."""
    run = waiting()
    for value in ("amount=a lot", "amount:=a lot"):
        result = call("approve", run, "edit", "-i", value)
        assert (result.exit_code, "the value of 'amount' is no JSON" in result.stderr) == (2, True)
    result = call("approve", run, "edit", "-i", "amount=50", "--json")
    assert (result.exit_code, document(result)["values"]) == (0, {"refund": "paid 50"})


def test_a_text_is_replaced_by_a_text(graph: Path) -> None:
    """The value of an input that is a text is taken as it is written, whatever it looks like."""
    graph.write_text(
        GRAPH.replace("effect: idempotent,", "effect: idempotent, approve: always,").replace("note(account)", "")
    )
    source = Path("recorded_shop.py")
    source.write_text(
        source.read_text().replace("def note(account):", "def note(order):").replace('account["order"]', "order")
    )
    run = start("--goal", "noted")
    assert call("approve", run, "edit", "-i", "order=12").stdout == "noted 12\n"


def test_a_decision_is_carried_out(graph: Path) -> None:
    """Each option leads on as it says, with the exit code of what comes of it."""
    graph.write_text(GRAPH + PEOPLE)

    def decided(*answer: str, **env: str) -> tuple[int, str]:
        result = call("approve", start(BROKEN="pay,card"), *answer, **env)
        return result.exit_code, result.stdout

    assert decided("demote:noted") == (3, "noted A1\n")
    assert decided("demote:noted", "--allow-demoted") == (0, "noted A1\n")
    assert decided("retry:pay") == (0, "paid 20\n")
    assert decided("supply:refund", "-i", "refund=by hand") == (0, "by hand\n")
    assert decided("supply:refund", "-i", "refund:=[1]") == (0, '{\n  "refund": [\n    1\n  ]\n}\n')
    assert decided("give_up") == (1, "")
    assert decided("retry:pay", BROKEN="pay")[0] == 5  # nothing new: it is asked again


def test_a_limit_that_ends_an_answered_run(graph: Path) -> None:
    """It has the exit code of a limit."""
    graph.write_text(GRAPH + "policy: {limits: {calls: 2}, escalation: {demote: false}}\n")
    assert call("approve", waiting(), "yes", BROKEN="pay").exit_code == 4


def test_a_lost_call_is_settled(graph: Path) -> None:
    """Yes with the result ends the run with it; no lets another provider make up for it."""
    result = call("approve", start(LOST="pay"), "yes", "-i", "refund=paid by phone")
    assert (result.exit_code, result.stdout) == (0, "paid by phone\n")
    result = call("approve", start(LOST="pay"), "no")
    assert (result.exit_code, result.stdout) == (0, "card 20\n")


def two_questions(graph: Path) -> str:
    """Start a run that asks two people at once."""
    graph.write_text(
        GRAPH.replace("effect: idempotent,", "effect: once, approve: always,").replace(
            "values: [refund]", "values: [refund, ticket]"
        )
    )
    return waiting()


def test_several_questions_are_answered_one_by_one(graph: Path) -> None:
    """Without -q the error names them; with it one is answered, and the others stay open."""
    run = two_questions(graph)
    shown = call("approve", run).stdout
    assert f"orchestrator approve {run[:8]} ANSWER -q approve:note\n" in shown
    assert f"orchestrator approve {run[:8]} ANSWER -q approve:pay\n" in shown
    assert "approve:note" not in call("approve", run, "-q", "approve:pay").stdout
    result = call("approve", run, "yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: several questions are open; say which one with -q: approve:")
    result = call("approve", run, "yes", "-q", "approve:note")
    assert (result.exit_code, result.stderr.count("approve:pay")) == (5, 1)
    result = call("approve", run, "yes", "--json")
    assert (result.exit_code, document(result)["outcome"]) == (0, "met")


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("maybe",), "'maybe' is no answer to approve:pay; answer yes, no, edit"),
        (("yes", "-q", "approve:card"), "there is no open question 'approve:card'; open: approve:pay"),
        (("-q", "settle:pay"), "there is no open question 'settle:pay'; open: approve:pay"),
        (("edit",), "edit says which inputs to change; pay takes account, amount"),
        (("edit", "-i", "amonut=1"), "approve:pay takes no value 'amonut'; it takes account, amount"),
        (("yes", "-i", "amount=1"), "approve:pay takes no value 'amount'; it takes none"),
        (("edit", "-i", "amount"), "write -i name=text or -i name:=json, not 'amount'"),
        (("edit", "-i", "=1"), "write -i name=text or -i name:=json, not '=1'"),
        (("-i", "amount=1"), "-i belongs to an answer, and there is none: add yes, no or what else is offered"),
        (("--reason", "no"), "--reason belongs to an answer, and there is none: add yes, no or what else is offered"),
    ],
)  # fmt: skip
def test_what_is_no_answer(graph: Path, arguments: tuple[str, ...], error: str) -> None:
    """One clear error, exit 2, also as data; the question stays open, and nothing is called."""
    run = waiting()
    result = call("approve", run, *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"error: {error}\n")
    assert document(call("approve", run, *arguments, "--json"))["error"] == {"code": "input", "message": error}
    assert call("approve", run, "yes").exit_code == 0


def test_a_run_that_asks_nothing(graph: Path) -> None:
    """A run that is over cannot be answered, and looking at its questions is no success either."""
    run = start()
    for arguments in ((), ("yes",), ("yes", "-q", "approve:pay")):
        result = call("approve", run, *arguments)
        assert (result.exit_code, result.stderr) == (2, f"error: run {run} is over (met): it asks nothing\n")


def test_an_answer_without_the_file(graph: Path) -> None:
    """A file that has moved is named with --file, and so it stands in what is to be typed next."""
    run = two_questions(graph)
    graph.rename("elsewhere.yaml")
    result = call("approve", run, "yes", "-q", "approve:note")
    assert (result.exit_code, "is gone: name it with --file" in result.stderr) == (2, True)
    result = call("approve", run, "yes", "-q", "approve:note", "--file", "elsewhere.yaml")
    assert (result.exit_code, f"{run[:8]} ANSWER --file elsewhere.yaml\n" in result.stderr) == (5, True)


def test_an_answer_of_another_person_at_the_same_moment(graph: Path) -> None:
    """While one answer is carried out, another is refused; a second interrupt waits for no effect."""
    run = waiting()
    with spawn("approve", run, "yes", HANG="pay") as first:
        until(lambda: "pay" in calls(), first)
        result = call("approve", run, "no")
        assert (result.exit_code, "is running: it asks nothing" in result.stderr) == (2, True)
        first.send_signal(signal.SIGINT)
        assert first.stderr is not None
        assert "once more to stop at once" in first.stderr.readline()
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=30)
    assert (first.returncode, err) == (130, "")
