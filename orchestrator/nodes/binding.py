"""A binding: how one node is called. The only thing a driver knows of a node beyond the graph.

Every function here is async, is given inputs by parameter name, and raises on failure. A driver turns what is raised
into a `Failure` by `orchestrator.nodes.classify.classify`; a binding never decides what a failure means for the run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orchestrator.nodes.meaning import Meaning

__all__ = ("Bindings", "BoundProbe", "CallContext", "NodeBinding", "Reply")


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call may know about its run."""

    run_id: str
    node: str
    attempt: int
    key: str
    """Idempotency key: the same for every attempt of this node in this run."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of a successful call: a value for every name that the node provides, and what it really cost."""

    values: Mapping[str, Any]
    usd: float | None = None
    """None: as declared."""
    tokens: int = 0
    headroom: float | None = None
    """Share of its rate limit that the node says is left, 0..1; None where it says nothing."""


class Call(Protocol):
    """Calls the node and checks its output contract."""

    async def __call__(self, inputs: Mapping[str, Any], context: CallContext) -> Reply: ...


@dataclass(frozen=True, slots=True)
class NodeBinding:
    """The calls of one node. ``undo`` and the others are None where the node declares none."""

    call: Call
    guard: Callable[[Mapping[str, Any]], Awaitable[bool]] | None = None
    gate: Callable[[Mapping[str, Any]], Awaitable[str | None]] | None = None
    """Returns why a person must be asked, or None."""
    undo: Callable[[Mapping[str, Any], Any, str], Awaitable[None]] | None = None
    """Given inputs, the node's result and the idempotency key."""
    verify: Callable[[Mapping[str, Any], str], Awaitable[Reply | None]] | None = None
    """Given inputs and key: the reply if the effect happened, None if it did not; raising means still unknown."""


@dataclass(frozen=True, slots=True)
class BoundProbe:
    """How one node is probed outside runs. Times are seconds."""

    call: Callable[[], Awaitable[None]]
    """Raises where the node is down; one call at a time."""
    every: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Bindings:
    """The calls of a whole graph, by node, and the goals' checks, by goal."""

    nodes: Mapping[str, NodeBinding]
    checks: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[str | None]]] = field(default_factory=dict)
    """Given the goal's values by name: None when satisfied, else the reason why not."""
    probes: Mapping[str, BoundProbe] = field(default_factory=dict)
    """Of the nodes that declare one."""
    errors: Mapping[str, Meaning] = field(default_factory=dict)
    """What the graph says that classes of exceptions mean, by name."""
    closers: tuple[Callable[[], Awaitable[None]], ...] = ()
    """Called once when the orchestrator closes: open HTTP clients and the like."""
