"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.errors import InputError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from orchestrator.faults import FaultPlan
    from orchestrator.graph import Graph
    from orchestrator.runtime import Orchestrator

__all__ = (
    "down_option",
    "faults_option",
    "file_argument",
    "given_inputs",
    "goal_option",
    "input_options",
    "json_option",
    "load",
    "load_faults",
    "offer",
    "policy_option",
    "seed_option",
)

F = TypeVar("F", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path(path_type=Path))


def offer(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what the shell asks for completions; it is imported only then."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from orchestrator.cli import completing

        find: Callable[..., list[CompletionItem]] = getattr(completing, kind)
        return find(ctx, param, incomplete)

    return complete


goal_option = click.option(
    "--goal", metavar="NAME", help="The goal to ask for; default: the best one.", shell_complete=offer("goals")
)
down_option = click.option(
    "--down",
    metavar="NODE",
    multiple=True,
    help="Do without this node; may be repeated.",
    shell_complete=offer("nodes"),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
seed_option = click.option("--seed", type=int, metavar="N", help="Decides what is left to chance.")
policy_option = click.option(
    "--policy",
    metavar="P",
    help="A policy's name or file, instead of the graph's own.",
    shell_complete=offer("policies"),
)
faults_option = click.option(
    "--faults", type=click.Path(path_type=Path), metavar="FILE", help="Faults to inject, as YAML."
)


def input_options(command: F) -> F:
    """Add ``-i`` and ``--inputs``."""
    one = click.option(
        "-i",
        "inputs",
        multiple=True,
        metavar="NAME=VALUE",
        help="A run input: name=value by its declared type, or name:=json.",
    )
    many = click.option(
        "--inputs", "inputs_file", metavar="FILE", help="Run inputs as a JSON object; - reads standard input."
    )
    return one(many(down_option(command)))


def load(
    file: Path, policy: str | None, *, imports: bool, tracer: Any = None, store: str | Path | None = None
) -> Orchestrator:
    """Load a graph file under a policy."""
    from orchestrator.runtime import Orchestrator

    return Orchestrator.from_yaml(file, policy=policy, imports=imports, tracer=tracer, store=store)


def load_faults(path: Path | None, graph: Graph, *, real: bool) -> FaultPlan | None:
    """Load a fault file and check it against the graph."""
    if path is None:
        return None
    from orchestrator.errors import SpecError
    from orchestrator.faults import FaultPlan

    plan = FaultPlan.from_file(path)
    problems = plan.problems(graph, real=real)
    if problems:
        raise SpecError(problems)
    return plan


def given_inputs(graph: Graph, inputs: tuple[str, ...], inputs_file: str | None) -> dict[str, Any]:
    """Return the run inputs of the command line; ``-i`` beats ``--inputs``.

    Raises:
        InputError: One of them cannot be read.
    """
    from orchestrator.drivers.inputs import read_text

    given: dict[str, Any] = {}
    if inputs_file is not None:
        given.update(_from_file(inputs_file))
    for text in inputs:
        name, sign, value = text.partition("=")
        if not sign or not name or name == ":":
            raise InputError(f"write -i name=value or -i name:=json, not {text!r}")
        if name.endswith(":"):
            given[name[:-1]] = _json(value, f"the value of {name[:-1]!r}")
        else:
            given[name] = read_text(graph, name, value)
    return given


def _from_file(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {name}: {error}") from None
    data = _json(text, "standard input" if name == "-" else name)
    if not isinstance(data, dict):
        raise InputError(f"{name} must hold one JSON object with the inputs by name")
    return data


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is no JSON: {error}") from None
