"""Resolving: from a spec to the graph that is planned over and the policy that a run obeys.

Signatures are read here, and nothing is called. A Python function is imported only where its needs are to be read
from it, unless all imports are asked for: so a graph can be planned and simulated without the packages it will call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

from orchestrator.errors import SpecError
from orchestrator.graph import Edge, Goal, Graph, Node, RunInput
from orchestrator.policy import Policy
from orchestrator.spec.checks import check, deciding_model
from orchestrator.spec.defaults import effect_of, repeatable, retry_of
from orchestrator.spec.load import Loaded
from orchestrator.spec.models import AgentSpec, Cost, GraphSpec, ToolSpec
from orchestrator.spec.needs import kind_path, needs_of
from orchestrator.spec.policies import load_policy
from orchestrator.spec.problems import Finding, Path, Places, did_you_mean, in_order, placed, quoted
from orchestrator.spec.references import References, UnusableReferenceError, named_references

__all__ = ("Resolved", "resolve")

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A graph, ready to be planned over and bound."""

    graph: Graph
    policy: Policy
    spec: GraphSpec
    references: References
    """Looks up the references of the graph."""


def resolve(
    source: Loaded | GraphSpec,
    *,
    functions: Mapping[str, Function] | None = None,
    policy: Policy | None = None,
    imports: bool = False,
    decider: str | None = None,
) -> Resolved:
    """Make the graph of a loaded file, or of a spec made in code.

    Args:
        source: What was loaded.
        functions: Functions that are at hand, by the name of the Python tool that calls them or by the text of a
            reference; they are not imported.
        policy: Used instead of the one that the source names.
        imports: Whether every reference is looked up, also those whose needs are written.
        decider: The name of a model that was handed over in code: it decides where the policy lets one.

    Raises:
        SpecError: A function does not fit its needs, a reference leads nowhere, an edge carries nothing, or an input
            is not declared; it holds every such problem.
    """
    functions = functions or {}
    if isinstance(source, Loaded):
        spec, root, places, secrets = source.spec, source.root, source.places, source.secrets
    else:
        spec, root, places, secrets = source, None, None, frozenset()
        _raise(check(spec, in_hand=functions), None, secrets)
    if policy is not None:
        # It does not stand in the file: what is wrong with it has no place there.
        if decider is None:
            _raise(deciding_model(policy.escalation, spec.models, ()), None, secrets)
        named = False
    else:
        policy, named = _policy(spec, root), isinstance(spec.policy, str)
    if decider is not None and policy.escalation.by == "model":
        policy = policy.model_copy(update={"escalation": policy.escalation.model_copy(update={"model": decider})})
    references = References(spec.imports.allow, root)
    resolving = _Resolving(spec, functions, references, imports)
    graph = resolving.graph(policy)
    if named and decider is None:  # a map in the file was checked with the file
        resolving.findings += deciding_model(policy.escalation, spec.models, ("policy",))
    _raise(resolving.findings, places, secrets)
    return Resolved(graph, policy, spec, references)


def _raise(findings: Iterable[Finding], places: Places | None, secrets: Collection[str]) -> None:
    problems = in_order(placed(finding, places, secrets) for finding in findings)
    if problems:
        raise SpecError(problems)


def _policy(spec: GraphSpec, root: FilePath | None) -> Policy:
    if isinstance(spec.policy, Policy):
        return spec.policy
    return load_policy(spec.policy, root=root or FilePath(), environ={})


class _Resolving:
    """One spec on its way to a graph, and what is wrong with it."""

    def __init__(
        self, spec: GraphSpec, functions: Mapping[str, Function], references: References, imports: bool
    ) -> None:
        self.spec = spec
        self.references = references
        self.findings: list[Finding] = []
        self._functions = functions
        self._imports = imports
        self._found: dict[str, Any] = {}
        self._specs: dict[str, tuple[Path, ToolSpec | AgentSpec]] = {}
        for name, tool in spec.tools.items():
            self._specs[name] = (("tools", name), tool)
        for name, agent in spec.agents.items():
            self._specs[name] = (("agents", name), agent)

    def graph(self, policy: Policy) -> Graph:
        self.findings += self._unused_functions()
        if self._imports:
            for path, reference in named_references(self.spec):
                if not self._is_at_hand(path, reference):
                    self._look_up(path, reference)
        domains = self._domains()
        nodes = [self._node(name, path, node, policy, domains) for name, (path, node) in self._specs.items()]
        graph = Graph(
            nodes=tuple(nodes),
            goals=tuple(Goal(goal.name, goal.values, goal.check is not None) for goal in self.spec.goals),
            edges=tuple(
                Edge(edge.source, edge.target, edge.cost, edge.forbid, edge.reason) for edge in self.spec.edges
            ),
            inputs=tuple(self._inputs()),
            name=self.spec.name or "graph",
        )
        if not self.findings:
            # Of a node that could not be read the needs are unknown, and every such check would be wrong.
            self.findings += [*self._fed_by_themselves(graph), *self._idle_edges(graph), *self._undeclared(graph)]
            self.findings += self._unknown_supplies(graph)
        return graph

    # --------------------------------------------------------------------------------------------------------- nodes

    def _node(
        self, name: str, path: Path, node: ToolSpec | AgentSpec, policy: Policy, domains: Mapping[str, tuple[str, ...]]
    ) -> Node:
        defaults, cost = self.spec.defaults, node.cost or Cost()
        effect = effect_of(node, defaults)
        retry = retry_of(node, defaults)
        attempts = retry.attempts if retry.attempts is not None else policy.retry.attempts
        timeout = node.timeout if node.timeout is not None else defaults.timeout
        needs, findings = needs_of(path, node, self._function(name, path, node))
        self.findings += findings
        pure = node.provides == ()
        return Node(
            name=name,
            kind=node.kind,
            needs=needs,
            provides=node.provides or (name,),
            pure=pure,
            effect=effect,
            units=cost.units,
            usd=cost.usd,
            seconds=cost.latency,
            success=cost.success,
            risk=cost.risk,
            undo=node.undo is not None,
            undo_units=None if node.undo is None else node.undo.cost,
            verify=node.verify is not None,
            output=node.output is not None,
            guard=node.when is not None,
            gate=_gate(node.approve),
            timeout=timeout if timeout is not None else policy.timeout,
            attempts=attempts if repeatable(effect) else 1,
            backoff=retry.backoff if retry.backoff is not None else policy.retry.backoff,
            max_backoff=retry.max_backoff if retry.max_backoff is not None else policy.retry.max_backoff,
            domains=domains.get(name, ()),
        )

    def _function(self, name: str, path: Path, node: ToolSpec | AgentSpec) -> Function | None:
        if not isinstance(node, ToolSpec) or node.python is None:
            return None
        if (at_hand := self._functions.get(name, self._functions.get(node.python))) is not None:
            return at_hand
        if node.needs is not None and not self._imports:
            return None
        function: Function | None = self._look_up((*path, "python"), node.python)
        return function

    def _look_up(self, path: Path, reference: str) -> Any:
        if reference not in self._found:
            self._found[reference] = None
            try:
                self._found[reference] = self.references.find(reference)
            except UnusableReferenceError as error:
                found = error.finding
                self.findings.append(Finding(found.code, found.message, path, found.help))
        return self._found[reference]

    def _is_at_hand(self, path: Path, reference: str) -> bool:
        return reference in self._functions or (
            path[0] == "tools" and path[2] == "python" and path[1] in self._functions
        )

    def _unused_functions(self) -> Iterator[Finding]:
        for name in self._functions:
            if ":" not in name and name not in self._specs:
                help = did_you_mean(name, self._specs, kind="nodes")
                yield Finding("E030", f"a function is given for {quoted(name)}, and no node is called so", (), help)

    # ------------------------------------------------------------------------------------------- the rest of the graph

    def _domains(self) -> dict[str, tuple[str, ...]]:
        domains: dict[str, tuple[str, ...]] = {}
        for domain, members in sorted(self.spec.domains.items()):
            for member in members:
                domains[member] = (*domains.get(member, ()), domain)
        return domains

    def _inputs(self) -> Iterator[RunInput]:
        for name, declared in (self.spec.inputs or {}).items():
            schema = declared.model_dump(mode="json", exclude_unset=True, exclude={"default"})
            yield RunInput(name, schema, declared.default, required="default" not in declared.model_fields_set)

    def _fed_by_themselves(self, graph: Graph) -> Iterator[Finding]:
        for name, (path, node) in self._specs.items():
            for need in graph.by_name[name].needs:
                if need.value in graph.by_name[name].provides:
                    message = f"{quoted(name)} needs {quoted(need.value)}, which it provides itself"
                    help = "give what it provides another name, or say with needs: where the parameter comes from"
                    yield Finding("E033", message, self._place_of(path, node, need.value), help)

    def _idle_edges(self, graph: Graph) -> Iterator[Finding]:
        for index, edge in enumerate(self.spec.edges):
            node = graph.by_name.get(edge.target)
            needs = graph.goal_by_name[edge.target].needs if node is None else node.needs
            provided = graph.by_name[edge.source].provides
            if not any(need.value in provided for need in needs):
                message = f"no value flows from {quoted(edge.source)} to {quoted(edge.target)}"
                help = None if node is None else f"to make {edge.target} wait, write there after: [{provided[0]}]"
                yield Finding("E033", message, ("edges", index), help)

    def _undeclared(self, graph: Graph) -> Iterator[Finding]:
        if self.spec.inputs is None:
            return
        for value in graph.run_inputs:
            if value in self.spec.inputs:
                continue
            path, consumer = self._consumer_of(value, graph)
            message = f"{quoted(consumer)} needs {quoted(value)}, which nothing provides and inputs: does not list"
            known = [*self.spec.inputs, *graph.providers]
            yield Finding("E030", message, path, did_you_mean(value, known, kind="values"))

    def _unknown_supplies(self, graph: Graph) -> Iterator[Finding]:
        if not isinstance(self.spec.policy, Policy):
            return  # a ready-made policy may name values of many graphs
        for index, value in enumerate(self.spec.policy.escalation.supply):
            if value not in graph.values:
                help = did_you_mean(value, graph.values, kind="values")
                path: Path = ("policy", "escalation", "supply", index)
                yield Finding("E030", f"nothing needs or provides {quoted(value)}", path, help)

    def _consumer_of(self, value: str, graph: Graph) -> tuple[Path, str]:
        """Return where a required value is asked for first, and by whom."""
        for name, (path, node) in self._specs.items():
            if any(need.value == value and need.optional is None for need in graph.by_name[name].needs):
                return self._place_of(path, node, value), name
        index = next(index for index, goal in enumerate(self.spec.goals) if value in goal.values)
        goal = self.spec.goals[index]
        return ("goals", index, "values", goal.values.index(value)), goal.name

    def _place_of(self, path: Path, node: ToolSpec | AgentSpec, value: str) -> Path:
        """Return the path at which a node says that it needs *value*."""
        for parameter, need in (node.needs or {}).items():
            if need.value == value:
                return (*path, "needs", parameter)
        if value in node.after:
            return (*path, "after", node.after.index(value))
        return kind_path(path, node)


def _gate(approve: str) -> Literal["never", "always", "function"]:
    if approve == "never":
        return "never"
    return "always" if approve == "always" else "function"
