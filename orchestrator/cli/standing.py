"""How a graph stands with some tools broken: the route that is left, drawn value by value.

A node is *out* where no attempt of it can succeed; the route is planned without those. What merely slows a node or
breaks it at times changes no declared figure, and so no route: it is marked, and the route that declared figures of
that kind would give is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.cli.playing import Scene
from orchestrator.cli.steps import route_text, seconds_text, summary
from orchestrator.drivers.first import Blueprint
from orchestrator.faults import Chance, Fault, FaultPlan
from orchestrator.graph import INPUT, Graph, Node
from orchestrator.planner import Limits, Route, Situation
from orchestrator.policy import Policy
from orchestrator.result import RunResult
from orchestrator.simulate import Simulation
from orchestrator.units import MICRO

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ("Standing", "Theatre")

ROWS = 16
"""Values that are drawn; of a larger graph the others are counted."""
COLUMNS = 5
"""Providers of one value that are drawn."""
FULL = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What can be reached in a scene, and how."""

    scene: Scene
    route: Route
    """The route to the asked goal, or to the best lower one that is left; infeasible where none is."""
    out: Mapping[str, str]
    """Nodes of which no attempt can succeed, and why."""
    strained: Mapping[str, str]
    """Nodes that work, but not as declared, and how."""
    if_declared: Route | None = None
    """The route that declaring the slow and the flaky as they are would give, where it is another one."""

    def is_touched(self, name: str) -> bool:
        """Whether something is wrong with a node."""
        return name in self.out or name in self.strained


@dataclass
class Theatre:
    """A graph under a policy, on which scenes are played; calls nothing."""

    graph: Graph
    policy: Policy
    blueprint: Blueprint = field(init=False)

    def __post_init__(self) -> None:
        self.blueprint = Blueprint(self.graph, self.policy)

    def standing(self, scene: Scene) -> Standing:
        """Plan what is left in a scene."""
        out: dict[str, str] = {}
        strained: dict[str, str] = {}
        for name, fault in scene.faults.items():
            node = self.graph.by_name[name]
            why_out, how = _effect(node, fault)
            if why_out is not None:
                out[name] = why_out
            elif how is not None:
                strained[name] = how
        route = self._route(self.blueprint, scene.goal, out)
        return Standing(scene, route, out, strained, self._if_declared(scene, route, out, strained))

    def _route(self, blueprint: Blueprint, asked: str, out: Mapping[str, str]) -> Route:
        limits = self.policy.limits
        defaults = (item.name for item in self.graph.inputs if not item.required)
        situation = Situation(
            held=dict.fromkeys(sorted({*self.graph.run_inputs, *defaults}), (INPUT,)),
            excluded=dict(out),
            left=Limits(limits.usd, limits.seconds, limits.calls),
        )
        goals = list(self.graph.goal_by_name)
        below = goals[goals.index(asked) + 1 :] if self.policy.escalation.demote else []
        routes = (blueprint.planner.plan(blueprint.view, goal, situation) for goal in (asked, *below))
        first = next(routes)
        return first if first.feasible else next((route for route in routes if route.feasible), first)

    def _if_declared(
        self, scene: Scene, route: Route, out: Mapping[str, str], strained: Mapping[str, str]
    ) -> Route | None:
        if not strained or not route.feasible:
            return None
        nodes = tuple(_as_it_is(node, scene.faults.get(node.name)) for node in self.graph.nodes)
        other = self._route(Blueprint(replace(self.graph, nodes=nodes), self.policy), route.goal, out)
        return other if other.feasible and other.nodes != route.nodes else None

    def run(self, scene: Scene, seed: int) -> RunResult:
        """Simulate a run of a scene."""
        faults = FaultPlan({name: (fault,) for name, fault in scene.faults.items()})
        return Simulation(self.blueprint, faults).run(goal=scene.goal, seed=seed)

    def draw(self, now: Standing, before: Standing | None, result: RunResult) -> Iterator[Text]:
        """Draw how things stand: who provides what, the route and its price before and now, and what a run does."""
        from rich.text import Text

        asked, route = now.scene.goal, now.route
        if not route.feasible:
            yield Text(f"goal {asked} is out of reach, and so is all below it", style="bold red")
        elif route.goal != asked:
            yield Text(f"goal {asked} is out of reach: demoted to {route.goal}", style="bold yellow")
        else:
            yield Text(f"goal {asked}", style="bold")
        yield from self._rows(now)
        yield Text.assemble(("  route  ", "dim"), *_moved(before, now))
        if now.if_declared is not None:
            other = now.if_declared
            text = f"declared as it now is, the route would be {_priced(other)}"
            yield Text.assemble(("  hint   ", "dim"), (text, "yellow"))
        yield Text.assemble(("  a run  ", "dim"), (summary(result), _STYLES.get(result.outcome, "")))

    def _rows(self, now: Standing) -> Iterator[Text]:
        from rich.text import Text

        # Where the run is demoted, what keeps it from the asked goal is shown too.
        behind = (value for goal in (now.scene.goal, now.route.goal) for value in _values_behind(self.graph, goal))
        values = list(dict.fromkeys(behind))
        shown = _first(values, lambda value: any(map(now.is_touched, self.graph.providers[value])), ROWS)
        width = max((len(value) for value in shown), default=0)
        for value in shown:
            yield Text(f"  {value:<{width}}  ").append_text(self._row(value, now))
        if len(shown) < len(values):
            yield Text(f"  … and {len(values) - len(shown)} values more", style="dim")

    def _row(self, value: str, now: Standing) -> Text:
        """Draw who provides a value: in use, out, or idle."""
        from rich.text import Text

        weights = dict(self.blueprint.view.weights)
        names = self.graph.providers[value]
        shown = _first(names, lambda name: name in now.route.nodes or now.is_touched(name), COLUMNS)
        row = Text()
        for number, name in enumerate(shown):
            out, used = name in now.out, name in now.route.nodes
            mark, style = ("✗", "red") if out else ("●", "green") if used else ("○", "dim")
            row.append("   " if number else "")
            row.append(f"{mark} ", style=style)
            row.append(name, style="red strike" if out else style)
            row.append(f" {weights[name] / MICRO:.4g}", style="dim")
            note = now.out.get(name) or now.strained.get(name)
            row.append(f" ({note})" if note else "", style="red" if out else "yellow")
        if len(shown) < len(names):
            row.append(f"   … {len(names) - len(shown)} more", style="dim")
        return row


def _first(names: Sequence[str], matters: Callable[[str], bool], most: int) -> list[str]:
    """Return at most *most* names in their order; those that matter go before the others."""
    if len(names) <= most:
        return list(names)
    kept = {*sorted(names, key=lambda name: not matters(name))[:most]}
    return [name for name in names if name in kept]


_STYLES = {"met": "green", "demoted": "yellow", "waiting": "yellow", "failed": "red"}


def _moved(before: Standing | None, now: Standing) -> Iterator[tuple[str, str]]:
    """Tell a route, and what it was before where it is another one."""
    if before is not None and _priced(before.route) != _priced(now.route):
        yield f"{_priced(before.route)} -> ", "dim"
    yield _priced(now.route), "bold"


def _priced(route: Route) -> str:
    return f"{route_text(route.nodes)} ({route.weight / MICRO:.4g})" if route.feasible else "none"


def _effect(node: Node, fault: Fault | Chance) -> tuple[str | None, str | None]:
    """Return why no attempt of *node* can succeed, or else how it is hampered."""
    if isinstance(fault, Chance):
        return ("down", None) if fault.probability >= FULL else (None, f"fails {fault.probability:.0%}")
    match fault.kind:
        case "hang" | "slow":
            seconds = fault.seconds if fault.kind == "hang" else (node.seconds or 0.0) * fault.factor
            if seconds is None or seconds > node.timeout:
                late = f"slower than its timeout of {seconds_text(node.timeout)}"
                # The effect of a `once` call happens all the same, and is found out.
                return (None, late) if seconds is not None and node.effect == "once" else (late, None)
            return None, f"{seconds_text(seconds)} instead of {seconds_text(node.seconds or 0.0)}"
        case "unknown":
            # What happened to a `once` call is found out; of any other kind nobody asks.
            return (None, "its answer is lost") if node.effect == "once" else ("its answers are lost", None)
        case "wrong":
            return "wrong output", None
        case "ok":
            return None, None
    return "down", None


def _as_it_is(node: Node, fault: Fault | Chance | None) -> Node:
    """Return a node declared as its fault makes it."""
    if isinstance(fault, Chance):
        return replace(node, success=min(node.success, max(1.0 - fault.probability, 0.001)))
    if fault is None or fault.kind not in ("hang", "slow"):
        return node
    seconds = fault.seconds if fault.kind == "hang" else (node.seconds or 0.0) * fault.factor
    return replace(node, seconds=seconds) if seconds is not None else node


def _values_behind(graph: Graph, goal: str) -> Iterator[str]:
    """Yield the values that nodes provide on the way to *goal*, each after those that it is made from."""
    done: set[str] = set()
    waiting = [(value, False) for value in reversed(graph.goal_by_name[goal].values)]
    opened: set[str] = set()
    while waiting:
        value, ready = waiting.pop()
        if ready:
            if value not in done:
                done.add(value)
                yield value
        elif value not in opened and value in graph.providers:
            opened.add(value)
            waiting.append((value, True))
            needs = [need.value for name in graph.providers[value] for need in graph.by_name[name].needs]
            waiting += [(need, False) for need in reversed(needs)]
