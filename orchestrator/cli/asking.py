"""What a waiting run asks, as a person reads it: the call, what it would be given, what may be answered, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import as_json as json_text
from orchestrator.cli.steps import seconds_text
from orchestrator.redact import Redactor

if TYPE_CHECKING:
    from orchestrator.cli.store import Named
    from orchestrator.result import Question, RunResult

__all__ = ("question_lines",)

CUT = 200
"""Characters of an input that are shown."""
LEFT = 34
"""Characters of an answer beside which there is room for what it means."""


def question_lines(result: RunResult, named: Named | None, *, now: float | None = None) -> list[str]:
    """Return the questions of a run, and how each is answered.

    Args:
        result: The run as it is.
        named: What the commands call the run; None: it is not recorded, and nobody can answer.
        now: Seconds on the run's clock; default: its last record.
    """
    redact = Redactor.from_environment((), os.environ).redact
    lines = []
    for question in result.questions:
        lines.append(f"? {question.id}: {redact(_asked(question))}")
        for name, value in question.inputs.items():
            text = redact(json_text(value, indent=None))
            lines.append(f"    {name} = {text if len(text) <= CUT else text[: CUT - 1] + '…'}")
        if named is None:
            continue
        which = f" -q {question.id}" if len(result.questions) > 1 else ""
        lines.append(f"  answer with: orchestrator approve {named.run} ANSWER{which}{named.options}")
        answers = list(_answers(question, result))
        width = max(len(answer) for answer, _ in answers if len(answer) <= LEFT)
        for answer, meaning in answers:
            lines += (
                [f"    {answer:<{width}}  {meaning}"]
                if len(answer) <= LEFT
                else [f"    {answer}", f"    {'':<{width}}  {meaning}"]
            )
        if question.until is not None:
            lines.append(f"  {_deadline(question.until - (result.seconds if now is None else now), named)}")
    if result.questions and named is None:
        lines.append("  nothing of this run is recorded, so it cannot be answered")
    return lines


def _asked(question: Question) -> str:
    if question.kind == "decide":
        return f"no route to {question.node} is left ({question.reason}); what now?"
    return question.reason


def _answers(question: Question, result: RunResult) -> Iterator[tuple[str, str]]:
    """Yield what may be answered, and what it means."""
    match question.kind:
        case "approve":
            yield "yes", "make the call"
            yield "no --reason WHY", "do not make it; the run goes another way"
            if question.inputs:
                yield "edit -i NAME=VALUE", f"make it with another {' or '.join(question.inputs)}"
        case "settle":
            values = " ".join(f"-i {value}=VALUE" for value in _provides(question.node, result))
            yield "yes", "it happened; the result is not known"
            if values:
                yield f"yes {values}", "it happened, with this result"
            yield "no", "it did not happen"
        case _:
            # The first two, yes and no, are the first and the last of those that follow.
            yield from (_option(option) for option in question.options[2:])


def _option(option: str) -> tuple[str, str]:
    kind, _, names = option.partition(":")
    match kind:
        case "demote":
            return option, f"settle for the goal {names}"
        case "retry":
            return option, f"call {names.replace(',', ', ')} once more"
        case "supply":
            return f"{option} -i {names}=VALUE", f"go on with a {names} that you give"
        case _:
            return option, "end the run without a goal"


def _provides(node: str, result: RunResult) -> tuple[str, ...]:
    graph: dict[str, Any] = getattr(result.records[0].event, "graph", {}) if result.records else {}
    found = (each.get("provides", ()) for each in graph.get("nodes", ()) if each.get("name") == node)
    return tuple(next(found, ()))


def _deadline(left: float, named: Named) -> str:
    if left <= 0:
        return f"overdue: the policy answers when the run goes on: orchestrator runs resume {named.run}{named.options}"
    return f"within {seconds_text(left)}; after that, the policy answers"
