"""All monitors of a graph together: what they say now, and what follows for every run alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.graph import Graph
from orchestrator.health.attention import Attention
from orchestrator.health.circuits import Circuits
from orchestrator.health.effects import Effects, combine, factors, ranked
from orchestrator.health.monitors import Says, Watch
from orchestrator.health.monitors.contracts import Contracts
from orchestrator.health.monitors.domains import Domains
from orchestrator.health.monitors.headroom import Headroom
from orchestrator.health.monitors.lag import Lag
from orchestrator.health.monitors.latency import Latency
from orchestrator.health.monitors.outcomes import Outcomes
from orchestrator.health.monitors.users import UserMonitor
from orchestrator.health.outcome import Outcome
from orchestrator.health.signal import Signal
from orchestrator.policy import Policy
from orchestrator.weight import Concern, View

__all__ = ("Picture", "Watching")

VERSION = 1
"""Of a snapshot."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What holds at one moment; nodes by name."""

    signals: tuple[Signal, ...] = ()
    effects: Effects = field(default_factory=Effects)
    factors: dict[str, float] = field(default_factory=dict)
    """Products of the factors that say what a node is worth."""
    half_open: tuple[str, ...] = ()
    """Nodes that one run at a time may try, unless a monitor vetoes them."""
    limited: tuple[str, ...] = ()
    """Nodes that are to get only a share of their traffic."""
    spent: tuple[str, ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    """What monitors of users bar: (veto or gate, node)."""

    def bars_like(self, other: Picture) -> bool:
        """Return whether the same nodes are barred as in *other*, in whichever words."""
        return self._bars == other._bars

    @property
    def _bars(self) -> tuple[tuple[str, ...], ...]:
        effects = self.effects
        return tuple(effects.vetoes), effects.open, tuple(effects.gates), self.half_open, self.spent


class Watching:
    """The monitors, fed and asked together.

    Args:
        graph: The nodes.
        policy: Its groups `circuit` and `health`.
        circuits: What the monitors look at beside outcomes.
        base: The view whose vetoes, gates and spent nodes always hold.
        peers: The substitutes of each node.
        users: The monitors of users.
    """

    def __init__(
        self,
        graph: Graph,
        policy: Policy,
        circuits: Circuits,
        base: View,
        peers: Mapping[str, tuple[str, ...]],
        users: tuple[UserMonitor, ...],
    ) -> None:
        self._nodes = graph.by_name
        self._circuits = circuits
        self._base = base
        self.latency = Latency(policy, peers)
        self.headroom = Headroom()
        self.lag = Lag(policy.health.lag, policy.health.hold)
        self.attention = Attention()
        self.ends: dict[Signal, float] = {}
        """When a signal will not hold any more, of those whose monitor knows."""
        self.passing: tuple[Signal, ...] = ()
        """What does not follow from what is saved, so that the next process will not know it."""
        self.picture = Picture()
        self.good_until: float | None = None
        """When time alone will change the picture."""
        # These say what a node is worth. The others are apart: vetoes, or seconds and shares that are figures already.
        self.contracts = Contracts(policy.circuit, peers, policy.health.prior)
        judges: tuple[Watch, ...] = (self.contracts, Domains(graph, policy.circuit, circuits))
        outcomes = Outcomes(circuits, peers)
        others: tuple[Watch, ...] = (outcomes, self.latency, self.headroom, self.lag)
        self._saved: tuple[Says, ...] = (outcomes, self.contracts, self.latency)
        # The others take no note of outcomes.
        self._unhurried: tuple[Watch, ...] = (*judges, self.headroom)
        self._watches: tuple[Watch, ...] = (*judges, self.latency, self.headroom)
        self._users = users
        self._judges: tuple[Says, ...] = (*judges, *users)
        self._others: tuple[Says, ...] = others

    def record(self, outcome: Outcome) -> bool:
        """Take an outcome to circuits and monitors; True if the picture may have changed."""
        lagging = self.lag.excuses(outcome, self._nodes[outcome.node].timeout)
        news = self._circuits.record(outcome, lagging=lagging)
        heard = replace(outcome, evidence="cancelled") if lagging else outcome
        # A late loop makes every call look slow.
        for watch in self._watches if not self.lag.slowed(outcome) else self._unhurried:
            news = watch.record(heard) or news
        spent = outcome.node in self.picture.spent and outcome.node not in self._base.spent
        return news or self._circuits.retryable(outcome.node) == spent

    def look(self, now: float) -> Literal["word", "bars"] | None:
        """Ask every monitor; tell if others are barred than before, and first of all by a user's word."""
        before = self.picture
        said = {each: tuple(each.signals(now)) for each in (*self._judges, *self._others)}
        judged = [signal for each in self._judges for signal in said[each]]
        others = [signal for each in self._others for signal in said[each]]
        signals = ranked([*judged, *others])
        effects = combine(signals, self._base)
        self.picture = Picture(
            signals,
            effects,
            factors(judged),
            self._named(lambda name: name not in effects.vetoes and self._circuits.state(name) == "half_open"),
            self._named(lambda name: self._circuits.share(name) < 1.0),
            self._named(lambda name: name in self._base.spent or not self._circuits.retryable(name)),
            _barring(signal for each in self._users for signal in said[each]),
        )
        self.attention.compete(signals, now)
        times = {each: at for each in said if (at := each.next_change(now)) is not None and at > now}
        self.good_until = min(times.values(), default=None)
        self.ends = {signal: at for each, at in times.items() for signal in said[each]}
        self.passing = tuple(signal for each in said if each not in self._saved for signal in said[each])
        if self.picture.words != before.words:
            return "word"
        return None if self.picture.bars_like(before) else "bars"

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return what monitors have learnt, and nobody else knows, as JSON-ready data; times are ages."""
        return {
            "version": VERSION,
            "contracts": self.contracts.snapshot(now),
            "latency": self.latency.snapshot(now),
        }

    def restore(self, data: Mapping[str, Any], then: float, *, leave: Collection[str] = ()) -> None:
        """Take over what `snapshot` wrote, in this or another process, as the circuits do.

        Args:
            data: The snapshot; one of another version is left aside.
            then: When its ages hold.
            leave: Nodes to leave as they are.
        """
        if data.get("version") == VERSION:
            wanted = [name for name in self._nodes if name not in leave]
            for monitor, known in ((self.contracts, data["contracts"]), (self.latency, data["latency"])):
                monitor.restore({name: known[name] for name in wanted if name in known}, then)

    @property
    def concern(self) -> Concern | None:
        """What takes attention, as views say it."""
        won = self.attention.signal
        return None if won is None else Concern(won.monitor, won.node, won.score, won.reason)

    def _named(self, holds: Callable[[str], bool]) -> tuple[str, ...]:
        return tuple(name for name in self._nodes if holds(name))


def _barring(signals: Iterable[Signal]) -> tuple[tuple[str, str], ...]:
    """Return the vetoes and gates among *signals*, whatever their reasons."""
    return tuple(sorted(dict.fromkeys((each.effect, each.node) for each in signals if each.effect in ("veto", "gate"))))
