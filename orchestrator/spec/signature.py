"""Signatures: which parameters of a Python function must be fed, and which may be."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ("Parameters", "parameters")

_SUPPLIED = "idempotency_key"
_CONTEXT = re.compile(r"\bCallContext\b")
"""By name: an annotation may be a text, and what it names belongs to a layer above."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a function, in its own order."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    """Fed only where a graph lists them."""


def parameters(function: Callable[..., Any]) -> Parameters:
    """Read the parameters of *function*.

    A keyword-only ``idempotency_key``, or one annotated with `CallContext`, is supplied by the run and is in neither
    list.

    Raises:
        ValueError: The function cannot be fed by name, or what it takes cannot be read from its signature.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ValueError("its parameters cannot be read; wrap it in a Python function") from None
    required, optional = [], []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise ValueError(f"it takes {stars}{name}, which does not say what it needs; name its parameters")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            if parameter.default is parameter.empty:
                raise ValueError(f"its parameter {name!r} is positional only; inputs are passed by name")
        elif parameter.default is not parameter.empty:
            optional.append(name)
        elif not _is_supplied(parameter):
            required.append(name)
    return Parameters(tuple(required), tuple(optional))


def _is_supplied(parameter: inspect.Parameter) -> bool:
    if parameter.kind is not parameter.KEYWORD_ONLY:
        return False
    annotation = parameter.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return parameter.name == _SUPPLIED or _CONTEXT.search(text) is not None
