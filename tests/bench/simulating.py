"""How fast runs are simulated: the real run machine on a virtual clock, with faults."""

from __future__ import annotations

from collections import Counter
from time import perf_counter

from orchestrator.drivers.first import Blueprint
from orchestrator.faults import Chance, Fault, FaultPlan
from orchestrator.graph import Goal, Graph, Need, Node
from orchestrator.policy import Policy
from orchestrator.simulate import Simulation
from tests.bench.report import Bar, Section, Table

__all__ = ("FAULTS", "REFUND", "measure", "outcomes")

RUNS = 10_000
SECONDS = 10.0

REFUND = Graph(
    (
        Node("crm", needs=(Need("order_id", "order_id"),), provides=("order",), effect="read", seconds=0.12),
        Node(
            "stripe", needs=(Need("order", "order"),), provides=("refund",), effect="idempotent", usd=0.3, seconds=0.4
        ),
        Node("razorpay", needs=(Need("order", "order"),), provides=("refund",), effect="idempotent", usd=0.45),
        Node("email", needs=(Need("refund", "refund"),), provides=("notice",), effect="idempotent", seconds=0.2),
        Node("sms", needs=(Need("refund", "refund"),), provides=("notice",), effect="idempotent", usd=0.02),
    ),
    (Goal("refunded_and_told", ("refund", "notice")), Goal("refunded", ("refund",))),
)
FAULTS = FaultPlan(
    {
        "crm": (Chance(0.1),),
        "stripe": (Fault("hang"), Chance(0.5)),
        "email": (Chance(0.5),),
        "sms": (Chance(0.5), Fault("permanent")),
    }
)
"""Every way on is taken by some run: retries, reroutes, the last chance, demotion, failure."""


def outcomes(runs: int) -> Counter[str]:
    """Simulate that many runs and count their outcomes."""
    simulation = Simulation(Blueprint(REFUND, Policy()), FAULTS)
    return Counter(simulation.run(seed=seed).outcome for seed in range(runs))


def measure() -> Section:
    """Simulate the runs."""
    began = perf_counter()
    counted = outcomes(RUNS)
    seconds = perf_counter() - began
    shares = ", ".join(f"{name} {count / RUNS:.0%}" for name, count in counted.most_common())
    row = (f"{len(REFUND.nodes)}", f"{RUNS:,}", shares, f"{seconds:.2f}", f"{RUNS / seconds:,.0f}")
    text = "One process, one thread; each run plans, retries, reroutes and is folded into its result."
    bar = Bar(f"{RUNS:,} runs of a small graph in under {SECONDS:.0f} s", f"{seconds:.2f} s", seconds < SECONDS)
    table = Table(("nodes", "runs", "outcomes", "seconds", "runs per second"), [row])
    return Section("Simulation with faults", text, [table], [bar])
