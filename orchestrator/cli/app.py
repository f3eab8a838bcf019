"""The command group: each command is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.output import Exit, report_errors

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ("app",)

COMMANDS = {
    "init": "Write a working project: a graph, tools, tests.",
    "validate": "Check graph files and say what they mean.",
    "plan": "Show the cheapest route to a goal, and why; nothing is called.",
    "run": "Run a graph towards a goal.",
    "runs": "List, show, follow, resume and replay recorded runs.",
    "health": "Show how the nodes of a graph are doing.",
    "approve": "Answer what a waiting run asks.",
    "simulate": "Run a graph on a virtual clock, with fakes and faults.",
    "play": "Break tools and watch the route change; nothing is called.",
    "graph": "Draw a graph as text, Mermaid, DOT or JSON.",
    "doctor": "Check the installation, the environment and a graph file.",
    "tools": "List ready-made tools, and copy them into a project.",
    "schema": "Print the JSON Schema of graph files, for editors.",
    "completion": "Print the completion script for a shell.",
}


class Commands(click.Group):
    """A group that knows its commands by name and loads them on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a newcomer's path."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"orchestrator.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; an unknown one is answered with the closest known."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands without importing them, and the options of the group."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; every error becomes one clear message and an exit code."""
        # Looked up before the command is known: its own reading of the arguments may be what fails.
        json = not {"--json", "--events"}.isdisjoint(ctx.args)
        with report_errors(json=json, verbose=ctx.params["verbose"]):
            return super().invoke(ctx)


EXIT_CODES = f"""\b
Exit codes: {Exit.MET} the asked goal was met · {Exit.FAILED} no goal · {Exit.USAGE} bad usage or file
{Exit.DEMOTED} a lower goal · {Exit.LIMIT} failed for a limit · {Exit.WAITING} waiting for a person
{Exit.INTERRUPTED} interrupted"""


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="orchestrator-runtime", prog_name="orchestrator")
@click.option("-v", "--verbose", is_flag=True, help="Print the traceback of an unexpected error.")
def app(verbose: bool) -> None:
    """Routes tools and agents over a graph by cost, and goes round whatever fails."""
