"""A fault-tolerant runtime for agents and tools.

Declare what each tool needs, provides and costs; the runtime takes the cheapest route to the goal and goes round
whatever fails, from the work already done and without asking a model::

    from orchestrator import Orchestrator, tool

    @tool(provides="pages", latency="900ms")
    async def web_search(question: str) -> list[str]:
        raise TimeoutError("the web is down")

    @tool(provides="pages", latency="900ms", success=0.9)
    def wiki_search(question: str) -> list[str]:
        return ["Refunds are possible within 30 days."]

    orchestrator = Orchestrator(tools=[web_search, wiki_search], goals={"found": ["pages"]})
    result = orchestrator.run_sync(question="What is the refund policy?")
    print(result.outcome, result.route, result.reroutes)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.decorator import tool
    from orchestrator.drivers.answers import Answer
    from orchestrator.errors import (
        FencedError,
        InputError,
        NotApplicable,
        NotAvailableError,
        OrchestratorError,
        Problem,
        RecordError,
        RunNotFoundError,
        RunTakenError,
        SpecError,
        StoreError,
        ToolFailed,
    )
    from orchestrator.events import Record
    from orchestrator.faults import FaultPlan
    from orchestrator.graph import Edge, Goal, Graph, Need, Node
    from orchestrator.nodes.binding import CallContext
    from orchestrator.planner import Explanation, Route
    from orchestrator.policy import Policy
    from orchestrator.resilience import Resilience
    from orchestrator.result import Attempt, Question, RunResult
    from orchestrator.runtime import Orchestrator
    from orchestrator.store import Store

__all__ = (
    "Answer",
    "Attempt",
    "CallContext",
    "Edge",
    "Explanation",
    "FaultPlan",
    "FencedError",
    "Goal",
    "Graph",
    "InputError",
    "Need",
    "Node",
    "NotApplicable",
    "NotAvailableError",
    "Orchestrator",
    "OrchestratorError",
    "Policy",
    "Problem",
    "Question",
    "Record",
    "RecordError",
    "Resilience",
    "Route",
    "RunNotFoundError",
    "RunResult",
    "RunTakenError",
    "SpecError",
    "Store",
    "StoreError",
    "ToolFailed",
    "__version__",
    "tool",
)

_HOMES = {
    "Answer": "drivers.answers",
    "Attempt": "result",
    "CallContext": "nodes.binding",
    "Edge": "graph",
    "Explanation": "planner",
    "FaultPlan": "faults",
    "FencedError": "errors",
    "Goal": "graph",
    "Graph": "graph",
    "InputError": "errors",
    "Need": "graph",
    "Node": "graph",
    "NotApplicable": "errors",
    "NotAvailableError": "errors",
    "Orchestrator": "runtime",
    "OrchestratorError": "errors",
    "Policy": "policy",
    "Problem": "errors",
    "Question": "result",
    "Record": "events",
    "RecordError": "errors",
    "Resilience": "resilience",
    "Route": "planner",
    "RunNotFoundError": "errors",
    "RunResult": "result",
    "RunTakenError": "errors",
    "SpecError": "errors",
    "Store": "store",
    "StoreError": "errors",
    "ToolFailed": "errors",
    "tool": "decorator",
}
"""Where each public name lives. They are imported on first use, so that importing the package costs next to nothing."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("orchestrator-runtime")
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
