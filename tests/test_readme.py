"""The README's examples are true: they run, load, and print what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.load import load_text

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
