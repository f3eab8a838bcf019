"""Defaults: what a node inherits from its file, and what its kind implies.

A key of the node wins over ``defaults:`` of its file, and that over the policy. ``retry`` is inherited key by key.
"""

from __future__ import annotations

from typing import TypeVar

from orchestrator.graph import Effect
from orchestrator.policy import Circuit, Policy
from orchestrator.spec.models import AgentSpec, GraphSpec, NodeDefaults, NodeSpec, Probe, Retry, ToolSpec
from orchestrator.spec.placeholders import fixed_part

__all__ = ("circuits_of", "effect_of", "inherited", "own_url", "probe_of", "probed", "repeatable", "retry_of")

N = TypeVar("N", bound=NodeSpec)


def effect_of(node: NodeSpec, defaults: NodeDefaults) -> Effect | None:
    """Return the effect of *node*; None: it is unmarked.

    A GET or HEAD request reads by the standard of HTTP, and an agent's call of a model changes nothing.
    """
    if (declared := node.effect or defaults.effect) is not None:
        return declared
    if isinstance(node, AgentSpec):
        return "read"
    if isinstance(node, ToolSpec) and node.http is not None and node.http.method in ("GET", "HEAD"):
        return "read"
    return None


def repeatable(effect: Effect | None) -> bool:
    """Return whether a call of that effect may ever be repeated."""
    return effect in ("read", "idempotent")


def retry_of(node: NodeSpec, defaults: NodeDefaults) -> Retry:
    """Return the retry of *node*, each key from the node, else from the file."""
    own, inherited = node.retry or Retry(), defaults.retry or Retry()
    return Retry.model_construct(
        attempts=own.attempts if own.attempts is not None else inherited.attempts,
        backoff=own.backoff if own.backoff is not None else inherited.backoff,
        max_backoff=own.max_backoff if own.max_backoff is not None else inherited.max_backoff,
    )


def own_url(node: NodeSpec, defaults: NodeDefaults) -> str | None:
    """Return the part of a tool's own URL that may be asked without a run; None where there is none.

    A GET that is declared to have an effect is never sent for a look.
    """
    if not isinstance(node, ToolSpec) or node.http is None:
        return None
    if node.http.method in ("GET", "HEAD") and effect_of(node, defaults) != "read":
        return None
    return fixed_part(node.http.url)


def probe_of(node: NodeSpec, defaults: NodeDefaults) -> Probe | None:
    """Return the probe of *node*: its own, else the one of the file where that says, or the node's URL, what to ask."""
    if node.probe is not None or defaults.probe is None:
        return node.probe
    told = defaults.probe.http is not None or defaults.probe.python is not None
    return defaults.probe if told or own_url(node, defaults) is not None else None


def inherited(node: N, defaults: NodeDefaults) -> N:
    """Return *node* with the defaults of its file written into it."""
    changes: dict[str, object] = {}
    for key in ("effect", "timeout", "circuit"):
        if getattr(node, key) is None and (value := getattr(defaults, key)) is not None:
            changes[key] = value
    if (probe := probe_of(node, defaults)) is not node.probe:
        changes["probe"] = probe
    if defaults.retry is not None and repeatable(effect_of(node, defaults)):
        changes["retry"] = retry_of(node, defaults)
    return node.model_copy(update=changes) if changes else node


def circuits_of(spec: GraphSpec, policy: Policy) -> dict[str, Circuit]:
    """Return the circuits of the nodes that declare one, or whose file does."""
    found = {}
    for name, node in {**spec.tools, **spec.agents}.items():
        circuit = inherited(node, spec.defaults).circuit
        if circuit is not None:
            # Not as `model_dump` writes them: a time would be a text.
            found[name] = policy.circuit.model_copy(update={key: own for key, own in circuit if own is not None})
    return found


def probed(spec: GraphSpec) -> tuple[str, ...]:
    """Return the nodes that have an active probe."""
    nodes = {**spec.tools, **spec.agents}
    return tuple(name for name, node in nodes.items() if probe_of(node, spec.defaults) is not None)
