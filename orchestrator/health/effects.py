"""What follows from all signals together, by one rule.

- A node is vetoed if any signal vetoes it, and a call of it needs a person's yes if any signal gates it: unions, and no
  score masks them. A run's last chance may pass a veto only if every veto of the node comes from an open circuit.
- Factors multiply. Their product with what is measured is bounded (`orchestrator.health.weighing`).
- The highest score takes attention (`orchestrator.health.attention`), and has no say in this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.health.attention import rank
from orchestrator.health.signal import Signal
from orchestrator.weight import View

__all__ = ("Effects", "combine", "factors", "ranked")


@dataclass(frozen=True, slots=True)
class Effects:
    """What holds for every run alike; nodes by name."""

    vetoes: dict[str, str] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    gates: dict[str, str] = field(default_factory=dict)


def ranked(signals: Iterable[Signal]) -> tuple[Signal, ...]:
    """Return *signals* by falling score; of equal ones by monitor, then node."""
    return tuple(sorted(signals, key=rank))


def combine(signals: Iterable[Signal], base: View) -> Effects:
    """Return the vetoes and gates of *base* and of *signals*; where several say the same, the highest score's reason.

    >>> risk, circuit = Signal("risk", "pay", 0.95, "15000", "gate"), Signal("circuit", "mail", 0.99, "open", "veto")
    >>> effects = combine([risk, circuit], View("declared", ()))
    >>> effects.gates, effects.vetoes
    ({'pay': '15000'}, {'mail': 'open'})
    """
    vetoes, gates = dict(base.vetoes), dict(base.gates)
    passable = dict.fromkeys(base.open, True)
    for name in vetoes:
        passable.setdefault(name, False)
    for signal in ranked(signals):
        if signal.effect == "veto":
            vetoes.setdefault(signal.node, signal.reason)
            passable[signal.node] = passable.get(signal.node, True) and signal.open
        elif signal.effect == "gate":
            gates.setdefault(signal.node, signal.reason)
    names = sorted(vetoes)
    return Effects(
        {name: vetoes[name] for name in names},
        tuple(name for name in names if passable[name]),
        {name: gates[name] for name in sorted(gates)},
    )


def factors(signals: Iterable[Signal]) -> dict[str, float]:
    """Return the product of each node's factors."""
    found: dict[str, list[float]] = {}
    for signal in ranked(signals):
        if signal.effect == "factor":
            found.setdefault(signal.node, []).append(signal.factor)
    return {node: math.prod(each) for node, each in found.items()}
