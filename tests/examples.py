"""The examples under test: a terminal in an example's folder, and the example's own package in this process."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import app

__all__ = ("EXAMPLES", "Terminal", "at_home", "command_line", "same_output", "shown", "terminal_in")

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
BOUND = 30.0
"""Seconds within which a command must end, also on a slow machine."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Runs commands in an example's folder, with temporary files where a test can look."""

    example: Path
    folder: Path
    environ: dict[str, str]

    def run(self, *command: str, bound: float = BOUND) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which includes the end of every process that it started."""
        # The pipe of stderr is handed down: it ends only when the last process that holds it does.
        return subprocess.run(
            command, cwd=self.example, env=self.environ, capture_output=True, text=True, timeout=bound, check=False
        )

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a program that can import what belongs to the example."""
        return self.run(sys.executable, "-c", program)

    def left_behind(self) -> list[str]:
        """Return the files and processes that are left."""
        files = [str(path) for path in self.folder.iterdir() if path.name.startswith(f"{self.example.name}-")]
        return files + [line for line in _processes() if str(self.folder) in line]


def _processes() -> list[str]:
    """Return the command lines of everything that runs on this machine."""
    if not Path("/proc/self/cmdline").exists():
        listing = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True)
        return listing.stdout.splitlines()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since it was listed
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def terminal_in(example: str, folder: Path) -> Terminal:
    """Return a terminal whose `python` and `orchestrator` are those under test."""
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in (("python", ""), ("orchestrator", "-m orchestrator")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        program.chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    environ["ORCHESTRATOR_STORE"] = f"sqlite:///{folder}/runs.db"
    return Terminal(EXAMPLES / example, folder, environ)


@contextmanager
def at_home(example: str, package: str) -> Iterator[None]:
    """Let an example's package, and what the examples share, be imported; forget them afterwards."""
    names = ("shared", package)
    with pytest.MonkeyPatch.context() as patch:
        for name in _modules_of(names):
            patch.delitem(sys.modules, name)
        patch.syspath_prepend(str(EXAMPLES))
        patch.syspath_prepend(str(EXAMPLES / example))
        yield
        for name in _modules_of(names):
            del sys.modules[name]


def _modules_of(names: tuple[str, ...]) -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in names]


def command_line(example: str, command: str, *arguments: str) -> Result:
    """Run the command line on an example's graph, in this process; a crash is the test's own error."""
    file = str(EXAMPLES / example / f"{example}.yaml")
    return CliRunner().invoke(app, [command, file, *arguments], catch_exceptions=False)


def shown(example: str) -> list[Any]:
    """Return the commands of an example's README, each with the output that is pasted below it, as test parameters."""
    text = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"```console\n\$ (.*?)\n(.*?)```", text, flags=re.DOTALL)
    assert found
    return [pytest.param(command, output, id=command) for command, output in found]


def same_output(terminal: Terminal, command: str, output: str) -> None:
    """Check that a command prints what a README shows, up to a line with dots; times and ids differ."""
    printed = [_comparable(line) for line in terminal.run("sh", "-c", f"{{ {command}; }} 2>&1").stdout.splitlines()]
    expected = [_comparable(line) for line in output.splitlines()]
    if expected[-1] == "...":
        expected.pop()
        printed = printed[: len(expected)]
    assert printed == expected


def _comparable(line: str) -> str:
    line = re.sub(r"\b[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\b", "ID", line)
    return " ".join(re.sub(r"\b\d+(\.\d+)? m?s\b", "TIME", line).split())
