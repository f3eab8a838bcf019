"""``orchestrator play``: break tools and watch the route change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import file_argument, load, policy_option
from orchestrator.cli.output import Exit, print_table
from orchestrator.cli.playing import COMMANDS, Line, Misunderstood, Playing, read_line

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.cli.standing import Standing
    from orchestrator.runtime import Orchestrator

__all__ = ("command",)

PROMPT = "play> "


@click.command("play")
@file_argument
@policy_option
def command(file: Path, policy: str | None) -> None:
    """Break the tools of FILE and watch the route change. Nothing is called; no network, no key.

    Lines may also come from a pipe:  echo "fail web; run" | orchestrator play graph.yaml
    """
    game = Game(load(file, policy, imports=False))
    typed = sys.stdin.isatty() and sys.stdout.isatty()
    game.begin(hint=typed)
    understood = True
    for line in _typed(game.playing) if typed else _piped(game):
        for part in line.split(";"):
            try:
                if game.take(part) is False:
                    raise SystemExit(Exit.MET)
            except Misunderstood as error:
                understood = False
                click.echo(f"? {error}")
            except KeyboardInterrupt:
                click.echo("\ninterrupted")
    raise SystemExit(Exit.MET if typed or understood else Exit.USAGE)


class Game:
    """A graph that is played with, and what is shown of it."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        from orchestrator.cli.standing import Theatre

        self.orchestrator = orchestrator
        self.playing = Playing(orchestrator.graph)
        self.theatre = Theatre(orchestrator.graph, orchestrator.policy)
        self.console = _console()
        self.drawn: Standing | None = None
        self.runs = 0

    def begin(self, *, hint: bool) -> None:
        """Show the graph as it is."""
        count = len(self.orchestrator.graph.nodes)
        self.print(f"graph {self.orchestrator.graph.name}, {count} node{'s' * (count != 1)}; nothing is called")
        self.draw()
        if hint:
            self.print("type fail, slow, wrong, flaky … and a node; help for the list, TAB completes")

    def take(self, text: str) -> bool:
        """Follow one command; returns False where it ends the game.

        Raises:
            Misunderstood: It cannot be followed.
        """
        line = read_line(text)
        if line is None:
            return True
        if line.changes:
            self.print(self.playing.change(line))
            self.draw()
            return True
        if line.command != "run" and line.words:
            raise Misunderstood(f"{line.command} stands alone, without {line.words[0]!r}")
        if line.command == "quit":
            return False
        told: dict[str, Callable[[], None]] = {
            "run": lambda: self.run(line),
            "plan": lambda: self.explain(reasons=False),
            "why": lambda: self.explain(reasons=True),
            "help": self.help,
        }
        told[line.command]()
        return True

    def draw(self) -> None:
        """Draw how things stand, beside how they stood when they were drawn last."""
        scene = self.playing.scene
        now = self.theatre.standing(scene)
        for text in self.theatre.draw(now, self.drawn, self.theatre.run(scene, self.runs)):
            self.console.print(text, soft_wrap=not self.console.is_terminal)
        self.drawn = now

    def explain(self, *, reasons: bool) -> None:
        """Print the plan of the scene, with reasons."""
        from orchestrator.cli.plan import explanation_text

        standing = self.drawn or self.theatre.standing(self.playing.scene)
        found = self.orchestrator.plan(standing.route.goal, down=standing.out)
        self.print(explanation_text(found, reasons))

    def run(self, line: Line) -> None:
        """Simulate a run and tell its story, or many and sum them up."""
        from orchestrator.cli.steps import step_table, summary

        number = _count(line)
        scene = self.playing.scene
        if number is not None:
            self._many(number)
            return
        result = self.theatre.run(scene, self.runs)
        self.runs += 1
        print_table(self.console, step_table(result))
        self.print(summary(result))
        for question in result.questions:
            self.print(f"? {question.id}: {question.reason}")

    def _many(self, number: int) -> None:
        from orchestrator.cli.progress import counted
        from orchestrator.cli.simulate import Totals

        totals = Totals()
        try:
            with counted(number, "simulating") as numbers:
                for each in numbers:
                    totals.add(self.theatre.run(self.playing.scene, self.runs + each))
        except KeyboardInterrupt:
            self.print(f"interrupted after {totals.runs} of {number} runs")
        self.runs += totals.runs
        if totals.runs:
            self.print(str(totals))

    def help(self) -> None:
        """List what may be typed."""
        width = max(len(form) for form, _ in COMMANDS.values())
        for form, text in COMMANDS.values():
            self.print(f"  {form:<{width}}  {text}")
        if self.playing.domains:
            self.print(f"a domain stands for its nodes: {', '.join(self.playing.domains)}")

    def print(self, text: str) -> None:
        """Print plain text."""
        click.echo(text)


def _count(line: Line) -> int | None:
    if not line.words:
        return None
    if len(line.words) > 1 or not line.words[0].isdecimal() or int(line.words[0]) < 1:
        raise Misunderstood(f"how many runs? write {COMMANDS['run'][0]}")
    return int(line.words[0])


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _piped(game: Game) -> Iterator[str]:
    """Yield the lines of standard input, each one shown as if it had been typed."""
    for line in sys.stdin:
        text = line.rstrip("\n")
        if text.strip():
            game.print(f"\n{PROMPT}{text}")
        yield text


def _typed(playing: Playing) -> Iterator[str]:
    """Yield what is typed, with completion and history where Python has readline."""
    _complete(playing)
    while True:
        click.echo()
        try:
            yield input(PROMPT)
        except KeyboardInterrupt:
            click.echo()  # the line is dropped, the game goes on
        except EOFError:
            click.echo()
            return


def _complete(playing: Playing) -> None:
    try:
        import readline
    except ImportError:  # Python may be built without it, and on Windows always is
        return

    def complete(word: str, state: int) -> str | None:
        before = readline.get_line_buffer()[: readline.get_begidx()].rpartition(";")[2]
        found = [offer for offer in playing.offers(before) if offer.startswith(word)]
        return f"{found[state]} " if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n;")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
