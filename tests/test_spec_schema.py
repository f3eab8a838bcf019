"""The JSON Schema for editors: it takes what the loader takes, and offers nothing that the loader refuses."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.spec.marks import document
from orchestrator.spec.schema import json_schema, schema_text
from tests.test_spec_fuzz import VALID

SMALLEST = """\
version: 1
imports: {allow: [shop]}
tools:
  web:   {python: "shop.tools:web_search",  provides: pages, cost: {usd: 0.001, latency: 900ms}}
  wiki:  {python: "shop.tools:wiki_search", provides: pages, cost: {latency: 600ms, success: 0.9}}
  write: {python: "shop.tools:write",       provides: answer}
goals:
  - {name: answered, values: [answer]}
  - {name: found,    values: [pages]}
"""

FULLER = """\
version: 1
name: refund
include: [notify.yaml]
imports: {allow: [shop]}
policy: careful
inputs:
  order_id: {type: string, pattern: "^[0-9-]+$"}
models:
  small: {model: qwen2.5-1.5b-instruct, base_url: "${LLM_URL:-http://127.0.0.1:8000/v1}",
          usd_per_mtok: {input: 0.1, output: 0.4}}
  large: {model: gpt-5.1, api_key: "${OPENAI_API_KEY}", usd_per_mtok: {input: 1.25, output: 10}}
servers:
  notifier: {command: python, args: ["-m", "shop.notifier"]}
domains:
  acme-cloud: [stripe, email]
errors:
  stripe.CardError: caller
  shop.Slow: {evidence: timeout, transient: true, happened: unknown, type: slow}
tools:
  crm:      {http: {url: "http://127.0.0.1:9001/orders/{order_id}"}, provides: order, effect: read,
             cost: {latency: 120ms}, probe: {every: 10s}}
  stripe:   {python: "shop.pay:stripe", provides: refund, effect: once, cost: {usd: 0.30, latency: 400ms},
             undo: {python: "shop.pay:stripe_void", cost: 2}, verify: "shop.pay:stripe_find"}
  razorpay: {python: "shop.pay:razorpay", provides: refund, effect: once, undo: "shop.pay:razorpay_void"}
  email:    {python: "shop.notify:email", provides: notice, effect: idempotent, output: {type: object, required: [id]}}
  sms:      {mcp: notifier, tool: send_sms, provides: notice, effect: idempotent, timeout: 5s, retry: {attempts: 2}}
  wire:     {python: "shop.pay:wire", provides: refund, effect: once, approve: "shop.rules:over_10_000"}
  scan:     {python: "shop.vision:scan", provides: image_score, when: "shop.rules:has_image"}
  decide:   {python: "shop.rules:decide", needs: {order: order, score: {value: image_score, optional: 5}}}
agents:
  brief:    {model: small, needs: [order, refund], provides: letter, prompt: prompts/brief.md}
  thorough: {model: large, needs: [order, refund], provides: letter, prompt: prompts/thorough.md, strategy: reflect}
edges:
  - {from: stripe, to: brief, cost: 0.5}
  - {from: crm, to: wire, forbid: true, reason: "wires need a checked bank record"}
goals:
  - {name: refunded_and_told, values: [refund, notice], check: "shop.checks:refunded"}
  - {name: refunded,          values: [refund]}
intents:
  complaint: ["where is my money", "third time I write to you"]
  routine:   ["please refund order 12-3"]
"""

SHORT = """\
version: 1
include: more.yaml
x-owner: {a: 1}
imports: {allow: shop, x-a: 1}
policy: {timeout: "${TIME}", limits: {usd: "${MAX}", seconds: 30s}, x-a: 1}
defaults: {effect: "${EFFECT:-read}", timeout: 5s}
domains: {a: web, x-b: {c: 1}}
tools:
  x-common: 5
  web: {declared: "${YES}", needs: q, after: a, cost: 3, x-n: 1, timeout: "${T:-5s}", approve: "${ASK:-never}"}
  get: {http: "http://h/{q}", provides: [], cost: "${PRICE}", undo: "shop:f", retry: {attempts: "${N}"}}
  pay: {python: "${REF}", cost: {usd: "${PRICE}", risk: low, success: "${S}"}, needs: {a: {value: b, optional: "${P}"}}}
  ask: {mcp: "${SERVER}", tool: t, cost: {risk: 0.3}}
goals: [{name: g, values: a, check: "${CHECK}", x-a: 1}]
intents: intents.jsonl
"""


def errors(data: Any) -> list[str]:
    """Return where *data* does not satisfy the schema."""
    return sorted(error.json_path for error in Draft202012Validator(json_schema()).iter_errors(data))


def data_of(text: str) -> Any:
    """Return the data of a graph file as it is written."""
    read = document(text, "graph.yaml")
    assert read.problems == ()
    return read.data


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every map in a schema."""
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(part)


@pytest.mark.parametrize("text", [SMALLEST, FULLER, SHORT, VALID], ids=["smallest", "fuller", "short", "all"])
def test_what_the_format_allows(text: str) -> None:
    """Whole files with long forms, short forms, variables and keys of the author's own satisfy the schema."""
    assert errors(data_of(text)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.version", 2),
        ("$.version", "1"),
        ("$", ("gaols", 1)),
        ("$.tools", ("a b", {})),
        ("$.tools.web", ("cots", 1)),
        ("$.tools.web.cost.latency", 600),
        ("$.tools.web.cost.latency", "soon"),
        ("$.tools.web.cost.usd", "1"),
        ("$.tools.web.cost.usd", -1),
        ("$.tools.web.cost.success", 0),
        ("$.tools.web.python", "os"),
        ("$.tools.web.python", None),
        ("$.tools.web.provides", 5),
        ("$.goals", []),
        ("$.imports.allow", None),
        ("$.goals[0].values", []),
    ],
)
def test_what_an_editor_underlines(path: str, value: Any) -> None:
    """A slip is found at the place of the slip."""
    data = copy.deepcopy(data_of(SMALLEST))
    *parents, last = path.replace("[0]", ".0").split(".")[1:] or [""]
    part = data
    for key in parents:
        part = part[int(key)] if key.isdigit() else part[key]
    if isinstance(value, tuple):
        target = part[last] if last else part
        target[value[0]] = value[1]
    else:
        part[last] = value
    (found,) = errors(data)
    # Under a choice of forms the choice itself is what does not fit.
    assert path.startswith(found)
    assert found != "$" or isinstance(value, tuple)


def test_it_is_a_schema() -> None:
    """The schema is one of its dialect, and every definition in it is used."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    used = {part["$ref"].rpartition("/")[2] for part in parts(schema) if "$ref" in part}
    assert used == set(schema["$defs"])


def test_an_editor_is_not_offered_null() -> None:
    """Optional keys have no null branch and no null default: an editor would insert it."""
    for part in parts(json_schema()):
        assert part.get("type") != "null"
        assert part.get("default", "") is not None


def test_keys_are_described() -> None:
    """What an editor shows about a key is what the models say about it."""
    tool = json_schema()["$defs"]["ToolSpec"]
    assert tool["description"].startswith("A tool: exactly one of python, http")
    assert tool["properties"]["effect"]["description"] == "what repeating the call does: read, idempotent or once"
    described = [key for key, value in tool["properties"].items() if "description" in value or "$ref" in value]
    assert described == list(tool["properties"])


def test_defaults_are_written_as_in_a_file() -> None:
    """A default that is a time is offered with its unit."""
    retry = json_schema()["$defs"]["RetryPolicy"]["properties"]
    assert (retry["backoff"]["default"], retry["attempts"]["default"]) == ("200ms", 2)


def test_the_text_is_the_same_every_time() -> None:
    """The schema is the same text in every process, whatever the hash seed."""
    program = "from orchestrator.spec.schema import schema_text; print(schema_text(), end='')"
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
        )
        assert run.stdout == schema_text()
    assert json.loads(schema_text()) == json_schema()
