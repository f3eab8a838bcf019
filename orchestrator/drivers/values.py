"""Where a driver keeps values: beside the events, which only name them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from orchestrator.events import Value
from orchestrator.graph import INPUT
from orchestrator.run.commands import Inputs

__all__ = ("Values", "reference")


def reference(name: str, value: Any) -> Value:
    """Return the reference of a value: its digest (BLAKE2b, 128 bit, of its JSON form) and the size of that form.

    A value without a JSON form has no digest.
    """
    try:
        data = value if isinstance(value, bytes) else to_json(value)
    except (PydanticSerializationError, ValueError, RecursionError):
        return Value(name)
    return Value(name, hashlib.blake2b(data, digest_size=16).hexdigest(), len(data))


class Values:
    """The values of one run, by value and provider."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self._made: dict[tuple[str, str], Any] = {(name, INPUT): value for name, value in inputs.items()}

    def keep(self, provider: str, values: Mapping[str, Any]) -> None:
        """Keep what a node made."""
        for name, value in values.items():
            self._made[name, provider] = value

    def get(self, value: str, provider: str) -> Any:
        """Return a value; None where that provider made none."""
        return self._made.get((value, provider))

    def inputs(self, wanted: Inputs) -> dict[str, Any]:
        """Return what a call is given, by parameter."""
        return {
            parameter: None if provider is None else self.get(value, provider) for parameter, value, provider in wanted
        }

    def result(self, provider: str, provides: tuple[str, ...]) -> Any:
        """Return a node's whole result: the value itself where it provides one, else a mapping."""
        if len(provides) == 1:
            return self.get(provides[0], provider)
        return {value: self.get(value, provider) for value in provides}
