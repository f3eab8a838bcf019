"""The data files that travel with the package: ready-made policies, and the project that `orchestrator init` writes.

An installed package carries all of them in a folder of its own; a source checkout has the policies at the top of the
repository.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Problem, SpecError

__all__ = ("PROJECT", "policy_names", "policy_text", "project_text")

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
    return tuple(sorted(path.stem for path in _folder("policies").glob("*.yaml")))


def policy_text(name: str) -> str:
    """Return the YAML text of the ready-made policy *name*.

    Raises:
        SpecError: There is no policy of that name; the problem lists those that there are.
    """
    names = policy_names()
    if name not in names:
        known = ", ".join(names) or "none"
        raise SpecError((Problem("unknown-policy", f"there is no policy {name!r}", help=f"ready-made: {known}"),))
    return (_folder("policies") / f"{name}.yaml").read_text(encoding="utf-8")


def project_text(name: str) -> str:
    """Return the text of a file of `PROJECT`.

    Raises:
        KeyError: A new project has no such file.
    """
    return (_folder("project") / PROJECT[name]).read_text(encoding="utf-8")


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
