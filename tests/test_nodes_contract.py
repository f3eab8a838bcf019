"""What a node's result must be before it counts as a value."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Annotated, Any, NewType

import pytest
from annotated_types import Gt
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from orchestrator.graph import Node
from orchestrator.nodes.contract import InvalidOutput, output_contract, split
from orchestrator.nodes.threads import Threads

Pair = namedtuple("Pair", ["count", "index"])


class Letter(BaseModel):
    title: str
    pages: int = 1


@dataclass
class Score:
    count: int
    index: int


class Slotted:
    __slots__ = ("count", "index")

    def __init__(self) -> None:
        self.count, self.index = 1, 2


def node(*provides: str, pure: bool = False) -> Node:
    """Return a node that provides these values."""
    return Node("it", provides=provides, pure=pure)


async def accept(declared: Any, result: Any) -> Any:
    """Hold a result against a contract and return what becomes of it."""
    return await output_contract(declared, Threads())(result)


# --------------------------------------------------------------------------------------------------------------- split


@pytest.mark.parametrize("result", [None, 0, "text", {"page": 1}, [1, 2]])
def test_one_value_is_the_result_itself(result: Any) -> None:
    """A node that provides one value gives its result as it is, null included."""
    assert split(result, node("page")) == {"page": result}


@pytest.mark.parametrize("result", [{"count": 1, "index": 2, "rest": 3}, Score(1, 2), Pair(1, 2), Slotted()])
def test_several_values_are_members(result: Any) -> None:
    """A node that provides several gives entries of a mapping or attributes of an object; others are dropped."""
    assert split(result, node("count", "index")) == {"count": 1, "index": 2}


def test_members_of_a_model() -> None:
    """Fields of a pydantic model are values too."""
    assert split(Letter(title="Hello"), node("title", "pages")) == {"title": "Hello", "pages": 1}


@pytest.mark.parametrize("result", [None, 3, "text", [1, 2], (1, 2), {"count": 1}, {"index": 2}])
def test_a_missing_value_is_an_invalid_output(result: Any) -> None:
    """Where one of several is missing nothing is taken over; methods of a list or a text are no values."""
    with pytest.raises(InvalidOutput, match=r"lacks .*(count|index)"):
        split(result, node("count", "index"))


def test_a_null_member_is_a_value() -> None:
    """A mapping that has the name has the value, also if it is null."""
    assert split({"count": None, "index": 0}, node("count", "index")) == {"count": None, "index": 0}


def test_a_pure_effect_gives_null() -> None:
    """What a pure effect returns is dropped."""
    assert split({"anything": 1}, node("it", pure=True)) == {"it": None}


# ---------------------------------------------------------------------------------------------------------------- types


async def test_the_validated_object_becomes_the_value() -> None:
    """A type converts what it can."""
    assert await accept(Letter, {"title": "Hello", "pages": "3"}) == Letter(title="Hello", pages=3)
    assert await accept(list[int], ("1", 2)) == [1, 2]
    assert await accept(TypeAdapter(int), "7") == 7


class Found(TypedDict):
    id: int


OrderId = NewType("OrderId", int)


@pytest.mark.parametrize(
    ("declared", "result", "message"),
    [
        (Letter, {"pages": "many"}, r"title: Field required; pages: .*integer"),
        (int, "seven", r"result: .*integer"),
        (int, None, r"result: .*integer"),
        (Annotated[int, Gt(3)], 2, r"result: .*greater than 3"),
        (int | list[int], "seven", r"int: .*integer.*; list\[int\]: .*list"),
        (Found, {"id": None}, r"id: .*integer"),
        (OrderId, "x", r"result: .*integer"),
        (Slotted, 3, r"result: .*instance of Slotted"),
    ],
)
async def test_a_result_of_the_wrong_type(declared: Any, result: Any, message: str) -> None:
    """Every kind of type refuses what it is not, and the message says where and why."""
    with pytest.raises(InvalidOutput, match=message):
        await accept(declared, result)


async def test_a_plain_class_asks_for_an_instance() -> None:
    """A class that pydantic knows nothing of is checked by instance."""
    result = Slotted()
    assert await accept(Slotted, result) is result


async def test_many_problems_are_cut() -> None:
    """A result with a thousand wrong elements does not make a message of a thousand lines."""
    with pytest.raises(InvalidOutput, match="and 995 more") as caught:
        await accept(list[int], ["x"] * 1000)
    assert len(str(caught.value)) < 1000


# -------------------------------------------------------------------------------------------------------------- schemas

SCHEMA = {"type": "object", "required": ["id"], "properties": {"tags": {"type": "array", "items": {"type": "string"}}}}


async def test_a_schema_leaves_the_result_as_it_is() -> None:
    """A JSON Schema accepts or refuses; it converts nothing, and sees objects as their JSON."""
    result = {"id": 1, "tags": ("a", "b")}
    assert await accept(SCHEMA, result) is result
    letter = Letter(title="Hello")
    assert await accept({"required": ["title"]}, letter) is letter


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"tags": []}, r"\$: 'id' is a required property"),
        ({"id": 1, "tags": ["a", 2]}, r"\$\.tags\[1\]: 2 is not of type 'string'"),
        (None, r"\$: None is not of type 'object'"),
        ({"id": object()}, "cannot be written as JSON"),
    ],
)
async def test_a_schema_says_where(result: Any, message: str) -> None:
    """The message names the place in the result."""
    with pytest.raises(InvalidOutput, match=message):
        await accept(SCHEMA, result)


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"required": "id"}])
def test_a_schema_that_is_none(schema: dict[str, Any]) -> None:
    """A wrong schema is found before anything is called."""
    with pytest.raises(ValueError, match="not a JSON Schema"):
        output_contract(schema, Threads())


async def test_a_schema_never_goes_out_to_the_network() -> None:
    """A reference to another document is not fetched."""
    with pytest.raises(Exception, match="Unresolvable"):
        await accept({"$ref": "http://127.0.0.1:9/schema.json"}, 1)


# --------------------------------------------------------------------------------------------------------------- checks


async def test_a_check_accepts() -> None:
    """True and null accept, sync or async; a check does not change the result."""

    async def later(result: Any) -> Any:
        return result == 3

    assert await accept(lambda result: True, 3) == 3
    assert await accept(lambda result: None, 3) == 3
    assert await accept(later, 3) == 3


@pytest.mark.parametrize(
    ("verdict", "message"),
    [(False, "does not accept"), (0, "does not accept"), ("no id", "no id"), ("", "empty reason")],
)
async def test_a_check_refuses(verdict: Any, message: str) -> None:
    """False refuses, and a text refuses with its reason."""
    with pytest.raises(InvalidOutput, match=message):
        await accept(lambda result: verdict, 3)


async def test_what_a_check_raises_is_a_reason() -> None:
    """A check that raises does not accept the result; it is not the tool that failed."""

    def has_id(result: Any) -> None:
        assert "id" in result, "no id"

    with pytest.raises(InvalidOutput, match="has_id: no id"):
        await accept(has_id, {})
    with pytest.raises(InvalidOutput, match="has_id: argument of type"):
        await accept(has_id, 3)
