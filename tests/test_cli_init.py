"""A new project: whole or not at all, sound from the first minute, and nothing of the person's own is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.data import PROJECT

ROOT = Path(__file__).resolve().parent.parent


def call(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, arguments, env=env, prog_name="orchestrator")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a project, and go there."""
    assert call("init", str(tmp_path / "first")).exit_code == 0
    monkeypatch.chdir(tmp_path / "first")
    for name in [name for name in sys.modules if name.partition(".")[0] == "answers"]:
        del sys.modules[name]
    return tmp_path / "first"


def everything(folder: Path) -> dict[str, str]:
    """Return every file below a folder with its text."""
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_writes_what_it_lists_and_says_what_to_type(tmp_path: Path) -> None:
    """Every file that is named is there, and the commands to type start with the way into the folder."""
    result = call("init", str(tmp_path / "my project"), "--json")
    found = json.loads(result.stdout)
    assert set(found["files"]) == set(everything(tmp_path / "my project"))
    assert set(found["files"]) == {*PROJECT, "orchestrator.schema.json"}
    assert found["next"][0] == f"cd '{tmp_path / 'my project'}'"
    text = call("init", str(tmp_path / "other")).stdout
    assert all(step in text for step in found["next"][1:])


def test_here_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder the project is written where one stands, and there is nowhere to go."""
    monkeypatch.chdir(tmp_path)
    found = json.loads(call("init", "--json").stdout)
    assert (tmp_path / "graph.yaml").is_file()
    assert not any(step.startswith("cd ") for step in found["next"])


def test_no_line_is_too_long_for_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed, and what is written for people to read, fits a terminal or an editor."""
    monkeypatch.chdir(tmp_path)
    assert max(map(len, call("init", "p").stdout.splitlines())) <= 80
    texts = everything(tmp_path / "p")
    del texts["orchestrator.schema.json"]
    assert max(len(line) for text in texts.values() for line in text.splitlines()) <= 120


def test_the_project_is_valid_without_a_word_of_warning(project: Path) -> None:
    """`validate --strict` finds nothing at all."""
    result = call("validate", "graph.yaml", "--strict", "--json")
    (file,) = json.loads(result.stdout)["files"]
    assert (result.exit_code, file["valid"], file["findings"]) == (0, True, [])


def test_the_project_shows_a_reroute_and_a_demotion(project: Path) -> None:
    """A question that only the wiki knows is answered by a reroute; without a writer the run is demoted."""
    answered = call("run", "graph.yaml", "-i", "question=refund", "--json")
    assert json.loads(answered.stdout)["reroutes"] == 0
    rerouted = json.loads(call("run", "graph.yaml", "-i", "question=warranty", "--json").stdout)
    assert (rerouted["outcome"], rerouted["reroutes"]) == ("met", 1)
    demoted = call("run", "graph.yaml", "-i", "question=refund", "--json", env={"BROKEN": "write"})
    assert (demoted.exit_code, json.loads(demoted.stdout)["goal"]) == (3, "found")


def test_the_project_passes_its_own_tests(project: Path) -> None:
    """The tests that are written with it pass in a process of their own."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_the_project_keeps_our_own_rules_of_style(project: Path) -> None:
    """The code that a newcomer reads first is formatted, linted and typed like ours."""
    for command in (["ruff", "format", "--check"], ["ruff", "check"], ["mypy", "--strict"]):
        config = ["--config-file", str(ROOT / "pyproject.toml")] if command[0] == "mypy" else []
        config = config or ["--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run(
            [sys.executable, "-m", *command, *config, "answers", "tests"],
            cwd=project,
            env={**os.environ, "MYPYPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_variables_of_the_example_are_those_that_are_read(project: Path) -> None:
    """`.env.example` names what graph and tools read, and nothing else."""
    named = {
        line.partition("=")[0] for line in (project / ".env.example").read_text().splitlines() if line[:1].isupper()
    }
    assert named == {"TOOL_TIMEOUT", "BROKEN"}
    assert "${TOOL_TIMEOUT:-" in (project / "graph.yaml").read_text()
    assert '"BROKEN"' in (project / "answers/tools.py").read_text()


def test_nothing_is_overwritten(project: Path) -> None:
    """One file in the way stops it all: it is named, nothing is written, and --force writes everything."""
    (project / "answers/tools.py").write_text("mine")
    (project / "graph.yaml").unlink()
    before = everything(project)
    result = call("init")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "answers/tools.py" in result.stderr
    assert "--force" in result.stderr
    assert everything(project) == before
    assert call("init", "--force").exit_code == 0
    assert "def web" in (project / "answers/tools.py").read_text()
    assert (project / "graph.yaml").is_file()


def test_a_link_to_nowhere_is_in_the_way_too(tmp_path: Path) -> None:
    """A dangling link is not written through."""
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere.md")
    result = call("init", str(tmp_path))
    assert result.exit_code == 2
    assert not (tmp_path / "elsewhere.md").exists()


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_file_where_a_folder_has_to_be_is_one_clear_error(tmp_path: Path, force: tuple[str, ...]) -> None:
    """A file called `answers`, or a file as the folder itself, is named, and nothing is written."""
    (tmp_path / "answers").write_text("a file")
    result = call("init", str(tmp_path), *force)
    assert (result.exit_code, "answers" in result.stderr) == (2, True)
    assert list(everything(tmp_path)) == ["answers"]
    assert "is a file" in call("init", str(tmp_path / "answers"), *force).stderr
