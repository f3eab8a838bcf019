"""Three trips: two providers are killed, no bed is left, and one costs more than its traveller has.

Needs no key, no model and no network but the loopback address; leaves nothing behind. Exits with 0 only if every run
ended as it should and the providers' own ledgers hold what the runs report and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from agency.books import booked, objections
from agency.processes import PROVIDERS, Agency
from shared.story import Story, play

from orchestrator import Orchestrator, Record, RunResult
from orchestrator.events import AttemptEnded

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Stage:
    """Where an act plays."""

    agency: Agency
    orchestrator: Orchestrator
    story: Story

    def kill(self, name: str) -> None:
        """Kill a provider with SIGKILL, and say so."""
        pid = self.agency[name].kill()
        self.story.say(f"SIGKILL    {name} (process {pid})", "bold red")


# ------------------------------------------------------------------------------------------------------------- the acts


async def two_die(stage: Stage) -> RunResult:
    """One airline is dead from the start; a hotel dies when the flight has just been booked."""

    def kill(record: Record) -> None:
        match record.event:
            case AttemptEnded(node="airjet"):
                stage.kill("grandhotel")

    stage.kill("skyways")
    return await stage.orchestrator.start(trip_id="T-1", on_record=kill).run()


async def no_bed(stage: Stage) -> RunResult:
    """The airline is back; both hotels are dead."""
    await anyio.to_thread.run_sync(stage.agency["skyways"].start)
    stage.kill("hostel")
    return await stage.orchestrator.run(trip_id="T-2")


async def too_dear(stage: Stage) -> RunResult:
    """Nobody dies."""
    return await stage.orchestrator.run(trip_id="T-3")


@dataclass(frozen=True)
class Act:
    """One run and what is done to it."""

    trip_id: str
    title: str
    story: str
    outcome: str
    play: Callable[[Stage], Awaitable[RunResult]]


ACTS = (
    Act(
        "T-1",
        "skyways is dead, and grandhotel dies once the flight is booked",
        "airjet lands a day later, so room and car are booked from that day.",
        "met",
        two_die,
    ),
    Act(
        "T-2",
        "No bed is left",
        "The flight is kept, as the next goal says; the notice tells of it alone.",
        "demoted",
        no_bed,
    ),
    Act(
        "T-3",
        "The trip may cost more than its traveller has",
        "The gate is before the first booking: nothing is booked without a yes.",
        "waiting",
        too_dear,
    ),
)


# ------------------------------------------------------------------------------------------------------------ the story


def show_books(agency: Agency, story: Story) -> None:
    """Print what the providers' ledgers say, trip by trip."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("LEDGERS OF", *(f"TRIP {act.trip_id}" for act in ACTS)):
        table.add_column(heading)
    for names in PROVIDERS.values():
        cells = [[_entry_text(entry) for name in names for entry in booked(agency, name, act.trip_id)] for act in ACTS]
        table.add_row(" | ".join(names), *("\n".join(lines) or "-" for lines in cells))
    story.show(table)


def _entry_text(entry: dict[str, object]) -> str:
    day = entry.get("lands") or entry.get("from")
    return f"{entry['id']}  {day}" if day else str(entry["id"])


async def perform(agency: Agency, story: Story) -> list[str]:
    """Play all acts; return everything that is not as it should be."""
    complaints: list[str] = []
    async with Orchestrator.from_yaml(HERE / "travel.yaml") as orchestrator:
        stage = Stage(agency, orchestrator, story)
        story.begin("A trip: the hotel needs the flight, the car needs both")
        story.plan("flight > hotel > car > notice, with two providers for each", orchestrator.plan())
        for number, act in enumerate(ACTS, start=1):
            story.begin(f"{number}  {act.title}")
            story.say(act.story)
            result = await act.play(stage)
            if result.attempts:
                story.steps(result)
            story.end(result)
            if result.outcome != act.outcome:
                complaints.append(f"trip {act.trip_id}: the run ended {result.outcome}")
            complaints += objections(agency, act.trip_id, result)
        story.begin("The ledgers, as witnesses")
        show_books(agency, story)
        story.verdict(complaints, "What the runs report is booked, the dates fit, and nothing else is booked.")
        story.next(HERE, "-m orchestrator plan {here}/travel.yaml --down skyways --down citycar --explain")
    return complaints


def main() -> int:
    """Play the demo and return its exit code."""
    return play(Agency(), perform)


if __name__ == "__main__":
    sys.exit(main())
