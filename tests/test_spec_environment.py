"""Environment variables are filled in values, after parsing, and what they held is known as a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec.environment import escaped, fill
from orchestrator.spec.load import load_text

ENVIRON = {"KEY": "sk-1234", "EMPTY": "", "PRICE": "0.5", "SWITCH": "true", "DOLLAR": "${KEY}$$"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${KEY}", "sk-1234"),
        ("Bearer ${KEY}!", "Bearer sk-1234!"),
        ("${NO:-default}", "default"),
        ("${NO:-}", ""),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${KEY:-default}${KEY:?why}", "sk-1234sk-1234"),
        ("$${KEY}", "${KEY}"),
        ("$$$$", "$$"),
        ("^[0-9-]+$", "^[0-9-]+$"),
        ("$5 or $KEY", "$5 or $KEY"),
        ("${NO:-http://127.0.0.1:8000/v1}", "http://127.0.0.1:8000/v1"),
        ("${DOLLAR}", "${KEY}$$"),
    ],
)
def test_variables_are_filled(text: str, filled: str) -> None:
    """A name, a default, a message, a doubled dollar sign; a value that looks like a variable is not filled again."""
    result = fill({"a": [text]}, ENVIRON)
    assert result.data == {"a": [filled]}
    assert result.findings == []


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("${NO}", "E010", "the environment variable NO is not set"),
        ("${NO:?set it in .env}", "E010", "the environment variable NO is not set: set it in .env"),
        ("${EMPTY:?set it}", "E010", "the environment variable EMPTY is not set: set it"),
        ("${}", "E011", "'${}' holds a ${ that names no variable"),
        ("${1X}", "E011", "'${1X}' holds a ${ that names no variable"),
        ("${KEY", "E011", "'${KEY' holds a ${ that names no variable"),
        ("${KEY-default}", "E011", "'${KEY-default}' holds a ${ that names no variable"),
        ("${NO:-${KEY}}", "E011", "'${NO:-${KEY}}' holds a ${ that names no variable"),
    ],
)
def test_what_cannot_be_filled(text: str, code: str, message: str) -> None:
    """A variable that is not set is a problem and never an empty text; the text stands as it is written."""
    result = fill({"a": text}, ENVIRON)
    assert [(finding.code, finding.message, finding.path) for finding in result.findings] == [(code, message, ("a",))]
    assert result.data == {"a": text}
    assert result.unfilled == {("a",)}


def test_keys_are_not_filled() -> None:
    """A variable in a key is part of the key."""
    assert fill({"${KEY}": 1}, ENVIRON).data == {"${KEY}": 1}


def test_secrets_are_what_came_from_the_environment() -> None:
    """The values of variables are secrets, by themselves and not the text around them; defaults and blanks are none."""
    result = fill(["Bearer ${KEY}", "${NO:-open}", "${EMPTY}", "$$"], ENVIRON)
    assert result.secrets == {"sk-1234"}


@given(st.text(st.sampled_from("${}Xa:-?"), max_size=12))
def test_an_escaped_text_is_filled_as_itself(text: str) -> None:
    """Whatever a text holds, its escaped form is filled with nothing and gives the text."""
    result = fill(escaped(text), {})
    assert result.data == text
    assert result.findings == []


GRAPH = """\
version: 1
inputs: {{count: {{type: integer, default: "${{COUNT:-3}}"}}, note: {{type: string, default: "${{COUNT:-3}}"}}}}
models: {{small: {{model: "${{NUMBER}}", api_key: "${{NUMBER}}"}}}}
tools:
  web: {{declared: "${{SWITCH}}", provides: pages, cost: {cost}, retry: {{attempts: "${{TWO}}"}}, effect: read}}
goals: [{{name: found, values: [pages]}}]
"""


def test_a_number_is_a_number_and_a_key_of_digits_a_text() -> None:
    """What is filled is read as the scalar it would be where a text does not fit, and stays a text where one does."""
    environ = {**ENVIRON, "NUMBER": "12345", "TWO": "2", "TIME": "5s"}
    spec = load_text(GRAPH.format(cost='{usd: "${PRICE}", latency: "${TIME}"}'), environ=environ).spec
    web = spec.tools["web"]
    assert web.cost is not None
    assert (web.cost.usd, web.cost.latency, web.declared) == (0.5, 5.0, True)
    assert web.retry is not None
    assert web.retry.attempts == 2
    assert (spec.models["small"].model, spec.models["small"].api_key) == ("12345", "12345")
    assert spec.inputs is not None
    assert (spec.inputs["count"].default, spec.inputs["note"].default) == (3, "3")


def test_a_short_form_may_be_a_variable() -> None:
    """A cost in short form is a number that may come from the environment."""
    spec = load_text(GRAPH.format(cost='"${PRICE}"'), environ={**ENVIRON, "NUMBER": "x", "TWO": "2"}).spec
    cost = spec.tools["web"].cost
    assert cost is not None
    assert cost.units == 0.5


def test_a_value_that_does_not_fit_is_shown_as_it_is_written() -> None:
    """A problem with a filled value shows the variable and never what it held."""
    environ = {"NUMBER": "x", "TWO": "many-secrets", "SWITCH": "true"}
    with pytest.raises(SpecError) as caught:
        load_text(GRAPH.format(cost="1"), environ=environ)
    (problem,) = caught.value.problems
    assert problem.message == "'attempts' must be a whole number, not '${TWO}'"
    assert "many-secrets" not in str(caught.value)


def test_no_secret_is_in_a_message() -> None:
    """Names that were filled from the environment are hidden where a message would speak of them."""
    text = """\
version: 1
agents: {brief: {model: "${MODEL}", needs: ["${SHORT}", "${SHORT}"], provides: letter}}
goals: [{name: told, values: [letter]}]
"""
    with pytest.raises(SpecError) as caught:
        load_text(text, environ={"MODEL": "secret-model-name", "SHORT": "abc"})
    assert "secret-model-name" not in str(caught.value)
    with pytest.raises(SpecError) as caught:
        load_text(text.replace(', "${SHORT}"]', "]"), environ={"MODEL": "secret-model-name", "SHORT": "abc"})
    assert caught.value.problems[0].message == "no model is called '***'"
    with pytest.raises(SpecError) as caught:
        load_text(text.replace(', "${SHORT}"]', "]"), environ={"MODEL": "mod", "SHORT": "abc"})
    assert caught.value.problems[0].message == "no model is called '***'"


def test_all_unset_variables_are_found_at_once() -> None:
    """Every variable that is not set is reported with its place, beside other problems of the file."""
    with pytest.raises(SpecError) as caught:
        load_text(GRAPH.format(cost='{usd: "${PRICE}", cots: 1}'), environ={})
    found = [(problem.code, problem.line, problem.column) for problem in caught.value.problems]
    assert found == [
        ("E010", 3, 25),
        ("E010", 3, 47),
        ("E010", 5, 19),
        ("E010", 5, 61),
        ("E020", 5, 73),
        ("E010", 5, 101),
    ]


def test_a_variable_cannot_bring_yaml() -> None:
    """Variables are filled after parsing: a line break or a bracket in one stays inside its text."""
    text = 'version: 1\nname: "${NAME}"\ntools: {a: {declared: true}}\ngoals: [{name: g, values: a}]\n'
    spec = load_text(text, environ={"NAME": "x\ntools: {evil: {}}"}).spec
    assert spec.name == "x\ntools: {evil: {}}"
    assert list(spec.tools) == ["a"]
