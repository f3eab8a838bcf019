"""Scouts: where nothing of a group works one run at a time tries it, and nobody is held off for anything else."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Orchestrator, tool
from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Outcome
from orchestrator.health.scouts import ALONE
from orchestrator.policy import Circuit
from orchestrator.result import RunResult
from tests.boards import Desk

WHY = "nothing that provides v works, and another run is trying it"
NODES = tuple(Node(name, provides=("v",), effect="read") for name in "abcd")
FOUR = Graph((*NODES, Node("alone", provides=("w",))), (Goal("g", ("v",)), Goal("less", ("w",))))
PATIENCE = ALONE * Circuit().cooldown


def dark() -> Desk:
    """Return a desk at which four substitutes have all failed; half of them are open, and just so."""
    desk = Desk(FOUR)
    for name in "abcd":
        desk.saw(name, *["external"] * 5)
    return desk


def reach(desk: Desk, run_id: str) -> set[str]:
    """Return the providers of `v` that a run may use, be it as its last chance."""
    view = desk.shown[run_id][-1]
    barred = dict(view.vetoes)
    return {name for name in "abcd" if name not in barred or name in view.open}


def test_one_run_at_a_time_tries_what_is_dark() -> None:
    """The first may try all of it, open circuits as its last chance; the second is told why it may not, at once."""
    desk = dark()
    desk.start("one", ("a",))
    assert reach(desk, "one") == {"a", "b", "c", "d"}
    assert desk.calls("one", "a")
    view = desk.start("two", ("alone",))
    assert reach(desk, "two") == set()
    assert dict(view.vetoes)["c"] == dict(view.vetoes)["d"] == WHY
    assert "alone" not in dict(view.vetoes)


def test_a_run_that_has_not_come_to_a_group_holds_nobody_off() -> None:
    """However long it has been on its way: whoever is there first tries, for as long as if nobody were on the way."""
    desk = dark()
    desk.start("far", ("alone", "c"))
    desk.wait(PATIENCE / 2)
    desk.start("near", ("c",))
    assert reach(desk, "near") >= {"c", "d"}
    assert desk.calls("near", "c")
    desk.wait(PATIENCE * 0.9)
    desk.start("late")
    assert not {"c", "d"} & reach(desk, "late")


def test_of_those_that_come_at_once_the_first_calls() -> None:
    """The other one is told before it calls any of the group, and may do all the rest."""
    desk = dark()
    for run in ("one", "two"):
        desk.start(run, ("c", "alone"))
    assert desk.calls("two", "c")
    assert desk.board.call("one", "c") == desk.board.call("one", "d") == WHY
    assert reach(desk, "one") == set()
    assert len(desk.shown["one"]) == 2
    assert desk.calls("one", "alone")


def test_whoever_has_called_goes_on() -> None:
    """Nobody is stopped midway: neither by another that tries after it, nor one that began before it was dark."""
    desk = Desk(FOUR)
    desk.start("before", ("c",))
    assert desk.calls("before", "c")
    for name in "abcd":
        desk.saw(name, *["external"] * 5)
    for run in ("one", "two"):
        desk.start(run, ("c",))
        assert desk.calls(run, "c")
        desk.wait(PATIENCE)
    desk.start("three", ("c",))
    assert all(desk.calls(run, "d") for run in ("three", "before", "one", "two"))


def test_a_run_that_goes_on_holds_nobody_off_again() -> None:
    """It may have tried what is back: newcomers do not wait for those that began before, or whose time is over."""
    desk = Desk(FOUR)
    desk.start("before", ("c",))
    assert desk.calls("before", "c")
    for name in "abcd":
        desk.saw(name, *["external"] * 5)
    assert desk.calls("before", "d")
    desk.start("first", ("c",))
    assert desk.calls("first", "c")
    desk.wait(PATIENCE)
    assert desk.calls("first", "d")
    desk.start("second", ("c",))
    assert {"c", "d"} <= reach(desk, "second")
    assert desk.calls("second", "c")


def test_the_next_run_tries_once_the_first_is_over_or_does_not_want_to() -> None:
    """A run that ends, or whose route goes elsewhere, lets the next one try at once."""
    desk = dark()
    desk.start("one", ("a",))
    desk.calls("one", "a")
    desk.board.settle("one", ("alone",))
    desk.start("two", ("a",))
    assert desk.calls("two", "a")
    desk.board.release("two")
    desk.start("three", ("a",))
    assert reach(desk, "three") == {"a", "b", "c", "d"}
    assert desk.calls("three", "a")


def test_a_call_that_hangs_holds_nobody_off_for_long() -> None:
    """After two cooldowns of a circuit another run may try beside it."""
    desk = dark()
    desk.start("hangs", ("a",))
    desk.calls("hangs", "a")
    desk.wait(PATIENCE * 0.9)
    assert desk.start("early").id != ""
    assert not {"c", "d"} & reach(desk, "early")
    desk.wait(PATIENCE * 0.2)
    desk.start("late", ("c",))
    assert {"c", "d"} <= reach(desk, "late")


def test_a_success_ends_it() -> None:
    """As soon as one call works nobody is held off, neither new runs nor those that were."""
    desk = dark()
    desk.start("one", ("c",))
    desk.calls("one", "c")
    desk.start("two", ("alone",))
    desk.saw("c", "ok", run_id="one")
    desk.wait(1)
    assert {"c", "d"} <= reach(desk, "two")
    desk.start("three")
    assert {"c", "d"} <= reach(desk, "three")


def test_one_dead_node_makes_nothing_dark() -> None:
    """However many runs at once meet it: what was not tried, or works, is open to all."""
    desk = Desk(FOUR)
    desk.saw("a", *["external"] * 200)
    for number in range(20):
        desk.start(f"run {number}", ("b",))
        assert desk.calls(f"run {number}", "b")
        assert {"b", "c", "d"} <= reach(desk, f"run {number}")


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "call", "call", "end", "leave", "fail", "work", "wait"]),
        st.integers(0, 5),
        st.sampled_from("abcd"),
    ),
    max_size=80,
)


@given(EVENTS)
def test_whoever_is_alone_may_always_try(events: list[tuple[str, int, str]]) -> None:
    """Contract 2: a run is held off just while another one came to the group within the patience, and still wants it.

    So no two come to it within the patience of one that goes on; and nobody is stopped who has called already.
    """
    desk, runs = dark(), dict[str, None]()
    called: dict[str, float] = {}  # until when each run holds others off
    for what, number, node in events:
        run = f"run {number}"
        is_dark = bool(desk.circuits.dark())
        others = [other for other, until in called.items() if other != run and desk.now < until]
        held_off = bool(is_dark and others and run not in called)
        if what == "start" and run not in runs:
            desk.start(run, ("a", "alone"))
            runs[run] = None
            assert (WHY in dict(desk.shown[run][-1].vetoes).values()) is held_off
        elif what == "call" and run in runs and desk.circuits.state(node) != "half_open":
            assert desk.board.call(run, "alone") is None
            assert desk.board.call(run, node) == (WHY if held_off else None)
            if held_off:
                assert not reach(desk, run) - set(desk.board._leases.of(run))
            else:
                called.setdefault(run, desk.now + (PATIENCE if is_dark else 0.0))
        elif what == "end":
            desk.board.release(run)
            called.pop(run, None)
            runs.pop(run, None)
        elif what == "leave" and run in runs:
            desk.board.settle(run, ("alone",))
            called.pop(run, None)
        elif what in ("fail", "work"):
            desk.saw(node, "external" if what == "fail" else "ok")
        else:
            desk.wait(1.0)
    for run in runs:
        desk.board.release(run)
    assert not desk.board._scouts._called
    assert not desk.board._scouts._held_off


# ------------------------------------------------------------------------------------------------------- as runs go


class Town:
    """An orchestrator whose two providers of `page` have all failed, and which runs wait for what they need first.

    Args:
        effect: Of the providers.
    """

    def __init__(self, effect: Any = "read") -> None:
        self.arrived = {"far": anyio.Event(), "near": anyio.Event()}
        self.hang, self.calls = anyio.Event(), list[str]()
        self.now = 0.0

        @tool(provides="key", effect="read")
        async def key(way: str) -> str:
            """Take as long as the way is."""
            await self.arrived[way].wait()
            return way

        def page(name: str) -> Any:
            @tool(name=name, provides="page", effect=effect)
            async def page(key: str) -> str:
                """Wait until the test lets it work."""
                self.calls.append(f"{key} {name}")
                await self.hang.wait()
                return name

            return page

        @tool(provides="note", effect="read")
        async def note(way: str) -> str:
            """Work."""
            return way

        self.orchestrator = Orchestrator(
            tools=[key, page("one"), page("two"), note],
            goals={"read": ["page"], "less": ["note"]},
            clock=lambda: self.now,
        )

    async def go(self, way: str, results: dict[str, RunResult]) -> None:
        """Run to the end."""
        results[way] = await self.orchestrator.run(way=way, run_id=way)

    def darken(self) -> None:
        """Have both providers fail."""
        assert self.orchestrator._process is not None
        for name in ("one", "two"):
            for number in range(5):
                outcome = Outcome(name, "external", self.now, 0.01, "down", run_id=f"other {number}")
                self.orchestrator._process.board.record(outcome)


async def settled() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_a_run_in_its_first_step_holds_nobody_off() -> None:
    """One that starts later and is at the group first tries it, and the other one ends well once the group is back."""
    town, results = Town(), dict[str, RunResult]()
    async with town.orchestrator, anyio.create_task_group() as tasks:
        await town.orchestrator.ready()
        town.orchestrator._vitals()
        town.darken()
        tasks.start_soon(town.go, "far", results)
        await settled()
        tasks.start_soon(town.go, "near", results)
        town.arrived["near"].set()
        await settled()
        assert town.calls == ["near one"] or town.calls == ["near two"]
        town.hang.set()
        await settled()
        town.arrived["far"].set()
    assert {way: result.outcome for way, result in results.items()} == {"far": "met", "near": "met"}


@pytest.mark.parametrize("effect", ["read", "idempotent", "once", None])
async def test_a_run_that_comes_too_late_calls_nothing_of_the_group(effect: str | None) -> None:
    """It goes for its next goal at once, says why, and has never made a call: neither of a read nor of an effect."""
    town, results = Town(effect), dict[str, RunResult]()
    async with town.orchestrator, anyio.create_task_group() as tasks:
        town.orchestrator._vitals()
        town.darken()
        for way in ("far", "near"):
            tasks.start_soon(town.go, way, results)
            await settled()
        town.arrived["near"].set()
        await settled()
        before = town.orchestrator.health()
        town.arrived["far"].set()
        await settled()
        assert [row.n for row in town.orchestrator.health() if row.node != "key"] == [
            row.n + (row.node == "note") for row in before if row.node != "key"
        ]
        assert (results["far"].outcome, results["far"].goal) == ("demoted", "less")
        assert [call.split()[0] for call in town.calls] == ["near"]
        reasons = [attempt.message for attempt in results["far"].attempts if attempt.error]
        assert reasons == ["nothing that provides page works, and another run is trying it"]
        town.hang.set()
    assert results["near"].outcome == "met"
