"""``orchestrator approve``: answer a question of a waiting run, and go on with it."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.asking import question_lines
from orchestrator.cli.driving import drive, narrator, print_result, tells
from orchestrator.cli.options import json_option, offer
from orchestrator.cli.output import Exit, exit_code, print_json
from orchestrator.cli.store import file_option, find_orchestrator, named, open_store, run_argument, store_option
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from orchestrator.result import Question, RunResult
    from orchestrator.store import StoredRun

__all__ = ("command",)


# A \b keeps click from filling the lines of a paragraph.
EXAMPLES = """\b
  approve 7d44                            what is asked, and what may be answered
  approve 7d44 yes                        the call may be made
  approve 7d44 no --reason "too much"     it may not: the run goes another way
  approve 7d44 edit -i amount:=100        it may, with another input
  approve 7d44 demote:refunded            what to do where no route is left"""


@click.command("approve", epilog=EXAMPLES)
@run_argument
@click.argument("answer", metavar="[ANSWER]", required=False, shell_complete=offer("answers"))
@click.option(
    "-q",
    "--question",
    metavar="ID",
    help="Which question, where several are open; as approve:wire.",
    shell_complete=offer("questions"),
)
@click.option(
    "-i",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another input (edit), the result of a lost call, or the value to supply: name=text or name:=json.",
)
@click.option("--by", metavar="NAME", help="Who answers; default: the name you are logged in with.")
@click.option("--reason", metavar="TEXT", help="Why; a refusal shows it.")
@click.option("--allow-demoted", is_flag=True, help="Exit 0 also for a lower goal.")
@file_option
@store_option
@json_option
def command(
    run: str,
    answer: str | None,
    question: str | None,
    values: tuple[str, ...],
    by: str | None,
    reason: str | None,
    allow_demoted: bool,
    file: Path | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Answer a question of RUN, which waits for people; without ANSWER, show what is asked.

    RUN is an id, or a beginning of it that no other run has.
    """
    import anyio

    if answer is None:
        given = [name for name, each in (("-i", values), ("--reason", reason), ("--by", by)) if each]
        if given:
            raise InputError(f"{given[0]} belongs to an answer, and there is none: add yes, no or what else is offered")
        _show(run, question, file, store, as_json)
        raise SystemExit(Exit.WAITING)
    who = _user() if by is None else by
    result = anyio.run(_approve, run, answer, question, values, who, reason, file, store, as_json)
    print_result(result, as_json=as_json, named=named(result.run_id, store, file), told=tells(quiet=as_json))
    raise SystemExit(exit_code(result.outcome, result.reason, allow_demoted=allow_demoted))


def _show(run: str, wanted: str | None, file: Path | None, url: str | None, as_json: bool) -> None:
    import dataclasses
    import time

    import anyio

    from orchestrator.drivers.resuming import recorded
    from orchestrator.redact import Redactor

    async def load() -> StoredRun:
        async with open_store(url) as store:
            return await store.load(await store.find(run))

    stored = anyio.run(load)
    result = recorded(stored)
    questions = _open(stored, result.questions, wanted)
    if as_json:
        redact = Redactor.from_environment((), os.environ).redact
        print_json({"run_id": result.run_id, "questions": redact([question.as_dict() for question in questions])})
        return
    now = time.time() - stored.row.created  # noqa: TID251  # the wall clock of deadlines
    shown = dataclasses.replace(result, questions=questions)
    for line in question_lines(shown, named(result.run_id, url, file), now=now):
        click.echo(line)


async def _approve(
    run: str,
    answer: str,
    wanted: str | None,
    values: tuple[str, ...],
    by: str,
    reason: str | None,
    file: Path | None,
    url: str | None,
    as_json: bool,
) -> RunResult:
    from orchestrator.drivers.answers import Answer
    from orchestrator.drivers.resuming import recorded

    async with open_store(url) as store:
        stored = await store.load(await store.find(run))
        asked = _open(stored, recorded(stored).questions, wanted)
        if len(asked) > 1:
            listed = ", ".join(question.id for question in asked)
            raise InputError(f"several questions are open; say which one with -q: {listed}")
        (question,) = asked
        if answer not in question.options:
            raise InputError(f"{answer!r} is no answer to {question.id}; answer {', '.join(question.options)}")
        given = dict(_value(text, question) for text in values)
        async with find_orchestrator(stored, file, store) as orchestrator:
            said = Answer(question.id, answer, given, by, reason)
            narrate = narrator(orchestrator.redactor, quiet=as_json)
            run_again = await orchestrator.reopen(stored.row.run_id, answers=(said,), on_record=narrate)
            return await drive(run_again)


def _open(stored: StoredRun, questions: tuple[Question, ...], wanted: str | None) -> tuple[Question, ...]:
    """Return the open questions, or the wanted one alone."""
    row = stored.row
    if not questions:
        state = "running" if row.outcome == "running" else f"over ({row.outcome})"
        raise InputError(f"run {row.run_id} is {state}: it asks nothing")
    if wanted is None:
        return questions
    found = tuple(question for question in questions if question.id == wanted)
    if not found:
        listed = ", ".join(question.id for question in questions)
        raise InputError(f"there is no open question {wanted!r}; open: {listed}")
    return found


def _value(text: str, question: Question) -> tuple[str, Any]:
    """Read a value: JSON where that is said, or where it stands for an input that is no text."""
    name, sign, value = text.partition("=")
    if not sign or name in ("", ":"):
        raise InputError(f"write -i name=text or -i name:=json, not {text!r}")
    plain = isinstance(question.inputs.get(name, ""), str | None)
    if not name.endswith(":") and plain:
        return name, value
    name = name.removesuffix(":")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError) as error:
        why = "" if plain else ", which it has to be where it replaces what is no text"
        raise InputError(f"the value of {name!r} is no JSON{why}: {error}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user, as in some containers
        return ""
