"""An orchestrator put on a test's clock, with a test's calls in place of the real ones.

The only place that reaches into an orchestrator: everything that a test changes about one is changed here, on a copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from orchestrator.errors import NotAvailableError
from orchestrator.faults import FaultPlan
from orchestrator.nodes.bind import bind
from orchestrator.nodes.binding import Bindings
from orchestrator.runtime import Orchestrator
from orchestrator.testing.calls import Calls
from orchestrator.testing.clock import VirtualClock

__all__ = ("plan_of", "rigged")


def rigged(
    orchestrator: Orchestrator,
    calls: Calls,
    clock: VirtualClock,
    beginning: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    model: Any = None,
    ask: Callable[..., Any] | None = None,
) -> Orchestrator:
    """Return a copy of *orchestrator* on a test's clock and with its calls; the original stays as it is.

    Args:
        orchestrator: What is tested.
        calls: What is called instead of its nodes' own functions.
        clock: The test's clock.
        beginning: Completes the arguments of a run that is about to start.
        model: Decides where no route is left, instead of the configured model; None: that one stays.
        ask: Is asked what people are asked; None: what was configured stays.

    Raises:
        NotAvailableError: This orchestrator asks no model, or no people.
    """
    copied = copy(orchestrator)

    def bound() -> Bindings:
        if copied._bindings is None:
            bindings = bind(
                copied._resolved.spec,
                copied.graph,
                resolve_reference=copied._resolved.references.find,
                functions=copied._functions,
                redact=copied._redactor.redact,
                places=copied._places,
                instead=calls.instead(),
            )
            copied._bindings = calls.around(bindings)
        return copied._bindings

    def start(*inputs: Any, **options: Any) -> Any:
        return type(copied).start(copied, *inputs, **beginning(options))

    replaced: dict[str, Any] = {"_bindings": None, "_clock": clock.time, "_bound": bound, "start": start}
    for name, double in (("model", model), ("ask", ask)):
        if double is not None and not hasattr(copied, f"_{name}"):
            raise NotAvailableError(f"this orchestrator has no {name!r} that a test could replace")
        if double is not None:
            replaced[f"_{name}"] = double
    for name, value in replaced.items():
        setattr(copied, name, value)
    return copied


def plan_of(faults: FaultPlan | Mapping[str, Any]) -> FaultPlan:
    """Return a fault plan; a map is read like ``nodes:`` in a fault file."""
    if isinstance(faults, FaultPlan):
        return faults
    return FaultPlan.from_text(json.dumps({"nodes": faults}), "<faults>")
