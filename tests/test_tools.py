"""The ready-made tools as a whole: what each must have, and that a project can use them as they are."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.data import tool_names, tool_text
from orchestrator.errors import SpecError
from orchestrator.spec.load import load_text
from orchestrator.spec.signature import parameters

by_name = pytest.mark.parametrize("name", tool_names())

OURS = {"anyio", "httpx", "psycopg"}
"""What a tool may import beside the standard library and the signals of this package."""


def entry(name: str) -> dict[str, Any]:
    """Return the keys of a tool as under ``tools:``."""
    found: dict[str, Any] = yaml.safe_load(tool_text(name, ".yaml"))["tools"][name]
    return found


def function(name: str) -> Any:
    """Return the function that a tool's entry names."""
    module, _, attribute = entry(name)["python"].partition(":")
    return getattr(importlib.import_module(module), attribute)


def test_the_ready_made_tools() -> None:
    """What people really use in such graphs is there, each as an entry and a module."""
    assert tool_names() == ("arithmetic", "fetch", "files", "mail", "postgres", "sqlite", "text", "webhook")


@by_name
def test_a_tool_imports_no_framework(name: str) -> None:
    """A tool is a plain function: of this package it knows the public signals, and nothing of how it is run."""
    tree = ast.parse(tool_text(name, ".py"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imports:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for module in names:
            top = module.partition(".")[0]
            assert top in {*sys.stdlib_module_names, *OURS, "orchestrator"}, module
            if top == "orchestrator":
                assert isinstance(node, ast.ImportFrom)
                assert {alias.name for alias in node.names} <= {"ToolFailed", "NotApplicable", "CallContext"}


@by_name
def test_a_tool_is_small_documented_and_typed(name: str) -> None:
    """A module says what it exports, has at most 400 lines, and its function has a docstring and every type."""
    text = tool_text(name, ".py")
    assert text.count("\n") <= 400
    found = function(name)
    module = sys.modules[found.__module__]
    assert found.__name__ in module.__all__
    assert (module.__doc__ or "").partition("\n")[0].endswith(".")
    assert found.__doc__
    assert set(found.__annotations__) >= {*parameters(found).required, *parameters(found).optional, "return"}


@by_name
def test_an_entry_says_what_a_graph_must_know(name: str) -> None:
    """Needs, effect, timeout, cost and contract are written, and the needs are what the function asks for."""
    keys = entry(name)
    assert {"python", "needs", "provides", "effect", "timeout", "cost", "output"} <= set(keys)
    asked = parameters(function(name))
    assert set(asked.required) <= set(keys["needs"]) <= {*asked.required, *asked.optional}
    assert keys["python"].startswith(f"tools.{name}:")


@by_name
def test_every_figure_of_an_entry_has_its_reason(name: str) -> None:
    """Beside each time, price, share and effect stands a comment that says why it is so."""
    lines = tool_text(name, ".yaml").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\s+(timeout|latency|usd|success|units|effect): ", line):
            assert "# " in line or lines[number - 1].strip().startswith("#"), line


@by_name
def test_what_a_tool_reads_from_the_environment_is_listed(name: str) -> None:
    """Every environment variable in the module is in the entry's ``x-environment``, and the other way round."""
    listed = yaml.safe_load(tool_text(name, ".yaml")).get("x-environment", {})
    read = set(re.findall(r'"((?!O_)[A-Z]+_[A-Z_]+)"', tool_text(name, ".py")))
    assert set(listed) == read


def test_all_of_them_fit_into_one_graph() -> None:
    """No two tools provide the same value: side by side in one graph none of them stands in for another by accident."""
    provided = [entry(name)["provides"] for name in tool_names()]
    assert len(set(provided)) == len(provided)
    tools = {name: entry(name) for name in tool_names()}
    goals = [{"name": "all", "values": provided}]
    text = yaml.safe_dump({"version": 1, "imports": {"allow": ["tools"]}, "tools": tools, "goals": goals})
    spec = load_text(text, environ={}).spec
    assert sorted(spec.tools) == sorted(tool_names())
    assert [name for name, tool in spec.tools.items() if tool.effect is None] == []


@pytest.mark.parametrize("name", ["fetsh", "", "../README", "fetch.yaml"])
def test_an_unknown_tool_is_told_the_known_ones(name: str) -> None:
    """A name that is no ready-made tool, a path among them, is an error that lists the names."""
    with pytest.raises(SpecError) as caught:
        tool_text(name, ".yaml")
    (problem,) = caught.value.problems
    assert problem.code == "unknown-tool"
    assert "fetch" in (problem.help or "")


def test_the_read_me_tells_of_every_tool() -> None:
    """The table in the folder's README has one row per tool, with its effect."""
    text = (Path(__file__).resolve().parent.parent / "tools" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|", text, re.MULTILINE)
    assert sorted(rows) == sorted((name, entry(name)["effect"]) for name in tool_names())
