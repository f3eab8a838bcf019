"""The first record of a run: everything that it depends on, put together once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.events import RunStarted, Value
from orchestrator.graph import Graph
from orchestrator.planner import Planner
from orchestrator.policy import Policy
from orchestrator.run import Run
from orchestrator.weight import View, declared_view

__all__ = ("Blueprint",)


class Blueprint:
    """A graph under a policy, ready to start runs: what their first records share, made once.

    Args:
        graph: The graph.
        policy: The policy.
        source: The graph file's text before ``${…}`` was filled in.
    """

    def __init__(self, graph: Graph, policy: Policy, source: str = "") -> None:
        self.graph = graph
        self.policy = policy
        self.source = source
        self.planner = Planner(graph, policy.objective, expansions=policy.planning.expansions)
        self.view = declared_view(graph, policy.objective)
        self._graph_data: dict[str, Any] = graph.as_dict()
        self._policy_data: dict[str, Any] = policy.model_dump(mode="json")

    def first_record(
        self,
        run_id: str,
        *,
        goal: str | None = None,
        inputs: Iterable[Value] = (),
        seed: int = 0,
        down: Mapping[str, str] | None = None,
        view: View | None = None,
    ) -> RunStarted:
        """Return the first record of a run towards *goal* (default: the best one)."""
        return RunStarted(
            run_id,
            goal or self.graph.goals[0].name,
            self._graph_data,
            self._policy_data,
            seed,
            tuple(inputs),
            view or self.view,
            self.source,
            tuple(sorted((down or {}).items())),
        )

    def run(self, first: RunStarted) -> Run:
        """Return a run machine for a first record of this blueprint; the planner is shared."""
        return Run(first, graph=self.graph, policy=self.policy, planner=self.planner)
