"""A run told as text, and kept as a snapshot: readable, whole, and the same for the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.events import (
    Absorbed,
    Answered,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CancelRequested,
    Escalated,
    Event,
    Failure,
    LastChance,
    LateResult,
    ModelAnswered,
    ModelAsked,
    NodeExcluded,
    Option,
    QuestionAsked,
    Record,
    Rerouted,
    RoutePlanned,
    RunEnded,
    RunFinished,
    RunResumed,
    RunStarted,
    Settled,
    Value,
    ViewChanged,
    Woken,
)
from orchestrator.testing import story
from orchestrator.testing.snapshots import LogSnapshots, SnapshotError, in_ci
from orchestrator.testing.stories import _TOLD
from orchestrator.weight import View
from tests.running import graph, node, simulated

SHOP = graph(
    node("crm", provides="order"),
    node("stripe", "order", "refund", effect="once", seconds=0.4),
    node("wire", "order", "refund", effect="once", units=3.0),
    node("email", "refund order?1", "notice", seconds=0.1),
    goals="told: refund notice; refunded: refund",
)


def test_every_event_can_be_told() -> None:
    """No event is left out but the end of a wait, which says nothing new."""
    told = {kind for kind in get_args(Event) if kind is not Woken}
    assert set(_TOLD) == told


def test_a_run_is_told_line_by_line() -> None:
    """What was called with what, what came of it, and which decision answered it."""
    assert story(simulated(SHOP, "stripe: down, email: [raise, ok]", seed=1)) == (
        "       0 s  start       told; given nothing\n"
        "       0 s  route       crm > stripe > email\n"
        "       0 s  call        crm #1\n"
        "       0 s  answered    crm #1\n"
        "       0 s  call        stripe #1  (order from crm)\n"
        "     0.4 s  failed      stripe #1  down: injected: the node is down\n"
        "     0.4 s  out         stripe: down\n"
        "     0.4 s  reroute     stripe > email -> wire > email: stripe down  (answers stripe #1)\n"
        "     0.4 s  call        wire #1  (order from crm)\n"
        "     0.4 s  answered    wire #1\n"
        "     0.4 s  call        email #1  (refund from wire, order from crm)\n"
        "     0.5 s  failed      email #1  raised: injected: the node raised\n"
        "     0.5 s  retry       email at 0.666 s  (answers email #1)\n"
        "   0.666 s  call        email #2  (refund from wire, order from crm)\n"
        "   0.766 s  answered    email #2\n"
        "   0.766 s  end         met told; crm > wire > email; refund from wire; notice from email"
    )


LOST = Failure("timeout", "late", transient=True, happened="unknown")

LINES: list[tuple[Event, str]] = [
    (
        RunStarted("id", "told", {}, {}, 0, (Value("a"), Value("b")), View("v", ()), "", (("crm", "down"),)),
        "start       told; given a, b; without crm",
    ),
    (RoutePlanned("g", ("a",), 1, 1, "found", "demoted", 0, 0, 0, 1), "route       a  (demoted)"),
    (RoutePlanned("g", (), 1, 1, "found", "start", 0, 0, 0, 1), "route       nothing left to call"),
    (
        AttemptStarted("a", 0, 1, (("p", "v", "x"), ("q", "q", None)), "key", None),
        "call        a #1  (p = v from x, q done without)",
    ),
    (AttemptEnded("a", 0, 2, "inapplicable"), "no part     a #2"),
    (AttemptEnded("a", 0, 2, "failed", (), LOST), "failed      a #2  timeout, nobody knows whether it happened: late"),
    (
        AttemptEnded("a", 0, 2, "failed", (), Failure("invalid_output", happened="yes")),
        "failed      a #2  invalid_output, and it happened",
    ),
    (LateResult("a", 0, 1, "succeeded"), "late        a #1 succeeded"),
    (CallEnded("gate", 1, "a", False, "dear"), "said        gate of a: no (dear)"),
    (CallEnded("verify", 1, "a", None), "said        verify of a: not known"),
    (NodeExcluded("a", "excluded: down", True), "out         a: down"),
    (Absorbed(1, (("a", 1), ("b", 2))), "absorbed    (answers a #1, b #2)"),
    (
        Rerouted(1, (), "check", None, "its check failed", "g", ("a",), (), 1, 1, "found"),
        "reroute     a -> nothing left to call: its check failed",
    ),
    (LastChance(1, (("a", 1),), ("a", "b"), "g", ("a",), 1), "last try    a, b: a  (answers a #1)"),
    (
        Escalated(1, (), "model", "retry", "g", None, "unreachable", (), ("a", "b")),
        "escalation  retry a b, decided by model: g is unreachable",
    ),
    (
        Escalated(1, (("a", 1),), "policy", "demote", "g", "h", "unreachable", ()),
        "escalation  demote h, decided by policy: g is unreachable  (answers a #1)",
    ),
    (
        ModelAsked(1, "m", "g", "unreachable", (Option("give_up", "give_up"), Option("ask", "ask")), (), (), ()),
        "model       asked about g: unreachable  [give_up, ask]",
    ),
    (ModelAnswered(1, "demote:h"), "model       chose demote:h"),
    (ModelAnswered(1, "demote:h", "enough"), "model       chose demote:h: enough"),
    (
        ModelAnswered(1, None, "I would rather not", error="refused"),
        "model       gave no answer: refused: I would rather not",
    ),
    (ModelAnswered(1, None, error="timeout"), "model       gave no answer: timeout"),
    (RunEnded(1, (), "limit:usd"), "stop        limit:usd"),
    (Settled("a", 1, False, "person"), "settled     a #1 was not done, says person"),
    (
        QuestionAsked("approve:a", "approve", "a", "dear", (("p", "p", "input"),), ("yes", "no"), 60.0),
        "question    approve:a, until 60 s: dear  (p from input)  [yes, no]",
    ),
    (
        Answered("approve:a", "edit", (Value("a.p"),), "kim", "less"),
        "person      approve:a: edit with a.p, says kim (less)",
    ),
    (ViewChanged(View("v", (), (), (("a", "open"),))), "view        changed; vetoed: a"),
    (CancelRequested("enough"), "cancel      enough"),
    (RunResumed("id"), "resumed"),
    (RunFinished("waiting", None, ("a",), (), (), "waiting for a person"), "waits       for a person"),
    (
        RunFinished("failed", None, ("a",), (), (("a", True), ("b", False)), "unreachable"),
        "end         failed: unreachable; a undone; b not undone",
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=lambda part: part if isinstance(part, str) else "")
def test_an_event_is_told(event: Event, line: str) -> None:
    """Each event reads as a line."""
    assert story([Record(1, 0.0, event)]) == f"       0 s  {line}"


def test_times_are_rounded_to_milliseconds() -> None:
    """A moment is readable, whatever its last digits."""
    event = CancelRequested("x")
    assert story([Record(1, 12.34567, event), Record(2, 1200.0, event)]).splitlines() == [
        "  12.346 s  cancel      x",
        "    1200 s  cancel      x",
    ]


# ------------------------------------------------------------------------------------------------------------ snapshots


def snapshots(folder: Path, **options: Any) -> LogSnapshots:
    """Return the snapshots of a test in a folder."""
    given = {"update": False, "ci": True, "update_option": "--update", **options}
    return LogSnapshots(folder / "test_shop.py", "test_x[a/b]", **given)


def test_a_snapshot_is_written_once_and_compared_from_then_on(tmp_path: Path) -> None:
    """Outside CI a missing snapshot is written; the same run passes, another one fails with a diff."""
    run = simulated(SHOP, "stripe: down", seed=1)
    first = snapshots(tmp_path, ci=False)
    first(run)
    path = tmp_path / "snapshots" / "test_shop" / "test_x-a-b.txt"
    assert first.written == [path]
    assert "reroute     stripe > email -> wire > email: stripe down  (answers stripe #1)" in path.read_text()
    assert "injected" not in path.read_text()  # messages may differ from run to run
    snapshots(tmp_path)(simulated(SHOP, "stripe: down", seed=2))
    with pytest.raises(SnapshotError) as caught:
        snapshots(tmp_path)(simulated(SHOP, "stripe: {raise: permanent}"))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the run went another way than in ")
    assert "-     0.4 s  failed      stripe #1  down" in lines
    assert "+     0.4 s  failed      stripe #1  raised" in lines
    assert lines[-1] == "if that is right: pytest --update"


def test_a_missing_snapshot_fails_in_ci(tmp_path: Path) -> None:
    """In CI nothing is written: a snapshot that nobody has seen proves nothing."""
    with pytest.raises(SnapshotError, match=r"there is no snapshot .*: run the test once with --update"):
        snapshots(tmp_path)(simulated(SHOP))
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_is_updated_on_demand(tmp_path: Path) -> None:
    """With the option what differs is written, also in CI."""
    snapshots(tmp_path, ci=False)(simulated(SHOP), "name")
    snapshots(tmp_path, update=True)(simulated(SHOP, "stripe: down"), "name")
    snapshots(tmp_path)(simulated(SHOP, "stripe: down"), "name")


def test_two_snapshots_of_a_test_have_two_names(tmp_path: Path) -> None:
    """A name that is used twice would compare one run with the other's log."""
    both = snapshots(tmp_path, ci=False)
    both(simulated(SHOP))
    with pytest.raises(ValueError, match="has a snapshot 'test_x\\[a/b\\]' already"):
        both(simulated(SHOP))
    both(simulated(SHOP), "second")


@pytest.mark.parametrize(("value", "ci"), [("true", True), ("1", True), ("", False), ("false", False), ("0", False)])
def test_ci_is_known_by_its_variable(value: str, ci: bool) -> None:
    """The variable that CI systems set, and the ways to switch it off."""
    assert in_ci({"CI": value}) is ci
    assert not in_ci({})
