"""What a run leaves behind: a log that replays, snapshots that go on, and a result whose shape users depend on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RecordError
from orchestrator.events import (
    Absorbed,
    AttemptEnded,
    Escalated,
    Failure,
    LastChance,
    Record,
    Rerouted,
    Retried,
    RunEnded,
    record_from_dict,
    record_to_dict,
)
from orchestrator.graph import Edge, Goal, Graph
from orchestrator.result import RunResult, Undone
from orchestrator.run import Call, Run, Start
from tests.running import ByHand, graph, node, simulated, view

ROOT = Path(__file__).resolve().parent.parent


def eventful() -> Graph:
    """Return a graph on which nearly everything can happen."""
    return graph(
        node("order"),
        node("rate", "order", effect="read", units=2.0),
        node("cached_rate", "order", "rate", units=4.0),
        node("image", guard=True),
        node("decide", "rate image?3", effect="idempotent"),
        node("stripe", "decide", "refund", effect="once", undo=True, verify=True, gate="function"),
        node("razorpay", "decide", "refund", effect="once", undo=True, units=5.0),
        node("brief", "refund", "letter"),
        node("thorough", "refund", "letter", units=6.0),
        goals=[Goal("told", ("letter",), check=True), Goal("paid", ("refund",))],
        edges=[Edge("stripe", "thorough", forbid=True), Edge("razorpay", "brief", forbid=True)],
    )


def story(run: ByHand, step: Any = lambda: None) -> None:
    """Tell a run a long story; *step* is called after every fact."""
    acts = [
        lambda: run.answer("guard", "image", False),
        lambda: run.succeed("order", usd=0.01),
        lambda: run.fail("rate", transient=True),
        lambda: run.see(view(run.machine.graph, id="calm")),
        lambda: run.wake(run.wakes[-1]),
        lambda: run.fail("rate", transient=True),
        lambda: run.see(view(run.machine.graph, id="alarm", rate="circuit open")),
        lambda: run.succeed("cached_rate"),
        lambda: run.succeed("decide"),
        lambda: run.answer("gate", "stripe", True),
        lambda: run.fail("stripe", type="timeout", transient=True, happened="unknown"),
        lambda: run.answer("verify", "stripe", None),
        lambda: run.wake(run.wakes[-1]),
        lambda: run.answer("verify", "stripe", True),
        lambda: run.fail("brief", transient=True),
        lambda: run.wake(run.wakes[-1]),
        lambda: run.succeed("brief"),
        lambda: run.answer("check", "told", False, "it is unfriendly"),
        lambda: run.answer("undo", "stripe", False),
        lambda: run.answer("undo", "stripe", True),
        lambda: run.succeed("razorpay"),
        lambda: run.fail("thorough"),
    ]
    for act in acts:
        act()
        step()


def test_the_long_story_ends_as_it_should() -> None:
    """The story that the tests below break off really goes through all those stages."""
    run = ByHand(eventful())
    story(run)
    result = run.result()
    assert (run.outcome, result.goal, result.route) == (
        "demoted",
        "paid",
        ("order", "cached_rate", "decide", "razorpay"),
    )
    assert (result.retries, result.reroutes, result.last_chances, result.escalations) == (2, 3, 0, 1)
    assert (result.usd, result.undone) == (0.01, (Undone("stripe", "undone"),))


def test_a_run_restored_after_every_fact_gives_the_same_commands() -> None:
    """A machine that crashes after each fact and goes on from its snapshot writes the same log and commands."""
    plain, crashing = ByHand(eventful()), ByHand(eventful())
    story(plain)
    crashing.crash()
    story(crashing, crashing.crash)
    assert crashing.log == plain.log
    assert crashing.commands == plain.commands
    assert crashing.machine.snapshot() == plain.machine.snapshot()


def test_a_failed_check_is_remembered_after_a_crash() -> None:
    """What a check withdrew stays withdrawn: when the other provider fails too, the run does not come back to it."""
    goals = [Goal("best", ("v",), check=True), Goal("less", ("w",))]
    run = ByHand(graph(node("a", "", "v"), node("b", "", "v", units=3.0), node("w"), goals=goals))
    run.succeed("a")
    run.answer("check", "best", False, "not good enough")
    run.crash()
    run.fail("b")
    assert run.in_flight == ["w"]


def test_a_snapshot_survives_being_written_as_json() -> None:
    """A snapshot is plain data: read back from its text it restores the same run."""
    run = ByHand(eventful())

    def through_text() -> None:
        snapshot = run.machine.snapshot()
        run.machine = Run.restore(json.loads(json.dumps(snapshot)))
        assert run.machine.snapshot() == snapshot

    story(run, through_text)
    assert run.outcome == "demoted"


def test_a_log_written_as_json_replays_to_itself() -> None:
    """Records read back from their text give the same log again, decision by decision."""
    run = ByHand(eventful())
    story(run)
    written = [json.loads(json.dumps(record_to_dict(record))) for record in run.log]
    again, log = Run.replay([record_from_dict(data) for data in written])
    assert log == tuple(run.log)
    assert again.snapshot() == run.machine.snapshot()


def test_what_is_outstanding_is_asked_again_under_the_same_id() -> None:
    """A restored run repeats its unanswered attempts and calls, and a first answer to them is taken."""
    run = ByHand(eventful())
    run.crash()
    again = run.machine.outstanding()
    assert [command for command in again if isinstance(command, Start)] == run.issued(Start)
    assert [command for command in again if isinstance(command, Call)] == run.issued(Call)
    story(run)
    assert run.outcome == "demoted"
    assert run.machine.outstanding() == ()


@pytest.mark.parametrize(
    "data", [{}, {"first": {}}, {"first": None, "state": None}, {"first": {"run_id": 1}, "state": {}}]
)
def test_what_is_no_snapshot_is_refused(data: dict[str, Any]) -> None:
    """Restoring from something else is a clear error."""
    with pytest.raises(RecordError):
        Run.restore(data)


def test_a_log_that_does_not_begin_with_its_first_record_is_refused() -> None:
    """A log without its beginning cannot be replayed, and says so."""
    with pytest.raises(RecordError, match="run_started"):
        Run.replay([Record(1, 0.0, AttemptEnded("a", 0, 1, "failed", failure=Failure("x")))])


PROGRAM = """
from orchestrator.events import record_to_dict
from tests.running import ByHand, simulated
from tests.test_run_records import HARD, eventful, story
run = ByHand(eventful())
story(run)
for record in (*run.log, *simulated(eventful(), HARD).records):
    print(record_to_dict(record))
"""

HARD = """order: [raise, ok], rate: down, cached_rate: [hang, ok], image: {raise: permanent}, stripe: unknown,
brief: down, thorough: down"""


def test_the_log_is_the_same_under_any_hash_seed() -> None:
    """Processes with other hash seeds write the same log, byte for byte: nothing depends on the order of a set."""

    def written(seed: int) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    logs = {written(seed) for seed in (1, 2, 3)}
    assert len(logs) == 1
    assert len(logs.pop().splitlines()) > 60


# --------------------------------------------------------------------------------------------------------------- result

KEYS = {
    "run_id",
    "outcome",
    "goal",
    "values",
    "route",
    "attempts",
    "retries",
    "reroutes",
    "escalations",
    "demotions",
    "undone",
    "model_calls",
    "usd",
    "tokens",
    "seconds",
    "trace_id",
}
"""What every result has, whatever came of the run; more may be there."""

ATTEMPT_KEYS = {"node", "attempt", "outcome", "error", "settled", "answer", "seconds", "usd"}

DECISIONS = {
    Absorbed: "absorb",
    Retried: "retry",
    Rerouted: "reroute",
    LastChance: "last-chance",
    Escalated: "escalation",
    RunEnded: "end",
}


def told(result: RunResult) -> dict[str, Any]:
    """Return a result as users read it."""
    data: dict[str, Any] = json.loads(json.dumps(result.as_dict()))
    return data


RESULTS = {
    "met": lambda: simulated(eventful()),
    "demoted": lambda: simulated(eventful(), HARD),
    "failed": lambda: simulated(eventful(), "order: down"),
    "limit": lambda: simulated(eventful(), policy={"limits": {"calls": 1}}),
    "waiting": lambda: simulated(graph(node("a", effect="once"), goals="g: a"), "a: unknown"),
    "cancelled": lambda: cancelled().result(),
    "undone": lambda: simulated(graph(node("a", effect="once", undo=True), node("b", "a"), goals="g: b"), "b: down"),
}


def cancelled() -> ByHand:
    """Return a run that was cancelled."""
    run = ByHand(graph(node("a"), goals="g: a"))
    run.fail("a", transient=True)
    run.cancel()
    return run


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_every_documented_key(name: str) -> None:
    """The JSON of a run, and of each of its attempts, has the keys that users' scripts read."""
    data = told(RESULTS[name]())
    assert data.keys() >= KEYS
    assert data["outcome"] == {"limit": "failed", "undone": "failed"}.get(name, name)
    for attempt in data["attempts"]:
        assert attempt.keys() >= ATTEMPT_KEYS
        assert attempt["outcome"] in ("succeeded", "failed", "unknown", "cancelled", "inapplicable", "refused")


@pytest.mark.parametrize("name", RESULTS)
def test_every_failed_attempt_names_a_decision_that_was_taken(name: str) -> None:
    """An answer is the name of a decision in the log that answers this very attempt; other attempts have none."""
    result = RESULTS[name]()
    taken: dict[str, tuple[tuple[str, int], ...]] = {
        f"{DECISIONS[type(record.event)]}-{record.event.n}": record.event.answers  # type: ignore[union-attr]
        for record in result.records
        if type(record.event) in DECISIONS
    }
    for attempt in told(result)["attempts"]:
        if attempt["outcome"] in ("failed", "unknown"):
            assert (attempt["node"], attempt["attempt"]) in taken[attempt["answer"]]
        else:
            assert attempt["answer"] is None


@pytest.mark.parametrize("name", RESULTS)
def test_the_counts_of_a_result_are_those_of_its_log(name: str) -> None:
    """Retries, reroutes, escalations and demotions are counted from the decisions that were taken."""
    result = RESULTS[name]()
    data = told(result)
    kinds = [type(record.event) for record in result.records]
    assert data["retries"] == kinds.count(Retried)
    assert data["reroutes"] == kinds.count(Rerouted)
    assert data["escalations"] == kinds.count(Escalated)
    demotions = [r for r in result.records if isinstance(r.event, Escalated) and r.event.decision == "demote"]
    assert data["demotions"] == len(demotions)
    assert data["seconds"] == result.records[-1].at
    assert (data["goal"] is None) == (data["outcome"] not in ("met", "demoted"))


def test_an_attempt_tells_its_error_its_time_and_its_price() -> None:
    """Failures carry their type and message, attempts their seconds and dollars."""
    run = ByHand(graph(node("a"), node("b", "", "a", units=2.0), goals="g: a"))
    run.fail("a", type="http_4xx", message="404 not found")
    run.end("b", "succeeded", seconds=1.5, usd=0.25, tokens=12, after=1.5)
    first, second = told(run.result())["attempts"]
    assert (first["error"], first["message"], first["answer"]) == ("http_4xx", "404 not found", "reroute-1")
    assert (second["error"], second["seconds"], second["usd"]) == (None, 1.5, 0.25)
    assert (run.result().usd, run.result().tokens, run.result().seconds) == (0.25, 12, 1.5)


def test_undone_names_the_node_and_whether_it_worked() -> None:
    """An effect that was undone and one whose undo failed can be told apart."""
    run = ByHand(
        graph(node("a", effect="once", undo=True), node("b", "a"), goals="g: b"), {"effects": {"undo_attempts": 1}}
    )
    run.succeed("a")
    run.fail("b")
    run.answer("undo", "a", False)
    assert told(run.result())["undone"] == [{"node": "a", "outcome": "failed"}]
