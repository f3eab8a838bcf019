"""A command that is run inside a place."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shared.processes import Place

__all__ = ("run_in",)

NOT_FOUND = 127
"""What a shell exits with where there is no such command."""


def run_in(place: Place, command: list[str], first: Callable[[], None] = lambda: None) -> int:
    """Open the place, do what comes *first*, run the command, close the place; return the command's exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with place:
            first()
            return _run(command, place.environ)
    except KeyboardInterrupt:
        return 130


def _run(command: list[str], around: dict[str, str]) -> int:
    """Run *command* to its end; what ends it is its own matter, also on Ctrl-C."""
    # The programs beside this Python first, so that `orchestrator` is the one that belongs to it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=path)
    if program is None:
        print(f"there is no command {command[0]!r}", file=sys.stderr)
        return NOT_FOUND
    with subprocess.Popen([program, *command[1:]], env={**os.environ, **around, "PATH": path}) as process:
        signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue  # the terminal has told the command too
            return code if code >= 0 else 128 - code
