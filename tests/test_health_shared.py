"""Health beyond one process, with whole orchestrators: known to others within a second, restored, in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from orchestrator import Orchestrator, RunResult
from orchestrator.health import Signal
from orchestrator.health.rows import HealthRow
from orchestrator.health.stored import known
from tests.postgres import Postgres
from tests.shared_child import graph, state
from tests.stores import Child, child, opened

ROOT = Path(__file__).resolve().parent.parent


def rows_of(found: tuple[dict[str, Any], float]) -> tuple[HealthRow, ...]:
    """Return the rows of what a store holds."""
    said = known(*found)
    return () if said is None else said.rows


@asynccontextmanager
async def process(url: str, folder: Path) -> AsyncIterator[Child]:
    """Start a process on the store, and kill it at the end if it is not over."""
    async with child(url, str(folder), module="tests.shared_child") as started:
        assert await started.line() == "ready"
        yield started


async def ask(process: Child, command: str, bound: float = 30.0) -> str:
    """Give a command and return what the process says to it."""
    assert process.process.stdin is not None
    with anyio.fail_after(bound):
        await process.process.stdin.send(f"{command}\n".encode())
        line = await process.line()
    assert line is not None
    return line


async def health(url: str, *options: str) -> str:
    """Return what ``orchestrator health`` says in another terminal."""
    command = [sys.executable, "-m", "orchestrator", "health", "--store", url, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await anyio.run_process(command, env=environment, cwd=ROOT)
    return done.stdout.decode()


async def test_another_process_routes_around_an_outage_within_a_second(store_url: str, tmp_path: Path) -> None:
    """A node fails in one process; another, which never called it, goes past it, and so does one that starts later."""
    (tmp_path / "down").touch()
    async with process(store_url, tmp_path) as a, process(store_url, tmp_path) as b:
        assert await ask(b, "run other") == "met third third"
        opened = float(await ask(a, "fail"))
        known = float(await ask(b, "see open"))
        assert known - opened < 1.0, known - opened
        assert await ask(b, "run page") == "met second second"
        a.process.kill()
        # What another terminal sees, after the crash too.
        first = next(line for line in (await health(store_url)).splitlines() if line.startswith("first"))
        assert " open " in first
        async with process(store_url, tmp_path) as again:
            state, left = (await ask(again, "row")).split()
            assert (state, float(left) > 5.0) == ("open", True)
            assert await ask(again, "run page") == "met second second"


async def test_health_in_a_second_terminal(store_url: str, tmp_path: Path) -> None:
    """While a graph runs, its nodes are shown with figures, their age, and who says that one is out of use."""
    (tmp_path / "down").touch()
    async with process(store_url, tmp_path) as a:
        await ask(a, "fail")
        with anyio.fail_after(20):
            while not (graphs := json.loads(await health(store_url, "--json"))["graphs"]):  # noqa: ASYNC110
                await anyio.sleep(0.05)
    (saved,) = graphs
    rows = {row["node"]: row for row in saved["nodes"]}
    assert (saved["graph"], rows["first"]["state"], rows["second"]["state"]) == ("pages", "open", "closed")
    assert 0 < rows["first"]["open_for"] <= 40
    assert rows["second"]["n"] > 0
    (outage,) = saved["outages"]
    assert (outage["node"], outage["state"], outage["reason"]) == ("first", "open", "5 failures in a row")
    assert 0 <= outage["ago"] < 20
    assert f":{a.pid}:" in outage["process"]


async def test_what_was_known_when_a_process_closed_is_known_to_the_next(store_url: str, tmp_path: Path) -> None:
    """A process that ends in order saves its last word; the next one begins with it."""
    (tmp_path / "down").touch()
    async with process(store_url, tmp_path) as a:
        await ask(a, "fail")
        assert a.process.stdin is not None
        await a.process.stdin.send(b"close\n")
        with anyio.fail_after(30):
            assert await a.process.wait() == 0
    async with process(store_url, tmp_path) as b:
        assert (await ask(b, "row")).startswith("open ")
        assert await ask(b, "run page") == "met second second"


async def test_a_server_that_is_away_for_a_while_stops_no_run(postgres: Postgres, tmp_path: Path) -> None:
    """PostgreSQL is killed and started again under two processes: runs end well, and outages are heard as before."""
    url = postgres.create_schema()
    async with process(url, tmp_path) as a, process(url, tmp_path) as b:
        assert await ask(b, "run other") == "met third third"
        assert await ask(a, "run page") == "met first first"
        await anyio.to_thread.run_sync(lambda: postgres.stop(kill=True))
        assert b.process.stdin is not None
        await b.process.stdin.send(b"run other\n")
        await anyio.sleep(1.0)  # while it polls, saves and wants to record a run
        await anyio.to_thread.run_sync(postgres.start)
        with anyio.fail_after(30):
            assert await b.line() == "met third third"
        (tmp_path / "down").touch()
        opened = float(await ask(a, "fail"))
        known = float(await ask(b, "see open"))
        assert known - opened < 2.0  # a connection may have to be made anew
        assert await ask(b, "run page") == "met second second"


# ------------------------------------------------------------------------------------------------------ in one process


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the address of an empty SQLite store, in a folder in which `first` is down."""
    (tmp_path / "down").touch()
    return f"sqlite:///{tmp_path / 'runs.db'}"


async def fail(orchestrator: Orchestrator) -> None:
    """Run until the circuit of `first` is open."""
    for _ in range(5):
        await orchestrator.run(goal="page")
    assert state(orchestrator) == "open"


async def announced(url: str) -> list[tuple[str, str]]:
    """Return who was said to be how."""
    async with opened(url) as store:
        return [(outage.node, outage.state) for outage in await store.outages_since("pages", 0)]


async def test_an_outage_is_told_once_by_whoever_found_it(url: str, tmp_path: Path) -> None:
    """What a process heard it does not tell on, in how many runs ever it goes past the node."""
    async with graph(tmp_path, store=url) as a, graph(tmp_path, store=url) as b:
        await b.ready()
        await fail(a)
        assert b._process is not None
        with anyio.fail_after(5):
            # Nothing but the circuit is asked: looking at the board would bring it up to date.
            while b._process.circuits.state("first") != "open":  # noqa: ASYNC110  # it moves in the background
                await anyio.sleep(0.01)
        for _ in range(5):
            result = await b.run(goal="page")
            assert [attempt.node for attempt in result.attempts] == ["second"]
            await a.run(goal="page")
    assert await announced(url) == [("first", "open")]


async def test_two_orchestrators_on_one_open_store(url: str, tmp_path: Path) -> None:
    """In one process too, each hears of what the other has found, and not of itself."""
    async with opened(url) as store, graph(tmp_path, store=store) as a, graph(tmp_path, store=store) as b:
        await b.ready()
        await fail(a)
        with anyio.fail_after(5):
            while state(b) != "open":  # noqa: ASYNC110  # it moves in the background
                await anyio.sleep(0.01)
        result = await b.run(goal="page")
        assert [attempt.node for attempt in result.attempts] == ["second"]
        assert a._process is not None
        assert a._process.circuits.word("first") is not None
    assert await announced(url) == [("first", "open")]


async def test_runs_that_start_together_all_know(url: str, tmp_path: Path) -> None:
    """Not only the very first run waits for what is known: none of those that come with it calls a dead node."""
    async with graph(tmp_path, store=url) as a:
        await fail(a)
    async with graph(tmp_path, store=url) as b, anyio.create_task_group() as tasks:
        results: list[RunResult] = []

        async def one() -> None:
            results.append(await b.run(goal="page"))

        for _ in range(20):
            tasks.start_soon(one)
    assert [tuple(attempt.node for attempt in result.attempts) for result in results] == [("second",)] * 20


async def test_a_cancelled_first_run_takes_nothing_along(url: str, tmp_path: Path) -> None:
    """A run that is cancelled while it waits for what is known leaves the knowing to the next one."""
    async with graph(tmp_path, store=url) as a:
        await fail(a)
    async with graph(tmp_path, store=url) as b:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await b.run(goal="page")
        assert scope.cancelled_caught
        assert [attempt.node for attempt in (await b.run(goal="page")).attempts] == ["second"]


def test_every_loop_begins_with_what_others_said_meanwhile(url: str, tmp_path: Path) -> None:
    """`run_sync` again and again, each with a loop of its own: what another process found in between is known."""
    a, b = graph(tmp_path, store=url), graph(tmp_path, store=url)
    assert b.run_sync(goal="other").outcome == "met"

    async def failing() -> None:
        async with a:
            await fail(a)

    anyio.run(failing)
    result = b.run_sync(goal="page")
    assert [attempt.node for attempt in result.attempts] == ["second"]


def test_two_loops_at_once(url: str, tmp_path: Path) -> None:
    """What is found by runs on one loop is told by the one on which the background lives."""
    orchestrator = graph(tmp_path, store=url)
    ready, over = threading.Event(), threading.Event()

    async def lives() -> None:
        async with orchestrator:
            await orchestrator.ready()
            ready.set()
            await anyio.to_thread.run_sync(over.wait)
            assert await announced(url) == [("first", "open")]

    async def elsewhere() -> None:
        await orchestrator.ready()
        await fail(orchestrator)
        with anyio.fail_after(5):
            while not await announced(url):  # noqa: ASYNC110  # another thread writes it
                await anyio.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        home = pool.submit(anyio.run, lives)
        ready.wait(10)
        try:
            anyio.run(elsewhere)
        finally:
            over.set()
        home.result(20)


async def test_closing_twice_or_without_having_begun(url: str, tmp_path: Path) -> None:
    """Is nothing, and after it all goes on as before."""
    orchestrator = graph(tmp_path, store=url)
    await orchestrator.aclose()
    await fail(orchestrator)
    await orchestrator.aclose()
    await orchestrator.aclose()
    async with opened(url) as store:
        found = await store.load_health("pages")
        await store.announce("pages", "second", "open", store._clock() + 60, "down")
    assert found is not None
    assert {row.node: row.state for row in rows_of(found)}["first"] == "open"
    await orchestrator.ready()
    assert {row.node: row.state for row in orchestrator.health()}["second"] == "closed"  # of two, one is out at most
    await orchestrator.aclose()


@pytest.mark.parametrize("when", ["over", "within"])
def test_a_forked_process_goes_on_by_itself(url: str, tmp_path: Path, when: str) -> None:
    """It has what was known before the fork, and neither threads nor tasks nor connections of its parent."""
    command = [sys.executable, "-m", "tests.forking", url, str(tmp_path), when]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=40, check=True)
    assert done.stdout.splitlines() == ["child met second open", "0", "parent met second open"]


async def test_what_was_seen_here_is_newer_than_what_was_saved(url: str, tmp_path: Path) -> None:
    """A store that answers only after the first calls does not undo what these have shown; the rest it tells."""
    async with graph(tmp_path, store=url) as a:
        await a.run(goal="other")
        await a.run(goal="page")
    async with opened(url) as store:
        found = await store.load_health("pages")
    assert found is not None
    async with graph(tmp_path, store=tmp_path / "other.db") as b:
        await fail(b)
        vitals = b._process
        assert vitals is not None
        vitals._restore(*found)
        rows = {row.node: row for row in b.health()}
    assert rows["first"].state == "open"
    assert (rows["third"].n > 0.5, rows["second"].n > 4) == (True, True)


async def test_damaged_health_stops_no_run(url: str, tmp_path: Path) -> None:
    """Whatever stands in the store: a run goes on without it, and the next save mends it."""
    async with opened(url) as store:
        await store.save_health("pages", {"circuits": {"version": 1, "nodes": {"first": {"circuit": 3}}}})
    async with graph(tmp_path, store=url) as orchestrator:
        assert (await orchestrator.run(goal="page")).outcome == "met"
    async with opened(url) as store:
        found = await store.load_health("pages")
    assert found is not None
    assert len(rows_of(found)) == 3


def test_a_secret_is_in_nothing_that_is_shared(url: str, tmp_path: Path) -> None:
    """A monitor's reason that quotes a key of the environment is masked before it is saved."""

    class Leaks:
        async def check(self) -> list[Signal]:
            return [Signal("leaks", "second", 0.5, "refused sk-0123456789", factor=1.5)]

    environ = {"SHOP_API_KEY": "sk-0123456789"}
    orchestrator = graph(tmp_path, store=url, monitors=[Leaks()], environ=environ)

    async def main() -> None:
        async with orchestrator:
            await orchestrator.run(goal="page")
            await anyio.sleep(0.1)
            await orchestrator.run(goal="page")
        async with opened(url) as store:
            found = await store.load_health("pages")
        assert found is not None
        assert ("sk-0123456789" in str(found), "refused ***" in str(found)) == (False, True)

    anyio.run(main)


def test_without_a_store_nothing_of_it_is_loaded() -> None:
    """An orchestrator that records nothing shares nothing, and imports neither a database nor an SDK."""
    program = """
import sys
from orchestrator import Orchestrator, tool

@tool(provides="page", effect="read")
def fetch() -> str:
    return "page"

orchestrator = Orchestrator([fetch], {"page": ["page"]}, policy={"health": {"use": True}})
print(orchestrator.run_sync().outcome, len(orchestrator.health()))
print(*[name for name in ("sqlalchemy", "opentelemetry.sdk", "opentelemetry.metrics") if name in sys.modules])
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=40, check=True)
    assert done.stdout == "met 1\n\n"


# -------------------------------------------------------------------------------------------------------------- metrics


def test_health_is_measured_where_the_application_collects_metrics(tmp_path: Path) -> None:
    """With a meter provider of OpenTelemetry: attempts by evidence, the state of every circuit, and attention."""
    (tmp_path / "down").touch()
    program = """
import sys, pathlib, anyio
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from orchestrator.telemetry import names
from tests.shared_child import graph

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))

async def main():
    async with graph(pathlib.Path(sys.argv[1])) as orchestrator:
        for _ in range(6):
            await orchestrator.run(goal="page")
        reader.get_metrics_data()
        await anyio.sleep(1.2)  # each collection finds the states, though nothing happens
        for resource in reader.get_metrics_data().resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        about = point.attributes
                        assert about[names.GRAPH] == "pages"
                        print(metric.name, about.get(names.NODE), about.get(names.EVIDENCE, ""), point.value)

anyio.run(main)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=40, check=True)
    lines = done.stdout.splitlines()
    assert "orchestrator.health.attempts first unknown 5" in lines
    assert "orchestrator.health.attempts second ok 6" in lines
    assert "orchestrator.circuit.state first  2" in lines
    assert "orchestrator.circuit.state second  0" in lines
    assert any(line.startswith("orchestrator.health.attention first ") for line in lines)
