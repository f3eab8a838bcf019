"""The output contract: what a node's result must be before it counts as a value.

A result that breaks its contract is a failed attempt (`InvalidOutput`), never a value. A contract is one of three
things: a type (the validated object becomes the result), a JSON Schema, or a check function.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NewType, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import to_jsonable_python

from orchestrator.errors import ToolFailed
from orchestrator.graph import Node
from orchestrator.nodes.python import invoke
from orchestrator.nodes.threads import Threads

__all__ = ("Contract", "InvalidOutput", "OutputTooLarge", "output_contract", "split")

Contract = Callable[[Any], Awaitable[Any]]
"""Takes a result, returns the accepted one (a type may convert it) or raises `InvalidOutput`."""

_MISSING = object()


class InvalidOutput(Exception):
    """A node answered, and the answer does not satisfy its output contract."""


class OutputTooLarge(ToolFailed):
    """A node's answer is larger than may be held; asking again would not make it smaller."""

    failure_type = "output_too_large"


def split(result: Any, node: Node) -> dict[str, Any]:
    """Return a value for every name that *node* provides.

    One value is the result itself, null included. Of several, each is an entry of a mapping or an attribute of an
    object; others are dropped. A pure effect gives null whatever it returned.

    Raises:
        InvalidOutput: The result of a node with several values lacks one.
    """
    if node.pure:
        return dict.fromkeys(node.provides)
    if len(node.provides) == 1:
        return {node.provides[0]: result}
    values = {name: _member(result, name) for name in node.provides}
    missing = [name for name, value in values.items() if value is _MISSING]
    if missing:
        raise InvalidOutput(
            f"the result lacks {', '.join(missing)}: expected a mapping or an object with "
            f"{', '.join(node.provides)}, got {type(result).__name__}"
        )
    return values


def _member(result: Any, name: str) -> Any:
    if isinstance(result, Mapping):
        return result.get(name, _MISSING)
    value = getattr(result, name, _MISSING)
    # A list has an attribute `count` and a text one called `title`: methods are no values.
    return _MISSING if inspect.isroutine(value) else value


def output_contract(declared: Any, threads: Threads) -> Contract:
    """Make the contract that a node's ``output`` declares.

    Args:
        declared: A type (anything that pydantic validates, or any class), a JSON Schema as a mapping, or a check
            function, sync or async: it returns true or null for a good result, false or a text with the reason for
            a bad one; what it raises is a reason too.
        threads: Where a sync check runs.

    Raises:
        ValueError: *declared* is not a valid JSON Schema, or a type that pydantic cannot validate.
    """
    if isinstance(declared, Mapping):
        return _schema_contract(declared)
    if isinstance(declared, type | NewType | TypeAdapter) or get_origin(declared) is not None:
        return _type_contract(declared)
    return _check_contract(declared, threads)


def _type_contract(declared: Any) -> Contract:
    adapter = declared if isinstance(declared, TypeAdapter) else _adapter(declared)

    async def validate(result: Any) -> Any:
        try:
            return adapter.validate_python(result)
        except ValidationError as error:
            raise InvalidOutput(_where_and_why(error)) from error

    return validate


def _adapter(declared: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(declared)
    except PydanticSchemaGenerationError:
        # A plain class: all that can be asked is that the result is an instance of it.
        return TypeAdapter(declared, config=ConfigDict(arbitrary_types_allowed=True))


def _where_and_why(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, problem['loc'])) or 'result'}: {problem['msg']}" for problem in problems[:5]]
    if len(problems) > len(lines):
        lines.append(f"and {len(problems) - len(lines)} more")
    return "; ".join(lines)


def _schema_contract(schema: Mapping[str, Any]) -> Contract:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON Schema: {error.json_path}: {error.message}") from error
    # An empty registry: a `$ref` to somewhere else must not make a check of a result go out to the network.
    validator = Draft202012Validator(schema, registry=Registry())

    async def validate(result: Any) -> Any:
        try:
            instance = to_jsonable_python(result)
        except ValueError as error:
            raise InvalidOutput(f"the result cannot be written as JSON: {error}") from error
        problem = best_match(validator.iter_errors(instance))
        if problem is not None:
            raise InvalidOutput(f"{problem.json_path}: {problem.message}")
        return result

    return validate


def _check_contract(check: Callable[..., Any], threads: Threads) -> Contract:
    name = getattr(check, "__name__", type(check).__name__)

    async def validate(result: Any) -> Any:
        try:
            verdict = await invoke(check, threads, result)
        except Exception as error:
            raise InvalidOutput(f"{name}: {error}" if str(error) else f"{name}: {type(error).__name__}") from error
        if isinstance(verdict, str):
            raise InvalidOutput(verdict or f"{name} gave an empty reason")
        if verdict is not None and not verdict:
            raise InvalidOutput(f"{name} does not accept the result")
        return result

    return validate
