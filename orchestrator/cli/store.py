"""Where the command line keeps its run log."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.errors import RunNotFoundError

if TYPE_CHECKING:
    from orchestrator.runtime import Orchestrator
    from orchestrator.store import Store, StoredRun

__all__ = ("LOCAL", "find_orchestrator", "open_store", "run_argument", "store_option", "store_url")

F = TypeVar("F", bound=Callable[..., Any])

LOCAL = Path(".orchestrator/runs.db")
"""The run log of a working directory."""

run_argument = click.argument("run", metavar="RUN")
store_option = click.option(
    "--store",
    metavar="URL",
    help="The run log: a file or a URL; default: $ORCHESTRATOR_STORE, else .orchestrator/runs.db.",
)


def store_url(given: str | None, environ: Mapping[str, str] = os.environ) -> str | Path:
    """Return where the run log is: as given, as the environment says, or in the working directory."""
    return given or environ.get("ORCHESTRATOR_STORE") or LOCAL


def open_store(given: str | None) -> Store:
    """Open the run log; it is looked at when it is first used."""
    from orchestrator.store import Store

    return Store.open(store_url(given))


def find_orchestrator(stored: StoredRun, file: Path | None, store: Store) -> Orchestrator:
    """Return an orchestrator that can go on with a recorded run: from the file that it was started from, or another.

    Raises:
        RunNotFoundError: The run was not started from a file that is still there, and no other is named.
    """
    from orchestrator.runtime import Orchestrator

    path = file or (Path(stored.row.source) if stored.row.source else None)
    if path is None:
        raise RunNotFoundError(f"run {stored.row.run_id} was started in code: name a graph file with --file")
    if file is None and not path.is_file():
        raise RunNotFoundError(f"{path}, from which run {stored.row.run_id} was started, is gone: name it with --file")
    return Orchestrator.from_yaml(path, store=store)
