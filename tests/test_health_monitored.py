"""Monitors of users and whole orchestrators: what they bar holds from the first run on, or is an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from click.testing import CliRunner

from orchestrator import Orchestrator, tool
from orchestrator.cli.app import app
from orchestrator.errors import SpecError
from orchestrator.health import Signal
from tests.boards import Says
from tests.running import started

GRAPH = """version: 1
tools:
  left:
    http: {url: "http://localhost:1/left"}
    provides: page
    probe: {every: 10s}
  right: {http: {url: "http://localhost:1/right"}, provides: page}
goals:
  - {name: read, values: [page]}
policy: {health: {use: true}}
"""


def pages(*monitors: Any, **options: Any) -> Orchestrator:
    """Return an orchestrator of `first`, and of `second` that is dearer and stands in for it."""

    def page(name: str, units: float) -> Callable[..., Any]:
        @tool(name=name, provides="page", effect="read", units=units)
        async def fetch() -> str:
            return name

        return fetch

    return Orchestrator([page("first", 1), page("second", 2)], {"read": ["page"]}, monitors=monitors, **options)


def gated() -> Says:
    """Return a monitor that gates one node and vetoes the other: no run gets past it."""
    return Says(Signal("risk", "first", 0.9, "15,000", "gate"), Signal("calendar", "second", 0.9, "closed", "veto"))


def test_a_gate_holds_from_the_first_run_on(tmp_path: Path) -> None:
    """However the very first run is made, with a store or without, it has heard what every monitor says."""
    store = str(tmp_path / "runs.db")

    async def made(how: str, options: dict[str, Any]) -> list[str]:
        async with pages(gated(), **options) as orchestrator:
            if how == "run":
                return [(await orchestrator.run()).outcome]
            if how == "start":
                await orchestrator.ready()
                return [(await orchestrator.start().run()).outcome]
            records = [record async for record in orchestrator.stream()]
            return [getattr(records[-1].event, "outcome", "")]

    each: tuple[dict[str, Any], ...] = ({}, {"store": store})
    for options in each:
        for how in ("run", "start", "stream"):
            assert anyio.run(made, how, options) == ["waiting"]
        assert pages(gated(), **options).run_sync().outcome == "waiting"


def test_a_veto_holds_when_another_process_goes_on(tmp_path: Path) -> None:
    """A run that waits goes on in an orchestrator that has run nothing yet, and past what is vetoed there."""
    store = str(tmp_path / "runs.db")

    async def main() -> None:
        async with pages(gated(), store=store) as before:
            waiting = await before.run()
        veto = Says(Signal("calendar", "first", 0.9, "closed", "veto"))
        async with pages(veto, store=store) as after:
            result = await after.answer(waiting.run_id, waiting.questions[0].id, "yes")
        assert (result.outcome, result.route) == ("met", ("second",))
        assert started(result) == ["second"]  # of what is barred no call is even decided

    anyio.run(main)


def test_a_script_hears_its_monitors_in_each_of_its_runs() -> None:
    """An orchestrator that is closed and used again asks its monitors before the first run each time."""
    monitor = Says()
    orchestrator = pages(monitor)
    assert orchestrator.run_sync().route == ("first",)
    monitor.said = [Signal("calendar", "first", 0.9, "closed", "veto")]
    assert orchestrator.run_sync().route == ("second",)


def test_a_broken_monitor_holds_no_run_up() -> None:
    """One that raises counts as asked; what the others say holds in the first run all the same."""
    broken = Says()
    broken.said = RuntimeError("secret")
    assert pages(broken, gated()).run_sync().outcome == "waiting"
    assert pages(broken).run_sync().route == ("first",)


def test_a_run_on_another_loop_hears_the_first_check() -> None:
    """While a monitor is being asked on one loop, the first run on another waits for what it says there."""
    asked, go = anyio.Event(), threading.Event()

    class Slow:
        async def check(self) -> Iterable[Signal]:
            asked.set()
            await anyio.to_thread.run_sync(go.wait)
            return await gated().check()

    orchestrator, found = pages(Slow()), []

    async def elsewhere() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.lowlevel.checkpoint()
            go.set()

    async def run() -> None:
        found.append((await orchestrator.run()).outcome)

    async def main() -> None:
        async with anyio.create_task_group() as tasks, orchestrator:
            tasks.start_soon(orchestrator.ready)
            await asked.wait()
            await anyio.to_thread.run_sync(anyio.run, elsewhere)

    anyio.run(main)
    assert found == ["waiting"]


# ----------------------------------------------------------------------------------------------- health has no say


def test_monitors_that_nobody_hears_are_an_error(tmp_path: Path) -> None:
    """Under `health.use: false` a gate would never be obeyed: to pass a monitor is one clear error with its fix."""
    off = {"health": {"use": False}}
    (tmp_path / "pages.yaml").write_text(GRAPH)
    for make in (
        lambda: pages(gated(), policy=off),
        lambda: Orchestrator.from_yaml(tmp_path / "pages.yaml", policy=off, monitors=iter([gated()])),
    ):
        with pytest.raises(SpecError, match=r"health\.use: false") as caught:
            make()
        (problem,) = caught.value.problems
        assert (problem.code, problem.help) == ("unheard-monitors", "set health.use: true, or pass no monitors")
    assert pages(policy=off).run_sync().outcome == "met"


def test_a_probe_that_is_never_sent_is_found(tmp_path: Path) -> None:
    """`validate` warns of a node's own probe, and of one from `defaults:`, under `health.use: false`; else of none."""

    def found(text: str) -> list[tuple[str, str]]:
        (tmp_path / "pages.yaml").write_text(text)
        findings = Orchestrator.from_yaml(tmp_path / "pages.yaml").findings().findings
        return [(each.severity, each.subject) for each in findings if each.code == "unheard-probe"]

    off = GRAPH.replace("use: true", "use: false")
    assert found(GRAPH) == []
    assert found(off) == [("warning", "left")]
    assert found(off + "defaults: {probe: {every: 20s}}\n") == [("warning", "left"), ("warning", "right")]
    told = CliRunner().invoke(app, ["validate", str(tmp_path / "pages.yaml")])
    assert "the probe of node `left` is never sent" in told.stdout
