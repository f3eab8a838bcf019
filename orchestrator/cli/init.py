"""``orchestrator init``: a working project, and what to type next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.output import print_json
from orchestrator.errors import InputError

__all__ = ("command",)

SCHEMA = "orchestrator.schema.json"
NEXT = (
    ("orchestrator validate graph.yaml", "what the file means"),
    ("orchestrator play graph.yaml", "break tools"),
    ("orchestrator run graph.yaml -i question=warranty", "the wiki steps in"),
    ("python -m pytest", "the tests of the graph"),
)


@click.command("init")
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=Path())
@click.option("--force", is_flag=True, help="Overwrite files that are in the way.")
@json_option
def command(directory: Path, force: bool, as_json: bool) -> None:
    """Write a working project into DIR (default: here): a graph, its tools and their tests.

    It needs no network and no key, and shows a reroute and a demotion. Without --force nothing is overwritten.
    """
    from orchestrator.data import PROJECT, project_text
    from orchestrator.spec.schema import schema_text

    texts = {name: project_text(name) for name in PROJECT} | {SCHEMA: schema_text()}
    _refuse(directory, list(texts), force)
    for name, text in texts.items():
        _write(directory / name, text)
    steps = [step for step, _ in NEXT]
    if directory != Path():
        steps.insert(0, f"cd {shlex.quote(str(directory))}")
    if as_json:
        print_json({"directory": str(directory), "files": list(texts), "next": steps})
        return
    click.echo(f"wrote a project to {directory}:" if directory != Path() else "wrote a project:")
    for name in texts:
        click.echo(f"  {name}")
    click.echo("\nnext:")
    width = max(len(step) for step, _ in NEXT)
    told = dict(NEXT)
    for step in steps:
        click.echo(f"  {step:<{width}}  # {told[step]}" if step in told else f"  {step}")


def _refuse(directory: Path, names: list[str], force: bool) -> None:
    """Raise `InputError` if the project cannot be written as a whole; nothing is written for it."""
    if os.path.lexists(directory) and not directory.is_dir():
        raise InputError(f"{directory} is a file; name a folder")
    folders = {parent for name in names for parent in Path(name).parents} - {Path()}
    blocked = [str(folder) for folder in folders if os.path.lexists(directory / folder)]
    blocked = [name for name in blocked if not (directory / name).is_dir()]
    blocked += [name for name in names if (directory / name).is_dir()]
    there = [name for name in names if os.path.lexists(directory / name)]
    if blocked:
        listed = "\n".join(f"  {name}" for name in sorted(blocked))
        raise InputError(f"{directory} holds a file where a folder has to be, or the other way round:\n{listed}")
    if there and not force:
        listed = "\n".join(f"  {name}" for name in sorted(there))
        raise InputError(
            f"these files are in the way in {directory}, and nothing was written:\n{listed}\n"
            "name another folder, or overwrite them with --force"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
