"""Binding a graph: from what a file declares to what a driver can call.

Everything that can be checked without a call is checked here, for all nodes at once: references that do not fit the
inputs, output contracts that are none. What cannot be called yet is bound to a call that says so.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from orchestrator.errors import NotAvailableError, Problem, SpecError
from orchestrator.graph import Goal, Graph, Node
from orchestrator.nodes.binding import Bindings, BoundProbe, Call, CallContext, NodeBinding, Reply
from orchestrator.nodes.contract import Contract, output_contract, split
from orchestrator.nodes.headroom import Stated
from orchestrator.nodes.http import HttpClients, http_call
from orchestrator.nodes.meaning import meanings
from orchestrator.nodes.probe import TIMEOUT, http_probe, python_probe
from orchestrator.nodes.python import IDEMPOTENCY_KEY, RawCall, by_name, invoke, python_call
from orchestrator.nodes.shell import shell_call
from orchestrator.nodes.threads import Threads
from orchestrator.spec.defaults import own_url, probe_of
from orchestrator.spec.models import AgentSpec, GraphSpec, Probe, ToolSpec
from orchestrator.spec.placeholders import fixed_part, names_in
from orchestrator.spec.problems import Finding, Path, Places, placed
from orchestrator.spec.references import UnusableReferenceError

__all__ = ("bind",)

RESULT = "result"
"""The parameter of an undo that takes what the node had returned."""


def bind(
    spec: GraphSpec,
    graph: Graph,
    *,
    resolve_reference: Callable[[str], Any],
    functions: Mapping[str, Callable[..., Any]] | None = None,
    environ: Mapping[str, str] | None = None,
    redact: Callable[[str], str] = str,
    places: Places | None = None,
    instead: Mapping[str, RawCall] = MappingProxyType({}),
) -> Bindings:
    """Return how every node of *graph* is called and probed, and the goals' checks.

    Args:
        spec: The graph file.
        graph: The graph made from it; its needs say what each node is given.
        resolve_reference: Turns ``package.module:function`` into the object.
        functions: Objects handed over in code, by reference text or by the name of a Python tool; they come first.
        environ: The environment of commands; default: the one of this program.
        redact: Hides secrets in what a program or a server says about its failure, before that is cut.
        places: Knows where the parts of the file stand, for the problems.
        instead: Calls, by node, that stand in for the declared ones; output contracts hold for them too.

    Raises:
        SpecError: A reference does not fit its node, or an output contract is none; holds every such problem.
    """
    environ = os.environ if environ is None else environ
    binder = _Binder(spec, resolve_reference, functions or {}, environ, redact, places, instead)
    nodes = {node.name: binder.node(node) for node in graph.nodes}
    probes = {node.name: probe for node in graph.nodes if (probe := binder.probe(node)) is not None}
    checks = {goal.name: binder.check(goal) for goal in graph.goals if goal.check}
    if binder.problems:
        raise SpecError(tuple(binder.problems))
    closers = (binder.clients.aclose,) if binder.clients is not None else ()
    found = {name: check for name, check in checks.items() if check is not None}
    return Bindings(nodes, found, probes, meanings(spec.errors), closers)


class _Binder:
    """Binds one node after the other and collects what is wrong."""

    def __init__(
        self,
        spec: GraphSpec,
        resolve_reference: Callable[[str], Any],
        functions: Mapping[str, Callable[..., Any]],
        environ: Mapping[str, str],
        redact: Callable[[str], str],
        places: Places | None,
        instead: Mapping[str, RawCall],
    ) -> None:
        self.spec = spec
        self.resolve_reference = resolve_reference
        self.functions = functions
        self.environ = environ
        self.redact = redact
        self.places = places
        self.instead = instead
        self.threads = Threads()
        self.clients: HttpClients | None = None
        self.problems: list[Problem] = []

    # -------------------------------------------------------------------------------------------------------- a node

    def node(self, node: Node) -> NodeBinding:
        """Bind the calls of one node."""
        tool = self.spec.tools.get(node.name)
        declared = tool if tool is not None else self.spec.agents[node.name]
        path = ("agents" if tool is None else "tools", node.name)
        inputs = [need.parameter for need in node.needs if need.passed]
        settling = [*inputs, IDEMPOTENCY_KEY]
        contract = self._contract(declared.output, (*path, "output"))
        approve = None if declared.approve in ("never", "always") else declared.approve
        undo = None if declared.undo is None else declared.undo.python
        verify = self._function(declared.verify, settling, (*path, "verify"))
        return NodeBinding(
            call=_checked(self._raw_call(node, declared, inputs, path), contract, node),
            guard=_guard(self._function(declared.when, inputs, (*path, "when"))),
            gate=_gate(self._function(approve, inputs, (*path, "approve"))),
            undo=_undo(self._function(undo, [*settling, RESULT], (*path, "undo", "python"))),
            verify=_verify(verify, contract, node),
        )

    def probe(self, node: Node) -> BoundProbe | None:
        """Bind the probe of one node; None where it has none."""
        tool = self.spec.tools.get(node.name)
        declared = tool if tool is not None else self.spec.agents[node.name]
        probe = probe_of(declared, self.spec.defaults)
        if probe is None or node.name in self.instead:
            return None
        path = ("agents" if tool is None else "tools", node.name, "probe")
        timeout = probe.timeout if probe.timeout is not None else min(TIMEOUT, probe.every)
        call = self._probe_call(probe, declared, path, timeout)
        return None if call is None else BoundProbe(call, probe.every, timeout)

    def _probe_call(
        self, probe: Probe, declared: ToolSpec | AgentSpec, path: Path, timeout: float
    ) -> Callable[[], Awaitable[None]] | None:
        if probe.http is not None and probe.python is not None:
            self._problem("E032", "it has both http: and python:", path, "write exactly one of them")
        elif probe.python is not None:
            if self._function(probe.python, (), (*path, "python")) is not None:
                return python_probe(self._find(probe.python, (*path, "python")))
        elif probe.http is not None:
            if fixed_part(probe.http) == probe.http:
                return http_probe(probe.http, self._http(), timeout=timeout)
            help = "a whole URL, as http://127.0.0.1:8000/health: a probe is given nothing to fill in"
            self._problem("E022", "http: is no URL that can be asked", path, help)
        elif (url := own_url(declared, self.spec.defaults)) is not None:
            assert isinstance(declared, ToolSpec)
            assert declared.http is not None  # by `own_url`
            fixed = {name: text for name, text in declared.http.headers.items() if not any(names_in(text))}
            return http_probe(url, self._http(), timeout=timeout, own=fixed)
        else:
            help = "write http: URL or python: package.module:function below every:"
            self._problem("E021", f"nothing says what to ask{_why_not(declared)}", path, help)
        return None

    def check(self, goal: Goal) -> Callable[[Mapping[str, Any]], Awaitable[str | None]] | None:
        """Bind the check of a goal."""
        index = [declared.name for declared in self.spec.goals].index(goal.name)
        path = ("goals", index, "check")
        return _check(goal.name, self._function(self.spec.goals[index].check, goal.values, path))

    def _raw_call(self, node: Node, declared: ToolSpec | AgentSpec, inputs: Collection[str], path: Path) -> RawCall:
        if node.name in self.instead:
            return self.instead[node.name]
        if isinstance(declared, ToolSpec):
            if declared.python is not None:
                own = self.functions.get(node.name)
                function = own if own is not None else self._find(declared.python, (*path, "python"))
                return python_call(function, inputs, self.threads) if function is not None else _unavailable(node)
            if declared.http is not None:
                return http_call(declared.http, node, self._http(), redact=self.redact)
            if declared.shell is not None:
                return shell_call(declared.shell, node, stdin=declared.stdin, environ=self.environ, redact=self.redact)
        return _unavailable(node)

    def _http(self) -> HttpClients:
        if self.clients is None:
            self.clients = HttpClients()
        return self.clients

    def _contract(self, declared: Any, path: Path) -> Contract | None:
        output = self._find(declared, path) if isinstance(declared, str) else declared
        if output is None:
            return None
        try:
            return output_contract(output, self.threads)
        except Exception as error:  # pydantic has many ways to refuse a type
            self._problem("E022", f"this is no output contract: {error}", path)
            return None

    def _find(self, reference: str, path: Path) -> Any:
        if reference in self.functions:
            return self.functions[reference]
        try:
            return self.resolve_reference(reference)
        except UnusableReferenceError as error:
            self.problems.append(placed(replace(error.finding, path=path), self.places))
        except Exception as error:  # importing runs foreign code
            self._problem("E035", f"cannot import {reference}: {type(error).__name__}: {error}", path)
        return None

    def _function(self, reference: str | None, offered: Collection[str], path: Path) -> _Function | None:
        """Return a referenced function, ready to be called with those of the *offered* values that it asks for."""
        function = self._find(reference, path) if reference is not None else None
        if function is None:
            return None
        try:
            select = by_name(function, offered)
        except ValueError as error:
            help = "name its parameters after what it is given, or give them a default"
            self._problem("E036", f"{reference} cannot be called here: {error}", path, help)
            return None

        async def call(values: Mapping[str, Any]) -> Any:
            return await invoke(function, self.threads, **select(values))

        return call

    def _problem(self, code: str, message: str, path: Path, help: str | None = None) -> None:
        _, owner, key, *_ = path
        name = self.spec.goals[owner].name if isinstance(owner, int) else owner
        self.problems.append(placed(Finding(code, f"{key} of {name}: {message}", path, help=help), self.places))


_Function = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""A reference, ready to be called with everything that it may ask for."""


def _checked(raw: RawCall, contract: Contract | None, node: Node) -> Call:
    async def call(inputs: Mapping[str, Any], context: CallContext) -> Reply:
        return await _reply(await raw(inputs, context), contract, node)

    return call


async def _reply(result: Any, contract: Contract | None, node: Node) -> Reply:
    stated = None
    if isinstance(result, Stated):
        result, stated = result.result, result.headroom
    return Reply(split(result if contract is None else await contract(result), node), headroom=stated)


def _unavailable(node: Node) -> RawCall:
    if node.kind == "declared":
        reason = f"node {node.name!r} is declared only: it can be planned and simulated, not called"
    else:
        reason = (
            f"node {node.name!r} cannot be called: kind {node.kind!r} is not available yet; use python, http or shell"
        )

    async def call(inputs: Mapping[str, Any], context: CallContext) -> Any:
        raise NotAvailableError(reason)

    return call


def _guard(function: _Function | None) -> Callable[[Mapping[str, Any]], Awaitable[bool]] | None:
    if function is None:
        return None

    async def guard(inputs: Mapping[str, Any]) -> bool:
        return bool(await function(inputs))

    return guard


def _gate(function: _Function | None) -> Callable[[Mapping[str, Any]], Awaitable[str | None]] | None:
    if function is None:
        return None

    async def gate(inputs: Mapping[str, Any]) -> str | None:
        reason = await function(inputs)
        # An empty reason is still one: in doubt a person is asked.
        if isinstance(reason, str) and reason:
            return reason
        return None if reason is None or reason is False else "approval is needed"

    return gate


def _why_not(declared: ToolSpec | AgentSpec) -> str:
    """Say why a node's own URL is not asked."""
    if not isinstance(declared, ToolSpec) or declared.http is None:
        return ""
    return ": its URL has no fixed host" if fixed_part(declared.http.url) is None else ": its GET has an effect"


def _undo(function: _Function | None) -> Callable[[Mapping[str, Any], Any, str], Awaitable[None]] | None:
    if function is None:
        return None

    async def undo(inputs: Mapping[str, Any], result: Any, key: str) -> None:
        await function({**inputs, RESULT: result, IDEMPOTENCY_KEY: key})

    return undo


def _verify(
    function: _Function | None, contract: Contract | None, node: Node
) -> Callable[[Mapping[str, Any], str], Awaitable[Reply | None]] | None:
    if function is None:
        return None

    async def verify(inputs: Mapping[str, Any], key: str) -> Reply | None:
        result = await function({**inputs, IDEMPOTENCY_KEY: key})
        if result is None:
            return None
        if node.pure and result is False:
            # Neither the null of "it did not happen" nor a result: raised, so that it stays unknown.
            raise ValueError(f"verify of {node.name!r} returned false: return the result, or null if there is none")
        return await _reply(result, contract, node)

    return verify


def _check(goal: str, function: _Function | None) -> Callable[[Mapping[str, Any]], Awaitable[str | None]] | None:
    if function is None:
        return None

    async def check(values: Mapping[str, Any]) -> str | None:
        try:
            verdict = await function(values)
        except Exception as error:
            return f"the check of {goal!r} raised {type(error).__name__}: {error}"
        if isinstance(verdict, str):
            return verdict or f"the check of {goal!r} gave an empty reason"
        if verdict is None:
            return f"the check of {goal!r} returned null: return true, or false or a reason"
        return None if verdict else f"the check of {goal!r} is false"

    return check
