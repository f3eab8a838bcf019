"""Needs: what a node needs, from what is written, from its function's parameters, or from its placeholders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.graph import Need
from orchestrator.spec.models import NodeSpec, ToolSpec
from orchestrator.spec.placeholders import placeholders
from orchestrator.spec.problems import Finding, Path, did_you_mean, quoted
from orchestrator.spec.signature import Parameters, parameters

__all__ = ("needs_of",)


def needs_of(path: Path, node: NodeSpec, function: Callable[..., Any] | None) -> tuple[tuple[Need, ...], list[Finding]]:
    """Return the needs of a node, and what is wrong with them.

    Args:
        path: The node's path.
        node: The node.
        function: The Python function that the node calls, if it calls one and that is at hand.
    """
    findings: list[Finding] = []
    implied: tuple[str, ...] = ()
    if function is not None:
        implied, findings = _fed(path, node, function)
    elif isinstance(node, ToolSpec):
        implied = placeholders(node)
        findings = list(_unlisted(path, node, implied))
    if node.needs is None:
        passed = [Need(name, name) for name in implied]
    else:
        passed = [Need(parameter, need.value, need.optional) for parameter, need in node.needs.items()]
    return (*passed, *_waited_for(passed, node.after)), findings


def kind_path(path: Path, node: NodeSpec) -> Path:
    """Return the path of the key that says how a node is called."""
    return (*path, node.kind) if isinstance(node, ToolSpec) else path


def _fed(path: Path, node: NodeSpec, function: Callable[..., Any]) -> tuple[tuple[str, ...], list[Finding]]:
    where = kind_path(path, node)
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = parameters(function)
    except ValueError as error:
        complaint, _, help = str(error).partition("; ")
        return (), [Finding("E036", f"{quoted(name)} cannot be called here: {complaint}", where, help)]
    return signature.required, list(_listed_wrongly(path, node.needs, name, signature))


def _listed_wrongly(path: Path, needs: Mapping[str, Any] | None, name: str, signature: Parameters) -> Iterator[Finding]:
    if needs is None:
        return
    known = (*signature.required, *signature.optional)
    for parameter in needs:
        if parameter not in known:
            help = did_you_mean(parameter, known, kind="parameters") or "it takes no parameters; see after:"
            yield Finding(
                "E036", f"{quoted(name)} has no parameter {quoted(parameter)}", (*path, "needs", parameter), help
            )
    for parameter in signature.required:
        if parameter not in needs:
            message = f"{quoted(name)} requires {quoted(parameter)}, which needs: leaves out"
            help = "list it, or leave needs: out to need every required parameter"
            yield Finding("E036", message, (*path, "needs"), help, at_key=True)


def _unlisted(path: Path, tool: ToolSpec, implied: tuple[str, ...]) -> Iterator[Finding]:
    if tool.needs is None:
        return
    for name in implied:
        if name not in tool.needs:
            message = f"{{{name}}} is a placeholder that needs: leaves out"
            help = f"list it; braces that are meant as they stand are written with blanks: {{ {name} }}"
            yield Finding("E036", message, (*path, "needs"), help, at_key=True)


def _waited_for(passed: list[Need], after: tuple[str, ...]) -> Iterator[Need]:
    values = {need.value for need in passed if need.optional is None}
    parameters = {need.parameter for need in passed}
    for value in after:
        if value not in values:
            # A plan shows providers by parameter, so the name must not be that of a parameter for another value.
            yield Need(f"after:{value}" if value in parameters else value, value, passed=False)
