"""The rates example: a provider that gets slow, stops and comes back, as real processes under real traffic."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.request import urlopen

import pytest

from orchestrator import Orchestrator
from tests import examples
from tests.examples import EXAMPLES, Terminal, same_output, shown

GRAPH = EXAMPLES / "rates" / "rates.yaml"


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Return a terminal in the example's folder."""
    return examples.terminal_in("rates", tmp_path)


@pytest.fixture
def at_home() -> Iterator[None]:
    """Let the example's package be imported."""
    with examples.at_home("rates", "bureau"):
        yield


def test_the_traffic_leaves_a_slow_provider_and_comes_back(terminal: Terminal) -> None:
    """It serves all runs, then few though none fails, then none, then all again; each turn is told with its cause."""
    demo = terminal.run(sys.executable, "demo.py", bound=60.0)

    assert demo.stderr == ""
    assert demo.returncode == 0, demo.stdout
    rows = {
        match[1]: (match[2], match[3])
        for match in re.finditer(
            r"^  ([a-z ]+?)  +\d+ +(\S+) +\S+ +\S+ +\d+ ms +(\S+)$", demo.stdout, flags=re.MULTILINE
        )
    }
    assert list(rows) == [
        "all is well",
        "northbank gets slow",
        "northbank is stopped",
        "northbank is restored",
        "a while later",
    ]
    assert rows["northbank gets slow"][1] == "-"
    assert rows["northbank is stopped"][0] == "-"
    assert "times as costly as declared" in demo.stdout
    assert "3 timeouts in a row" in demo.stdout
    assert "half-open: one run may try it" in demo.stdout
    assert "in use again, step by step" in demo.stdout
    assert "came back by itself" in demo.stdout
    assert terminal.left_behind() == []


def test_the_demo_fails_if_the_traffic_stays(terminal: Terminal) -> None:
    """Without measuring, the slow provider keeps its runs: that is told, and is the exit code."""
    program = """
import dataclasses, demo, sys
from_yaml, default = demo.Orchestrator.from_yaml, {"health": {"use": True, "measure": False}}
demo.Orchestrator.from_yaml = lambda path: from_yaml(path, policy=default)
demo.LONGEST, demo.PHASES = 1.0, tuple(dataclasses.replace(phase, seconds=0.5) for phase in demo.PHASES[:2])
sys.exit(demo.main())
"""
    demo = terminal.python(program)

    assert demo.returncode == 1, demo.stderr
    assert "northbank gets slow: it is not so that northbank loses most runs, and nothing fails" in demo.stdout
    assert "came back by itself" not in demo.stdout
    assert terminal.left_behind() == []


@pytest.mark.parametrize(("command", "output"), shown("rates"))
def test_the_readme_shows_what_a_terminal_shows(terminal: Terminal, command: str, output: str) -> None:
    """Each command in the README prints what stands below it."""
    same_output(terminal, command, output)


@pytest.mark.usefixtures("at_home")
def test_the_speed_of_a_provider_can_be_changed_while_it_runs() -> None:
    """It answers as late as it was told last, and a stopped one answers once it goes on."""
    bureau = import_module("bureau.processes").Bureau()
    with bureau:
        url = f"{bureau['northbank'].url}/rates/CHF"
        bureau.slow("northbank", 60.0)
        with pytest.raises(TimeoutError):
            urlopen(url, timeout=0.2)
        bureau.slow("northbank", 0.0)
        bureau.stop("northbank")
        with pytest.raises(TimeoutError):
            urlopen(url, timeout=0.2)
        bureau.restore("northbank")
        with urlopen(url, timeout=10.0) as answer:
            assert b'"rate": 0.9312' in answer.read()


@pytest.mark.usefixtures("at_home")
def test_the_graph_declares_what_the_providers_take() -> None:
    """The fastest is the first choice, and each declares its own speed."""
    seconds = import_module("bureau.processes").SECONDS
    orchestrator = Orchestrator.from_yaml(GRAPH)
    assert {name: orchestrator.graph.by_name[name].seconds for name in seconds} == pytest.approx(seconds)
    assert orchestrator.plan().route.nodes == ("northbank", "change")


def test_health_is_told_by_the_process_that_ran() -> None:
    """Before its first run an orchestrator knows nothing of its nodes, and then how each call went."""

    def search(query: str) -> str:
        return query

    orchestrator = Orchestrator(tools=[search], goals={"found": ["search"]}, policy={"health": {"use": True}})
    assert orchestrator.health() == ()
    assert orchestrator.run_sync(query="x").outcome == "met"
    assert [(row.node, row.state, round(row.n)) for row in orchestrator.health()] == [("search", "closed", 1)]
