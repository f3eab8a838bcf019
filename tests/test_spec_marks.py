"""YAML text as plain data with places: the scalars of YAML 1.2, and texts that are made to hurt."""

from __future__ import annotations

import pytest
import yaml

from orchestrator.errors import Problem
from orchestrator.spec import marks
from orchestrator.spec.marks import MAX_BYTES, MAX_DEPTH, Document, document
from orchestrator.spec.scalars import scalar


def problem(content: bytes | str) -> Problem:
    """Return the one problem of a text."""
    (found,) = document(content, "f.yaml").problems
    return found


def shown(content: bytes | str) -> tuple[str, int | None, int | None]:
    """Return message, line and column of the one problem of a text."""
    found = problem(content)
    return found.message, found.line, found.column


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("no", "no"),
            ("on", "on"),
            ("yes", "yes"),
            ("y", "y"),
            ("off", "off"),
            ("true", True),
            ("FALSE", False),
            ("True", True),
        ),
        *(("12:30", "12:30"), ("12:30:00", "12:30:00"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000")),
        *(("012", 12), ("0o14", 12), ("0x1f", 31), ("-7", -7), ("+7", 7), ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5)),
        *(("-1.5e-3", -0.0015), ("~", None), ("null", None), ("", None), ("Null", None), ("nuLL", "nuLL")),
        *(("1.2.3", "1.2.3"), ("-", "-"), ("+", "+"), (".", "."), ("e3", "e3"), ("0b1", "0b1"), ("<<", "<<")),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """Only true and false are booleans; there are no dates, no base sixty and no octal with a plain zero."""
    read = scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 301, "0x" + "f" * 200])
def test_numbers_that_no_graph_can_use_are_problems(text: str) -> None:
    """Infinite numbers, and numbers of hundreds of digits, are refused where they stand."""
    with pytest.raises(ValueError, match=r"finite|digits"):
        scalar(text)
    found = problem(f"a: {text}")
    assert (found.code, found.line, found.column) == ("E022", 1, 4)


def test_quotes_and_tags_make_texts() -> None:
    """A quoted scalar, and one tagged as a text, is a text whatever it looks like; other core tags are obeyed."""
    read = document("""{a: "1", b: '2', c: !!str 3, d: ! 4, e: !!float 5, f: !!int "6", g: !!null ""}""", "f")
    assert read.problems == ()
    assert read.data == {"a": "1", "b": "2", "c": "3", "d": "4", "e": 5.0, "f": 6, "g": None}
    assert type(read.data["e"]) is float


def test_places_of_keys_and_values() -> None:
    """Every key and value knows its line and column; columns count characters, also wide and astral ones."""
    read = document("größe: 😀\ntools:\n  web: {cost: 3,\n    after: [a, 世界]}\n", "f.yaml")
    assert str(read.find(("größe",))) == "f.yaml:1:8"
    assert str(read.find(("größe",), key=True)) == "f.yaml:1:1"
    assert str(read.find(("tools", "web", "cost"))) == "f.yaml:3:15"
    place = read.find(("tools", "web", "after", 1))
    assert (place.line, place.column, place.end_column, place.source) == (4, 16, 18, "    after: [a, 世界]}")


def test_an_unknown_path_is_shown_at_what_is_around_it() -> None:
    """A path that is not in the text is placed at the key of the nearest part around it."""
    read = document("tools:\n  web:\n    cost: 3\n", "f.yaml")
    assert str(read.find(("tools", "web", "effect"))) == "f.yaml:2:3"
    assert str(read.find(("goals", 0))) == "f.yaml:1:1"


def test_a_list_of_names_is_also_found_by_name() -> None:
    """Short forms are lists where the long form is a map: both paths lead to the same place."""
    read = document("needs: [order, refund]", "f.yaml")
    assert read.find(("needs", "refund")) == read.find(("needs", 1))


def test_aliases_stand_for_their_anchor() -> None:
    """An alias has the value of its anchor, and its parts the places that they have there."""
    read = document("x: &base {cost: 3}\na: *base\nb: [*base]\nc: *base\n", "f.yaml")
    assert read.data == {"x": {"cost": 3}, "a": {"cost": 3}, "b": [{"cost": 3}], "c": {"cost": 3}}
    assert str(read.find(("b", 0, "cost"))) == "f.yaml:1:17"
    assert str(read.find(("b", 0))) == "f.yaml:3:5"


def test_an_anchor_may_be_set_anew() -> None:
    """An alias stands for the last anchor of its name before it."""
    assert document("[&a 1, *a, &a 2, *a]", "f").data == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("content", "code", "message", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "E003", "the key 'a' is given twice", 3, 1),
        ("a: &b {}\nc:\n  <<: *b\n", "E004", "merge keys are not used here", 3, 3),
        ("a: !python/object:os.system x", "E004", "the tag '!python/object:os.system' is not used here", 1, 4),
        ("a: !!binary aGk=", "E004", "the tag '!!binary' is not used here", 1, 4),
        ("a: !!set {b, c}", "E004", "the tag '!!set' is not used here", 1, 4),
        ("a: !!int x", "E022", "'x' is no int", 1, 4),
        ("a: !!int true", "E022", "'true' is no int", 1, 4),
        ("404: x", "E004", "a key must be a text", 1, 1),
        ("true: x", "E004", "a key must be a text", 1, 1),
        ("? [a]\n: b", "E004", "a key must be a text", 1, 3),
        ("a: 1\n---\nb: 2", "E004", "a second document begins here", 2, 1),
        ("a: *b", "E001", "there is no anchor 'b'", 1, 4),
        ("a: &b [*b]", "E004", "an alias may not stand inside its own anchor", 1, 8),
        ("a: b: c", "E001", "not valid YAML: mapping values are not allowed in this context", 1, 5),
        ("a: [b", "E001", "not valid YAML: did not find expected ',' or ']'", 1, 6),
        ("a: [b\n", "E001", "not valid YAML: did not find expected ',' or ']'", 2, 1),
        ("\tb: c", "E001", "not valid YAML: found character that cannot start any token", 1, 1),
        ("a: \x00", "E001", "the character U+0000 may not stand in a YAML file", 1, 4),
        ("a:\r\nb: \x1b[31m", "E001", "the character U+001B may not stand in a YAML file", 2, 4),
        ("a: \ud800", "E001", "the character U+D800 may not stand in a YAML file", 1, 4),
        (b"a: 1\nb: \xff", "E001", "the byte 0xff is not UTF-8", 2, 4),
        ("a: b\n".encode("utf-16"), "E001", "the byte 0xff is not UTF-8", 1, 1),
    ],
)
def test_what_is_refused(content: bytes | str, code: str, message: str, line: int, column: int) -> None:
    """What graph files do not use is one clear problem at its place."""
    found = problem(content)
    assert (found.code, found.message, found.line, found.column) == (code, message, line, column)


def test_reading_goes_on_after_a_slip() -> None:
    """Repeated keys, tags and bad keys do not stop the reading: all of them are found at once, and the first stands."""
    read = document("a: 1\na: {x: {y: 1}}\n5: z\nb: !x 2\n<<: {c: 3}\nd: 4\n", "f")
    assert [found.line for found in read.problems] == [2, 3, 4, 5]
    assert read.data == {"a": 1, "b": "2", "d": 4}
    assert read.complete
    assert str(read.find(("a",))) == "f:1:4"


def test_a_syntax_error_says_where_it_may_have_begun() -> None:
    """A slip that is noticed a line later names the line where it began; a bracket that is not closed says so."""
    assert problem("a: 1\nb\nc: 2\n").help == "it may belong to what begins on line 2"
    assert "closing bracket" in str(problem("b: {c: d\ne: f\n").help)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "\n".join(" " * level + "a:" for level in range(500)),
        "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200)),
    ],
    ids=["lists", "maps", "dashes", "indents", "aliases"],
)
def test_deep_nesting_is_one_problem(text: str) -> None:
    """No depth of nesting, of whatever kind, is a traceback or the end of the process."""
    assert problem(text).message == f"nested more than {MAX_DEPTH} levels deep"


def test_as_deep_as_is_allowed() -> None:
    """The deepest text that is allowed is read."""
    assert document("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").problems == ()
    assert document("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "f").problems != ()


def test_a_few_aliases_that_stand_for_billions() -> None:
    """Aliases of aliases are counted before anything is made of them."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{this}: &{this} [{', '.join([f'*{last}'] * 10)}]" for last, this in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    assert problem("\n".join(lines)).message.startswith("the aliases stand for more than")


def test_files_that_are_too_large() -> None:
    """A file beyond the limit is not parsed, and neither are more values than a graph can have."""
    assert shown("a" * (MAX_BYTES + 1)) == ("the file is larger than 4 MiB", 1, 1)
    assert problem("[" + "a," * marks.MAX_NODES + "]").message.startswith("the file holds more than")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """Columns are those that an editor shows, with or without a byte order mark."""
    read = document(b"\xef\xbb\xbfa: b", "f")
    assert read.data == {"a": "b"}
    assert str(read.find(("a",))) == "f:1:4"
    assert shown(b"\xef\xbb\xbfa: \xff") == ("the byte 0xff is not UTF-8", 1, 4)


def test_without_the_c_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML has no C parser its Python one is used, with the same data and places."""
    text = "größe: 😀\ntools: {web: &a {cost: 1e3}, wiki: *a}\n"

    def data_and_place() -> tuple[object, str]:
        read: Document = document(text, "f")
        return read.data, str(read.find(("tools", "wiki", "cost")))

    with_c = data_and_place()
    monkeypatch.setattr(marks, "_Loader", yaml.SafeLoader)
    assert data_and_place() == with_c
    assert problem("[" * 1000).message == f"nested more than {MAX_DEPTH} levels deep"
    assert problem("a: b: c").line == 1
