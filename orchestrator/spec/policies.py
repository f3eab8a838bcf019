"""Policies as a graph file or a command names them: ready-made, or a YAML file with overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.data import policy_names, policy_text
from orchestrator.errors import Problem, SpecError
from orchestrator.policy import Policy
from orchestrator.spec.environment import fill
from orchestrator.spec.folder import Folder, UnreadableFileError, content
from orchestrator.spec.marks import Document, document
from orchestrator.spec.part import plain_data
from orchestrator.spec.problems import Finding, did_you_mean, placed, quoted
from orchestrator.spec.shape import read_shape

__all__ = ("PolicyText", "is_path", "load_policy", "read_policy", "unknown_policy")

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy file, read; *policy* is None where there are problems."""

    document: Document
    policy: Policy | None
    problems: tuple[Problem, ...]
    secrets: frozenset[str]


def is_path(policy: str) -> bool:
    """Return whether *policy* is the path of a file, and not the name of a ready-made policy."""
    return "/" in policy or policy.endswith((".yaml", ".yml"))


def unknown_policy(name: str) -> Finding | None:
    """Return why there is no ready-made policy *name*, or None."""
    known = policy_names()
    if name == DEFAULT or name in known:
        return None
    help = did_you_mean(name, (*known, DEFAULT), kind="policies")
    return Finding("E042", f"no ready-made policy is called {quoted(name)}", ("policy",), help)


def read_policy(text: bytes | str, file: str, environ: Mapping[str, str]) -> PolicyText:
    """Read a map of overrides in YAML."""
    read = document(text, file)
    if not read.complete:
        return PolicyText(read, None, read.problems, frozenset())
    written = plain_data(read.data if read.data is not None else {}, ("policy",))
    filled = fill(written, environ)
    policy, findings = read_shape(Policy, filled.data, written)
    found = [placed(finding, read, filled.secrets) for finding in filled.findings + findings]
    problems = (*read.problems, *found)
    return PolicyText(read, None if problems else policy, problems, frozenset(filled.secrets))


def load_policy(policy: str, *, root: Path, environ: Mapping[str, str]) -> Policy:
    """Return the policy that *policy* names.

    Args:
        policy: A ready-made one by name, or the path of a YAML file below *root*.
        root: The folder that paths are relative to.
        environ: The environment that ``${}`` is filled from.

    Raises:
        SpecError: There is no such policy, or it is not well formed.
    """
    if is_path(policy):
        try:
            folder = Folder(root)
            text = read_policy(content(folder.file(folder.path, policy)), policy, environ)
        except UnreadableFileError as error:
            raise SpecError((placed(error.finding, None),)) from None
    elif (unknown := unknown_policy(policy)) is not None:
        raise SpecError((placed(unknown, None),))
    elif policy == DEFAULT:
        return Policy()
    else:
        text = read_policy(policy_text(policy), f"{policy}.yaml", environ)
    if text.policy is None:
        raise SpecError(text.problems)
    return text.policy
