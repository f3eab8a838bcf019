"""Health in explanations: what the run log knows of a graph's nodes, and what it changes in a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.spans import span
from orchestrator.units import MICRO

if TYPE_CHECKING:
    from orchestrator.health.rows import HealthRow
    from orchestrator.runtime import Orchestrator
    from orchestrator.store import Outage, StoredHealth
    from orchestrator.weight import View

__all__ = ("KnownHealth", "known_health")

PATIENCE = 2.0
"""Seconds for which a plan waits for a run log that nobody has named."""
HEAD = ("node", "state", "declared", "now", "why")


@dataclass(frozen=True, slots=True)
class KnownHealth:
    """What was saved of a graph's nodes, and the view that a run would start with."""

    age: float
    rows: tuple[HealthRow, ...]
    declared: View
    view: View

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data; a node that is out of use has no weight."""
        declared, now = dict(self.declared.weights), dict(self.view.weights)
        vetoes, gates = dict(self.view.vetoes), dict(self.view.gates)
        return {
            "age": self.age,
            "nodes": {
                row.node: {
                    "state": row.state,
                    "out": row.out,
                    "out_for": row.out_for,
                    "declared": declared[row.node] / MICRO,
                    "weight": None if row.node in vetoes else now[row.node] / MICRO,
                    "factor": row.factor,
                    "share": row.share,
                    "veto": vetoes.get(row.node),
                    "gate": gates.get(row.node),
                    "spent": row.spent,
                    "reasons": [asdict(signal) for signal in row.reasons],
                }
                for row in self.rows
            },
        }

    def lines(self) -> list[str]:
        """Tell it: each node's declared weight, its weight now, and why they differ."""
        declared, now, out = dict(self.declared.weights), dict(self.view.weights), dict(self.view.vetoes)
        cells = [
            (
                row.node,
                row.condition,
                f"{declared[row.node] / MICRO:.4g}",
                "-" if row.node in out else f"{now[row.node] / MICRO:.4g}",
                "; ".join(self._why(row)),
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(HEAD, *cells, strict=True)]
        table = [
            f"  {name:<{widths[0]}}  {state:<{widths[1]}}  {was:>{widths[2]}}  {is_:>{widths[3]}}  {why}".rstrip()
            for name, state, was, is_, why in (HEAD, *cells)
        ]
        return [f"health, as of {span(self.age)} ago (--declared leaves it aside):", *table]

    def _why(self, row: HealthRow) -> list[str]:
        vetoes, gates = dict(self.view.vetoes), dict(self.view.gates)
        why = {vetoes[row.node]: None} if row.node in vetoes else {}
        if row.state == "half_open" and row.node not in vetoes:
            why["its next call is the probe"] = None
        if row.node in gates:
            why[f"a person is asked: {gates[row.node]}"] = None
        # What an open circuit said is over once its time is.
        why.update((signal.reason, None) for signal in row.reasons if not signal.open and signal.effect != "gate")
        if row.n and dict(self.view.weights)[row.node] != dict(self.declared.weights)[row.node]:
            why[f"{row.ok:.0f} of {row.n:.0f} succeeded of late{self._took(row)}"] = None
        if row.share < 1:
            why[f"gets {row.share:.0%} of its share"] = None
        if row.spent:
            why["its group's retries are spent"] = None
        return list(why)

    @staticmethod
    def _took(row: HealthRow) -> str:
        return "" if row.latency_ms is None else f", {row.latency_ms:.0f} ms"


def known_health(orchestrator: Orchestrator, url: str | None) -> KnownHealth | None:
    """Return what the run log knows of the graph's nodes; None: nothing, or the policy gives it no say.

    A run log that cannot be read, or soon, is told of, and the plan is made as declared, unless it was named.

    Raises:
        StoreError: The run log *url* cannot be read.
    """
    if not orchestrator.policy.health.use:
        return None
    import anyio

    from orchestrator.cli.store import open_store, store_url
    from orchestrator.errors import RecordError, StoreError
    from orchestrator.store import Store

    async def saved() -> tuple[Sequence[StoredHealth], Sequence[Outage]]:
        async with open_store(url) if url is not None else Store.open(store_url(None), patience=PATIENCE) as store:
            name = orchestrator.graph.name
            return await store.healths(name), await store.outages_since(name, 0)

    try:
        found, outages = anyio.run(saved)
    except (RecordError, StoreError) as error:
        if url is not None:
            raise
        click.echo(f"planned as declared: {error}", err=True)
        return None
    return _recalled(orchestrator, found, outages)


def _recalled(
    orchestrator: Orchestrator, found: Sequence[StoredHealth], outages: Sequence[Outage]
) -> KnownHealth | None:
    """Return health as a process that starts now takes it over."""
    from orchestrator.cli.outages import going_on
    from orchestrator.health.seen import seen
    from orchestrator.health.stored import Revived, Terms, circuits_of
    from orchestrator.spec.defaults import circuits_of as own_circuits
    from orchestrator.spec.defaults import probed
    from orchestrator.weight import declared_view

    saved, age = next(((each.data, each.age) for each in found if circuits_of(each.data) is not None), ({}, 0.0))
    told = going_on(outages)
    if not saved and not told:
        return None
    graph, policy, spec = orchestrator.graph, orchestrator.policy, orchestrator.spec
    terms = Terms(graph, policy, own_circuits(spec, policy))
    try:
        revived = Revived(terms, saved, age, probed=probed(spec))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # saved by another version: the next process measures afresh
    for outage in told:
        revived.hear(outage.node, outage.state, outage.seconds, outage.reason)
    redact = orchestrator.redactor.redact
    rows = tuple(redact(row) for row in revived.board.rows())
    age = age if saved else min(each.ago for each in told)
    return KnownHealth(age, rows, declared_view(graph, policy.objective), redact(seen(revived.board)))
