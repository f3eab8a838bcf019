"""Fields: the kinds of value that stand in a graph file, each checked with a message in the words of the format.

In a message of a validator, what follows ``write`` is shown as the help.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Strict, Tag, WithJsonSchema

from orchestrator.spec.problems import quoted
from orchestrator.units import RISKS, Seconds, risk_level

__all__ = (
    "JSON_TYPES",
    "Amount",
    "Count",
    "Declared",
    "Duration",
    "ErrorName",
    "Flag",
    "Form",
    "Gate",
    "Map",
    "Name",
    "Output",
    "Reference",
    "Risk",
    "SchemaType",
    "SomeValues",
    "Success",
    "Text",
    "Values",
    "each_once",
    "one_or_many",
)

LARGEST = 1e9
LEAST_SUCCESS = 1e-9
"""Beyond these a sum of weights would leave the range of a float."""

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


def _name(text: str) -> str:
    if not text:
        raise ValueError("a name may not be empty")
    if len(text) > 200:
        raise ValueError("a name may not be longer than 200 characters")
    if any(character.isspace() or character in ">,{}[]\"'|" for character in text):
        raise ValueError("a name may hold no blanks and none of > , { } [ ] \" ' |")
    if not text.isprintable():
        raise ValueError("a name may hold no invisible characters")
    return text


def _reference(text: str) -> str:
    module, colon, attribute = text.partition(":")
    parts = [*module.split("."), attribute]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ValueError("write a reference as package.module:function")
    return text


def _error_name(text: str) -> str:
    if not all(part.isidentifier() or part == "<locals>" for part in text.split(".")):
        raise ValueError("write the class as package.module.Class, or its bare name")
    return text


def _gate(text: str) -> str:
    return text if text in ("never", "always") else _reference(text)


def _likely(value: float) -> float:
    if value < LEAST_SUCCESS:
        raise ValueError(f"must be at least {LEAST_SUCCESS:g}")
    return value


def one_or_many(value: Any) -> Any:
    """Take one text for a list of one."""
    return (value,) if isinstance(value, str) else value


def each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that names something twice."""
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{quoted(value)} is listed twice")
    return values


def _form(value: Any) -> str:
    return "<text>" if isinstance(value, str) else "<map>" if isinstance(value, dict | BaseModel) else "<text>"


def _true(value: bool) -> bool:
    if not value:
        raise ValueError("write true, or leave the key out")
    return value


def _schema_type(value: Any) -> Any:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name in JSON_TYPES for name in names):
        raise ValueError(f"write one of {', '.join(JSON_TYPES)}, or a list of them")
    return value if isinstance(value, str) else tuple(names)


Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Amount = Annotated[Number, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Declared = Annotated[Flag, AfterValidator(_true), WithJsonSchema({"const": True})]
Duration = Annotated[Seconds, Field(gt=0)]
Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": r"^[^\s>,{}\[\]\"'|]+$"})]
Reference = Annotated[str, AfterValidator(_reference), Field(json_schema_extra={"pattern": r"^[^\s:]+:[^\s:.]+$"})]
ErrorName = Annotated[
    str, AfterValidator(_error_name), Field(json_schema_extra={"pattern": r"^[^\W\d][^\s:,{}\[\]\"']*$"})
]
Gate = Annotated[
    str,
    AfterValidator(_gate),
    WithJsonSchema({"anyOf": [{"enum": ["never", "always"]}, {"type": "string", "pattern": r"^[^\s:]+:[^\s:.]+$"}]}),
]
Risk = Annotated[
    float,
    Strict(),
    BeforeValidator(risk_level),
    Field(ge=0, le=1),
    WithJsonSchema({"anyOf": [{"enum": list(RISKS)}, {"type": "number", "minimum": 0, "maximum": 1}]}),
]
Success = Annotated[Number, Field(gt=0, le=1), AfterValidator(_likely)]
Values = Annotated[tuple[Name, ...], BeforeValidator(one_or_many), AfterValidator(each_once)]
SomeValues = Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(one_or_many), AfterValidator(each_once)]
Text = Tag("<text>")
Map = Tag("<map>")
Form = Discriminator(_form)
"""Tells a text from a map, so that a problem speaks of the one that was written."""
Output = Annotated[Annotated[Reference, Text] | Annotated[dict[str, Any], Map], Form]
SchemaType = Annotated[str | tuple[str, ...], BeforeValidator(_schema_type)]
