"""``orchestrator simulate``: the real run machine on a virtual clock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import click

from orchestrator.cli.driving import print_result
from orchestrator.cli.options import (
    faults_option,
    file_argument,
    given_inputs,
    goal_option,
    input_options,
    json_option,
    load,
    load_faults,
    policy_option,
    seed_option,
)
from orchestrator.cli.output import Exit, exit_code, json_line, print_json
from orchestrator.cli.progress import counted
from orchestrator.events import record_to_dict
from orchestrator.result import RunResult

__all__ = ("Totals", "command")


@click.command("simulate")
@file_argument
@input_options
@goal_option
@policy_option
@seed_option
@faults_option
@click.option("--runs", type=click.IntRange(min=1), metavar="N", help="Simulate this many runs and sum them up.")
@click.option("--allow-demoted", is_flag=True, help="Exit 0 also for a lower goal.")
@click.option("--events", is_flag=True, help="Print every event as a line of JSON.")
@json_option
def command(
    file: Path,
    inputs: tuple[str, ...],
    inputs_file: str | None,
    down: tuple[str, ...],
    goal: str | None,
    policy: str | None,
    seed: int | None,
    faults: Path | None,
    runs: int | None,
    allow_demoted: bool,
    events: bool,
    as_json: bool,
) -> None:
    """Run FILE on a virtual clock: nodes are fakes with their declared figures; nothing is called."""
    if runs is not None and events:
        raise click.UsageError("--events shows one run; leave out --runs")
    orchestrator = load(file, policy, imports=False)
    plan = load_faults(faults, orchestrator.graph, real=False)
    simulation = orchestrator.simulation(plan)
    given = orchestrator.complete_inputs(given_inputs(orchestrator.graph, inputs, inputs_file), goal)
    first = seed if seed is not None else simulation.faults.seed or 0
    excluded = orchestrator.down(down)
    if runs is not None:
        totals, exit = Totals(), Exit.MET
        try:
            with counted(runs, "simulating") as numbers:
                for number in numbers:
                    totals.add(simulation.run(goal=goal, inputs=given, down=excluded, seed=first + number))
        except KeyboardInterrupt:
            click.echo(f"interrupted after {totals.runs} of {runs} runs", err=True)
            exit = Exit.INTERRUPTED
        if totals.runs:
            print_json(totals.as_dict()) if as_json else click.echo(str(totals))
        raise SystemExit(exit)
    result = simulation.run(goal=goal, inputs=given, down=excluded, seed=first)
    if events:
        for record in result.records:
            json_line(record_to_dict(record))
    else:
        print_result(result, as_json=as_json)
    raise SystemExit(exit_code(result.outcome, result.reason, allow_demoted=allow_demoted))


class Figures(NamedTuple):
    """What is counted of one run."""

    outcome: str
    goal: str | None
    reroutes: int
    escalations: int
    seconds: float
    usd: float


class Totals:
    """The sums of many runs."""

    def __init__(self) -> None:
        # One entry per run, added whole: an interrupt never leaves a run half counted.
        self._counted: list[Figures] = []

    def add(self, result: RunResult) -> None:
        """Count one run."""
        self._counted.append(
            Figures(result.outcome, result.goal, result.reroutes, result.escalations, result.seconds, result.usd)
        )

    @property
    def runs(self) -> int:
        """How many runs were counted."""
        return len(self._counted)

    @property
    def outcomes(self) -> Counter[str]:
        """How many runs ended in which way."""
        return Counter(run.outcome for run in self._counted)

    @property
    def goals(self) -> Counter[str]:
        """How many runs reached which goal."""
        return Counter(run.goal for run in self._counted if run.goal is not None)

    @property
    def reroutes(self) -> int:
        """Reroutes of all runs."""
        return sum(run.reroutes for run in self._counted)

    @property
    def escalations(self) -> int:
        """Escalations of all runs."""
        return sum(run.escalations for run in self._counted)

    @property
    def seconds(self) -> list[float]:
        """The time that each run took."""
        return [run.seconds for run in self._counted]

    @property
    def usd(self) -> list[float]:
        """What each run cost, in US dollars."""
        return [run.usd for run in self._counted]

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON-ready data; times in seconds and money in dollars, per run."""
        return {
            "runs": self.runs,
            "outcomes": dict(self.outcomes.most_common()),
            "goals": dict(self.goals.most_common()),
            "reroutes": self.reroutes,
            "escalations": self.escalations,
            "seconds": _spread(self.seconds),
            "usd": _spread(self.usd),
        }

    def __str__(self) -> str:
        share = ", ".join(f"{name} {count / self.runs:.1%}" for name, count in self.outcomes.most_common())
        goals = ", ".join(f"{name} {count / self.runs:.1%}" for name, count in self.goals.most_common())
        seconds, usd = _spread(self.seconds), _spread(self.usd)
        return "\n".join(
            [
                f"{self.runs} runs: {share}",
                f"goals: {goals or 'none reached'}",
                f"{self.reroutes} reroutes, {self.escalations} escalations",
                f"seconds per run: median {seconds['median']:.3g}, p99 {seconds['p99']:.3g}",
                f"dollars per run: mean {usd['mean']:.4g}, p99 {usd['p99']:.4g}",
            ]
        )


def _spread(figures: list[float]) -> dict[str, float]:
    ordered = sorted(figures)
    last = len(ordered) - 1
    return {
        "mean": sum(ordered) / len(ordered),
        "median": ordered[last // 2],
        "p99": ordered[round(last * 0.99)],
        "max": ordered[last],
    }
