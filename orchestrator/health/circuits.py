"""All circuits of a graph: outcomes go in, and who may be used, probed, or retried comes out.

A pure state machine without input, output or a clock of its own. Nothing runs in the background: what time alone
changes is worked out when it is asked for, and `Circuits.next_change` says when that is worthwhile.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from orchestrator.chance import unit_interval
from orchestrator.graph import Graph
from orchestrator.health.budget import RetryBudget
from orchestrator.health.circuit import LEAST, State
from orchestrator.health.groups import Groups
from orchestrator.health.outcome import Outcome
from orchestrator.health.standing import Standing
from orchestrator.health.steady import SteadyClock, on_grid, time_of
from orchestrator.health.window import Figures, Origin
from orchestrator.policy import Circuit, Policy

__all__ = ("Circuits", "Figures", "State")

VERSION = 1
"""Of a snapshot."""


class Circuits:
    """The health of every node of a graph, as far as outcomes tell it.

    Args:
        graph: The nodes, and who stands in for whom.
        policy: Its groups `circuit`, `health` and `retry`.
        clock: Returns seconds; one that jumps back is taken as having stood still.
        seed: What jitter depends on.
        overrides: Circuit policies of single nodes.
    """

    def __init__(
        self,
        graph: Graph,
        policy: Policy,
        *,
        clock: Callable[[], float],
        seed: int = 0,
        overrides: Mapping[str, Circuit] = MappingProxyType({}),
    ) -> None:
        self._clock = SteadyClock(clock)
        self._seed = seed
        self._prior = policy.health.prior
        self._failures = policy.circuit.failures
        self._recent = policy.circuit.max_cooldown
        self._groups = Groups(graph)
        self._nodes = {
            node.name: Standing(node, overrides.get(node.name, policy.circuit), policy, seed) for node in graph.nodes
        }
        # A node that stands in for nobody has a budget of its own; a space is in no value's name.
        payers = {node.name: self._groups.of(node.name) or (f"node {node.name}",) for node in graph.nodes}
        self._budgets = {
            key: RetryBudget(policy.retry.tokens, policy.retry.refund, policy.retry.tokens)
            for keys in payers.values()
            for key in keys
        }
        self._paying = {name: tuple(self._budgets[key] for key in keys) for name, keys in payers.items()}
        self._due: list[tuple[float, str]] = []

    # ---------------------------------------------------------------------------------------------------- what happened

    def record(self, outcome: Outcome, *, lagging: bool = False) -> bool:
        """Count one outcome.

        Args:
            outcome: How an attempt or a probe went. One of an unknown node is left aside.
            lagging: Whether the event loop was late, so that a timeout says nothing about the node.

        Returns:
            Whether the node's state is another than when it was last recorded: it opened, closed, became half-open,
            was refused or accepted again, or its quota began or ended.
        """
        standing = self._nodes.get(outcome.node)
        if standing is None:
            return False
        now = self._clock.now()
        late = max(self._clock.steady(outcome.at) - now, 0.0)
        # The difference is rounded, and not its parts: it is what the clock read then.
        began = self._clock.steady(outcome.at - max(outcome.seconds, 0.0)) - late
        if outcome.headroom is not None and math.isfinite(outcome.headroom):
            standing.quota.told(now, outcome.headroom)
        self._weigh(standing, outcome, now, began, lagging)
        self._await_changes(standing, now)
        told, standing.told = standing.told, standing.status(now)
        return told != standing.told

    def suspect(self, nodes: Iterable[str], reason: str, until: float) -> None:
        """Need only half of the usual failures of *nodes* to open their circuits; this alone opens none.

        Args:
            nodes: The others of a domain in which several nodes failed within a short time.
            reason: What happened.
            until: Seconds on the clock.
        """
        now = self._clock.now()
        for name in nodes:
            standing = self._nodes.get(name)
            if standing is not None:
                standing.circuit.suspect_until = max(standing.circuit.suspect_until, self._clock.steady(until))
                standing.circuit.suspicion = reason
                self._await_changes(standing, now)

    def hear(self, node: str, state: str, seconds: float | None, reason: str) -> bool:
        """Take what another process says of *node*; it is no evidence, and never tells of itself (`word`).

        Of an outage: a closed circuit opens until then, for `circuit.max_cooldown` at most, if its groups can spare the
        node and this process has seen nothing better of it itself. Where it may not open, the node is suspect
        meanwhile: half of the usual failures do. A circuit that is open or half-open stays as it is: its next probe
        is this process's own, and nobody can put it off for ever. Of an end: an outage that was only heard of is
        half-open, because one probe finds out whether the node can be reached from here, and a herd breaks it.

        Args:
            node: The node. One that is unknown is left aside.
            state: open or closed; of anything else time itself tells.
            seconds: How much longer it is open; None: not known.
            reason: Why, in words that name another process.

        Returns:
            Whether the state of the circuit is another one.
        """
        standing = self._nodes.get(node)
        if standing is None:
            return False
        now, circuit = self._clock.now(), standing.circuit
        longest = circuit.policy.max_cooldown
        seconds = on_grid(longest if seconds is None else min(seconds, longest))
        if state == "open" and seconds > 0 and circuit.opened_at is None:
            until = now + seconds
            outweighed = standing.hearsay.outweighed(standing.window, now)
            standing.hearsay.listened(now, until)
            if outweighed or not self._groups.room(node, circuit.policy.share):
                circuit.suspect_until, circuit.suspicion = max(circuit.suspect_until, until), reason
            else:
                circuit.hear(now, until, reason)
                self._groups.take_out(node)
        elif state == "closed" and circuit.state(now) == "open" and not standing.hearsay.own:
            circuit.hear(now, now, reason)
        self._await_changes(standing, now)
        told, standing.told = standing.told, standing.status(now)
        return told != standing.told

    def word(self, node: str) -> tuple[State, float, str] | None:
        """Return what others are to be told of *node*: its state, for how long it is open, and why.

        None: nothing, because this process has no evidence of its own since it heard of others.
        """
        standing, now = self._nodes[node], self._clock.now()
        if not standing.hearsay.own:
            return None
        circuit = standing.circuit
        state = circuit.state(now)
        return state, circuit.until - now if state == "open" else 0.0, circuit.reason

    # ----------------------------------------------------------------------------------------------------- what follows

    def state(self, node: str) -> State:
        """Return the state of the node's circuit."""
        return self._nodes[node].circuit.state(self._clock.now())

    def blocked(self, node: str) -> str | None:
        """Return why *node* may not be used now, in words that stay the same while it holds; None: it may.

        A half-open node may be used by whoever has its `lease`.
        """
        return self._nodes[node].blocked(self._clock.now())

    def open_for(self, node: str) -> float:
        """Return the seconds until *node* may be probed; 0: now, or it need not be."""
        circuit, now = self._nodes[node].circuit, self._clock.now()
        return circuit.until - now if circuit.state(now) == "open" else 0.0

    def lease(self, node: str, holder: str, *, seconds: float) -> bool:
        """Ask for the one permit to probe *node*, which is half-open, or unauthorised and probed outside runs.

        Args:
            node: The node.
            holder: Who asks: a run's id, or the name of a probe.
            seconds: Time after which the permit is lost; longer than the call may take.

        Returns:
            Whether *holder* has it now.
        """
        standing, now = self._nodes[node], self._clock.now()
        waits = standing.circuit.state(now) == "half_open" or standing.refuses_us(now)
        if not waits or now < standing.quota.not_before:
            return False
        granted = standing.circuit.take_lease(holder, now, seconds)
        self._await_changes(standing, now)
        return granted

    def release(self, node: str, holder: str) -> None:
        """Give the permit back unused, or after a cancelled probe: the next may probe at once."""
        self._nodes[node].circuit.give_back(holder)

    def share(self, node: str) -> float:
        """Return the share of its usual traffic that *node* should get, 0.1 to 1.0.

        It is less than the whole after a re-admission (slow start), after a burst of rate limits (a learned cap), and
        while the node says that little of its rate limit is left.
        """
        standing, now = self._nodes[node], self._clock.now()
        return max(standing.circuit.share(now) * standing.quota.share(now), LEAST)

    def dark(self) -> tuple[str, ...]:
        """Return the values of which no provider works: that many failures in a row, of all of them, are no chance.

        If none of it was tried for as long as the longest cooldown, it is not held to be so any more.
        """
        return self._groups.dark(self._failures, self._clock.now() - self._recent)

    def figures(self, node: str) -> Figures:
        """Return what is measured of *node*."""
        standing = self._nodes[node]
        found = standing.window.figures(self._clock.now(), standing.node.success, self._prior)
        if not self._clock.stepped_back:
            return found
        return replace(
            found,
            measured_at=None if found.measured_at is None else self._clock.read(found.measured_at),
            last_error_at=None if found.last_error_at is None else self._clock.read(found.last_error_at),
        )

    def retryable(self, node: str) -> bool:
        """Tell whether a failed attempt of *node* may be retried: the budgets of its groups are above half."""
        return all(budget.above_half for budget in self._paying[node])

    def next_change(self) -> float | None:
        """Return when, on the clock, time alone changes something next; None: it does not."""
        now = self._clock.now()
        while self._due:
            at, name = self._due[0]
            if at > now and at in self._nodes[name].changes():
                return self._clock.read(at)
            heapq.heappop(self._due)
        return None

    # -------------------------------------------------------------------------------------------------- across restarts

    def snapshot(self) -> dict[str, Any]:
        """Return everything as JSON-ready data; times are ages."""
        now = self._clock.now()
        return {
            "version": VERSION,
            "nodes": {name: standing.snapshot(now) for name, standing in self._nodes.items()},
            "budgets": {key: budget.tokens for key, budget in self._budgets.items()},
        }

    def restore(self, data: dict[str, Any], *, age: float) -> None:
        """Take over what `snapshot` wrote, in this or another process.

        Everything goes on as if the time since then had been spent here: figures have faded, a circuit whose cooldown
        is over is half-open, a lost lease has expired. Nodes that are gone are left aside, and so is data of another
        version: health is then measured afresh. If the graph has changed so that a group cannot spare a node any more,
        its circuit is closed.

        Args:
            data: The snapshot.
            age: Seconds since it was taken.
        """
        if data.get("version") != VERSION:
            return
        now = self._clock.now()
        then = time_of(max(age, 0.0), now)
        known = {name: each for name, each in data["nodes"].items() if name in self._nodes}
        for name, each in known.items():
            self._groups.put_back(name)
            self._nodes[name].restore(each, then)
        for name in known:
            standing = self._nodes[name]
            if standing.circuit.opened_at is not None:
                if self._groups.room(name, standing.circuit.policy.share):
                    self._groups.take_out(name)
                else:
                    standing.circuit.close(now)
                    standing.hearsay.own = False
        for name in known:
            if self._nodes[name].unauthorised:
                self._groups.take_out(name)
            self._await_changes(self._nodes[name], now)
        for key, tokens in data["budgets"].items():
            if key in self._budgets:
                self._budgets[key].tokens = min(max(tokens, 0.0), self._budgets[key].size)

    # ----------------------------------------------------------------------------------------------------------- inside

    def _weigh(self, standing: Standing, outcome: Outcome, now: float, began: float, lagging: bool) -> None:
        evidence = outcome.evidence
        if evidence not in ("ok", "caller", "cancelled", "inapplicable"):
            standing.window.note(now, outcome.error or evidence)
        if evidence == "ok":
            self._succeeded(standing, outcome, now, began)
        elif evidence in ("external", "unknown"):
            self._failed(standing, outcome, now, began, "external")
        elif evidence == "timeout" and not lagging and not standing.too_short(outcome.seconds):
            self._failed(standing, outcome, now, began, "timeout")
        elif evidence == "rate_limited":
            chance = unit_interval(self._seed, standing.node.name, "quota", standing.quota.burst)
            standing.quota.refused(now, began, outcome.retry_after, chance)
            self._pay(outcome, succeeded=False)
            standing.circuit.give_back(outcome.run_id)
        else:
            if evidence == "unauthorised":
                standing.refused_at = now
                self._groups.take_out(standing.node.name)
            # It says nothing about whether the node is up: the next may probe.
            standing.circuit.give_back(outcome.run_id)

    def _succeeded(self, standing: Standing, outcome: Outcome, now: float, began: float) -> None:
        if outcome.probe:
            standing.window.probed(ok=True)
        else:
            standing.window.succeeded(now, outcome.seconds)
            standing.quota.passed(began)
        self._groups.succeeded(standing.node.name)
        self._pay(outcome, succeeded=True)
        if standing.unauthorised and began >= standing.refused_at:
            standing.refused_at = -math.inf
            if standing.circuit.opened_at is None:
                self._groups.put_back(standing.node.name)
        opened_at = standing.circuit.opened_at
        # A call from before the opening is no news; any other success is as good as a probe (Envoy's early return).
        if opened_at is not None and (self._is_probe(standing, outcome, now) or began >= opened_at):
            self._close(standing, now)
        elif opened_at is None:
            standing.circuit.give_back(outcome.run_id)

    def _failed(self, standing: Standing, outcome: Outcome, now: float, began: float, origin: Origin) -> None:
        circuit, name = standing.circuit, standing.node.name
        if outcome.probe:
            standing.window.probed(ok=False)
        else:
            standing.window.failed(now, origin, outcome.seconds)
        self._groups.failed(name, now)
        self._pay(outcome, succeeded=False)
        state = circuit.state(now)
        if state == "closed":
            reason = circuit.trigger(standing.window, origin, now)
            if reason is not None and self._groups.room(name, circuit.policy.share):
                circuit.open(now, reason)
                standing.hearsay.opened()
                self._groups.take_out(name)
        elif state == "half_open":
            unasked = began >= circuit.until and not circuit.leased_to_another(outcome.run_id, now)
            if self._is_probe(standing, outcome, now) or unasked:
                circuit.open(now, f"a probe failed: {outcome.error or outcome.evidence}")
                standing.hearsay.opened()
        circuit.give_back(outcome.run_id)

    def _is_probe(self, standing: Standing, outcome: Outcome, now: float) -> bool:
        return outcome.probe or standing.circuit.holds(outcome.run_id, now)

    def _close(self, standing: Standing, now: float) -> None:
        standing.hearsay.closed(now, standing.circuit.pause)
        standing.circuit.close(now)
        standing.window.restart()
        if not standing.unauthorised:
            self._groups.put_back(standing.node.name)

    def _pay(self, outcome: Outcome, *, succeeded: bool) -> None:
        if outcome.probe:
            return
        for budget in self._paying[outcome.node]:
            if succeeded:
                budget.succeeded()
            else:
                budget.failed()

    def _await_changes(self, standing: Standing, now: float) -> None:
        changes = standing.changes()
        if changes == standing.awaited:
            return
        for at in changes:
            if at > now and at not in standing.awaited:
                heapq.heappush(self._due, (at, standing.node.name))
        standing.awaited = changes
        if len(self._due) > 16 * len(self._nodes):
            self._due = [(at, name) for name, each in self._nodes.items() for at in each.changes() if at > now]
            heapq.heapify(self._due)
