"""What a run would see of saved health, and how `plan` tells of it: the command line on real run logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from orchestrator import Orchestrator, tool
from orchestrator.cli.app import app
from orchestrator.health import Circuits, Outcome, Signal
from orchestrator.health.board import Board
from orchestrator.health.rows import HealthRow
from orchestrator.health.seen import seen
from orchestrator.health.stored import document
from orchestrator.policy import Objective, Policy
from orchestrator.store import Store
from orchestrator.weight import declared_view
from tests.running import graph, node
from tests.stores import tamper

OUT = Signal("circuit", "fast", 0.99, "circuit open: 5 failures in a row", "veto", open=True)
FAST = HealthRow("fast", "open", 0.0, 5.0, 0.8, 30.0, 20.0, "raised", 1.0, (OUT,), 1.0, 1.0)
SLOW = HealthRow("slow", "closed", 3.0, 4.0, 0.9, 120.0, 0.0, None, None, (), 1.0, 1.5)
ASKED = Signal("mine", "slow", 0.5, "an audit is under way", "gate")

GRAPH = """
version: 1
name: pages
tools:
  fast: {declared: true, provides: page, effect: read, cost: {units: 1}}
  slow: {declared: true, provides: page, effect: read, cost: {units: 2}}
  last: {declared: true, provides: page, effect: read, cost: {units: 9}}
policy: {health: {use: true}}
goals: [{name: g, values: page}]
"""
PAGES = graph(node("fast", provides="page"), node("slow", provides="page", units=2.0), goals="g: page")
BASE = declared_view(PAGES, Objective())


def save(rows: Iterable[HealthRow]) -> None:
    """Save health as a process that runs the graph would."""

    async def main() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            await store.save_health("pages", document({"version": 1}, rows))

    anyio.run(main)


def plan(*arguments: str) -> Result:
    """Call `orchestrator plan` on the graph."""
    return CliRunner().invoke(app, ["plan", "pages.yaml", *arguments])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with nothing but the graph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_STORE", raising=False)
    (tmp_path / "pages.yaml").write_text(GRAPH)
    return tmp_path


# ------------------------------------------------------------------------------------------------------------- the view


def test_rows_become_the_view_of_the_board_that_made_them() -> None:
    """An open circuit, a measured weight, a spent budget: what the rows say is what a run of that process sees."""
    at = 100.0
    policy = Policy.model_validate({"health": {"quiet": "0s", "short": "0s", "long": "0s"}})
    circuits = Circuits(PAGES, policy, clock=lambda: at)
    board = Board(PAGES, policy, circuits, clock=lambda: at)
    for number in range(30):
        board.record(Outcome("fast", "external", at, 0.1, "raised"))
        board.record(Outcome("slow", "ok" if number % 2 else "external", at, 0.1))
        at += 0.02
    for _ in range(5):
        at += 0.2
        board.tick()
    told, shown = board.view("run"), seen(BASE, board.rows())
    assert told.vetoes
    assert dict(told.weights)["slow"] > 2_000_000
    assert replace(told, id="") == replace(shown, id="", weights=told.weights)
    assert dict(shown.weights)["slow"] == dict(told.weights)["slow"]


def test_what_was_measured_long_ago_weighs_nothing() -> None:
    """Old rows still bar the way of nodes that are out, and move no weight."""
    fresh, old = seen(BASE, [FAST, SLOW]), seen(BASE, [FAST, SLOW], measured=False)
    assert dict(fresh.weights) == {"fast": 1_000_000, "slow": 3_000_000}
    assert dict(old.weights) == {"fast": 1_000_000, "slow": 2_000_000}
    assert dict(old.vetoes) == dict(fresh.vetoes) == {"fast": "circuit open: 5 failures in a row"}
    assert old.open == ("fast",)


def test_a_circuit_whose_time_is_over_bars_nobody() -> None:
    """Half-open, a node may be tried by the next run, whatever was said while it was out; gates stay."""
    view = seen(BASE, [replace(FAST, state="half_open", open_for=0.0), replace(SLOW, reasons=(ASKED,))])
    assert (view.vetoes, view.open) == ((), ())
    assert dict(view.gates) == {"slow": "an audit is under way"}


# ----------------------------------------------------------------------------------------------------- the command line


def test_a_plan_goes_by_the_health_that_the_run_log_knows() -> None:
    """The route is the one that a run would take now, with each node's weight as declared and now, and why."""
    save([FAST, replace(SLOW, reasons=(ASKED,)), replace(SLOW, node="last", n=0.0, factor=1.0)])
    told = plan("--explain").stdout
    assert told.startswith("goal g: weight 3, ")
    assert "  fast  vetoed: circuit open: 5 failures in a row" in told
    assert "1.5 times what it declares" in told
    table = told[told.index("health, as of ") :].splitlines()
    assert table[1].split() == ["node", "state", "declared", "now", "why"]
    assert table[2].split(maxsplit=4) == ["fast", "open", "1", "-", "circuit open: 5 failures in a row"]
    why = "a person is asked: an audit is under way; 3 of 4 succeeded of late, 120 ms"
    assert table[3].split(maxsplit=4) == ["slow", "closed", "2", "3", why]
    assert table[4].split() == ["last", "closed", "9", "9"]


def test_the_document_holds_health_and_backups() -> None:
    """`plan --json` tells the same as data."""
    save([FAST, SLOW])
    found = json.loads(plan("--json").stdout)
    assert found["route"] == ["slow"]
    assert found["backups"]["slow"]["node"] == {"without": ["slow"], "route": ["last"], "weight": 9.0}
    assert found["nodes"]["slow"]["terms"]["health"] == 1.5
    fast = found["health"]["nodes"]["fast"]
    assert (fast["state"], fast["declared"], fast["weight"]) == ("open", 1.0, None)
    assert fast["veto"] == fast["reasons"][0]["reason"] == "circuit open: 5 failures in a row"
    assert found["health"]["nodes"]["slow"]["weight"] == 3.0


@pytest.mark.parametrize("asked", ["--declared", "policy"])
def test_a_plan_as_declared_asks_nobody(here: Path, asked: str) -> None:
    """With --declared, and where the policy gives health no say, the run log is not even looked at."""
    save([FAST, SLOW])
    if asked == "policy":
        (here / "pages.yaml").write_text(GRAPH.replace("use: true", "use: false"))
    found = json.loads(plan("--json", *([asked] if asked == "--declared" else [])).stdout)
    assert (found["route"], found["health"]) == (["fast"], None)


def test_without_a_run_log_the_plan_is_as_declared(here: Path) -> None:
    """Nothing is known, nothing is said of it, and nothing is created."""
    result = plan("--explain")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "health" not in result.stdout
    assert [path.name for path in here.iterdir()] == ["pages.yaml"]


def test_a_run_log_that_cannot_be_read_stops_no_plan() -> None:
    """It is told of and left aside; one that is asked for by name is an error."""
    save([FAST])
    tamper(f"sqlite:///{Path('.orchestrator/runs.db').absolute()}", "UPDATE health SET data = '{'")
    result = plan()
    assert result.exit_code == 0
    assert result.stderr.startswith("planned as declared: the health of the graph pages cannot be read")
    assert plan("--store", ".orchestrator/runs.db").exit_code == 2


def test_a_plan_waits_for_nobody_whom_it_was_not_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run log of the environment that is not there costs a moment and a sentence, and a plan is made all the same."""
    monkeypatch.setenv("ORCHESTRATOR_STORE", "postgresql://nobody:sk-0123456789@127.0.0.1:1/runs")
    result = plan()
    assert result.exit_code == 0
    assert result.stdout.startswith("goal g: weight 1, ")
    waited = re.search(r"planned as declared: the store .* cannot be used, after (\S+) s of trying", result.stderr)
    assert waited is not None
    assert float(waited[1]) <= 2.5
    assert "sk-0123456789" not in result.stderr


def test_no_secret_is_in_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that quotes a key of the environment is masked, in the text and in the document."""
    monkeypatch.setenv("SHOP_API_KEY", "sk-0123456789")
    save([replace(FAST, reasons=(replace(OUT, reason="refused sk-0123456789"),))])
    for option in ("--explain", "--json"):
        shown = plan(option).stdout
        assert ("sk-0123456789" in shown, "***" in shown) == (False, True)


async def test_an_application_is_told_what_its_next_run_would_take() -> None:
    """`Orchestrator.plan` goes by what this process has learnt from its runs."""

    @tool(provides="page", effect="read", units=1)
    async def fast() -> str:
        raise ConnectionError("down")

    @tool(provides="page", effect="read", units=2)
    async def slow() -> str:
        return "page"

    policy: dict[str, Any] = {"health": {"use": True}, "retry": {"attempts": 1}}
    async with Orchestrator(tools=[fast, slow], goals={"g": ["page"]}, policy=policy) as orchestrator:
        assert orchestrator.plan().route.nodes == ("fast",)
        for _ in range(5):
            await orchestrator.run()
        found = orchestrator.plan()
        assert found.route.nodes == ("slow",)
        assert found.unused["fast"].startswith("vetoed: circuit open")
