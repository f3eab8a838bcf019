"""What an attempt costs on top of the tool: our local driver, without tracing, against a super-step of LangGraph.

Tools do nothing, and each gives on what it is given, so whatever is measured is overhead: planning, the run machine,
the call of the tool, digests of values and the fold of the result, all divided by the number of attempts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, TypedDict

from orchestrator import Orchestrator, tool
from orchestrator.drivers.first import Blueprint
from orchestrator.drivers.local import LocalRun
from orchestrator.drivers.values import Values, reference
from orchestrator.events import AttemptEnded, Record, RunStarted, Value
from orchestrator.nodes.bind import bind
from orchestrator.nodes.binding import Bindings
from orchestrator.result import RunResult, fold
from orchestrator.run import Start
from orchestrator.spec.declare import spec_from_tools
from orchestrator.spec.resolve import resolve
from tests.bench.laps import Laps, time_sync
from tests.bench.report import Bar, Section, Table
from tests.bench.shapes import GOAL, QUESTION

__all__ = ("Chain", "chain_of_steps", "measure", "tools")

LENGTHS = (5, 20)
ROUNDS = 61
REPEATS = 2
"""Runs of a turn: what follows another candidate's turn finds cold caches, once."""

Tool = Callable[..., Any]
Run = Callable[[], Awaitable[Any]]


def tools(length: int, *, sync: bool) -> list[Tool]:
    """Return a chain of tools that do nothing, each needing the value of the one before."""

    def declared(number: int) -> Tool:
        async def awaited(given: Any) -> Any:
            return given

        def plain(given: Any) -> Any:
            return given

        needs = {"given": f"value-{number - 1:02d}" if number else QUESTION}
        declare = tool(name=f"node-{number:02d}", needs=needs, provides=f"value-{number:02d}", effect="read")
        return declare(plain) if sync else declare(awaited)

    return [declared(number) for number in range(length)]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of tools, ready to be run without telemetry."""

    length: int
    blueprint: Blueprint
    bindings: Bindings

    @classmethod
    def of(cls, length: int, *, sync: bool = False) -> Chain:
        """Resolve and bind a chain."""
        spec, functions = spec_from_tools(tools(length, sync=sync), {GOAL: [f"value-{length - 1:02d}"]})
        resolved = resolve(spec, functions=functions)
        bindings = bind(spec, resolved.graph, resolve_reference=resolved.references.find, functions=functions)
        return cls(length, Blueprint(resolved.graph, resolved.policy), bindings)

    def first_record(self) -> RunStarted:
        """Return the first record of a run."""
        return self.blueprint.first_record("run", inputs=(reference(QUESTION, "why"),))

    async def run(self) -> RunResult:
        """Run to the end by the local driver."""
        first = self.first_record()
        run = LocalRun(
            self.blueprint.run(first),
            first,
            Values({QUESTION: "why"}),
            self.bindings,
            clock=time.monotonic,
            publish=_drop,
            redact=str,
        )
        return await run.run()

    def decide(self) -> list[Record]:
        """Go through the run machine alone: every attempt succeeds, nothing is called."""
        first = self.first_record()
        machine = self.blueprint.run(first)
        step = machine.feed(first, 0.0)
        log = list(step.records)
        while not machine.finished:
            start = next(command for command in step.commands if isinstance(command, Start))
            values = tuple(Value(value, "digest", 1) for value in machine.graph.by_name[start.node].provides)
            step = machine.feed(AttemptEnded(start.node, 0, start.attempt, "succeeded", values), 1.0)
            log += step.records
        return log


def _drop(run_id: str, record: Record) -> None:
    """Publish to nobody."""


class State(TypedDict):
    """The state of the LangGraph chain."""

    value: str


def chain_of_steps(length: int, *, sync: bool, retry: bool, checkpointer: Any = None) -> Any:
    """Return the same chain as a compiled LangGraph graph, a node per super-step."""
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import RetryPolicy

    async def awaited(given: Mapping[str, str]) -> dict[str, str]:
        return {"value": given["value"]}

    def plain(given: Mapping[str, str]) -> dict[str, str]:
        return {"value": given["value"]}

    graph = StateGraph(State)
    names = [f"node-{number:02d}" for number in range(length)]
    node: Any = plain if sync else awaited
    for name in names:
        graph.add_node(name, node, retry_policy=RetryPolicy() if retry else None)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=checkpointer)


def langgraph(length: int, *, sync: bool, retry: bool) -> Run:
    """Return a run of such a graph, without checkpointer."""
    compiled = chain_of_steps(length, sync=sync, retry=retry)
    return lambda: compiled.ainvoke({"value": "why"}, {"recursion_limit": length + 5})


async def _time(length: int, sync: bool) -> Laps[Run]:
    chain = Chain.of(length, sync=sync)
    result = await chain.run()
    assert (result.outcome, len(result.attempts)) == ("met", length)
    async with Orchestrator(tools=tools(length, sync=sync), goals={GOAL: [f"value-{length - 1:02d}"]}) as whole:
        laps: Laps[Run] = Laps(
            {
                "driver": chain.run,
                "LangGraph": langgraph(length, sync=sync, retry=False),
                "Orchestrator": lambda: whole.run({QUESTION: "why"}),
                "LangGraph with retry": langgraph(length, sync=sync, retry=True),
            },
            ROUNDS,
            batch=length * REPEATS,
        )
        for run in laps.turns():
            for _ in range(REPEATS):
                await run()
    return laps


async def _task_and_timer() -> None:
    async def nothing() -> None: ...

    timer = asyncio.get_running_loop().call_later(30, print)
    await asyncio.create_task(nothing())
    timer.cancel()


async def _loop(length: int) -> float:
    laps: Laps[None] = Laps({"loop": None}, ROUNDS, batch=length)
    for _ in laps.turns():
        for _ in range(length):
            await _task_and_timer()
    return laps.time("loop", 1e6).median


def _parts(length: int) -> list[tuple[str, float]]:
    """Measure the parts of an attempt on their own, in microseconds."""
    chain = Chain.of(length)
    log = chain.decide()

    def begin() -> None:
        first = chain.first_record()
        chain.blueprint.run(first).feed(first, 0.0)

    laps = time_sync(
        {
            "begin": begin,
            "decide": chain.decide,
            "digest": lambda: [reference("value", "why") for _ in range(length)],
            "fold": lambda: fold(log),
        },
        ROUNDS,
    )
    figures = {name: median(laps.seconds[name]) / length * 1e6 for name in laps.seconds}
    return [
        ("first record, plan and first command", figures["begin"]),
        ("run machine, after that", figures["decide"] - figures["begin"]),
        ("an empty task and a timer of asyncio", asyncio.run(_loop(length))),
        ("digest of the value", figures["digest"]),
        ("fold of the result", figures["fold"]),
    ]


def measure() -> Section:
    """Measure chains of every length, of async and of sync tools."""
    rows, parts, bars = [], [], []
    for length in LENGTHS:
        for sync in (False, True):
            laps = asyncio.run(_time(length, sync))
            ratio, retried = laps.ratio("driver", "LangGraph"), laps.ratio("driver", "LangGraph with retry")
            kind = "sync" if sync else "async"
            rows.append(
                (
                    kind,
                    f"{length}",
                    *(laps.time(name, 1e6).text(0) for name in laps.candidates),
                    ratio.text(3),
                    retried.text(3),
                )
            )
            promise = f"chain of {length} {kind} tools: at most a tenth of a super-step"
            bars.append(Bar(promise, ratio.text(3), ratio.median <= 0.1))
            if not sync:
                known = _parts(length)
                rest = laps.time("driver", 1e6).median - sum(figure for _, figure in known)
                parts += [(f"{length}", *(f"{figure:.1f}" for _, figure in known), f"{rest:.1f}")]
    header = ("tools", "chain", "driver, us", "LangGraph, us", "`Orchestrator.run`, us", "LangGraph with retry, us")
    names = [name for name, _ in known]
    text = (
        "Per attempt, and per super-step of a LangGraph `StateGraph` chain of the same length, compiled once, without\n"
        "checkpointer; plain, and with a `RetryPolicy` on every node. *Driver* is the local driver without telemetry;\n"
        "`Orchestrator.run` adds checked inputs and the outlet of telemetry where no OpenTelemetry SDK is installed.\n"
        "Sync tools run in worker threads on both sides. The second table says where the time of an async attempt\n"
        "goes, each part measured on its own, in microseconds; the rest is the driver's own and the call of the tool."
    )
    tables = [
        Table((*header, "driver / LangGraph", "driver / with retry"), rows),
        Table(("chain", *names, "rest"), parts),
    ]
    return Section("Added time per attempt", text, tables, bars)
