"""What every part of the run machine works on: the graph, the planner, the state, and what it has to say."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.events import Event, Record, RunStarted, Value
from orchestrator.graph import INPUT, Graph, Node
from orchestrator.planner import Limits, Planner, Route, Situation
from orchestrator.policy import Policy
from orchestrator.run.commands import Command, Inputs
from orchestrator.run.state import RunState
from orchestrator.weight import View

__all__ = ("CHECKS", "Context")

CHECKS = 2
"""How often a goal is planned again after its check failed; the next failure gives the goal up."""


class Context:
    """The run's unchanging parts, its state, and the records and commands of the step at hand."""

    def __init__(self, first: RunStarted, graph: Graph, policy: Policy, planner: Planner, state: RunState) -> None:
        self.first = first
        self.graph = graph
        self.policy = policy
        self.planner = planner
        self.state = state
        self.records: list[Record] = []
        self.commands: list[Command] = []
        self._seen: tuple[View, tuple[str, ...], View] | None = None

    def emit(self, event: Event) -> None:
        """Append an event to the log."""
        self.state.seq += 1
        self.records.append(Record(self.state.seq, self.state.at, event))

    def command(self, command: Command) -> None:
        """Ask the driver for something."""
        self.commands.append(command)

    def node(self, name: str) -> Node:
        """Return a node by name."""
        return self.graph.by_name[name]

    def key(self, node: str) -> str:
        """Return the idempotency key of a node in this run: another one once a person has changed what it is given."""
        edits = self.state.counts.get(f"edit:{node}", 0)
        return f"{self.first.run_id}:{node}" + (f":edit-{edits}" if edits else "")

    def note_effect(self, name: str, attempt: int) -> None:
        """Take a node's effect as standing, the latest of all."""
        self.state.effects.pop(name, None)
        self.state.effects[name] = attempt

    def hold(self, name: str, attempt: int, values: tuple[Value, ...]) -> None:
        """Take a node's result as held; its effect, if it has one, stands from now on."""
        node, state = self.node(name), self.state
        state.finished[name] = attempt
        for value in values:
            if value.name in node.provides:
                state.held.setdefault(value.name, {})[name] = value
        if node.effect == "once" or node.undo:
            self.note_effect(name, attempt)

    # --------------------------------------------------------------------------------------------------------- planning

    def situation(self, *, lift: tuple[str, ...] = (), settled: bool = False, supplied: str | None = None) -> Situation:
        """Return where the run stands.

        Args:
            lift: Excluded nodes to take as usable.
            settled: Take open `once` attempts as if they still ran: what would be planned once they are settled.
            supplied: A value to take as given from outside.
        """
        state = self.state
        pending = {
            name
            for name, open_ in state.unresolved.items()
            if open_.verifying or (settled and name not in state.left_open)
        }
        flights = {} if state.expired else {n: f for n, f in state.flights.items() if not f.cancelling}
        in_flight = {name: self._still(name, flight.started) for name, flight in flights.items()}
        in_flight.update(dict.fromkeys(sorted(pending), 0.0))
        effects = {
            name: self.node(name).undo and name not in state.stuck
            for name in state.effects
            if self.node(name).effect == "once" or self.node(name).undo
        }
        # What is being undone, and what was made from it, does not stand any more.
        undoing = [subject for key, subject in state.calls.items() if key.startswith("undo:")]
        gone = {lost: None for effect in undoing for lost in (effect, *self.made_from(effect))}
        held = {value: tuple(p for p in providers if p not in gone) for value, providers in state.held.items()}
        if supplied is not None:
            held[supplied] = (*held.get(supplied, ()), INPUT)
        return Situation(
            held={value: providers for value, providers in held.items() if providers},
            in_flight=in_flight,
            excluded={name: found.reason for name, found in state.excluded.items() if name not in lift},
            effects=effects,
            unresolved=frozenset(name for name in state.unresolved if name not in pending),
            rests=self.rests(),
            finished=frozenset(state.finished),
            withdrawn=frozenset((p, goal) for goal, providers in state.withdrawn.items() for p in providers),
            left=self.left(),
        )

    def rests(self) -> dict[str, tuple[str, ...]]:
        """Return the nodes that were given something made from an effect that stands, and from which."""
        effects = [name for name in self.state.effects if self.node(name).effect == "once" or self.node(name).undo]
        found: dict[str, tuple[str, ...]] = {}
        for effect in effects:
            for name in self.made_from(effect):
                found[name] = (*found.get(name, ()), effect)
        return found

    def made_from(self, source: str) -> tuple[str, ...]:
        """Return the nodes whose latest attempt was given, directly or through others, what *source* made."""
        state = self.state
        found: dict[str, None] = {source: None}
        # In order of completion a node's providers come before it.
        for name in (*state.finished, *state.flights):
            if any(provider in found for _, _, provider in state.inputs.get(name, ())):
                found[name] = None
        return tuple(name for name in found if name != source)

    def _still(self, name: str, started: float) -> float:
        return max((self.node(name).seconds or 0.0) - (self.state.at - started), 0.0)

    def left(self) -> Limits:
        """Return what the run may still spend; what attempts in flight will cost is taken as spent."""
        limits, state = self.policy.limits, self.state
        reserved = sum(flight.usd for flight in state.flights.values())
        calls = None if limits.calls is None else max(limits.calls - state.calls_made, 0)
        return Limits(
            usd=None if limits.usd is None else max(limits.usd - state.usd - reserved, 0.0),
            seconds=None if self.deadline is None else max(self.deadline - state.at, 0.0),
            calls=0 if state.expired else calls,
        )

    @property
    def rerouted_enough(self) -> bool:
        """Whether the run may not be rerouted any more."""
        limit = self.policy.limits.reroutes
        return limit is not None and self.state.counts.get("reroute", 0) >= limit

    @property
    def deadline(self) -> float | None:
        """When the run's time is up, on its own clock; while it waits for people, that moves on."""
        state, seconds = self.state, self.policy.limits.seconds
        waiting = state.at - state.waiting_since if state.phase == "waiting" else 0.0
        return None if seconds is None else state.began + state.waited + waiting + seconds

    def plan(
        self,
        goal: str,
        *,
        lift: tuple[str, ...] = (),
        passing: tuple[str, ...] = (),
        settled: bool = False,
        supplied: str | None = None,
    ) -> Route:
        """Plan a route to *goal* from where the run stands.

        The arguments are those of `situation`, and *passing*: nodes whose open circuit does not count.
        A goal whose check has failed too often has no route, unless to a value that is supplied from outside.
        """
        if supplied is None and self.state.failed_checks.get(goal, 0) > CHECKS:
            return Route(goal, "impossible", reason="check")
        situation = self.situation(lift=lift, settled=settled, supplied=supplied)
        return self.planner.plan(self.view(passing), goal, situation)

    def view(self, passing: tuple[str, ...] = ()) -> View:
        """Return the view that this run goes by: without the open circuits that it passes, or is to pass."""
        view, passed = self.state.view, (*self.state.passing, *passing)
        if not passed:
            return view
        if self._seen is None or self._seen[:2] != (view, passed):
            barred = (veto for veto in view.vetoes if veto[0] not in passed or veto[0] not in view.open)
            self._seen = (view, passed, replace(view, vetoes=tuple(barred)))
        return self._seen[2]

    # ------------------------------------------------------------------------------------------------------------ route

    def provider_inputs(self, name: str) -> Inputs | None:
        """Return what the route gives a node, or None while something of it is not held yet."""
        route, state = self.state.route, self.state
        assert route is not None
        found = []
        for need, provider in zip(self.node(name).needs, route.sources[name], strict=True):
            if provider is not None and not state.holds(need.value, provider):
                return None
            found.append((need.parameter, need.value, provider))
        return self.edited(name, tuple(found))

    def offered(self, name: str) -> Inputs | None:
        """Return what a node would be given if it started now, or None where it cannot or is not to."""
        state, route = self.state, self.state.route
        if route is None:
            return None
        if name in state.backoff and name not in route.nodes:
            # It was in flight when the route was planned; its retry takes the same inputs.
            return self.edited(name, state.inputs[name])
        return self.provider_inputs(name) if name in route.nodes else None

    def edited(self, name: str, inputs: Inputs) -> Inputs:
        """Return a node's inputs with what a person has changed, which still is made from what its provider gave."""
        edits = self.state.edits.get(name, {})
        return tuple(
            (parameter, edits[parameter][0], provider or INPUT)
            if need.passed and parameter in edits and edits[parameter][1] == provider
            else (parameter, value, provider)
            for need, (parameter, value, provider) in zip(self.node(name).needs, inputs, strict=True)
        )

    def passed(self, name: str, inputs: Inputs) -> Inputs:
        """Return those of a node's inputs that are handed to it."""
        return tuple(given for need, given in zip(self.node(name).needs, inputs, strict=True) if need.passed)

    def goal_inputs(self) -> Inputs | None:
        """Return the goal's values with the providers that the route names, or None while one is not held."""
        route, state = self.state.route, self.state
        if route is None:
            return None
        values = self.graph.goal_by_name[state.goal].values
        found = []
        for value, provider in zip(values, route.goal_sources, strict=True):
            if provider is None or not state.holds(value, provider):
                return None
            found.append((value, value, provider))
        return tuple(found)

    def standing(self) -> dict[str, None]:
        """Return the nodes whose results make up the goal's values, found by what each was really given."""
        inputs = self.goal_inputs() or ()
        stack = [provider for _, _, provider in inputs if provider is not None]
        found: dict[str, None] = {}
        while stack:
            name = stack.pop()
            if name in found or name not in self.graph.by_name:
                continue
            found[name] = None
            stack.extend(provider for _, _, provider in self.state.inputs.get(name, ()) if provider is not None)
        return found
