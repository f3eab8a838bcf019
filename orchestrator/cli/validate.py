"""``orchestrator validate``: what is wrong with graph files, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.output import Exit, print_json
from orchestrator.cli.progress import reading
from orchestrator.errors import SpecError

if TYPE_CHECKING:
    from orchestrator.runtime import Orchestrator

__all__ = ("command",)


@click.command("validate")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Fail for warnings too, such as nodes that do not declare their effect.")
@click.option("--no-resilience", is_flag=True, help="Do not look for what breaks a goal; quicker on large graphs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(files: tuple[Path, ...], strict: bool, no_resilience: bool, as_json: bool) -> None:
    """Check FILES, say what they mean and what their goals survive. Functions are imported, nothing is called."""
    from orchestrator.resilience import assess

    documents: list[dict[str, Any]] = []
    valid = True
    for file in files:
        try:
            with reading(file):
                orchestrator = _load(file)
        except SpecError as error:
            valid = False
            documents.append({"file": str(file), "valid": False, "problems": [p.as_dict() for p in error.problems]})
            if not as_json:
                click.echo(str(error), err=True)
            continue
        found = orchestrator.findings()
        sound = found.count("error") == 0 and not (strict and found.count("warning"))
        valid = valid and sound
        documents.append({"file": str(file), "valid": sound, "problems": [], **found.as_dict()})
        if not as_json:
            click.echo(f"{'ok' if sound else 'not ok'}: {file}")
            click.echo(str(found))
        if not no_resilience:
            resilience = assess(orchestrator.graph, orchestrator.policy)
            documents[-1]["resilience"] = resilience.as_dict()
            if not as_json:
                click.echo(f"\n{resilience}")
    if as_json:
        print_json({"valid": valid, "files": documents})
    raise SystemExit(Exit.MET if valid else Exit.USAGE)


def _load(file: Path) -> Orchestrator:
    from orchestrator.runtime import Orchestrator

    orchestrator = Orchestrator.from_yaml(file)
    orchestrator.check()
    return orchestrator
