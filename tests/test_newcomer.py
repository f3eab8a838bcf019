"""A newcomer's first minutes, typed into a real terminal: every command, every screen, one slip of the pen."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect  # type: ignore[import-untyped]  # has no types
import pytest

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "newcomer> "
FORUM = '''

def forum(question: str) -> list[Page]:
    """Ask the forum: it knows everything, and takes its time."""
    return [{"title": "Forum", "text": f"Somebody knows about {question}."}]
'''
TOOL = """\
  forum:
    python: "answers.tools:forum"
    provides: pages
    cots: {latency: 3s, success: 0.8}
"""


class Terminal:
    """A shell in a terminal of a given width."""

    def __init__(self, folder: Path, columns: int) -> None:
        program = (
            f'orchestrator() {{ "{sys.executable}" -m orchestrator "$@"; }}; python() {{ "{sys.executable}" "$@"; }}'
        )
        environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ},
            "PS1": PROMPT,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TERM": "xterm",
        }
        self.columns = columns
        self.child = pexpect.spawn(
            "/bin/sh", ["-i"], cwd=str(folder), env=environ, encoding="utf-8", dimensions=(50, columns), timeout=50
        )
        self.child.expect_exact(PROMPT)
        self.type("stty -echo")
        self.type(program)

    def type(self, line: str, prompt: str = PROMPT) -> str:
        """Type a line and return what is on the screen when the prompt is back, without colours."""
        self.child.sendline(line)
        self.child.expect_exact(prompt)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.child.before)
        assert "Traceback" not in text
        return text

    def code(self) -> int:
        """Return the exit code of the last command."""
        return int(self.type("echo $?"))


@pytest.fixture(params=[80, 120])
def terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """Open a terminal in an empty folder."""
    terminal = Terminal(tmp_path, request.param)
    yield terminal
    terminal.child.close(force=True)


def edit(path: Path, old: str, new: str) -> None:
    """Change a text in a file, as an editor would."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_newcomers_path(terminal: Terminal, tmp_path: Path) -> None:
    """init, a new tool with a slip, validate, play, run: each screen says what happened and what to type next."""
    screen = terminal.type("orchestrator init first")
    assert "cd first" in screen
    assert "orchestrator validate graph.yaml" in screen
    assert max(map(len, screen.splitlines())) <= 80
    terminal.type("cd first")
    assert "findings: none" in terminal.type("orchestrator validate graph.yaml")

    # A tool of one's own, with a slip in the file.
    graph, tools = tmp_path / "first/graph.yaml", tmp_path / "first/answers/tools.py"
    tools.write_text(tools.read_text() + FORUM)
    edit(graph, "  write:\n", f"{TOOL}  write:\n")
    screen = terminal.type("orchestrator validate graph.yaml")
    assert "error[E020]: unknown key 'cots'" in screen
    assert "did you mean 'cost'?" in screen
    assert terminal.code() == 2
    edit(graph, "cots", "cost")
    assert "{forum | web | wiki} -> write" in terminal.type("orchestrator validate graph.yaml")
    assert terminal.code() == 0

    # Break what is there; TAB completes.
    screen = terminal.type("orchestrator play graph.yaml", "play> ")
    assert "● web 0.4" in screen
    screen = terminal.type("fail we\t", "play> ")
    assert "✗ web 0.4 (down)   ● wiki 0.9474" in screen.replace("\n", "")
    screen = terminal.type("fail wiki", "play> ")
    assert "● forum 3.75" in screen
    assert "did you mean 'fail'" in terminal.type("fial write", "play> ")
    terminal.child.sendintr()
    terminal.child.expect_exact("play> ")
    assert "2 reroutes" in terminal.type("run", "play> ")
    terminal.type("quit")
    assert terminal.code() == 0

    # For real: the web finds nothing, the wiki steps in.
    screen = terminal.type("orchestrator run graph.yaml -i question=warranty")
    assert "reroute" in screen
    assert "The warranty lasts two years." in screen
    assert terminal.code() == 0
    screen = terminal.type("BROKEN=write python -m orchestrator run graph.yaml -i question=refund")
    assert "demoted to goal found" in screen
    assert terminal.code() == 3

    # Both runs are still there.
    screen = terminal.type("orchestrator runs list")
    header, demoted, met = screen.strip().splitlines()
    assert header.split() == ["RUN", "STARTED", "GRAPH", "OUTCOME", "GOAL"]
    assert (demoted.split()[5:7], met.split()[5:7]) == (["demoted", "found"], ["met", "answered_with_sources"])
    assert max(map(len, screen.splitlines())) <= 80
    screen = terminal.type(f"orchestrator runs show {met.split()[0]}")
    assert "failed: invalid_output" in screen
    assert "The warranty lasts two years." in screen
    assert terminal.code() == 0

    assert "4 passed" in terminal.type("python -m pytest -q -p no:cacheprovider")
    assert "references        every function" in terminal.type("orchestrator doctor graph.yaml")
    assert terminal.code() == 0


def test_a_second_init_touches_nothing(terminal: Terminal, tmp_path: Path) -> None:
    """Typed twice by mistake, `init` lists what is in the way and how to go on."""
    terminal.type("orchestrator init")
    (tmp_path / "graph.yaml").write_text("mine")
    screen = terminal.type("orchestrator init")
    assert "graph.yaml" in screen
    assert "--force" in screen
    assert terminal.code() == 2
    assert (tmp_path / "graph.yaml").read_text() == "mine"
