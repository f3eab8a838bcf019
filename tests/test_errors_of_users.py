"""What users say that their errors mean: in a graph file and in code, for calls and for probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from orchestrator import Orchestrator, SpecError
from orchestrator.cli.app import app
from orchestrator.drivers.lanes import Overloaded
from orchestrator.drivers.link import HeldOff
from orchestrator.events import Failure
from orchestrator.health import evidence_of
from orchestrator.nodes.classify import classify
from orchestrator.nodes.meaning import Meaning
from orchestrator.spec.dump import to_yaml
from orchestrator.spec.load import load_text
from tests.failing import Standing, found, substitutes


class Declined(Exception):
    """As a library would raise it."""


class Blocked(Declined):
    """A kind of it."""


NAME = f"{__name__}.Declined"


def declines() -> None:
    """Raise it."""
    raise Blocked("card declined")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, ("Blocked", True, "no", "external", "opened")),
        ("caller", ("Blocked", False, "no", "caller", "heavier")),
        ("external", ("Blocked", True, "unknown", "external", "opened")),
        ("timeout", ("Blocked", True, "unknown", "timeout", "opened")),
        ("rate_limited", ("Blocked", True, "no", "rate_limited", "limited")),
        ("unauthorised", ("Blocked", False, "no", "unauthorised", "refused")),
        ("contract", ("Blocked", True, "unknown", "contract", "vetoed")),
        (
            {"evidence": "external", "transient": False, "happened": "yes", "type": "declined"},
            ("declined", False, "yes", "external", "opened"),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [NAME, "Declined", Declined], ids=str)
async def test_a_class_means_what_its_user_says(
    name: Any, said: Any, expected: tuple[str, bool, str, str, Standing]
) -> None:
    """By dotted name, bare name or class; subclasses follow; what is not written follows from the evidence."""
    seen = await found(declines, errors=None if said is None else {name: said})
    failure = seen.failure
    assert (failure.type, failure.transient, failure.happened, seen.evidence, seen.standing) == expected


@pytest.mark.parametrize("key", ["external", "caller"])
async def test_a_once_effect_goes_by_what_the_user_says(key: str) -> None:
    """An error that is said to come before the effect lets another provider pay; one that may come later does not."""
    calls: list[str] = []
    async with Orchestrator(
        tools=substitutes(declines, "once", calls), goals={"g": ["page"]}, errors={Declined: key}
    ) as orchestrator:
        result = await orchestrator.run()
    assert (result.outcome, calls) == (("met", ["bad", "good"]) if key == "caller" else ("waiting", ["bad"]))


GRAPH = """\
version: 1
imports: {allow: [tests]}
errors:
  %s
defaults: {effect: read}
tools:
  bad: {python: "tests.test_errors_of_users:declines", provides: page, retry: {attempts: 1}}
goals: [{name: g, values: [page]}]
"""


async def test_a_graph_file_says_it_and_code_says_it_better(tmp_path: Path) -> None:
    """`errors:` of the file holds; `from_yaml(errors=)` comes before it, class by class."""
    path = tmp_path / "graph.yaml"
    path.write_text(GRAPH % f"{NAME}: {{evidence: caller, type: of_file}}")
    seen = []
    for errors in (None, {NAME: {"evidence": "contract", "type": "of_code"}}, {"a.Other": "caller"}):
        async with Orchestrator.from_yaml(path, errors=errors) as orchestrator:
            result = await orchestrator.run()
        seen.append((result.attempts[0].error, len(orchestrator.spec.errors)))
    assert seen == [("of_file", 1), ("of_code", 1), ("of_file", 2)]


def test_what_is_written_is_read_back() -> None:
    """A dumped graph says the same of errors, in the short form where that is all of it."""
    text = GRAPH % f'{{{NAME}: caller, "a.b.Late": {{evidence: timeout, happened: no}}, Bare: rate_limited}}'
    spec = load_text(text, environ={}).spec
    written = to_yaml(spec)
    assert f"{NAME}: caller" in written
    assert load_text(written, environ={}).spec == spec


@pytest.mark.parametrize(
    ("said", "message", "help"),
    [
        (f"{NAME}: calller", f"'{NAME}' cannot be 'calller'", "did you mean 'caller'?"),
        (f"{NAME}: ok", f"'{NAME}' cannot be 'ok'", "write one of"),
        (f"{NAME}: {{transient: true}}", "lacks the key 'evidence'", "write it such as evidence: caller"),
        (f"{NAME}: {{evidence: caller, transitent: true}}", "unknown key 'transitent'", "did you mean 'transient'?"),
        (f"{NAME}: {{evidence: caller, happened: maybe}}", "'happened' cannot be 'maybe'", "write one of"),
        (f"{NAME}: [caller]", "must be a map", "its keys are evidence"),
        ('"tests.x:Declined": caller', "is no name: write the class as package.module.Class", ""),
    ],
)
def test_bad_input_has_one_error_with_place_and_fix(said: str, message: str, help: str, tmp_path: Path) -> None:
    """The line of the file is named, and what to write instead; `validate --json` says the same."""
    path = tmp_path / "graph.yaml"
    path.write_text(GRAPH % said)
    with pytest.raises(SpecError) as caught:
        Orchestrator.from_yaml(path)
    (problem,) = caught.value.problems
    assert (problem.line, message in problem.message, help in (problem.help or "")) == (4, True, True), problem

    result = CliRunner().invoke(app, ["validate", "--json", str(path)])
    assert result.exit_code == 2
    (file,) = json.loads(result.stdout)["files"]
    assert [each["line"] for each in file["problems"]] == [4]


@pytest.mark.parametrize("errors", [{NAME: "nonsense"}, {NAME: None}, {3: "caller"}], ids=str)
def test_bad_input_in_code_is_refused_at_once(errors: Any, tmp_path: Path) -> None:
    """Whatever is no evidence is a `SpecError` where the orchestrator is made."""
    path = tmp_path / "graph.yaml"
    path.write_text(GRAPH % "{}")
    with pytest.raises(SpecError):
        Orchestrator.from_yaml(path, errors=errors)
    with pytest.raises(SpecError):
        Orchestrator(tools=substitutes(declines), goals={"g": ["page"]}, errors=errors)


def test_an_included_file_says_it_of_its_own_errors(tmp_path: Path) -> None:
    """What files say is joined, and a class that two of them name is an error."""
    path, more = tmp_path / "graph.yaml", tmp_path / "more.yaml"
    path.write_text("include: more.yaml\n" + GRAPH % f"{NAME}: caller")
    more.write_text("version: 1\nerrors: {a.B: timeout}\n")
    assert set(Orchestrator.from_yaml(path).spec.errors) == {NAME, "a.B"}
    more.write_text(f"version: 1\nerrors: {{{NAME}: timeout}}\n")
    with pytest.raises(SpecError, match="is declared twice"):
        Orchestrator.from_yaml(path)


PROBED = """\
version: 1
imports: {allow: [tests]}
defaults: {effect: read}
tools:
  bad:
    python: "tests.test_errors_of_users:works"
    provides: page
    probe: {every: 10ms, python: "tests.test_errors_of_users:declines"}
  good: {python: "tests.test_errors_of_users:works", provides: page, cost: 10}
goals: [{name: g, values: [page]}]
"""


def works() -> str:
    """Work."""
    return "text"


@pytest.mark.parametrize(
    ("errors", "state"), [({}, "open"), ({Declined: "rate_limited"}, "closed")], ids=["un", "said"]
)
async def test_a_probe_goes_by_it_too(errors: Any, state: str, tmp_path: Path) -> None:
    """A probe that raises what is said to be a rate limit takes nobody out of use; unsaid, it does."""
    path = tmp_path / "graph.yaml"
    path.write_text(PROBED)
    async with Orchestrator.from_yaml(path, errors=errors) as orchestrator:
        await orchestrator.run()
        with anyio.fail_after(20):
            while (row := orchestrator.health()[0]).state == "closed" and "limited" not in str(row.reasons):  # noqa: ASYNC110  # nobody announces it
                await anyio.sleep(0.01)
    assert row.state == state


def test_evidence_follows_from_a_failure() -> None:
    """What a failure says itself holds; else its type; else whether the outcome is known; else whether it may pass."""

    def of(*args: Any, **keys: Any) -> str:
        return evidence_of("failed", Failure(*args, **keys))

    assert of("KeyError", happened="unknown", evidence="caller") == "caller"
    assert of("timeout", transient=True, happened="no") == "timeout"
    assert of("timeout", evidence="external") == "external"
    assert of("invalid_output", transient=True, happened="yes") == "contract"
    assert of("http_5xx", transient=True, happened="unknown") == "unknown"
    assert of("http_5xx", transient=True) == "external"
    assert of("http_4xx") == "caller"
    assert of("not_recordable", happened="yes") == "caller"
    assert {of(name) for name in ("cancelled", "interrupted", "overloaded")} == {"cancelled"}
    assert evidence_of("succeeded", None) == "ok"
    assert (evidence_of("inapplicable", None), evidence_of("cancelled", None)) == ("inapplicable", "cancelled")
    assert evidence_of("failed", None) == "cancelled"


@pytest.mark.parametrize("refusal", [Overloaded("no place"), HeldOff("another run is trying it")])
def test_what_we_did_not_call_ourselves_is_nobody_elses_error(refusal: Exception) -> None:
    """However broad a user's table is: nothing happened, and it says nothing about the node."""
    table = {"Exception": Meaning("lost", transient=True, happened="unknown", evidence="external")}
    failure = classify(refusal, table=table, doubt="unknown")
    assert (failure.transient, failure.happened, failure.evidence) == (True, "no", None)
    assert evidence_of("failed", failure) == "cancelled"
