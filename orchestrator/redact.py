"""Redaction: no secret of the environment may appear in a trace, a log, an error or a report.

Secrets are known texts; every occurrence is replaced, also where the secret was percent-encoded for a URL, encoded
as base64 (alone or inside a longer text, as in a Basic authorization header) or escaped by ``repr`` or JSON.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

__all__ = ("MASK", "Redactor")

MASK = "***"
"""What stands where a secret was."""

LEAST_SECRET = 4
"""Shorter texts are no secrets: they occur everywhere."""
LEAST_VALUE = 6
"""Shorter values of the environment are not taken for secrets, whatever their name."""

_SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_LEAST_FRAGMENT = 8
"""Shorter pieces of base64 would be found by accident."""
_DEPTH = 100
"""Data nested deeper than this is masked as a whole; it would end in a RecursionError otherwise."""


class Redactor:
    """Replaces every occurrence of some secrets by ``***``.

    Args:
        secrets: Texts that must not be seen. Those of fewer than four characters are left out.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        kept = {secret for text in secrets for secret in (text, text.strip()) if len(secret) >= LEAST_SECRET}
        forms = {form for secret in kept for form in _forms(secret) if len(form) >= LEAST_SECRET}
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        # Bytes are searched as Latin-1 texts, where every byte is one character.
        self._encoded = tuple(form.encode(errors="surrogatepass").decode("latin-1") for form in self._forms)

    @classmethod
    def from_environment(cls, secrets: Iterable[str], environ: Mapping[str, str]) -> Redactor:
        """Return a redactor of *secrets* and of all values in *environ* whose names tell of a key or a password."""
        values = [
            value for name, value in environ.items() if _SECRET_NAME.search(name) and len(value.strip()) >= LEAST_VALUE
        ]
        return cls([*secrets, *values])

    def redact(self, value: Any) -> Any:
        """Return *value* without secrets.

        Texts, bytes, mappings (keys too), lists, tuples, sets, dataclasses and pydantic models are looked into; any
        other object is returned as it is. What holds no secret is returned unchanged, the same object.
        """
        return self._redact(value, 0) if self._forms else value

    def _redact(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, bytes | bytearray):
            return self._bytes(value)
        if depth > _DEPTH:
            return MASK
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._collection(value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
            return _with_fields(value, self._changed(fields, depth))
        if isinstance(value, BaseModel):
            changed = self._changed(iter(value), depth)
            return value.model_copy(update=changed) if changed else value
        return value

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Mapping[Any, Any]:
        redacted = [(self._redact(key, depth + 1), self._redact(item, depth + 1)) for key, item in value.items()]
        for (new_key, new_item), (key, item) in zip(redacted, value.items(), strict=True):
            if new_key is not key or new_item is not item:
                return dict(redacted)
        return value

    def _collection(self, value: Any, depth: int) -> Any:
        old = list(value)
        new = [self._redact(item, depth + 1) for item in old]
        if all(after is before for after, before in zip(new, old, strict=True)):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*new)
        return next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))(new)

    def _changed(self, fields: Iterable[tuple[str, Any]], depth: int) -> dict[str, Any]:
        redacted = ((name, old, self._redact(old, depth + 1)) for name, old in fields)
        return {name: new for name, old, new in redacted if new is not old}

    def _text(self, text: str) -> str:
        return _masked(text, self._forms)

    def _bytes(self, data: bytes | bytearray) -> bytes | bytearray:
        text = data.decode("latin-1")
        masked = _masked(text, self._encoded)
        return data if masked is text else masked.encode("latin-1")


def _with_fields(record: Any, changed: Mapping[str, Any]) -> Any:
    if not changed:
        return record
    # Not `dataclasses.replace`: that runs the constructor, which may refuse a masked text.
    clone = copy.copy(record)
    for name, value in changed.items():
        object.__setattr__(clone, name, value)
    return clone


def _masked(text: str, forms: Iterable[str]) -> str:
    """Replace every stretch of *text* that is covered by one or more of the *forms*."""
    # Looking for each form in turn is several times faster than one pattern of them all, and most texts hold none.
    spans = sorted(span for form in forms if form in text for span in _occurrences(form, text))
    if not spans:
        return text
    pieces: list[str] = []
    covered = 0
    for start, end in spans:
        if start > covered or not pieces:  # else it is joined to the stretch before
            pieces += [text[covered:start], MASK]
        covered = max(covered, end)
    return "".join([*pieces, text[covered:]])


def _occurrences(form: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways in which *secret* may be written."""
    data = secret.encode(errors="surrogatepass")
    yield secret
    for encoded in (quote(data), quote(data, safe=""), quote_plus(data)):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    for write in (repr, ascii):
        yield write(secret)[1:-1]
        yield write(f'{secret}"')[1:-2]  # beside a double quote a single one is escaped
    yield repr(data)[2:-1]
    yield repr(data + b'"')[2:-2]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield from _base64_forms(data)


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Yield *secret* as base64: alone, and what does not depend on its neighbours inside a longer text.

    Three bytes make four characters, so a secret may begin at any of three offsets; the characters that it shares
    with a neighbour are left out.
    """
    for altchars in (b"+/", b"-_"):
        yield base64.b64encode(secret, altchars).decode()
        for offset in range(3):
            encoded = base64.b64encode(bytes(offset) + secret, altchars).decode()
            fragment = encoded[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]
            if len(fragment) >= _LEAST_FRAGMENT:
                yield fragment
