"""Hypothesis strategies: graphs shaped like real ones, views of them, runs half way through, limits, faults, and
what models and people say.

A drawn graph has layers of values with one to four alternative providers each. Its nodes join up to three needs, one
early value (the *hub*) is wanted by several later nodes, and some providers are dear shortcuts that do without it.
Costs come from a small set, so that ties are common. Everything that planning knows occurs: optional needs, `after:`
needs, nodes of several values, pure effects, `once` effects with and without undo, forbidden and dear edges, cycles
among values, several goals. What a test cannot use is switched off by an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import yaml
from hypothesis import strategies as st

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    Answered,
    AttemptEnded,
    CallEnded,
    Fact,
    Failure,
    LateResult,
    ModelAnswered,
    Value,
    ViewChanged,
)
from orchestrator.faults import FaultPlan
from orchestrator.graph import INPUT, Edge, Effect, Goal, Graph, Need, Node
from orchestrator.policy import Objective, Policy
from orchestrator.simulate import Simulation
from orchestrator.units import parse_duration
from orchestrator.weight import View, declared_view
from tests.deciding import Scene, Word
from tests.oracle import Left, Situation, enumerate_routes, figures, permitted, share_a_value, stands_in_the_way

__all__ = (
    "Case",
    "Fate",
    "cases",
    "fate",
    "fault_scripts",
    "graphs",
    "limits",
    "scenes",
    "single_need_graphs",
    "situations",
    "views",
)

Draw = st.DrawFn
Fate = Literal["works", "dead", "open"]

INPUTS = ("ask", "id")
LETTERS = "abcdefghijklmnop"
PREFIXES = (*[""] * 57, "é-", "поиск-", "検索")
HUB_COSTS = (2.0, 3.0, 4.0)
SHORTCUT_COSTS = (3.0, 4.0, 4.5)
COSTS = (None, 0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0)
PRICES = (0.0, 0.5, 1.0, 2.0, 5.0)
USD = (None, None, None, 0.01, 0.02, 0.05)
SECONDS = (None, None, None, 0.5, 1.0, 2.0)


def chance(draw: Draw, percent: int) -> bool:
    """Draw True in about *percent* of a hundred cases; shrinks to False."""
    return bool(draw(st.sampled_from([False] * (100 - percent) + [True] * percent)))


def pick(draw: Draw, options: Any) -> Any:
    """Draw one of *options*."""
    return draw(st.sampled_from(options))


# --------------------------------------------------------------------------------------------------------------- graphs


@dataclass(frozen=True)
class Shape:
    """What a drawn graph may have."""

    max_nodes: int = 8
    """The exhaustive oracle copes with about 9."""
    max_needs: int = 3
    """Most needs of a node and values of a goal; 1 makes a single-need graph."""
    max_goals: int = 3
    max_depth: int = 4
    """Most layers of values."""
    max_routes: int | None = 2000
    """A graph that has more routes to a goal loses nodes; None: any number."""
    allow_once: bool = True
    allow_undo: bool = True
    allow_cycles: bool = True
    """Whether values may depend on each other in a ring."""
    allow_optional: bool = True
    allow_after: bool = True
    """Whether needs may be `after:` needs, which are not passed."""
    allow_several_values: bool = True
    """Whether a node may provide several values."""
    allow_forbids: bool = True
    allow_edge_costs: bool = True
    allow_figures: bool = True
    """Whether nodes may declare money and seconds, not only units."""
    allow_success: bool = True
    """Whether nodes may declare a success below 1."""


@st.composite
def graphs(draw: Draw, /, **shape: Any) -> Graph:
    """Draw a graph; the arguments are the fields of `Shape`."""
    asked = Shape(**shape)
    if chance(draw, 40):  # plain costs, so that many routes weigh the same
        asked = replace(asked, allow_figures=False, allow_success=False)
    layers = draw_layers(draw, asked)
    graph = Graph(tuple(draw_nodes(draw, asked, layers)), draw_goals(draw, asked, layers))
    graph = replace(graph, edges=draw_edges(draw, asked, graph))
    while asked.max_routes is not None and has_more_routes(graph, asked.max_routes):
        graph = without_last_provider(graph)
    return graph


def draw_layers(draw: Draw, shape: Shape) -> list[list[str]]:
    """Draw the names of the values, layer by layer; the first value of the first layer is the hub."""
    depth = pick(draw, [1, *3 * list(range(2, shape.max_depth + 1))])
    letters = iter(LETTERS)
    layers = []
    left = (shape.max_nodes + 1) // 2
    for _ in range(depth):
        width = min(pick(draw, (1, 1, 2, 2, 3)), left)
        layers.append([pick(draw, PREFIXES) + next(letters) for _ in range(width)])
        left -= width
    return [layer for layer in layers if layer]


def draw_nodes(draw: Draw, shape: Shape, layers: list[list[str]]) -> list[Node]:
    """Draw one to four providers of each value, within the number of nodes."""
    values = [value for layer in layers for value in layer]
    spare = shape.max_nodes - len(values)
    nodes = []
    for depth, layer in enumerate(layers):
        for value in layer:
            effectful = shape.allow_once and chance(draw, 35)
            pure = depth > 0 and chance(draw, 8)
            number = 1 if pure else 1 + min(pick(draw, (0, 1, 1, 1, 2, 3)), spare)
            spare -= number - 1
            for index in range(1, number + 1):
                name = value if pure else f"{pick(draw, PREFIXES)}{value}{index}"
                node = draw_node(draw, shape, layers, depth, name, value, dear=index > 1 and chance(draw, 50))
                node = replace(node, pure=pure)
                nodes.append(draw_effect(draw, shape, node, effectful))
    return nodes


def draw_node(
    draw: Draw, shape: Shape, layers: list[list[str]], depth: int, name: str, value: str, *, dear: bool
) -> Node:
    """Draw a provider of *value*; a *dear* one is a shortcut that needs nothing but run inputs."""
    hub = layers[0][0]
    earlier = [other for layer in layers[:depth] for other in layer]
    provides = [value]
    if shape.allow_several_values and chance(draw, 15):
        also = pick(draw, [other for layer in layers[depth:] for other in layer])
        provides += [] if also == value else [also]
    if dear or not earlier:
        wanted = [pick(draw, INPUTS)] if chance(draw, 70) else []
    else:
        pool = [hub, hub, *layers[depth - 1], *layers[depth - 1], *earlier, INPUTS[0]]
        wanted = list(dict.fromkeys(pick(draw, pool) for _ in range(pick(draw, (1, 2, 2, 3)))))
    if shape.allow_cycles and chance(draw, 8):
        wanted.append(pick(draw, [other for layer in layers[depth:] for other in layer]))
    wanted = [other for other in dict.fromkeys(wanted) if other not in provides][-shape.max_needs :]
    needs = [draw_need(draw, shape, other) for other in wanted]
    if 0 < len(needs) < shape.max_needs and chance(draw, 4):
        needs.append(Need("again", needs[0].value))
    costs = SHORTCUT_COSTS if dear else HUB_COSTS if value == hub else COSTS
    return Node(
        name,
        needs=tuple(needs),
        provides=tuple(provides),
        units=pick(draw, costs),
        usd=pick(draw, USD) if shape.allow_figures else None,
        seconds=pick(draw, SECONDS) if shape.allow_figures else None,
        success=pick(draw, (1.0, 1.0, 1.0, 0.8, 0.5)) if shape.allow_success else 1.0,
        output=chance(draw, 30),
    )


def draw_need(draw: Draw, shape: Shape, value: str) -> Need:
    """Draw how a value is needed."""
    if shape.allow_after and chance(draw, 12):
        return Need(value, value, passed=False)
    if shape.allow_optional and chance(draw, 18):
        return Need(value, value, optional=pick(draw, PRICES))
    return Need(f"the_{value}" if chance(draw, 20) else value, value)


def draw_effect(draw: Draw, shape: Shape, node: Node, effectful: bool) -> Node:
    """Draw what repeating the node does, and what belongs to that."""
    undo = shape.allow_undo and chance(draw, 65 if effectful else 8)
    undo_units = pick(draw, (None, 0.5, 2.0)) if undo else None
    if effectful and chance(draw, 80):
        return replace(node, effect="once", undo=undo, undo_units=undo_units, verify=chance(draw, 50))
    effect: Effect | None = pick(draw, ("read", "idempotent", None))
    attempts = 2 if effect is None else pick(draw, (1, 2, 2, 3))
    return replace(node, effect=effect, undo=undo, undo_units=undo_units, attempts=attempts)


def draw_goals(draw: Draw, shape: Shape, layers: list[list[str]]) -> tuple[Goal, ...]:
    """Draw the goals: the first wants the last layer, each later one wants less or something earlier."""
    last = layers[-1]
    earlier = [value for layer in layers[:-1] for value in layer]
    values = list(last) if chance(draw, 75) else [pick(draw, last)]
    if earlier and chance(draw, 30):
        values.append(pick(draw, earlier))
    values = values[: shape.max_needs]
    goals = [tuple(values)]
    while len(goals) < shape.max_goals and chance(draw, 80):
        if len(values) > 1 and chance(draw, 60):
            gone = pick(draw, values)
            values = [value for value in values if value != gone]
        else:
            values = [pick(draw, earlier or last)]
        if tuple(values) not in goals:
            goals.append(tuple(values))
    return tuple(Goal(f"goal-{rank}", wanted) for rank, wanted in enumerate(goals, start=1))


def draw_edges(draw: Draw, shape: Shape, graph: Graph) -> tuple[Edge, ...]:
    """Draw a few exceptions to the implied edges."""
    pairs = list(dict.fromkeys((provider, consumer) for provider, consumer, _ in graph.implied_edges()))
    edges: dict[tuple[str, str], Edge] = {}
    for _ in range(pick(draw, (0, 1, 1, 2, 3)) if pairs else 0):
        pair = pick(draw, pairs)
        if shape.allow_forbids and chance(draw, 50):
            edges[pair] = Edge(pair[0], pair[1], forbid=True, reason="not this one")
        elif shape.allow_edge_costs:
            edges[pair] = Edge(pair[0], pair[1], cost=pick(draw, (0.5, 1.0, 2.0)))
    return tuple(edges.values())


def has_more_routes(graph: Graph, number: int) -> bool:
    """Return whether some goal of the untouched graph has more than *number* routes."""
    start, view = Situation.at_start(graph), declared_view(graph, Objective())
    tolerant = replace(graph, nodes=tuple(replace(node, effect=None) for node in graph.nodes))
    return any(
        next(islice(enumerate_routes(tolerant, goal, view, start), number, None), None) is not None
        for goal in graph.goals
    )


def without_last_provider(graph: Graph) -> Graph:
    """Return the graph without the last node whose values are all provided by others too, or else without the last."""
    spare = [node for node in graph.nodes if all(len(graph.providers[value]) > 1 for value in node.provides)]
    gone = (spare or graph.nodes)[-1].name
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.name != gone),
        edges=tuple(edge for edge in graph.edges if gone not in (edge.source, edge.target)),
    )


def single_need_graphs(*, max_nodes: int = 20, **shape: Any) -> st.SearchStrategy[Graph]:
    """Draw graphs whose nodes and goals need at most one value: plain shortest paths, as networkx finds them."""
    plain = {"allow_once": False, "allow_undo": False, "allow_optional": False, "max_routes": None, **shape}
    return graphs(max_nodes=max_nodes, max_needs=1, max_depth=8, **plain)


# -------------------------------------------------------------------------------------------- views, situations, limits


@st.composite
def views(
    draw: Draw, graph: Graph, *, allow_measured: bool = True, allow_trails: bool = True, allow_vetoes: bool = True
) -> View:
    """Draw a view: declared weights, some of them moved by measurement, some trails, now and then a veto."""
    weights = dict(declared_view(graph, Objective()).weights)
    if allow_measured and chance(draw, 50):
        weights = {name: max(int(weight * pick(draw, (1, 1, 1, 2, 0.5))), 1) for name, weight in weights.items()}
    pairs = sorted({(provider, consumer) for provider, consumer, _ in graph.implied_edges()})
    trails: dict[tuple[str, str], int] = {}
    for _ in range(pick(draw, (0, 0, 1, 2, 4)) if allow_trails and pairs else 0):
        pair = pick(draw, pairs)
        trails[pair] = max(int(weights[pair[0]] / pick(draw, (0.5, 0.8, 1.25, 2))), 1)
    vetoes = {}
    if allow_vetoes and chance(draw, 20):
        vetoes[pick(draw, graph.nodes).name] = "open"
    return View(
        "drawn",
        tuple(sorted(weights.items())),
        tuple((*pair, weight) for pair, weight in sorted(trails.items())),
        tuple(vetoes.items()),
    )


@st.composite
def situations(
    draw: Draw, graph: Graph, *, allow_progress: bool = True, allow_excluded: bool = True, allow_given: bool = True
) -> Situation:
    """Draw a moment of a run: nodes whose needs were met have finished, failed, are in flight or unknown.

    Args:
        draw: Given by Hypothesis.
        graph: The graph of the run.
        allow_progress: Whether anything has run already.
        allow_excluded: Whether nodes may be excluded, at the start or because they failed.
        allow_given: Whether the run may be given values that nodes provide or that are only needed optionally;
            never values of `once` nodes, since a run input is no provider that an effect could conflict with.
    """
    effects = {value for node in graph.nodes if node.effect == "once" for value in node.provides}
    spare = [value for value in graph.values if value not in effects and value not in graph.run_inputs]
    given = [pick(draw, spare)] if allow_given and spare and chance(draw, 20) else []
    situation = Situation.at_start(graph, *given)
    if allow_excluded:
        excluded = [pick(draw, graph.nodes).name for _ in range(pick(draw, (0, 0, 0, 1, 2, 3)))]
        situation = replace(situation, excluded=frozenset(excluded))
    for _ in range(pick(draw, (0, 1, 2, 3, 4, 5)) if allow_progress else 0):
        startable = [node for node in graph.nodes if can_start(graph, situation, node)]
        if not startable:
            break
        situation = after_attempt(draw, situation, pick(draw, startable), allow_excluded)
    return situation


def can_start(graph: Graph, situation: Situation, node: Node) -> bool:
    """Return whether a run could start the node at this moment.

    Next to a finished effect that can be undone nothing is started here: which values stand after an undo is the
    run's business.
    """
    touched = situation.finished | situation.in_flight | situation.excluded | situation.unresolved
    neighbours = [other for other in graph.nodes if share_a_value(graph, node.name, other.name)]
    return (
        node.name not in touched
        and not any(stands_in_the_way(graph, situation, other) for other in neighbours)
        and not any(other.name in situation.finished_effects for other in neighbours)
        and not (node.effect == "once" and any(other.name in situation.in_flight for other in neighbours))
        and all(
            need.optional is not None
            or any(
                provider == INPUT or permitted(graph, provider, node.name)
                for provider in situation.held.get(need.value, ())
            )
            for need in node.needs
        )
    )


def after_attempt(draw: Draw, situation: Situation, node: Node, allow_excluded: bool) -> Situation:
    """Return the situation after an attempt of the node was started, and perhaps ended."""
    name = frozenset({node.name})
    outcomes = ["finished", "finished", "finished", "in_flight"]
    outcomes += ["failed"] if allow_excluded else []
    outcomes += ["unknown"] if node.effect == "once" else []
    outcome = pick(draw, outcomes)
    if outcome == "failed":
        return replace(situation, excluded=situation.excluded | name)
    if outcome == "unknown":
        return replace(situation, unresolved=situation.unresolved | name)
    if outcome == "in_flight":
        unresolved = situation.unresolved | (name if node.effect == "once" else frozenset())
        return replace(situation, in_flight=situation.in_flight | name, unresolved=unresolved)
    held = {value: (*situation.held.get(value, ()), node.name) for value in node.provides}
    return replace(
        situation,
        held={**situation.held, **held},
        finished_effects=situation.finished_effects | (name if node.effect == "once" else frozenset()),
        undo_failed=situation.undo_failed | (name if node.undo and chance(draw, 10) else frozenset()),
    )


@st.composite
def limits(draw: Draw, graph: Graph, goal: Goal, view: View, situation: Situation) -> Left:
    """Draw what is left of the limits: often exactly what one of the routes needs, else anything."""
    routes = list(islice(enumerate_routes(graph, goal, view, situation), 50))
    if routes and chance(draw, 50):
        need = figures(graph, pick(draw, routes))
        return Left(
            usd=need.usd if chance(draw, 50) else None,
            seconds=need.seconds if chance(draw, 50) else None,
            calls=need.calls if chance(draw, 50) else None,
        )
    return Left(
        usd=pick(draw, (None, None, 0.0, 0.01, 0.03, 0.06)),
        seconds=pick(draw, (None, None, 0.0, 1.0, 2.5, 4.0)),
        calls=pick(draw, (None, None, 1, 2, 3, 4)),
    )


@dataclass(frozen=True)
class Case:
    """One planning problem."""

    graph: Graph
    view: View
    situation: Situation
    limits: Left

    @property
    def goal(self) -> Goal:
        """The asked goal."""
        return self.graph.goals[0]


@st.composite
def cases(draw: Draw, /, *, allow_progress: bool = True, allow_limits: bool = True, **shape: Any) -> Case:
    """Draw a graph with a view of it, a moment of a run, and limits; *shape* goes to `graphs`."""
    graph = draw(graphs(**shape))
    view = draw(views(graph))
    situation = draw(situations(graph, allow_progress=allow_progress))
    left = draw(limits(graph, graph.goals[0], view, situation)) if allow_limits else Left()
    return Case(graph, view, situation, left)


# --------------------------------------------------------------------------------------------------------------- faults


@st.composite
def fault_scripts(draw: Draw, graph: Graph, *, allow_slow: bool = True) -> dict[str, Any]:
    """Draw a fault file as data: per node one outcome or a list of them, the last one repeating.

    Nodes with a declared success below 1 are always listed, so that nothing is left to chance. `unknown` is drawn
    for `once` nodes only, `wrong` only where an output contract is declared.

    Args:
        draw: Given by Hypothesis.
        graph: The graph whose nodes are scripted.
        allow_slow: Whether calls may take longer than declared (`slow`, and `hang` with a duration).
    """
    scripts: dict[str, Any] = {}
    for node in graph.nodes:
        if chance(draw, 50):
            outcomes = [draw_outcome(draw, node, allow_slow) for _ in range(pick(draw, (1, 1, 1, 2, 3)))]
            scripts[node.name] = outcomes[0] if len(outcomes) == 1 else outcomes
        elif node.success < 1:
            scripts[node.name] = "ok"
    return {"seed": draw(st.integers(0, 7)), "nodes": scripts}


def draw_outcome(draw: Draw, node: Node, allow_slow: bool) -> Any:
    """Draw the outcome of one attempt, as a fault file writes it."""
    outcomes: list[Any] = ["down", "down", "raise", {"raise": "permanent"}, "hang", "ok", "ok"]
    outcomes += [{"rate_limited": {"retry_after": "1s"}}]
    outcomes += [{"slow": "3x"}, {"hang": "2s"}] if allow_slow else []
    outcomes += ["wrong"] if node.output else []
    outcomes += ["unknown", "unknown"] if node.effect == "once" else []
    return pick(draw, outcomes)


def fate(node: Node, faults: Mapping[str, Any]) -> Fate:
    """Return what comes of a node under a fault file, whatever else the run meets.

    ``works``: an attempt that the run is sure to make, when it wants the node, succeeds. ``dead``: no attempt that it
    could ever make succeeds. ``open``: it hangs on something else, such as the last chance, chance itself, how a
    breach of the output contract is repeated, or how an unknown outcome is settled.
    """
    if node.name not in faults["nodes"]:
        return "works" if node.success == 1 else "open"
    script = faults["nodes"][node.name]
    outcomes = script if isinstance(script, list) else [script]
    repeatable = node.effect in ("read", "idempotent")
    ordinary = node.attempts if repeatable else 1
    plain = True
    for attempt in range(ordinary + 1 if repeatable else 1):
        outcome = outcomes[min(attempt, len(outcomes) - 1)]
        if succeeds(node, outcome):
            return "works" if plain and attempt < ordinary else "open"
        if outcome == {"raise": "permanent"}:
            return "dead"
        refused = outcome in ("raise", "down") or "rate_limited" in outcome
        if node.effect == "once" and not refused:
            return "open"
        plain = plain and (refused or outcome == "hang")
    return "dead"


def succeeds(node: Node, outcome: Any) -> bool:
    """Return whether an attempt with this scripted outcome gives a value before its timeout."""
    if isinstance(outcome, dict) and "slow" in outcome:
        return (node.seconds or 0.0) * float(outcome["slow"].removesuffix("x")) < node.timeout
    if isinstance(outcome, dict) and "hang" in outcome:
        return parse_duration(outcome["hang"]) < node.timeout
    return bool(outcome == "ok")


# ------------------------------------------------------------------------------------------------- models and people

DELAYS = (0.0, 0.0, 0.0, 0.37, 1.13, 4.71)
"""Seconds, none of them a sum of the declared ones, so that few things happen at the same moment."""
USEFUL = ("pick", "pick", "retry", "retry", "supply", "ask", "give_up", "twice")
USELESS = ("absent", "unlisted", "unknown", "garbage", "wrong_values")
PEOPLE = ("yes", "yes", "yes", "no", "edit", "pick", "retry", "supply", "nonsense", "twice", "silent")


@st.composite
def scenes(
    draw: Draw,
    /,
    *,
    by: Literal["policy", "model", "person"] | None = None,
    useless: bool = False,
    allow_checks: bool = True,
    allow_limits: bool = True,
    allow_news: bool = True,
    **shape: Any,
) -> Scene:
    """Draw a run that models and people decide about: graph, faults, policy, and what everybody says.

    Args:
        draw: Given by Hypothesis.
        by: Who decides where no route is left; default: any.
        useless: Whether the model is one that answers at once, and never what could be used.
        allow_checks: Whether goals may have a check, which fails every time or never.
        allow_limits: Whether the run may be limited in money, time, calls and reroutes.
        allow_news: Whether views change, and facts come that fit nothing.
        shape: The fields of `Shape`.
    """
    graph = draw(graphs(**{"max_nodes": 7, **shape}))
    nodes = tuple(draw_gate(draw, replace(node, timeout=2.5)) for node in graph.nodes)
    checked = tuple(replace(goal, check=allow_checks and chance(draw, 12)) for goal in graph.goals)
    graph = replace(graph, nodes=nodes, goals=checked)
    script = draw(fault_scripts(graph))
    # Where enough fails for good there is something to decide.
    script["nodes"].update({n.name: pick(draw, ("down", {"raise": "permanent"})) for n in nodes if chance(draw, 35)})
    policy = draw_policy(draw, graph, by or pick(draw, ("model", "model", "person", "policy")), allow_limits)
    plan = FaultPlan.from_text(yaml.safe_dump(script, allow_unicode=True))
    names = [node.name for node in graph.nodes]
    kinds = USELESS if useless else (*USEFUL, *USELESS)
    return Scene(
        Simulation(Blueprint(graph, policy), plan),
        tuple(draw_word(draw, kinds, useless) for _ in range(pick(draw, (1, 2, 3)))),
        tuple(draw_word(draw, PEOPLE, False) for _ in range(pick(draw, (0, 3, 6, 9)))),
        tuple(name for name in names if chance(draw, 50)),
        tuple(name for name in names if chance(draw, 30)),
        tuple(goal.name for goal in graph.goals if chance(draw, 50)),
        tuple(draw_news(draw, graph, number) for number in range(pick(draw, (0, 0, 1, 2, 4)) if allow_news else 0)),
    )


def draw_gate(draw: Draw, node: Node) -> Node:
    """Draw what stands before a call of the node."""
    gate = pick(draw, ("never",) * 16 + ("always", "function"))
    return replace(node, gate=gate, guard=chance(draw, 8), risk=pick(draw, (0.0,) * 16 + (0.25, 1.0)))


def draw_policy(draw: Draw, graph: Graph, by: str, limited: bool) -> Policy:
    """Draw who decides, what stops a call, how long people are waited for, and what the run may spend."""
    supply = [value for value in graph.values if chance(draw, 20)]
    limits: dict[str, Any] = {}
    if limited and chance(draw, 40):
        limits = {
            "usd": pick(draw, (None, 0.03, 0.06, 0.1)),
            "seconds": pick(draw, (None, None, "2500ms", "6s")),
            "calls": pick(draw, (None, 2, 4, 7)),
            "reroutes": pick(draw, (None, None, 0, 1, 2)),
        }
    return Policy.model_validate(
        {
            "limits": limits,
            "escalation": {
                "by": by,
                "model": "small",
                "demote": chance(draw, 85),
                "calls": pick(draw, (0, 1, 2, 2, 3, 3)),
                "usd": pick(draw, (None, None, None, None, 0.0, 0.02)),
                "supply": supply,
            },
            "approval": {
                "risk": pick(draw, (None, "low", "high", "high")),
                "usd": pick(draw, (None, None, None, 0.01)),
                "budget": pick(draw, (None, None, None, 0.03)),
            },
            "people": {"deadline": pick(draw, (None, None, "3s", "1h")), "overdue": pick(draw, ("refuse", "cancel"))},
            "effects": {"verify_attempts": pick(draw, (1, 3)), "keep": chance(draw, 20)},
        }
    )


def draw_word(draw: Draw, kinds: tuple[Any, ...], at_once: bool) -> Word:
    """Draw what somebody says to a question."""
    delay = 0.0 if at_once else pick(draw, DELAYS)
    usd = 0.0 if at_once else pick(draw, (0.0, 0.0, 0.011))
    return Word(pick(draw, kinds), delay, draw(st.integers(0, 7)), usd)


def draw_news(draw: Draw, graph: Graph, number: int) -> tuple[float, Fact]:
    """Draw something that comes from outside: a view, or a fact that fits nothing; *number* tells it from others."""
    name, time = pick(draw, graph.nodes).name, pick(draw, (0.07, 0.61, 1.57, 3.33)) + number / 1000
    vetoes = {node.name: "circuit open" for node in graph.nodes if chance(draw, 25)}
    seen = declared_view(graph, Objective(), vetoes=vetoes, id=f"news-{number}")
    strays: tuple[Fact, ...] = (
        ModelAnswered(900 + number, "give_up", usd=1.0),
        Answered(f"approve:{name}", "maybe", by=f"nobody {number}"),
        Answered("decide:900", "give_up", by=f"nobody {number}"),
        Answered(f"nonsense {number}", "yes"),
        AttemptEnded(name, 0, 900 + number, "succeeded", (Value("nothing"),), usd=1.0),
        AttemptEnded(name, 0, 900 + number, "failed", (), Failure("raised"), usd=1.0),
        LateResult(name, 0, 900 + number, "succeeded"),
        CallEnded("verify", 900 + number, name, True),
        CallEnded("undo", 900 + number, name, True),
    )
    return time, pick(draw, (*[ViewChanged(seen)] * 9, *strays))
