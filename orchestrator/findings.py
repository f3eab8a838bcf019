"""Findings: what a graph's author should know, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from orchestrator.export.flow import visible

__all__ = ("SEVERITIES", "Finding", "InferredEdge", "Report", "Severity", "listed")

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Gravest first."""

_SHOWN = 3
"""Findings of one kind that the text shows in full; the others are named only."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the author of a graph should know."""

    code: str
    severity: Severity
    message: str
    subject: str
    """The node, value, goal or input that it is about; for an edge ``source -> target``."""
    help: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready data."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "subject": self.subject,
            "help": self.help,
        }


@dataclass(frozen=True, slots=True)
class InferredEdge:
    """An edge that follows from needs and provides."""

    source: str
    target: str
    value: str
    to_goal: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What `report` found: the graph's shape, its run inputs and edges, and the findings, gravest first."""

    name: str
    shape: str
    """The graph in text, goal by goal."""
    declared: tuple[str, ...]
    """Declared run inputs."""
    inferred: tuple[str, ...]
    """Values that something needs, nobody provides and nobody declared: run inputs as well."""
    inferred_edges: tuple[InferredEdge, ...]
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Return how many findings of *severity* there are."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        return {
            "name": self.name,
            "inputs": {"declared": list(self.declared), "inferred": list(self.inferred)},
            "edges": [
                {"from": edge.source, "to": edge.target, "value": edge.value, "goal": edge.to_goal}
                for edge in self.inferred_edges
            ],
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        lines = [f"graph {visible(self.name)}", "", "goals, best first"]
        lines += [f"  {line}" for line in self.shape.splitlines()]
        lines += ["", "run inputs"]
        lines += [f"  {visible(value)}" for value in self.declared]
        lines += [f"  {visible(value)} (inferred: nobody provides it)" for value in self.inferred]
        lines += [] if self.declared or self.inferred else ["  none"]
        lines += ["", "edges, inferred from needs and provides", *self._edge_lines(), "", *self._finding_lines()]
        return "\n".join(lines)

    def _edge_lines(self) -> Iterator[str]:
        for (target, to_goal, value), edges in groupby(
            self.inferred_edges, key=lambda edge: (edge.target, edge.to_goal, edge.value)
        ):
            names = [visible(edge.source) for edge in edges]
            sources = names[0] if len(names) == 1 else f"{{{' | '.join(names)}}}"
            yield f"  {sources} -> {'goal ' if to_goal else ''}{visible(target)}: {visible(value)}"

    def _finding_lines(self) -> Iterator[str]:
        counts = [(self.count(severity), severity) for severity in SEVERITIES]
        told = ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for count, severity in counts if count)
        yield f"findings: {told or 'none'}"
        for _, group in groupby(self.findings, key=lambda finding: finding.code):
            alike = list(group)
            told_help = None
            for finding in alike[:_SHOWN]:
                yield f"  {finding.severity}[{finding.code}]: {finding.message}"
                if finding.help not in (None, told_help):
                    yield f"    = help: {finding.help}"
                told_help = finding.help
            if alike[_SHOWN:]:
                yield f"    and {len(alike) - _SHOWN} more: {listed(finding.subject for finding in alike[_SHOWN:])}"


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence, each once and set apart."""
    return ", ".join(f"`{visible(name)}`" for name in dict.fromkeys(names))
