"""The house rules that a program can check: what an import loads, how modules are sized, exported and named."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "orchestrator").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

HEAVY = (
    "click",
    "httpx",
    "jsonschema",
    "langgraph",
    "networkx",
    "openai",
    "opentelemetry.sdk",
    "rich",
    "sqlalchemy",
    "yaml",
)
"""Packages with one home each, which is entered when it is first used."""

VAGUE = {"brain", "common", "engine", "handler", "helper", "helpers", "manager", "misc", "service", "smart", "utils"}
"""Words that say nothing about what a thing is; as a whole word of a module's, class's or function's name."""


def relative(path: Path) -> str:
    """Name a file as a person would."""
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """Return the import name of a module of the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def words(name: str) -> set[str]:
    """Split a name, `in_snake_case` or `InCamelCase`, in its words."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_the_import_is_light() -> None:
    """`import orchestrator` loads no package that an application may never use."""
    program = f"import sys, orchestrator; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_holds_one_idea(path: Path) -> None:
    """No module is longer than 400 lines."""
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__main__.py"], ids=relative)
def test_a_module_says_what_it_exports(path: Path) -> None:
    """Every module with content has an `__all__` that is a tuple of names that exist, each once."""
    if not path.read_text(encoding="utf-8").strip():
        return
    module = importlib.import_module(dotted(path))
    names = module.__all__
    assert isinstance(names, tuple)
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_names_say_what_a_thing_is(path: Path) -> None:
    """No module, class or function is called a manager, a helper or the like."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = [path.stem, *(node.name for node in ast.walk(tree) if isinstance(node, definitions))]
    assert [name for name in names if words(name) & VAGUE] == []


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_a_test_states_the_behaviour(path: Path) -> None:
    """Every test opens with a sentence that says what must hold."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if not ast.get_docstring(test)] == []
