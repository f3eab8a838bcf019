"""``orchestrator tools``: ready-made tools, copied into a project, where they belong to it."""

from __future__ import annotations

import ast
import keyword
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.output import print_json
from orchestrator.data import tool_names, tool_text
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ("command",)

PACKAGE = "tools"
"""What the folder of copied tools is called, and how the entries refer to it as they are written here."""


def _offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names that begin so and are not written yet."""
    from click.shell_completion import CompletionItem

    taken = ctx.params.get(param.name or "") or ()
    found = [name for name in tool_names() if name.startswith(incomplete) and name not in taken]
    return [CompletionItem(name, help=ReadyMade(name).summary) for name in found]


@dataclass(frozen=True)
class ReadyMade:
    """A ready-made tool: what its two files say about it."""

    name: str

    def text(self, suffix: str, package: str = PACKAGE) -> str:
        """Return one of the two files, ``.py`` or ``.yaml``, as a *package* of that name needs it."""
        text = tool_text(self.name, suffix)
        return text.replace(f'"{PACKAGE}.{self.name}:', f'"{package}.{self.name}:') if suffix == ".yaml" else text

    @cached_property
    def summary(self) -> str:
        """The first sentence of its module."""
        docstring = ast.get_docstring(ast.parse(self.text(".py"))) or ""
        return docstring.partition("\n")[0]

    @cached_property
    def _data(self) -> dict[str, Any]:
        from orchestrator.spec.marks import document

        data: dict[str, Any] = document(self.text(".yaml"), f"{self.name}.yaml").data
        return data

    @property
    def entry(self) -> dict[str, Any]:
        """Its keys as under ``tools:``."""
        entry: dict[str, Any] = self._data["tools"][self.name]
        return entry

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that it reads, and what for."""
        return dict(self._data.get("x-environment", {}))

    @property
    def requires(self) -> str | None:
        """What has to be installed beside the package."""
        requires: str | None = self._data.get("x-requires")
        return requires

    def as_dict(self) -> dict[str, Any]:
        """Return what the tool is as JSON-ready data."""
        return {
            "name": self.name,
            "summary": self.summary,
            "needs": list(self.entry["needs"].values()),
            "provides": self.entry["provides"],
            "effect": self.entry["effect"],
            "environment": self.environment,
            "requires": self.requires,
        }


@click.group("tools")
def command() -> None:
    """List ready-made tools, and copy them into a project.

    A tool is two files, a function and its entry for a graph file. Once copied they are yours: read them, change them.
    """


@command.command("list")
@json_option
def list_tools(as_json: bool) -> None:
    """List the ready-made tools."""
    tools = [ReadyMade(name) for name in tool_names()]
    if as_json:
        print_json({"tools": [tool.as_dict() for tool in tools]})
        return
    rows = [("TOOL", "NEEDS", "PROVIDES", "EFFECT", "WHAT IT IS FOR")]
    for tool in tools:
        needs = ", ".join(tool.entry["needs"].values())
        rows.append((tool.name, needs, tool.entry["provides"], tool.entry["effect"], tool.summary))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@command.command("show")
@click.argument("name", shell_complete=_offer)
@json_option
def show(name: str, as_json: bool) -> None:
    """Print the two files of the tool NAME."""
    tool = ReadyMade(name)
    files = {f"{name}{suffix}": tool.text(suffix) for suffix in (".yaml", ".py")}
    if as_json:
        print_json({**tool.as_dict(), "files": files})
        return
    click.echo("\n".join(f"# ---- {file}\n{text}" for file, text in files.items()), nl=False)


@command.command("add")
@click.argument("names", shell_complete=_offer, nargs=-1, required=True, metavar="NAME…")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="FOLDER",
    help="The folder of the graph file; default: this one.",
)
@click.option("--package", default=PACKAGE, show_default=True, metavar="NAME", help="The folder that holds the tools.")
@click.option("--force", is_flag=True, help="Overwrite files that have been changed.")
@json_option
def add(names: tuple[str, ...], into: Path, package: str, force: bool, as_json: bool) -> None:
    """Copy the tools NAME… into a project, and say what to write into its graph file."""
    if (
        not package.isidentifier()
        or keyword.iskeyword(package)
        or package in {*sys.stdlib_module_names, "orchestrator"}
    ):
        raise InputError(f"{package!r} cannot be the name of a package: write a word of your own, such as {PACKAGE}")
    if not into.is_dir():
        raise InputError(f"there is no folder {str(into)!r}: it is the one of the graph file")
    tools = [ReadyMade(name) for name in dict.fromkeys(names)]
    files = {
        into / package / f"{t.name}{suffix}": t.text(suffix, package) for t in tools for suffix in (".py", ".yaml")
    }
    written, unchanged = _write(files, into / package, force=force)
    include = [f"{package}/{tool.name}.yaml" for tool in tools]
    environment = {name: what for tool in tools for name, what in tool.environment.items()}
    requires = [tool.requires for tool in tools if tool.requires is not None]
    if as_json:
        print_json(
            {
                "written": [path.as_posix() for path in written],
                "unchanged": [path.as_posix() for path in unchanged],
                "allow": [package],
                "include": include,
                "environment": environment,
                "requires": requires,
            }
        )
        return
    for path in written:
        click.echo(f"wrote {path}", err=True)
    for path in unchanged:
        click.echo(f"{path} is there already", err=True)
    for requirement in requires:
        click.echo(f"install {requirement}", err=True)
    for name, what in environment.items():
        click.echo(f"set {name}: {what}", err=True)
    click.echo("write into the graph file:", err=True)
    click.echo(f"imports: {{allow: [{package}]}}\ninclude: [{', '.join(include)}]")


def _write(files: dict[Path, str], folder: Path, *, force: bool) -> tuple[list[Path], list[Path]]:
    """Write what is not there yet, all or nothing; returns what was written and what was there already.

    Raises:
        InputError: A file of this name holds something else, or cannot be written.
    """
    try:
        # A package of its own: a folder without it gives way to any installed package of the same name.
        marker = folder / "__init__.py"
        if not marker.exists():
            files = {marker: "", **files}
        there = {path: path.read_text(encoding="utf-8") for path in files if path.exists()}
        changed = [path for path, text in there.items() if text != files[path]]
        if changed and not force:
            names = ", ".join(str(path) for path in changed)
            raise InputError(f"nothing was written: {names} would be overwritten; --force does it")
        folder.mkdir(exist_ok=True)
        written = [path for path in files if path not in there or path in changed]
        for path in written:
            path.write_text(files[path], encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot write the tools: {error}") from None
    return written, [path for path in files if path not in written]
