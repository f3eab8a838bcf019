"""``orchestrator approve``: answer a question of a waiting run, and go on with it."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.asking import show_questions
from orchestrator.cli.driving import drive, narrator, print_result
from orchestrator.cli.options import json_option
from orchestrator.cli.output import Exit, exit_code
from orchestrator.cli.store import find_orchestrator, open_store, run_argument, store_option
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from orchestrator.result import Question, RunResult
    from orchestrator.store import StoredRun

__all__ = ("command",)


@click.command("approve")
@run_argument
@click.argument("answer", metavar="yes|no|edit|OPTION", required=False)
@click.option("-q", "--question", metavar="ID", help="Which question, where several are open; as approve:wire.")
@click.option(
    "-i",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another input (edit), the result of a lost call, or the value to supply: name=text or name:=json.",
)
@click.option("--by", metavar="NAME", help="Who answers; default: the name you are logged in with.")
@click.option("--reason", metavar="TEXT", help="Why; a refusal shows it.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="The graph file, if it has moved.")
@click.option("--allow-demoted", is_flag=True, help="Exit 0 also for a lower goal.")
@store_option
@json_option
def command(
    run: str,
    answer: str | None,
    question: str | None,
    values: tuple[str, ...],
    by: str | None,
    reason: str | None,
    file: Path | None,
    allow_demoted: bool,
    store: str | None,
    as_json: bool,
) -> None:
    r"""Answer a question of RUN, which waits for people; without an answer, show what is asked.

    RUN is an id, or a beginning of it that no other run has.

    \b
    approve 7d44 yes                        the call may be made
    approve 7d44 no --reason "too much"     it may not: the run goes another way
    approve 7d44 edit -i amount:=100        it may, with another input
    approve 7d44 demote:refunded            what to do where no route is left
    """
    import anyio

    given = dict(_value(text) for text in values)
    result = anyio.run(_approve, run, answer, question, given, by or _user(), reason, file, store, as_json)
    if result is None:
        raise SystemExit(Exit.WAITING)
    print_result(result, as_json=as_json)
    raise SystemExit(exit_code(result.outcome, result.reason, allow_demoted=allow_demoted))


async def _approve(
    run: str,
    answer: str | None,
    question: str | None,
    values: dict[str, Any],
    by: str,
    reason: str | None,
    file: Path | None,
    url: str | None,
    as_json: bool,
) -> RunResult | None:
    from orchestrator.drivers.answers import Answer
    from orchestrator.drivers.resuming import recorded

    async with open_store(url) as store:
        stored = await store.load(await store.find(run))
        questions = recorded(stored).questions
        if answer is None:
            show_questions(stored.row.run_id, questions, as_json=as_json)
            return None
        asked = _asked(stored, questions, question)
        async with find_orchestrator(stored, file, store) as orchestrator:
            said = Answer(asked, answer, values, by, reason)
            narrate = narrator(orchestrator.redactor, quiet=as_json)
            run_again = await orchestrator.reopen(stored.row.run_id, answers=(said,), on_record=narrate)
            return await drive(run_again)


def _asked(stored: StoredRun, questions: tuple[Question, ...], wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    if not questions:
        raise InputError(f"run {stored.row.run_id} is {stored.row.outcome}: it asks nothing")
    if len(questions) > 1:
        listed = ", ".join(question.id for question in questions)
        raise InputError(f"several questions are open; say which one with --question: {listed}")
    return questions[0].id


def _value(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or name in ("", ":"):
        raise InputError(f"write -i name=text or -i name:=json, not {text!r}")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the value of {name[:-1]!r} is no JSON: {error}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user, as in some containers
        return ""
