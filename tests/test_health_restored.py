"""What is known of nodes, in the next process: monitors and groups go on as those that were left would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Orchestrator, tool
from orchestrator.drivers import sharing
from orchestrator.health.stored import circuits_of, monitors_of
from tests.boards import Desk

NODES = ("a", "b", "alone")
Step = tuple[float, str, str, float]

# Quarters of seconds: an age is then exactly what it was, and no end falls between two clocks.
quarters = st.integers(0, 160).map(lambda number: number / 4)
steps = st.lists(
    st.tuples(
        quarters,
        st.sampled_from(NODES),
        st.sampled_from(("ok", "ok", "contract", "contract", "external", "timeout", "rate_limited")),
        st.sampled_from((0.25, 1.0, 1.0, 8.0)),
    ),
    max_size=40,
)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the store its time: what a slow disk makes of a bound is not what is asked here."""
    monkeypatch.setattr(sharing, "RESTORE_SECONDS", 60.0)
    monkeypatch.setattr(sharing, "CLOSE_SECONDS", 60.0)


def play(desk: Desk, step: Step) -> None:
    """Have one thing happen, after exactly so many seconds."""
    every, node, evidence, seconds = step
    desk.clock.advance(every)
    desk.saw(node, evidence, seconds=seconds)


def saved(desk: Desk) -> dict[str, Any]:
    """Return what would be saved now, as it is read again."""
    return desk.document()


def restore(desk: Desk, data: dict[str, Any], age: float) -> None:
    """Take over what was saved."""
    circuits = circuits_of(data)
    assert circuits is not None
    desk.circuits.restore(circuits, age=age)
    desk.board.monitors.restore(monitors_of(data), desk.now - age)
    desk.board.look(restored=True)


def known(desk: Desk) -> tuple[Any, ...]:
    """Return what follows from what monitors and groups have learnt."""
    learnt = [
        (signal.monitor, signal.node, signal.effect, signal.factor, signal.reason)
        for signal in sorted(desk.board.signals(), key=lambda signal: (signal.monitor, signal.node))
        if signal.monitor in ("contract", "latency")
    ]
    latency = desk.board.monitors.latency
    figures = [(latency.usual(name), latency.recent(name, desk.now)) for name in NODES]
    return learnt, figures, sorted(desk.circuits.dark())


@given(steps, quarters, st.integers(0, 10**6), steps)
def test_another_process_goes_on_as_the_last(past: list[Step], pause: float, start: int, future: list[Step]) -> None:
    """Restored under another clock, after some time, it says at every step what the original says."""
    first, second = Desk(), Desk()
    for step in past:
        play(first, step)
    data = saved(first)
    first.clock.advance(pause)
    second.clock.advance(float(start))
    restore(second, data, pause)
    assert known(second) == known(first)
    for step in future:
        play(first, step)
        play(second, step)
        assert known(second) == known(first)


def test_each_of_them_is_restored() -> None:
    """A veto for bad answers, a slow node and a dark group are there in the next process, and end at their time."""
    first = Desk()
    first.saw("alone", *["ok"] * 20, every=1.0, seconds=1.0)
    first.saw("alone", *["ok"] * 6, every=1.0, seconds=5.0)
    first.saw("a", *["contract"] * 5)
    first.saw("a", *["external"] * 5)
    first.saw("b", *["external"] * 5)
    first.wait(1.0)
    second = Desk()
    second.clock.advance(1000.0)
    restore(second, saved(first), 2.0)
    told = {signal.node: signal for signal in second.board.signals() if signal.monitor in ("contract", "latency")}
    assert (told["a"].effect, told["alone"].effect) == ("veto", "factor")
    assert second.circuits.dark() == first.circuits.dark() == ("v",)
    second.wait(1.9)
    assert [signal.effect for signal in second.board.signals() if signal.monitor == "contract"] == ["veto"]
    second.wait(0.2)
    assert [signal.effect for signal in second.board.signals() if signal.monitor == "contract"] == ["factor"]
    third = Desk()
    restore(third, saved(first), first.policy.circuit.max_cooldown)
    assert third.circuits.dark() == ()


def test_what_older_versions_saved_is_taken_over() -> None:
    """Without monitors and groups, or with those of a version that is not known, the circuits are restored."""
    first = Desk()
    first.saw("a", *["contract"] * 5, *["external"] * 5)
    for monitors in (None, {"version": 99, "contracts": 7}):
        data = saved(first)
        del data["monitors"], data["circuits"]["groups"]
        if monitors is not None:
            data["monitors"] = monitors
        second = Desk()
        restore(second, data, 1.0)
        assert second.circuits.state("a") == "open"
        assert [signal.monitor for signal in second.board.signals()] == ["circuit"]


def test_nodes_and_groups_that_are_gone_are_left_aside() -> None:
    """The graph may have changed since: what is left of a group is not dark for what the others did."""
    data = saved(Desk())
    data["monitors"]["contracts"]["gone"] = {"at": 0, "kept": 0, "broken": 9, "row": 9, "until": -9, "vetoes": 1}
    data["circuits"]["groups"] = {
        "v": {"failed": {"a": 9, "gone": 9}, "at": 0},
        "gone": {"failed": {"a": 9}, "at": 0},
    }
    second = Desk()
    restore(second, data, 0.0)
    assert second.circuits.dark() == ()
    assert second.board.signals() == ()


@pytest.mark.usefixtures("patient")
def test_a_tool_that_always_answers_wrongly_is_left_over_short_lives(tmp_path: Path) -> None:
    """Each run is a process of its own: after as many bad answers as within one, the node is out of use."""
    calls = []

    @tool(provides="page", effect="read", units=1, output={"type": "integer"}, retry={"attempts": 1})
    async def wrong() -> Any:
        calls.append("wrong")
        return "no number"

    @tool(provides="page", effect="read", units=5)
    async def right() -> str:
        return "page"

    for _ in range(8):
        orchestrator = Orchestrator(
            [wrong, right],
            {"read": ["page"]},
            store=str(tmp_path / "runs.db"),
            policy={"circuit": {"cooldown": "1h", "max_cooldown": "1h"}},
        )
        assert orchestrator.run_sync().route == ("right",)
    assert len(calls) == 5


# --------------------------------------------------------------------------------------------------- whose health it is


def searching(works: bool, *others: str, **options: Any) -> Orchestrator:
    """Return an orchestrator of a `search` that works or not, and of others that do."""

    def provider(name: str, units: int) -> Any:
        @tool(name=name, provides="page", effect="read", units=units, retry={"attempts": 1})
        async def call() -> str:
            if name == "search" and not works:
                raise ConnectionError
            return name

        return call

    tools = [provider(name, units) for units, name in enumerate(("search", *others), start=1)]
    return Orchestrator(tools, {"read": ["page"]}, **options)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("named", [False, True])
def test_two_graphs_on_one_store_know_nothing_of_each_other(tmp_path: Path, named: bool) -> None:
    """By their names, or without any by their nodes; what is the same graph has its health from the process before."""
    store = str(tmp_path / "runs.db")
    policy = {"circuit": {"cooldown": "1h", "max_cooldown": "1h"}}
    one, other = ({"name": "one"}, {"name": "other"}) if named else ({}, {})
    others = ("b",) if named else ("c", "d")

    async def ejected() -> None:
        async with searching(False, "b", store=store, policy=policy, **one) as orchestrator:
            for _ in range(6):
                await orchestrator.run()

    anyio.run(ejected)
    assert searching(True, *others, store=store, policy=policy, **other).run_sync().route == ("search",)
    assert searching(True, "b", store=store, policy=policy, **one).run_sync().route == ("b",)


def test_a_graph_is_called_by_its_name(tmp_path: Path) -> None:
    """A name that was given, or the file's, is what health is kept under; the order of tools is no other graph."""
    assert searching(True, name="graph").health_name == "graph"
    names = [searching(True, *others).health_name for others in (("b", "c"), ("c", "b"), ("b",))]
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("graph-") and len(name) == 14 for name in names)
    text = 'version: 1\ntools: {a: {http: {url: "http://localhost:1/"}}}\ngoals: [{name: read, values: [a]}]\n'
    (tmp_path / "graph.yaml").write_text(text)
    assert Orchestrator.from_yaml(tmp_path / "graph.yaml").health_name == "graph"
