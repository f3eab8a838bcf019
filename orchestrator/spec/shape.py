"""Shape: data against the models of the file, with findings in the words of the format.

What pydantic says is never shown: it speaks of tuples, unions and dictionaries, the author of a graph file wrote
lists and maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from orchestrator.spec.problems import Finding, Path, did_you_mean, listed, nearest, quoted, shown
from orchestrator.spec.scalars import scalar

__all__ = ("MAX_FINDINGS", "read_shape", "value_at")

M = TypeVar("M", bound=BaseModel)

MAX_FINDINGS = 1000
"""Nobody reads more of them, and each one costs a search for what was meant."""

EXAMPLES = {
    "after": "after: [order]",
    "agents": "agents: {brief: {model: small, provides: letter}}",
    "allow": "allow: [package]",
    "args": "args: [-m, package]",
    "cost": "cost: {usd: 0.01, latency: 900ms}",
    "domains": "domains: {cloud: [stripe, email]}",
    "edges": "edges: [{from: stripe, to: brief, cost: 0.5}]",
    "errors": 'errors: {"package.module.Class": caller}',
    "evidence": "evidence: caller",
    "goals": "goals: [{name: found, values: [pages]}]",
    "http": 'http: {url: "http://127.0.0.1:9001/orders/{order_id}"}',
    "imports": "imports: {allow: [package]}",
    "include": "include: [notify.yaml]",
    "inputs": "inputs: {order_id: {type: string}}",
    "models": "models: {small: {model: qwen3-8b}}",
    "needs": "needs: [order, refund]",
    "probe": "probe: {every: 10s}",
    "provides": "provides: pages",
    "retry": "retry: {attempts: 2}",
    "servers": "servers: {notifier: {command: python, args: [-m, package]}}",
    "shell": 'shell: [program, "{parameter}"]',
    "tools": 'tools: {web: {python: "package.module:function", provides: pages}}',
    "undo": 'undo: "package.module:function"',
    "values": "values: [answer]",
}
SYNONYMS = {
    "breaker": "circuit",
    "condition": "when",
    "depends_on": "after",
    "flow": "values",
    "nodes": "tools",
    "parameters": "needs",
    "price": "cost",
    "produces": "provides",
    "requires": "needs",
    "retries": "retry",
    "rollback": "undo",
}
"""What other formats call it."""

EITHER = {
    "after": "a text or a list",
    "allow": "a text or a list",
    "cost": "a number or a map",
    "http": "a text or a map",
    "include": "a text or a list",
    "needs": "a list or a map",
    "provides": "a text or a list",
    "undo": "a text or a map",
    "values": "a text or a list",
}
"""Keys that have a short form."""

_YAML_1_1 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}
_KINDS = {
    "string_type": "a text",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "tuple_type": "a list",
    "list_type": "a list",
}


def read_shape(model: type[M], data: Any, written: Any) -> tuple[M | None, list[Finding]]:
    """Read *data* as *model*.

    Args:
        model: What the data should be.
        data: Plain data.
        written: The same data as it stands in the file, with variables unfilled; findings quote from it.

    Returns:
        The model and no findings, or None and everything that does not fit.
    """
    try:
        return model.model_validate(data, by_alias=True, by_name=False), []
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)[:MAX_FINDINGS]
    slips: dict[Path, set[str]] = {}
    for each in errors:
        if each["type"] == "extra_forbidden":
            slips.setdefault(each["loc"][:-1], set()).add(str(each["loc"][-1]))
    findings: dict[tuple[Path, str], Finding] = {}
    for each in errors:
        if each["type"] == "too_short" and value_at(data, _path(data, each["loc"])):
            continue  # pydantic counts the good entries only; the bad ones have findings of their own
        if each["type"] == "missing" and _is_misspelt(str(each["loc"][-1]), slips.get(each["loc"][:-1], ())):
            continue
        finding = _finding(model, each, data, written)
        findings.setdefault((finding.path, finding.message), finding)
    return None, list(findings.values())


def value_at(data: Any, path: Path) -> Any:
    """Return what stands at *path* in plain data, or None."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _is_misspelt(key: str, unknown: Any) -> bool:
    return any(nearest(other, [key]) == key or SYNONYMS.get(other) == key for other in unknown)


def _finding(model: type[BaseModel], error: Any, data: Any, written: Any) -> Finding:
    kind, loc, ctx = error["type"], error["loc"], error.get("ctx", {})
    path = _path(data, loc)
    if kind == "extra_forbidden":
        return _unknown_key(model, loc, path)
    if kind == "missing":
        example = EXAMPLES.get(str(loc[-1]))
        help = None if example is None else f"write it such as {example}"
        return Finding("E021", f"{_subject(path)} lacks the key {quoted(loc[-1])}", path, help, at_key=True)
    if loc and loc[-1] == "[key]":
        return _bad_key(error, path)
    subject, value = _subject(path), value_at(written, path)
    if kind == "value_error":
        return _own_words(str(ctx["error"]), subject, value, path)
    if kind == "literal_error":
        return _not_one_of(re.findall(r"'([^']*)'", str(ctx["expected"])), subject, value, path)
    if kind in _BOUNDS:
        limit, words = _BOUNDS[kind]
        return Finding("E022", f"{subject} must be {words} {ctx[limit]:.12g}", path)
    if kind in ("too_short", "string_too_short"):
        return Finding("E022", f"{subject} may not be empty", path, _example(path))
    if kind in _KINDS:
        return _wrong_kind(model, _KINDS[kind], loc, path, value)
    return Finding("E022", f"{subject} cannot be {shown(value)}", path, _example(path))


def _wrong_kind(model: type[BaseModel], wanted: str, loc: Path, path: Path, value: Any) -> Finding:
    subject = _subject(path)
    if value is None:
        return Finding("E022", f"{subject} has no value", path, "give it one, or leave the key out", at_key=True)
    help = _example(path)
    if loc[-1:] == ("<text>",) or path[-2:-1] == ("needs",):
        wanted = "a text or a map"
    elif wanted in ("a map", "a list") and path and path[-1] in _keys(model, loc[:-1]):
        wanted = EITHER.get(str(path[-1]), wanted)
    if wanted == "a text" and isinstance(value, bool | int | float):
        help = f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    elif wanted in ("a number", "a whole number") and isinstance(value, str) and _is_number(value):
        help = f"write it without quotes: {value}"
    elif wanted == "true or false" and str(value).lower() in _YAML_1_1:
        help = f"write {_YAML_1_1[str(value).lower()]}"
    elif wanted == "a map" and help is None and (keys := _keys(model, loc)):
        help = f"its keys are {listed(sorted(keys))}"
    return Finding("E022", f"{subject} must be {wanted}, not {shown(value)}", path, help)


def _is_number(text: str) -> bool:
    try:
        return isinstance(scalar(text), int | float)
    except ValueError:
        return False


def _unknown_key(model: type[BaseModel], loc: Path, path: Path) -> Finding:
    name = str(loc[-1])
    inside = _model_at(model, loc[:-1])
    keys = _keys(model, loc[:-1])
    path = path if path and path[-1] == name else (*path, name)
    message = f"unknown key {quoted(name)}"
    if SYNONYMS.get(name) in keys:
        return Finding("E020", message, path, f"it is called {quoted(SYNONYMS[name])} here", at_key=True)
    if nearest(name, keys) is None and inside is not None:
        for key, field in inside.model_fields.items():
            below = _model_of(field.annotation)
            if below is not None and name in _own_keys(below):
                return Finding("E020", message, path, f"it belongs under {key}:", at_key=True)
    return Finding("E020", message, path, did_you_mean(name, keys, kind="keys"), at_key=True)


def _bad_key(error: Any, path: Path) -> Finding:
    key = str(path[-1]) if path else ""
    if error["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))
        return Finding("E020", f"unknown key {quoted(key)}", path, did_you_mean(key, known, kind="keys"), at_key=True)
    words = str(error["ctx"]["error"]) if error["type"] == "value_error" else "a name must be a text"
    return Finding("E022", f"{quoted(key)} is no name: {words}", path, at_key=True)


def _own_words(text: str, subject: str, value: Any, path: Path) -> Finding:
    """Return the finding for a text of our own validators; what follows ``write`` is the help."""
    complaint, write, advice = text.partition("write ")
    complaint = complaint.rstrip(": ") if write else text
    message = f"{subject}: {complaint}" if complaint else f"{subject} cannot be {shown(value)}"
    return Finding("E022", message, path, f"write {advice}" if write else None)


def _not_one_of(known: list[str], subject: str, value: Any, path: Path) -> Finding:
    near = nearest(value, known) if isinstance(value, str) else None
    choice = f"write {'one of ' if len(known) > 1 else ''}{listed(known, joint='or')}" if known else _example(path)
    help = f"did you mean {quoted(near)}?" if near is not None else choice
    return Finding("E022", f"{subject} cannot be {shown(value)}", path, help)


def _subject(path: Path) -> str:
    if not path:
        return "the file"
    if isinstance(path[-1], str):
        return quoted(path[-1])
    key = next((part for part in reversed(path) if isinstance(part, str)), None)
    return "the entry" if key is None else f"an entry of {quoted(key)}"


def _example(path: Path) -> str | None:
    key = next((part for part in reversed(path) if isinstance(part, str)), None)
    # Below tools: and the like a key is a name, whatever it happens to be.
    example = None if key is None or (len(path) == 2 and isinstance(path[1], str)) else EXAMPLES.get(key)
    return None if example is None else f"write it such as {example}"


def _path(data: Any, loc: Path) -> Path:
    """Return the path in *data* of a location in the models: without names of branches and of keys implied."""
    path: Path = ()
    for part in loc:
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        ):
            path, data = (*path, part), data[part]  # type: ignore[index]  # see the condition
        elif isinstance(data, list | tuple) and part in data:
            path, data = (*path, data.index(part)), part
    return path


def _keys(model: type[BaseModel], loc: Path) -> set[str]:
    inside = _model_at(model, loc)
    return set() if inside is None else _own_keys(inside)


def _own_keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _model_at(annotation: Any, loc: Path) -> type[BaseModel] | None:
    """Return the model whose keys stand at *loc*, walking the annotations of *annotation* (a model, at first)."""
    for part in loc:
        if part == "<map>":
            continue
        annotation = next(_below(annotation, part), None)
    return _model_of(annotation)


def _below(annotation: Any, part: str | int) -> Iterator[Any]:
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            for name, field in choice.model_fields.items():
                if part in (name, field.alias):
                    yield field.annotation
        elif get_origin(choice) is dict:
            yield get_args(choice)[1]
        elif get_origin(choice) in (tuple, list):
            yield get_args(choice)[0]


def _model_of(annotation: Any) -> type[BaseModel] | None:
    return next((c for c in _choices(annotation) if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for choice in get_args(annotation):
            yield from _choices(choice)
    else:
        yield annotation
