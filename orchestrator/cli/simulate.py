"""``orchestrator simulate``: the real run machine on a virtual clock."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

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
from orchestrator.cli.run import print_result
from orchestrator.events import record_to_dict
from orchestrator.result import RunResult

__all__ = ("command",)


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
        totals = Totals()
        with click.progressbar(range(runs), label="simulating", file=sys.stderr) as numbers:
            for number in numbers:
                totals.add(simulation.run(goal=goal, inputs=given, down=excluded, seed=first + number))
        print_json(totals.as_dict()) if as_json else click.echo(str(totals))
        raise SystemExit(Exit.MET)
    result = simulation.run(goal=goal, inputs=given, down=excluded, seed=first)
    if events:
        for record in result.records:
            json_line(record_to_dict(record))
    else:
        print_result(result, as_json=as_json)
    raise SystemExit(exit_code(result.outcome, result.reason, allow_demoted=allow_demoted))


class Totals:
    """The sums of many runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.outcomes: Counter[str] = Counter()
        self.goals: Counter[str] = Counter()
        self.reroutes = self.escalations = 0
        self.seconds: list[float] = []
        self.usd: list[float] = []

    def add(self, result: RunResult) -> None:
        """Count one run."""
        self.runs += 1
        self.outcomes[result.outcome] += 1
        if result.goal is not None:
            self.goals[result.goal] += 1
        self.reroutes += result.reroutes
        self.escalations += result.escalations
        self.seconds.append(result.seconds)
        self.usd.append(result.usd)

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
