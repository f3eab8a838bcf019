"""Four posts: all classifiers answer, one is dead, one post is toxic, and then too few are left.

Needs no key, no model and no network but the loopback address; leaves nothing behind. Exits with 0 only if every run
ended as it should and the classifiers' own ledgers and the desk's records hold what the runs report.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from desk.books import answered, objections, recorded
from desk.processes import Desk
from shared.story import Story, play

from orchestrator import Orchestrator, RunResult
from orchestrator.events import AttemptEnded, AttemptStarted

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Act:
    """One post, who dies before it comes, and how its run should end."""

    post: str
    title: str
    story: str
    dies: tuple[str, ...]
    outcome: str


ACTS = (
    Act("1", "All is well", "All five are asked at once; none waits for another.", (), "met"),
    Act(
        "2",
        "The image classifier is dead",
        "Its score may be missing, for a price; the four others decide.",
        ("image",),
        "met",
    ),
    Act(
        "3",
        "A toxic post, and the image classifier is still dead",
        "The gate is asked before every decision: no outage and no score can mask it.",
        (),
        "waiting",
    ),
    Act(
        "4",
        "Two more are dead",
        "Two scores are too few to decide by, so a person will look: the next goal.",
        ("text", "spam"),
        "demoted",
    ),
)


# ------------------------------------------------------------------------------------------------------------ the story


def side_by_side(result: RunResult) -> list[str]:
    """Return the nodes that were called before any of them had answered."""
    events = [record.event for record in result.records if isinstance(record.event, AttemptStarted | AttemptEnded)]
    return [event.node for event in takewhile(lambda event: isinstance(event, AttemptStarted), events)]


def show_records(desk: Desk, story: Story) -> None:
    """Print what each classifier has answered about each post, and what the desk has recorded."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("POST", "IMAGE", "TEXT", "TOXICITY", "SPAM", "RECORDED"):
        table.add_column(heading)
    for act in ACTS:
        scores = answered(desk, act.post)
        cells = [f"{scores[name]:.2f}" if name in scores else "-" for name in ("image", "text", "toxicity", "spam")]
        table.add_row(act.post, *cells, ", ".join(entry["decision"] for entry in recorded(act.post)) or "-")
    story.show(table)


async def perform(desk: Desk, story: Story) -> list[str]:
    """Play all acts; return everything that is not as it should be."""
    complaints: list[str] = []
    async with Orchestrator.from_yaml(HERE / "moderation.yaml") as orchestrator:
        story.begin("Five classifiers look at a post; four of them may be missing, for a price")
        story.say("Graph      {image, text, toxicity, spam, history} > decide by three, or hold")
        for number, act in enumerate(ACTS, start=1):
            story.begin(f"{number}  {act.title}")
            story.say(act.story)
            for name in act.dies:
                story.say(f"SIGKILL    {name} (process {desk[name].kill()})", "bold red")
            post = json.loads((HERE / "posts" / f"{act.post}.json").read_text(encoding="utf-8"))
            result = await orchestrator.run(post)
            asked = side_by_side(result)
            story.say(f"At once    {', '.join(name.removesuffix('_check') for name in asked)}")
            if act.dies:
                story.steps(result)
            story.end(result)
            if len(asked) != 5:
                complaints.append(f"post {act.post}: {len(asked)} of 5 classifiers were asked at once")
            if result.outcome != act.outcome:
                complaints.append(f"post {act.post}: the run ended {result.outcome}")
            complaints += objections(desk, act.post, result)
        story.begin("The ledgers, as witnesses")
        show_records(desk, story)
        story.verdict(complaints, "Each post is recorded once, with all scores that there are, or waits.")
        story.next(HERE, "-m orchestrator plan {here}/moderation.yaml --down image_check --explain")
    return complaints


def main() -> int:
    """Play the demo and return its exit code."""
    return play(Desk(), perform)


if __name__ == "__main__":
    sys.exit(main())
