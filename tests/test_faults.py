"""Faults on purpose: the file, what it says of an attempt, and chance that is no stream."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.chance import unit_interval
from orchestrator.errors import SpecError
from orchestrator.faults import Chance, Fault, FaultPlan, Window, drilled
from orchestrator.graph import Goal, Graph, Node
from orchestrator.policy import Faults
from orchestrator.spec.policies import read_policy
from tests.running import graph, node

ROOT = Path(__file__).resolve().parent.parent

EXAMPLE = """\
seed: 7
nodes:
  stripe:   down                         # every attempt raises
  bank:     {raise: permanent}
  email:    [raise, raise, ok]
  crm:      {hang: 5s}
  never:    hang
  sms:      wrong
  razorpay: {slow: 3x}
  wire:     unknown
  search:   {rate_limited: {retry_after: 2s}}
  busy:     rate_limited
  flaky:    {fail: 0.3}
  mixed:    [{raise: transient}, {slow: 1.5x}, {fail: 1}]
domains:
  acme-cloud: {down: {from: 1s, to: 4s}}
  moon:       {down: {from: 500ms}}
  mars:       down
x-note: whatever
"""


def problems(text: str) -> list[tuple[str, int | None, int | None, str, str | None]]:
    """Return what is wrong with a fault file: code, line, column, message, help."""
    with pytest.raises(SpecError) as caught:
        FaultPlan.from_text(text, "faults.yaml")
    return [(each.code, each.line, each.column, each.message, each.help) for each in caught.value.problems]


# -------------------------------------------------------------------------------------------------------------- reading


def test_every_form_of_the_file() -> None:
    """All that a fault file may say is read."""
    plan = FaultPlan.from_text(EXAMPLE)
    assert plan == FaultPlan(
        nodes={
            "stripe": (Fault("down"),),
            "bank": (Fault("permanent"),),
            "email": (Fault("raise"), Fault("raise"), Fault("ok")),
            "crm": (Fault("hang", seconds=5.0),),
            "never": (Fault("hang", seconds=None),),
            "sms": (Fault("wrong"),),
            "razorpay": (Fault("slow", factor=3.0),),
            "wire": (Fault("unknown"),),
            "search": (Fault("rate_limited", retry_after=2.0),),
            "busy": (Fault("rate_limited"),),
            "flaky": (Chance(0.3),),
            "mixed": (Fault("raise"), Fault("slow", factor=1.5), Chance(1.0)),
        },
        domains={"acme-cloud": Window(1.0, 4.0), "moon": Window(0.5), "mars": Window()},
        seed=7,
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "nodes: {}\n", "{}"])
def test_an_empty_file_is_a_plan_without_faults(text: str) -> None:
    """A file that says nothing lets everything work."""
    assert FaultPlan.from_text(text) == FaultPlan()


@pytest.mark.parametrize(
    ("text", "line", "column", "code", "message", "help"),
    [
        ("nodes: {a: downn}", 1, 12, "E022", "no outcome 'downn'", "'down'"),
        ("nodes:\n  a: [ok, rase]", 2, 11, "E022", "no outcome 'rase'", "'raise'"),
        ("nodes:\n  a: []", 2, 6, "E022", "an empty list", "one outcome per attempt"),
        ("nodes: {a: 3}", 1, 12, "E022", "'3' is no outcome", "{slow: 3x}"),
        ("nodes: {a: {hang: 5s, slow: 3x}}", 1, 12, "E022", "is no outcome", "such as"),
        ("nodes: {a: [[ok]]}", 1, 13, "E022", "is no outcome", "such as"),
        ("nodes: {a: slow}", 1, 12, "E022", "'slow' needs a figure", "{slow: 3x}"),
        ("nodes: {a: fail}", 1, 12, "E022", "'fail' needs a figure", "{fail: 0.3}"),
        ("nodes: {a: {hangs: 5s}}", 1, 13, "E020", "unknown key 'hangs'", "'hang'"),
        ("nodes: {a: {hang: 5}}", 1, 19, "E022", "no unit", "5ms or 5s"),
        ("nodes: {a: {hang: soon}}", 1, 19, "E022", "'soon' is no duration", "250ms"),
        ("nodes: {a: {hang: null}}", 1, 19, "E022", "no duration", "250ms"),
        ("nodes: {a: {raise: sometimes}}", 1, 20, "E022", "permanent or transient", None),
        ("nodes: {a: {slow: 3}}", 1, 19, "E022", "'3' is no slowdown", "3x"),
        ("nodes: {a: {slow: 0.5x}}", 1, 19, "E022", "'0.5x' is no slowdown", "at least 1"),
        ("nodes: {a: {fail: 1.5}}", 1, 19, "E022", "from 0 to 1", None),
        ("nodes: {a: {fail: true}}", 1, 19, "E022", "from 0 to 1", None),
        ("nodes: {a: {rate_limited: {after: 2s}}}", 1, 28, "E020", "unknown key 'after'", "retry_after"),
        ("nodes: {a: {down: {from: 1s}}}", 1, 19, "E022", "takes no time span", "domains:"),
        ("nodes: [a]", 1, 8, "E022", "expected a map", None),
        ("domains: {d: up}", 1, 14, "E022", "no fault of a domain", "{from: 1s, to: 4s}"),
        ("domains: {d: {down: {from: 4s, to: 1s}}}", 1, 21, "E022", "empty", "later"),
        ("domains: {d: {down: {form: 4s}}}", 1, 22, "E020", "unknown key 'form'", "'from'"),
        ("seed: 1.5", 1, 7, "E022", "whole number", None),
        ("seeds: 1", 1, 1, "E020", "unknown key 'seeds'", "'seed'"),
        ("nodes: {a: ok, a: down}", 1, 16, "E003", "given twice", None),
        ("nodes: {a: ok", 1, None, "E001", "not valid YAML", None),
        ("- a", 1, 1, "E022", "expected a map", None),
    ],
)
def test_a_mistake_in_the_file_is_shown(
    text: str, line: int, column: int | None, code: str, message: str, help: str | None
) -> None:
    """Every mistake is named with its place, and with what to write instead where that is known."""
    [found] = problems(text)
    assert found[0] == code
    assert found[1] == line or column is None
    assert found[2] == column or column is None
    assert message in found[3]
    assert help is None or help in (found[4] or "")


def test_all_mistakes_at_once() -> None:
    """A file with several mistakes shows all of them, in the order of the file."""
    text = "seed: x\nnodes:\n  a: downn\n  b: {hang: 5}\n  c: ok\ndomains:\n  d: up\n"
    assert [each[1] for each in problems(text)] == [1, 3, 4, 7]


def test_a_file_on_disk(tmp_path: Path) -> None:
    """A file is read from disk; one that is not there is a problem, not a traceback."""
    (tmp_path / "faults.yaml").write_text(EXAMPLE, encoding="utf-8")
    assert FaultPlan.from_file(tmp_path / "faults.yaml").seed == 7
    with pytest.raises(SpecError, match=r"cannot read .*none\.yaml: No such file"):
        FaultPlan.from_file(tmp_path / "none.yaml")


# ------------------------------------------------------------------------------------------------------------- outcomes


def outcome(plan: FaultPlan, node: str, attempt: int = 1, at: float = 0.0, **options: object) -> str:
    """Return the kind of what happens."""
    return plan.outcome(node, attempt, at, **{"seed": 1, **options}).kind  # type: ignore[arg-type]


def test_one_outcome_per_attempt_and_the_last_one_repeats() -> None:
    """Attempts take the outcomes in turn; further ones take the last."""
    plan = FaultPlan.from_text("nodes: {a: [raise, wrong, ok], b: down}")
    assert [outcome(plan, "a", attempt) for attempt in (1, 2, 3, 4, 9)] == ["raise", "wrong", "ok", "ok", "ok"]
    assert [outcome(plan, "b", attempt) for attempt in (1, 2, 9)] == ["down"] * 3


def test_a_listed_node_ignores_its_declared_success() -> None:
    """A script says all there is to say; other nodes fail as often as they declare."""
    plan = FaultPlan.from_text("nodes: {a: ok}")
    assert {outcome(plan, "a", attempt, success=0.01) for attempt in range(1, 50)} == {"ok"}
    assert {outcome(plan, "b", attempt, success=0.01, seed=seed) for attempt in (1, 2) for seed in range(9)} == {
        "raise"
    }
    assert {outcome(plan, "b", attempt) for attempt in range(1, 50)} == {"ok"}


def test_a_probability_is_kept() -> None:
    """Of many attempts the declared share fails: within four standard deviations of 0.3 of 10,000."""
    plan = FaultPlan.from_text("nodes: {a: {fail: 0.3}, always: {fail: 1}, never: {fail: 0}}")
    failed = sum(outcome(plan, "a", seed=seed) == "raise" for seed in range(10_000))
    assert abs(failed - 3000) < 4 * (10_000 * 0.3 * 0.7) ** 0.5
    assert {outcome(plan, "always", seed=seed) for seed in range(100)} == {"raise"}
    assert {outcome(plan, "never", seed=seed) for seed in range(100)} == {"ok"}


def test_a_domain_is_down_for_a_time() -> None:
    """A time span begins with its first moment, ends before its last, and beats what the node's own script says."""
    plan = FaultPlan.from_text("nodes: {a: ok}\ndomains: {cloud: {down: {from: 1s, to: 4s}}}")
    seen = [outcome(plan, "a", at=at, domains=("moon", "cloud")) for at in (0.0, 0.999, 1.0, 3.999, 4.0, 100.0)]
    assert seen == ["ok", "ok", "down", "down", "ok", "ok"]
    assert outcome(plan, "a", at=2.0, domains=("moon",)) == "ok"
    assert outcome(FaultPlan.from_text("domains: {cloud: down}"), "a", at=1e9, domains=["cloud"]) == "down"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("down"), ("down", True, "no")),
        (Fault("raise"), ("raised", True, "no")),
        (Fault("permanent"), ("raised", False, "no")),
        (Fault("wrong"), ("invalid_output", True, "yes")),
        (Fault("unknown"), ("timeout", True, "unknown")),
        (Fault("rate_limited", retry_after=2.0), ("rate_limited", True, "no")),
        (Fault("ok"), None),
        (Fault("hang"), None),
        (Fault("slow"), None),
    ],
)
def test_what_a_run_sees(fault: Fault, expected: tuple[str, bool, str] | None) -> None:
    """Down and raise are transient and known not to have happened; an unknown outcome is a lost answer."""
    failure = fault.failure()
    assert (failure and (failure.type, failure.transient, failure.happened)) == expected
    assert failure is None or failure.retry_after == fault.retry_after


# ------------------------------------------------------------------------------------------------------ against a graph

GRAPH = Graph(
    nodes=(Node("stripe", domains=("acme-cloud",)), Node("email", output=True), Node("sms")),
    goals=(Goal("g", ("sms",)),),
)


def test_names_that_the_graph_does_not_have() -> None:
    """An unknown node or domain is shown at its place, with the nearest name."""
    plan = FaultPlan.from_text("nodes:\n  strpe: ok\n  sms: ok\ndomains:\n  acme: down\n", "faults.yaml")
    found = [(each.code, each.line, each.column, each.message, each.help) for each in plan.problems(GRAPH)]
    assert found == [
        ("E030", 2, 3, "there is no node 'strpe'", "did you mean 'stripe'?"),
        ("E030", 5, 3, "there is no domain 'acme'", "known domains: acme-cloud"),
    ]


def test_a_wrong_result_needs_a_contract_to_break() -> None:
    """Where nodes are really called `wrong` is an error without an output contract; in a simulation it is not."""
    plan = FaultPlan.from_text("nodes:\n  sms: [ok, wrong]\n  email: wrong\n", "faults.yaml")
    assert plan.problems(GRAPH) == ()
    [problem] = plan.problems(GRAPH, real=True)
    assert (problem.line, problem.help) == (2, "give sms an `output:`")


def test_a_plan_without_a_file() -> None:
    """A plan that was made in code is checked too; its problems have no place."""
    [problem] = FaultPlan({"strpe": (Fault("down"),)}).problems(GRAPH)
    assert (problem.file, problem.help) == (None, "did you mean 'stripe'?")


# --------------------------------------------------------------------------------------------------------------- chance


@given(st.lists(st.integers() | st.text(), max_size=4))
def test_chance_is_a_number_in_the_unit_interval(parts: list[int | str]) -> None:
    """The number is at least 0, below 1, and always the same."""
    assert 0.0 <= unit_interval(*parts) < 1.0
    assert unit_interval(*parts) == unit_interval(*parts)


def test_chance_is_the_same_in_every_process() -> None:
    """Neither the hash seed nor what was asked before matters."""
    program = "from orchestrator.chance import unit_interval; print(unit_interval(7, 'search', 1))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{unit_interval(7, 'search', 1)}\n"}


def test_chance_keeps_its_parts_apart() -> None:
    """Different questions have different answers, also where their texts run together in the same way."""
    asked: list[tuple[int | str, ...]] = [
        (),
        ("",),
        ("a", "b"),
        ("ab",),
        ("a,b",),
        ('a","b',),
        (1,),
        ("1",),
        (1, 2),
        (12,),
    ]
    assert len({unit_interval(*parts) for parts in asked}) == len(asked)


def test_chance_is_even() -> None:
    """Each tenth of the interval gets its share: within five standard deviations of 1,000."""
    tenths = [int(unit_interval(seed, "a") * 10) for seed in range(10_000)]
    assert all(abs(tenths.count(tenth) - 1000) < 150 for tenth in range(10))


# ------------------------------------------------------------------------------------------------------------- drills


def test_a_policys_faults_hold_for_every_node_that_no_file_lists() -> None:
    """Faults of a policy are a plan for all nodes; a fault file beats them for the nodes that it lists."""
    three = graph(node("a"), node("b"), node("c"), goals="all: a b c")
    plan = drilled(FaultPlan.from_text("seed: 3\nnodes: {a: ok}"), Faults(fail=1.0), three)
    assert plan is not None
    assert plan.seed == 3
    assert [plan.outcome(name, 1, 0.0, seed=1).kind for name in "abc"] == ["ok", "raise", "raise"]
    assert plan.problems(three, real=True) == ()


def test_a_policy_without_faults_changes_nothing() -> None:
    """Without shares there is no plan, and a fault file stays as it is."""
    plan = FaultPlan.from_text("nodes: {it: down}")
    assert drilled(None, Faults(), GRAPH) is None
    assert drilled(plan, Faults(), GRAPH) is plan


def test_every_kind_has_its_share() -> None:
    """Of many attempts each kind of fault takes the share that is written, and the rest is left alone."""
    shares = Faults(fail=0.1, unknown=0.1, wrong=0.1, hang=0.1, slow=0.2, slowdown=4.0)
    plan = drilled(None, shares, graph(node("it", output=True), goals="g: it"))
    assert plan is not None
    counts = Counter(plan.outcome("it", attempt, 0.0, seed=7) for attempt in range(1, 4001))
    assert {fault.kind for fault in counts} == {"raise", "unknown", "wrong", "hang", "slow", "ok"}
    assert counts[Fault("slow", factor=4.0)] / 4000 == pytest.approx(0.2, abs=0.03)
    assert counts[Fault("ok")] / 4000 == pytest.approx(0.4, abs=0.03)


def test_a_node_without_a_contract_gives_no_wrong_result() -> None:
    """The share of wrong results spares nodes without an output contract, in a simulation as in a run."""
    plan = drilled(None, Faults(wrong=1.0), graph(node("it"), goals="g: it"))
    assert plan is not None
    assert plan.outcome("it", 1, 0.0, seed=1) == Fault("ok")


def test_an_attempt_that_a_drill_spares_may_fail_as_declared() -> None:
    """A drill comes on top of the declared success; it does not replace it."""
    plan = drilled(None, Faults(fail=0.5), graph(node("it"), goals="g: it"))
    assert plan is not None
    failed = [plan.outcome("it", n, 0.0, seed=1, success=0.5).kind == "raise" for n in range(1, 2001)]
    assert sum(failed) / 2000 == pytest.approx(0.75, abs=0.03)


def test_shares_of_more_than_all_attempts_are_refused() -> None:
    """Shares that add up to more than one are an error with its place."""
    text = read_policy("faults: {fail: 0.7, hang: 0.6}\n", "drill.yaml", {})
    (problem,) = text.problems
    assert (problem.line, text.policy) == (1, None)
    assert "1.3 together" in problem.message
