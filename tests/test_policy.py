"""The ready-made policies say what they say: the default file is the default, and every figure has its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.data import policy_names, policy_text
from orchestrator.drivers.first import Blueprint
from orchestrator.errors import SpecError
from orchestrator.faults import FaultPlan
from orchestrator.policy import Policy
from orchestrator.result import RunResult
from orchestrator.simulate import Simulation
from orchestrator.spec.load import load_text
from orchestrator.spec.policies import load_policy
from orchestrator.spec.resolve import resolve


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


# ------------------------------------------------------------------------------------------------- the ready-made ones


def ready_made(name: str) -> Policy:
    """Return a ready-made policy as a graph file or a command gets it."""
    return load_policy(name, root=Path(), environ={})


def test_the_ready_made_policies() -> None:
    """There are five, and each can be named."""
    assert policy_names() == ("careful", "chaos", "cheap", "default", "fast")
    for name in policy_names():
        assert (ready_made(name) == Policy()) == (name == "default")


@pytest.mark.parametrize("name", sorted({*policy_names()} - {"default"}))
def test_a_policy_holds_only_what_differs(name: str) -> None:
    """Every figure of a ready-made policy differs from the default, so that the file tells what it is about."""
    default, own = Policy().model_dump(), ready_made(name).model_dump()
    written = keys(yaml.safe_load(policy_text(name)))
    differ = [key for key in keys(own) if at(own, key) != at(default, key)]
    assert sorted(written) == sorted(differ)


@pytest.mark.parametrize("name", policy_names())
def test_a_comment_says_what_a_figure_is_and_why(name: str) -> None:
    """The comment beside a figure says what it is and why it is so: two parts, with a sign or a because between."""
    for line in policy_text(name).splitlines():
        figure, _, comment = line.partition("# ")
        if figure.strip().partition(": ")[2]:
            assert any(sign in comment for sign in (": ", "; ", ", because ")), line


def at(data: dict[str, Any], key: str) -> Any:
    """Return the leaf of a dotted name."""
    found: Any = data
    for part in key.split("."):
        found = found[part]
    return found


def play(name: str, tools: str, faults: str = "", *, goals: str = "[{name: all, values: [page]}]") -> RunResult:
    """Simulate a run under a ready-made policy; tools and faults are the insides of maps."""
    text = f"version: 1\ndefaults: {{effect: read}}\ntools: {{{tools}}}\ngoals: {goals}\n"
    return simulation(name, text, faults).run()


def simulation(name: str, text: str, faults: str = "") -> Simulation:
    """Return the simulation of a graph file's text under a ready-made policy."""
    resolved = resolve(load_text(text, environ={}), policy=ready_made(name))
    return Simulation(Blueprint(resolved.graph, resolved.policy), FaultPlan.from_text(f"nodes: {{{faults}}}"))


TWO_WAYS = """
  dear:  {declared: true, provides: page, cost: {usd: 0.05, latency: 500ms}},
  cheap: {declared: true, provides: page, cost: {usd: 0.01, latency: 3s}}
"""


@pytest.mark.parametrize(("name", "route"), [("default", "cheap"), ("cheap", "cheap"), ("fast", "dear")])
def test_what_a_second_is_worth_decides_the_route(name: str, route: str) -> None:
    """Under `fast` the quick provider is taken for more money, where others take the cheap one."""
    assert play(name, TWO_WAYS).route == (route,)


@pytest.mark.parametrize(("name", "route"), [("default", "quick"), ("fast", "quick"), ("cheap", "slow")])
def test_cheap_waits_for_a_lower_price(name: str, route: str) -> None:
    """A provider that is a cent cheaper and five seconds slower is taken under `cheap` only."""
    tools = """
      quick: {declared: true, provides: page, cost: {usd: 0.02, latency: 1s}},
      slow:  {declared: true, provides: page, cost: {usd: 0.01, latency: 6s}}
    """
    assert play(name, tools).route == (route,)


@pytest.mark.parametrize(("name", "retries", "route"), [("default", 1, "a"), ("careful", 1, "a"), ("fast", 0, "b")])
def test_fast_goes_elsewhere_where_others_try_again(name: str, retries: int, route: str) -> None:
    """Where another try or another provider would do, `fast` takes the other provider at once."""
    tools = "a: {declared: true, provides: page, cost: 1}, b: {declared: true, provides: page, cost: 2}"
    result = play(name, tools, "a: [raise, ok]")
    assert (result.retries, result.route) == (retries, (route,))


def test_each_policy_waits_as_long_as_it_says_for_a_hang() -> None:
    """A provider that hangs is given up after 5 s under `fast`, and after two minutes under `cheap`."""
    tools = "a: {declared: true, provides: page, retry: {attempts: 1}}"
    first = {name: play(name, tools, "a: hang").attempts[0].seconds for name in policy_names()}
    assert first == {"careful": 60.0, "chaos": 5.0, "cheap": 120.0, "default": 30.0, "fast": 5.0}


@pytest.mark.parametrize(
    ("name", "outcome"), [("default", "met"), ("cheap", "met"), ("fast", "met"), ("careful", "waiting")]
)
def test_careful_asks_before_what_could_do_harm(name: str, outcome: str) -> None:
    """A call of medium risk waits for a person under `careful`, and is simply made under the others."""
    result = play(name, "move: {declared: true, provides: page, cost: {risk: medium}}")
    assert result.outcome == outcome
    assert [question.id for question in result.questions] == (["approve:move"] if outcome == "waiting" else [])


@pytest.mark.parametrize(
    ("name", "outcome"), [("default", "demoted"), ("cheap", "demoted"), ("fast", "demoted"), ("careful", "waiting")]
)
def test_careful_asks_a_person_where_others_take_less(name: str, outcome: str) -> None:
    """Where the asked goal is out of reach, `careful` asks what to give up, and the others are demoted."""
    goals = "[{name: both, values: [a, b]}, {name: one, values: [b]}]"
    result = play(name, "a: {declared: true}, b: {declared: true}", "a: {raise: permanent}", goals=goals)
    assert result.outcome == outcome


def test_cheap_asks_before_the_run_becomes_dear() -> None:
    """Under `cheap` the call that would take the run over a dollar waits for a person; a limit would end the run."""
    tools = """
      a: {declared: true, cost: {usd: 0.6}}, b: {declared: true, needs: a, provides: page, cost: {usd: 0.6}}
    """
    result = play("cheap", tools)
    assert (result.outcome, result.route) == ("waiting", ("a",))
    assert play("default", tools).outcome == "met"


def test_chaos_breaks_a_share_of_the_attempts_and_runs_survive_it() -> None:
    """Under `chaos` faults happen to nodes that declare none, by the seed, and most runs still reach their goal."""
    text = """
version: 1
defaults: {effect: read}
tools:
  a: {declared: true, provides: page, output: {type: object}, cost: {latency: 2s}}
  b: {declared: true, provides: page, output: {type: object}, cost: {latency: 2s}}
  c: {declared: true, provides: page, output: {type: object}, cost: {latency: 2s}}
goals: [{name: found, values: [page]}]
"""
    drill = simulation("chaos", text)
    results = [drill.run(seed=seed) for seed in range(300)]
    failures = {attempt.error for result in results for attempt in result.attempts if attempt.error}
    assert failures == {"raised", "timeout", "invalid_output"}
    # Slow ones take ten seconds, which is over the timeout: 15 + 5 + 5 + 5 + 10 of a hundred.
    assert sum(bool(result.attempts[0].error) for result in results) / 300 == pytest.approx(0.4, abs=0.07)
    assert sum(result.outcome == "met" for result in results) > 290
    assert [drill.run(seed=seed) for seed in range(20)] == results[:20]
    assert not any(simulation("default", text).run(seed=seed).attempts[0].error for seed in range(20))


@pytest.mark.parametrize(
    ("group", "figures", "told"),
    [
        ("circuit", {"cooldown": "90s", "max_cooldown": "10s"}, "`cooldown` is 90s, and `max_cooldown` only 10s"),
        ("retry", {"backoff": "6s"}, "`backoff` is 6s, and `max_backoff` only 5s"),
        ("health", {"quiet": "300ms"}, "`quiet` is 300ms, and `short` only 200ms"),
        ("health", {"long": "100ms"}, "`short` is 200ms, and `long` only 100ms"),
    ],
)
def test_what_is_at_most_something_else_is_no_more_than_it(group: str, figures: dict[str, str], told: str) -> None:
    """A figure above its own ceiling would be ignored: it is one error that names both and a fix."""
    with pytest.raises(ValueError, match="1 validation error") as caught:
        Policy.model_validate({group: figures})
    assert told in str(caught.value)
    low = told.split("`")[1]
    high = told.split("`")[3]
    least = told.split(" ")[2].rstrip(",")
    assert f"write `{high}: {least}` or more, or a shorter `{low}`" in str(caught.value)
    Policy.model_validate({group: {**figures, high: least}})
