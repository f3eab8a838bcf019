"""A provider of exchange rates that only gets slow loses its traffic before it fails, and gets it back.

Needs no key, no model and no network but the loopback address; leaves nothing behind. Exits with 0 only if every run
met its goal and the traffic went where it should.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import anyio
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from bureau.processes import SECONDS, Bureau
from bureau.provider import RATES
from shared.story import Story, play

from orchestrator import Orchestrator, RunResult
from orchestrator.health import HealthRow

HERE = Path(__file__).parent

STAR = "northbank"
"""The fastest, to which all of this happens."""
SLOW = 0.25
"""Seconds that it takes when it is slow: four times its usual, well within its timeout."""
DEAR = 1.83
"""Times its declared cost from which the next fastest is cheaper."""
LONGEST = 8.0
"""Seconds after which a phase is over, though what should follow has not."""
WARM = 5
"""Runs before the first phase: first calls pay for connections and imports, and say nothing of a provider."""
CALLERS = 4
"""Runs at once."""


@dataclass
class Tally:
    """What the runs of one phase were served by."""

    served: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    unmet: int = 0
    held: bool = False
    """Whether what should follow has followed."""
    words: dict[str, str] = field(default_factory=dict)
    """What was said of the star, when first; by the words without their figures."""

    def count(self, result: RunResult, seconds: float) -> None:
        """Count a run."""
        self.seconds.append(seconds)
        self.unmet += result.outcome != "met"
        for attempt in result.attempts:
            if attempt.node in SECONDS and attempt.outcome == "succeeded":
                self.served[attempt.node] += 1
            self.failed += attempt.outcome in ("failed", "unknown")

    def share(self, name: str) -> float:
        """Return the share of the runs that a provider has served."""
        return self.served[name] / max(self.served.total(), 1)


@dataclass(frozen=True)
class Phase:
    """Some seconds of traffic, what happens to the star before them, and what should follow from it."""

    title: str
    seconds: float
    begin: Callable[[Bureau], object]
    holds: Callable[[Tally, HealthRow], bool]
    promise: str


PHASES = (
    Phase("all is well", 0.8, lambda _: None, lambda it, row: it.share(STAR) > 0.5, "serves most runs"),
    Phase(
        f"{STAR} gets slow",
        2.0,
        lambda bureau: bureau.slow(STAR, SLOW),
        lambda it, row: it.share(STAR) < 0.5 and not it.failed,
        "loses most runs, and nothing fails",
    ),
    Phase(
        f"{STAR} is stopped",
        1.6,
        lambda bureau: bureau.stop(STAR),
        lambda it, row: row.state == "open" and not it.served[STAR],
        "is taken out of use and serves nothing",
    ),
    Phase(
        f"{STAR} is restored",
        1.0,
        lambda bureau: bureau.restore(STAR),
        lambda it, row: row.state == "closed" and row.share == 1.0 and row.factor < DEAR,
        "is tried, and trusted again",
    ),
    Phase("a while later", 0.8, lambda _: None, lambda it, row: it.share(STAR) > 0.5, "serves most runs again"),
)


def of_star(orchestrator: Orchestrator) -> HealthRow:
    """Return how the star is."""
    return next(row for row in orchestrator.health() if row.node == STAR)


async def traffic(orchestrator: Orchestrator, phase: Phase) -> Tally:
    """Let callers ask, each again as soon as it has its answer, until the phase has had its time and its effect."""
    tally, began = Tally(), anyio.current_time()

    def over(seconds: float) -> bool:
        tally.held = tally.held or (seconds > phase.seconds and phase.holds(tally, of_star(orchestrator)))
        return tally.held or seconds > LONGEST

    async def call(number: int) -> None:
        currency = sorted(RATES)[number % len(RATES)]
        while not over(anyio.current_time() - began):
            start = anyio.current_time()
            result = await orchestrator.run(currency=currency)
            tally.count(result, anyio.current_time() - start)

    async def listen() -> None:
        while True:
            at = anyio.current_time() - began
            for words in said(of_star(orchestrator)):
                # The same words with other figures are no news.
                tally.words.setdefault(re.sub(r"[0-9.]+", "", words), f"{at:.1f} s  {words}")
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as around:
        around.start_soon(listen)
        async with anyio.create_task_group() as callers:
            for number in range(CALLERS):
                callers.start_soon(call, number)
        around.cancel_scope.cancel()
    return tally


def said(row: HealthRow) -> list[str]:
    """Return what is said of a provider: by monitors, and of the traffic that it gets."""
    found = [signal.reason for signal in row.reasons]
    if row.state == "half_open":
        found.append("half-open: one run may try it")
    elif row.share < 1:
        found.append(f"in use again, step by step: {row.share:.0%} of its share now")
    elif row.factor >= DEAR:
        found.append(f"counts as {row.factor:.1f} times as costly as declared")
    return found


def show_words(story: Story, tally: Tally) -> None:
    """Print what was said of the star during a phase."""
    for words in tally.words.values():
        story.say(words)


def show_tallies(story: Story, tallies: list[Tally]) -> None:
    """Print who served the runs of each phase."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("PHASE", "RUNS", *(name.upper() for name in SECONDS), "MEDIAN", "FAILED ATTEMPTS"):
        table.add_column(heading, justify="left" if heading == "PHASE" else "right")
    for phase, tally in zip(PHASES, tallies, strict=True):
        shares = (f"{tally.share(name):.0%}" if tally.served[name] else "-" for name in SECONDS)
        took = f"{median(tally.seconds) * 1000:.0f} ms"
        table.add_row(phase.title, str(len(tally.seconds)), *shares, took, str(tally.failed or "-"))
    story.show(table)


async def perform(bureau: Bureau, story: Story) -> list[str]:
    """Play all phases; return everything that is not as it should be."""
    complaints: list[str] = []
    tallies = []
    async with Orchestrator.from_yaml(HERE / "rates.yaml") as orchestrator:
        story.begin("Exchange rates from whoever is fast, while the fastest gets slow, stops, and comes back")
        story.plan("{northbank | eastbank | archive} > change", orchestrator.plan())
        for _ in range(WARM):
            await orchestrator.run(currency="USD")
        for number, phase in enumerate(PHASES, start=1):
            story.begin(f"{number}  {phase.title}")
            await anyio.to_thread.run_sync(phase.begin, bureau)
            tally = await traffic(orchestrator, phase)
            tallies.append(tally)
            show_words(story, tally)
            if tally.unmet:
                complaints.append(f"{phase.title}: {tally.unmet} runs did not meet their goal")
            if not tally.held:
                complaints.append(f"{phase.title}: it is not so that {STAR} {phase.promise}")
        story.begin("Who served the runs")
        show_tallies(story, tallies)
        praise = "The traffic left before anything failed and came back by itself, and every run met its goal."
        story.verdict(complaints, praise)
        by_hand = "{here}/with_bureau.py orchestrator run {here}/rates.yaml -i currency=CHF"
        story.next(HERE, "-m orchestrator plan {here}/rates.yaml --down northbank --explain", by_hand)
    return complaints


def main() -> int:
    """Play the demo and return its exit code."""
    return play(Bureau(), perform)


if __name__ == "__main__":
    sys.exit(main())
