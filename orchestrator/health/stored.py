"""Health as plain data: what is saved of a board, and the rows that are shown of it later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Any

from orchestrator.health.rows import HealthRow
from orchestrator.health.signal import Signal

__all__ = ("attention_of", "circuits_of", "document", "monitors_of", "rows_of")


def document(
    circuits: Mapping[str, Any],
    rows: Iterable[HealthRow],
    attention: Signal | None = None,
    monitors: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return what is saved.

    Args:
        circuits: A snapshot of them, for the next process.
        rows: How each node is, for people.
        attention: The signal that takes attention.
        monitors: A snapshot of what they have learnt, for the next process.
    """
    return {
        "circuits": dict(circuits),
        "monitors": dict(monitors),
        "rows": [asdict(row) for row in rows],
        "attention": None if attention is None else asdict(attention),
    }


def circuits_of(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the snapshot of the circuits; None where there is none."""
    circuits = data.get("circuits")
    return circuits if isinstance(circuits, dict) else None


def monitors_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the snapshot of the monitors; an empty one where there is none."""
    monitors = data.get("monitors")
    return monitors if isinstance(monitors, dict) else {}


def rows_of(data: Mapping[str, Any], age: float) -> tuple[HealthRow, ...]:
    """Return the rows as they are *age* seconds later, if nothing else has happened; none of another version's."""
    try:
        rows = [_row(each) for each in data.get("rows", ())]
    except (TypeError, AttributeError, KeyError):
        return ()
    return tuple(_later(row, age) for row in rows)


def attention_of(data: Mapping[str, Any]) -> Signal | None:
    """Return the signal that took attention; None where none did."""
    try:
        return _signal(data["attention"])
    except (TypeError, AttributeError, KeyError):
        return None


def _row(data: Mapping[str, Any]) -> HealthRow:
    known = {field.name: data[field.name] for field in fields(HealthRow) if field.name in data}
    return HealthRow(**{**known, "reasons": tuple(_signal(each) for each in data["reasons"])})


def _signal(data: Mapping[str, Any]) -> Signal:
    return Signal(**{field.name: data[field.name] for field in fields(Signal) if field.name in data})


def _later(row: HealthRow, age: float) -> HealthRow:
    left = max(row.open_for - age, 0.0)
    ago = None if row.last_error_ago is None else row.last_error_ago + age
    # A circuit whose time is over waits for its probe.
    state = "half_open" if row.state == "open" and left == 0 else row.state
    return replace(row, state=state, open_for=left, last_error_ago=ago)
