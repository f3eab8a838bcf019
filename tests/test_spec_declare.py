"""Graphs declared in code: the same spec that a file gives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.decorator import tool
from orchestrator.errors import SpecError
from orchestrator.spec.declare import declaration_of, spec_from_tools
from orchestrator.spec.dump import to_yaml
from orchestrator.spec.load import load_file, load_text
from orchestrator.spec.models import EdgeSpec, GoalSpec
from orchestrator.spec.resolve import resolve


def void(result: str) -> None:
    """Take back what `pay` did."""


@tool(provides="pages", usd=0.001, latency="900ms", success=0.9, effect="read", timeout="5s", retry={"attempts": 3})
def web(question: str) -> list[str]:
    """Search the web."""
    return [question]


@tool(provides="refund", effect="once", undo={"python": void, "cost": 2}, approve=lambda pages: None, output=list[str])
def pay(pages: list[str]) -> None:
    """Pay something back."""


def plain(refund: str) -> str:
    """Be declared by nothing but a name."""
    return refund


def messages(*tools: Callable[..., Any], goals: Any = (), **rest: Any) -> list[str]:
    """Return what is wrong with a graph in code."""
    with pytest.raises(SpecError) as caught:
        spec_from_tools(tools, goals, **rest)
    return [problem.message for problem in caught.value.problems]


def test_the_spec_is_the_one_of_a_file() -> None:
    """What is declared in code and what is written in a file are the same spec."""
    module = __name__
    text = f"""
version: 1
imports: {{allow: [tests]}}
tools:
  web: {{python: "{module}:web", provides: pages, cost: {{usd: 0.001, latency: 900ms, success: 0.9}}, effect: read,
        timeout: 5s, retry: {{attempts: 3}}}}
  plain: {{python: "{module}:plain"}}
edges: [{{from: web, to: found, cost: 1}}]
goals: [{{name: done, values: [plain]}}, {{name: found, values: [pages]}}]
"""
    declared = spec_from_tools(
        [web, plain],
        {"done": ["plain"], "found": "pages"},
        edges=[EdgeSpec.model_validate({"from": "web", "to": "found", "cost": 1})],
    )
    assert declared.spec == load_text(text, environ={}).spec


def test_functions_are_at_hand() -> None:
    """Every function is found by its reference, and a tool's also by the tool's name."""
    spec, functions = spec_from_tools([web, pay, plain], {"done": ["plain"]})
    assert functions["web"] is web
    assert functions[f"{__name__}:plain"] is plain
    declared = spec.tools["pay"]
    assert declared.undo is not None
    assert functions[declared.undo.python] is void
    assert functions[str(declared.output)] == list[str]
    assert callable(functions[declared.approve])
    graph = resolve(spec, functions=functions, imports=True).graph
    assert graph.run_inputs == ("question",)
    assert [(node.name, node.gate, node.undo_units) for node in graph.nodes] == [
        ("pay", "function", 2.0),
        ("plain", "never", None),
        ("web", "never", None),
    ]


def test_functions_that_were_made_in_one_place() -> None:
    """Two functions of one name are two functions."""

    def searcher(name: str) -> Callable[[str], str]:
        @tool(name=name, provides="pages")
        def search(question: str) -> str:
            return name

        return search

    first, second = searcher("a"), searcher("b")
    spec, functions = spec_from_tools([first, second], {"found": ["pages"]})
    assert (functions["a"], functions["b"]) == (first, second)
    assert functions[str(spec.tools["a"].python)] is first
    assert functions[str(spec.tools["b"].python)] is second


@pytest.mark.parametrize(
    "goals",
    [
        {"found": ["pages"]},
        {"found": "pages"},
        [{"name": "found", "values": ["pages"]}],
        [GoalSpec(name="found", values=("pages",))],
        ({"name": "found", "values": "pages"},),
    ],
)
def test_goals(goals: Any) -> None:
    """Goals are a map of name to values, or a list of maps or of specs."""
    assert spec_from_tools([web], goals).spec.goals == (GoalSpec(name="found", values=("pages",)),)


def test_the_check_of_a_goal_is_a_function() -> None:
    """A function stands where a file has a reference, also for the check of a goal."""
    spec, functions = spec_from_tools([web], [{"name": "found", "values": "pages", "check": bool}])
    assert functions[str(spec.goals[0].check)] is bool
    assert resolve(spec, functions=functions, imports=True).graph.goals[0].check


def test_slips_in_code() -> None:
    """Slips in a graph in code are found like those of a file, all at once, and say where by path."""
    assert messages(web, web, goals={"a b": "pages"}, gaols=1, edges=[{"from": "web"}]) == [
        "two tools are called 'web'",
        "edges.0: an entry of 'edges' lacks the key 'to'",
        "goals.0.name: 'name': a name may hold no blanks and none of > , { } [ ] \" ' |",
        "gaols: unknown key 'gaols'",
    ]
    assert messages(web) == ["goals: 'goals' may not be empty"]
    assert messages(web, goals=5) == ["goals: 'goals' must be a list, not 5"]


def test_names_that_a_file_would_ignore() -> None:
    """A node in code is not called what a file would leave out."""
    named = tool(name="x-web", provides="pages")(lambda question: None)
    spec, functions = spec_from_tools([named], {"found": "pages"})
    with pytest.raises(SpecError, match="a file ignores keys that begin with x-"):
        resolve(spec, functions=functions)


def test_a_plain_function_is_a_tool() -> None:
    """A function without a declaration provides a value of its own name."""
    assert declaration_of(plain).name == "plain"
    assert declaration_of(plain).keys == {}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a package with a tool that is declared in code."""
    (tmp_path / "declared_shop.py").write_text(
        "from orchestrator.decorator import tool\n"
        "def void(result): ...\n"
        "@tool(provides='pages', effect='once', undo=void)\n"
        "def web(question): ...\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("declared_shop", None)


def test_a_graph_in_code_can_be_written_to_a_file(shop: Path) -> None:
    """Functions that can be imported are written as references, and the file resolves to the same graph."""
    import declared_shop as package  # type: ignore[import-not-found]

    spec, functions = spec_from_tools([package.web], {"found": "pages"})
    (shop / "graph.yaml").write_text(to_yaml(spec), encoding="utf-8")
    assert 'web: {python: "declared_shop:web", provides: pages, effect: once, undo: "declared_shop:void"}' in to_yaml(
        spec
    )
    loaded = load_file(shop / "graph.yaml", environ={})
    assert loaded.spec == spec
    resolved = resolve(loaded, imports=True)
    assert resolved.graph == resolve(spec, functions=functions).graph
    assert resolved.references.find("declared_shop:web") is package.web
