"""What `validate` finds: every finding on a graph made for it, and none on a graph that has nothing wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.findings import Finding, InferredEdge, Report
from orchestrator.graph import Edge, Goal, Graph, Need, Node, RunInput
from orchestrator.lint import report
from tests.test_export import graphs, needs


def node(name: str, takes: str = "", gives: str = "", **fields: object) -> Node:
    """A node that reads, and so draws no finding by itself."""
    base = Node(name, needs=needs(takes), provides=tuple(gives.split()) or (name,), pure=not gives, effect="read")
    return replace(base, **fields)  # type: ignore[arg-type]


def graph(*nodes: Node, goals: str = "g=v", edges: tuple[Edge, ...] = (), inputs: str = "") -> Graph:
    """A graph with goals written as `name=value+value other=value`."""
    listed = (entry.split("=") for entry in goals.split())
    return Graph(
        nodes,
        tuple(Goal(name, tuple(values.split("+"))) for name, values in listed),
        edges,
        tuple(RunInput(name) for name in inputs.split()),
    )


def found(of: Graph, *, declared_inputs: bool = False) -> list[tuple[str, str, str]]:
    """Severity, code and subject of every finding."""
    findings = report(of, declared_inputs=declared_inputs).findings
    return [(finding.severity, finding.code, finding.subject) for finding in findings]


def only(of: Graph, *, declared_inputs: bool = False) -> Finding:
    """The one finding that there is."""
    (finding,) = report(of, declared_inputs=declared_inputs).findings
    return finding


def test_nothing_to_find() -> None:
    """A sound graph with alternatives, an optional need, a cost and a forbidden pair has no findings."""
    of = graph(
        node("web", "question", "pages"),
        node("wiki", "question", "pages"),
        node("scan", "question", "mark"),
        node("write", "question pages", "answer", needs=(*needs("question pages"), Need("mark", "mark", 1.0))),
        node("pay", "answer", "receipt", effect="once", undo=True, verify=True),
        goals="paid=receipt answered=answer found=pages",
        edges=(Edge("web", "write", 0.5), Edge("wiki", "found", forbid=True)),
        inputs="question",
    )
    assert found(of, declared_inputs=True) == []


def test_inferred_inputs_stand_apart_from_declared_ones() -> None:
    """Both kinds of run input are reported, each in its own list."""
    seen = report(graph(node("a", "known other", "v"), inputs="known"), declared_inputs=False)
    assert (seen.declared, seen.inferred) == (("known",), ("other",))


def test_undeclared_input() -> None:
    """Where inputs are declared, any other one is an error, and the only finding about that value."""
    of = graph(node("a", "pagse known", "v"), node("b", "", "pages"), node("c", "pages", "v"), inputs="known")
    finding = only(of, declared_inputs=True)
    assert (finding.severity, finding.code, finding.subject) == ("error", "undeclared-input", "pagse")
    assert finding.message == "value `pagse`, needed by node `a`, is provided by nobody and is no declared input"
    assert finding.help == "did you mean `pages`?"


def test_undeclared_input_like_no_other() -> None:
    """Without a likely meaning the help says what to write."""
    assert only(graph(node("a", "known other", "v"), inputs="known"), declared_inputs=True).help == (
        "declare it under inputs, or let a node provide `other`"
    )


def test_near_miss() -> None:
    """A run input whose name is close to a provided value is asked about, from both ends."""
    of = graph(node("web", "question", "pagse"), node("write", "question pages", "v"))
    findings = report(of, declared_inputs=False).findings
    assert [(f.code, f.subject, f.help) for f in findings] == [
        ("near-miss", "pages", "did you mean `pagse`?"),
        ("unused-value", "pagse", "did you mean `pages`?"),
    ]


@pytest.mark.parametrize(
    ("value", "provided"), [("usernames", "user_name"), ("Answer", "answer"), ("order-id", "order_id")]
)
def test_near_miss_of_spelling(value: str, provided: str) -> None:
    """Plurals, capitals and dashes are slips, however many words the names have."""
    of = graph(node("a", f"{value} {provided}", "v"), node("b", "", provided))
    assert found(of) == [("warning", "near-miss", value)]


@pytest.mark.parametrize("value", ["order_id", "order_2", "id_order", "orderly_conduct", "page"])
def test_no_near_miss(value: str) -> None:
    """Names that differ by a word or a number, or by much, differ on purpose."""
    of = graph(node("a", value, "order order_1"), node("b", "order order_1", "v"))
    assert found(of) == []


def test_goal_value_that_nobody_provides() -> None:
    """A goal's value that no node provides is pointed out: a run would have to be given its own result."""
    finding = only(graph(node("a", "", "answer"), goals="g=answer typo=anwser"))
    assert (finding.severity, finding.code, finding.subject) == ("warning", "goal-not-provided", "anwser")
    assert finding.help == "did you mean `answer`?"


def test_unused_input() -> None:
    """A declared input that nobody needs is pointed out."""
    of = graph(node("a", "question", "v"), inputs="question questoin")
    assert found(of, declared_inputs=True) == [("warning", "unused-input", "questoin")]


def test_goal_behind_a_forbidden_edge() -> None:
    """A goal out of reach is an error that names the value and why; the node that stops it says what to write."""
    of = graph(
        node("crm", "", "order"), node("wire", "order", "v"), edges=(Edge("crm", "wire", forbid=True, reason="unsafe"),)
    )
    first, second, third = report(of, declared_inputs=False).findings
    assert (first.severity, first.code, first.subject) == ("error", "goal-out-of-reach", "g")
    assert first.message == "goal `g` is out of reach: value `v` cannot be had (`wire` can never run)"
    assert (second.severity, second.code, second.subject) == ("warning", "need-never-met", "wire")
    assert second.message == ("node `wire` can never run: its value `order` cannot be had (`crm` is forbidden: unsafe)")
    assert second.help == "allow the edge, or let another node provide `order`"
    assert (third.severity, third.code, third.subject) == ("warning", "unused-node", "crm")


def test_goal_whose_only_provider_is_forbidden() -> None:
    """A forbidden edge may end at the goal itself."""
    of = graph(node("a", "", "v"), goals="g=v h=v", edges=(Edge("a", "g", forbid=True),))
    assert only(of).message == "goal `g` is out of reach: value `v` cannot be had (`a` is forbidden)"


def test_needs_in_a_circle() -> None:
    """Nodes that wait for each other can never run; the circle is named, with a way out."""
    of = graph(node("a", "x", "y"), node("b", "y", "x"), node("c", "x", "v"), node("d", "", "w"), goals="g=v h=w")
    assert found(of) == [
        ("error", "goal-out-of-reach", "g"),
        ("warning", "need-never-met", "a"),
        ("warning", "need-never-met", "b"),
        ("warning", "need-never-met", "c"),
        ("warning", "cycle", "x"),
    ]
    circle = report(of, declared_inputs=False).findings[-1]
    assert circle.message == "values `x`, `y` need each other, through nodes `a`, `b`: none can be had first"


def test_a_circle_with_a_way_in_is_a_note() -> None:
    """Values that can be turned into each other are fine where one can be had first."""
    of = graph(node("a", "x", "y"), node("b", "y", "x"), node("c", "", "x"), goals="g=x+y")
    finding = only(of)
    assert (finding.severity, finding.code, finding.subject) == ("note", "cycle", "x")
    assert finding.message == "values `x`, `y` need each other, through nodes `a`, `b`; no route goes round"


def test_unused_value() -> None:
    """A value that nobody needs is a note where its node is of use, and a warning where it is not."""
    extra = only(graph(node("a", "", "v extra")))
    assert (extra.severity, extra.code, extra.subject, extra.help) == ("note", "unused-value", "extra", None)
    finding = only(graph(node("a", "", "v"), node("b", "", "w")))
    assert (finding.severity, finding.code, finding.subject) == ("warning", "unused-value", "w")
    assert finding.message == "value `w`, provided by `b`, is needed by nobody and no goal, so that `b` serves no goal"
    assert finding.help == "list `w` among a goal's values, or after: of a node"


def test_unused_value_is_compared_with_missing_ones_only() -> None:
    """A value that is close to one that somebody provides is no slip: that one is not missing."""
    finding = only(graph(node("a", "", "page"), node("b", "", "pages"), goals="g=page"))
    assert (finding.subject, finding.help) == ("pages", "list `pages` among a goal's values, or after: of a node")


def test_unused_node() -> None:
    """A node whose value is taken, but on no way to a goal, serves none."""
    of = graph(node("a", "", "v"), node("b", "", "w"), node("c", "w", "dead_end"))
    assert found(of) == [("warning", "unused-value", "dead_end"), ("warning", "unused-node", "b")]


def test_optional_need_that_is_never_met() -> None:
    """An optional need that nobody can serve is always done without, and its price always paid."""
    nobody = graph(node("a", "", "v", needs=(Need("p", "scores", 2.0),)), node("b", "", "score"), goals="g=v+score")
    assert only(nobody).message == "node `a` always does without its optional value `scores` (nobody provides it)"
    assert (only(nobody).code, only(nobody).help) == ("optional-never-met", "did you mean `score`?")
    barred = graph(
        node("a", "", "v", needs=(Need("p", "w", 2.0),)),
        node("b", "", "w"),
        goals="g=v+w",
        edges=(Edge("b", "a", forbid=True),),
    )
    assert only(barred).message == "node `a` always does without its optional value `w` (`b` is forbidden)"


def test_optional_need_of_a_declared_input() -> None:
    """A declared input serves an optional need."""
    assert found(graph(node("a", "", "v", needs=(Need("p", "w", 2.0),)), inputs="w"), declared_inputs=True) == []


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((Edge("a", "c", 1.0),), "edge a -> c has no effect: no value flows between the two"),
        ((Edge("a", "c", forbid=True),), "edge a -> c has no effect: no value flows between the two"),
        ((Edge("nowhere", "b", 1.0),), "edge nowhere -> b has no effect: no value flows between the two"),
        ((Edge("a", "b"),), "edge a -> b has no effect: it neither costs nor forbids anything"),
        (
            (Edge("a", "b", 1.0), Edge("a", "b", 2.0)),
            "edge a -> b has no effect: the pair is written again further down",
        ),
        (
            (Edge("d", "b", 1.0, forbid=True),),
            "edge d -> b has no effect: what is forbidden is never charged its cost",
        ),
    ],
)
def test_edge_without_effect(edges: tuple[Edge, ...], message: str) -> None:
    """A written edge that changes nothing is pointed out."""
    of = graph(
        node("a", "", "x"), node("d", "", "x"), node("b", "x", "v"), node("c", "", "w"), goals="g=v+w h=x", edges=edges
    )
    finding = only(of)
    assert (finding.severity, finding.code, finding.message) == ("warning", "edge-without-effect", message)
    assert (finding.help is None) == ("no value flows" not in message)


def test_edge_to_a_goal_that_shares_a_nodes_name() -> None:
    """Where a node and a goal share a name a written edge means the node, so it may have no effect."""
    of = graph(node("a", "", "v"), node("b", "", "w"), goals="b=v+w", edges=(Edge("a", "b", 1.0),))
    assert found(of) == [("warning", "edge-without-effect", "a -> b")]


def test_goal_order() -> None:
    """A lower goal that needs all that a higher one needs can never stand in for it."""
    nodes = (node("a", "", "v"), node("b", "", "w"))
    finding = only(graph(*nodes, goals="small=v large=v+w"))
    assert (finding.severity, finding.code, finding.subject) == ("warning", "goal-order", "large")
    assert found(graph(*nodes, goals="large=v+w small=v")) == []


def test_goal_order_where_the_lower_goal_can_be_met_alone() -> None:
    """A check or a forbidden provider of the higher goal makes the lower one worth its place."""
    nodes = (node("a", "", "v"), node("b", "", "v"))
    checked = (Goal("strict", ("v",), check=True), Goal("loose", ("v",)))
    assert found(Graph(nodes, checked)) == []
    assert found(graph(*nodes, goals="strict=v loose=v", edges=(Edge("b", "strict", forbid=True),))) == []


def test_unmarked_effect() -> None:
    """An unmarked node is told with its safe reading."""
    finding = only(graph(node("a", "", "v", effect=None)))
    assert (finding.severity, finding.code) == ("warning", "unmarked-effect")
    assert finding.message == "node `a` is unmarked, so it is never repeated"
    assert finding.help == "write effect: read, idempotent or once"


@pytest.mark.parametrize(
    ("verify", "undo", "message"),
    [
        (True, False, "`once` without undo: once done, no other provider of its value may start"),
        (False, True, "`once` without verify: a lost answer waits for a person"),
    ],
)
def test_unsettled_once(verify: bool, undo: bool, message: str) -> None:
    """What a `once` node lacks is a note that says what it will cost."""
    finding = only(graph(node("a", "", "v", effect="once", verify=verify, undo=undo)))
    assert (finding.severity, finding.code, finding.message) == ("note", "unsettled-once", f"node `a` is {message}")


def test_unguarded_risk() -> None:
    """A declared risk without undo or approve is a note; reading, or a gate, settles it."""
    risky = node("a", "", "v", effect="idempotent", risk=0.5)
    assert found(graph(risky)) == [("note", "unguarded-risk", "a")]
    for settled in (replace(risky, effect="read"), replace(risky, gate="always"), replace(risky, undo=True)):
        assert found(graph(settled)) == []


def test_inferred_edges() -> None:
    """Edges that follow from needs and provides are listed, run inputs and forbidden pairs apart."""
    of = graph(node("a", "q", "x y"), node("b", "x y", "v"), node("c", "", "x"), edges=(Edge("c", "b", forbid=True),))
    assert report(of, declared_inputs=False).inferred_edges == (
        InferredEdge("a", "b", "x"),
        InferredEdge("a", "b", "y"),
        InferredEdge("b", "g", "v", to_goal=True),
    )


def test_report_as_data() -> None:
    """The report is JSON-ready, findings included."""
    data = report(graph(node("a", "q", "v", effect=None)), declared_inputs=False).as_dict()
    assert json.loads(json.dumps(data)) == {
        "name": "graph",
        "inputs": {"declared": [], "inferred": ["q"]},
        "edges": [{"from": "a", "to": "g", "value": "v", "goal": True}],
        "findings": [
            {
                "code": "unmarked-effect",
                "severity": "warning",
                "message": "node `a` is unmarked, so it is never repeated",
                "subject": "a",
                "help": "write effect: read, idempotent or once",
            }
        ],
    }


def test_report_as_text() -> None:
    """A person reads goals first, then inputs and edges, then findings; many of a kind are named only."""
    of = graph(
        *(node(name, "question", "pages", effect=None) for name in ("bing", "cache", "web", "wiki")),
        node("write", "question pages user", "answer"),
        goals="found=pages answered=answer+pages",
        inputs="user",
    )
    assert (
        str(report(replace(of, name="shop"), declared_inputs=False))
        == """\
graph shop

goals, best first
  goal found: {bing | cache | web | wiki} -> found
  goal answered: answer + pages
    answer: write 1
      question: run input
      pages: bing 1 | cache 1 | web 1 | wiki 1
        question: run input
      user: run input
    pages: bing 1 | cache 1 | web 1 | wiki 1 (as above)

run inputs
  user
  question (inferred: nobody provides it)

edges, inferred from needs and provides
  {bing | cache | web | wiki} -> write: pages
  {bing | cache | web | wiki} -> goal found: pages
  write -> goal answered: answer
  {bing | cache | web | wiki} -> goal answered: pages

findings: 5 warnings
  warning[goal-order]: goal `answered` can never stand in for goal `found` above it: it needs every value of it
    = help: list goals best first
  warning[unmarked-effect]: node `bing` is unmarked, so it is never repeated
    = help: write effect: read, idempotent or once
  warning[unmarked-effect]: node `cache` is unmarked, so it is never repeated
  warning[unmarked-effect]: node `web` is unmarked, so it is never repeated
    and 1 more: `wiki`"""
    )


def test_findings_are_counted() -> None:
    """The text says how many findings of each severity there are, in the right number."""
    risky = {"effect": "once", "undo": True}
    of = graph(node("a", "x", "v", **risky), node("b", "x", "v", **risky), node("c", "", "w"), goals="g=v", inputs="y")
    seen = report(of, declared_inputs=True)
    assert "\nfindings: 1 error, 2 warnings, 2 notes\n" in str(seen)
    assert [seen.count("error"), seen.count("warning"), seen.count("note")] == [1, 2, 2]


def test_empty_sections_say_so() -> None:
    """No run input and no finding are said, not left out."""
    text = str(report(graph(node("a", "", "v")), declared_inputs=False))
    assert "\nrun inputs\n  none\n" in text
    for inputs in ("", "q"):
        assert (
            "none"
            not in str(report(graph(node("a", "q", "v"), inputs=inputs), declared_inputs=False)).split("edges")[0]
        )
    assert text.endswith("\nfindings: none")


def out_of_reach(of: Graph) -> list[str]:
    """Goals that cannot be met, by going through all nodes until nothing changes."""
    barred = {(edge.source, edge.target) for edge in of.edges if edge.forbid}
    from_outside = set(of.run_inputs) | {known.name for known in of.inputs}
    names = {candidate.name for candidate in of.nodes}
    done: set[str] = set()

    def met(consumer: str, wanted: tuple[Need, ...], bars: bool) -> bool:
        return all(
            need.optional is not None
            or need.value in from_outside
            or any(
                need.value in provider.provides
                and provider.name in done
                and not (bars and (provider.name, consumer) in barred)
                for provider in of.nodes
            )
            for need in wanted
        )

    while True:
        more = {known.name for known in of.nodes if met(known.name, known.needs, bars=True)}
        if more == done:
            break
        done = more
    return [goal.name for goal in of.goals if not met(goal.name, goal.needs, bars=goal.name not in names)]


VALUES = ("a", "b", "c", "d", "e")


@st.composite
def knots(draw: st.DrawFn) -> Graph:
    """Graphs without run inputs, in which most needs hang together: many goals are out of reach."""
    some = st.lists(st.sampled_from(VALUES), min_size=1, max_size=3, unique=True)
    nodes = []
    for i, value in enumerate([*VALUES, *draw(st.lists(st.sampled_from(VALUES), max_size=3))]):
        prices = st.sampled_from([None, None, None, 1.0])
        taken = tuple(Need(v, v, draw(prices)) for v in draw(st.just([]) | some) if v != value)
        nodes.append(Node(f"{value}{i}", needs=taken, provides=(value,)))
    goals = tuple(Goal(f"g{i}", tuple(draw(some))) for i in range(draw(st.integers(1, 3))))
    pairs = [(provider, consumer) for provider, consumer, _ in Graph(tuple(nodes), goals).implied_edges()]
    barred = draw(st.lists(st.sampled_from(pairs), max_size=4, unique=True)) if pairs else []
    return Graph(tuple(nodes), goals, tuple(Edge(*pair, forbid=True) for pair in barred))


@given(st.one_of(knots(), graphs(st.text("abc", min_size=1, max_size=1))), st.booleans())
@settings(max_examples=200, deadline=None)
def test_goals_out_of_reach_are_those_that_a_fixpoint_finds(of: Graph, declared_inputs: bool) -> None:
    """A goal is reported out of reach exactly if going through the nodes again and again never meets it."""
    seen = report(of, declared_inputs=declared_inputs)
    assert [f.subject for f in seen.findings if f.code == "goal-out-of-reach"] == out_of_reach(of)


@given(graphs(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_report_is_the_same_in_any_order_of_nodes(of: Graph, declared_inputs: bool) -> None:
    """The order of a file changes nothing, and findings come gravest first."""
    seen = report(of, declared_inputs=declared_inputs)
    turned: Report = report(replace(of, nodes=of.nodes[::-1], edges=of.edges[::-1]), declared_inputs=declared_inputs)
    assert seen == turned
    ranks = [("error", "warning", "note").index(finding.severity) for finding in seen.findings]
    assert ranks == sorted(ranks)
    assert json.loads(json.dumps(seen.as_dict()))["name"] == of.name
    assert str(seen)
