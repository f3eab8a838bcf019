"""The graphs that are measured: drawn from fixed seeds, shaped like tool graphs.

Every node has one cost, in units, that is paid by whoever uses its value. Costs have three decimals and spread over a
factor of fifty, as the latencies and prices of real tools do, so that ties are rare and a cheaper way is worth finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp, log
from random import Random

from orchestrator.graph import Edge, Goal, Graph, Need, Node

__all__ = ("GOAL", "QUESTION", "joined", "layered", "staged")

QUESTION = "question"
"""The only run input."""

GOAL = "goal"
"""The name of the only goal."""

ANSWER = "answer"
LEAST, MOST = 0.1, 5.0


def layered(size: int, seed: int, *, degree: int = 4) -> Graph:
    """Draw *size* single-need nodes in layers, each feeding about *degree* nodes of the next layer.

    Every node takes whatever one of its predecessors gives it, so the drawn edges are exactly the edges of the graph:
    any directed acyclic graph can be written like this.
    """
    random = Random(f"layered {size} {seed}")
    width = max(degree, round(size**0.5))
    layers = [range(start, min(start + width, size)) for start in range(0, size, width)]
    feeds: dict[int, list[str]] = {node: [] for node in range(size)}
    # The last layer feeds the goal only; the others make up for it, so that the mean is what was asked for.
    inner = sum(len(layer) for layer in layers[:-1])
    edges_left = degree * size - len(layers[-1])
    for layer, following in pairwise(layers):
        for node in layer:
            count = min(len(following), max(1, round(edges_left / inner)))
            edges_left, inner = edges_left - count, inner - 1
            feeds[node] = [f"for-{target:05d}" for target in sorted(random.sample(following, count))]
    for node in layers[-1]:
        feeds[node] = [ANSWER]
    first = set(layers[0])
    return _graph(
        Node(
            f"node-{node:05d}",
            needs=(Need("given", QUESTION if node in first else f"for-{node:05d}"),),
            provides=tuple(feeds[node]),
            units=_cost(random),
        )
        for node in range(size)
    )


def staged(size: int, seed: int, *, degree: int = 4) -> Graph:
    """Draw a long chain of single needs: stage after stage, each with *degree* alternatives for one value."""
    random = Random(f"staged {size} {seed}")
    stages = -(-size // degree)

    def value(stage: int) -> str:
        return QUESTION if stage == 0 else ANSWER if stage == stages else f"value-{stage:05d}"

    return _graph(
        Node(
            f"node-{node:05d}",
            needs=(Need("given", value(node // degree)),),
            provides=(value(node // degree + 1),),
            units=_cost(random),
        )
        for node in range(size)
    )


def joined(size: int, seed: int) -> Graph:
    """Draw a graph of alternatives, joins and shared sub-results, as agents' tool graphs have them.

    Layers of values; every value has one to four alternative providers that join one to three values of earlier
    layers, mostly of the one before. Each layer has a value that many ask for (a login, a customer record), and some
    providers are dear shortcuts that ask for nothing but the question. One need in twelve is optional at a price, and
    a few written edges cost something. The goal joins what the last layers provide.
    """
    random = Random(f"joined {size} {seed}")
    nodes: list[Node] = []
    layers: list[list[str]] = [[QUESTION]]
    depth = 2 + round(size**0.5 / 2)
    while len(nodes) < size:
        layer: list[str] = []
        for _ in range(max(2, round(size / depth / 2.25))):
            value = f"value-{len(layers):02d}-{len(layer)}"
            for _ in range(min(random.choice((1, 2, 2, 3, 3, 4)), size - len(nodes))):
                nodes.append(_joining(random, f"node-{len(nodes):03d}", value, layers))
            if nodes and nodes[-1].provides == (value,):
                layer.append(value)
        layers.append(layer)
    last = [*layers[-2][1:], *layers[-1]] if len(layers) > 2 else layers[-1]
    values = tuple(random.sample(last, min(len(last), random.choice((1, 2, 2, 3)))))
    graph = Graph(tuple(nodes), (Goal(GOAL, values),))
    pairs = sorted({(provider, consumer) for provider, consumer, _ in graph.implied_edges()})
    dear = random.sample(pairs, len(pairs) // 25)
    edges = tuple(Edge(provider, consumer, cost=_cost(random) / 4) for provider, consumer in dear)
    return Graph(graph.nodes, graph.goals, edges)


def _joining(random: Random, name: str, value: str, layers: Sequence[Sequence[str]]) -> Node:
    if len(layers) > 2 and random.random() < 0.08:
        return Node(name, needs=(Need("given", QUESTION),), provides=(value,), units=round(_cost(random) * 4, 3))
    wanted: dict[str, None] = {}
    for _ in range(random.choice((1, 1, 2, 2, 3))):
        layer = layers[-1] if random.random() < 0.75 else random.choice(layers)
        # Half of all askers ask for the layer's first value: that is what makes sub-results shared.
        wanted[layer[0] if random.random() < 0.5 else random.choice(layer)] = None
    needs = [
        Need(wish, wish, optional=_cost(random) if wish != QUESTION and random.random() < 1 / 12 else None)
        for wish in wanted
    ]
    return Node(name, needs=tuple(needs), provides=(value,), units=_cost(random))


def _cost(random: Random) -> float:
    """Draw a cost in units, evenly over its logarithm."""
    return round(exp(random.uniform(log(LEAST), log(MOST))), 3)


def _graph(nodes: Iterable[Node]) -> Graph:
    return Graph(tuple(nodes), (Goal(GOAL, (ANSWER,)),))
