"""Pictures of the graph in Mermaid and in DOT.

Both draw the same shapes and lines. Whatever a colour says is also said by a line's style and in words: a forbidden
edge is dotted, ends in a bar or a cross and carries its reason; a node that is down is hatched or struck and says so;
a route is thick.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.export.flow import Consumer, Flow, flows, given, visible
from orchestrator.graph import INPUT, Graph, Node
from orchestrator.policy import Objective
from orchestrator.weight import FLOOR, declared_cost

__all__ = ("Route", "to_dot", "to_mermaid")

Route = Collection[str] | Mapping[str, Sequence[str | None]]
"""The nodes of a route; as a mapping also the provider of each one's needs, in their order (and of a goal's values)."""

_PLAIN = re.compile(r"[^\W_]")
_DOT_MARKS = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;"})


@dataclass(frozen=True, slots=True)
class _Box:
    """A node, a goal or the run inputs."""

    id: str
    shape: Literal["node", "goal", "input"]
    lines: tuple[str, ...]
    down: bool = False
    taken: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """What flows, or may not flow, between two boxes."""

    source: str
    target: str
    lines: tuple[str, ...]
    kind: Literal["needed", "optional", "forbidden"]
    taken: bool = False


def to_mermaid(
    graph: Graph, *, route: Route | None = None, down: Collection[str] = (), objective: Objective | None = None
) -> str:
    """Return *graph* as a Mermaid flowchart.

    Args:
        graph: The graph.
        route: A route to draw thick.
        down: Nodes to mark as down.
        objective: Rates for the costs shown; None: the default ones.
    """
    boxes, lines = _picture(graph, route, down, objective or Objective())
    text = ["flowchart LR"]
    text += [f"    {box.id}{_mermaid_shape(box)}" for box in boxes]
    text += [f"    {line.source} {_mermaid_arrow(line)} {line.target}" for line in lines]
    for name, members, style in (
        ("route", [box.id for box in boxes if box.taken], "stroke-width:4px"),
        ("down", [box.id for box in boxes if box.down], "stroke-dasharray:6 4,text-decoration:line-through"),
    ):
        if members:
            text += [f"    classDef {name} {style}", f"    class {','.join(members)} {name}"]
    for i, line in enumerate(lines):
        if line.kind == "forbidden":
            text.append(f"    linkStyle {i} stroke:red,stroke-dasharray:1 5")
        elif line.kind == "optional" and line.taken:
            text.append(f"    linkStyle {i} stroke-width:4px")
    return "\n".join(text) + "\n"


def to_dot(
    graph: Graph, *, route: Route | None = None, down: Collection[str] = (), objective: Objective | None = None
) -> str:
    """Return *graph* in DOT, the language of Graphviz.

    Args:
        graph: The graph.
        route: A route to draw thick.
        down: Nodes to mark as down.
        objective: Rates for the costs shown; None: the default ones.
    """
    boxes, lines = _picture(graph, route, down, objective or Objective())
    text = [f"digraph {_dot_text((visible(graph.name),))} {{", "    rankdir=LR;", "    node [shape=box];"]
    text += [f"    {box.id} [{', '.join(_dot_box(box))}];" for box in boxes]
    text += [f"    {line.source} -> {line.target} [{', '.join(_dot_line(line))}];" for line in lines]
    goals = [box.id for box in boxes if box.shape == "goal"]
    if len(goals) > 1:
        # An invisible chain in one rank keeps the goals in order, best on top.
        text.append(f"    {{ rank=same; {' -> '.join(goals)} [style=invis]; }}")
    return "\n".join([*text, "}"]) + "\n"


def _picture(
    graph: Graph, route: Route | None, down: Collection[str], objective: Objective
) -> tuple[list[_Box], list[_Line]]:
    ids = _ids(graph)
    needs: dict[Consumer, list[Flow]] = {}
    for flow in flows(graph):
        needs.setdefault(flow.consumer, []).append(flow)
    on_route = _on_route(graph, needs, route)
    taken = {
        (provider, flow)
        for consumer in on_route
        for flow, source in zip(needs.get(consumer, []), _sources(consumer, needs, route), strict=False)
        for provider in source
    }
    boxes = list(_boxes(graph, ids, on_route, down, objective))
    return boxes, list(_lines(needs, ids, taken))


def _on_route(graph: Graph, needs: Mapping[Consumer, list[Flow]], route: Route | None) -> set[Consumer]:
    """Return the nodes of *route*, and its goal: the one that it names, else the best one whose values it provides."""
    if route is None:
        return set()
    nodes = {Consumer(node.name) for node in graph.nodes if node.name in route}
    goals = [Consumer(goal.name, rank) for rank, goal in enumerate(graph.goals, start=1)]
    named = [goal for goal in goals if goal.name in route and goal.name not in graph.by_name]
    served = [goal for goal in goals if all(_candidates(flow, route) for flow in needs.get(goal, []))]
    return nodes.union((named or served)[:1])


def _sources(
    consumer: Consumer, needs: Mapping[Consumer, list[Flow]], route: Route | None
) -> Iterator[tuple[str, ...]]:
    """Yield, per need of *consumer*, the providers that the route takes, or may take where it does not say."""
    if isinstance(route, Mapping) and consumer.name in route:
        yield from ((source,) if source is not None else () for source in route[consumer.name])
    elif route is not None:
        yield from (_candidates(flow, route) for flow in needs.get(consumer, []))


def _candidates(flow: Flow, route: Route) -> tuple[str, ...]:
    return tuple(name for name in flow.providers if name in route or name == INPUT)


def _boxes(
    graph: Graph, ids: Mapping[Consumer, str], on_route: Collection[Consumer], down: Collection[str], rates: Objective
) -> Iterator[_Box]:
    values = given(graph)
    if values:
        yield _Box(ids[Consumer(INPUT)], "input", ("run inputs", *map(visible, values)))
    for node in graph.nodes:
        key, struck = Consumer(node.name), node.name in down
        words = (visible(node.name), *_facts(node, rates), *(("down",) if struck else ()))
        yield _Box(ids[key], "node", words, struck, key in on_route)
    for rank, goal in enumerate(graph.goals, start=1):
        key = Consumer(goal.name, rank)
        words = (f"goal {rank}: {visible(goal.name)}", *(("checked",) if goal.check else ()))
        yield _Box(ids[key], "goal", words, taken=key in on_route)


def _facts(node: Node, rates: Objective) -> Iterator[str]:
    cost = f"cost {_amount(max(declared_cost(node, rates), FLOOR))}"
    yield cost if node.success == 1 else f"{cost}, success {_amount(node.success)}"
    marks = (("undo", node.undo), ("verify", node.verify))
    yield ", ".join([node.effect or "effect unmarked", *(mark for mark, there in marks if there)])
    if node.guard:
        yield "only when its guard holds"
    if node.gate != "never":
        yield "asks first" if node.gate == "always" else "may ask first"


def _lines(
    needs: Mapping[Consumer, list[Flow]], ids: Mapping[Consumer, str], taken: Collection[tuple[str, Flow]]
) -> Iterator[_Line]:
    """Yield a line per provider and consumer (optional needs apart), then those that are forbidden."""
    for consumer, wanted in needs.items():
        joined: dict[tuple[str, float | None], list[Flow]] = {}
        for flow in wanted:
            for provider in flow.providers:
                joined.setdefault((provider, flow.need.optional), []).append(flow)
        extra = {provider: cost for flow in wanted for provider, cost in flow.extra}
        for (provider, price), members in joined.items():
            words = [", ".join(dict.fromkeys(map(_flowing, members)))]
            if price is not None:
                words.append(f"optional, {_amount(price)} to do without")
            # A pair is charged its edge cost once, so only its first line says so.
            if provider in extra:
                words.append(f"edge cost {_amount(extra.pop(provider))}")
            kind: Literal["needed", "optional"] = "needed" if price is None else "optional"
            thick = any((provider, flow) in taken for flow in members)
            yield _Line(ids[Consumer(provider)], ids[consumer], tuple(words), kind, thick)
    for consumer, wanted in needs.items():
        for edge in dict.fromkeys(edge for flow in wanted for edge in flow.forbidden):
            reason = visible(edge.reason) if edge.reason else "no reason given"
            yield _Line(ids[Consumer(edge.source)], ids[consumer], (f"forbidden: {reason}",), "forbidden")


def _flowing(flow: Flow) -> str:
    count = len(flow.providers)
    marks = [*([f"one of {count}"] if count > 1 else []), *([] if flow.need.passed else ["after"])]
    return visible(flow.need.value) + (f" ({', '.join(marks)})" if marks else "")


def _ids(graph: Graph) -> dict[Consumer, str]:
    """Return an identifier for every box: letters, digits and underscores, no keyword of either language."""
    consumers = [Consumer(INPUT), *(Consumer(node.name) for node in graph.nodes)]
    consumers += [Consumer(goal.name, rank) for rank, goal in enumerate(graph.goals, start=1)]
    ids: dict[Consumer, str] = {}
    used: set[str] = set()
    for consumer in consumers:
        prefix = "goal" if consumer.rank is not None else "run" if consumer.name == INPUT else "node"
        stem = f"{prefix}_{re.sub('[^A-Za-z0-9_]', '_', consumer.name)}"
        name, count = stem, 1
        while name in used:
            count += 1
            name = f"{stem}_{count}"
        used.add(name)
        ids[consumer] = name
    return ids


def _amount(units: float) -> str:
    return f"{units:.6f}".rstrip("0").rstrip(".")


def _mermaid_shape(box: _Box) -> str:
    left, right = {"node": ("[", "]"), "goal": ("([", "])"), "input": ("[/", "/]")}[box.shape]
    return f"{left}{_mermaid_text(box.lines)}{right}"


def _mermaid_arrow(line: _Line) -> str:
    text = _mermaid_text(line.lines)
    if line.kind == "forbidden":
        return f"-. {text} .-x"
    if line.kind == "optional":
        return f"-. {text} .->"
    return f"== {text} ==>" if line.taken else f"-- {text} -->"


def _mermaid_text(lines: tuple[str, ...]) -> str:
    return f'"{"<br>".join("".join(_mermaid_chars(line)) for line in lines)}"'


def _mermaid_chars(line: str) -> Iterator[str]:
    """Yield what Mermaid shows as *line*: every mark that could end a text, or be markup, as a numeric entity."""
    for i, char in enumerate(line):
        before, after = line[i - 1 : i], line[i + 1 : i + 2]
        inside = _PLAIN.match(before) and _PLAIN.match(after)
        plain = (
            _PLAIN.match(char)
            or (char in "_-." and inside)
            or (char in ",:" and after == " ")
            or (char == " " and before not in ("", " ") and after)
            or char in "()"
        )
        yield char if plain else f"#{ord(char)};"


def _dot_box(box: _Box) -> Iterator[str]:
    yield f"label={_dot_text(box.lines)}"
    if box.shape == "input":
        yield "shape=parallelogram"
    if box.shape == "goal":
        yield "style=rounded"
    if box.down:
        yield 'style="striped,dashed"'
        yield 'fillcolor="white:lightgray:white:lightgray:white:lightgray:white"'
    if box.taken:
        yield "penwidth=3"


def _dot_line(line: _Line) -> Iterator[str]:
    yield f"label={_dot_text(line.lines)}"
    if line.kind == "optional":
        yield "style=dashed"
    if line.kind == "forbidden":
        yield "style=dotted, color=red, arrowhead=tee, constraint=false"
    if line.taken:
        yield "penwidth=3"


def _dot_text(lines: tuple[str, ...]) -> str:
    return '"' + r"\n".join(line.translate(_DOT_MARKS) for line in lines) + '"'
