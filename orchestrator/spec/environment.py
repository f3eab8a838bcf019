"""Environment variables in a graph file: ``${X}``, ``${X:-default}``, ``${X:?message}``, and ``$$`` for a dollar sign.

They are filled in values only, never in keys, and after the file was parsed, so that a variable can never bring YAML
of its own. A ``$`` that is followed by neither ``{`` nor ``$`` is a plain dollar sign. As in a shell, ``:-`` and
``:?`` take an empty variable for an unset one. A default is plain text: no variable stands inside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec.problems import Finding, Path, quoted

__all__ = ("Filled", "escaped", "fill")

_VARIABLE = re.compile(
    r"""\$(?:
        (?P<dollar>\$)
      | \{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?: :-(?P<default>(?:(?!\$\{)[^}])*) | :\?(?P<message>(?:(?!\$\{)[^}])*) )?\}
      | (?P<open>\{)
    )""",
    re.VERBOSE,
)


@dataclass
class Filled:
    """Data whose variables are filled, and what became of them."""

    data: Any = None
    secrets: set[str] = field(default_factory=set)
    """Every text that came from the environment. Defaults are no secrets: they stand in the file."""
    paths: set[Path] = field(default_factory=set)
    """Values that hold a variable."""
    unfilled: set[Path] = field(default_factory=set)
    """Values that could not be filled; they stand as they are written."""
    findings: list[Finding] = field(default_factory=list)


def fill(data: Any, environ: Mapping[str, str]) -> Filled:
    """Fill the variables in all values of *data*; what cannot be filled is a finding."""
    filled = Filled()
    filled.data = _walk(data, (), environ, filled)
    return filled


def escaped(text: str) -> str:
    """Write *text* so that `fill` gives it back.

    >>> escaped("${X} for $5")
    '$${X} for $5'
    """
    return re.sub(r"\$(?=[${])", "$$", text)


def _walk(data: Any, path: Path, environ: Mapping[str, str], filled: Filled) -> Any:
    if isinstance(data, dict):
        return {key: _walk(value, (*path, key), environ, filled) for key, value in data.items()}
    if isinstance(data, list):
        return [_walk(value, (*path, index), environ, filled) for index, value in enumerate(data)]
    if isinstance(data, str) and "$" in data:
        return _fill_text(data, path, environ, filled)
    return data


def _fill_text(text: str, path: Path, environ: Mapping[str, str], filled: Filled) -> str:
    unset: dict[str, Finding] = {}
    malformed: list[str] = []

    def value_of(match: re.Match[str]) -> str:
        if match["dollar"] is not None:
            return "$"
        filled.paths.add(path)
        if match["open"] is not None:
            malformed.append(match[0])
            return match[0]
        name, default, message = match["name"], match["default"], match["message"]
        value = environ.get(name)
        if value is not None and (value or (default is None and message is None)):
            if value:
                filled.secrets.add(value)
            return value
        if default is not None:
            return default
        unset.setdefault(name, _unset(name, message, path))
        return match[0]

    result = _VARIABLE.sub(value_of, text)
    filled.findings += unset.values()
    if malformed:
        help = "write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${ stands for the characters ${"
        filled.findings.append(Finding("E011", f"{quoted(text)} holds a ${{ that names no variable", path, help))
    if unset or malformed:
        filled.unfilled.add(path)
        return text
    return result


def _unset(name: str, message: str | None, path: Path) -> Finding:
    text = f"the environment variable {name} is not set"
    if message:
        return Finding("E010", f"{text}: {message}", path)
    return Finding("E010", text, path, f"set it, or write a default: ${{{name}:-default}}")
