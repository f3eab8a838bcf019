"""What ``orchestrator doctor`` says of the run log: where it is, whether it can be written, what it holds."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.cli.checks import Check

__all__ = ("DEFAULT", "run_log_checks", "store_url")

DEFAULT = "sqlite:///.orchestrator/runs.db"
SQLITE = "sqlite:///"
NAMED = 3
"""Unfinished runs that are named; of more, only the number is told."""
SECONDS = 5.0


def store_url(environ: Mapping[str, str]) -> str:
    """Return the URL of the run log: the environment's, or the one in the working directory."""
    return environ.get("ORCHESTRATOR_STORE") or DEFAULT


def run_log_checks(environ: Mapping[str, str]) -> Iterator[Check]:
    """Look at the run log; nothing is created for it."""
    url = store_url(environ)
    path = Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None
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
        sizes, unfinished = anyio.run(_look, url)
    except Exception as error:  # whatever keeps the store from opening is what the person has to know
        yield Check("run log", "fail", f"{place} cannot be read: {_why(error)}", "see ORCHESTRATOR_STORE")
        return
    yield Check("run log", "ok", f"{place}: {', '.join(_told(name, size) for name, size in sizes.items())}")
    if unfinished:
        named = ", ".join(unfinished[:NAMED]) + (", …" if len(unfinished) > NAMED else "")
        text = f"{len(unfinished)} run{'s' * (len(unfinished) > 1)} did not finish: {named}"
        yield Check("unfinished runs", "warn", text, "orchestrator runs resume --all")
    else:
        yield Check("unfinished runs", "ok", "none")


async def _look(url: str) -> tuple[Mapping[str, Any], list[str]]:
    """Return what the store holds, and the runs that wait to be resumed."""
    import anyio

    with anyio.fail_after(SECONDS):
        opened = import_module("orchestrator.store").Store.open(url)
        store = await opened if inspect.isawaitable(opened) else opened
        try:
            sizes = await store.sizes()
            runs = [str(getattr(run, "run_id", run)) for run in await store.resumable()]
        finally:
            closed = getattr(store, "aclose", getattr(store, "close", lambda: None))()
            if inspect.isawaitable(closed):
                await closed
    return _as_map(sizes), runs


def _as_map(sizes: Any) -> Mapping[str, Any]:
    if isinstance(sizes, Mapping):
        return sizes
    if dataclasses.is_dataclass(sizes) and not isinstance(sizes, type):
        return dataclasses.asdict(sizes)
    return {"size": sizes}


def _told(name: str, size: Any) -> str:
    label = name.replace("_", " ")
    if isinstance(size, int) and "bytes" in label:
        unit, amount = next(
            (u, size / n) for u, n in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1)) if size >= n or n == 1
        )
        return f"{amount:.3g} {unit}"
    return f"{size} {label}"


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
