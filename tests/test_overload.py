"""Overload and hedging as runs meet them: what waits here is no fault of a node, and what is refused here is final."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator import Orchestrator, RunResult, tool
from orchestrator.errors import ToolFailed
from orchestrator.events import AttemptEnded, Failure, Record, RunEnded, record_from_dict, record_to_dict
from orchestrator.health import HealthRow, Signal
from orchestrator.health.signal import Effect
from orchestrator.testing.clock import VirtualClock
from tests.running import ByHand, graph, node, of

POLICY: dict[str, Any] = {"timeout": "1s", "retry": {"attempts": 1, "backoff": "1ms"}}


def takes(seconds: float, error: Exception | None = None, *, calls: list[float] | None = None, **declared: Any) -> Any:
    """Return a read that gives `page`, or fails, after some seconds; each call is noted."""

    @tool(provides="page", **{"name": "a", "effect": "read", "units": 1, **declared})
    async def read() -> str:
        if calls is not None:
            calls.append(seconds)
        await anyio.sleep(seconds)
        if error is not None:
            raise error
        return "page"

    return read


def runs(
    *tools: Any, at_once: int = 1, waves: int = 1, **policy: Any
) -> tuple[list[RunResult], dict[str, HealthRow], VirtualClock]:
    """Make runs, so many at once, wave after wave; return their results and how the nodes are then."""
    clock, results = VirtualClock(), list[RunResult]()
    rows: dict[str, HealthRow] = {}

    async def all_of_them() -> None:
        given = {**POLICY, **policy}
        async with Orchestrator(tools=tools, goals={"g": ["page"]}, policy=given, clock=clock.time) as orchestrator:

            async def one() -> None:
                results.append(await orchestrator.run())

            for _ in range(waves):
                async with anyio.create_task_group() as tasks:
                    for _ in range(at_once):
                        tasks.start_soon(one)
            rows.update({row.node: row for row in orchestrator.health()})

    clock.run(all_of_them)
    return results, rows, clock


def ended(results: list[RunResult], name: str = "a") -> list[AttemptEnded]:
    """Return how the attempts of a node ended."""
    return [event for result in results for event in of(result, AttemptEnded) if event.node == name]


class StatusError(Exception):
    """An answer with a status, as an HTTP client raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status_code = status


# -------------------------------------------------------------------------------------------------------- our own queue


@settings(max_examples=50)
@given(
    seconds=st.floats(0.05, 0.95),
    places=st.integers(1, 3),
    at_once=st.integers(1, 8),
    substitute=st.booleans(),
    where=st.sampled_from(["node", "calls"]),
)
def test_a_wait_for_our_own_lane_is_never_held_against_a_node(
    seconds: float, places: int, at_once: int, substitute: bool, where: str
) -> None:
    """Whatever waits: a node that answers in time has no failure, keeps its circuit, and is as quick as it is."""
    others = [takes(0.01, name="b", units=5)] if substitute else []
    results, rows, _ = runs(takes(seconds), *others, at_once=at_once, waves=3, overload={where: places})
    assert rows["a"].state == "closed"
    assert rows["a"].ok == rows["a"].n > 0
    assert rows["a"].latency_ms == pytest.approx(seconds * 1000)
    for event in ended(results):
        failed = event.failure is not None
        assert event.failure is None or (event.failure.type, event.calls, event.usd) == ("overloaded", 0, 0.0)
        assert event.seconds - event.waited == pytest.approx(0.0 if failed else seconds)
        assert event.waited <= 1.0 + 1e-9


def test_a_call_has_all_of_its_nodes_time_from_its_turn_on() -> None:
    """What had its turn late is answered all the same, and its run has waited for both."""
    results, _, _ = runs(takes(0.9), at_once=2, overload={"node": 1})
    assert [result.outcome for result in results] == ["met", "met"]
    assert [event.waited for event in ended(results)] == pytest.approx([0.0, 0.9])
    assert results[1].attempts[0].seconds == pytest.approx(1.8)


def test_an_effect_whose_turn_did_not_come_is_not_made_later() -> None:
    """What was not called in time is known not to have happened, and stays so while its run goes another way."""
    clock, calls = VirtualClock(), list[str]()

    def pays(name: str, usd: float) -> Any:
        @tool(name=name, provides="page", effect="once", usd=usd)
        async def pay() -> str:
            calls.append(name)
            await anyio.sleep(0.9)
            return "paid"

        return pay

    async def three() -> list[RunResult]:
        results: list[RunResult] = []
        policy, tools = {**POLICY, "overload": {"node": 1}}, [pays("pay", 0.1), pays("other", 0.5)]
        async with Orchestrator(tools=tools, goals={"g": ["page"]}, policy=policy, clock=clock.time) as orchestrator:

            async def one() -> None:
                results.append(await orchestrator.run())

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(one)
        return results

    results = clock.run(three)
    # The third would have its turn at 1.8 s, while its run, which gave up waiting at 1 s, is with the other one.
    assert sorted(result.route for result in results) == [("other",), ("pay",), ("pay",)]
    assert sorted(calls) == ["other", "pay", "pay"]
    assert {attempt.outcome for result in results for attempt in result.attempts} == {"succeeded", "failed"}


def test_a_node_that_is_late_after_its_turn_is_blamed() -> None:
    """What gives no answer in the node's time, counted from its turn on, is a timeout of that time."""
    results, rows, _ = runs(takes(0.4, name="quick", units=2), takes(60.0), at_once=2, overload={"node": 1, "queue": 1})
    assert {result.route for result in results} == {("quick",)}
    first, second = ended(results)
    assert [(event.failure or Failure("")).type for event in (first, second)] == ["timeout", "overloaded"]
    assert (round(first.seconds, 9), first.waited) == (1.0, 0.0)
    assert (rows["a"].ok, rows["a"].last_error, round(rows["a"].latency_ms or 0.0)) == (0.0, "timeout", 1000)
    assert rows["a"].n <= 1


# --------------------------------------------------------------------------------------------------------- what is shed


def test_a_refused_call_ends_its_run_at_once_and_says_overload() -> None:
    """What our own queue refuses is neither tried again nor given a last chance, and is no word on the node."""
    results, rows, clock = runs(takes(0.3), at_once=6, overload={"node": 1, "queue": 1}, retry={"attempts": 4})
    refused = [result for result in results if result.outcome == "failed"]
    assert (len(refused), len(results)) == (4, 6)
    for result in refused:
        assert result.reason == "limit:overload"
        assert (result.retries, result.last_chances, result.escalations, len(result.attempts)) == (0, 0, 0, 1)
        assert "overload.queue" in (result.attempts[0].message or "")
        assert result.attempts[0].answer == "end-1"
        assert result.seconds == 0.0
        assert of(result, RunEnded)[0].reason == "limit:overload"
    assert rows["a"].state == "closed"
    assert (rows["a"].ok, rows["a"].last_error) == (rows["a"].n, None)
    assert clock.now == pytest.approx(0.6)


def test_a_refused_call_goes_another_way() -> None:
    """Where somebody else can serve, a run that is refused goes there at once, by a reroute that names the cause."""
    results, _, _ = runs(takes(0.3), takes(0.1, name="b", units=9), at_once=4, overload={"node": 2, "queue": 0})
    assert [result.outcome for result in results] == ["met"] * 4
    assert sorted(result.route for result in results) == [("a",), ("a",), ("b",), ("b",)]
    assert [result.reroutes for result in results if result.route == ("b",)] == [1, 1]


def test_a_refused_call_may_be_demoted() -> None:
    """Overload is a limit like any other: a lower goal that can be reached is taken before the run fails."""
    run = ByHand(graph(node("a"), node("b"), goals="best: a; good: b"))
    shed = Failure("overloaded", "full", transient=True, happened="no")
    run.feed(AttemptEnded("a", 0, 1, "failed", failure=shed, calls=0))
    run.succeed("b")
    assert (run.machine.state.outcome, run.machine.state.goal) == ("demoted", "good")


def test_a_node_that_says_itself_that_it_is_overloaded_may_be_asked_again() -> None:
    """Only what was refused here is final: a call that was made is retried as any other transient failure."""
    run = ByHand(graph(node("a"), goals="g: a"))
    run.feed(AttemptEnded("a", 0, 1, "failed", failure=Failure("overloaded", transient=True)))
    assert "a" in run.machine.state.backoff


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("use", [True, False])
def test_a_node_that_turns_calls_away_is_asked_less(status: int, use: bool) -> None:
    """Hundreds of runs at once lead to a few dozen calls of a node that answers 429 or 503 to all of them."""
    calls: list[float] = []
    results, _, _ = runs(
        takes(0.0, StatusError(status), calls=calls),
        at_once=10,
        waves=30,
        health={"use": use},
        circuit={"failures": 99},
    )
    assert len(calls) < 90
    assert results[-1].reason == "limit:overload"


def test_a_node_that_only_fails_is_asked_every_time() -> None:
    """Failures that turn nobody away throttle nobody: that is for circuits."""
    calls: list[float] = []
    runs(takes(0.0, StatusError(500), calls=calls), at_once=10, waves=20, health={"use": False})
    assert len(calls) >= 200


# -------------------------------------------------------------------------------------------------------------- hedging

HEDGE = {"after": "20ms", "usd": 1.0}


def test_both_calls_of_a_hedged_attempt_are_paid_for() -> None:
    """What was really asked is in the record, the result and the limit: the loser too, answered or not."""
    calls: list[float] = []
    results, _, _ = runs(takes(0.3, calls=calls, usd=0.02), hedge=HEDGE)
    assert len(calls) == 2
    assert [(event.calls, round(event.usd, 9)) for event in ended(results)] == [(2, 0.04)]
    assert results[0].usd == pytest.approx(0.04)


def test_two_calls_that_fail_cost_what_they_cost() -> None:
    """Both are charged as declared where they left; neither where nothing happened."""
    for error, usd in ((ConnectionResetError("lost"), 0.04), (ConnectionRefusedError("down"), 0.0)):
        results, _, _ = runs(takes(0.3, error, usd=0.02), hedge=HEDGE)
        assert [(event.calls, round(event.usd, 9)) for event in ended(results)] == [(2, usd), (1, usd / 2)]


def test_a_hedged_attempt_that_times_out_costs_both_calls() -> None:
    """Calls without an answer are charged as declared."""
    results, _, _ = runs(takes(9.0, usd=0.02), hedge=HEDGE)
    assert [(event.calls, round(event.usd, 9)) for event in ended(results)] == [(2, 0.04), (1, 0.02)]


@pytest.mark.parametrize(
    ("usd", "policy", "hedges"),
    [
        (0.02, {"hedge": {"after": "20ms", "usd": 0.02}}, True),
        (0.02, {"hedge": {"after": "20ms", "usd": 0.019}}, False),
        (0.02, {"hedge": HEDGE, "limits": {"usd": 0.05}}, True),
        (0.02, {"hedge": HEDGE, "limits": {"usd": 0.03}}, False),
        (0.02, {"hedge": HEDGE, "approval": {"budget": 0.03}}, False),
        (0.0, {"hedge": HEDGE, "limits": {"usd": 0.0}}, True),
        (0.0, {"hedge": HEDGE, "overload": {"node": 1}}, False),
        (0.0, {"hedge": HEDGE, "overload": {"calls": 1}}, False),
        (0.0, {"hedge": HEDGE, "overload": {"node": 2}}, True),
    ],
)
def test_a_hedge_is_sent_only_where_it_may_be_paid_and_need_not_wait(
    usd: float, policy: dict[str, Any], hedges: bool
) -> None:
    """The price of a call, what the run may spend, and the free places bound it; the limit is never passed."""
    results, _, _ = runs(takes(0.3, usd=usd), **policy)
    (event,) = ended(results)
    assert event.calls == 1 + hedges
    limits = policy.get("limits") or {}
    assert results[0].usd <= limits.get("usd", 1.0)


def test_two_branches_do_not_hedge_beyond_what_is_left() -> None:
    """Hedges of attempts under way at the same time share what the run may spend."""
    clock = VirtualClock()

    def slow(name: str) -> Any:
        @tool(name=name, provides=name, effect="read", usd=0.02)
        async def read() -> str:
            await anyio.sleep(0.3)
            return name

        return read

    async def run() -> RunResult:
        policy = {**POLICY, "hedge": HEDGE, "limits": {"usd": 0.07}}
        tools, goals = [slow("a"), slow("b")], {"g": ["a", "b"]}
        async with Orchestrator(tools=tools, goals=goals, policy=policy, clock=clock.time) as orchestrator:
            return await orchestrator.run()

    result = clock.run(run)
    assert sorted(event.calls for event in of(result, AttemptEnded)) == [1, 2]
    assert result.usd == pytest.approx(0.06)


def test_nothing_is_hedged_while_the_retry_budget_is_spent() -> None:
    """After some failures each attempt is one call: hedges go by the same tokens as retries."""
    calls: list[float] = []
    made = []
    for waves in (10, 11):
        calls.clear()
        _, rows, _ = runs(takes(0.05, ToolFailed("no", transient=True), calls=calls), waves=waves, hedge=HEDGE)
        assert rows["a"].spent
        made.append(len(calls))
    assert made[1] - made[0] == 2  # the attempt and its last chance


@pytest.mark.parametrize("effect", ["veto", "gate"])
def test_what_is_barred_by_now_is_not_hedged(effect: Effect) -> None:
    """A monitor bars the node while its first call is under way: that goes on, and is the only one."""
    calls: list[float] = []
    tool, says = takes(3.0, calls=calls, timeout="9s"), [Signal("mine", "a", 0.9, "stop it", effect)]

    class Later:
        """Says it from the second check on."""

        asked = 0

        async def check(self) -> list[Signal]:
            self.asked += 1
            return says if self.asked > 1 else []

    clock = VirtualClock()

    async def one() -> RunResult:
        made = Orchestrator(
            [tool], {"g": ["page"]}, policy={"hedge": {"after": "2s"}}, monitors=[Later()], clock=clock.time
        )
        async with made as orchestrator:
            return await orchestrator.run()

    assert (clock.run(one).outcome, len(calls)) == ("met", 1)


def test_the_trial_of_a_half_open_node_is_one_call() -> None:
    """Whoever tries it calls it once, however long that takes."""
    calls: list[float] = []
    clock, slow = VirtualClock(), [False]

    @tool(name="a", provides="page", effect="read", units=1, timeout="6s")
    async def read() -> str:
        calls.append(clock.now)
        if not slow[0]:
            raise ToolFailed("no", transient=True)
        await anyio.sleep(1)
        return "page"

    policy = {**POLICY, "hedge": {"after": "200ms"}, "circuit": {"failures": 2, "cooldown": "1s"}}

    async def all_of_them() -> None:
        tools = [read, takes(0.01, name="b", units=9)]
        async with Orchestrator(tools, {"g": ["page"]}, policy=policy, clock=clock.time) as orchestrator:
            for _ in range(3):
                await orchestrator.run()
            slow[0] = True
            calls.clear()
            await anyio.sleep(1.5)
            assert {row.node: row.state for row in orchestrator.health()}["a"] == "half_open"
            assert (await orchestrator.run()).route == ("a",)

    clock.run(all_of_them)
    assert len(calls) == 1


def test_a_last_chance_is_not_hedged() -> None:
    """The one more attempt that a node gets is one call."""
    results, _, _ = runs(takes(0.3, ToolFailed("no", transient=True)), hedge=HEDGE)
    assert [event.calls for event in ended(results)] == [2, 1]


def test_a_hedge_counts_from_the_turn() -> None:
    """A call that waits for its turn is not slow: nobody asks twice because of our own queue."""
    results, _, _ = runs(takes(0.3), at_once=3, overload={"node": 2}, hedge={"after": "400ms"})
    assert [event.calls for event in ended(results)] == [1, 1, 1]
    assert all(result.outcome == "met" for result in results)


@contextmanager
def tracing() -> Iterator[tuple[Any, Callable[[str], dict[str, Any]]]]:
    """Give a tracer, and what finds the attributes of a span by its name."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield (
        provider.get_tracer("test"),
        lambda name: next(dict(s.attributes or {}) for s in exporter.get_finished_spans() if s.name == name),
    )
    provider.shutdown()


@pytest.mark.parametrize("hedge", [True, False])
def test_a_hedge_is_in_the_trace(hedge: bool) -> None:
    """The span of an attempt says how many calls it took where that is not one, and what they cost together."""
    clock = VirtualClock()
    with tracing() as (tracer, span):

        async def run() -> None:
            policy = {**POLICY, "hedge": HEDGE if hedge else {}}
            async with Orchestrator(
                tools=[takes(0.3, usd=0.02)], goals={"g": ["page"]}, policy=policy, clock=clock.time, tracer=tracer
            ) as orchestrator:
                await orchestrator.run()

        clock.run(run)
        found = span("execute_tool a")
    assert found.get("orchestrator.attempt.calls") == (2 if hedge else None)
    assert found["orchestrator.cost.usd"] == pytest.approx(0.04 if hedge else 0.02)


def test_an_older_record_is_that_of_one_call_that_did_not_wait() -> None:
    """A log that was written before calls and waits were recorded reads, and a refusal in it is answered as it was."""
    shed = Failure("overloaded", "full", transient=True, happened="no")
    data = record_to_dict(Record(3, 1.0, AttemptEnded("a", 0, 1, "failed", failure=shed, seconds=1.0)))
    del data["waited"], data["calls"]
    event = record_from_dict(data).event
    assert isinstance(event, AttemptEnded)
    assert (event.waited, event.calls) == (0.0, 1)
    run = ByHand(graph(node("a"), goals="g: a"))
    run.feed(event)
    assert "a" in run.machine.state.backoff
