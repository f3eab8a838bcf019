"""How a demo tells its story: headings, lines, and what a run did."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator import RunResult
from orchestrator.cli.steps import route_text, seconds_text, summary
from orchestrator.events import AttemptEnded, Escalated, Failure, Rerouted
from orchestrator.planner import Explanation
from orchestrator.units import MICRO
from shared.processes import Place

__all__ = ("Story", "play")

WIDTH = 100
"""Columns where there is no terminal to ask."""

STYLES = {"met": "bold green", "demoted": "bold yellow", "waiting": "bold yellow"}

PlaceT = TypeVar("PlaceT", bound=Place)


class Story:
    """What is told on the terminal."""

    def __init__(self) -> None:
        self.out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)

    def begin(self, title: str) -> None:
        """Print a heading."""
        self.out.print()
        self.out.rule(Text(title, "bold"), align="left", style="default")

    def say(self, text: str, style: str = "") -> None:
        """Print a line of the story."""
        self.show(Text(text, style))

    def show(self, part: Text | Table) -> None:
        """Print something, indented; a table stands apart."""
        around = 1 if isinstance(part, Table) else 0
        self.out.line(around)
        self.out.print(Padding(part, (0, 0, 0, 2), expand=False))
        self.out.line(around)

    def plan(self, graph: str, explanation: Explanation) -> None:
        """Print the route before anything runs."""
        route = explanation.route
        cost = f"{route.weight / MICRO:g}: ${route.usd:g} and {route.seconds:g} s, at 1 = one cent = one second"
        self.say(f"Graph      {graph}")
        self.say(f"Route      {route_text(route.nodes)}")
        self.say(f"Cost       {cost}")

    def steps(self, result: RunResult) -> None:
        """Print the steps of a run, and what was decided between them, in few words."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("NODE", "TIME", "RESULT"):
            table.add_column(heading, justify="right" if heading == "TIME" else "left")
        for record in result.records:
            match record.event:
                case AttemptEnded(outcome="succeeded") as event:
                    table.add_row(event.node, seconds_text(event.seconds), "ok")
                case AttemptEnded(failure=Failure(type=failure)) as event:
                    table.add_row(event.node, seconds_text(event.seconds), f"failed: {failure}", style="red")
                case Rerouted() as event:
                    table.add_row("  reroute", "", _rerouted(event), style="yellow")
                case Escalated(decision="demote") as event:
                    table.add_row("  demoted", "", f"from {event.goal} to {event.goal_after}", style="yellow")
        self.show(table)

    def end(self, result: RunResult) -> None:
        """Print how a run ended, and what a person is asked."""
        for question in result.questions:
            self.say(f"Question   {question.kind} {question.node}: {question.reason}")
        self.say(f"Result     {summary(result)}", STYLES.get(result.outcome, "bold red"))

    def verdict(self, complaints: list[str], praise: str) -> None:
        """Print what the witnesses object to, or that they agree."""
        for complaint in complaints:
            self.say(complaint, "bold red")
        if not complaints:
            self.say(praise, "bold green")

    def next(self, here: Path, *commands: str) -> None:
        """Print what to try next: each command is for this Python, with ``{here}`` for the example's folder."""
        self.begin("Try next")
        folder, python = os.path.relpath(here), os.path.relpath(sys.executable)
        # Not wrapped: a command must survive being copied.
        lines = [f"  {python} {command.format(here=folder)}" for command in commands]
        self.out.print(*lines, sep="\n", markup=False, soft_wrap=True)


def _rerouted(event: Rerouted) -> str:
    """Say what stands in for the node that failed, and what the rest costs now."""
    new = [name for name in event.after if name not in event.before]
    way = f"{', '.join(new)} instead of {event.node}" if new else f"without {event.node}"
    return f"{way}: {event.weight_after / MICRO:g} instead of {event.weight_before / MICRO:g}"


def play(place: PlaceT, perform: Callable[[PlaceT, Story], Awaitable[list[str]]]) -> int:
    """Open the place, tell the story, close the place; return the exit code: 0 if there are no complaints."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    try:
        with place:
            os.environ.update(place.environ)
            return 1 if anyio.run(perform, place, story) else 0
    except KeyboardInterrupt:
        story.out.print("interrupted", style="bold red")
        return 130
