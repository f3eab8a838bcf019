"""What the shell offers after ``--down``, ``--goal`` and ``--policy``, for runs and for their questions.

It is quick, and silent about files and stores that are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from orchestrator.store import RunRow, Store

__all__ = ("answers", "goals", "nodes", "policies", "questions", "runs")

T = TypeVar("T")

LARGEST = 1_000_000
"""Bytes; a larger file would keep the person at the keyboard waiting."""
MOST = 200
"""Runs among which is looked."""
PATIENCE = 1.0
"""Seconds for which a store that is locked or away is waited for."""


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


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the newest runs that the command is about: those that wait to `approve`, those that stopped to `resume`."""
    from orchestrator.cli.store import named

    try:
        found = _ask(ctx, _rows(ctx.info_name or ""))
    except Exception:  # a half-typed command line is no place to say what is wrong with the store
        return []
    offered = ((named(row.run_id).run, row) for row in found)
    return [
        # Who has typed more than is needed is offered the whole id.
        CompletionItem(name if name.startswith(incomplete) else row.run_id, help=f"{row.graph} {row.outcome}")
        for name, row in offered
        if row.run_id.startswith(incomplete)
    ]


def _rows(command: str) -> Callable[[Store], Awaitable[tuple[RunRow, ...]]]:
    async def rows(store: Store) -> tuple[RunRow, ...]:
        if command == "resume":
            return await store.resumable()
        return await store.runs(limit=MOST, outcome="waiting" if command == "approve" else None)

    return rows


def questions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the open questions of RUN."""
    found = _questions(ctx)
    return [CompletionItem(name, help=text) for name, text, _ in found if name.startswith(incomplete)]


def answers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer what may be answered to the open questions of RUN."""
    wanted = ctx.params.get("question")
    options = [option for name, _, options in _questions(ctx) if wanted in (None, name) for option in options]
    return [CompletionItem(option) for option in dict.fromkeys(options) if option.startswith(incomplete)]


def _questions(ctx: click.Context) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return id, reason and options of each open question."""
    from orchestrator.drivers.resuming import recorded

    # While an option still waits for its value, click leaves everything else unread in `args`.
    run = ctx.params.get("run") or next((text for text in ctx.args if not text.startswith("-")), "")

    async def asked(store: Store) -> list[tuple[str, str, tuple[str, ...]]]:
        found = recorded(await store.load(await store.find(run))).questions
        return [(question.id, question.reason, question.options) for question in found]

    try:
        return _ask(ctx, asked) if run else []
    except Exception:  # as above
        return []


def _ask(ctx: click.Context, query: Callable[[Store], Awaitable[T]]) -> T:
    import anyio

    from orchestrator.cli.store import store_url
    from orchestrator.store import Store

    async def main() -> T:
        async with Store.open(store_url(ctx.params.get("store")), patience=PATIENCE) as store:
            return await query(store)

    return anyio.run(main)


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
