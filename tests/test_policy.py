"""The ready-made policies say what they say: the default file is the default, and every figure has its reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from orchestrator.data import policy_names, policy_text
from orchestrator.errors import SpecError
from orchestrator.policy import Policy


def keys(data: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of all leaves of a mapping."""
    nested = [
        keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"] for key, value in data.items()
    ]
    return [name for names in nested for name in names]


def test_the_default_file_is_the_default() -> None:
    """`policies/default.yaml` gives the same policy as no policy at all."""
    assert Policy.model_validate(yaml.safe_load(policy_text("default"))) == Policy()


def test_the_default_file_leaves_nothing_out() -> None:
    """`policies/default.yaml` writes every figure that a policy has, so that it can serve as its reference."""
    assert sorted(keys(yaml.safe_load(policy_text("default")))) == sorted(keys(Policy().model_dump()))


@pytest.mark.parametrize("name", policy_names())
def test_every_figure_of_a_file_has_its_reason(name: str) -> None:
    """In a ready-made policy each line with a figure carries a comment, and the file is a policy."""
    lines = policy_text(name).splitlines()
    bare = [line for line in lines if line.strip() and not line.endswith(":") and "# " not in line]
    assert bare == []
    Policy.model_validate(yaml.safe_load(policy_text(name)))


@pytest.mark.parametrize("name", ["defualt", "", "../pyproject", "default.yaml"])
def test_an_unknown_policy_is_told_the_known_ones(name: str) -> None:
    """A name that is no ready-made policy, a path among them, is an error that lists the names."""
    with pytest.raises(SpecError, match=r"default") as caught:
        policy_text(name)
    (problem,) = caught.value.problems
    assert problem.code == "unknown-policy"
    assert "default" in (problem.help or "")
