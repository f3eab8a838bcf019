"""The published scenarios of tool routing, in our terms.

Bholani, "Graph-Based Self-Healing Tool Routing for Cost-Efficient LLM Agents" (arXiv 2603.01548), and the author's
code of 2026-03-05, whose three graphs and nineteen scenarios these are: every node, edge and weight. There a graph is
a set of weighted edges from Start to an end; a path visits one tool per stage. Here a stage is a value: every tool of
a stage provides it, needs the value of the stage before, and costs nothing itself; the published weights are the
costs of the edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from orchestrator.faults import Fault, FaultPlan
from orchestrator.graph import Edge, Goal, Graph, Need, Node
from orchestrator.policy import Policy
from orchestrator.result import RunResult
from orchestrator.simulate import simulate

__all__ = ("GRAPHS", "SCENARIOS", "PublishedGraph", "Scenario", "failure_sets", "run", "walked")

START = "Start"


@dataclass(frozen=True)
class PublishedGraph:
    """One of the published graphs: its stages from Start to the end, and its edges."""

    name: str
    stages: tuple[tuple[str, ...], ...]
    """Alternatives, stage by stage; the last stage is the end."""
    edges: tuple[tuple[str, str, float], ...]

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools that can fail: everything between Start and the end."""
        return tuple(tool for stage in self.stages[:-1] for tool in stage)

    def graph(self, *, backwards: bool = False, **weights: float) -> Graph:
        """Return the graph in our terms.

        Args:
            backwards: List nodes and edges in the opposite order.
            weights: Other weights than the published ones, as ``Stripe_SMS=0.9``.
        """
        changed = {tuple(pair.split("_")): weight for pair, weight in weights.items()}
        assert set(changed) <= {(source, target) for source, target, _ in self.edges}
        nodes = [Node(START, provides=("stage-0",), effect="read", units=0.0)]
        for depth, stage in enumerate(self.stages, start=1):
            needs = (Need("before", f"stage-{depth - 1}"),)
            nodes += [Node(t, needs=needs, provides=(f"stage-{depth}",), effect="read", units=0.0) for t in stage]
        edges = [Edge(source, target, changed.get((source, target), weight)) for source, target, weight in self.edges]
        way = -1 if backwards else 1
        goal = Goal("complete", (f"stage-{len(self.stages)}",))
        return Graph(tuple(nodes[::way]), (goal,), tuple(edges[::way]), name=self.name)

    def reachable(self, down: Iterable[str]) -> bool:
        """Return whether the end can be reached by the edges alone when some tools are down: a plain walk."""
        dead = set(down)
        reached = {START}
        for source, target, _ in sorted(self.edges, key=lambda edge: self._depth(edge[0])):
            if source in reached and target not in dead:
                reached.add(target)
        return self.stages[-1][0] in reached

    def _depth(self, name: str) -> int:
        return next((depth for depth, stage in enumerate(self.stages) if name in stage), -1)


def layered(name: str, stages: str, weights: str) -> PublishedGraph:
    """Read a graph from words: stages as ``CRM; Stripe Razorpay``, edges as ``Start-CRM 0.1``."""
    read = tuple(tuple(stage.split()) for stage in stages.split(";"))
    words = weights.split()
    edges = [(*pair.split("-"), float(weight)) for pair, weight in zip(words[::2], words[1::2], strict=True)]
    return PublishedGraph(name, read, tuple(edges))  # type: ignore[arg-type]


CUSTOMER_SUPPORT = layered(
    "customer support",
    "CRM; Stripe Razorpay; Email SMS; Complete",
    """
    Start-CRM 0.1  CRM-Stripe 0.3  CRM-Razorpay 0.5
    Stripe-Email 0.3  Stripe-SMS 0.4  Razorpay-Email 0.3  Razorpay-SMS 0.4
    Email-Complete 0.1  SMS-Complete 0.1
    """,
)

TRAVEL = layered(
    "travel booking",
    "Flight Train; Hotel Hostel; Car Bus; Payment; Confirm",
    """
    Start-Flight 0.3  Start-Train 0.5
    Flight-Hotel 0.3  Flight-Hostel 0.4  Train-Hotel 0.3  Train-Hostel 0.4
    Hotel-Car 0.3  Hotel-Bus 0.4  Hostel-Car 0.4  Hostel-Bus 0.3
    Car-Payment 0.2  Bus-Payment 0.2  Payment-Confirm 0.1
    """,
)

MODERATION = layered(
    "content moderation",
    "Text Image Video; Toxicity; HumanReview AutoApprove; Complete",
    """
    Start-Text 0.2  Start-Image 0.3  Start-Video 0.5
    Text-Toxicity 0.2  Image-Toxicity 0.3  Video-Toxicity 0.4
    Toxicity-HumanReview 0.5  Toxicity-AutoApprove 0.2
    HumanReview-Complete 0.1  AutoApprove-Complete 0.1
    """,
)

GRAPHS = {"CS": CUSTOMER_SUPPORT, "TB": TRAVEL, "CM": MODERATION}


@dataclass(frozen=True)
class Scenario:
    """One published scenario: which tools are down, what was executed, and how often the run had to turn.

    ``reroutes`` is the published number of reroute records, less the one that a dead end wrote beside its escalation.
    """

    id: str
    down: tuple[str, ...]
    executed: tuple[str, ...]
    reached: bool
    reroutes: int

    @property
    def graph(self) -> PublishedGraph:
        """The graph of the scenario's domain."""
        return GRAPHS[self.id[:2]]


def scenarios(table: str) -> Iterator[Scenario]:
    """Read scenarios from a table: id | down | executed | reached or escalated | reroutes."""
    for row in table.strip().splitlines():
        name, down, executed, how, reroutes = (cell.strip() for cell in row.split("|"))
        yield Scenario(name, tuple(down.split()), tuple(executed.split()), how == "reached", int(reroutes))


SCENARIOS = tuple(
    scenarios(
        """
        CS-1 |                  | CRM Stripe Email Complete           | reached   | 0
        CS-2 | Stripe           | CRM Razorpay Email Complete         | reached   | 1
        CS-3 | Email            | CRM Stripe SMS Complete             | reached   | 1
        CS-4 | Stripe Email     | CRM Razorpay SMS Complete           | reached   | 2
        CS-5 | Stripe Razorpay  | CRM                                 | escalated | 1
        CS-6 | Email SMS        | CRM Stripe                          | escalated | 1
        CS-7 | CRM              |                                     | escalated | 0
        TB-1 |                  | Flight Hotel Car Payment Confirm    | reached   | 0
        TB-2 | Flight           | Train Hotel Car Payment Confirm     | reached   | 1
        TB-3 | Hotel Car        | Flight Hostel Bus Payment Confirm   | reached   | 1
        TB-4 | Flight Train     |                                     | escalated | 1
        TB-5 | Flight Hotel Car | Train Hostel Bus Payment Confirm    | reached   | 2
        TB-6 | Payment          | Flight Hotel Car                    | escalated | 0
        CM-1 |                  | Text Toxicity AutoApprove Complete  | reached   | 0
        CM-2 | Text             | Image Toxicity AutoApprove Complete | reached   | 1
        CM-3 | AutoApprove      | Text Toxicity HumanReview Complete  | reached   | 1
        CM-4 | Text AutoApprove | Image Toxicity HumanReview Complete | reached   | 2
        CM-5 | Text Image Video |                                     | escalated | 2
        CM-6 | Toxicity         | Text                                | escalated | 0
        """
    )
)


def failure_sets(published: PublishedGraph) -> list[tuple[str, ...]]:
    """Return every set of tools that may be down, the empty one included."""
    tools = published.tools
    return [chosen for size in range(len(tools) + 1) for chosen in combinations(tools, size)]


def run(of_graph: Graph, down: Iterable[str] = (), *, known: bool = False, policy: Policy | None = None) -> RunResult:
    """Simulate a run in which some tools are down for good.

    Args:
        of_graph: The graph.
        down: Tools that always fail.
        known: Whether that is known before the run starts, or found out by calling them.
        policy: The policy; default: the default one.
    """
    if known:
        return simulate(of_graph, policy, down=dict.fromkeys(down, "down"))
    return simulate(of_graph, policy, faults=FaultPlan({tool: (Fault("permanent"),) for tool in down}))


def walked(result: RunResult) -> tuple[str, ...]:
    """Return the tools whose results stand, in order, without Start."""
    return tuple(name for name in result.route if name != START)
