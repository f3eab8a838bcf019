"""How long whole processes take to start: our import and command line, beside bare Python and LangGraph."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from tests.bench.laps import time_sync
from tests.bench.report import Bar, Section, Table

__all__ = ("measure",)

ROUNDS = 11
COMMANDS: dict[str, Sequence[str]] = {
    "pass": ("-c", "pass"),
    "import orchestrator": ("-c", "import orchestrator"),
    "from orchestrator import Orchestrator": ("-c", "from orchestrator import Orchestrator"),
    "orchestrator --help": ("-m", "orchestrator", "--help"),
    "import networkx": ("-c", "import networkx"),
    "import langgraph.graph": ("-c", "import langgraph.graph"),
}


def start(arguments: Sequence[str]) -> None:
    """Run a Python process to its end."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def measure() -> Section:
    """Start every process in turn."""
    laps = time_sync({name: partial(start, arguments) for name, arguments in COMMANDS.items()}, ROUNDS)
    rows = [
        (f"`{name}`", laps.time(name, 1e3).text(0), laps.ratio(name, "pass").text(1),
         laps.ratio(name, "import langgraph.graph").text(2))
        for name in COMMANDS
    ]  # fmt: skip
    bars = []
    for name in ("from orchestrator import Orchestrator", "orchestrator --help"):
        ratio = laps.ratio(name, "import langgraph.graph")
        bars.append(Bar(f"`{name}`: faster than `import langgraph.graph`", ratio.text(), ratio.median < 1))
    text = "Whole processes, from start to end, on a warm disk."
    header = ("process", "ms", "/ `pass`", "/ `import langgraph.graph`")
    return Section("Starting", text, [Table(header, rows)], bars)
