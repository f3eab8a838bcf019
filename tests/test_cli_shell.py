"""What the command line is to a shell: completion, progress, interrupts, and errors that nobody expected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]  # has no types
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import COMMANDS, app
from orchestrator.errors import StoreError
from orchestrator.runtime import Orchestrator

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a new project and go there."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    return tmp_path / "graph.yaml"


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that runs this tree."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}


# ------------------------------------------------------------------------------------------------------- completion


def offered(*words: str) -> list[str]:
    """Return what bash is offered for the last word."""
    environ = {
        "COMP_WORDS": " ".join(["orchestrator", *words]),
        "COMP_CWORD": str(len(words)),
        "_ORCHESTRATOR_COMPLETE": "bash_complete",
    }
    result = CliRunner().invoke(app, [], env=environ, prog_name="orchestrator")
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line.startswith("plain,")]


def test_commands_are_completed_in_their_order(graph: Path) -> None:
    """Every command is offered, in a newcomer's order, and a prefix narrows them down."""
    assert offered("") == list(COMMANDS)
    assert offered("pl") == ["plan", "play"]


def test_nodes_goals_and_policies_are_completed(graph: Path) -> None:
    """After `--down` come the file's nodes that are not named yet, after `--goal` its goals, best first."""
    assert offered("plan", "graph.yaml", "--down", "w") == ["web", "wiki", "write"]
    assert offered("graph", "graph.yaml", "--goal", "") == ["answered_with_sources", "answered", "found"]
    assert "default" in offered("simulate", "graph.yaml", "--policy", "d")
    assert offered("completion", "") == ["bash", "zsh", "fish"]


def test_nodes_of_included_files_are_completed(graph: Path) -> None:
    """A file that includes others offers the nodes of all of them."""
    (graph.parent / "more.yaml").write_text("tools: {zine: {declared: true, needs: [question], provides: pages}}\n")
    graph.write_text(graph.read_text() + "include: [more.yaml]\n")
    assert offered("plan", "graph.yaml", "--down", "z") == ["zine"]


@pytest.mark.parametrize("text", ["{{{", "tools: [web]", "goals: 3", "", "tools: {web: }\ngoals: [{nome: x}]"])
def test_completion_is_silent_about_a_wrong_file(graph: Path, text: str) -> None:
    """Whatever a file holds, a half-typed command line shows no error."""
    graph.write_text(text)
    assert offered("plan", "graph.yaml", "--goal", "") == []
    assert offered("plan", "nowhere.yaml", "--down", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str) -> None:
    """The script is click's own for this program; the help says where to put it."""
    result = CliRunner().invoke(app, ["completion", shell], prog_name="orchestrator")
    assert (result.exit_code, "_ORCHESTRATOR_COMPLETE" in result.stdout) == (0, True)
    assert f"  {shell}" in CliRunner().invoke(app, ["completion", "--help"]).stdout


def test_bash_takes_the_script(graph: Path) -> None:
    """Bash itself, with the script and a program of this name, completes a node's name."""
    bin = graph.parent / "bin"
    bin.mkdir()
    (bin / "orchestrator").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orchestrator "$@"\n')
    (bin / "orchestrator").chmod(0o755)
    program = (
        "source <(orchestrator completion bash); COMP_WORDS=(orchestrator plan graph.yaml --down wi); COMP_CWORD=4; "
        "_orchestrator_completion orchestrator; echo ${COMPREPLY[@]}"
    )
    environ = environment(PATH=f"{bin}:{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-c", program], env=environ, cwd=graph.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "wiki\n"


def test_completing_a_command_imports_none() -> None:
    """TAB after the program's name loads nothing heavy."""
    code = (
        "import sys\nfrom orchestrator.cli.app import app\n"
        "try:\n    app([], prog_name='orchestrator')\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pydantic', 'networkx', 'rich', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    environ = environment(COMP_WORDS="orchestrator ", COMP_CWORD="1", _ORCHESTRATOR_COMPLETE="bash_complete")
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert (done.stderr.strip(), "plain,init" in done.stdout) == ("[]", True)


# ---------------------------------------------------------------------------------------------------------- progress


def simulating(runs: int, *more: str) -> Any:
    """Start many simulated runs in a terminal, their result going to a file."""
    command = f'"{sys.executable}" -m orchestrator simulate graph.yaml -i question=x --runs {runs} {" ".join(more)}'
    return pexpect.spawn(
        "/bin/sh", ["-c", f"exec {command} > result.txt"], env=environment(), encoding="utf-8", timeout=60
    )


def test_progress_is_shown_on_a_terminal_and_gone_at_the_end(graph: Path) -> None:
    """The bar is on stderr, its line is wiped when the work is done, and stdout has the sums alone."""
    child = simulating(400)
    child.expect("simulating")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert child.before.rstrip().endswith("\x1b[2K")
    assert (graph.parent / "result.txt").read_text().startswith("400 runs: met 100.0%\n")


def test_progress_is_silent_off_a_terminal(graph: Path) -> None:
    """Off a terminal nothing is written on stderr."""
    result = CliRunner().invoke(app, ["simulate", "graph.yaml", "-i", "question=x", "--runs", "20"])
    assert (result.exit_code, result.stderr) == (0, "")


def test_an_interrupt_prints_what_is_known_so_far(graph: Path) -> None:
    """Ctrl-C during many runs prints the sums of those that are done, and exits 130."""
    child = simulating(1_000_000, "--json")
    child.expect(r"[1-9]\d*/1000000")
    child.sendintr()
    child.expect(r"interrupted after (\d+) of 1000000 runs")
    done = int(child.match[1])
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    sums = json.loads((graph.parent / "result.txt").read_text())
    assert sums["runs"] == sum(sums["outcomes"].values()) == done > 0


def test_an_interrupt_elsewhere_is_one_word_and_130(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a file is read is no traceback."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Orchestrator, "from_yaml", interrupted)
    result = CliRunner().invoke(app, ["plan", "graph.yaml"])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


# ------------------------------------------------------------------------------------------------- unexpected errors


@pytest.fixture
def broken(graph: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Break the planner with an error that holds secrets; gives the folder that reports are saved in."""
    monkeypatch.setenv("SHOP_API_KEY", "sk-very-secret-1")
    monkeypatch.setenv("SHOP_URL", "http://shop.example/plain")
    monkeypatch.delenv("ORCHESTRATOR_DEBUG", raising=False)
    reports = tmp_path / "reports"
    reports.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(reports))

    def plan(*arguments: object, **options: object) -> None:
        raise RuntimeError(f"no route: {os.environ['SHOP_API_KEY']} at {os.environ['SHOP_URL']}")

    monkeypatch.setattr(Orchestrator, "plan", plan)
    return reports


def planned(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Plan, with the options of the group before and those of the command behind."""
    before = [word for word in arguments if word == "-v"]
    behind = [word for word in arguments if word != "-v"]
    return CliRunner().invoke(app, [*before, "plan", "graph.yaml", "-i", "question=my own words", *behind], env=env)


def test_an_unexpected_error_is_one_line_and_a_saved_report(broken: Path) -> None:
    """The person sees one line; the report, for this user alone, says where, and holds neither secrets nor inputs."""
    result = planned()
    (report,) = broken.iterdir()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: unexpected RuntimeError; the report is in {report}\n"
    text = report.read_text()
    assert "command: orchestrator plan\n" in text
    assert "test_cli_shell.py" in text
    assert "RuntimeError: no route: *** at ***" in text
    assert not any(word in text for word in ("sk-very-secret-1", "shop.example", "my own words"))
    assert report.stat().st_mode & 0o077 == 0


def test_verbose_prints_the_traceback_instead(broken: Path) -> None:
    """`-v`, or the environment, prints what would have been saved, and saves nothing."""
    for result in (planned("-v"), planned(env={"ORCHESTRATOR_DEBUG": "1"})):
        assert "Traceback (most recent call last)" in result.stderr
        assert "sk-very-secret-1" not in result.stderr
    assert list(broken.iterdir()) == []
    assert "Traceback" not in planned(env={"ORCHESTRATOR_DEBUG": "0"}).stderr


def test_an_unexpected_error_is_json_where_json_was_asked_for(broken: Path) -> None:
    """`--json` prints one document that names the report."""
    found = json.loads(planned("--json").stdout)["error"]
    assert found["code"] == "unexpected"
    assert Path(found["report"]).is_file()


def test_a_report_that_cannot_be_saved_is_no_second_error(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for the report the line says how to see it."""
    monkeypatch.setattr("tempfile.tempdir", str(broken / "nowhere"))
    result = planned()
    assert (result.exit_code, "-v or ORCHESTRATOR_DEBUG=1" in result.stderr) == (2, True)


def test_an_error_of_ours_inside_a_group_is_ours(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task group wraps what its tasks raise; the message is the error's own all the same."""

    def plan(*arguments: object, **options: object) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("tasks", [StoreError("the disk is full")])])

    monkeypatch.setattr(Orchestrator, "plan", plan)
    result = CliRunner().invoke(app, ["plan", "graph.yaml"])
    assert (result.exit_code, result.stderr) == (1, "error: the disk is full\n")
