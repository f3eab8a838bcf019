"""``orchestrator completion``: the script that teaches a shell this command line."""

from __future__ import annotations

import click

from orchestrator.errors import NotAvailableError

__all__ = ("command",)

SHELLS = ("bash", "zsh", "fish")
# A \b keeps click from filling the lines of a paragraph.
WHERE = """\b
Where each shell looks for it:
  bash  ~/.local/share/bash-completion/completions/orchestrator
  zsh   "${fpath[1]}/_orchestrator"
  fish  ~/.config/fish/completions/orchestrator.fish

\b
  orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish

Then open a new shell. For this one only: source <(orchestrator completion bash)"""


@click.command("completion", epilog=WHERE)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL: commands, options, files, and the nodes and goals of a graph."""
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    completion = get_completion_class(shell)
    if completion is None:  # an application may have taken it away
        raise NotAvailableError(f"there is no completion for {shell}")
    name = "orchestrator"
    click.echo(completion(root.command, {}, name, f"_{name.upper()}_COMPLETE").source(), nl=False)
