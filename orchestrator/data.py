"""The data files that travel with the package: ready-made policies.

An installed package carries them in a folder of its own; a source checkout has them at the top of the repository.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Problem, SpecError

__all__ = ("policy_names", "policy_text")


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


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
