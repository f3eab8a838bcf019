"""What ``orchestrator doctor`` says of the run log: where it is, whether it can be written, what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from orchestrator.cli.checks import Check
from orchestrator.cli.reach import bounded
from orchestrator.cli.store import store_url

__all__ = ("run_log_checks",)

SQLITE = "sqlite:///"
NAMED = 3
"""Unfinished runs that are named; of more, only the number is told."""
SECONDS = 5.0
"""Time for a look into the store: a server that is away, a file that is locked."""


class Sizes(Protocol):
    """How much a store holds."""

    runs: int
    records: int
    values: int
    bytes: int


def run_log_checks(environ: Mapping[str, str]) -> Iterator[Check]:
    """Look at the run log; nothing is created for it."""
    url = str(store_url(None, environ))
    in_file = url.startswith(SQLITE) or "://" not in url
    path = Path(url.removeprefix(SQLITE)).expanduser() if in_file else None
    place = str(path) if path is not None else _shown(url)
    if path is not None:
        blocked = _unwritable(path)
        if blocked is not None:
            yield Check("run log", "fail", f"{blocked} cannot be written", "change its rights, or ORCHESTRATOR_STORE")
            return
    if (path is not None and not path.exists()) or find_spec("orchestrator.store") is None:
        yield Check("run log", "ok", f"no run log here yet: {place}")
        return
    import anyio

    try:
        sizes, unfinished = bounded(lambda: anyio.run(_look, url), SECONDS)
    except Exception as error:  # whatever keeps the store from opening is what the person has to know
        yield Check("run log", "fail", f"{place} cannot be read: {_why(error)}", "see ORCHESTRATOR_STORE")
        return
    held = f"{sizes.runs} runs, {sizes.records} records, {sizes.values} values, {_bytes_text(sizes.bytes)}"
    yield Check("run log", "ok", f"{place}: {held}")
    if unfinished:
        named = ", ".join(unfinished[:NAMED]) + (", …" if len(unfinished) > NAMED else "")
        text = f"{len(unfinished)} run{'s' * (len(unfinished) > 1)} did not finish: {named}"
        yield Check("unfinished runs", "warn", text, "orchestrator runs resume --all")
    else:
        yield Check("unfinished runs", "ok", "none")


async def _look(url: str) -> tuple[Sizes, list[str]]:
    """Return what the store holds, and the runs that wait to be resumed."""
    store = import_module("orchestrator.store").Store.open(url)
    try:
        return await store.sizes(), [run.run_id for run in await store.resumable()]
    finally:
        await store.aclose()


def _bytes_text(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"


def _unwritable(path: Path) -> Path | None:
    """Return what may not be written: the file, or the nearest folder that is there."""
    if path.exists():
        return None if os.access(path, os.W_OK) else path
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    return None if os.access(folder, os.W_OK) and folder.is_dir() else folder


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it: user, password and parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _why(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text or type(error).__name__
