"""What is wrong with a graph whose every key is well formed."""

from __future__ import annotations

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.load import load_text

HEAD = "version: 1\nimports: {allow: [shop], shell: true}\n"
GOAL = "goals: [{name: found, values: pages}]\n"


def found(body: str, *, head: str = HEAD, goal: str = GOAL) -> list[tuple[str, str, str | None]]:
    """Return code, message and help of everything that is wrong with a graph."""
    try:
        load_text(f"{head}{goal}{body}", file="graph.yaml", environ={})
    except SpecError as error:
        return [(each.code, each.message, each.help) for each in error.problems]
    return []


def tool(keys: str) -> list[tuple[str, str, str | None]]:
    """Return what is wrong with one tool."""
    return found(f"tools: {{web: {{{keys}}}}}\n")


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ("provides: pages", "E032", "nothing says how 'web' is called"),
        ("declared: true, shell: [ls]", "E032", "'web' has both shell: and declared:"),
        ("tool: x", "E032", "nothing says how 'web' is called"),
        ("declared: true, tool: x", "E033", "tool: says nothing without mcp:"),
        ("declared: true, stdin: x", "E033", "stdin: says nothing without shell:"),
        ("declared: true, operation: x", "E033", "operation: says nothing without openapi:"),
        ("openapi: api.json", "E021", "'web' lacks the key 'operation'"),
        ("mcp: mail, tool: x", "E030", "no server is called 'mail'"),
        ('shell: ["{program}", x]', "E041", "the program may not be a placeholder"),
        ("declared: true, retry: {attempts: 2}", "E033", "an unmarked node is never repeated"),
        ("declared: true, retry: {attempts: 2}, effect: once", "E033", "a once node is never repeated"),
        ("http: {url: 'http://h', method: POST}, retry: {attempts: 2}", "E033", "an unmarked node is never repeated"),
        ("http: 'http://h', undo: 'shop:f'", "E033", "undo: means nothing for a node that only reads"),
        ("declared: true, effect: read, verify: 'shop:f'", "E033", "verify: means nothing for a node that only reads"),
        ("declared: true, needs: [a, web]", "E033", "'web' needs 'web', which it provides itself"),
        ("declared: true, provides: [a, b], needs: {x: b}", "E033", "'web' needs 'b', which it provides itself"),
        ("declared: true, provides: a, after: [b, a]", "E033", "'web' needs 'a', which it provides itself"),
        ("declared: true, provides: [], after: web", "E033", "'web' needs 'web', which it provides itself"),
        ("python: 'os:system'", "E034", "'os:system' may not be imported"),
        ("python: 'shopp.x:f'", "E034", "'shopp.x:f' may not be imported"),
        ("python: 'shop.x:_f'", "E034", "'shop.x:_f' may not be imported"),
        ("declared: true, when: 'os:system'", "E034", "'os:system' may not be imported"),
        ("declared: true, approve: 'os:system'", "E034", "'os:system' may not be imported"),
        ("declared: true, output: 'os:system'", "E034", "'os:system' may not be imported"),
        ("declared: true, verify: 'os:system'", "E034", "'os:system' may not be imported"),
        ("declared: true, undo: 'os:system'", "E034", "'os:system' may not be imported"),
        ("declared: true, probe: {every: 5s, python: 'os:system'}", "E034", "'os:system' may not be imported"),
        ("declared: true, output: {type: strng}", "E022", "'type' is not what JSON Schema (draft 2020-12) allows here"),
        (
            "declared: true, output: {pattern: '['}",
            "E022",
            "'pattern' is not what JSON Schema (draft 2020-12) allows here",
        ),
        (
            "declared: true, output: {pattern: 'a{9999999999}'}",
            "E022",
            "'output' is not what JSON Schema (draft 2020-12) allows here",
        ),
    ],
)
def test_what_is_wrong_with_a_tool(keys: str, code: str, message: str) -> None:
    """One thing that is wrong with a tool is one problem."""
    assert [(code, message)] == [each[:2] for each in tool(keys)]


@pytest.mark.parametrize(
    "keys",
    [
        "http: 'http://h/{q}', retry: {attempts: 2}",
        "http: {url: 'http://h', method: HEAD}, retry: {attempts: 2}",
        "http: {url: 'http://h', method: DELETE}, effect: once, undo: 'shop:f', verify: 'shop.x:f'",
        "declared: true, effect: idempotent, retry: {attempts: 2}, undo: 'shop:f'",
        "declared: true, undo: 'shop:f', verify: 'shop:f'",
        "shell: [sort, '{pages}'], stdin: '{q}', after: done",
        "declared: true, provides: []",
        "declared: true, output: {type: object, required: [id], $defs: {a: {type: string}}}",
    ],
)
def test_what_is_right(keys: str) -> None:
    """What the format allows is no problem."""
    assert tool(keys) == []


def test_defaults_of_the_file_count() -> None:
    """A node that inherits its effect is judged by it: what is read may be retried, and needs no undo."""
    body = "defaults: {effect: read}\ntools: {web: {declared: true, retry: {attempts: 2}}}\n"
    assert found(body) == []
    body = "defaults: {effect: read}\ntools: {web: {declared: true, undo: 'shop:f'}}\n"
    assert [each[0] for each in found(body)] == ["E033"]
    assert found("defaults: {retry: {attempts: 3}}\ntools: {web: {declared: true, effect: once}}\n") == []


def test_a_placeholder_in_an_argument_is_no_program() -> None:
    """Only the program itself must be fixed; its arguments may come from the run."""
    assert tool("shell: [convert, '{image}']") == []


def test_commands_are_allowed_by_the_file() -> None:
    """A shell tool is refused unless the file says that there may be some."""
    body = "tools: {web: {shell: [ls]}}\n"
    (problem,) = found(body, head="version: 1\n")
    assert problem == ("E041", "the root file does not allow shell:", "say so in the root file: imports: {shell: true}")


def test_names_of_nodes() -> None:
    """A tool and an agent have different names, and none is called like the provider of run inputs."""
    body = """\
models: {m: {model: m}}
tools: {web: {declared: true}, input: {declared: true}}
agents: {web: {model: m, provides: pages}}
"""
    assert [each[:2] for each in found(body)] == [
        ("E031", "'input' is the provider of all run inputs: no node may be called so"),
        ("E031", "a tool and an agent are both called 'web'"),
    ]
    assert "graph.yaml:5:9" in str(found(body)[1][2])


def test_agents_name_models() -> None:
    """An agent's model is one that the file declares."""
    assert found("models: {small: {model: m}}\nagents: {a: {model: smal}}\n") == [
        ("E030", "no model is called 'smal'", "did you mean 'small'?")
    ]
    assert found("agents: {a: {model: small}}\n")[0][2] == "declare it under models:"


def test_edges_name_nodes_and_goals() -> None:
    """An edge leads from a node to a node or a goal, is written once, and is free of contradictions."""
    body = """\
tools: {web: {declared: true, provides: pages}, write: {declared: true, needs: pages}}
edges:
  - {from: web, to: write, cost: 1}
  - {from: web, to: found}
  - {from: found, to: web}
  - {from: input, to: web}
  - {from: web, to: pages}
  - {from: web, to: write, cost: 2}
  - {from: write, to: web, forbid: true, cost: 1}
"""
    assert [each[:2] for each in found(body)] == [
        ("E030", "no node is called 'found'"),
        ("E030", "no node is called 'input'"),
        ("E030", "no node or goal is called 'pages'"),
        ("E003", "the edge from 'web' to 'write' is written twice"),
        ("E033", "a forbidden edge has no cost"),
    ]


def test_a_node_and_a_goal_of_one_name() -> None:
    """A goal may be called like a node, unless an edge leads there: it would not be clear to which."""
    body = "tools: {found: {declared: true}, web: {declared: true, provides: pages}}\n"
    assert found(body) == []
    assert [each[:2] for each in found(body + "edges: [{from: web, to: found, cost: 1}]\n")] == [
        ("E031", "both a node and a goal are called 'found'")
    ]


def test_goals_have_different_names() -> None:
    """Goals are told apart by name."""
    goals = "goals: [{name: a, values: x}, {name: b, values: x}, {name: a, values: y}]\n"
    (problem,) = found("tools: {x: {declared: true}}\n", goal=goals)
    assert problem[:2] == ("E003", "two goals are called 'a'")
    assert "graph.yaml:3:16" in str(problem[2])


def test_domains_name_nodes() -> None:
    """What fails together are nodes of the graph."""
    body = "domains: {cloud: [web, wbe]}\ntools: {web: {declared: true}}\n"
    assert found(body) == [("E030", "no node is called 'wbe'", "did you mean 'web'?")]


def test_servers_are_commands_or_urls() -> None:
    """An MCP server is started or reached, one of the two."""
    body = "servers: {a: {command: x}, b: {url: 'http://h'}, c: {args: [x]}, d: {command: x, url: 'http://h'}}\n"
    assert [each[:2] for each in found(body)] == [
        ("E032", "the server 'c' has neither command: nor url:"),
        ("E032", "the server 'd' has both command: and url:"),
    ]


def test_the_standard_library_cannot_be_allowed() -> None:
    """A package of the standard library is refused in the list, and so is every reference to it."""
    head = "version: 1\nimports: {allow: [shop, os, subprocess.run]}\n"
    body = "tools: {web: {python: 'os.path:join'}}\n"
    assert [each[0] for each in found(body, head=head)] == ["E034", "E034", "E034"]


def test_inputs_are_json_schemas() -> None:
    """Inputs are declared with keywords of JSON Schema, and their defaults have the declared type."""
    body = """\
inputs:
  a: {type: string, minLength: -1}
  b: {type: integer, default: "3"}
  c: {type: [string, "null"], default: null, enum: [x]}
  d: {pattern: "[a"}
  e: {type: number, default: true}
  f: {type: [boolean, array], default: []}
tools: {web: {declared: true}}
"""
    assert [each[:2] for each in found(body)] == [
        ("E022", "'minLength' is not what JSON Schema (draft 2020-12) allows here"),
        ("E022", "'default': it does not fit the type integer"),
        ("E022", "'pattern' is not what JSON Schema (draft 2020-12) allows here"),
        ("E022", "'default': it does not fit the type number"),
    ]


def test_a_goal_has_a_check_from_an_allowed_package() -> None:
    """The check of a goal is a reference like any other."""
    goal = "goals: [{name: found, values: pages, check: 'os:system'}]\n"
    assert [each[0] for each in found("", goal=goal)] == ["E034"]


MODELS = "models: {small: {model: m, base_url: 'http://h/v1'}, large: {model: m}}\n"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{escalation: {by: model, model: small}}", []),
        ("{escalation: {by: person, model: other}}", []),
        (
            "{escalation: {by: model, model: smal}}",
            [("E030", "no model is called 'smal' (escalation.model)", "did you mean 'small'?")],
        ),
        (
            "{escalation: {by: model}}",
            [
                (
                    "E021",
                    "the policy lets a model decide (escalation.by), and does not say which",
                    "name one with escalation.model: large or small",
                )
            ],
        ),
        (
            "{escalation: {by: model, model: large}}",
            [
                (
                    "E021",
                    "the model 'large' is to decide, and has neither base_url: nor api_key:",
                    'write base_url: of a server of your own, or api_key: "${OPENAI_API_KEY}"',
                )
            ],
        ),
    ],
)
def test_the_model_that_decides(policy: str, expected: list[tuple[str, str, str | None]]) -> None:
    """A policy that lets a model decide names one of the graph's, which can be reached."""
    assert found(f"tools: {{web: {{declared: true}}}}\n{MODELS}policy: {policy}\n") == expected


def test_a_model_that_decides_where_none_is_declared() -> None:
    """Without any model the help says how one is declared, whether or not the policy names one."""
    for policy in ("{by: model}", "{by: model, model: small}"):
        ((_, _, help),) = found(f"policy: {{escalation: {policy}}}\n")
        assert help == "declare it under models:, as small: {model: NAME, base_url: URL}"


def test_the_place_of_a_model_that_decides() -> None:
    """The problem points at the name; a model that is not well formed is declared all the same."""
    with pytest.raises(SpecError) as caught:
        load_text(
            f"{HEAD}{GOAL}models: {{small: {{modle: m}}}}\npolicy:\n  escalation:\n    by: model\n    model: smol\n",
            file="graph.yaml",
            environ={},
        )
    (problem,) = [each for each in caught.value.problems if each.code == "E030"]
    assert (problem.line, problem.column, problem.help) == (8, 12, "did you mean 'small'?")
    assert [code for code, *_ in found("models: {s: {modle: m}}\npolicy: {escalation: {by: model, model: s}}\n")] == [
        "E020"
    ]
