"""Run inputs: what a run is given, checked against what its graph declares."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import InputError
from orchestrator.graph import Graph
from orchestrator.planner.behind import values_behind

__all__ = ("complete", "read_text")


def complete(graph: Graph, given: Mapping[str, Any], goal: str | None = None) -> dict[str, Any]:
    """Return the run inputs, defaults filled in.

    Args:
        graph: The graph.
        given: Values by name. A value that nodes provide may be given too; it is then held from the start.
        goal: The asked goal; what neither it nor a lower goal can use need not be given.

    Raises:
        InputError: One is missing, unknown, or does not fit its declared schema; names all of them.
    """
    declared = {item.name: item for item in graph.inputs}
    known = {*graph.values, *declared}
    problems = []
    for name in given:
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"nothing needs an input {name!r}{hint}")
    values = {item.name: item.default for item in graph.inputs if not item.required}
    values.update(given)
    wanted = values_behind(graph, goal)
    missing = [name for name in graph.run_inputs if name not in values and name in wanted]
    if missing:
        problems.append(f"missing input {', '.join(repr(name) for name in missing)}")
    for name, value in values.items():
        if name in declared and name in given:
            problems += _misfit(name, value, declared[name].schema)
    if problems:
        raise InputError("; ".join(problems))
    return values


def _misfit(name: str, value: Any, schema: Mapping[str, Any]) -> list[str]:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    return [f"input {name!r} does not fit: {error.message}" for error in validator.iter_errors(value)]


def read_text(graph: Graph, name: str, text: str) -> Any:
    """Read an input that was given as text, by its declared type; a string where none is declared.

    Raises:
        InputError: The text is no value of that type.
    """
    declared = next((item.schema.get("type") for item in graph.inputs if item.name == name), None)
    try:
        match declared:
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "boolean":
                return {"true": True, "false": False}[text.lower()]
            case "null":
                return {"null": None, "": None}[text.lower()]
            case "array" | "object":
                import json

                return json.loads(text)
            case _:
                return text
    except (ValueError, KeyError):
        raise InputError(f"input {name!r} is declared as {declared}, and {text!r} is none") from None
