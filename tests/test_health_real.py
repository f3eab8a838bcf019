"""Health with real processes: HTTP servers killed, stopped, throttled and restored under two hundred runs at once.

About 40 seconds on two cores, somewhat more where they have other things to do. That two hundred runs are under way at
once is no matter of speed: a peer keeps their calls waiting until all of them are. What is asserted of time holds
however slow the machine is: the nodes that nobody harms have all the time they need, tries are counted per wait, and
states are waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic  # noqa: TID251  # real processes come back in real time
from typing import Any

import anyio
import pytest

from orchestrator import Orchestrator, RunResult
from orchestrator.errors import OverloadedError
from orchestrator.events import Absorbed, AttemptEnded, Escalated, LastChance, Record, Rerouted, Retried, RunEnded
from tests.peers import Peer, peer

RUNS, KEPT, HARMED, AFTER, FEW, CALLERS = 200, 20, 50, 25, 10, 5
GRAPH = """
version: 1
name: pages
imports: {{allow: [tests]}}
inputs: {{n: {{type: integer}}, ledger: {{type: string}}}}
tools:
  first: {{http: {{url: "{first}/pages/{{n}}"}}, provides: page, effect: read, cost: {{units: 1}}}}
  second: {{http: {{url: "{second}/pages/{{n}}"}}, provides: page, effect: read, cost: {{units: 10}}, timeout: 20s}}
  third: {{http: {{url: "{third}/pages/{{n}}"}}, provides: page, effect: read, cost: {{units: 20}}, timeout: 20s}}
  write:
    http: {{url: "{ledger}/entries", method: POST, body: {{n: "{{n}}", page: "{{page}}", ledger: "{{ledger}}"}}}}
    provides: entry
    effect: once
    verify: "tests.peers:find"
    timeout: {patience}
goals:
  - {{name: written, values: [entry]}}
"""
POLICY: dict[str, Any] = {
    "timeout": "3s",
    "circuit": {"failures": 3, "cooldown": "600ms", "max_cooldown": "1200ms", "slow_start": "500ms", "window": "5s"},
    "health": {"use": True, "quiet": "10ms", "short": "40ms", "long": "200ms", "hold": "1s"},
    "retry": {"attempts": 2, "backoff": "20ms", "max_backoff": "100ms"},
    # Two hundred calls turned away at once are remembered for two minutes, which is longer than all of this takes.
    "overload": {"throttle": 50.0},
}
DECISIONS = (Absorbed, Retried, Rerouted, LastChance, Escalated, RunEnded)


@dataclass
class World:
    """Three peers for pages, a ledger, and where the graph of them is written."""

    first: Peer
    second: Peer
    third: Peer
    ledger: Peer
    folder: Path
    under_way: int = 0
    most: int = 0
    """The most runs that were under way at once."""

    def orchestrator(self, *, patience: str = "30s", **policy: Any) -> Orchestrator:
        """Return an orchestrator of these peers."""
        urls = {name: getattr(self, name).url for name in ("first", "second", "third", "ledger")}
        path = self.folder / "pages.yaml"
        path.write_text(GRAPH.format(**urls, patience=patience))
        return Orchestrator.from_yaml(path, policy={**POLICY, **policy})

    async def one(self, orchestrator: Orchestrator, n: int, results: list[RunResult]) -> None:
        """Make a run."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            results.append(await orchestrator.run(n=n, ledger=self.ledger.url))
        finally:
            self.under_way -= 1

    async def wave(self, orchestrator: Orchestrator, runs: int, *, gap: float = 0.006) -> list[RunResult]:
        """Start runs close upon each other."""
        results: list[RunResult] = []
        async with anyio.create_task_group() as tasks:
            for n in range(runs):
                tasks.start_soon(self.one, orchestrator, n, results)
                await anyio.sleep(gap)
        return results

    async def at_once(
        self, orchestrator: Orchestrator, then: Callable[[], Awaitable[object]], *, at: Sequence[Peer], calls: int
    ) -> list[RunResult]:
        """Have two hundred runs under way at once: peers keep their calls waiting, and so many have come to them.

        What happens *then* is to let them go, or to see to it that they fail.
        """
        results: list[RunResult] = []

        def kept() -> int:
            return sum(len(each.counts()["calls"]) for each in at)

        def keep() -> int:
            for each in at:
                each.set(hold=True)
            return kept()

        before = await anyio.to_thread.run_sync(keep)
        async with anyio.create_task_group() as tasks:
            for n in range(RUNS):
                tasks.start_soon(self.one, orchestrator, n, results)
            with anyio.fail_after(30):
                while await anyio.to_thread.run_sync(kept) < before + calls:  # noqa: ASYNC110  # of another process
                    await anyio.sleep(0.02)
            assert self.under_way >= RUNS
            await then()
        return results

    async def callers(self, orchestrator: Orchestrator) -> list[RunResult]:
        """Let a few callers make runs, each as soon as it has the result of the one before."""
        results: list[RunResult] = []

        async def call(number: int) -> None:
            for n in range(number, HARMED, CALLERS):
                await self.one(orchestrator, n, results)

        async with anyio.create_task_group() as tasks:
            for number in range(CALLERS):
                tasks.start_soon(call, number)
        return results


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give peers that run."""
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(peer(latency=0.05)) for _ in range(3))
        ledger = stack.enter_context(peer(lose=10))
        yield World(first, second, third, ledger, tmp_path)


def attempts(results: Sequence[RunResult], node: str) -> int:
    """Return how often a node was called."""
    return sum(attempt.node == node and attempt.attempt > 0 for result in results for attempt in result.attempts)


def served(results: Sequence[RunResult]) -> Counter[str]:
    """Return which nodes' results stand, and in how many runs."""
    return Counter(node for result in results for node in result.route)


def answers(records: Sequence[Record]) -> Counter[tuple[str, int]]:
    """Return how many decisions answer each failed attempt."""
    return Counter(each for record in records if isinstance(record.event, DECISIONS) for each in record.event.answers)


def check(world: World, results: Sequence[RunResult], runs: int) -> None:
    """Nothing is lost, every run met its goal, nothing is written twice, every failure is answered once."""
    assert len(results) == len({result.run_id for result in results}) == runs
    lost = [result.attempts for result in results if result.outcome != "met"]
    assert not lost, (len(lost), lost[0])
    written = world.ledger.counts()["written"]
    assert len(written) == len(set(written)) == runs
    assert {result.values["entry"]["entry"] for result in results} == set(range(1, runs + 1))
    for result in results:
        failed = [attempt for attempt in result.attempts if attempt.outcome in ("failed", "unknown")]
        assert all(attempt.answer is not None for attempt in failed), failed
        ended = [record.event for record in result.records if isinstance(record.event, AttemptEnded)]
        failures = [(event.node, event.attempt) for event in ended if event.outcome == "failed"]
        assert answers(result.records) == dict.fromkeys(failures, 1), result


async def until_served(world: World, orchestrator: Orchestrator, node: str, bound: float) -> list[RunResult]:
    """Run one after the other until the node has served one; fail after *bound* seconds."""
    results: list[RunResult] = []
    end = monotonic() + bound
    while not served(results)[node]:
        assert monotonic() < end, f"{node} serves nobody {bound} s after it came back"
        results += await world.wave(orchestrator, 1, gap=0.02)
    return results


async def until_whole(orchestrator: Orchestrator, node: str, bound: float) -> None:
    """Wait until the node gets its whole share again; fail after *bound* seconds."""
    with anyio.fail_after(bound):
        while next(row.share for row in orchestrator.health() if row.node == node) < 1:  # noqa: ASYNC110  # as told
            await anyio.sleep(0.05)


def let_go(peer: Peer) -> None:
    """Let a stopped peer go on, and answer the calls that it has kept."""
    peer.go_on()
    peer.set(hold=False)


HARMS: dict[str, tuple[Callable[[Peer], object], Callable[[Peer], object]]] = {
    "killed": (Peer.kill, Peer.start),
    "stopped": (Peer.stop, let_go),
    "throttled": (lambda peer: peer.set(limit=1, hold=False), lambda peer: peer.set(limit=None)),
}
LEAST_WAIT = {"killed": 0.3, "stopped": 0.3, "throttled": 1.0}
"""Seconds between two tries: half of the cooldown, or what the node says itself."""


@pytest.mark.parametrize("harm", HARMS)
async def test_a_node_that_fails_under_load_is_left_alone_and_comes_back(world: World, harm: str) -> None:
    """Two hundred runs meet their goal though the cheapest node goes; it is hardly called until it serves again."""
    break_, mend = HARMS[harm]
    async with world.orchestrator() as orchestrator:
        healthy = await world.wave(orchestrator, AFTER)
        during = await world.at_once(
            orchestrator, lambda: anyio.to_thread.run_sync(break_, world.first), at=[world.first], calls=KEPT
        )
        assert served(during)["first"] == 0
        before = len(world.first.counts()["calls"]) if harm == "throttled" else 0
        began = monotonic()
        harmed = await world.callers(orchestrator)
        # One call may try it after each wait, however long all this takes; of one that is throttled all callers may,
        # because who comes first cannot know how much is let through.
        waits = 2 + (monotonic() - began) / LEAST_WAIT[harm]
        most = waits * (CALLERS if harm == "throttled" else 1)
        assert attempts(harmed, "first") <= most
        assert served(harmed)["first"] == 0
        if harm == "throttled":
            assert len(world.first.counts()["calls"]) - before <= most
        await anyio.to_thread.run_sync(mend, world.first)
        back = await until_served(world, orchestrator, "first", 6.0)
        await until_whole(orchestrator, "first", 6.0)
        after = await world.wave(orchestrator, AFTER)
    assert served(after)["first"] >= 20
    assert world.most >= RUNS
    results = [*healthy, *during, *harmed, *back, *after]
    check(world, results, AFTER + RUNS + HARMED + len(back) + AFTER)


async def test_no_more_than_one_call_at_a_time_reaches_a_half_open_node(world: World) -> None:
    """A node that comes back sick is tried by one call after another, a cooldown apart, whoever else is under way."""
    async with world.orchestrator() as orchestrator:
        await anyio.to_thread.run_sync(world.first.kill)
        results = await world.wave(orchestrator, FEW)
        back: list[RunResult] = []

        def go() -> None:
            for each in (world.second, world.third):
                each.set(hold=False)

        async def comes_back() -> None:
            await anyio.to_thread.run_sync(lambda: world.first.start(latency=0.2, failing=2))
            async with anyio.create_task_group() as tasks:
                with anyio.fail_after(20):
                    while not served(back)["first"]:
                        tasks.start_soon(world.one, orchestrator, 0, back)
                        await anyio.sleep(0.015)
                await anyio.to_thread.run_sync(go)

        results += await world.at_once(orchestrator, comes_back, at=[world.second, world.third], calls=RUNS)
    assert world.most >= RUNS
    calls = world.first.counts()["calls"]
    statuses = [call["status"] for call in calls]
    assert statuses[:3] == [503, 503, 200]
    assert [call["at_once"] for call in calls[:3]] == [1, 1, 1]
    assert all(after["at"] - before["at"] > 0.3 for before, after in pairwise(calls[:3]))
    assert all(call["at"] >= calls[2]["at"] + 0.2 for call in calls[3:])
    check(world, [*results, *back], FEW + RUNS + len(back))


# ------------------------------------------------------------------------------------------------------------- overload


async def test_no_more_calls_of_a_node_at_once_than_its_places_and_everybody_in_turn(world: World) -> None:
    """With four places a node is never asked by five; two hundred runs at once are served in the order they came."""
    world.first.set(latency=0.005)

    def go() -> None:
        world.first.set(hold=False)

    async with world.orchestrator(overload={"node": 4, "queue": RUNS}, timeout="20s") as orchestrator:
        results = await world.at_once(orchestrator, lambda: anyio.to_thread.run_sync(go), at=[world.first], calls=4)
    assert world.most == RUNS
    calls = world.first.counts()["calls"]
    assert max(call["at_once"] for call in calls) <= 4
    assert len(calls) >= RUNS // 4
    served_in = [call["n"] for call in calls]
    late = [place - sum(n <= each for n in served_in) for place, each in enumerate(served_in, 1)]
    assert max(map(abs, late)) <= 8, "somebody was overtaken by many"
    check(world, results, RUNS)


async def test_what_waits_longer_than_its_time_is_never_made(world: World) -> None:
    """An effect whose turn did not come is no unknown outcome, is not made later, and its node is not blamed."""
    world.ledger.set(latency=0.8, lose=None)
    async with world.orchestrator(patience="2s", overload={"node": 1}) as orchestrator:
        results = await world.wave(orchestrator, 6, gap=0.0)
        health = {row.node: row for row in orchestrator.health()}
        await anyio.sleep(1.5)  # time enough for a call that was left in the queue
    made = sum(result.outcome == "met" for result in results)
    assert 1 <= made < 6
    assert len(world.ledger.counts()["written"]) == made
    failed = [attempt for result in results for attempt in result.attempts if attempt.outcome in ("failed", "unknown")]
    assert "overloaded" in {attempt.error for attempt in failed}
    assert all(attempt.outcome == "failed" for attempt in failed if attempt.error == "overloaded")
    assert health["write"].state == "closed"


async def test_a_process_refuses_more_runs_than_it_may_have(world: World) -> None:
    """Whoever comes when the house is full is told so at once, and served when a run is over."""
    refused: list[int] = []
    results: list[RunResult] = []
    async with world.orchestrator(overload={"runs": 10}) as orchestrator:

        async def one(n: int) -> None:
            try:
                results.append(await orchestrator.run(n=n, ledger=world.ledger.url))
            except OverloadedError:
                refused.append(n)

        async with anyio.create_task_group() as tasks:
            for n in range(30):
                tasks.start_soon(one, n)
        assert len(results) == 10
        assert len(refused) == 20
        results += await world.wave(orchestrator, 10)
    check(world, results, 20)
