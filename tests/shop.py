"""A graph with a run log, for tests of the command line: a refund that a person has to approve, and ways round it.

``account`` is looked up, ``pay`` or the dearer ``card`` give the refund, both once; without them a ``note`` is written.
What the tools do is said by the environment; every call leaves a line in ``calls.txt``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.events import AttemptEnded, AttemptStarted
from orchestrator.store import Store

__all__ = (
    "GRAPH",
    "ROOT",
    "call",
    "calls",
    "cut",
    "document",
    "environment",
    "newest",
    "open_shop",
    "plain",
    "spawn",
    "start",
    "until",
)

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 30
"""Time for another process to get to a state."""

GRAPH = """\
version: 1
name: refund
imports: {allow: [recorded_shop]}
inputs: {order: {type: string}, amount: {type: integer, default: 20}}
tools:
  lookup: {python: "recorded_shop:lookup", provides: account, effect: read, cost: {latency: 100ms}}
  pay:
    python: "recorded_shop:pay"
    provides: refund
    effect: once
    approve: "recorded_shop:over_the_limit"
    cost: {usd: 0.01}
  card: {python: "recorded_shop:card", provides: refund, effect: once, cost: {usd: 0.05}}
  note: {python: "recorded_shop:note", provides: ticket, effect: idempotent, cost: {latency: 10ms}}
goals:
  - {name: refunded, values: [refund]}
  - {name: noted, values: [ticket]}
"""

TOOLS = """\
import os, pathlib, time

def _called(name):
    with open("calls.txt", "a") as file:
        file.write(name + "\\n")
    if name in os.environ.get("HANG", "").split(","):
        time.sleep(600)
    if name in os.environ.get("BROKEN", "").split(","):
        raise ConnectionRefusedError(f"{name} does not answer: " + os.environ.get("SHOP_API_KEY", ""))
    if name in os.environ.get("LOST", "").split(","):
        raise TimeoutError("the answer was lost")

def lookup(order):
    _called("lookup")
    return {"order": order, "key": os.environ.get("SHOP_API_KEY", "")}

def over_the_limit(amount):
    return f"{amount} is over 1000" if amount > 1000 else None

def pay(account, amount):
    _called("pay")
    return f"paid {amount}"

def card(account, amount):
    _called("card")
    return f"card {amount}"

def note(account):
    _called("note")
    return "noted " + account["order"]
"""


def open_shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the graph and its tools into a folder, go there, and return the graph's path."""
    (folder / "recorded_shop.py").write_text(TOOLS)
    (folder / "graph.yaml").write_text(GRAPH)
    monkeypatch.chdir(folder)
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "ORCHESTRATOR_STORE"):
        monkeypatch.delenv(name, raising=False)
    sys.modules.pop("recorded_shop", None)
    return folder / "graph.yaml"


# ------------------------------------------------------------------------------------------------------ in this process


def call(*arguments: str, **env: str) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, arguments, env=env, prog_name="orchestrator")


def start(*more: str, **env: str) -> str:
    """Run the graph for order A1 and return the run's id."""
    result = call("run", "graph.yaml", "-i", "order=A1", "--json", *more, **env)
    run: str = document(result)["run_id"]
    return run


def newest() -> str:
    """Return the id of the newest run."""
    run: str = document(call("runs", "list", "-n", "1", "--json"))[0]["run_id"]
    return run


def document(result: Result) -> Any:
    """Return the one JSON document on stdout."""
    return json.loads(result.stdout)


def calls() -> list[str]:
    """Return the tools that were called, in order."""
    path = Path("calls.txt")
    return path.read_text().split() if path.exists() else []


def cut(run: str, node: str, into: str, *, source: str | None = "") -> str:
    """Write the beginning of a run into another store, up to the first call of a node, as if its process died there.

    Args:
        run: A run in the store of this folder.
        node: The node that is in flight.
        into: The other store.
        source: The file that it was started from, instead of the run's own.
    """

    async def copy() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            whole = await store.load(run)
        starts = (r.seq for r in whole.records if isinstance(r.event, AttemptStarted) and r.event.node == node)
        records = whole.records[: next(starts)]
        known = {"input", *(r.event.node for r in records if isinstance(r.event, AttemptEnded))}
        values = [value for value in whole.values if value.provider in known]
        async with Store.open(into) as store:
            about = whole.row.source if source == "" else source
            await store.accept(run, whole.row.graph, whole.row.goal, records, values, source=about)

    anyio.run(copy)
    return run


# --------------------------------------------------------------------------------------------------- in other processes


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that runs this tree."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}


def spawn(*arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.Popen(command, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(holds: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a state of another process."""
    pause = threading.Event()
    for _ in range(SECONDS * 20):
        if holds():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {process.communicate()}")
        pause.wait(0.05)
    raise AssertionError("it does not get there")


def plain(screen: str) -> str:
    """Return what a terminal shows, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen)
