"""What a waiting run asks, as a person reads it: the call, what it would be given, and what to type."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.output import as_json as json_text
from orchestrator.cli.output import print_json
from orchestrator.redact import Redactor

if TYPE_CHECKING:
    from orchestrator.result import Question

__all__ = ("question_lines", "show_questions")

CUT = 200
"""Characters of an input that are shown."""


def question_lines(run_id: str, questions: tuple[Question, ...]) -> list[str]:
    """Return the questions of a run, and how each is answered."""
    redact = Redactor.from_environment((), os.environ).redact
    short = run_id[:8]
    lines = []
    for question in questions:
        lines.append(f"? {question.id}: {redact(question.reason)}")
        for name, value in question.inputs.items():
            text = redact(json_text(value, indent=None))
            lines.append(f"    {name} = {text if len(text) <= CUT else text[: CUT - 1] + '…'}")
        which = f" -q {question.id}" if len(questions) > 1 else ""
        if question.kind == "decide":
            lines += [f"    orchestrator approve {short} {option}{which}" for option in question.options[2:]]
        else:
            lines.append(f"    orchestrator approve {short} {'|'.join(question.options)}{which}")
    return lines


def show_questions(run_id: str, questions: tuple[Question, ...], *, as_json: bool) -> None:
    """Print what a run asks."""
    if as_json:
        redact = Redactor.from_environment((), os.environ).redact
        print_json({"run_id": run_id, "questions": redact([question.as_dict() for question in questions])})
        return
    for line in question_lines(run_id, questions) or [f"run {run_id} asks nothing"]:
        click.echo(line)
