"""Health as plain data: what is saved of a board, and the board that it is later.

What is saved says what it was made from, so that whoever reads it can make circuits and a board of it again, at its
age: what they say then is what a process that starts then would say. What monitors said is saved beside it, and counts
only for as long as it would have held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from orchestrator.graph import Graph
from orchestrator.health.attention import winner
from orchestrator.health.board import Board
from orchestrator.health.circuits import Circuits
from orchestrator.health.effects import ranked
from orchestrator.health.hearsay import heard_reason
from orchestrator.health.monitors.headroom import REFILL
from orchestrator.health.rows import HealthRow
from orchestrator.health.signal import Signal
from orchestrator.policy import Circuit, Policy

__all__ = ("Known", "Revived", "Terms", "circuits_of", "document", "known", "monitors_of")

LATEST = 10
"""Changes of attention that are saved."""


@dataclass(frozen=True)
class Terms:
    """What circuits and a board are made from."""

    graph: Graph
    policy: Policy
    overrides: Mapping[str, Circuit] = field(default_factory=lambda: MappingProxyType({}))
    """Circuit policies of single nodes."""

    @cached_property
    def data(self) -> dict[str, Any]:
        """The same as JSON-ready data. Of the graph's inputs nothing is needed."""
        return {
            "graph": replace(self.graph, inputs=()).as_dict(),
            "policy": self.policy.model_dump(mode="json"),
            "overrides": {name: circuit.model_dump(mode="json") for name, circuit in self.overrides.items()},
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Terms:
        """Read what `data` wrote; raises `ValueError` or `KeyError` for anything else."""
        overrides = {name: Circuit.model_validate(each) for name, each in data["overrides"].items()}
        return cls(Graph.from_dict(data["graph"]), Policy.model_validate(data["policy"]), overrides)


def document(terms: Terms, circuits: Circuits, board: Board, now: float) -> dict[str, Any]:
    """Return what is saved.

    Args:
        terms: What *circuits* and *board* were made from.
        circuits: The circuits.
        board: The board.
        now: Seconds on their clock.
    """
    signals = [signal for signal in board.signals() if signal in board.monitors.passing]
    return {
        **terms.data,
        "circuits": circuits.snapshot(),
        "monitors": board.monitors.snapshot(now),
        "signals": [{**asdict(each), "left": _left(each, board.ends(each), now, terms.policy)} for each in signals],
        "factors": {row.node: row.factor for row in board.rows() if row.factor != 1.0},
        "attended": [
            {"ago": now - each.at, "signal": None if each.signal is None else asdict(each.signal)}
            for each in board.attended[-LATEST:]
        ],
    }


def _left(signal: Signal, end: float | None, now: float, policy: Policy) -> float:
    """Return for how many seconds a signal holds if nobody says it again."""
    fades = {"lag": policy.health.hold, "headroom": REFILL}
    longest = fades.get(signal.monitor, policy.health.stale)
    return longest if end is None else min(end - now, longest)


def circuits_of(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the snapshot of the circuits; None where there is none."""
    circuits = data.get("circuits")
    return circuits if isinstance(circuits, dict) else None


def monitors_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the snapshot of the monitors; an empty one where there is none."""
    monitors = data.get("monitors")
    return monitors if isinstance(monitors, dict) else {}


class Revived:
    """Circuits and a board as those of a process that starts now, from what was saved.

    Args:
        terms: What they are made from.
        data: What was saved; empty: nothing was.
        age: Seconds since then.
        probed: Nodes with an active probe.
    """

    def __init__(self, terms: Terms, data: Mapping[str, Any], age: float, *, probed: Iterable[str] = ()) -> None:
        # Time stands still: all is as of now.
        self._circuits = Circuits(terms.graph, terms.policy, clock=lambda: 0.0, overrides=terms.overrides)
        self.board = Board(terms.graph, terms.policy, self._circuits, clock=lambda: 0.0, probed=tuple(probed))
        circuits = circuits_of(data)
        if circuits is not None:
            self._circuits.restore(circuits, age=age)
            self.board.monitors.restore(monitors_of(data), -max(age, 0.0))
            self.board.look(restored=True)

    def hear(self, node: str, state: str, seconds: float | None, reason: str) -> None:
        """Take what another process says, as `Circuits.hear`."""
        self._circuits.hear(node, state, seconds, heard_reason(reason))
        self.board.look()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the nodes of a graph."""

    rows: tuple[HealthRow, ...]
    attention: Signal | None
    """What takes attention."""
    attended: tuple[tuple[float, Signal | None], ...]
    """What took it lately, with how many seconds ago, oldest first."""


def known(data: Mapping[str, Any], age: float) -> Known | None:
    """Return what was saved as it is *age* seconds later, if nothing else has happened; None of another version's."""
    try:
        terms = Terms.read(data)
        board = Revived(terms, data, age).board
        said = [_signal(each) for each in data["signals"] if each["left"] > age]
        factors = data["factors"] if age <= terms.policy.health.stale else {}
        rows = tuple(_with(row, said, factors) for row in board.rows())
        past = tuple((each["ago"] + age, each["signal"] and _signal(each["signal"])) for each in data["attended"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return Known(rows, winner([*board.signals(), *said]), past)


def _with(row: HealthRow, said: Iterable[Signal], factors: Mapping[str, float]) -> HealthRow:
    its = [signal for signal in said if signal.node == row.node]
    return replace(row, reasons=ranked([*row.reasons, *its]), factor=factors.get(row.node, row.factor))


def _signal(data: Mapping[str, Any]) -> Signal:
    return Signal(**{each.name: data[each.name] for each in fields(Signal) if each.name in data})
