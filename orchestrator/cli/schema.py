"""``orchestrator schema``: the JSON Schema of graph files."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ("command",)


@click.command("schema")
@click.option("--write", type=click.Path(path_type=Path), metavar="FILE", help="Write it to FILE instead of stdout.")
def command(write: Path | None) -> None:
    """Print the JSON Schema of graph files, for editors."""
    from orchestrator.spec.schema import schema_text

    text = schema_text()
    if write is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        write.write_text(text, encoding="utf-8")
        click.echo(f"wrote {write}; first line of a graph file: # yaml-language-server: $schema={write}", err=True)
