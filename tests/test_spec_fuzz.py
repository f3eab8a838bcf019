"""Any text at all either loads or is refused with problems that have a place in it."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec.load import load_text
from orchestrator.spec.marks import document
from orchestrator.spec.resolve import resolve

FILE = "graph.yaml"
ENVIRON = {"PRICE": "0.5", "LLM_KEY": "sk-0123456789"}

VALID = """\
# yaml-language-server: $schema=./orchestrator.schema.json
version: 1
name: refund
imports: {allow: [shop], shell: true}
policy: {limits: {usd: 0.5, seconds: 30s}, retry: {attempts: 3}}
inputs:
  order_id: {type: string, pattern: "^[0-9-]+$"}
  größe: {type: [integer, "null"], default: null}
models:
  small: {model: qwen, base_url: "${LLM_URL:-http://127.0.0.1:8000/v1}", usd_per_mtok: {input: 0.1, output: 0.4}}
servers:
  notifier: {command: python, args: ["-m", "shop.notifier"], env: {x-key: "${LLM_KEY}"}}
domains: {cloud: [stripe, email], other: crm}
errors: {shop.pay.Declined: caller, Late: {evidence: timeout, happened: no, transient: false, type: late}}
defaults: {timeout: 5s, retry: {attempts: 2}}
tools:
  crm: {http: {url: "http://127.0.0.1:9001/{order_id}"}, provides: order, cost: {latency: 120ms}, probe: {every: 10s}}
  stripe: {python: "shop.pay:stripe", needs: order, provides: refund, effect: once,
           undo: {python: "shop.pay:void", cost: 2}, verify: "shop.pay:find", cost: {usd: "${PRICE}", risk: high}}
  email: &email
    python: "shop.notify:email"
    needs: {order: order, score: {value: image_score, optional: 5}}
    provides: [notice, receipt]
    effect: idempotent
    output: {type: object, required: [notice, receipt]}
  sms: {mcp: notifier, tool: send_sms, provides: [], effect: idempotent, timeout: 5s, retry: {attempts: 2}}
  sort: {shell: [sort, -k, "{order_id}"], stdin: "{letter}", provides: sorted, after: refund, approve: "shop.rule:big"}
  scan: {declared: true, provides: image_score, when: "shop.rules:has_image"}
agents:
  brief: {model: small, needs: [order, refund], provides: letter, prompt: prompts/brief.md, output: "shop.types:Letter"}
edges:
  - {from: stripe, to: brief, cost: 0.5}
  - {from: crm, to: stripe, forbid: true, reason: "needs a check"}
goals:
  - {name: refunded_and_told, values: [refund, notice], check: "shop.checks:refunded"}
  - {name: refunded, values: refund}
intents:
  complaint: ["where is my money", "third time"]
"""

PIECES = (
    *("{", "}", "[", "]", ":", ": ", ",", "-", "- ", "&a ", "*a", "*email", "!x ", "!!int ", "<<: *email", "|", ">"),
    *(
        "${",
        "${NO}",
        "${PRICE}",
        "$$",
        "'",
        '"',
        "\t",
        "\n",
        "\r\n",
        "  ",
        "#",
        "%",
        "@",
        "`",
        "~",
        "null",
        "true",
        "no",
    ),
    *("0x1F", "012", "1e999", ".nan", "-1", "1e3", "9" * 400, "5s", "600", "input", "\x00", "\x1b", "\ufeff", "\u2028"),
    *("\x85", "é", "世界", "\ud800", "\U0001f600", "x-a: 1", "version: 2", "...", "---", "include: [../x.yaml]"),
)


def assert_refused_with_places(text: str, error: SpecError) -> None:
    """Check that every problem stands inside *text*."""
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text.removeprefix("\ufeff"))
    assert error.problems
    for problem in error.problems:
        assert problem.file == FILE
        assert problem.line is not None
        assert problem.column is not None
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.source == lines[problem.line - 1]
        assert ENVIRON["LLM_KEY"] not in problem.message
    assert str(error)


def load(text: str) -> None:
    """Load and resolve *text*, which no error but a located one may leave."""
    try:
        resolve(load_text(text, file=FILE, environ=ENVIRON))
    except SpecError as error:
        assert_refused_with_places(text, error)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """Draw the valid file with a few places cut, doubled, or overwritten."""
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.sampled_from((0, 0, 1, 2, 5, 20, 200))))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.just(text[start:stop] * 2), st.text(max_size=4)))
        text = text[:start] + piece + text[stop:]
    return text


WORDS = """
version name include imports policy inputs models servers domains defaults tools agents edges goals intents python http
url method headers body openapi operation mcp tool shell stdin declared needs provides after when cost units usd latency
success risk effect output undo verify approve timeout retry attempts backoff circuit probe every model prompt strategy
from to forbid reason values check allow type default value optional x-note web errors evidence transient happened
"""
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(("web", "5s", "shop.pay:stripe", "once", "default", "${PRICE}", "${NO}", "a b", "", "{order}")),
    st.text(max_size=5),
)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=30,
)


@given(mutations())
@settings(max_examples=200)
def test_mutations_of_a_valid_file_load_or_are_refused(text: str) -> None:
    """A valid file with a few slips in it loads, or every problem has a place in it."""
    load(text)


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_random_text_is_refused(text: str) -> None:
    """Random text is refused with a place, and never with a traceback."""
    load(text)


@given(st.dictionaries(KEYS, DATA, max_size=8))
@settings(max_examples=200)
def test_random_data_loads_or_is_refused(data: dict[str, object]) -> None:
    """Known keys with values of any kind load, or every problem has a place."""
    load(json.dumps({"version": 1, **data}, ensure_ascii=False))


@given(st.binary(max_size=40))
@settings(max_examples=100)
def test_random_bytes_are_refused(content: bytes) -> None:
    """A file of any bytes is read as far as it is UTF-8, and the problem is where that ends."""
    read = document(content, FILE)
    assert read.complete or read.problems
    assert all(problem.line and problem.column for problem in read.problems)


def test_the_valid_file_is_valid() -> None:
    """The file that is mutated loads as it stands: else the mutations would prove little."""
    loaded = load_text(VALID, file=FILE, environ=ENVIRON)
    assert loaded.secrets == frozenset(ENVIRON.values())
