"""``orchestrator plan``: the route, and with ``--explain`` the reasons."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.known_health import known_health
from orchestrator.cli.options import (
    file_argument,
    given_inputs,
    goal_option,
    input_options,
    json_option,
    load,
    policy_option,
)
from orchestrator.cli.output import Exit, print_json
from orchestrator.cli.store import store_option
from orchestrator.planner import Explanation
from orchestrator.planner.backups import Detour
from orchestrator.units import MICRO

__all__ = ("command", "explanation_text")


@click.command("plan")
@file_argument
@input_options
@goal_option
@policy_option
@click.option(
    "--explain",
    "reasons",
    is_flag=True,
    help="Show the terms of every weight, the runner-up, what follows each failure.",
)
@click.option("--declared", is_flag=True, help="By declared figures alone, whatever is known of the nodes' health.")
@store_option
@json_option
def command(
    file: Path,
    inputs: tuple[str, ...],
    inputs_file: str | None,
    down: tuple[str, ...],
    goal: str | None,
    policy: str | None,
    reasons: bool,
    declared: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Show the cheapest route to a goal of FILE. Nothing is called; missing inputs are taken as present.

    The weights are those that a run would start with: what the run log knows of the nodes' health is in them.
    """
    orchestrator = load(file, policy, imports=False)
    given = given_inputs(orchestrator.graph, inputs, inputs_file)
    health = None if declared else known_health(orchestrator, store)
    view = None if health is None else health.view
    explanation = orchestrator.plan(goal, down=down, inputs=given, view=view)
    if as_json:
        print_json({**explanation.as_dict(), "health": None if health is None else health.as_dict()})
    else:
        click.echo(explanation_text(explanation, reasons))
        if reasons and health is not None:
            click.echo("\n".join(health.lines()))
    raise SystemExit(Exit.MET if explanation.route.feasible else Exit.FAILED)


def explanation_text(explanation: Explanation, reasons: bool) -> str:
    """Tell a route and why it is the one; with *reasons* every term of its weights, and the runner-up."""
    route = explanation.route
    if not route.feasible:
        lines = [f"goal {route.goal}: no route ({route.reason})"]
    else:
        calls = "1 call" if route.calls == 1 else f"{route.calls} calls"
        proof = "" if route.exact else f", at least {route.bound / MICRO:g}"
        lines = [
            f"goal {route.goal}: weight {route.weight / MICRO:g}{proof}, {calls}, ${route.usd:g}, {route.seconds:g} s",
            f"  {' > '.join(route.nodes) or 'nothing to call'}",
        ]
        if route.verdict == "unproved":
            lines.append("  over the limit: no route within the limits was found within the budget")
    for name, figures in route.limits.items():
        taken = "-" if figures.route is None else f"{figures.route:g}"
        lines.append(f"  limit {name}: {figures.left:g} left, the route takes {taken}, the least is {figures.least:g}")
    if reasons and route.feasible:
        lines += _terms(explanation)
    if explanation.unused:
        lines.append("not used:")
        width = max(map(len, explanation.unused))
        lines += [f"  {name:<{width}}  {reason}" for name, reason in explanation.unused.items()]
    if reasons and explanation.runner_up is not None:
        up = explanation.runner_up
        lines.append(f"runner-up, without {up.without}: weight {up.weight:g}: {' > '.join(up.route)}")
    if reasons and explanation.backups:
        lines += _backups(explanation)
    others = [other for other in explanation.goals if other.goal != route.goal]
    if others:
        texts = [f"{o.goal} {o.weight / MICRO:g}" if o.feasible else f"{o.goal} out of reach" for o in others]
        lines.append(f"other goals: {', '.join(texts)}")
    return "\n".join(lines)


def _backups(explanation: Explanation) -> list[str]:
    """Tell what takes the place of each step that fails, from the work done by then."""
    lines, width = ["if it fails:"], max(map(len, explanation.backups))
    for name, backup in explanation.backups.items():
        lines.append(f"  {name:<{width}}  {_way(backup.node)}")
        if _way(backup.domain) != _way(backup.node):
            lines.append(f"  {'':<{width}}  with all of its domain: {_way(backup.domain)}")
    return lines


def _way(detour: Detour | None) -> str:
    if detour is None:
        return "no way to the goal is left"
    return f"{' > '.join(detour.route) or 'nothing more to call'} ({detour.weight:g})"


def _terms(explanation: Explanation) -> list[str]:
    names = ["node", *explanation.nodes]
    width = max(map(len, names))
    lines = [f"  {'node':<{width}}  {'weight':>8} {'cost':>8} {'success':>8} {'trail':>6} {'edge':>6}  takes"]
    for name, found in explanation.nodes.items():
        takes = ", ".join(
            f"{parameter} from {provider}" if provider else f"{parameter} done without"
            for parameter, provider in found.inputs.items()
        )
        lines.append(
            f"  {name:<{width}}  {found.weight:>8g} {found.cost:>8g} {found.success:>8g} {found.trail:>6g} "
            f"{found.edge:>6g}  {takes}"
        )
        if found.health != 1:
            lines.append(f"  {'':<{width}}  {found.health:>8.3g} times what it declares, by what is measured")
        if found.price:
            lines.append(f"  {'':<{width}}  {found.price:>8g} of it is the price of doing without")
        if found.undo:
            lines.append(f"  {'':<{width}}  {found.undo:>8g} of it is the undo of an abandoned effect")
    if explanation.into_goal:
        lines.append(f"  {'edges into the goal':<{width}}  {explanation.into_goal:g}")
    return lines
