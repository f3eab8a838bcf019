"""Injecting faults: a fault plan made to happen to real calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest

from orchestrator.errors import SpecError
from orchestrator.faults import FaultPlan, drilled
from orchestrator.graph import Goal, Graph, Node
from orchestrator.nodes.binding import Bindings, CallContext, NodeBinding, Reply
from orchestrator.nodes.classify import classify
from orchestrator.nodes.inject import InjectedFailure, inject
from orchestrator.policy import Faults

GRAPH = Graph(
    nodes=(Node("it", provides=("it",), output=True, domains=("cloud",)), Node("other", provides=("other",))),
    goals=(Goal("done", ("it",)),),
)


class World:
    """A clock that stands still but for sleeping, and a node that counts its calls."""

    def __init__(self, answer: Callable[[], Any] = lambda: "answer", takes: float = 2.0) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.calls = 0
        self.answer = answer
        self.takes = takes

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await anyio.lowlevel.checkpoint()
        self.slept.append(seconds)
        self.now += seconds

    async def call(self, inputs: Mapping[str, Any], context: CallContext) -> Reply:
        """Be the node."""
        self.calls += 1
        self.now += self.takes
        return Reply({"it": self.answer()})

    def bindings(self, text: str, *, seed: int = 1) -> Bindings:
        """Return the node with the faults of a file in front."""
        bindings = Bindings({"it": NodeBinding(self.call), "other": NodeBinding(self.call)})
        plan = FaultPlan.from_text(text)
        return inject(bindings, GRAPH, plan, clock=lambda: self.now, sleep=self.sleep, started_at=100.0, seed=seed)

    async def attempt(self, text: str, attempt: int = 1, **options: Any) -> Reply:
        """Call the node once."""
        context = CallContext(run_id="run-1", node="it", attempt=attempt, key="run-1/it")
        return await self.bindings(text, **options).nodes["it"].call({}, context)


@pytest.fixture
def world() -> World:
    """Return a world in which nothing has happened yet."""
    return World()


@pytest.mark.parametrize(
    ("outcome", "calls"),
    [
        ("down", 0),
        ("raise", 0),
        ("{raise: permanent}", 0),
        ("{rate_limited: {retry_after: 2s}}", 0),
        ("wrong", 1),
        ("unknown", 1),
    ],
)
async def test_a_fault_is_classified_as_what_it_plays(world: World, outcome: str, calls: int) -> None:
    """What a run sees of a real call is what a simulation shows; only `wrong` and `unknown` really call the node."""
    text = f"nodes: {{it: {outcome}}}"
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is what is asked
        await world.attempt(text)
    assert classify(caught.value) == FaultPlan.from_text(text).outcome("it", 1, 0.0, seed=1).failure()
    assert (world.calls, world.slept) == (calls, [])


async def test_ok_is_the_call_itself(world: World) -> None:
    """An attempt without a fault is the real one; the script goes on with the attempts."""
    with pytest.raises(Exception, match="injected"):
        await world.attempt("nodes: {it: [raise, ok]}", 1)
    assert await world.attempt("nodes: {it: [raise, ok]}", 2) == Reply({"it": "answer"})
    assert (world.calls, world.slept) == (1, [])


async def test_a_hang_answers_late(world: World) -> None:
    """A hang of some seconds waits and then calls."""
    assert await world.attempt("nodes: {it: {hang: 5s}}") == Reply({"it": "answer"})
    assert world.slept == [5.0]


async def test_a_hang_without_an_end_can_only_be_cancelled(world: World) -> None:
    """A plain hang never calls and ends by cancellation."""
    with anyio.CancelScope() as scope:
        original = world.sleep

        async def sleep(seconds: float) -> None:
            await original(seconds)
            if len(world.slept) == 10:
                scope.cancel()

        world.sleep = sleep  # type: ignore[method-assign]
        await world.attempt("nodes: {it: hang}")
    assert scope.cancelled_caught
    assert world.calls == 0


async def test_slow_multiplies_the_measured_time(world: World) -> None:
    """A call that took two seconds takes six, also one that fails."""
    await world.attempt("nodes: {it: {slow: 3x}}")
    assert (world.slept, world.now) == ([4.0], 106.0)

    failing = World(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await failing.attempt("nodes: {it: {slow: 3x}}")
    assert failing.slept == [4.0]


async def test_a_failure_of_the_node_itself_comes_first() -> None:
    """Where the real call already fails, its own error is what the run sees."""
    for outcome in ("wrong", "unknown"):
        with pytest.raises(ZeroDivisionError):
            await World(lambda: 1 / 0).attempt(f"nodes: {{it: {outcome}}}")


async def test_a_domain_goes_by_the_clock_of_the_run(world: World) -> None:
    """A time span counts from the start of the run, not from when the clock began."""
    text = "domains: {cloud: {down: {from: 1s, to: 4s}}}"
    await world.attempt(text)
    assert world.now - 100.0 == 2.0
    with pytest.raises(Exception, match="down"):
        await world.attempt(text)
    world.now = 104.0
    await world.attempt(text)


async def test_chance_goes_by_the_seed(world: World) -> None:
    """The same seed fails the same attempts."""
    text = "nodes: {it: {fail: 0.5}}"

    async def failed(seed: int) -> list[bool]:
        seen = []
        for attempt in range(1, 20):
            calls = world.calls
            try:
                await world.attempt(text, attempt, seed=seed)
            except Exception:
                assert world.calls == calls
            seen.append(world.calls == calls)
        return seen

    first = await failed(1)
    assert first == await failed(1)
    assert first != await failed(2)
    assert len(set(first)) == 2


def test_nodes_without_a_fault_are_left_alone(world: World) -> None:
    """A node that the plan does not touch keeps its own call."""
    bindings = world.bindings("nodes: {it: ok}")
    assert bindings.nodes["other"].call == world.call
    assert bindings.nodes["it"].call != world.call


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: {ti: down}", "there is no node 'ti'"),
        ("domains: {clod: down}", "there is no domain 'clod'"),
        ("nodes: {other: [ok, wrong]}", "'other' cannot give a wrong result"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_at_once(world: World, text: str, message: str) -> None:
    """What cannot happen to this graph is an error before the run."""
    with pytest.raises(SpecError, match=message):
        world.bindings(text)


async def test_a_drill_breaks_real_calls_by_the_seed(world: World) -> None:
    """A policy's faults happen to real calls as a fault file's do: some attempts fail before the call, others hold."""
    plan = drilled(None, Faults(fail=0.5), GRAPH)
    assert plan is not None

    async def outcomes(seed: int) -> list[bool]:
        bindings = Bindings({node.name: NodeBinding(world.call) for node in GRAPH.nodes})
        drill = inject(bindings, GRAPH, plan, clock=lambda: world.now, sleep=world.sleep, started_at=100.0, seed=seed)
        held = []
        for attempt in range(1, 41):
            before = world.calls
            try:
                await drill.nodes["it"].call(
                    {}, CallContext(run_id="run-1", node="it", attempt=attempt, key="run-1/it")
                )
            except InjectedFailure:
                assert world.calls == before
            held.append(world.calls > before)
        return held

    assert 10 < sum(await outcomes(1)) < 30
    assert await outcomes(1) == await outcomes(1) != await outcomes(2)
