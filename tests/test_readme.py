"""The README's examples are true: they run, load, and print what it says."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from orchestrator.errors import SpecError
from orchestrator.policy import Policy
from orchestrator.spec.load import load_text
from orchestrator.spec.resolve import resolve

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_shortest_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    """The first Python block, run as a program, prints the block that follows it."""
    example = tmp_path / "example.py"
    example.write_text(blocks("python")[0], encoding="utf-8")
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert f"```text\n{done.stdout}```" in README


def test_the_yaml_loads_and_its_error_is_the_one_shown() -> None:
    """The YAML block is a graph file; with `cost` misspelt its error is the one that the README prints."""
    text = blocks("yaml")[0]
    load_text(text, file="graph.yaml", environ={})
    with pytest.raises(SpecError) as caught:
        load_text(text.replace("cost: {usd", "cots: {usd", 1), file="graph.yaml", environ={})
    assert str(caught.value) in README


def test_every_command_of_the_readme_exists() -> None:
    """The table of commands names those of the command line."""
    from orchestrator.cli.app import COMMANDS

    named = set(re.findall(r"^\| `orchestrator (\w+)", README, flags=re.MULTILINE))
    assert named == set(COMMANDS)


def health_section() -> str:
    """Return the screen on health."""
    found = re.search(r"^## How a tool loses trust.*?(?=^## )", README, flags=re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]


def test_the_figures_of_health_are_those_of_the_policy() -> None:
    """What the screen on health says of failures, rates and times is what holds where nobody says otherwise."""
    circuit, health = Policy().circuit, Policy().health
    text = re.sub(r"\s+", " ", health_section())
    for words in (
        f"counts as {health.prior} calls",
        f"if the last {health.latency:g} s bear it out",
        f"no more than a factor of {health.movement:g} counts",
        f"{circuit.failures} failures or {circuit.failures} timeouts in a row",
        f"under {circuit.success:.0%}".replace("%", " %"),
        f"calls of the last {circuit.window:g} s succeeded, from {circuit.volume} calls on",
        f"For {circuit.cooldown:g} s, twice as long with each failed probe, up to a minute",
        f"growing to the whole over {circuit.slow_start:g} s",
    ):
        assert words in text
    assert (circuit.max_cooldown, circuit.share) == (60.0, 0.5)


def test_the_policy_of_the_health_screen_is_one() -> None:
    """Its YAML loads, and says what the text says that it says."""
    text = next(block for block in blocks("yaml") if "health:" in block)
    policy = resolve(load_text(text, file="graph.yaml", environ={})).policy
    assert policy.health.use
    assert policy.circuit == Policy().circuit


async def test_the_monitor_of_the_readme_takes_a_tool_out_of_use(tmp_path: Path) -> None:
    """Put behind the shortest example, it keeps the runs away from a tool that would fail."""
    monitor = next(block for block in blocks("python") if "async def check" in block)
    example = tmp_path / "example.py"
    example.write_text(blocks("python")[0].partition("orchestrator = ")[0] + monitor, encoding="utf-8")
    names = await anyio.to_thread.run_sync(runpy.run_path, str(example))
    async with names["orchestrator"] as orchestrator:
        await orchestrator.run(question="?")
        with anyio.fail_after(30):
            while not any(row.reasons for row in orchestrator.health()):  # noqa: ASYNC110  # nobody announces it
                await anyio.sleep(0.01)
        result = await orchestrator.run(question="?")
        assert [attempt.node for attempt in result.attempts] == ["wiki_search"]
        assert orchestrator.plan().unused["web_search"] == "vetoed: maintenance until six"
