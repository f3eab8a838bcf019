"""Health in explanations: what the run log knows of a graph's nodes, and what it changes in a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.units import MICRO

if TYPE_CHECKING:
    from orchestrator.health.rows import HealthRow
    from orchestrator.runtime import Orchestrator
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
        from orchestrator.cli.health import span

        declared, now, out = dict(self.declared.weights), dict(self.view.weights), dict(self.view.vetoes)
        cells = [
            (
                row.node,
                row.state.replace("_", "-"),
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
            why["retries spent"] = None
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
    from orchestrator.health.seen import seen
    from orchestrator.health.stored import rows_of
    from orchestrator.store import Store
    from orchestrator.weight import declared_view

    async def saved() -> Any:
        async with open_store(url) if url is not None else Store.open(store_url(None), patience=PATIENCE) as store:
            return await store.healths(orchestrator.graph.name)

    try:
        found = anyio.run(saved)
    except (RecordError, StoreError) as error:
        if url is not None:
            raise
        click.echo(f"planned as declared: {error}", err=True)
        return None
    rows = [row for each in found for row in rows_of(each.data, each.age) if row.node in orchestrator.graph.by_name]
    if not rows:
        return None
    age, policy = found[0].age, orchestrator.policy
    rows = [orchestrator.redactor.redact(row) for row in rows]
    declared = declared_view(orchestrator.graph, policy.objective)
    measured = policy.health.measure and age <= policy.health.stale
    return KnownHealth(age, tuple(rows), declared, seen(declared, rows, measured=measured))
