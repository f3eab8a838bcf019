"""How problems are shown: the place, the line itself, and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.load import load_text
from orchestrator.spec.marks import document
from orchestrator.spec.problems import did_you_mean, in_order, listed, nearest, quoted
from tests.test_spec_fuzz import ENVIRON, VALID

GRAPH = """\
version: 1
imports: {allow: [shop], shell: yes}
tools:
  web:   {python: "shop.tools:web_search", provides: pages, cots: {usd: 0.001}}
  wiki:  {python: "shop.tools:wiki_search", provides: pages, cost: {latency: 600}, effect: onec}
  evil:  {python: "os:system", provides: pages}
  pay:   {python: "shop.pay:pay", effect: once, retry: {attempts: 3}, cost: {usd: -1, risk: hgh}}
  mail:  {mcp: notifer, tool: send, needs: 5, timeout: soon, usd: 3}
  both:  {http: "http://127.0.0.1/{id}", python: "shop.tools:get", undo: "shop.tools:void"}
servers: {notifier: {command: python, arg: ["-m", "shop"]}}
edges:
  - {from: wbe, to: answered, cost: 1}
goals:
  - {name: answered, values: []}
  - {name: found}
"""

SHOWN = """\
error[E022]: 'shell' must be true or false, not 'yes'
 --> graph.yaml:2:33
  |
2 | imports: {allow: [shop], shell: yes}
  |                                 ^^^
  = help: write true

error[E020]: unknown key 'cots'
 --> graph.yaml:4:61
  |
4 |   web:   {python: "shop.tools:web_search", provides: pages, cots: {usd: 0.001}}
  |                                                             ^^^^
  = help: did you mean 'cost'?

error[E022]: 'latency': a bare number has no unit
 --> graph.yaml:5:78
  |
5 |   wiki:  {python: "shop.tools:wiki_search", provides: pages, cost: {latency: 600}, effect: onec}
  |                                                                              ^^^
  = help: write 600ms or 600s

error[E022]: 'effect' cannot be 'onec'
 --> graph.yaml:5:92
  |
5 |   wiki:  {python: "shop.tools:wiki_search", provides: pages, cost: {latency: 600}, effect: onec}
  |                                                                                            ^^^^
  = help: did you mean 'once'?

error[E034]: 'os:system' may not be imported
 --> graph.yaml:6:19
  |
6 |   evil:  {python: "os:system", provides: pages}
  |                   ^^^^^^^^^^^
  = help: os belongs to the standard library, which is never allowed; wrap it in a function of your own

error[E022]: 'usd' must be at least 0
 --> graph.yaml:7:83
  |
7 |   pay:   {python: "shop.pay:pay", effect: once, retry: {attempts: 3}, cost: {usd: -1, risk: hgh}}
  |                                                                                   ^^

error[E022]: 'risk' cannot be 'hgh'
 --> graph.yaml:7:93
  |
7 |   pay:   {python: "shop.pay:pay", effect: once, retry: {attempts: 3}, cost: {usd: -1, risk: hgh}}
  |                                                                                             ^^^
  = help: write none, low, medium, high or a number from 0 to 1

error[E022]: 'needs' must be a list or a map, not 5
 --> graph.yaml:8:44
  |
8 |   mail:  {mcp: notifer, tool: send, needs: 5, timeout: soon, usd: 3}
  |                                            ^
  = help: write it such as needs: [order, refund]

error[E022]: 'timeout' cannot be 'soon'
 --> graph.yaml:8:56
  |
8 |   mail:  {mcp: notifer, tool: send, needs: 5, timeout: soon, usd: 3}
  |                                                        ^^^^
  = help: write a duration such as 250ms, 5s or 10m

error[E020]: unknown key 'usd'
 --> graph.yaml:8:62
  |
8 |   mail:  {mcp: notifer, tool: send, needs: 5, timeout: soon, usd: 3}
  |                                                              ^^^
  = help: it belongs under cost:

error[E032]: 'both' has both python: and http:
 --> graph.yaml:9:11
  |
9 |   both:  {http: "http://127.0.0.1/{id}", python: "shop.tools:get", undo: "shop.tools:void"}
  |           ^^^^
  = help: a tool has exactly one kind: make two tools of it

error[E033]: undo: means nothing for a node that only reads
 --> graph.yaml:9:68
  |
9 |   both:  {http: "http://127.0.0.1/{id}", python: "shop.tools:get", undo: "shop.tools:void"}
  |                                                                    ^^^^
  = help: leave it out, or write effect: once

error[E020]: unknown key 'arg'
  --> graph.yaml:10:39
   |
10 | servers: {notifier: {command: python, arg: ["-m", "shop"]}}
   |                                       ^^^
   = help: did you mean 'args'?

error[E030]: no node is called 'wbe'
  --> graph.yaml:12:12
   |
12 |   - {from: wbe, to: answered, cost: 1}
   |            ^^^
   = help: did you mean 'web'?

error[E022]: 'values' may not be empty
  --> graph.yaml:14:30
   |
14 |   - {name: answered, values: []}
   |                              ^^
   = help: write it such as values: [answer]

error[E021]: an entry of 'goals' lacks the key 'values'
  --> graph.yaml:15:5
   |
15 |   - {name: found}
   |     ^^^^^^^^^^^^^
   = help: write it such as values: [answer]

16 errors
"""


def shown(text: str) -> str:
    """Return the problems of a graph as they are shown."""
    with pytest.raises(SpecError) as caught:
        load_text(text, file="graph.yaml", environ={})
    return str(caught.value)


def test_a_file_full_of_slips() -> None:
    """Every slip is shown at its place, in the words of the format, with the fix where there is one."""
    assert shown(GRAPH) == SHOWN.rstrip("\n")


WRONG: tuple[Any, ...] = (None, -5, 0.5, True, "§ §", [], {}, {"§": 5}, [[]], ["§", "§"])
MACHINERY = re.compile(
    r"\b(pydantic|valid|string|tuple|dict|dictionary|NoneType|Input|Field|Extra|union|str|int|float|None|True|False)\b"
)


def paths(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value in *data*."""
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(value, (*path, key))


def replaced(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return *data* with another value at *path*."""
    if not path:
        return value
    copy = data.copy()
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


def test_no_message_is_in_the_words_of_the_machinery() -> None:
    """Whatever stands wherever in a file, the messages are in the words of the format."""
    data = document(VALID, "graph.yaml").data
    refused = 0
    for index, path in enumerate(paths(data)):
        for wrong in WRONG[index % 3 :: 3]:
            text = json.dumps(replaced(data, path, wrong), ensure_ascii=False)
            try:
                load_text(text, file="graph.yaml", environ=ENVIRON)
            except SpecError as error:
                refused += 1
                for problem in error.problems:
                    assert not MACHINERY.search(problem.message), (path, wrong, problem.message)
    assert refused > 300


def test_wide_characters_and_tabs_are_pointed_at() -> None:
    """The mark stands below what it marks: behind wide characters, combining ones and tabs."""
    for source, column, mark in (
        ("搜索: {bad: 2}", 6, "       ^^^"),
        ("e\u0301: {bad: 2}", 6, "    ^^^"),
        ("\ta: {bad: 2}", 6, "     ^^^"),
        ("a: 搜索", 4, "   ^^^^"),
    ):
        end = column + 3 if "bad" in source else column + 2
        shown_line, marked = str(Problem("E020", "no", "f.yaml", 3, column, end, source=source)).splitlines()[-2:]
        assert marked == f"  | {mark}"
        assert shown_line == f"3 | {source}".replace("\t", " ")


def test_a_long_line_is_cut() -> None:
    """Of a line of thousands of characters only what is around the mark is shown."""
    line = "x" * 2000 + "bad" + "y" * 2000
    shown_line, mark = str(Problem("E020", "no", "f.yaml", 3, 2001, 2004, source=line)).splitlines()[-2:]
    assert len(shown_line) < 200
    assert shown_line[mark.index("^") :].startswith("bad")
    assert mark.count("^") == 3


def test_what_a_terminal_would_act_on_is_not_shown() -> None:
    """Control characters of a file reach no terminal, neither in the line nor in the message."""
    text = shown('version: 1\ntools: {"\\e[31mred": 5}\ngoals: [{name: g, values: v}]\n')
    assert "\x1b" not in text
    assert "'\\\\x1b[31mred'" in repr(text) or "\\x1b[31mred" in text
    assert "\x1b" not in shown("a: \x1b[31m")


def test_a_problem_without_a_place() -> None:
    """A graph made in code has no lines; a file that cannot be read has none either."""
    assert str(Problem("E020", "unknown key 'x'", help="did you mean 'y'?")) == (
        "error[E020]: unknown key 'x'\n  = help: did you mean 'y'?"
    )
    assert str(Problem("E002", "there is no file", "f.yaml")) == "error[E002]: there is no file\n--> f.yaml"


def test_problems_as_data() -> None:
    """A problem is also data for programs, without the line itself."""
    problem = Problem("E020", "unknown key", "f.yaml", 3, 2, 5, "did you mean 'y'?", "a line")
    assert problem.as_dict() == {
        "code": "E020",
        "severity": "error",
        "message": "unknown key",
        "file": "f.yaml",
        "line": 3,
        "column": 2,
        "end_column": 5,
        "help": "did you mean 'y'?",
    }


def test_problems_are_sorted_and_told_once() -> None:
    """Files are in the order in which they were read, lines in theirs; the same problem is told once."""
    first, second = Problem("E1", "a", "b.yaml", 2, 1), Problem("E1", "a", "b.yaml", 10, 1)
    third, fourth = Problem("E1", "a", "a.yaml", 1, 1), Problem("E1", "a", "z.yaml")
    assert in_order([fourth, third, second, first, second], ["b.yaml", "a.yaml"]) == (first, second, third, fourth)


def test_did_you_mean() -> None:
    """The nearest known name is proposed, also in another case; where none is near, all are listed."""
    known = ("provides", "python", "probe")
    assert nearest("PROVIDES", known) == "provides"
    assert did_you_mean("provids", known, kind="keys") == "did you mean 'provides'?"
    assert did_you_mean("zzz", known, kind="keys") == "known keys: probe, provides, python"
    assert did_you_mean("zzz", (), kind="keys") is None
    assert listed(["a", "b", "c"], joint="or") == "a, b or c"
    assert listed([str(n) for n in range(14)]).endswith("11, and 2 more")


def test_quotes() -> None:
    """What is quoted in a message stays on its line, and short."""
    assert quoted("a\nb\u202e") == "'a\\nb\\u202e'"
    assert len(quoted("x" * 1000)) < 100
