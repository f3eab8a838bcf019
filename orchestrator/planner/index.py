"""A graph and a view as integers: what a search runs over.

Built once per (graph, view) and never changed, but for what a planner remembers with it. Nodes are numbered in the
order of their names, so comparing numbers compares names; the run input has a number of its own among them. Goals are
consumers too and come last. Every need of every consumer has one number, so that a search can keep its state in flat
lists.
"""

from __future__ import annotations

from typing import Any

from orchestrator.graph import INPUT, Graph
from orchestrator.units import micro
from orchestrator.weight import View

__all__ = ("INFINITY", "NANO", "Index")

NANO = 1_000_000_000
"""Money and time of a route are summed as integers too: billionths of a dollar, or of a second."""

INFINITY = 1 << 4096
"""More than any sum; what is not found costs this. A tree's sum doubles with every layer of joins that share a node."""

Candidate = tuple[int, int, int]
"""(provider, edge cost, edge cost + node / trail), in micro-units."""


class Index:
    """Integer arrays over one graph and one view."""

    def __init__(self, graph: Graph, view: View) -> None:
        self.graph = graph
        self.view = view
        self.names = sorted([*graph.by_name, INPUT])
        self.number = {name: i for i, name in enumerate(self.names)}
        self.input = self.number[INPUT]
        self.size = len(self.names)
        self.null = self.size
        """Stands for "done without" where a provider's number is expected."""
        self.goal_number = {goal.name: self.size + i for i, goal in enumerate(graph.goals)}
        self.total = self.size + len(graph.goals)
        self.bits = self.total.bit_length()
        """A heap entry holds a cost above this many bits of a consumer's number."""
        self.solved: dict[Any, Any] = {}
        """What the planner of this index has solved on it."""
        self._figures(view)
        self._needs()
        self._candidates(view)
        self._conflicts()

    def _figures(self, view: View) -> None:
        weights = dict(view.weights)
        nodes = self.graph.by_name
        blank = [0] * self.size
        self.weight = list(blank)
        self.usd = list(blank)
        self.seconds = list(blank)
        self.vetoed: dict[int, str] = {}
        vetoes = dict(view.vetoes)
        for i, name in enumerate(self.names):
            node = nodes.get(name)
            if node is None:
                continue
            self.weight[i] = weights[name]
            self.usd[i] = round((node.usd or 0.0) * NANO)
            self.seconds[i] = round((node.seconds or 0.0) * NANO)
            if name in vetoes:
                self.vetoed[i] = vetoes[name]

    def _needs(self) -> None:
        nodes = self.graph.by_name
        self.needs: list[tuple[int, ...]] = []
        """The numbers of each consumer's needs."""
        self.consumer: list[int] = []
        self.value: list[str] = []
        self.price: list[int | None] = []
        consumers = [nodes[name].needs if name in nodes else () for name in self.names]
        consumers += [goal.needs for goal in self.graph.goals]
        for c, needs in enumerate(consumers):
            first = len(self.value)
            for need in needs:
                self.consumer.append(c)
                self.value.append(need.value)
                self.price.append(None if need.optional is None else micro(need.optional))
            self.needs.append(tuple(range(first, len(self.value))))
        self.wanted: dict[str, list[int]] = {}
        """The needs that a value serves."""
        for m, value in enumerate(self.value):
            self.wanted.setdefault(value, []).append(m)
        self.first_cost = [INFINITY if price is None else price for price in self.price]
        self.first_pick = [-1 if price is None else self.null for price in self.price]
        """A search starts from doing without, at its price, or from nothing."""
        self.required = [sum(self.price[m] is None for m in needs) for needs in self.needs]
        self.ready = tuple(c for c in range(self.total) if not self.required[c] and c != self.input)
        self.roots = tuple(i for i in range(self.size) if not self.needs[i] and i != self.input)
        self.single = all(len(needs) <= 1 for needs in self.needs) and not any(p is not None for p in self.price)

    def _candidates(self, view: View) -> None:
        graph = self.graph
        names = [*self.names, *(goal.name for goal in graph.goals)]
        self.consumer_name = names
        trails = {(provider, consumer): weight for provider, consumer, weight in view.trails}
        self.edge: dict[tuple[int, int], int] = {}
        """Written edge costs, by (provider, consumer)."""
        self.forbidden: set[tuple[int, int]] = set()
        targets: dict[str, list[int]] = {}
        for c, name in enumerate(names):
            targets.setdefault(name, []).append(c)
        for written in graph.edges:
            p = self.number.get(written.source)
            # A node and a goal may share a name; a written edge then means the node.
            for c in targets.get(written.target, ())[:1]:
                if p is None:
                    continue
                if written.forbid:
                    self.forbidden.add((p, c))
                else:
                    self.edge[p, c] = micro(written.cost)
        self.through: dict[tuple[int, int], int] = {}
        """``node / trail`` of the edges whose trail is not 1."""
        for (source, target), weight in trails.items():
            for c in targets.get(target, ())[:1]:
                self.through[self.number[source], c] = max(weight, 1)
        providers = {
            value: [self.number[name] for name in provider_names] for value, provider_names in graph.providers.items()
        }
        self.candidates: list[list[Candidate]] = []
        self.out: list[list[tuple[int, int, int]]] = [[] for _ in range(self.size)]
        """Per provider: (need, edge cost, use)."""
        self.hops: list[list[tuple[int, int]]] = [[] for _ in range(self.size)]
        """Per provider: (consumer, use); the adjacency of plain Dijkstra."""
        for m, value in enumerate(self.value):
            c = self.consumer[m]
            found = []
            for p in providers.get(value, ()):
                if p == c or (p, c) in self.forbidden:
                    continue
                edge = self.edge.get((p, c), 0)
                use = edge + self.through.get((p, c), self.weight[p])
                found.append((p, edge, use))
                self.out[p].append((m, edge, use))
                self.hops[p].append((c, use))
            self.candidates.append(found)

    def _conflicts(self) -> None:
        nodes = self.graph.by_name
        self.once = [name in nodes and nodes[name].effect == "once" for name in self.names]
        self.conflict = [0] * self.size
        """Bit mask of the nodes that may not serve beside this one: they share a value, and one is `once`."""
        for provider_names in self.graph.providers.values():
            numbers = [self.number[name] for name in provider_names]
            for i in numbers:
                for j in numbers:
                    if i != j and (self.once[i] or self.once[j]):
                        self.conflict[i] |= 1 << j
        self.effects = any(self.conflict)

    def node_cost(self, provider: int, consumer: int) -> int:
        """Return ``node / trail`` of one edge in micro-units."""
        return self.through.get((provider, consumer), self.weight[provider])
