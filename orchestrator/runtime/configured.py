"""A graph under a policy: what can be said about it, and done with it, without running it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.drivers.first import Blueprint
from orchestrator.drivers.inputs import complete
from orchestrator.errors import InputError
from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Explanation, Limits, Situation, explain
from orchestrator.policy import Policy
from orchestrator.redact import Redactor
from orchestrator.simulate import Simulation

if TYPE_CHECKING:
    from orchestrator.escalation import DecisionModel
    from orchestrator.faults import FaultPlan
    from orchestrator.nodes.binding import Bindings
    from orchestrator.nodes.python import RawCall
    from orchestrator.resilience import Resilience
    from orchestrator.spec.load import Loaded
    from orchestrator.spec.models import GraphSpec
    from orchestrator.spec.resolve import Resolved
    from orchestrator.weight import View

__all__ = ("Bind", "Configured", "Errors", "load")

Errors = Mapping[Any, Any]
"""What exceptions mean, by class or by its name."""

Bind = Callable[[Mapping[str, "RawCall"]], "Bindings"]
"""Binds a graph anew; given the calls, by node, that stand in for the declared ones."""


class Configured:
    """A graph and its policy, resolved and frozen; the base of `Orchestrator`.

    Args:
        resolved: Graph, policy, and where functions are found.
        functions: Functions that were handed over in code, by node.
        clock: Returns seconds; only differences matter.
        environ: The environment whose secrets are kept out of errors and traces; default: the process's own.
        loaded: The graph file that all this comes from.
    """

    def __init__(
        self,
        resolved: Resolved,
        functions: Mapping[str, Callable[..., Any]],
        *,
        clock: Callable[[], float],
        environ: Mapping[str, str] | None = None,
        loaded: Loaded | None = None,
    ) -> None:
        secrets = frozenset() if loaded is None else loaded.secrets
        self._resolved = resolved
        self._functions = functions
        self._places = None if loaded is None else loaded.places
        self._clock = clock
        self._redactor = Redactor.from_environment(secrets, os.environ if environ is None else environ)
        self._blueprint = Blueprint(resolved.graph, resolved.policy, "" if loaded is None else loaded.source)
        self._bindings: Bindings | None = None
        self._binder: Callable[[Bind], Bindings] = lambda bind: bind(MappingProxyType({}))

    @property
    def graph(self) -> Graph:
        """The graph that is run."""
        return self._blueprint.graph

    @property
    def policy(self) -> Policy:
        """The policy that runs obey."""
        return self._blueprint.policy

    @property
    def redactor(self) -> Redactor:
        """Removes the environment's secrets from texts."""
        return self._redactor

    def plan(
        self,
        goal: str | None = None,
        *,
        down: Iterable[str] = (),
        inputs: Iterable[str] | None = None,
        view: View | None = None,
    ) -> Explanation:
        """Plan a route and say why it is the one; nothing is called.

        Args:
            goal: A listed goal; default: the best one.
            down: Nodes to do without.
            inputs: Run inputs to take as given beside the required ones.
            view: How the nodes are; default: as this process knows it from its runs, else as declared.

        Raises:
            InputError: There is no such goal, or no such node.
        """
        goal = self._goal(goal)
        defaults = (item.name for item in self.graph.inputs if not item.required)
        given = {*self.graph.run_inputs, *defaults, *(inputs or ())}
        limits = self.policy.limits
        situation = Situation(
            held=dict.fromkeys(sorted(given), (INPUT,)),
            excluded=self.down(down),
            left=Limits(limits.usd, limits.seconds, limits.calls),
        )
        return explain(self._blueprint.planner, view or self._seen_now(), goal, situation)

    def _seen_now(self) -> View:
        """Return what a run that starts now would see."""
        return self._blueprint.view

    @property
    def spec(self) -> GraphSpec:
        """What the graph was made from."""
        return self._resolved.spec

    def down(self, names: Iterable[str]) -> dict[str, str]:
        """Return the exclusions of a run that does without some nodes; raises `InputError` for unknown ones."""
        names = list(names)
        for name in names:
            if name not in self.graph.by_name:
                raise InputError(f"there is no node {name!r}; the nodes are {', '.join(self.graph.by_name)}")
        return dict.fromkeys(names, "down")

    def simulation(self, faults: FaultPlan | None = None) -> Simulation:
        """Return a simulation of this graph under this policy."""
        return Simulation(self._blueprint, faults)

    def resilience(self, goal: str | None = None) -> Resilience:
        """Return what each goal survives and what breaks it; with *goal*, of that one alone. Nothing is called."""
        from orchestrator.resilience import assess

        return assess(self.graph, self.policy, goal=goal)

    def complete_inputs(self, given: Mapping[str, Any], goal: str | None = None) -> dict[str, Any]:
        """Return the run inputs with defaults filled in; raises `InputError` where they do not fit."""
        return complete(self.graph, given, self._goal(goal))

    def _goal(self, goal: str | None) -> str:
        names = list(self.graph.goal_by_name)
        if goal is not None and goal not in names:
            raise InputError(f"there is no goal {goal!r}; the goals are {', '.join(names)}")
        return goal or names[0]

    def _bound(self) -> Bindings:
        if self._bindings is None:
            self._bindings = self._binder(self._bind)
        return self._bindings

    def _bind(self, instead: Mapping[str, RawCall]) -> Bindings:
        from orchestrator.nodes.bind import bind

        return bind(
            self._resolved.spec,
            self.graph,
            resolve_reference=self._resolved.references.find,
            functions=self._functions,
            redact=self._redactor.redact,
            places=self._places,
            instead=instead,
        )

    def check(self) -> None:
        """Find every function that the graph names and check that it fits; calls nothing.

        Raises:
            SpecError: Something does not fit; holds every problem.
        """
        self._bound()

    def _with_faults(self, faults: FaultPlan | None, seed: int) -> Bindings:
        from orchestrator.faults import drilled
        from orchestrator.nodes.inject import inject

        clock, bindings = self._clock, self._bound()
        plan = drilled(faults, self.policy.faults, self.graph)
        if plan is None:
            return bindings
        return inject(bindings, self.graph, plan, clock=clock, sleep=anyio.sleep, started_at=clock(), seed=seed)


def load(
    path: str | Path,
    policy: Policy | Mapping[str, Any] | str | None,
    *,
    environ: Mapping[str, str] | None,
    imports: bool,
    decider: DecisionModel | None = None,
    errors: Errors | None = None,
) -> tuple[Resolved, Loaded]:
    """Load a graph file under a policy; the arguments are those of `Orchestrator.from_yaml`."""
    from orchestrator.spec.declare import errors_of
    from orchestrator.spec.load import load_file
    from orchestrator.spec.policies import is_path, load_policy
    from orchestrator.spec.resolve import resolve

    environ = os.environ if environ is None else environ
    loaded = load_file(path, environ=environ)
    if errors:
        both = {**loaded.spec.errors, **errors_of(errors)}
        loaded = replace(loaded, spec=loaded.spec.model_copy(update={"errors": both}))
    if isinstance(policy, str):
        file, by_path = Path(policy), is_path(policy)
        policy = load_policy(file.name if by_path else policy, root=file.parent, environ=environ)
    elif isinstance(policy, Mapping):
        policy = Policy.model_validate(policy)
    resolved = resolve(loaded, policy=policy, imports=imports, decider=None if decider is None else decider.name)
    if loaded.spec.name is None:
        resolved = replace(resolved, graph=replace(resolved.graph, name=Path(path).stem))
    return resolved, loaded
