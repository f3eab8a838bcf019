"""What a section of the benchmarks says: tables, and a verdict for every bar."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

__all__ = ("Bar", "Section", "Table", "machine", "page")

PEERS = ("networkx", "rustworkx", "scipy", "langgraph", "langgraph-checkpoint-sqlite")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """Return the table in Markdown."""
        rule = ["---"] * len(self.header)
        return [f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows)]


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise, what was measured, and whether it was kept."""

    promise: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One subject."""

    title: str
    text: str
    tables: Sequence[Table]
    bars: Sequence[Bar] = field(default_factory=tuple)


def machine() -> str:
    """Say what the figures were measured on."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
        processor = names[0] if names else processor
    except OSError:
        pass  # not Linux: the general name will do
    peers = ", ".join(f"{name} {_version(name)}" for name in PEERS)
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}; {peers}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(none)"


def page(sections: Iterable[Section], seconds: float) -> str:
    """Return the whole page in Markdown."""
    sections = list(sections)
    bars = [(section, bar) for section in sections for bar in section.bars]
    verdicts = Table(
        ("subject", "bar", "measured", "verdict"),
        [(s.title, bar.promise, bar.measured, "met" if bar.met else "**not met**") for s, bar in bars],
    )
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. Everything is measured side by side with the peer named, in one",
        "process, in turn (A B A B), and compared round by round: `median [least..greatest]` over the rounds. Only",
        "ratios mean something on another machine, or on this one at another hour; both sides run with the garbage",
        "collector off.",
        "",
        f"Machine: {machine()}. The whole run took {seconds:.0f} s.",
        "",
        *verdicts.lines(),
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.text]
        for table in section.tables:
            lines += ["", *table.lines()]
    return "\n".join(lines) + "\n"
