"""What a graph says and its author may not have meant: the findings of ``orchestrator validate``.

A graph that loads can still be wrong. Edges and run inputs are inferred, so a misspelt value does not fail: it becomes
a run input on one side and a value that nobody needs on the other. Nothing here is called, and nothing is guessed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from orchestrator.export import to_text
from orchestrator.export.flow import Consumer, Flow, flows, given, visible
from orchestrator.findings import SEVERITIES, Finding, InferredEdge, Report, listed
from orchestrator.graph import INPUT, Edge, Graph, Node

__all__ = ("report",)

_ALIKE = 0.8
"""Least `difflib` ratio at which two names are taken for a slip of the pen."""


def report(graph: Graph, *, declared_inputs: bool, unheard: Collection[str] = ()) -> Report:
    """Look a graph over, calling nothing.

    Args:
        graph: The graph.
        declared_inputs: Whether the file has ``inputs:``; any other run input is then an error.
        unheard: Nodes that declare a probe under a policy that gives health no say.
    """
    survey = _Survey(graph)
    findings = [*_inputs(survey, declared_inputs), *_unheard(unheard)]
    for check in (_goals, _needs, _cycles, _optional_needs, _values, _nodes, _edges, _goal_order, _effects):
        findings += check(survey)
    # Stable: within one severity the checks keep their order, and each goes through the graph in order of names.
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    declared = tuple(sorted(known.name for known in graph.inputs))
    return Report(
        graph.name, to_text(graph), declared, survey.inferred, tuple(_inferred_edges(survey.flows)), tuple(findings)
    )


class _Survey:
    """A graph with what several checks ask of it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.flows = flows(graph)
        self.needs: dict[Consumer, list[Flow]] = {Consumer(node.name): [] for node in graph.nodes}
        self.needs |= {Consumer(goal.name, rank): [] for rank, goal in enumerate(graph.goals, start=1)}
        for flow in self.flows:
            self.needs[flow.consumer].append(flow)
        self.needed = frozenset(flow.need.value for flow in self.flows)
        declared = {known.name for known in graph.inputs}
        self.inferred = tuple(value for value in given(graph) if value not in declared)
        self.goal_values = frozenset(value for goal in graph.goals for value in goal.values)

    @cached_property
    def possible(self) -> frozenset[Consumer]:
        """Consumers whose required needs can all be met, the run inputs being given: a least fixpoint."""
        missing = {
            consumer: len({flow for flow in needs if flow.need.optional is None})
            for consumer, needs in self.needs.items()
        }
        feeds: dict[str, list[Flow]] = {}
        for flow in self.flows:
            if flow.need.optional is None:
                for provider in flow.providers:
                    feeds.setdefault(provider, []).append(flow)
        found: set[Consumer] = set()
        served: set[Flow] = set()
        waiting = [Consumer(INPUT), *(consumer for consumer, count in missing.items() if not count)]
        while waiting:
            consumer = waiting.pop()
            found.add(consumer)
            for flow in feeds.get(consumer.name, []) if consumer.rank is None else []:
                if flow not in served:
                    served.add(flow)
                    missing[flow.consumer] -= 1
                    if not missing[flow.consumer]:
                        waiting.append(flow.consumer)
        return frozenset(found)

    @cached_property
    def useful(self) -> frozenset[str]:
        """Nodes from which values can flow to a goal, through nodes that can run."""
        found: set[str] = set()
        waiting = [consumer for consumer in self.needs if consumer.rank is not None]
        while waiting:
            for flow in self.needs.get(waiting.pop(), []):
                for provider in flow.providers:
                    if provider not in found and Consumer(provider) in self.possible:
                        found.add(provider)
                        waiting.append(Consumer(provider))
        return frozenset(found)

    def is_met(self, flow: Flow) -> bool:
        return self.can_run(flow.providers)

    def can_run(self, providers: Iterable[str]) -> bool:
        return any(Consumer(provider) in self.possible for provider in providers)

    def unmet(self, consumer: Consumer) -> Flow | None:
        """Return the first required need that can never be met."""
        return next((f for f in self.needs[consumer] if f.need.optional is None and not self.is_met(f)), None)


def _inferred_edges(all_flows: tuple[Flow, ...]) -> Iterator[InferredEdge]:
    found = (
        InferredEdge(provider, flow.consumer.name, flow.need.value, flow.consumer.rank is not None)
        for flow in all_flows
        for provider in flow.providers
        if provider != INPUT
    )
    yield from dict.fromkeys(found)


def _inputs(survey: _Survey, declared_inputs: bool) -> Iterator[Finding]:
    provided = survey.graph.providers
    for value in survey.inferred:
        meant = _did_you_mean(value, provided)
        takers = ", ".join(dict.fromkeys(str(flow.consumer) for flow in survey.flows if flow.need.value == value))
        if declared_inputs:
            message = f"value `{visible(value)}`, needed by {takers}, is provided by nobody and is no declared input"
            help = meant or f"declare it under inputs, or let a node provide `{visible(value)}`"
            yield Finding("undeclared-input", "error", message, value, help)
        elif value in survey.goal_values:
            message = f"value `{visible(value)}` is a goal's and provided by nobody: it would have to be a run input"
            yield Finding("goal-not-provided", "warning", message, value, meant or "let a node provide it")
        elif meant:
            message = f"value `{visible(value)}`, needed by {takers}, is provided by nobody and so a run input"
            yield Finding("near-miss", "warning", message, value, meant)
    for known in sorted(survey.graph.inputs, key=lambda known: known.name):
        if known.name not in survey.needed:
            message = f"declared input `{visible(known.name)}` is needed by nobody"
            yield Finding("unused-input", "warning", message, known.name, _did_you_mean(known.name, survey.inferred))


def _unheard(names: Collection[str]) -> Iterator[Finding]:
    for name in sorted(names):
        message = f"the probe of node `{visible(name)}` is never sent: the policy says health.use: false"
        yield Finding("unheard-probe", "warning", message, name, "set health.use: true, or leave out probe:")


def _goals(survey: _Survey) -> Iterator[Finding]:
    for consumer in survey.needs:
        flow = survey.unmet(consumer) if consumer.rank is not None else None
        if flow is not None:
            message = f"{consumer} is out of reach: value `{visible(flow.need.value)}` cannot be had ({_why(flow)})"
            yield Finding("goal-out-of-reach", "error", message, consumer.name)


def _needs(survey: _Survey) -> Iterator[Finding]:
    for consumer in survey.needs:
        flow = survey.unmet(consumer) if consumer.rank is None else None
        if flow is not None:
            value = visible(flow.need.value)
            message = f"{consumer} can never run: its value `{value}` cannot be had ({_why(flow)})"
            help = f"allow the edge, or let another node provide `{value}`" if flow.forbidden else None
            yield Finding("need-never-met", "warning", message, consumer.name, help)


def _why(flow: Flow) -> str:
    """Say why nobody can serve a need."""
    reasons = [f"{listed([name])} can never run" for name in flow.providers]
    for edge in flow.forbidden:
        reasons.append(f"{listed([edge.source])} is forbidden" + (f": {visible(edge.reason)}" if edge.reason else ""))
    return "; ".join(reasons) or "nobody provides it"


def _values(survey: _Survey) -> Iterator[Finding]:
    wanted = [value for value in survey.needed if value not in survey.graph.providers]
    for value, names in survey.graph.providers.items():
        if value in survey.needed:
            continue
        idle = [name for name in names if name not in survey.useful]
        meant = _did_you_mean(value, wanted)
        message = f"value `{visible(value)}`, provided by {listed(names)}, is needed by nobody and no goal"
        message += f", so that {listed(idle)} {'serves' if len(idle) == 1 else 'serve'} no goal" if idle else ""
        help = meant or (f"list `{visible(value)}` among a goal's values, or after: of a node" if idle else None)
        yield Finding("unused-value", "warning" if idle or meant else "note", message, value, help)


def _nodes(survey: _Survey) -> Iterator[Finding]:
    for node in survey.graph.nodes:
        # A node that can never run, or whose values nobody needs, has its finding already.
        if (
            node.name not in survey.useful
            and Consumer(node.name) in survey.possible
            and any(value in survey.needed for value in node.provides)
        ):
            message = f"node `{visible(node.name)}` serves no goal: nothing that takes its values leads to one"
            yield Finding("unused-node", "warning", message, node.name)


def _optional_needs(survey: _Survey) -> Iterator[Finding]:
    for flow in survey.flows:
        if flow.need.optional is not None and not survey.is_met(flow):
            value = visible(flow.need.value)
            message = f"{flow.consumer} always does without its optional value `{value}` ({_why(flow)})"
            help = _did_you_mean(flow.need.value, survey.graph.providers) if not flow.providers else None
            yield Finding("optional-never-met", "warning", message, flow.consumer.name, help)


def _edges(survey: _Survey) -> Iterator[Finding]:
    graph = survey.graph
    joined = {
        (provider, flow.consumer.name)
        for flow in survey.flows
        # Where a node and a goal share a name, a written edge means the node.
        if flow.consumer.rank is None or flow.consumer.name not in graph.by_name
        for provider in (*flow.providers, *(edge.source for edge in flow.forbidden))
    }
    for edge in sorted(graph.edges, key=lambda edge: (edge.source, edge.target)):
        related = (edge.source, edge.target) in joined
        reason = _no_effect(edge, graph, related)
        if reason:
            pair = f"{visible(edge.source)} -> {visible(edge.target)}"
            help = (
                None if related else f"if `{visible(edge.target)}` must wait, name a value of the other in its after:"
            )
            yield Finding("edge-without-effect", "warning", f"edge {pair} has no effect: {reason}", pair, help)


def _no_effect(edge: Edge, graph: Graph, related: bool) -> str | None:
    if not related:
        return "no value flows between the two"
    if graph.written_edges[edge.source, edge.target] is not edge:
        return "the pair is written again further down"
    if edge.forbid and edge.cost:
        return "what is forbidden is never charged its cost"
    return None if edge.forbid or edge.cost else "it neither costs nor forbids anything"


def _goal_order(survey: _Survey) -> Iterator[Finding]:
    offers = [
        {flow.need.value: set(flow.providers) for flow in needs}
        for consumer, needs in survey.needs.items()
        if consumer.rank is not None
    ]
    listed = list(zip(survey.graph.goals, offers, strict=True))
    for place, (lower, below) in enumerate(listed):
        for higher, above in listed[:place]:
            # A check may fail although the values are there; the same values without it are a lower goal then.
            if not higher.check and all(value in below and below[value] <= above[value] for value in above):
                message = (
                    f"goal `{visible(lower.name)}` can never stand in for goal `{visible(higher.name)}` above it: "
                    "it needs every value of it"
                )
                yield Finding("goal-order", "warning", message, lower.name, "list goals best first")
                break


def _effects(survey: _Survey) -> Iterator[Finding]:
    for node in survey.graph.nodes:
        if node.effect is None:
            message = f"node `{visible(node.name)}` is unmarked, so it is never repeated"
            help = "write effect: read, idempotent or once"
            yield Finding("unmarked-effect", "warning", message, node.name, help)
    for node in survey.graph.nodes:
        yield from _unsettled(node)


def _unsettled(node: Node) -> Iterator[Finding]:
    name = visible(node.name)
    lacks = [key for key, there in (("verify", node.verify), ("undo", node.undo)) if not there]
    if node.effect == "once" and lacks:
        costs = {
            "verify": "a lost answer waits for a person",
            "undo": "once done, no other provider of its value may start",
        }
        message = f"node `{name}` is `once` without {' and '.join(lacks)}: {'; '.join(costs[key] for key in lacks)}"
        yield Finding("unsettled-once", "note", message, node.name)
    elif node.effect not in ("once", "read") and node.risk and not node.undo and node.gate == "never":
        message = f"node `{name}` declares a risk, and has neither undo nor approve"
        yield Finding("unguarded-risk", "note", message, node.name)


def _cycles(survey: _Survey) -> Iterator[Finding]:
    import networkx as nx

    through: nx.DiGraph[str] = nx.DiGraph()
    for flow in survey.flows:
        if flow.consumer.rank is None and flow.providers:
            for value in survey.graph.by_name[flow.consumer.name].provides:
                through.add_edge(flow.need.value, value)
    circles = [sorted(values) for values in nx.strongly_connected_components(through) if len(values) > 1]
    for values in sorted(circles):
        nodes = dict.fromkeys(
            flow.consumer.name
            for flow in survey.flows
            if flow.consumer.rank is None
            and flow.need.value in values
            and not set(values).isdisjoint(survey.graph.by_name[flow.consumer.name].provides)
        )
        message = f"values {listed(values)} need each other, through nodes {listed(nodes)}"
        if any(survey.can_run(survey.graph.providers.get(value, ())) for value in values):
            yield Finding("cycle", "note", f"{message}; no route goes round", values[0])
        else:
            help = "let a node that needs none of them provide one, or give one as a run input"
            yield Finding("cycle", "warning", f"{message}: none can be had first", values[0], help)


def _did_you_mean(name: str, known: Collection[str]) -> str | None:
    close = difflib.get_close_matches(name, sorted(known), cutoff=_ALIKE)
    likely = next((other for other in close if not _is_variant(name, other)), None)
    return None if likely is None else f"did you mean `{visible(likely)}`?"


def _is_variant(name: str, other: str) -> bool:
    """Whether two names differ by whole words or by numbers, as `order` and `order_id` do: on purpose, that is."""
    words, others = (re.findall(r"[^\W\d_]+", text) for text in (name.lower(), other.lower()))
    if words == others:
        return re.findall(r"\d+", name) != re.findall(r"\d+", other)
    short, long = sorted((words, others), key=len)
    return len(short) < len(long) and set(short) <= set(long)
