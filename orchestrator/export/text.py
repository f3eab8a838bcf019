"""A drawing of the graph in plain text, for the terminal.

A goal that is reached along one line of nodes is drawn as a chain, with its alternatives in braces. Any other goal is
drawn as a tree of the values that it needs, each with the nodes that provide it and their expected cost in units; what
a node needs is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.export.flow import Flow, flows, visible
from orchestrator.graph import INPUT, Graph
from orchestrator.policy import Objective
from orchestrator.units import MICRO
from orchestrator.weight import declared_view

__all__ = ("to_text",)


def to_text(graph: Graph, *, objective: Objective | None = None) -> str:
    """Return *graph* as text, goal by goal, best first.

    Args:
        graph: The graph.
        objective: Rates for the costs shown; None: the default ones.
    """
    return "\n".join(_Drawing(graph, objective or Objective()).goals())


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of a tree: a need, and those of the value's providers that have it (empty: all)."""

    depth: int
    flow: Flow
    owners: tuple[str, ...] = ()


class _Drawing:
    """The drawing of one graph; remembers which nodes were told already."""

    def __init__(self, graph: Graph, objective: Objective) -> None:
        self.graph = graph
        self.weights = {name: f"{weight / MICRO:.4g}" for name, weight in declared_view(graph, objective).weights}
        self.node_flows: dict[str, list[Flow]] = {INPUT: [], **{node.name: [] for node in graph.nodes}}
        self.goal_flows: dict[int, list[Flow]] = {}
        for flow in flows(graph):
            if flow.consumer.rank is None:
                self.node_flows[flow.consumer.name].append(flow)
            else:
                self.goal_flows.setdefault(flow.consumer.rank, []).append(flow)
        self.told: set[str] = set()

    def goals(self) -> Iterator[str]:
        for rank, goal in enumerate(self.graph.goals, start=1):
            needed = self.goal_flows.get(rank, [])
            chain = _chain(needed[0], self.node_flows) if len(needed) == 1 else None
            name = visible(goal.name)
            if chain is not None:
                yield f"goal {name}: {' -> '.join([*chain, name])}"
            else:
                yield f"goal {name}: {' + '.join(visible(flow.need.value) for flow in needed)}"
                yield from self.tree(needed)

    def tree(self, needed: list[Flow]) -> Iterator[str]:
        waiting = [_Entry(1, flow) for flow in reversed(needed)]
        while waiting:
            entry = waiting.pop()
            needy = [name for name in entry.flow.providers if self.node_flows[name]]
            known = [name for name in needy if name in self.told]
            yield "  " * entry.depth + self.line(entry, needy, known)
            fresh = [name for name in entry.flow.providers if name not in self.told and name != INPUT]
            self.told.update(fresh)
            waiting += reversed(self.needs_of(fresh, entry))

    def needs_of(self, providers: list[str], entry: _Entry) -> list[_Entry]:
        """Return what *providers* need, one entry for a need that several of them have alike."""
        alike: dict[tuple[str, str, str], tuple[Flow, list[str]]] = {}
        for name in providers:
            for flow in self.node_flows[name]:
                _, owners = alike.setdefault((flow.need.value, _terms(flow), self.offers(flow)), (flow, []))
                owners.append(name)
        everyone = len([name for name in entry.flow.providers if name != INPUT])
        return [
            _Entry(entry.depth + 1, flow, () if len(set(owners)) == everyone else tuple(dict.fromkeys(owners)))
            for flow, owners in alike.values()
        ]

    def line(self, entry: _Entry, needy: list[str], known: list[str]) -> str:
        marks = [f"for {', '.join(map(visible, entry.owners))}"] if entry.owners else []
        marks += [_terms(entry.flow)] if _terms(entry.flow) else []
        head = visible(entry.flow.need.value) + (f" ({'; '.join(marks)})" if marks else "")
        tail = f" ({'' if known == needy else ', '.join(map(visible, known)) + ' '}as above)" if known else ""
        return f"{head}: {self.offers(entry.flow)}{tail}"

    def offers(self, flow: Flow) -> str:
        """Return everyone who could serve a need, with costs, and who may not, with the reason."""
        extra = dict(flow.extra)
        found = []
        for name in flow.providers:
            offer = "run input" if name == INPUT else f"{visible(name)} {self.weights[name]}"
            found.append(f"{offer} +{extra[name]:.4g}" if name in extra else offer)
        for edge in flow.forbidden:
            found.append(f"{visible(edge.source)} forbidden" + (f": {visible(edge.reason)}" if edge.reason else ""))
        return " | ".join(found) or "nobody provides it"


def _terms(flow: Flow) -> str:
    terms = [] if flow.need.optional is None else [f"optional, {flow.need.optional:.4g}"]
    return "; ".join(terms if flow.need.passed else [*terms, "after"])


def _chain(flow: Flow, node_flows: dict[str, list[Flow]]) -> list[str] | None:
    """Return the stages up to *flow* if every node on the way needs one value at most besides run inputs."""
    stages: list[str] = []
    seen: set[str] = set()
    while True:
        if not flow.providers or _is_special(flow) or flow.need.value in seen:
            return None
        seen.add(flow.need.value)
        names = ["run input" if name == INPUT else visible(name) for name in flow.providers]
        stages.append(names[0] if len(names) == 1 else f"{{{' | '.join(names)}}}")
        before = [[need for need in node_flows[name] if need.providers != (INPUT,)] for name in flow.providers]
        if any(_is_special(need) for name in flow.providers for need in node_flows[name]):
            return None
        if not any(before):
            return stages[::-1]
        if any(len(needs) != 1 for needs in before) or len({(n[0].need.value, n[0].providers) for n in before}) > 1:
            return None
        flow = before[0][0]


def _is_special(flow: Flow) -> bool:
    return flow.need.optional is not None or bool(flow.extra) or bool(flow.forbidden)
