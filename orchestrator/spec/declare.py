"""Graphs declared in code: the same spec that a file gives, with functions where a file has references.

A function that is handed over needs no import: `spec_from_tools` gives every one a reference, and a map from
references to functions. Where the function can be imported under its own name, that is its reference, so that the
spec can be written to a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from orchestrator.errors import SpecError
from orchestrator.spec.models import ErrorSpec, Fragment, GraphSpec, ToolSpec
from orchestrator.spec.problems import Finding, Path, placed, quoted
from orchestrator.spec.shape import read_shape

__all__ = ("Declaration", "Declared", "declaration_of", "declare", "errors_of", "named", "spec_from_tools")

_M = TypeVar("_M", bound=BaseModel)

_ATTRIBUTE = "__orchestrator_tool__"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a function says about itself as a tool."""

    name: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys as under ``tools:`` in a graph file, with functions and types where a file has references."""


class Declared(NamedTuple):
    """A spec made in code."""

    spec: GraphSpec
    functions: dict[str, Callable[..., Any]]
    """Functions and types by reference, and every tool's function by the tool's name."""


def declare(function: Callable[..., Any], name: str | None, keys: Mapping[str, Any]) -> None:
    """Attach a declaration to *function*.

    Raises:
        SpecError: A key is not well formed.
        TypeError: *function* is an object that takes no attributes.
    """
    declaration = Declaration(name if name is not None else _name_of(function), keys)
    references = _References()
    _read(ToolSpec, references.tool(function, declaration), within=(declaration.name,))
    try:
        setattr(function, _ATTRIBUTE, declaration)
    except AttributeError:
        raise TypeError(f"{function!r} takes no attributes: wrap it in a function of your own") from None


def declaration_of(function: Callable[..., Any]) -> Declaration:
    """Return what *function* declares; a plain function declares its name only."""
    declared = getattr(function, _ATTRIBUTE, None)
    return declared if isinstance(declared, Declaration) else Declaration(_name_of(function))


def spec_from_tools(tools: Iterable[Callable[..., Any]], goals: Any, **rest: Any) -> Declared:
    """Make a spec of functions.

    Args:
        tools: Functions, decorated with `orchestrator.tool` or plain.
        goals: Best first: a map of name to values, or a list of goals (specs, or maps as in a graph file, whose
            ``check`` may be a function).
        rest: Other top-level keys of a graph file, such as ``edges`` and ``inputs``.

    Raises:
        SpecError: A key is not well formed, or two tools have one name; it holds every such problem.
    """
    references = _References()
    declared: dict[str, Any] = {}
    twice: list[Finding] = []
    for function in tools:
        declaration = declaration_of(function)
        if declaration.name in declared:
            help = "give one of them another name: @tool(name=...)"
            twice.append(Finding("E003", f"two tools are called {quoted(declaration.name)}", help=help))
            continue
        declared[declaration.name] = references.tool(function, declaration)
        references.functions[declaration.name] = function
    data = {"version": 1, "tools": declared, "goals": references.goals(goals), **rest}
    data.setdefault("imports", {"allow": references.packages()})
    spec = _read(GraphSpec, data, twice)
    return Declared(spec, references.functions)


def named(errors: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return what exceptions mean by their names; classes may be keys too."""
    return {
        f"{key.__module__}.{key.__qualname__}" if isinstance(key, type) else key: value for key, value in errors.items()
    }


def errors_of(errors: Mapping[Any, Any]) -> dict[str, ErrorSpec]:
    """Return what exceptions mean as in a graph file, by class or by name as it is written in code.

    Raises:
        SpecError: Something is not well formed.
    """
    return _read(Fragment, {"errors": named(errors)}).errors


def _read(model: type[_M], data: Any, findings: Iterable[Finding] = (), *, within: Path = ()) -> _M:
    read, found = read_shape(model, data, data)
    located = [replace(finding, path=(*within, *finding.path)) for finding in found]
    problems = tuple(placed(finding, None) for finding in (*findings, *located))
    if read is None or problems:
        raise SpecError(problems)
    return read


class _References:
    """The references that stand for functions, and the functions."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}

    def tool(self, function: Callable[..., Any], declaration: Declaration) -> dict[str, Any]:
        """Return the keys of a tool as in a graph file."""
        keys = {key: self._key(value) for key, value in declaration.keys.items()}
        return {"python": self._refer(function), **keys}

    def goals(self, goals: Any) -> Any:
        """Return the goals as in a graph file."""
        if isinstance(goals, Mapping):
            return [{"name": name, "values": values} for name, values in goals.items()]
        if not isinstance(goals, Iterable) or isinstance(goals, str):
            return goals
        return [
            {key: self._key(value) if key == "check" else value for key, value in goal.items()}
            if isinstance(goal, Mapping)
            else goal
            for goal in goals
        ]

    def packages(self) -> list[str]:
        """Return the packages that a file with these references would have to allow."""
        tops = {text.partition(":")[0].partition(".")[0] for text in self.functions if ":" in text}
        return sorted(tops - sys.stdlib_module_names - {"orchestrator"})

    def _key(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._key(inner) if key == "python" else inner for key, inner in value.items()}
        if isinstance(value, str | list | tuple | bool | int | float | BaseModel) or value is None:
            return value
        return self._refer(value)

    def _refer(self, found: Any) -> str:
        module = getattr(found, "__module__", None)
        name = getattr(found, "__name__", type(found).__name__)
        if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
            module = "code"
        if not name.isidentifier():
            name = "function"
        reference, number = f"{module}:{name}", 1
        # Two functions that were made in one place have one name; they must not become one function.
        while self.functions.get(reference, found) is not found:
            number += 1
            reference = f"{module}:{name}_{number}"
        self.functions[reference] = found
        return reference


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__
