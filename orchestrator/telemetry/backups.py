"""Backups in a trace: what would follow if a call under way failed, told on that call's span while it is under way.

The words are those of `orchestrator plan --explain`. Where a node has no backup it is a single point of failure, from
the work done so far; where its domain has none, the domain is.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.planner.backups import Detour
from orchestrator.run import Foreseen
from orchestrator.telemetry import names
from orchestrator.telemetry.span_writer import Attributes
from orchestrator.telemetry.texts import route_text

__all__ = ("backup_attributes",)

NO_WAY = "no way to the goal is left"


def backup_attributes(foreseen: Foreseen, domains: Iterable[str] = ()) -> Attributes:
    """Return what the event of a planned backup says; *domains* are those of the node."""
    alone, domain = foreseen.backup.node, foreseen.backup.domain
    said: Attributes = {names.NODE: foreseen.node, names.BACKUP_FOUND: alone is not None}
    said = {**said, **_way(alone, names.BACKUP_ROUTE, names.BACKUP_WEIGHT, NO_WAY)}
    if not foreseen.shared:
        return {**said, names.BACKUP_PROTECTS: None if alone is None else "node"}
    said = {**said, names.BACKUP_DOMAIN: ", ".join(domains)}
    if _route(alone) == _route(domain):
        return {**said, names.BACKUP_PROTECTS: None if alone is None else "node and domain"}
    return {
        **said,
        names.BACKUP_PROTECTS: None if alone is None else "node",
        names.BACKUP_DOMAIN_FOUND: domain is not None,
        **_way(domain, names.BACKUP_DOMAIN_ROUTE, names.BACKUP_DOMAIN_WEIGHT, f"with all of its domain: {NO_WAY}"),
    }


def _route(detour: Detour | None) -> tuple[str, ...] | None:
    return None if detour is None else detour.route


def _way(detour: Detour | None, route: str, weight: str, none: str) -> Attributes:
    if detour is None:
        return {names.REASON: none}
    return {route: route_text(detour.route), weight: detour.weight}
