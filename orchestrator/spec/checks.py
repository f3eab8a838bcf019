"""Checks: what is wrong with a graph whose every key is well formed, found without importing anything."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from orchestrator.graph import INPUT
from orchestrator.policy import Escalation, Policy
from orchestrator.spec.defaults import effect_of, repeatable
from orchestrator.spec.models import KINDS, AgentSpec, Fragment, ModelSpec, NodeSpec, ToolSpec
from orchestrator.spec.problems import Finding, Path, did_you_mean, listed, quoted
from orchestrator.spec.references import named_references, refusal
from orchestrator.spec.shape import MAX_FINDINGS

__all__ = ("Unread", "check", "deciding_model")

Unread = frozenset[tuple[str, str]]
"""Section and name of entries that were not well formed: they exist, and nothing more is known of them."""

_COMPANIONS = {"operation": "openapi", "tool": "mcp", "stdin": "shell"}
"""Keys that say more about a kind, and the kind."""
_NO_MODELS = "declare it under models:, as small: {model: NAME, base_url: URL}"
_PLAIN_SCHEMA = frozenset({"type", "default", "title", "description"})


def check(spec: Fragment, *, unread: Unread = frozenset(), in_hand: Collection[str] = ()) -> list[Finding]:
    """Return everything that is wrong with *spec*, in no particular order.

    Args:
        spec: A graph, or what is left of one without the entries that are not well formed.
        unread: Those entries; their names count as declared.
        in_hand: References whose function the caller holds; they are not imported, so anything goes.
    """
    return list(islice(_findings(spec, unread, in_hand), MAX_FINDINGS))


def _findings(spec: Fragment, unread: Unread, in_hand: Collection[str]) -> Iterator[Finding]:
    yield from _imports(spec, in_hand)
    yield from _servers(spec)
    yield from _schemas(spec)
    for section, nodes in (("tools", spec.tools), ("agents", spec.agents)):
        for name, node in nodes.items():
            yield from _node(spec, (section, name), node, unread)
    yield from _names(spec, unread)
    yield from _edges(spec, unread)
    yield from _goals(spec, unread)
    yield from _domains(spec, unread)
    if isinstance(spec.policy, Policy):
        yield from deciding_model(spec.policy.escalation, spec.models, ("policy", "escalation"), unread)


def deciding_model(
    escalation: Escalation, models: Mapping[str, ModelSpec], path: Path, unread: Unread = frozenset()
) -> Iterator[Finding]:
    """Yield what is wrong with the model that a policy lets decide.

    Args:
        escalation: What the policy says.
        models: What the graph declares.
        path: Where the policy says so, or where it is named.
        unread: Entries that were not well formed.
    """
    if escalation.by != "model":
        return
    known = _declared("models", models, unread)
    if escalation.model is None:
        help = f"name one with escalation.model: {listed(sorted(known), joint='or')}" if known else _NO_MODELS
        yield Finding("E021", "the policy lets a model decide (escalation.by), and does not say which", path, help)
    elif escalation.model not in known:
        help = did_you_mean(escalation.model, known, kind="models") or _NO_MODELS
        where = (*path, "model") if path[-1:] == ("escalation",) else path
        yield Finding("E030", f"no model is called {quoted(escalation.model)} (escalation.model)", where, help)
    elif (model := models.get(escalation.model)) is not None and model.base_url is None and model.api_key is None:
        help = 'write base_url: of a server of your own, or api_key: "${OPENAI_API_KEY}"'
        message = f"the model {quoted(escalation.model)} is to decide, and has neither base_url: nor api_key:"
        yield Finding("E021", message, ("models", escalation.model), help, at_key=True)


def _declared(section: str, names: Iterable[str], unread: Unread) -> frozenset[str]:
    return frozenset(names) | {name for where, name in unread if where == section}


def _node_names(spec: Fragment, unread: Unread) -> frozenset[str]:
    return _declared("tools", spec.tools, unread) | _declared("agents", spec.agents, unread)


# --------------------------------------------------------------------------------------------------------------- nodes


def _node(spec: Fragment, path: Path, node: ToolSpec | AgentSpec, unread: Unread) -> Iterator[Finding]:
    yield from _effect(spec, path, node)
    yield from _own_values(path, node)
    if isinstance(node, ToolSpec):
        yield from _kind(path, node)
        yield from _parts_of_kind(spec, path, node, unread)
    elif node.model not in (models := _declared("models", spec.models, unread)):
        help = did_you_mean(node.model, models, kind="models") or "declare it under models:"
        yield Finding("E030", f"no model is called {quoted(node.model)}", (*path, "model"), help)


def _kind(path: Path, tool: ToolSpec) -> Iterator[Finding]:
    given = [kind for kind in KINDS if getattr(tool, kind) is not None]
    if not given:
        help = f"write one of {listed(KINDS, joint='or')}"
        companions = [kind for key, kind in _COMPANIONS.items() if getattr(tool, key) is not None]
        if companions:
            help = f"write {companions[0]}: too"
        yield Finding("E032", f"nothing says how {quoted(path[-1])} is called", path, help, at_key=True)
    for kind in given[1:]:
        message = f"{quoted(path[-1])} has both {given[0]}: and {kind}:"
        yield Finding("E032", message, (*path, kind), "a tool has exactly one kind: make two tools of it", at_key=True)
    for key, kind in _COMPANIONS.items():
        if given and getattr(tool, key) is not None and kind not in given:
            message = f"{key}: says nothing without {kind}:"
            yield Finding("E033", message, (*path, key), f"this tool is {given[0]}:", at_key=True)


def _parts_of_kind(spec: Fragment, path: Path, tool: ToolSpec, unread: Unread) -> Iterator[Finding]:
    if tool.openapi is not None and tool.operation is None:
        yield Finding("E021", f"{quoted(path[-1])} lacks the key 'operation'", path, "name an operationId", at_key=True)
    if tool.mcp is not None:
        servers = _declared("servers", spec.servers, unread)
        if tool.mcp not in servers:
            help = did_you_mean(tool.mcp, servers, kind="servers") or "declare it under servers:"
            yield Finding("E030", f"no server is called {quoted(tool.mcp)}", (*path, "mcp"), help)
        if tool.tool is None:
            help = "name the tool on the server"
            yield Finding("E021", f"{quoted(path[-1])} lacks the key 'tool'", path, help, at_key=True)
    if tool.shell is not None:
        if not spec.imports.shell:
            help = "say so in the root file: imports: {shell: true}"
            yield Finding("E041", "the root file does not allow shell:", (*path, "shell"), help, at_key=True)
        if "{" in tool.shell[0]:
            help = "name the program itself; what a run is given may only be an argument"
            yield Finding("E041", "the program may not be a placeholder", (*path, "shell", 0), help)


def _effect(spec: Fragment, path: Path, node: NodeSpec) -> Iterator[Finding]:
    effect = effect_of(node, spec.defaults)
    if node.retry is not None and not repeatable(effect):
        if effect == "once":
            message, help = "a once node is never repeated", "leave retry: out, or mark it idempotent if it is"
        else:
            message, help = "an unmarked node is never repeated", "write effect: read or effect: idempotent if it is"
        yield Finding("E033", message, (*path, "retry"), help, at_key=True)
    if effect == "read":
        for key in ("undo", "verify"):
            if getattr(node, key) is not None:
                message = f"{key}: means nothing for a node that only reads"
                yield Finding("E033", message, (*path, key), "leave it out, or write effect: once", at_key=True)


def _own_values(path: Path, node: NodeSpec) -> Iterator[Finding]:
    own = node.provides or (path[-1],)
    needs: list[tuple[Path, str]] = [((*path, "needs", key), need.value) for key, need in (node.needs or {}).items()]
    needs += [((*path, "after", index), value) for index, value in enumerate(node.after)]
    for where, value in needs:
        if value in own:
            message = f"{quoted(path[-1])} needs {quoted(value)}, which it provides itself"
            yield Finding("E033", message, where, "give what it provides another name")


# --------------------------------------------------------------------------------------------------------- names


def _names(spec: Fragment, unread: Unread) -> Iterator[Finding]:
    agents = _declared("agents", spec.agents, unread)
    tools = _declared("tools", spec.tools, unread)
    for section, names in (("tools", tools), ("agents", agents)):
        if INPUT in names:
            message = f"{quoted(INPUT)} is the provider of all run inputs: no node may be called so"
            yield Finding("E031", message, (section, INPUT), at_key=True)
        for name in sorted(name for name in names if name.startswith("x-")):
            message = f"{quoted(name)} is no name for a node: a file ignores keys that begin with x-"
            yield Finding("E031", message, (section, name), at_key=True)
    for name in sorted(tools & agents):
        message = f"a tool and an agent are both called {quoted(name)}"
        yield Finding("E031", message, ("agents", name), at_key=True, first=("tools", name))


def _edges(spec: Fragment, unread: Unread) -> Iterator[Finding]:
    nodes = _node_names(spec, unread)
    goals = _declared("goals", [goal.name for goal in spec.goals], unread)
    seen: dict[tuple[str, str], int] = {}
    for index, edge in enumerate(spec.edges):
        path: Path = ("edges", index)
        if edge.source not in nodes:
            help = did_you_mean(edge.source, nodes, kind="nodes")
            yield Finding("E030", f"no node is called {quoted(edge.source)}", (*path, "from"), help)
        if edge.target not in nodes and edge.target not in goals:
            help = did_you_mean(edge.target, nodes | goals, kind="nodes and goals")
            yield Finding("E030", f"no node or goal is called {quoted(edge.target)}", (*path, "to"), help)
        elif edge.target in nodes and edge.target in goals:
            message = f"both a node and a goal are called {quoted(edge.target)}"
            yield Finding("E031", message, (*path, "to"), "give the goal another name")
        if edge.forbid and edge.cost:
            help = "an edge costs something, or is forbidden"
            yield Finding("E033", "a forbidden edge has no cost", (*path, "cost"), help, at_key=True)
        first = seen.setdefault((edge.source, edge.target), index)
        if first != index:
            message = f"the edge from {quoted(edge.source)} to {quoted(edge.target)} is written twice"
            yield Finding("E003", message, path, first=("edges", first))


def _goals(spec: Fragment, unread: Unread) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, goal in enumerate(spec.goals):
        first = seen.setdefault(goal.name, index)
        if first != index:
            path: Path = ("goals", index, "name")
            yield Finding("E003", f"two goals are called {quoted(goal.name)}", path, first=("goals", first, "name"))


def _domains(spec: Fragment, unread: Unread) -> Iterator[Finding]:
    nodes = _node_names(spec, unread)
    for domain, members in spec.domains.items():
        for index, member in enumerate(members):
            if member not in nodes:
                help = did_you_mean(member, nodes, kind="nodes")
                yield Finding("E030", f"no node is called {quoted(member)}", ("domains", domain, index), help)


def _servers(spec: Fragment) -> Iterator[Finding]:
    for name, server in spec.servers.items():
        if (server.command is None) == (server.url is None):
            given = "both command: and url:" if server.command is not None else "neither command: nor url:"
            message = f"the server {quoted(name)} has {given}"
            yield Finding("E032", message, ("servers", name), "write exactly one of them", at_key=True)


# ----------------------------------------------------------------------------------------------- imports and schemas


def _imports(spec: Fragment, in_hand: Collection[str]) -> Iterator[Finding]:
    for index, package in enumerate(spec.imports.allow):
        if package.partition(".")[0] in sys.stdlib_module_names:
            message = f"the standard library is never allowed, and {quoted(package)} is part of it"
            help = "leave it out; a package of yours with such a name needs another one"
            yield Finding("E034", message, ("imports", "allow", index), help)
    for path, reference in named_references(spec):
        if reference not in in_hand and (refused := refusal(reference, spec.imports.allow)) is not None:
            yield Finding(refused.code, refused.message, path, refused.help)


def _schemas(spec: Fragment) -> Iterator[Finding]:
    for name, declared in (spec.inputs or {}).items():
        schema = declared.model_dump(mode="json", exclude_unset=True, exclude={"default"})
        if not _PLAIN_SCHEMA.issuperset(schema):
            yield from _schema(("inputs", name), schema)
    for section, nodes in (("tools", spec.tools), ("agents", spec.agents)):
        for name, node in nodes.items():
            if isinstance(node.output, Mapping):
                yield from _schema((section, name, "output"), node.output)


def _schema(path: Path, schema: Mapping[str, Any]) -> Iterator[Finding]:
    # Not loaded for the many graphs that declare no schema.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    below: Path = ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a doubtful pattern is the author's choice
            wrong = best_match(meta.iter_errors(schema))
        if wrong is None:
            return
        below = tuple(wrong.absolute_path)
    except (OverflowError, RecursionError):
        pass  # a pattern that no machine can compile
    keyword = next((part for part in reversed(below) if isinstance(part, str)), path[-1])
    message = f"{quoted(keyword)} is not what JSON Schema (draft 2020-12) allows here"
    yield Finding("E022", message, (*path, *below))
