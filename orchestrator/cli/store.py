"""Where the command line keeps its run log, and how it names what is in it."""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from orchestrator.cli.options import offer
from orchestrator.errors import RecordError, RunNotFoundError

if TYPE_CHECKING:
    from orchestrator.runtime import Orchestrator
    from orchestrator.store import Store, StoredRun

__all__ = (
    "LOCAL",
    "Named",
    "file_option",
    "find_orchestrator",
    "named",
    "open_store",
    "run_argument",
    "store_option",
    "store_url",
)

F = TypeVar("F", bound=Callable[..., Any])

LOCAL = Path(".orchestrator/runs.db")
"""The run log of a working directory."""
SHORT = 8
"""Characters by which a run is called whose id is a UUID."""

run_argument = click.argument("run", metavar="RUN", shell_complete=offer("runs"))
store_option = click.option(
    "--store",
    metavar="URL",
    help="The run log: a file or a URL; default: $ORCHESTRATOR_STORE, else .orchestrator/runs.db.",
)
file_option = click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The graph file, where it is not the one that the run was started from.",
)


class Named(NamedTuple):
    """What a command that goes on with a run has to name: the run, and the options without which it is not found."""

    run: str
    options: str = ""


def named(run_id: str, store: str | None = None, file: Path | None = None) -> Named:
    """Return what a person has to type to name a run.

    Args:
        run_id: The run.
        store: The run log, where it was given as an option.
        file: The graph file, where it was given as an option.
    """
    options = "" if store is None else f" --store {_typed(store)}"
    if file is not None:
        options += f" --file {shlex.quote(str(file))}"
    try:
        short = run_id[:SHORT] if str(uuid.UUID(run_id)) == run_id else run_id
    except ValueError:
        short = run_id  # a name that somebody gave may begin like others
    return Named(shlex.quote(short), options)


def _typed(url: str) -> str:
    from orchestrator.redact import MASK
    from orchestrator.store.address import read_address

    return "URL" if MASK in read_address(url).shown else shlex.quote(url)


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
        RecordError: The run's policy is not understood.
    """
    from pydantic import ValidationError

    from orchestrator.events import RunStarted
    from orchestrator.policy import Policy
    from orchestrator.runtime import Orchestrator

    row, first = stored.row, stored.records[0].event
    path = file or (Path(row.source) if row.source else None)
    if path is None:
        raise RunNotFoundError(f"run {row.run_id} was started in code: name a graph file with --file")
    if file is None and not path.is_file():
        raise RunNotFoundError(f"{path}, from which run {row.run_id} was started, is gone: name it with --file")
    try:
        # Not the file's own: the run may have been started under another, and that says which model decides.
        policy = Policy.model_validate(first.policy) if isinstance(first, RunStarted) else None
    except ValidationError:
        raise RecordError(
            f"the policy of run {row.run_id} was recorded by another version of orchestrator; "
            "go on with the run under that version"
        ) from None
    return Orchestrator.from_yaml(path, policy=policy, store=store)
