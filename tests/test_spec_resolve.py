"""From a spec to the graph that is planned over."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Problem, SpecError
from orchestrator.graph import Graph, Need, Node, RunInput
from orchestrator.nodes.binding import CallContext
from orchestrator.policy import Policy
from orchestrator.spec.load import load_file, load_text
from orchestrator.spec.models import GraphSpec
from orchestrator.spec.resolve import resolve

HEAD = "version: 1\nimports: {allow: [shop], shell: true}\n"
GOAL = "goals: [{name: found, values: pages}]\n"

Functions = dict[str, Callable[..., Any]]


@pytest.fixture(autouse=True)
def clean_modules() -> Iterator[None]:
    """Forget the packages of these tests."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def graph(body: str, *, goal: str = GOAL, policy: Policy | None = None, **functions: Any) -> Graph:
    """Return the graph of a file."""
    loaded = load_text(f"{HEAD}{goal}{body}", file="graph.yaml", environ={})
    return resolve(loaded, functions=functions, policy=policy).graph


def node(keys: str, *, head: str = "", policy: Policy | None = None, **functions: Any) -> Node:
    """Return the node of a file with one tool, ``web``."""
    return graph(f"{head}tools: {{web: {{{keys}}}}}\n", policy=policy, **functions).by_name["web"]


def problems(body: str, *, goal: str = GOAL, **functions: Any) -> tuple[Problem, ...]:
    """Return what is wrong with a file that loads."""
    with pytest.raises(SpecError) as caught:
        graph(body, goal=goal, **functions)
    return caught.value.problems


def feeding(found: Node) -> list[tuple[str, str]]:
    """Return parameter and value of every need that is passed."""
    return [(need.parameter, need.value) for need in found.needs if need.passed]


# --------------------------------------------------------------------------------------------------------------- needs


def test_needs_are_the_required_parameters() -> None:
    """A function needs its required parameters, in its own order; those with a default are left alone."""

    def write(question: str, pages: list[str], *, tone: str, style: str = "plain") -> None: ...

    assert feeding(node("python: 'shop:write'", web=write)) == [
        ("question", "question"),
        ("pages", "pages"),
        ("tone", "tone"),
    ]


def test_listed_needs() -> None:
    """Listed needs are all that is fed: another value, an optional parameter, a price of doing without."""

    def decide(order: str, score: float, hint: str = "") -> None: ...

    found = node(
        "python: 'shop:decide', needs: {order: bill, score: {value: image, optional: 5}, hint: tip}", web=decide
    )
    assert found.needs == (Need("order", "bill"), Need("score", "image", 5.0), Need("hint", "tip"))


def test_values_to_wait_for() -> None:
    """What a node runs after is a need that is not passed; what is needed anyway is not waited for twice."""
    found = node("declared: true, needs: {a: b, c: {value: d, optional: 1}}, after: [b, c, d, e]")
    assert [need for need in found.needs if not need.passed] == [
        Need("after:c", "c", passed=False),
        Need("d", "d", passed=False),
        Need("e", "e", passed=False),
    ]


class Caller:
    """A callable that is no function."""

    def __call__(self, question: str) -> None: ...

    def method(self, pages: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "needs"),
    [
        (Caller(), ["question"]),
        (Caller().method, ["pages"]),
        (Caller, []),
        (lambda: None, []),
        (lambda größe, вопрос: None, ["größe", "вопрос"]),
    ],
)
def test_callables_of_every_kind(function: Callable[..., Any], needs: list[str]) -> None:
    """Instances, methods, classes and lambdas say what they need, in any script."""
    assert [parameter for parameter, _ in feeding(node("python: 'shop:f'", web=function))] == needs


def test_what_the_run_supplies_is_no_need() -> None:
    """A keyword-only idempotency key or call context comes from the run; a positional one is a need like any other."""

    class Plain:
        """Annotated with objects, and not with texts."""

        def __init__(self, order: str, *, context: str) -> None: ...

    Plain.__init__.__annotations__["context"] = CallContext | None

    def supplied(order: str, *, idempotency_key: str, context: CallContext, more: CallContext | None) -> None: ...

    def positional(order: str, idempotency_key: str) -> None: ...

    assert [parameter for parameter, _ in feeding(node("python: 'shop:f'", web=supplied))] == ["order"]
    assert [parameter for parameter, _ in feeding(node("python: 'shop:f'", web=Plain))] == ["order"]
    assert [parameter for parameter, _ in feeding(node("python: 'shop:f'", web=positional))] == [
        "order",
        "idempotency_key",
    ]


def stars(*questions: str) -> None: ...


def double_stars(question: str, **rest: str) -> None: ...


def by_position(question: str, /) -> None: ...


def two(question: str, pages: str, style: str = "") -> None: ...


@pytest.mark.parametrize(
    ("function", "needs", "message", "column"),
    [
        (stars, "", "'stars' cannot be called here: it takes *questions, which does not say what it needs", 17),
        (
            double_stars,
            "",
            "'double_stars' cannot be called here: it takes **rest, which does not say what it needs",
            17,
        ),
        (double_stars, ", needs: [question]", "it takes **rest, which does not say what it needs", 17),
        (by_position, "", "its parameter 'question' is positional only", 17),
        (max, "", "'max' cannot be called here: its parameters cannot be read", 17),
        (two, ", needs: [question]", "'two' requires 'pages', which needs: leaves out", 27),
        (two, ", needs: [question, pages, stile]", "'two' has no parameter 'stile'", 52),
        (two, ", needs: {question: a, pgs: b, pages: c}", "'two' has no parameter 'pgs'", 53),
    ],
)
def test_functions_that_do_not_fit(function: Callable[..., Any], needs: str, message: str, column: int) -> None:
    """What a function takes and what its node needs must agree; the problem is at the key that is wrong."""
    (problem,) = problems(f"tools:\n  web: {{python: 'shop:f'{needs}}}\n", web=function)
    assert problem.code == "E036"
    assert message in problem.message
    assert (problem.line, problem.column) == (5, column)


def test_placeholders_are_needs() -> None:
    """A URL, headers, a body and a command need their placeholders, each once; other braces are text."""
    web = "http: {url: 'http://h/{id}?q={größe}', method: PUT, headers: {a: '{token}'}, "
    web += "body: {x: ['{id}', '{item}', '{\"json\": 1}', '{a.b}', '{ blank }', '{1}']}}"
    assert [parameter for parameter, _ in feeding(node(web))] == ["id", "größe", "token", "item"]
    assert feeding(node("shell: [convert, '{image}', -], stdin: '{text}{image}'")) == [
        ("image", "image"),
        ("text", "text"),
    ]


def test_listed_placeholders() -> None:
    """Listed needs of a request may rename its placeholders, and hold more for its guards; none may be left out."""
    web = "http: 'http://h/{id}', needs: {id: order_id, amount: amount}"
    assert feeding(node(web)) == [("id", "order_id"), ("amount", "amount")]
    (problem,) = problems("tools: {web: {http: 'http://h/{id}/{item}', needs: [id]}}\n")
    assert (problem.code, problem.message) == ("E036", "{item} is a placeholder that needs: leaves out")


def test_agents_and_declared_nodes_need_what_they_list() -> None:
    """Nothing is read from a prompt, and a declared node has nothing to read from."""
    body = "models: {m: {model: m}}\nagents: {a: {model: m, prompt: '{x}', needs: [y]}, b: {model: m}}\n"
    found = graph(body + "tools: {c: {declared: true}, d: {declared: true, needs: [z]}}\n")
    assert [(each.name, [need.value for need in each.needs]) for each in found.nodes] == [
        ("a", ["y"]),
        ("b", []),
        ("c", []),
        ("d", ["z"]),
    ]


def test_a_node_may_not_need_what_it_provides() -> None:
    """A function whose parameter is called like its result is a problem, however the need was found."""
    (problem,) = problems("tools: {web: {python: 'shop:two', provides: pages}}\n", web=two)
    assert (problem.code, problem.message) == ("E033", "'web' needs 'pages', which it provides itself")
    assert problem.column == 23


# ------------------------------------------------------------------------------------------------------------- imports


def package(folder: Path, tools: str, body: str) -> Path:
    """Write a package and a graph file that uses it."""
    (folder / "shop").mkdir()
    (folder / "shop" / "tools.py").write_text(tools, encoding="utf-8")
    path = folder / "graph.yaml"
    path.write_text(f"{HEAD}{GOAL}{body}", encoding="utf-8")
    return path


def test_functions_are_imported_for_their_needs_only(tmp_path: Path) -> None:
    """Where needs are written a graph is planned without its package; all imports can be asked for."""
    body = (
        "tools: {web: {python: 'shop.tools:web', needs: [q], provides: pages, undo: 'shop.tools:void', effect: once}}\n"
    )
    path = package(tmp_path, "raise RuntimeError('imported')", body)
    loaded = load_file(path, environ={})
    assert resolve(loaded).graph.run_inputs == ("q",)
    with pytest.raises(SpecError) as caught:
        resolve(loaded, imports=True)
    assert [problem.code for problem in caught.value.problems] == ["E035", "E035"]
    path.write_text(path.read_text(encoding="utf-8").replace("needs: [q], ", ""), encoding="utf-8")
    with pytest.raises(SpecError, match=r"importing shop\.tools failed: RuntimeError: imported"):
        resolve(load_file(path, environ={}))


def test_written_needs_are_checked_where_the_function_is_imported(tmp_path: Path) -> None:
    """If everything is imported, written needs must fit the signature."""
    path = package(tmp_path, "def web(q): ...", "tools: {web: {python: 'shop.tools:web', needs: [question]}}\n")
    loaded = load_file(path, environ={})
    assert resolve(loaded).graph.run_inputs == ("pages", "question")
    with pytest.raises(SpecError) as caught:
        resolve(loaded, imports=True)
    assert {problem.code for problem in caught.value.problems} == {"E036"}


def test_functions_at_hand_are_not_imported(tmp_path: Path) -> None:
    """A function is taken by the name of its tool or by its reference, and no package is needed then."""
    (tmp_path / "graph.yaml").write_text(
        f"{HEAD}{GOAL}tools: {{a: {{python: 'shop:f'}}, b: {{python: 'shop:g', when: 'shop:h'}}}}\n", encoding="utf-8"
    )
    loaded = load_file(tmp_path / "graph.yaml", environ={})
    functions: Functions = {"a": lambda x: None, "shop:g": lambda y: None, "shop:h": lambda: True}
    assert resolve(loaded, functions=functions, imports=True).graph.run_inputs == ("pages", "x", "y")


def test_a_function_for_no_node() -> None:
    """A function that is handed over for a name that no node has is a slip."""
    (problem,) = problems("tools: {web: {declared: true}}\n", wbe=two)
    assert (problem.code, problem.help) == ("E030", "did you mean 'web'?")


def test_references_can_be_looked_up_afterwards(tmp_path: Path) -> None:
    """Whoever binds the nodes looks references up as they were looked up here."""
    path = package(tmp_path, "def web(q): ...", "tools: {web: {python: 'shop.tools:web'}}\n")
    resolved = resolve(load_file(path, environ={}))
    assert resolved.references.find("shop.tools:web") is sys.modules["shop.tools"].web


# --------------------------------------------------------------------------------------------------------- the nodes


def test_a_node_without_anything() -> None:
    """What is not written comes from the policy; an unmarked node has one attempt."""
    policy = Policy()
    found = node("declared: true")
    assert found == Node("web", "declared", (), ("web",), timeout=policy.timeout, attempts=1)
    assert (found.backoff, found.max_backoff) == (policy.retry.backoff, policy.retry.max_backoff)


def test_a_node_with_everything() -> None:
    """Every key of a node is in the graph, in seconds and units."""
    keys = """
      python: "shop:two", provides: [refund, receipt], effect: once, output: {type: object}, when: "shop:may",
      cost: {units: 1, usd: 0.3, latency: 400ms, success: 0.9, risk: high}, undo: {python: "shop:void", cost: 2},
      verify: "shop:find", approve: "shop:over", timeout: 5s
    """
    found = node(keys, head="domains: {b: [web], a: web}\n", web=two)
    assert found == Node(
        name="web",
        kind="python",
        needs=(Need("question", "question"), Need("pages", "pages")),
        provides=("refund", "receipt"),
        effect="once",
        units=1.0,
        usd=0.3,
        seconds=0.4,
        success=0.9,
        risk=1.0,
        undo=True,
        undo_units=2.0,
        verify=True,
        output=True,
        guard=True,
        gate="function",
        timeout=5.0,
        attempts=1,
        domains=("a", "b"),
    )


def test_a_pure_effect_provides_its_own_name() -> None:
    """A node that provides nothing can still be a goal: by a null value of its own name."""
    found = graph("tools: {ping: {declared: true, provides: []}}\n", goal="goals: [{name: pinged, values: ping}]\n")
    assert (found.by_name["ping"].provides, found.by_name["ping"].pure) == (("ping",), True)
    assert found.run_inputs == ()


@pytest.mark.parametrize(
    ("keys", "head", "effect"),
    [
        ("http: 'http://h'", "", "read"),
        ("http: {url: 'http://h', method: HEAD}", "", "read"),
        ("http: {url: 'http://h', method: POST}", "", None),
        ("http: 'http://h', effect: once", "", "once"),
        ("http: 'http://h'", "defaults: {effect: idempotent}\n", "idempotent"),
        ("shell: [ls]", "", None),
        ("declared: true", "defaults: {effect: read}\n", "read"),
        ("declared: true, effect: once", "defaults: {effect: read}\n", "once"),
    ],
)
def test_effects(keys: str, head: str, effect: str | None) -> None:
    """A node's own mark, else the file's, else what its kind implies, else none."""
    assert node(keys, head=head).effect == effect


def test_an_agent_reads() -> None:
    """A call of a model changes nothing, so an agent can be asked again."""
    found = graph("models: {m: {model: m}}\nagents: {a: {model: m, retry: {attempts: 3}}}\n").by_name["a"]
    assert (found.kind, found.effect, found.attempts) == ("agent", "read", 3)


@pytest.mark.parametrize(
    ("keys", "attempts", "backoff", "timeout"),
    [
        ("effect: read", 4, 2.0, 9.0),
        ("effect: idempotent, retry: {attempts: 7}", 7, 2.0, 9.0),
        ("effect: read, retry: {backoff: 3s}, timeout: 1s", 4, 3.0, 1.0),
        ("effect: once", 1, 2.0, 9.0),
        ("provides: x", 1, 2.0, 9.0),
    ],
)
def test_the_node_wins_over_the_file_and_the_file_over_the_policy(
    keys: str, attempts: int, backoff: float, timeout: float
) -> None:
    """Times and attempts come from the node, the file's defaults, the policy; once and unmarked nodes have one try."""
    policy = Policy.model_validate({"timeout": "9s", "retry": {"attempts": 5, "backoff": "1s", "max_backoff": "8s"}})
    found = node(f"declared: true, {keys}", head="defaults: {retry: {attempts: 4, backoff: 2s}}\n", policy=policy)
    assert (found.attempts, found.backoff, found.timeout, found.max_backoff) == (attempts, backoff, timeout, 8.0)


@pytest.mark.parametrize(("approve", "gate"), [("never", "never"), ("always", "always"), ("shop:f", "function")])
def test_gates(approve: str, gate: str) -> None:
    """A person is asked never, always, or when a function says so."""
    assert node(f"declared: true, approve: '{approve}'").gate == gate


# ------------------------------------------------------------------------------------------------------- the graph


def test_the_smallest_file() -> None:
    """The graph follows from needs and provides, and what nobody provides is a run input."""

    def search(question: str) -> None: ...

    def write(question: str, pages: str) -> None: ...

    found = graph(
        "tools:\n  a: {python: 'shop:a', provides: pages}\n  b: {python: 'shop:b', provides: pages}\n"
        "  w: {python: 'shop:w'}\n",
        goal="goals: [{name: answered, values: [w]}, {name: found, values: [pages], check: 'shop:check'}]\n",
        a=search,
        b=search,
        w=write,
    )
    assert list(found.implied_edges()) == [
        ("a", "w", "pages"),
        ("b", "w", "pages"),
        ("w", "answered", "w"),
        ("a", "found", "pages"),
        ("b", "found", "pages"),
    ]
    assert found.run_inputs == ("question",)
    assert [(goal.name, goal.check) for goal in found.goals] == [("answered", False), ("found", True)]
    assert found.name == "graph"


def test_inputs() -> None:
    """A declared input is a schema; one with a default, even null, may be left out."""
    body = """
inputs:
  a: {type: string, pattern: "^x", x-order: 1}
  b: {type: [integer, "null"], default: null}
  c: {default: 3}
tools: {web: {declared: true, needs: [a, b, c], provides: pages}}
"""
    assert graph(body).inputs == (
        RunInput("a", {"type": "string", "pattern": "^x", "x-order": 1}),
        RunInput("b", {"type": ["integer", "null"]}, None, required=False),
        RunInput("c", {}, 3, required=False),
    )


def test_inputs_that_are_not_declared() -> None:
    """Where inputs are given, every other required value that nothing provides is a slip, at its first consumer."""
    body = """\
inputs: {question: {type: string}}
tools:
  may: {declared: true, needs: {hint: {value: qestion, optional: 1}}}
  web: {declared: true, needs: [qestion], provides: pages}
  write: {declared: true, needs: {text: {value: extra, optional: 1}}, after: [pges]}
  w: {python: "shop:two"}
"""
    goal = "goals: [{name: g, values: [pages, answr]}]\n"
    found = problems(body, goal=goal, w=two)
    assert [(each.message.partition(",")[0], each.line, each.column) for each in found] == [
        ("'g' needs 'answr'", 3, 35),
        ("'web' needs 'qestion'", 7, 33),
        ("'write' needs 'pges'", 8, 79),
    ]
    assert [each.help for each in found[1:]] == ["did you mean 'question'?", "did you mean 'pages'?"]
    assert {each.code for each in found} == {"E030"}


def test_edges_carry_a_value() -> None:
    """An edge between nodes with no value flowing is a slip: it says what to write to wait for a node."""
    body = """\
tools:
  web: {declared: true, provides: pages}
  mail: {declared: true, needs: [letter]}
  late: {declared: true, after: [pages]}
edges:
  - {from: web, to: mail, cost: 1}
  - {from: web, to: found, cost: 1}
  - {from: web, to: late, forbid: true, reason: "because"}
  - {from: mail, to: found, cost: 1}
"""
    assert [(each.code, each.message, each.help, each.line) for each in problems(body)] == [
        ("E033", "no value flows from 'web' to 'mail'", "to make mail wait, write there after: [pages]", 9),
        ("E033", "no value flows from 'mail' to 'found'", None, 12),
    ]
    lines = body.splitlines(keepends=True)
    found = graph("".join(lines[:5] + lines[6:8]))
    assert [(edge.source, edge.target, edge.cost, edge.forbid) for edge in found.edges] == [
        ("web", "found", 1.0, False),
        ("web", "late", 0.0, True),
    ]


def test_the_order_of_the_file_does_not_matter() -> None:
    """Two files that differ in the order of their tools are the same graph."""
    tools = ["a: {declared: true, provides: pages}", "b: {declared: true, needs: pages}", "c: {declared: true}"]
    first, second = (f"tools: {{{', '.join(order)}}}\n" for order in (tools, tools[::-1]))
    assert graph(first) == graph(second)


def test_the_policy() -> None:
    """The policy that is handed over wins over the file's; a spec made in code may name one too."""
    spec = GraphSpec.model_validate(
        {"version": 1, "tools": {"a": {"declared": True}}, "goals": [{"name": "g", "values": "a"}]}
    )
    assert resolve(spec).policy == Policy()
    own = Policy.model_validate({"timeout": "1s"})
    assert resolve(spec.model_copy(update={"policy": own})).policy == own
    assert resolve(spec.model_copy(update={"policy": own}), policy=Policy()).policy == Policy()
    with pytest.raises(SpecError, match="no ready-made policy is called 'none'"):
        resolve(spec.model_copy(update={"policy": "none"}))


def test_a_spec_made_in_code_is_checked() -> None:
    """A spec that never was a file is checked like one; its problems name the path instead of a line."""
    spec = GraphSpec.model_validate(
        {"version": 1, "tools": {"a": {"provides": "x"}}, "goals": [{"name": "g", "values": "x"}]}
    )
    with pytest.raises(SpecError) as caught:
        resolve(spec)
    assert [problem.message for problem in caught.value.problems] == ["tools.a: nothing says how 'a' is called"]


def test_a_policy_from_elsewhere_names_a_model_of_the_graph() -> None:
    """A policy that a command names is checked against the graph's models: one error, without a place in the file."""
    body = "tools: {a: {declared: true, provides: pages}}\nmodels: {small: {model: m, base_url: 'http://h/v1'}}\n"
    policy = Policy.model_validate({"escalation": {"by": "model", "model": "smal"}})
    with pytest.raises(SpecError) as caught:
        graph(body, policy=policy)
    (problem,) = caught.value.problems
    assert (problem.code, problem.file, problem.help) == ("E030", None, "did you mean 'small'?")
    assert problem.message == "no model is called 'smal' (escalation.model)"
    assert graph(body, policy=Policy.model_validate({"escalation": {"by": "model", "model": "small"}})).nodes


def test_a_policy_that_a_spec_names_names_a_model_of_the_graph(tmp_path: Path, monkeypatch) -> None:
    """So is a policy that the graph itself names and that stands in a file of its own."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("escalation: {by: model, model: small}\n", encoding="utf-8")
    spec = GraphSpec.model_validate(
        {
            "version": 1,
            "policy": "mine.yaml",
            "tools": {"a": {"declared": True}},
            "goals": [{"name": "g", "values": "a"}],
        }
    )
    with pytest.raises(SpecError, match="policy: no model is called 'small'"):
        resolve(spec)


def test_values_that_a_model_may_supply() -> None:
    """A file's own policy lists values of its graph; a policy from elsewhere may list those of others."""
    body = "tools: {a: {declared: true, provides: pages, needs: [question]}}\n"
    (problem,) = problems(f"{body}policy: {{escalation: {{supply: [question, pagse]}}}}\n")
    assert (problem.code, problem.line, problem.help) == ("E030", 5, "did you mean 'pages'?")
    assert problem.message == "nothing needs or provides 'pagse'"
    assert graph(body, policy=Policy.model_validate({"escalation": {"supply": ["pagse"]}})).nodes
