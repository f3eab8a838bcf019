"""The data files that travel with the package: ready-made policies and tools, and what `orchestrator init` writes.

An installed package carries all of them in a folder of its own; a source checkout has policies and tools at the top of
the repository.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Problem, SpecError

__all__ = ("PROJECT", "policy_names", "policy_text", "project_text", "tool_names", "tool_text")

PROJECT = {
    "graph.yaml": "graph.yaml",
    "answers/__init__.py": "package.py.txt",
    "answers/tools.py": "tools.py.txt",
    "tests/test_graph.py": "test_graph.py.txt",
    ".env.example": "env.example.txt",
    ".gitignore": "gitignore.txt",
    "README.md": "README.md",
}
"""The files of a new project, and the data file that holds the text of each.

Python lies there as text: what looks for modules and tests in this package must not take it for its own.
"""


def policy_names() -> tuple[str, ...]:
    """Return the names of the ready-made policies, sorted."""
    return _names("policies")


def policy_text(name: str) -> str:
    """Return the YAML text of the ready-made policy *name*.

    Raises:
        SpecError: There is no policy of that name; the problem lists those that there are.
    """
    _check("policy", name, policy_names())
    return (_folder("policies") / f"{name}.yaml").read_text(encoding="utf-8")


def tool_names() -> tuple[str, ...]:
    """Return the names of the ready-made tools, sorted."""
    return _names("tools")


def tool_text(name: str, suffix: str) -> str:
    """Return one of the two files of the ready-made tool *name*: ``.yaml``, its entry, or ``.py``, its function.

    Raises:
        SpecError: There is no tool of that name; the problem lists those that there are.
    """
    _check("tool", name, tool_names())
    return (_folder("tools") / f"{name}{suffix}").read_text(encoding="utf-8")


def project_text(name: str) -> str:
    """Return the text of a file of `PROJECT`.

    Raises:
        KeyError: A new project has no such file.
    """
    return (_folder("project") / PROJECT[name]).read_text(encoding="utf-8")


def _names(folder: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _folder(folder).glob("*.yaml")))


def _check(kind: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        known = ", ".join(names) or "none"
        raise SpecError((Problem(f"unknown-{kind}", f"there is no {kind} {name!r}", help=f"ready-made: {known}"),))


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
