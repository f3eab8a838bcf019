"""A spec is written the way a person would, and what is written loads back as the same spec."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec.dump import to_yaml
from orchestrator.spec.load import load_text
from orchestrator.spec.models import GraphSpec
from tests.test_spec_fuzz import ENVIRON, VALID

TRICKY = (
    *("no", "on", "null", "~", "012", "0x1f", "1e3", "1_0", "12:30", "2026-01-01", "<<", "=", ".inf", "-", "?", "true"),
    *("a:b", "a#b", "#a", "&a", "*a", "!a", "%a", "@a", "`a", "größe", "搜索", "😀", "${X}", "$$", "$", "$${", "\\n"),
)


def usable(name: str) -> bool:
    """Return whether *name* may be the name of a node."""
    blanks = any(character.isspace() or character in ">,{}[]\"'|" for character in name)
    return bool(name) and name.isprintable() and not blanks and not name.startswith("x-") and name != "input"


NAMES = st.one_of(
    st.sampled_from([name for name in TRICKY if usable(name)]),
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=5).filter(usable),
)
TEXTS = st.one_of(
    st.sampled_from(
        (*TRICKY, "a: b", " a", "a ", "", "a\nb", "a\n", "\n a", "a\tb", "\ufeff", "\x85", "'", '"', "'\"\\")
    ),
    st.text(max_size=20),
    st.text("ab ${}:#\n\t'\"\\-", max_size=12),
)
NUMBERS = st.one_of(st.integers(0, 10**6), st.floats(0, 1e9))
DURATIONS = st.sampled_from(("0.5ms", "250ms", "5s", "1.25s", "10m", "2h", "0.1s"))
REFERENCES = st.sampled_from(("shop:f", "shop.pay:void", "shop.größe:ñ"))
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), TEXTS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a map with some of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


COSTS = st.one_of(
    NUMBERS,
    some(
        units=NUMBERS,
        usd=NUMBERS,
        latency=DURATIONS,
        success=st.floats(1e-9, 1),
        risk=st.one_of(st.sampled_from(("low", "high")), st.floats(0, 1)),
    ),
)
RETRIES = some(attempts=st.integers(1, 10), backoff=DURATIONS, max_backoff=DURATIONS)
NEEDS = st.one_of(
    st.lists(NAMES, max_size=3, unique=True).map(lambda names: [f"n.{name}" for name in names]),
    st.dictionaries(
        NAMES,
        st.one_of(
            NAMES.map("n.{}".format),
            st.fixed_dictionaries({"value": NAMES.map("n.{}".format)}, optional={"optional": NUMBERS}),
        ),
        max_size=3,
    ),
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "needs": NEEDS,
    "provides": st.lists(NAMES, max_size=3, unique=True).map(lambda names: [f"v.{name}" for name in names]),
    "after": st.lists(NAMES, max_size=2, unique=True).map(lambda names: [f"w.{name}" for name in names]),
    "when": REFERENCES,
    "cost": COSTS,
    "output": st.one_of(REFERENCES, st.just({"type": "object", "$defs": {"a b": {"const": "${X}"}}})),
    "approve": st.one_of(st.sampled_from(("never", "always")), REFERENCES),
    "timeout": DURATIONS,
    "circuit": some(failures=st.integers(1, 9), window=DURATIONS),
    "probe": st.fixed_dictionaries({"every": DURATIONS}, optional={"python": REFERENCES, "timeout": DURATIONS}),
}
EFFECTS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"effect": st.just("idempotent")}, optional={"retry": RETRIES}),
    st.fixed_dictionaries({"effect": st.just("once")}, optional={"undo": REFERENCES, "verify": REFERENCES}),
    st.just({"effect": "once", "undo": {"python": "shop:f", "cost": 2}}),
)
KINDS = st.one_of(
    REFERENCES.map(lambda text: {"python": text}),
    st.just({"declared": True}),
    TEXTS.filter(bool).map(lambda text: {"http": text}),
    st.fixed_dictionaries(
        {"url": TEXTS.filter(bool)},
        optional={"method": st.just("POST"), "headers": st.dictionaries(TEXTS, TEXTS, max_size=2), "body": JSON},
    ).map(lambda http: {"http": http}),
    st.lists(TEXTS, max_size=3).map(lambda words: {"shell": ["sort", *words]}),
    TEXTS.map(lambda text: {"shell": ["sort"], "stdin": text}),
    TEXTS.map(lambda text: {"mcp": "server", "tool": text}),
    TEXTS.map(lambda text: {"openapi": "api.json", "operation": text}),
)
TOOLS = st.builds(
    lambda *parts: {key: value for part in parts for key, value in part.items()}, KINDS, some(**COMMON), EFFECTS
)
AGENTS = st.builds(
    lambda one, two: {"model": "small", **one, **two}, some(**COMMON), some(prompt=TEXTS, strategy=TEXTS)
)
GOALS = st.lists(NAMES, min_size=1, max_size=3, unique=True).map(
    lambda names: [{"name": f"goal.{name}", "values": [f"v.{name}"]} for name in names]
)
INPUTS = st.dictionaries(
    NAMES,
    st.one_of(
        some(type=st.just("string"), default=st.one_of(st.none(), TEXTS), description=TEXTS),
        some(type=st.just(["integer", "null"]), default=st.one_of(st.none(), st.integers())),
        some(default=JSON, enum=st.just([1, "a", None])),
    ),
    max_size=3,
)
SPECS = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "imports": st.just({"allow": ["shop"], "shell": True}),
        "models": st.just({"small": {"model": "m", "usd_per_mtok": {"input": 0.1, "output": 10}}}),
        "servers": st.just({"server": {"command": "c", "args": ["-m", "x: y"], "env": {"x-a": "${b"}}}),
        "tools": st.dictionaries(NAMES.map("t.{}".format), TOOLS, max_size=3),
        "goals": GOALS,
    },
    optional={
        "name": TEXTS,
        "policy": some(limits=some(usd=NUMBERS, seconds=DURATIONS), timeout=DURATIONS),
        "inputs": INPUTS,
        "defaults": some(timeout=DURATIONS, retry=RETRIES),
        "agents": st.dictionaries(NAMES.map("a.{}".format), AGENTS, max_size=2),
        "intents": st.one_of(st.just("intents.jsonl"), st.dictionaries(NAMES, st.lists(TEXTS, max_size=2), max_size=2)),
    },
)

WRITTEN = """\
# yaml-language-server: $schema=./orchestrator.schema.json
version: 1
name: refund
imports: {allow: [shop], shell: true}
policy: {retry: {attempts: 3}, limits: {usd: 0.5, seconds: 30s}}

inputs:
  order_id: {type: string, pattern: "^[0-9-]+$"}
  größe: {type: [integer, "null"], default: null}

models:
  small: {model: qwen, base_url: "http://127.0.0.1:8000/v1", usd_per_mtok: {input: 0.1, output: 0.4}}

servers:
  notifier: {command: python, args: [-m, shop.notifier], env: {x-key: sk-0123456789}}

domains: {cloud: [stripe, email], other: [crm]}

errors:
  shop.pay.Declined: caller
  Late: {evidence: timeout, transient: false, happened: "no", type: late}

defaults: {timeout: 5s, retry: {attempts: 2}}

tools:
  crm: {http: "http://127.0.0.1:9001/{order_id}", provides: order, cost: {latency: 120ms}, probe: {every: 10s}}
  stripe:
    python: shop.pay:stripe
    needs: [order]
    provides: refund
    cost: {usd: 3, risk: high}
    effect: once
    undo: {python: "shop.pay:void", cost: 2}
    verify: shop.pay:find
  email:
    python: shop.notify:email
    needs: {order: order, score: {value: image_score, optional: 5}}
    provides: [notice, receipt]
    effect: idempotent
    output: {type: object, required: [notice, receipt]}
  sms: {mcp: notifier, tool: send_sms, provides: [], effect: idempotent, timeout: 5s, retry: {attempts: 2}}
  sort:
    shell: [sort, -k, "{order_id}"]
    stdin: "{letter}"
    provides: sorted
    after: refund
    approve: shop.rule:big
  scan: {declared: true, provides: image_score, when: "shop.rules:has_image"}

agents:
  brief:
    model: small
    prompt: prompts/brief.md
    needs: [order, refund]
    provides: letter
    output: shop.types:Letter

edges:
  - {from: stripe, to: brief, cost: 0.5}
  - {from: crm, to: stripe, forbid: true, reason: needs a check}

goals:
  - {name: refunded_and_told, values: [refund, notice], check: "shop.checks:refunded"}
  - {name: refunded, values: [refund]}

intents:
  complaint: [where is my money, third time]
"""


@given(SPECS)
@settings(max_examples=100)
def test_what_is_written_loads_back(data: dict[str, Any]) -> None:
    """Whatever a spec holds, its text loads back as an equal spec."""
    spec = GraphSpec.model_validate(data)
    text = to_yaml(spec)
    loaded = load_text(text, environ={}).spec
    assert loaded == spec
    given_defaults = {name: "default" in each.model_fields_set for name, each in (spec.inputs or {}).items()}
    assert {name: "default" in each.model_fields_set for name, each in (loaded.inputs or {}).items()} == given_defaults


def test_what_is_written_is_written_the_same_again() -> None:
    """The text of a spec that was loaded from such a text is that text."""
    text = to_yaml(load_text(VALID, environ=ENVIRON).spec)
    assert to_yaml(load_text(text, environ={}).spec) == text


def test_the_text_is_as_a_person_would_write_it() -> None:
    """Short forms, one node on a line where it fits, and nothing that is the default."""
    assert to_yaml(load_text(VALID, environ={**ENVIRON, "PRICE": "3"}).spec) == WRITTEN


@pytest.mark.parametrize("text", ["no", "012", "1e3", "12:30", "0o7", "null", "2026-01-01", "1_000"])
def test_texts_that_another_reader_would_take_for_something_else_are_quoted(text: str) -> None:
    """What YAML 1.1 or YAML 1.2 would read as a number, a date or a boolean is quoted."""
    spec = GraphSpec.model_validate(
        {"version": 1, "name": text, "tools": {"a": {"declared": True}}, "goals": [{"name": "g", "values": ["a"]}]}
    )
    assert f'name: "{text}"\n' in to_yaml(spec)


def test_variables_are_not_made_by_writing() -> None:
    """A text that looks like a variable is written so that it stays a text."""
    spec = load_text(
        'version: 1\nname: "$${HOME}"\ntools: {a: {declared: true}}\ngoals: [{name: g, values: a}]\n', environ={}
    ).spec
    assert spec.name == "${HOME}"
    assert "$${HOME}" in to_yaml(spec)
