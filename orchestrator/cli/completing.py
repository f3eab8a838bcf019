"""What the shell offers after ``--down``, ``--goal`` and ``--policy``: quick, and silent about files that are wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ("goals", "nodes", "policies")

LARGEST = 1_000_000
"""Bytes; a larger file would keep the person at the keyboard waiting."""


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the nodes of FILE."""
    found = _names(ctx, "nodes")
    taken = ctx.params.get(param.name or "") or ()
    return [CompletionItem(name) for name in found if name.startswith(incomplete) and name not in taken]


def goals(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the goals of FILE, best first."""
    return [CompletionItem(name) for name in _names(ctx, "goals") if name.startswith(incomplete)]


def policies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ready-made policies, and files where none of those is meant."""
    from orchestrator.data import policy_names

    found = [CompletionItem(name) for name in policy_names() if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def _names(ctx: click.Context, kind: str) -> list[str]:
    # While an option still waits for its value, click leaves everything else unread in `args`.
    written = [ctx.params.get("file"), *ctx.args]
    try:
        file = next(Path(name) for name in written if name is not None and Path(name).is_file())
        return _read(file)[kind] if file.stat().st_size <= LARGEST else []
    except Exception:  # whatever is wrong with the file, a half-typed command line is no place to say so
        return []


def _read(file: Path) -> dict[str, list[str]]:
    """Return the names in a file as they are written, without checking it; included files cost a real load."""
    from orchestrator.spec.marks import document

    data: Any = document(file.read_bytes(), str(file)).data
    if data.get("include"):
        from orchestrator.spec.load import load_file

        spec = load_file(file, environ=os.environ).spec
        return {"nodes": sorted([*spec.tools, *spec.agents]), "goals": [goal.name for goal in spec.goals]}
    written = {**(data.get("tools") or {}), **(data.get("agents") or {})}
    return {"nodes": sorted(written), "goals": [goal["name"] for goal in data.get("goals") or []]}
