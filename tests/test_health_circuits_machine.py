"""Circuits as a state machine: whatever happens in whatever order, contracts 6 and 7 hold.

Runs and probes call nodes that are up or down, are cancelled, lost, refused; the clock leaps and steps back; the whole
is restored in other processes with clocks of their own, and every copy must go on like the original.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Circuits, Evidence, Outcome
from orchestrator.health.steady import on_grid
from orchestrator.policy import Circuit, Policy, RetryPolicy

COOLDOWN, LEASE, QUOTA = 40.0, 20.0, 15.0
"""The longest that each of them may take, in seconds."""
INSTANT = 2.0**-10
"""Seconds. All times of the test are sums of binary fractions like this one, so that its own books are exact too."""
POLICY = Policy(
    circuit=Circuit(failures=3, volume=4, cooldown="4s", max_cooldown="40s", window="20s", slow_start="10s"),
    retry=RetryPolicy(tokens=6, backoff="500ms", max_backoff="4s"),
)
RUNS = ["run 1", "run 2", "run 3", "run 4"]
SAYS_NOTHING: list[Evidence] = ["caller", "cancelled", "inapplicable", "contract", "rate_limited", "timeout"]

nodes: Bundle[str] = Bundle("nodes")
failures = st.sampled_from(["external", "timeout", "unknown"])
runs = st.sampled_from(RUNS)


@dataclass
class Copy:
    """Circuits in some process, whose clock is apart from the test's, perhaps not by a whole number of ticks."""

    circuits: Circuits
    apart: float


@dataclass
class Flight:
    """A call under way."""

    node: str
    run: str
    began: float


def evidence(snapshot: dict[str, Any]) -> Any:
    """Return what outcomes alone may move."""
    counted = {
        name: (
            each["window"],
            each["quota"],
            each["unauthorised"],
            each["circuit"]["growth"],
            each["circuit"]["openings"],
        )
        for name, each in snapshot["nodes"].items()
    }
    return counted, snapshot["budgets"]


class CircuitsMachine(RuleBasedStateMachine):
    """Groups of one to six nodes, `n0` and on; `n0` may provide a second value."""

    @initialize(
        target=nodes,
        sizes=st.sampled_from([(1,), (2,), (3,), (4,), (5,), (6,), (2, 1), (2, 2), (3, 2), (3, 3), (2, 2, 1, 1)]),
        bridge=st.booleans(),
    )
    def begin(self, sizes: tuple[int, ...], bridge: bool) -> MultipleResults[str]:
        """Draw the groups."""
        self.names = [f"n{i}" for i in range(sum(sizes))]
        groups: list[list[str]] = []
        for size in sizes:
            first = sum(len(group) for group in groups)
            groups.append(self.names[first : first + size])
        provides: dict[str, tuple[str, ...]] = {name: (f"v{i}",) for i, group in enumerate(groups) for name in group}
        if bridge and len(groups) > 1:
            groups[-1].append("n0")
            provides["n0"] = ("v0", f"v{len(groups) - 1}")
        self.groups = groups
        self.graph = Graph(
            nodes=tuple(Node(name, provides=values) for name, values in provides.items()),
            goals=(Goal("g", tuple(f"v{i}" for i in range(len(groups)))),),
        )
        self.time = 1000.0
        self.copies: list[Copy] = []
        self.copies.append(self.copy(0.0))
        self.up = dict.fromkeys(self.names, True)
        self.flights: list[Flight] = []
        self.permits: dict[str, dict[str, float]] = {name: {} for name in self.names}
        """What was granted and not given back, by node and holder: until when."""
        self.refused: dict[str, float] = {}
        """When a quota ends at the latest."""
        self.bursts: dict[str, float] = {}
        """When the first call of the last burst was refused: a later one that goes through ends the quota."""
        self.barred: dict[str, float] = {}
        """When credentials were refused last."""
        return multiple(*self.names)

    def copy(self, apart: float) -> Copy:
        """Return new circuits in another process."""
        made = Copy.__new__(Copy)
        made.apart = apart
        made.circuits = Circuits(self.graph, POLICY, clock=lambda: self.time + made.apart)
        return made

    @property
    def circuits(self) -> Circuits:
        """The original."""
        return self.copies[0].circuits

    def record(
        self, node: str, evidence: Evidence, *, seconds: float = 0.0, lagging: bool = False, **details: Any
    ) -> None:
        """Record an outcome in every copy: all say the same; and keep books about it."""
        before, began = self.circuits.state(node), self.time - seconds
        told = [
            copy.circuits.record(Outcome(node, evidence, self.time + copy.apart, seconds, **details), lagging=lagging)
            for copy in self.copies
        ]
        assert len(set(told)) == 1
        if before != "closed" and self.circuits.state(node) == "closed":
            self.permits[node].clear()
        if evidence == "ok":
            if began >= self.barred.get(node, math.inf):
                self.barred.pop(node)
            if began >= self.bursts.get(node, math.inf) and not details.get("probe"):
                self.refused.pop(node, None)
        elif evidence == "unauthorised":
            self.barred[node] = self.time
        elif evidence == "rate_limited":
            self.refused[node] = max(self.refused.get(node, -math.inf), self.time + QUOTA)
            if began > self.bursts.get(node, -math.inf):
                self.bursts[node] = self.time

    def unauthorised(self, node: str) -> bool:
        """Tell whether credentials were refused, and it is too early to try them again."""
        return self.time < self.barred.get(node, -math.inf) + COOLDOWN

    def lease(self, node: str, holder: str, seconds: float) -> bool:
        """Ask every copy for a permit, and keep books about it."""
        before, unauthorised = self.circuits.state(node), self.unauthorised(node)
        refused = (self.circuits.blocked(node) or "").startswith("rate limited")
        if unauthorised:
            # Of several reasons that block, this is the one that is told.
            refused = self.time < self.refused.get(node, -math.inf)
        granted = {copy.circuits.lease(node, holder, seconds=seconds) for copy in self.copies}
        assert len(granted) == 1
        others = {each: until for each, until in self.permits[node].items() if each != holder and until > self.time}
        if True not in granted:
            waits = before == "half_open" or unauthorised
            assert not waits or refused or others, f"{holder} was not let in although nobody is"
            return False
        assert before == "half_open" or unauthorised
        assert not others, f"{holder} was let in beside {others}"
        self.permits[node][holder] = max(self.time + seconds, self.permits[node].get(holder, -math.inf))
        return True

    # ----------------------------------------------------------------------------------------------------------- time

    @rule(seconds=st.sampled_from([0.125, 1.0, 3.0, 10.0, 45.0]))
    def wait(self, seconds: float) -> None:
        """Some time goes by."""
        self.time += seconds

    @rule()
    def wait_for_a_change(self) -> None:
        """Time goes by until something changes by itself."""
        due = self.circuits.next_change()
        if due is not None:
            self.time = due + INSTANT

    @rule(seconds=st.sampled_from([-3600.0, -1.0, 900.0, 1e6]))
    def leap(self, seconds: float) -> None:
        """The clock leaps on, as after a sleep of the machine, or is put back."""
        if seconds < 0:
            # Books are kept on a clock that stands still meanwhile.
            for book in (*self.permits.values(), self.refused, self.bursts, self.barred):
                for name in book:
                    book[name] += seconds
            for flight in self.flights:
                flight.began += seconds
            for copy in self.copies:
                copy.circuits.next_change()
        self.time += seconds

    # ---------------------------------------------------------------------------------------------------------- calls

    @rule(node=nodes)
    def break_down(self, node: str) -> None:
        """A node goes down."""
        self.up[node] = False

    @rule(node=nodes)
    def come_up(self, node: str) -> None:
        """A node works again."""
        self.up[node] = True

    @rule(node=nodes, times=st.integers(1, 6), evidence=failures)
    def traffic(self, node: str, times: int, evidence: Evidence) -> None:
        """A few quick calls, as far as the node may be used."""
        for _ in range(times):
            if self.circuits.blocked(node) is None and self.circuits.state(node) == "closed":
                self.record(node, "ok" if self.up[node] else evidence, seconds=0.01, run_id="crowd")

    @rule(node=nodes, evidence=failures, wait=st.booleans())
    def outage(self, node: str, evidence: Evidence, wait: bool) -> None:
        """A node goes down, its calls fail until its circuit opens, if it may, and perhaps the cooldown goes by."""
        self.up[node] = False
        self.traffic(node, 4, evidence)
        if wait:
            self.time += self.circuits.open_for(node) + INSTANT

    @rule(node=nodes, seconds=st.sampled_from([2.0, LEASE]))
    def rush(self, node: str, seconds: float) -> None:
        """All ask for the permit at once."""
        for run in RUNS:
            self.lease(node, run, seconds)

    @rule(node=nodes, times=st.integers(1, 3), evidence=st.sampled_from(["cancelled", "inapplicable", "caller"]))
    def cancel_probes(self, node: str, times: int, evidence: Evidence) -> None:
        """Probes end without evidence, one after the other: each time the next may go at once."""
        for run in RUNS[:times]:
            if self.lease(node, run, LEASE):
                self.permits[node].pop(run)
                self.record(node, evidence, run_id=run)
        self.lease(node, RUNS[times], LEASE)

    @rule(node=nodes, run=runs, lease=st.sampled_from([2.0, LEASE]))
    def call(self, node: str, run: str, lease: float) -> None:
        """A run calls a node that it may use; a half-open one only with the permit."""
        usable = self.circuits.blocked(node) is None
        if usable and self.circuits.state(node) == "half_open":
            usable = self.lease(node, run, lease)
        if usable:
            self.flights.append(Flight(node, run, self.time))

    @rule(node=nodes, run=runs)
    def call_without_asking(self, node: str, run: str) -> None:
        """The last chance of a run passes an open circuit."""
        self.flights.append(Flight(node, run, self.time))

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), evidence=failures)
    def end(self, data: st.DataObject, evidence: Evidence) -> None:
        """A call ends as the node is."""
        flight = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        if self.up[flight.node]:
            evidence = "ok"
        self.permits[flight.node].pop(flight.run, None)
        self.record(flight.node, evidence, seconds=self.time - flight.began, run_id=flight.run)

    @precondition(lambda self: self.flights)
    @rule(
        data=st.data(),
        evidence=st.sampled_from(SAYS_NOTHING),
        times=st.integers(1, 4),
        retry_after=st.sampled_from([None, 0.0, 2.0, QUOTA, float("nan"), -1.0]),
        headroom=st.sampled_from([None, 0.0, 0.1, 0.9, 7.0]),
    )
    def end_without_evidence(
        self,
        data: st.DataObject,
        evidence: Evidence,
        times: int,
        retry_after: float | None,
        headroom: float | None,
    ) -> None:
        """Calls end in a way that says nothing about health: no circuit opens."""
        flight = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        before = {name: self.circuits.state(name) for name in self.names}
        details: dict[str, Any] = {"retry_after": retry_after} if evidence == "rate_limited" else {}
        self.permits[flight.node].pop(flight.run, None)
        for _ in range(times):
            self.record(
                flight.node,
                evidence,
                seconds=self.time - flight.began,
                lagging=evidence == "timeout",
                headroom=headroom,
                run_id=flight.run,
                **details,
            )
        assert {name: self.circuits.state(name) for name in self.names} == before
        if evidence == "rate_limited" and retry_after in (2.0, QUOTA):
            assert self.circuits.blocked(flight.node) is not None

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A call is never heard of again, and nobody gives its permit back."""
        self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))

    @rule(node=nodes, holder=runs, seconds=st.sampled_from([0.0, 5.0, LEASE]))
    def take_a_permit(self, node: str, holder: str, seconds: float) -> None:
        """Somebody asks for the permit, and may do nothing with it."""
        self.lease(node, holder, seconds)

    @rule(node=nodes, holder=runs)
    def give_back(self, node: str, holder: str) -> None:
        """Somebody gives a permit back, whether it is theirs or not."""
        for copy in self.copies:
            copy.circuits.release(node, holder)
        self.permits[node].pop(holder, None)

    @rule(node=nodes)
    def probe(self, node: str) -> None:
        """A prober asks for the permit and tells at once how it went."""
        if self.lease(node, "prober", 5.0):
            self.permits[node].pop("prober")
            self.record(node, "ok" if self.up[node] else "external", probe=True)
            for copy in self.copies:
                copy.circuits.release(node, "prober")

    @rule(node=nodes)
    def refuse_credentials(self, node: str) -> None:
        """A node does not know us any more: blocked, but its circuit does not open."""
        before = self.circuits.state(node)
        self.record(node, "unauthorised")
        assert self.circuits.state(node) == before
        assert self.circuits.blocked(node) == "unauthorised"

    @rule(node=nodes, refusal=st.sampled_from(["unauthorised", "rate_limited"]), before=st.booleans())
    def go_through(self, node: str, refusal: Evidence, before: bool) -> None:
        """A node refuses a call, and one that began before or after that succeeds: only the latter is news of it."""
        began = self.time
        self.time += 1.0
        self.record(node, refusal, run_id="crowd")
        if not before:
            began = self.time
        self.record(node, "ok", seconds=self.time - began, run_id="crowd")

    @rule(node=nodes, seconds=st.sampled_from([-1.0, 5.0, 60.0]))
    def suspect(self, node: str, seconds: float) -> None:
        """A domain fails: this alone opens nothing."""
        before = {name: self.circuits.state(name) for name in self.names}
        for copy in self.copies:
            copy.circuits.suspect([node], "region-eu", self.time + copy.apart + seconds)
        assert {name: self.circuits.state(name) for name in self.names} == before

    @rule(
        node=nodes,
        state=st.sampled_from(["open", "open", "closed", "half_open"]),
        seconds=st.sampled_from([2.0, 10.0, 1000.0, float("inf"), float("nan"), 0.0, -1.0, None]),
    )
    def hear(self, node: str, state: str, seconds: float | None) -> None:
        """Another process speaks: no evidence, not told on, no bar to an own probe, and never longer than it says."""
        before, said = self.circuits.state(node), self.circuits.word(node)
        counted = evidence(self.circuits.snapshot())
        moved = {copy.circuits.hear(node, state, seconds, "another process says: down") for copy in self.copies}
        after = self.circuits.state(node)
        assert counted == evidence(self.circuits.snapshot())
        assert len(moved) == 1
        if before == "half_open" or state == "half_open":
            assert after == before
        elif before == "open":
            assert after == ("half_open" if state == "closed" and said is None else "open")
        elif after != before:
            assert (state, after) == ("open", "open")
            assert self.circuits.open_for(node) <= min(COOLDOWN, math.inf if seconds is None else seconds)
            assert self.circuits.word(node) is None
        if before != "closed" and after != "half_open":
            assert self.circuits.word(node) == said

    # ------------------------------------------------------------------------------------------------------- restarts

    @rule(age=st.sampled_from([0.0, 0.5, 30.0, 5000.0]), apart=st.sampled_from([0.0, -1000.0, 12345.6789]))
    def restart(self, age: float, apart: float) -> None:
        """Another process takes over after a while, beside the old one, which goes on."""
        data = json.loads(json.dumps(self.circuits.snapshot(), allow_nan=False))
        self.time += age
        copy = self.copy(apart)
        copy.circuits.restore(data, age=age)
        self.copies = [self.copies[0], *self.copies[-1:], copy] if len(self.copies) > 2 else [*self.copies, copy]

    @rule(node=nodes)
    def everybody_recovers(self, node: str) -> None:
        """From now on calls of *node* succeed and somebody asks every second: it is back within a bounded time."""
        data = self.circuits.snapshot()
        time = 0.0
        later = Circuits(self.graph, POLICY, clock=lambda: time)
        later.restore(data, age=0.0)
        within = COOLDOWN + LEASE + QUOTA + 1
        while not (later.state(node) == "closed" and later.blocked(node) is None):
            assert time <= within, f"still {later.state(node)} after {time} s: {later.blocked(node)}"
            if later.lease(node, "asker", seconds=5.0):
                later.record(Outcome(node, "ok", time, run_id="asker", probe=True))
            time += 1.0
        time += POLICY.circuit.slow_start + QUOTA + 100 * POLICY.circuit.window
        assert later.share(node) == pytest.approx(1.0)

    # ------------------------------------------------------------------------------------------------------- always

    @invariant()
    def few_are_open(self) -> None:
        """Of no group more than half is open, and none of a group of one; a pair may lose one."""
        for group in self.groups:
            opened = [name for name in group if self.circuits.state(name) != "closed"]
            assert len(opened) <= len(group) // 2

    @invariant()
    def only_what_is_certain_blocks(self) -> None:
        """A closed node is usable unless its quota or its credentials say otherwise, whatever its budget."""
        for name in self.names:
            blocked = self.circuits.blocked(name)
            assert (blocked == "unauthorised") == self.unauthorised(name)
            if self.circuits.state(name) != "open" and blocked not in (None, "unauthorised"):
                assert self.time < self.refused.get(name, -math.inf)
            assert (self.circuits.open_for(name) > 0) == (self.circuits.state(name) == "open")
            assert self.circuits.open_for(name) <= COOLDOWN

    @invariant()
    def figures_are_sane(self) -> None:
        """Budgets lie between nothing and full, shares between a tenth and the whole, rates between none and one."""
        for tokens in self.circuits.snapshot()["budgets"].values():
            assert 0.0 <= tokens <= POLICY.retry.tokens
        for name in self.names:
            assert 0.1 <= self.circuits.share(name) <= 1.0
            figures = self.circuits.figures(name)
            assert 0.0 <= figures.ok <= figures.n + 1e-9
            assert 0.0 < figures.success <= 1.0
            assert figures.measured_at is None or figures.measured_at <= self.time
        due = self.circuits.next_change()
        assert due is None or due > self.time

    @invariant()
    def looking_changes_nothing(self) -> None:
        """Asking is free of effects."""
        before = self.circuits.snapshot()
        for name in self.names:
            self.circuits.state(name)
            self.circuits.blocked(name)
            self.circuits.share(name)
            self.circuits.figures(name)
            self.circuits.retryable(name)
        self.circuits.next_change()
        assert self.circuits.snapshot() == before

    @invariant()
    def copies_agree(self) -> None:
        """A restored machine is the same machine, to the last bit."""
        snapshot, due = self.circuits.snapshot(), self.circuits.next_change()
        for copy in self.copies[1:]:
            assert copy.circuits.snapshot() == snapshot
            assert copy.circuits.next_change() == (None if due is None else due + on_grid(copy.apart))
            for name in self.names:
                assert copy.circuits.blocked(name) == self.circuits.blocked(name)
                assert copy.circuits.retryable(name) == self.circuits.retryable(name)
                assert copy.circuits.open_for(name) == self.circuits.open_for(name)
                assert copy.circuits.share(name) == self.circuits.share(name)


def test_contracts_6_and_7_hold() -> None:
    """Whatever happens: one probe at a time, few open, nobody lost, nothing opened without evidence, copies alike."""
    # A failure is not shrunk, which takes minutes, as every step checks everything: add Phase.shrink to look at one.
    run_state_machine_as_test(
        CircuitsMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            phases=[Phase.reuse, Phase.generate],
            report_multiple_bugs=False,
        ),
    )
