"""The board: what all monitors say, as the view that each run gets.

One board belongs to a process and outlives its runs. Outcomes go in; a new run gets a whole `View`, and while it goes
on only what bars its way: vetoes, gates and spent retry budgets. Weights count for the next run, because a route that
is good enough is not left for a better one. Nothing here waits, reads a clock of its own or raises for a monitor's
sake. A driver calls `Board.tick` after outcomes were recorded and when it said so, and awaits the `check` of each of
`Board.watchers` in the background, each in a task of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from orchestrator.graph import Graph
from orchestrator.health.attention import Attended
from orchestrator.health.circuits import Circuits
from orchestrator.health.leases import HALF_OPEN, PROBED, Leases
from orchestrator.health.load import ALIKE, Load
from orchestrator.health.monitors.users import Report, UserMonitor
from orchestrator.health.outcome import Outcome
from orchestrator.health.publication import Publication
from orchestrator.health.rows import HealthRow, row_of
from orchestrator.health.scouts import ALONE, Scouts
from orchestrator.health.seats import Changed, Seat, Seats
from orchestrator.health.seen import drawn
from orchestrator.health.signal import Monitor, Signal
from orchestrator.health.watching import Watching
from orchestrator.health.weighing import TRIED, Weighing, peers_of, scaled
from orchestrator.policy import Policy
from orchestrator.weight import View, declared_view

__all__ = ("Board", "Changed", "HealthRow")

LOOK = 1.0
"""Seconds after which the monitors are asked anyway: somebody may have spoken to the circuits directly."""

Weights = tuple[tuple[str, int], ...]
Trails = tuple[tuple[str, str, int], ...]


class Board:
    """Signals in, views out.

    Args:
        graph: The nodes.
        policy: Its groups `objective`, `circuit` and `health`.
        circuits: On the same clock.
        clock: Returns seconds that only rise.
        monitors: Those of users.
        base: The declared view, which everything measured starts from; None: that of *graph* and *policy*.
        probed: Nodes with an active probe: no run tries them before it has passed.
        report: Is told of monitors in trouble, of each once until it works again.
        patience: Seconds for one check of a user's monitor.
    """

    def __init__(
        self,
        graph: Graph,
        policy: Policy,
        circuits: Circuits,
        *,
        clock: Callable[[], float],
        monitors: Iterable[Monitor] = (),
        base: View | None = None,
        probed: Collection[str] = (),
        report: Report | None = None,
        patience: float = 5.0,
    ) -> None:
        self._graph = graph
        self._circuits = circuits
        self._clock = clock
        self._base = declared_view(graph, policy.objective) if base is None else base
        self._base_weights = dict(self._base.weights)
        self._probed = frozenset(probed)
        self._report = report
        self._health = policy.health
        self.watchers = tuple(
            UserMonitor(
                monitor,
                nodes=tuple(graph.by_name),
                clock=clock,
                bound=patience,
                stale=policy.health.stale,
                report=self._in_trouble,
                changed=self.look,
            )
            for monitor in monitors
        )
        """The monitors of users: the `check` of each is awaited in the background, again and again."""
        peers = peers_of(graph)
        self._watching = Watching(graph, policy, circuits, self._base, peers, self.watchers)
        self.monitors = self._watching  # what they have learnt is saved beside the circuits
        self._weighing = Weighing(graph, policy, circuits, self._watching.latency, peers)
        patience = ALONE * policy.circuit.cooldown
        self._leases = Leases(circuits, patience)
        self._load = Load(graph)
        self._scouts = Scouts(circuits, graph.providers, patience)
        self._seats = Seats(self._base)
        self._news = Publication(policy.health)
        """When runs are told what bars their way."""
        self._moves = Publication(policy.health)
        """When weights move, for the runs to come."""
        self._moved_at = clock()
        self._drifting = False
        """Whether weights move with time alone: figures fade, and become stale."""
        self._looked_at = clock()
        self._called: dict[str, None] = {}  # their weights may have moved: looked at once for all that come together
        self._plain = self._weighed()
        self._watching.look(clock())

    # ------------------------------------------------------------------------------------------------------------ runs

    def view(self, run_id: str) -> View:
        """Return the whole view for a run that starts or resumes.

        A half-open node that nobody tries, nor has just set out for, is left usable for this run, at no more than its
        declared weight: a trial that is made dear is never made.
        """
        now = self._refreshed()
        for name in self._watching.picture.half_open:
            self._ask(run_id, name, now, (name,))
        self._scouts.ask(run_id, now)
        weights, trails = self._weights(run_id, now)
        return self._seats.show(run_id, replace(self._barred(run_id), weights=weights, trails=trails))

    def settle(self, run_id: str, wanted: Collection[str]) -> None:
        """The run goes along a route of these unfinished nodes: what it does not use, another may try.

        It is told at once of what it may no longer try, by what it gave to `subscribe`.
        """
        now = self._refreshed()
        self._leases.keep(run_id, wanted)
        self._scouts.keep(run_id, wanted)
        for name in self._watching.picture.half_open:
            if name in wanted:
                self._ask(run_id, name, now, wanted)
        self._load.settle(run_id, wanted)
        self._tell(run_id)

    def call(self, run_id: str, node: str) -> str | None:
        """The run is about to call a node: from what one at a time may try, it holds all others off until that is over.

        Returns:
            Why it must not: another was quicker, or a user's monitor bars it; it is shown that too. None: it may.
        """
        now = self._refreshed()
        picture = self._watching.picture
        waits = node in picture.half_open and node in self._probed
        if waits or (("veto", node) in picture.words and node not in picture.effects.open):
            self._tell(run_id)
            return PROBED if waits else picture.effects.vetoes[node]
        if node in picture.half_open:
            others = self._leases.call(run_id, node, now, self._seconds((node,)))
            for other in (run_id,) if others is None else others:
                self._tell(other)
            if others is None:
                return HALF_OPEN
        if self._scouts.call(run_id, node, now) or node in self._leases.of(run_id):
            return None
        self._tell(run_id)
        return self._scouts.barred(run_id)[node]

    def tries(self, run_id: str, node: str) -> bool:
        """Return whether the run is the one that tries a half-open node: by one call."""
        return node in self._leases.of(run_id)

    def release(self, run_id: str) -> None:
        """The run is over, however it ended."""
        self._leases.keep(run_id, ())
        self._load.drop(run_id)
        self._scouts.drop(run_id)
        self._seats.pop(run_id, None)

    def subscribe(self, run_id: str, changed: Changed) -> Callable[[], None]:
        """Have *changed* called with a new view whenever vetoes, gates or spent budgets have moved for a run.

        What concerns all runs is held together for a moment (`Publication`). What a run itself has given back or lost
        it is told at once, and so it is of a node that is half-open: from within any method here.

        Returns:
            What ends it.
        """
        self._refreshed()
        seat = self._seats.setdefault(run_id, Seat())
        seat.changed = changed
        its = self._leases.of(run_id)
        if any(not seat.bars(name) and name not in its for name in self._watching.picture.half_open):
            self._tell(run_id)

        def unsubscribe() -> None:
            if seat.changed is changed:
                seat.changed = None

        return unsubscribe

    # --------------------------------------------------------------------------------------------------- what happened

    def record(self, outcome: Outcome) -> bool:
        """Take an outcome to circuits and monitors; True if runs may have to be told. An unknown node is left aside."""
        if outcome.node not in self._graph.by_name:
            return False
        now = self._clock()
        news = self._watching.record(outcome)
        self._load.ended(outcome.run_id, outcome.node)
        tried = self._leases.give_back(outcome.run_id, outcome.node)
        if news or tried or outcome.node in self._watching.picture.half_open:
            self._look(now)
        if tried:
            self._tell(outcome.run_id)
        self._drifting = self._drifting or self._health.measure
        self._called[outcome.node] = None
        return news or tried

    def lag(self, seconds: float) -> None:
        """The event loop came *seconds* late to a wait that ends now."""
        if seconds >= self._health.lag:
            self._watching.lag.measured(seconds, self._clock())
            self._look(self._clock())

    def tick(self) -> float | None:
        """Publish what is due.

        Returns:
            Seconds until the next look is needed if nothing is recorded before; None: it is not.
        """
        now = self._refreshed()
        while self._called:
            self._weigh(self._called.popitem()[0], now)
        if now >= self._looked_at + LOOK:
            self._look(now)
        if self._moves.is_due(now) or now >= self._drift_at():
            self._move(now)
        if self._news.is_due(now):
            self._news = self._news.published()
            for run_id in tuple(self._seats):
                self._tell(run_id)
        times = (self._news.due, self._moves.due, self._watching.good_until, self._leases.next_change())
        ahead = min([at for at in (*times, self._drift_at()) if at is not None])
        return max(ahead - now, 0.0) if ahead < math.inf else None

    def look(self, *, restored: bool = False) -> None:
        """See at once what the circuits were told from elsewhere; *restored* ones move the weights of the next run."""
        self._look(self._clock())
        if restored:
            self._move(self._clock())

    # ---------------------------------------------------------------------------------------------------- what is told

    @property
    def attention(self) -> Signal | None:
        """The signal that takes attention now."""
        self._look(self._clock())
        return self._watching.attention.signal

    @property
    def attended(self) -> tuple[Attended, ...]:
        """What took attention lately, oldest first."""
        return self._watching.attention.past

    def signals(self) -> tuple[Signal, ...]:
        """Return what holds now, by falling score."""
        self._look(self._clock())
        return self._watching.picture.signals

    def ends(self, signal: Signal) -> float | None:
        """Return when *signal* will not hold any more, if its monitor knows."""
        return self._watching.ends.get(signal)

    def rows(self) -> tuple[HealthRow, ...]:
        """Return how each node is, by name."""
        now = self._clock()
        self._look(now)
        picture, ratios = self._watching.picture, self._weighing.ratios
        return tuple(row_of(name, self._circuits, picture, ratios[name], now) for name in self._base_weights)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _refreshed(self) -> float:
        now = self._clock()
        if self._watching.good_until is not None and now >= self._watching.good_until:
            self._look(now)
        self._take_back(now)
        return now

    def _look(self, now: float) -> None:
        before, self._looked_at = self._watching.picture, now
        if moved := self._watching.look(now):
            self._news = self._news.urgent(now) if moved == "word" else self._news.changed(now)
        after = self._watching.picture
        for name in dict.fromkeys((*before.factors, *after.factors)):
            if before.factors.get(name) != after.factors.get(name):
                self._weigh(name, now)
        self._leases.only(after.half_open)
        for name in after.half_open:
            if name not in before.half_open:
                # A run that has not even heard yet that it opened must not try it beside the one that may.
                for run_id, seat in tuple(self._seats.items()):
                    if not seat.bars(name):
                        self._tell(run_id)

    def _weigh(self, name: str, now: float) -> None:
        if self._weighing.is_news(name, now, self._watching.picture.factors.get(name, 1.0)):
            self._moves = self._moves.changed(now)

    def _ask(self, run_id: str, name: str, now: float, wanted: Collection[str]) -> None:
        """Have a run set out for a half-open node: it has as long as that and what comes before it may take."""
        if name not in self._probed:
            self._leases.ask(run_id, name, now, self._seconds(wanted))

    def _seconds(self, wanted: Collection[str]) -> float:
        nodes = [node for node in self._graph.nodes if node.name in wanted]
        return sum(node.attempts * node.timeout + (node.attempts - 1) * node.max_backoff for node in nodes)

    def _take_back(self, now: float) -> None:
        for run_id in self._leases.expire(now):
            self._tell(run_id)

    def _barred(self, run_id: str) -> View:
        """Return what bars the way of a run: what holds for all, and half-open nodes that are not its to try."""
        picture, its = self._watching.picture, self._leases.of(run_id)
        held_off = {name: why for name, why in self._scouts.barred(run_id).items() if name not in its}
        vetoes = {**held_off, **picture.effects.vetoes}
        for name in picture.half_open:
            if name not in its:
                vetoes[name] = PROBED if name in self._probed else HALF_OPEN
        return View(
            "",
            (),
            vetoes=tuple(sorted(vetoes.items())),
            open=tuple(name for name in picture.effects.open if name not in held_off),
            gates=tuple(picture.effects.gates.items()),
            spent=picture.spent,
            concern=self._watching.concern,
        )

    def _weights(self, run_id: str, now: float) -> tuple[Weights, Trails]:
        picture, ratios, weights = self._watching.picture, self._weighing.ratios, dict(self._plain)
        apart = self._watching.headroom.factors(now)
        for name in picture.limited:
            share = self._circuits.share(name)
            # A share of the runs, and not a heavier weight for all: that would be no traffic, and then a herd.
            if drawn(run_id, name) >= share:
                apart[name] = max(apart.get(name, 1.0), 1 / share)
        total = {name: ratios[name] * factor for name, factor in apart.items()}
        for name in self._leases.of(run_id):
            total[name] = min(ratios[name], 1.0) * apart.get(name, 1.0)
        for name in self._weighing.trials(now, {*picture.effects.vetoes, *picture.half_open}):
            total[name] = TRIED * apart.get(name, 1.0)
        weights.update((name, scaled(self._base_weights[name], factor)) for name, factor in total.items())
        for name in self._load.busier(weights, self._base_weights, {*picture.effects.vetoes, *picture.half_open}):
            total[name] = total.get(name, ratios[name]) * ALIKE
            weights[name] = scaled(self._base_weights[name], total[name])
        trails = tuple(
            (source, target, scaled(weight, total.get(source, ratios.get(source, 1.0))))
            for source, target, weight in self._base.trails
        )
        return tuple(weights.items()), trails

    def _tell(self, run_id: str) -> None:
        """Show a run what bars its way, if that has moved since it was last shown."""
        try:
            self._seats.tell(run_id, self._barred(run_id))
        except Exception as error:
            # One run that cannot be told must not keep others from being told.
            self._in_trouble(f"run {run_id} could not be told of a new view: {type(error).__name__}")

    def _move(self, now: float) -> None:
        """Publish weights, for the runs to come."""
        arrived = self._weighing.publish(now, self._watching.picture.factors)
        self._moves, self._moved_at = self._moves.published(), now
        if not arrived:
            self._moves = self._moves.changed(now)
        self._drifting = self._weighing.restless(now)
        self._plain = self._weighed()

    def _weighed(self) -> dict[str, int]:
        """Return the published weights, beside leases, shares and load."""
        return {
            name: scaled(weight, self._weighing.ratios.get(name, 1.0)) for name, weight in self._base_weights.items()
        }

    def _drift_at(self) -> float:
        """Return when weights are looked at again though nothing is recorded."""
        return self._moved_at + self._health.long if self._drifting else math.inf

    def _in_trouble(self, line: str) -> None:
        if self._report is not None:
            with suppress(Exception):
                self._report(line)
