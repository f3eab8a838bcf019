"""Binding a graph: every node gets its calls, and what cannot be bound is said before anything runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from orchestrator.errors import NotApplicable, NotAvailableError, Problem, SpecError, ToolFailed
from orchestrator.graph import Goal, Graph, Need, Node
from orchestrator.nodes.bind import bind
from orchestrator.nodes.binding import Bindings, CallContext, Reply
from orchestrator.nodes.classify import classify
from orchestrator.nodes.contract import InvalidOutput
from orchestrator.spec.models import GraphSpec
from orchestrator.spec.problems import Finding, Path, Place
from orchestrator.spec.references import UnusableReferenceError

CONTEXT = CallContext(run_id="run-1", node="it", attempt=1, key="run-1/it")


class Everywhere:
    """Places of a file in which everything stands on one line."""

    def find(self, path: Path, *, key: bool = False) -> Place:
        """Return a place that shows the path it was asked for."""
        return Place("graph.yaml", 1, 1, 2, "/".join(map(str, path)))


def bound(
    keys: Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    needs: tuple[str, ...] = ("order",),
    check: str | None = None,
    resolve: Callable[[str], Any] | None = None,
    **more: Any,
) -> Bindings:
    """Bind a graph of one tool, called `it`, with these keys and needs; references are looked up in *known*."""
    keys = {"provides": "it", **keys}
    agents: dict[str, Any] = {}
    if "model" in keys:
        agents, keys = {"it": keys}, {}
    spec = GraphSpec.model_validate(
        {
            "version": 1,
            "tools": {"it": keys} if keys else {},
            "agents": agents,
            "models": {"small": {"model": "m"}},
            "goals": [{"name": "done", "values": ["it"], **({"check": check} if check else {})}],
        }
    )
    tool = spec.tools.get("it")
    pure = tool is not None and tool.provides == ()
    node = Node(
        "it",
        kind="agent" if tool is None else tool.kind,
        needs=tuple(Need(need, need) for need in needs),
        provides=("it",) if tool is None or tool.provides is None or pure else tuple(tool.provides),
        pure=pure,
        effect=None if tool is None else tool.effect,
    )
    graph = Graph(nodes=(node,), goals=(Goal("done", ("it",), check is not None),))
    return bind(spec, graph, resolve_reference=resolve or known.__getitem__, places=Everywhere(), **more)


async def call(bindings: Bindings, **inputs: Any) -> Reply:
    """Call the node."""
    return await bindings.nodes["it"].call(inputs or {"order": 7}, CONTEXT)


def problems(*args: Any, **options: Any) -> list[Problem]:
    """Return what binding finds wrong."""
    with pytest.raises(SpecError) as caught:
        bound(*args, **options)
    return list(caught.value.problems)


# ----------------------------------------------------------------------------------------------------------- every kind


async def test_a_python_node() -> None:
    """A function is called with the node's inputs, and its result becomes the node's value."""
    bindings = bound({"python": "shop:double"}, {"shop:double": lambda order: order * 2})
    assert await call(bindings) == Reply({"it": 14})
    assert (bindings.closers, bindings.checks) == ((), {})


async def test_several_values_and_a_pure_effect() -> None:
    """Several values come from a mapping; a pure effect gives null under its own name."""
    functions = {"shop:both": lambda order: {"a": 1, "b": 2, "c": 3}}
    assert await call(bound({"python": "shop:both", "provides": ["a", "b"]}, functions)) == Reply({"a": 1, "b": 2})
    assert await call(bound({"python": "shop:both", "provides": []}, functions)) == Reply({"it": None})


async def test_functions_handed_over_come_first() -> None:
    """A function by the node's name or by its reference is used without an import."""

    def refuse(reference: str) -> Any:
        raise AssertionError(reference)

    keys = {"python": "shop:tool", "when": "shop:guard"}
    for name in ("it", "shop:tool"):
        handed = {name: lambda order: 1, "shop:guard": lambda order: True}
        bindings = bound(keys, {}, resolve=refuse, functions=handed)
        assert await call(bindings) == Reply({"it": 1})


async def test_an_http_node_and_its_closer() -> None:
    """An HTTP node is called over one client, which the graph's closer closes."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        bindings = bound({"http": f"http://127.0.0.1:{server.server_port}/{{order}}", "effect": "read"}, {})
        assert await call(bindings) == Reply({"it": "/7"})
        [close] = bindings.closers
        await close()
        thread.join()


async def test_a_command_node() -> None:
    """A command is called with the environment that is passed in, and its failure is redacted."""
    program = "import os, sys; sys.exit(f'hunter2 {os.environ[\"HOME\"]} {sys.argv[1]} {sys.stdin.read()}')"
    bindings = bound(
        {"shell": [sys.executable, "-Ic", program, "{order}"], "stdin": "<{order}>"},
        {},
        environ={"HOME": "/nowhere"},
        redact=lambda text: text.replace("hunter2", "***"),
    )
    with pytest.raises(ToolFailed, match=r"\*\*\* /nowhere 7 <7>$"):
        await call(bindings)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"declared": True}, "node 'it' is declared only: it can be planned and simulated, not called"),
        ({"mcp": "notifier", "tool": "send"}, "node 'it' cannot be called: kind 'mcp' is not available yet"),
        (
            {"openapi": "api.yaml", "operation": "get"},
            "node 'it' cannot be called: kind 'openapi' is not available yet",
        ),
        ({"model": "small"}, "node 'it' cannot be called: kind 'agent' is not available yet"),
    ],
    ids=["declared", "mcp", "openapi", "agent"],
)
async def test_what_cannot_be_called_says_so(keys: Mapping[str, Any], sentence: str) -> None:
    """A node that this version cannot call is bound, and its call is one honest, permanent failure."""
    with pytest.raises(NotAvailableError) as caught:
        await call(bound(keys, {}))
    assert str(caught.value).startswith(sentence)
    failure = classify(caught.value)
    assert (failure.type, failure.transient, failure.happened) == ("not_available", False, "no")


async def test_signals_pass_through() -> None:
    """What a tool raises on purpose reaches the driver as it is."""
    for signal in (NotApplicable("no image"), ToolFailed("declined", transient=True)):

        def tool(order: int, signal: Exception = signal) -> None:
            raise signal

        with pytest.raises(type(signal)) as caught:
            await call(bound({"python": "shop:tool"}, {"shop:tool": tool}))
        assert caught.value is signal


@pytest.mark.parametrize(
    ("output", "result", "value"),
    [("shop:Count", "7", 7), ({"type": "integer"}, 7, 7), ("shop:positive", 7, 7)],
    ids=["type", "schema", "check"],
)
async def test_the_output_contract(output: Any, result: Any, value: int) -> None:
    """The contract is a type, a schema or a check; a result that breaks it never becomes a value."""
    results = iter([result, None])
    functions: dict[str, Any] = {
        "shop:tool": lambda order: next(results),
        "shop:Count": int,
        "shop:positive": lambda number: number > 0,
    }
    bindings = bound({"python": "shop:tool", "output": output}, functions)
    assert await call(bindings) == Reply({"it": value})
    with pytest.raises(InvalidOutput):
        await call(bindings)


# ---------------------------------------------------------------------------------------------------------- other calls


def test_what_is_not_declared_is_not_there() -> None:
    """A node without a guard, gate, undo or verify has none to call."""
    binding = bound({"python": "shop:tool"}, {"shop:tool": int}).nodes["it"]
    assert (binding.guard, binding.gate, binding.undo, binding.verify) == (None, None, None, None)


@pytest.mark.parametrize(("answer", "expected"), [(True, True), (False, False), (None, False), ([1], True)])
async def test_a_guard_answers_yes_or_no(answer: Any, expected: bool) -> None:
    """A guard is given those of the node's inputs that it asks for."""
    functions = {"shop:tool": lambda order, image: 1, "shop:has_image": lambda image: answer if image == "i" else 1 / 0}
    binding = bound({"python": "shop:tool", "when": "shop:has_image"}, functions, needs=("order", "image")).nodes["it"]
    assert binding.guard is not None
    assert await binding.guard({"order": 7, "image": "i"}) is expected
    with pytest.raises(ZeroDivisionError):
        await binding.guard({"order": 7, "image": "j"})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("over 10,000", "over 10,000"),
        (None, None),
        (False, None),
        (True, "approval is needed"),
        ("", "approval is needed"),
    ],
)
async def test_a_gate_gives_a_reason(answer: Any, reason: str | None) -> None:
    """A gate returns why a person must be asked; in doubt one is asked."""

    async def over(**inputs: Any) -> Any:
        assert inputs == {"order": 7}
        return answer

    binding = bound({"python": "shop:tool", "approve": "shop:over"}, {"shop:tool": int, "shop:over": over}).nodes["it"]
    assert binding.gate is not None
    assert await binding.gate({"order": 7}) == reason


@pytest.mark.parametrize("approve", ["never", "always"])
def test_a_gate_without_a_function(approve: str) -> None:
    """`never` and `always` need no call."""
    assert bound({"python": "shop:tool", "approve": approve}, {"shop:tool": int}).nodes["it"].gate is None


async def test_an_undo_is_given_what_it_asks_for() -> None:
    """An undo may ask for the inputs, the result and the key."""
    seen: list[Any] = []

    def void(order: int, result: Any, *, idempotency_key: str) -> None:
        seen.append((order, result, idempotency_key))

    functions: dict[str, Any] = {"shop:tool": int, "shop:void": void, "shop:note": lambda result: seen.append(result)}
    for reference in ("shop:void", "shop:note"):
        binding = bound({"python": "shop:tool", "effect": "once", "undo": reference}, functions).nodes["it"]
        assert binding.undo is not None
        await binding.undo({"order": 7}, {"id": 1}, "key-1")
    assert seen == [(7, {"id": 1}, "key-1"), {"id": 1}]


async def test_a_verify_finds_the_result_or_nothing() -> None:
    """A verify gives the reply if the effect happened and None if not; what it finds is held to the contract."""
    found: list[Any] = [{"id": 1}, None, {}]
    functions: dict[str, Any] = {"shop:tool": int, "shop:find": lambda order, idempotency_key: found.pop(0)}
    keys = {"python": "shop:tool", "effect": "once", "verify": "shop:find", "output": {"required": ["id"]}}
    binding = bound(keys, functions).nodes["it"]
    assert binding.verify is not None
    assert await binding.verify({"order": 7}, "key-1") == Reply({"it": {"id": 1}})
    assert await binding.verify({"order": 7}, "key-1") is None
    with pytest.raises(InvalidOutput):
        await binding.verify({"order": 7}, "key-1")


async def test_a_verify_that_says_false() -> None:
    """For a pure effect false is neither "it happened" nor "it did not": it stays unknown."""
    answers = [True, None, False]
    functions: dict[str, Any] = {"shop:tool": int, "shop:find": lambda: answers.pop(0)}
    keys = {"python": "shop:tool", "effect": "once", "verify": "shop:find", "provides": []}
    binding = bound(keys, functions).nodes["it"]
    assert binding.verify is not None
    assert await binding.verify({"order": 7}, "key-1") == Reply({"it": None})
    assert await binding.verify({"order": 7}, "key-1") is None
    with pytest.raises(ValueError, match="returned false"):
        await binding.verify({"order": 7}, "key-1")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (True, None),
        (1, None),
        (False, "the check of 'done' is false"),
        (0, "the check of 'done' is false"),
        ("no refund", "no refund"),
        ("", "the check of 'done' gave an empty reason"),
        (None, "the check of 'done' returned null: return true, or false or a reason"),
    ],
)
async def test_a_goal_is_checked(answer: Any, reason: str | None) -> None:
    """Only true is met; false, a text and an answer that is none are reasons why not."""
    bindings = bound({"python": "shop:tool"}, {"shop:tool": int, "shop:check": lambda it: answer}, check="shop:check")
    assert await bindings.checks["done"]({"it": 1}) == reason


async def test_a_check_that_raises_is_false() -> None:
    """What a goal's check raises is the reason why the goal is not met."""
    bindings = bound({"python": "shop:tool"}, {"shop:tool": int, "shop:check": lambda it: it["id"]}, check="shop:check")
    assert await bindings.checks["done"]({"it": {}}) == "the check of 'done' raised KeyError: 'id'"


# ------------------------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize("key", ["when", "approve", "undo", "verify", "check"])
def test_a_function_that_asks_for_what_there_is_not(key: str) -> None:
    """A parameter that nothing fills is found at once, with the place of the key and what there is."""
    functions: dict[str, Any] = {"shop:tool": int, "shop:other": lambda colour: True}
    keys = {"python": "shop:tool"} if key == "check" else {"python": "shop:tool", key: "shop:other"}
    [problem] = problems(keys, functions, check="shop:other" if key == "check" else None)
    path = {"check": "goals/0/check", "undo": "tools/it/undo/python"}.get(key, f"tools/it/{key}")
    assert (problem.code, problem.source) == ("E036", path)
    owner, there_is = ("done", "it") if key == "check" else ("it", "order")
    assert problem.message.startswith(f"{key} of {owner}: shop:other cannot be called here: its parameter 'colour'")
    assert there_is in problem.message.partition("there is ")[2]


def test_all_problems_at_once() -> None:
    """Everything that does not fit is reported together."""

    def resolve(reference: str) -> Any:
        if reference == "shop:missing":
            raise UnusableReferenceError(
                Finding("E035", "the module shop has no 'missing'", help="did you mean 'mission'?")
            )
        if reference == "shop:broken":
            raise ImportError("no database")
        return 7

    keys = {"python": "shop:missing", "when": "shop:broken", "approve": "shop:seven", "output": {"type": "objekt"}}
    found = problems(keys, {}, resolve=resolve)
    assert sorted((each.code, each.source) for each in found) == [
        ("E022", "tools/it/output"),
        ("E035", "tools/it/python"),
        ("E035", "tools/it/when"),
        ("E036", "tools/it/approve"),
    ]
    texts = {each.source: f"{each.message} {each.help}" for each in found}
    assert "did you mean 'mission'?" in texts["tools/it/python"]
    assert "cannot import shop:broken: ImportError: no database" in texts["tools/it/when"]
    assert "it is no function" in texts["tools/it/approve"]
    assert "not a JSON Schema" in texts["tools/it/output"]


def test_a_type_that_cannot_be_one() -> None:
    """An output type that pydantic refuses is a problem of the graph, not a traceback."""

    class Odd:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            raise TypeError("no schema for me")

    [problem] = problems({"python": "shop:tool", "output": "shop:Odd"}, {"shop:tool": int, "shop:Odd": Odd})
    assert (problem.code, problem.source) == ("E022", "tools/it/output")
    assert "no schema for me" in problem.message


def test_binding_changes_nothing() -> None:
    """A binding is frozen; a driver that wants another call makes another binding."""
    bindings = bound({"python": "shop:tool"}, {"shop:tool": int})
    assert replace(bindings, closers=()) == bindings
