"""A refund, three times, while the payment provider is killed: before it is asked, and in the middle of the call.

Needs no key, no model and no network but the loopback address; leaves nothing behind. Exits with 0 only if every run
met its goal and the providers' own ledgers agree that each order was paid exactly once.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))  # what the examples share

from shared.story import Story, play
from shop.books import booked, objections
from shop.orders import lookup
from shop.processes import Shop

from orchestrator import Orchestrator, Record, RunResult
from orchestrator.cli.steps import route_text, step_table
from orchestrator.events import AttemptEnded, Rerouted, Settled
from orchestrator.units import MICRO

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Stage:
    """Where an act plays."""

    shop: Shop
    orchestrator: Orchestrator
    story: Story


# ------------------------------------------------------------------------------------------------------------- the acts


async def all_is_well(stage: Stage) -> RunResult:
    """Nobody dies."""
    return await stage.orchestrator.run(order_id="12-1")


async def killed_before_the_call(stage: Stage) -> RunResult:
    """SIGKILL hits the provider half-way: the order has been found, and the refund is about to be asked for."""

    def kill(record: Record) -> None:
        if isinstance(record.event, AttemptEnded) and record.event.node == "crm":
            pid = stage.shop["cardpay"].kill()
            stage.story.say(f"The order is found. SIGKILL: cardpay (process {pid}) is gone.", "bold red")

    return await stage.orchestrator.start(order_id="12-2", on_record=kill).run()


async def killed_in_the_call(stage: Stage) -> RunResult:
    """SIGKILL hits the provider when the money has moved and the answer has not been sent."""
    cardpay = stage.shop["cardpay"]
    await anyio.to_thread.run_sync(cardpay.die_once, "after-booking")
    result = await stage.orchestrator.run(order_id="12-3")
    for pid in cardpay.deaths:
        stage.story.say(f"SIGKILL: cardpay (process {pid}) died in the call and was started again.", "bold red")
    return result


@dataclass(frozen=True)
class Act:
    """One run and what is done to it."""

    title: str
    order_id: str
    story: str
    play: Callable[[Stage], Awaitable[RunResult]]


ACTS = (
    Act("All is well", "12-1", "The order is looked up, refunded and confirmed: the cheapest route.", all_is_well),
    Act(
        "cardpay is killed before it is asked",
        "12-2",
        "A refused connection moved no money, so the run goes round it, from the work already done.",
        killed_before_the_call,
    ),
    Act(
        "cardpay is killed in the middle of the call",
        "12-3",
        "It has booked the refund and dies before it answers. Did the money move? The caller cannot know. Paying "
        "again could pay twice, so nothing else may pay until cardpay's ledger has been asked.",
        killed_in_the_call,
    ),
)


# ------------------------------------------------------------------------------------------------------------ the story


def show_result(story: Story, result: RunResult) -> None:
    """Print what a run did and decided."""
    story.show(step_table(result))
    for record in result.records:
        match record.event:
            case Rerouted() as event:
                story.say(f"Old route  {route_text(event.before)}  would have cost {event.weight_before / MICRO:g}")
                story.say(f"New route  {route_text(event.after)}  costs {event.weight_after / MICRO:g}")
            case Settled() as event:
                known = "it was paid" if event.done else "it was not paid"
                story.say(f"Settled    {event.node}'s ledger says: {known}")
    story.end(result)
    story.say(f"Trace      {result.trace_id}")


def show_books(shop: Shop, story: Story) -> None:
    """Print what the providers' ledgers say, order by order."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("LEDGER OF", *(f"ORDER {act.order_id}" for act in ACTS)):
        table.add_column(heading)
    for name in ("cardpay", "bankpay", "email", "sms"):
        cells = [[_entry_text(entry) for entry in booked(shop, name, act.order_id)] for act in ACTS]
        table.add_row(name, *("\n".join(lines) or "-" for lines in cells))
    table.add_row("owed", *(_money(lookup(act.order_id)["order"]["cents"]) for act in ACTS), style="bold")
    story.show(table)


def _entry_text(entry: dict[str, object]) -> str:
    cents = entry.get("cents")
    return f"{_money(cents)}  {entry['id']}" if isinstance(cents, int) else str(entry["id"])


def _money(cents: int) -> str:
    return f"{cents / 100:.2f}"


async def perform(shop: Shop, story: Story) -> list[str]:
    """Play all acts; return everything that is not as it should be."""
    complaints: list[str] = []
    async with Orchestrator.from_yaml(HERE / "refund.yaml") as orchestrator:
        stage = Stage(shop, orchestrator, story)
        story.begin("A refund by the cheapest route, while its payment provider is killed")
        story.plan("crm > {cardpay | bankpay} > {email | sms}", orchestrator.plan())
        for number, act in enumerate(ACTS, start=1):
            story.begin(f"{number}  {act.title}")
            story.say(act.story)
            result = await act.play(stage)
            show_result(story, result)
            if result.outcome != "met":
                complaints.append(f"order {act.order_id}: the run ended {result.outcome}")
            complaints += objections(shop, act.order_id, result.values)
        story.begin("The ledgers, as witnesses")
        show_books(shop, story)
        story.verdict(complaints, "Each order was paid exactly once and in full, and its customer told once.")
        simulate = "-m orchestrator simulate {here}/refund.yaml -i order_id=12-1 --faults {here}/faults.yaml"
        story.next(HERE, simulate, "{here}/with_shop.py orchestrator run {here}/refund.yaml -i order_id=15-1")
    return complaints


def main() -> int:
    """Play the demo and return its exit code."""
    return play(Shop(), perform)


if __name__ == "__main__":
    sys.exit(main())
