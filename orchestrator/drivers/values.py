"""Where a driver keeps values: beside the events, which only name them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from orchestrator.errors import RecordError
from orchestrator.events import Value
from orchestrator.graph import INPUT
from orchestrator.run.commands import Inputs

__all__ = ("Encoded", "Made", "Values", "encode", "made_of", "reference")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes: its JSON form, or the bytes that it is."""

    data: bytes
    encoding: str = "json"


@dataclass(frozen=True, slots=True)
class Made:
    """What a node has made: it is kept where the run takes it."""

    provider: str
    values: Mapping[str, Any]
    encoded: Mapping[str, Encoded | None]


def encode(value: Any) -> Encoded | None:
    """Return a value as bytes; None where it has no JSON form."""
    if isinstance(value, bytes):
        return Encoded(value, "bytes")
    if isinstance(value, Iterator):
        return None  # writing it down would use it up
    try:
        return Encoded(to_json(value))
    except (PydanticSerializationError, ValueError, RecursionError):
        return None


def reference(name: str, value: Any) -> Value:
    """Return the reference of a value: its digest (BLAKE2b, 128 bit, of its JSON form) and the size of that form.

    A value without a JSON form has no digest.
    """
    return _reference(name, encode(value))


def _reference(name: str, encoded: Encoded | None) -> Value:
    if encoded is None:
        return Value(name)
    return Value(name, hashlib.blake2b(encoded.data, digest_size=16).hexdigest(), len(encoded.data))


class Values:
    """The values of one run, by value and provider.

    Args:
        inputs: The run inputs.
        durable: Whether the values are to be recorded: they are then kept as bytes too, until `unrecorded` is asked.
    """

    def __init__(self, inputs: Mapping[str, Any] | None = None, *, durable: bool = False) -> None:
        self.durable = durable
        self._made: dict[tuple[str, str], Any] = {}
        self._unrecorded: dict[tuple[str, str], Encoded] = {}
        for name, value in (inputs or {}).items():
            self.take(name, INPUT, value)

    @classmethod
    def restored(cls, stored: Iterable[tuple[str, str, bytes, str]]) -> Values:
        """Return the values that a run log holds, as (name, provider, data, encoding).

        What was recorded as JSON comes back as plain data: maps, lists, texts, numbers.

        Raises:
            RecordError: One of them cannot be read.
        """
        values = cls(durable=True)
        for name, provider, data, encoding in stored:
            try:
                values._made[name, provider] = data if encoding == "bytes" else from_json(data)
            except ValueError as error:
                raise RecordError(f"the value {name!r} of {provider!r} cannot be read: {error}") from error
        return values

    def take(self, name: str, provider: str, value: Any) -> Value:
        """Keep a value that came from outside; return its reference.

        Raises:
            ValueError: The values are to be recorded, and this one has no JSON form.
        """
        encoded = encode(value)
        if encoded is None and self.durable:
            raise ValueError(f"{name!r} has no JSON form, so it cannot be recorded")
        self.keep(Made(provider, {name: value}, {name: encoded}))
        return _reference(name, encoded)

    def keep(self, made: Made) -> None:
        """Keep what a node made."""
        for name, value in made.values.items():
            self._made[name, made.provider] = value
            data = made.encoded.get(name)
            if self.durable and data is not None:
                self._unrecorded[name, made.provider] = data

    def unrecorded(self) -> tuple[tuple[str, str, bytes, str], ...]:
        """Return what was kept since this was last asked, as (name, provider, data, encoding)."""
        if not self._unrecorded:
            return ()
        found, self._unrecorded = self._unrecorded, {}
        return tuple((name, provider, data.data, data.encoding) for (name, provider), data in found.items())

    def get(self, value: str, provider: str) -> Any:
        """Return a value; None where that provider made none."""
        return self._made.get((value, provider))

    def text(self, value: str, provider: str) -> str:
        """Return a value as JSON text, for whoever looks at it."""
        return to_json(self.get(value, provider), fallback=str, inf_nan_mode="strings").decode()

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


def made_of(provider: str, values: Mapping[str, Any]) -> tuple[Made, tuple[Value, ...]]:
    """Return a reply's values with their bytes, and their references."""
    encoded = {name: encode(value) for name, value in values.items()}
    return Made(provider, values, encoded), tuple(_reference(name, data) for name, data in encoded.items())
