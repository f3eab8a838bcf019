"""The JSON Schema of graph files, for editors: draft 2020-12, made from the models and cleaned.

An editor offers what a schema allows. So optional keys do not allow null (it would be inserted), short forms are
allowed where the format takes them, ``x-*`` keys everywhere, and ``${NAME}`` wherever a number or a fixed word stands.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.spec.fields import JSON_TYPES
from orchestrator.spec.models import GraphSpec
from orchestrator.units import duration_text

__all__ = ("json_schema", "schema_text")

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_EXTENSION = "^x-"
_ENVIRONMENT = "Environment"
_ONE_OR_MANY = ("provides", "after", "values", "include", "allow")
_ANNOTATIONS = ("description", "default", "examples")
_FREE_KEYS = ("needs", "headers", "env")
"""Maps whose keys are not the format's own: an ``x-`` there is part of the name."""

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the schema of a graph file."""
    raw = GraphSpec.model_json_schema(by_alias=True)
    definitions = {name: _clean(definition) for name, definition in raw.pop("$defs").items()}
    _short_forms(definitions)
    definitions[_ENVIRONMENT] = {
        "type": "string",
        "pattern": r"\$\{",
        "description": "filled from the environment: ${NAME}, ${NAME:-default} or ${NAME:?message}",
    }
    root = _clean(raw)
    root["required"] = ["version"]  # the goals may stand in an included file, and an included file may have none
    root["properties"]["version"] = {"const": 1, "description": "version of this format"}
    root["properties"]["domains"] = _with_many(root["properties"]["domains"])
    return {
        "$schema": DIALECT,
        "title": "Graph file of the orchestrator",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Return the schema as JSON text; the same text every time."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _short_forms(definitions: dict[str, Schema]) -> None:
    number = {"type": "number", "minimum": 0}
    reference = definitions["Undo"]["properties"]["python"]
    value = definitions["NeedSpec"]["properties"]["value"]
    for name, short in (
        ("Cost", _or_environment(number)),
        ("NeedSpec", value),
        ("Undo", reference),
        ("Http", {"type": "string"}),
        ("ErrorSpec", definitions["ErrorSpec"]["properties"]["evidence"]),
    ):
        long = definitions[name]
        description = long.pop("description")
        definitions[name] = {"description": description, "anyOf": [long, short]}
    types = {"enum": list(JSON_TYPES)}
    definitions["InputSpec"]["properties"]["type"] = {"anyOf": [types, {"type": "array", "items": types}]}


def _clean(schema: Schema, key: str | None = None) -> Schema:
    """Return the schema of the value of *key* as an editor should have it."""
    kept = {name: value for name, value in schema.items() if name not in ("title", "oneOf", "default")}
    if "oneOf" in schema:
        kept["anyOf"] = schema["oneOf"]
    if "anyOf" in kept:
        branches = [branch for branch in kept.pop("anyOf") if branch.get("type") != "null"]
        if len(branches) == 1:
            kept = {**branches[0], **kept}
            return _clean({**kept, **_default(schema)}, key)
        kept["anyOf"] = [_clean(branch, key) for branch in branches]
    if "properties" in kept:
        kept["properties"] = {name: _clean(value, name) for name, value in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = _clean(kept["items"])
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = _clean(kept["additionalProperties"])
    kept.update(_default(schema))
    return _named_forms(_extensible(kept, key), key)


def _named_forms(schema: Schema, key: str | None) -> Schema:
    if key in _ONE_OR_MANY and schema.get("type") == "array":
        return _with_one(schema)
    if key == "needs" and schema.get("type") == "object":
        names = {"type": "array", "items": {"type": "string"}}
        return _either(schema, names, {"type": "string"})
    fixed = schema.get("type") in ("number", "integer", "boolean") or "enum" in schema or "const" in schema
    return _or_environment(schema) if fixed or "pattern" in schema else schema


def _extensible(schema: Schema, key: str | None) -> Schema:
    """Allow ``x-*`` keys in a map, and nothing else that it does not list."""
    names = schema.get("patternProperties")
    if names is None:
        if schema.get("additionalProperties") is False:
            schema["patternProperties"] = {_EXTENSION: {}}
        return schema
    ((pattern, value),) = names.items()
    if key in _FREE_KEYS:
        return {**schema, "patternProperties": {pattern: _clean(value)}, "additionalProperties": False}
    own = pattern.replace("^", "^(?!x-)", 1)
    return {**schema, "patternProperties": {own: _clean(value), _EXTENSION: {}}, "additionalProperties": False}


def _with_many(schema: Schema) -> Schema:
    """Allow one text for a list in every entry of a map."""
    entries = {pattern: _with_one(value) if value else value for pattern, value in schema["patternProperties"].items()}
    return {**schema, "patternProperties": entries}


def _with_one(schema: Schema) -> Schema:
    return _either(schema, {"type": "string"})


def _or_environment(schema: Schema) -> Schema:
    return _either(schema, {"$ref": f"#/$defs/{_ENVIRONMENT}"})


def _either(schema: Schema, *others: Schema) -> Schema:
    notes = {name: schema[name] for name in _ANNOTATIONS if name in schema}
    plain = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
    return {**notes, "anyOf": [plain, *others]}


def _default(schema: Schema) -> Schema:
    default = schema.get("default")
    if default is None or default == []:
        return {}
    if schema.get("type") == "string" and isinstance(default, float):
        return {"default": duration_text(default)}
    return {"default": default}
