"""``orchestrator graph``: the graph, drawn."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import down_option, file_argument, goal_option, load, policy_option
from orchestrator.cli.output import print_json

__all__ = ("command",)

FORMATS = ("text", "mermaid", "dot", "json")


@click.command("graph")
@file_argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--route", is_flag=True, help="Mark the cheapest route.")
@down_option
@goal_option
@policy_option
def command(
    file: Path, form: str, as_json: bool, route: bool, down: tuple[str, ...], goal: str | None, policy: str | None
) -> None:
    """Draw FILE as text, as Mermaid or DOT for a picture, or as node-link JSON."""
    from orchestrator.export import to_dot, to_mermaid, to_node_link, to_text

    orchestrator = load(file, policy, imports=False)
    graph, objective = orchestrator.graph, orchestrator.policy.objective
    planned = orchestrator.plan(goal, down=down).route if route or down or goal else None
    if as_json or form == "json":
        print_json(to_node_link(graph))
    elif form == "text":
        click.echo(to_text(graph, objective=objective))
        if planned is not None:
            click.echo(f"route: {' > '.join(planned.nodes)}" if planned.feasible else f"no route: {planned.reason}")
    else:
        draw = to_mermaid if form == "mermaid" else to_dot
        marked = None
        if planned is not None and planned.feasible:
            marked = {**planned.sources, planned.goal: planned.goal_sources}
        click.echo(draw(graph, route=marked, down=down, objective=objective), nl=False)
