"""Who may serve whom: every need of every node and goal, with its permitted and its forbidden providers.

This is the graph with its implied edges written out, run inputs included, as pictures and checks look at it.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.graph import INPUT, Edge, Graph, Need

__all__ = ("Consumer", "Flow", "flows", "given", "visible")


@dataclass(frozen=True, slots=True)
class Consumer:
    """A node or a goal, as one that needs values. A node and a goal may share a name."""

    name: str
    rank: int | None = None
    """Place of a goal in the list, from 1; None for a node."""

    def __str__(self) -> str:
        kind = "node" if self.rank is None else "goal"
        return f"{kind} `{visible(self.name)}`"


@dataclass(frozen=True, slots=True)
class Flow:
    """One need of one consumer, and everyone who provides its value."""

    consumer: Consumer
    need: Need
    providers: tuple[str, ...]
    """Those that may serve it, by name, a run input last."""
    extra: tuple[tuple[str, float], ...] = ()
    """Written edge costs in units, by provider."""
    forbidden: tuple[Edge, ...] = ()
    """Written edges that keep a provider away."""


def given(graph: Graph) -> tuple[str, ...]:
    """Return the values that a run may be given: those that nobody provides, and the declared inputs."""
    return tuple(sorted({*graph.run_inputs, *(declared.name for declared in graph.inputs)}))


def flows(graph: Graph) -> tuple[Flow, ...]:
    """Return every need with its providers: nodes by name, then goals, best first."""
    from_outside = frozenset(given(graph))
    needy = [(Consumer(node.name), node.needs) for node in graph.nodes]
    needy += [(Consumer(goal.name, rank), goal.needs) for rank, goal in enumerate(graph.goals, start=1)]
    return tuple(_flow(graph, consumer, need, from_outside) for consumer, needs in needy for need in needs)


def _flow(graph: Graph, consumer: Consumer, need: Need, from_outside: frozenset[str]) -> Flow:
    providers: list[str] = []
    extra: list[tuple[str, float]] = []
    forbidden: list[Edge] = []
    for name in (*graph.providers.get(need.value, ()), *([INPUT] if need.value in from_outside else [])):
        if consumer.rank is None and name == consumer.name:
            continue
        written = _written(graph, name, consumer)
        if written is not None and written.forbid:
            forbidden.append(written)
            continue
        providers.append(name)
        if written is not None and written.cost:
            extra.append((name, written.cost))
    return Flow(consumer, need, tuple(providers), tuple(extra), tuple(forbidden))


def _written(graph: Graph, provider: str, consumer: Consumer) -> Edge | None:
    # Where a node and a goal share a name, a written edge means the node.
    if consumer.rank is not None and consumer.name in graph.by_name:
        return None
    return graph.written_edges.get((provider, consumer.name))


def visible(text: str) -> str:
    r"""Write characters that cannot be seen, such as a line break, as escapes.

    >>> visible("two\nlines")
    'two\\nlines'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
