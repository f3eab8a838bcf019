"""A refund, three times, while the payment provider is killed: before it is asked, and in the middle of the call.

Needs no key, no model and no network but the loopback address; leaves nothing behind. Exits with 0 only if every run
met its goal and the providers' own ledgers agree that each order was paid exactly once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from shop.books import booked, objections
from shop.orders import lookup
from shop.processes import Shop

from orchestrator import Orchestrator, Record, RunResult
from orchestrator.cli.steps import route_text, step_table, summary
from orchestrator.events import AttemptEnded, Rerouted, Settled
from orchestrator.units import MICRO

GRAPH = Path(__file__).with_name("refund.yaml")
WIDTH = 100
"""Columns where there is no terminal to ask."""


@dataclass(frozen=True)
class Stage:
    """Where an act plays."""

    shop: Shop
    orchestrator: Orchestrator
    out: Console

    def say(self, text: str, style: str = "") -> None:
        """Print a line of the story."""
        self.show(Text(text, style))

    def show(self, part: Text | Table) -> None:
        """Print something, indented; a table stands apart."""
        around = 1 if isinstance(part, Table) else 0
        self.out.line(around)
        self.out.print(Padding(part, (0, 0, 0, 2), expand=False))
        self.out.line(around)

    def begin(self, title: str) -> None:
        """Print a heading."""
        self.out.print()
        self.out.rule(Text(title, "bold"), align="left", style="default")


# ------------------------------------------------------------------------------------------------------------- the acts


async def all_is_well(stage: Stage) -> RunResult:
    """Nobody dies."""
    return await stage.orchestrator.run(order_id="12-1")


async def killed_before_the_call(stage: Stage) -> RunResult:
    """SIGKILL hits the provider half-way: the order has been found, and the refund is about to be asked for."""

    def kill(record: Record) -> None:
        if isinstance(record.event, AttemptEnded) and record.event.node == "crm":
            pid = stage.shop["cardpay"].kill()
            stage.say(f"The order is found. SIGKILL: cardpay (process {pid}) is gone.", "bold red")

    return await stage.orchestrator.start(order_id="12-2", on_record=kill).run()


async def killed_in_the_call(stage: Stage) -> RunResult:
    """SIGKILL hits the provider when the money has moved and the answer has not been sent."""
    cardpay = stage.shop["cardpay"]
    await anyio.to_thread.run_sync(cardpay.die_once, "after-booking")
    result = await stage.orchestrator.run(order_id="12-3")
    for pid in cardpay.deaths:
        stage.say(f"SIGKILL: cardpay (process {pid}) died in the call and was started again.", "bold red")
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


def show_plan(stage: Stage) -> None:
    """Print the route before anything runs."""
    route = stage.orchestrator.plan().route
    stage.begin("A refund by the cheapest route, while its payment provider is killed")
    stage.say("Graph      crm > {cardpay | bankpay} > {email | sms}")
    stage.say(f"Route      {route_text(route.nodes)}")
    stage.say(
        f"Cost       {route.weight / MICRO:g}: ${route.usd:g} and {route.seconds:g} s, at 1 = one cent = one second"
    )


def show_result(stage: Stage, result: RunResult) -> None:
    """Print what a run did and decided."""
    stage.show(step_table(result))
    for record in result.records:
        match record.event:
            case Rerouted() as event:
                stage.say(f"Old route  {route_text(event.before)}  would have cost {event.weight_before / MICRO:g}")
                stage.say(f"New route  {route_text(event.after)}  costs {event.weight_after / MICRO:g}")
            case Settled() as event:
                known = "it was paid" if event.done else "it was not paid"
                stage.say(f"Settled    {event.node}'s ledger says: {known}")
    stage.say(f"Result     {summary(result)}", "bold green" if result.outcome == "met" else "bold red")
    stage.say(f"Trace      {result.trace_id}")


def show_books(stage: Stage, complaints: list[str]) -> None:
    """Print what the providers' ledgers say, order by order."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("LEDGER OF", *(f"ORDER {act.order_id}" for act in ACTS)):
        table.add_column(heading)
    for name in ("cardpay", "bankpay", "email", "sms"):
        cells = [[_entry_text(entry) for entry in booked(stage.shop, name, act.order_id)] for act in ACTS]
        table.add_row(name, *("\n".join(lines) or "-" for lines in cells))
    table.add_row("owed", *(_money(lookup(act.order_id)["order"]["cents"]) for act in ACTS), style="bold")
    stage.show(table)
    for complaint in complaints:
        stage.say(complaint, "bold red")
    if not complaints:
        stage.say("Each order was paid exactly once and in full, and its customer told once.", "bold green")


def show_next(stage: Stage) -> None:
    """Print what to try next."""
    stage.begin("Try next")
    here, python = os.path.relpath(GRAPH.parent), os.path.relpath(sys.executable)
    simulate = f"-m orchestrator simulate {here}/refund.yaml -i order_id=12-1 --faults {here}/faults.yaml"
    run = f"{here}/with_shop.py orchestrator run {here}/refund.yaml -i order_id=15-1"
    # Not wrapped: a command must survive being copied.
    stage.out.print(f"  {python} {simulate}", f"  {python} {run}", sep="\n", markup=False, soft_wrap=True)


def _entry_text(entry: dict[str, object]) -> str:
    cents = entry.get("cents")
    return f"{_money(cents)}  {entry['id']}" if isinstance(cents, int) else str(entry["id"])


def _money(cents: int) -> str:
    return f"{cents / 100:.2f}"


async def perform(shop: Shop, out: Console) -> list[str]:
    """Play all acts; return everything that is not as it should be."""
    complaints: list[str] = []
    async with Orchestrator.from_yaml(GRAPH) as orchestrator:
        stage = Stage(shop, orchestrator, out)
        show_plan(stage)
        for number, act in enumerate(ACTS, start=1):
            stage.begin(f"{number}  {act.title}")
            stage.say(act.story)
            result = await act.play(stage)
            show_result(stage, result)
            if result.outcome != "met":
                complaints.append(f"order {act.order_id}: the run ended {result.outcome}")
            complaints += objections(shop, act.order_id, result.values)
        stage.begin("The ledgers, as witnesses")
        show_books(stage, complaints)
        show_next(stage)
    return complaints


def main() -> int:
    """Play the demo and return its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    try:
        with Shop() as shop:
            os.environ.update(shop.environ)
            return 1 if anyio.run(perform, shop, out) else 0
    except KeyboardInterrupt:
        out.print("interrupted", style="bold red")
        return 130


if __name__ == "__main__":
    sys.exit(main())
