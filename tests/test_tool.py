"""The `tool` decorator says what a function needs, provides and costs, and leaves the function as it is."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from orchestrator import Orchestrator
from orchestrator.decorator import tool
from orchestrator.errors import SpecError
from orchestrator.spec.declare import declaration_of, spec_from_tools
from orchestrator.spec.defaults import circuits_of, probed
from orchestrator.spec.models import NeedSpec, Retry


def rule(question: str) -> bool:
    """Stand in for every kind of rule."""
    return bool(question)


def test_a_bare_decorator() -> None:
    """Without arguments the function is a tool of its own name."""

    @tool
    def search(question: str) -> list[str]:
        """Search."""
        return [question]

    assert search("x") == ["x"]
    assert search.__doc__ == "Search."
    assert declaration_of(search).name == "search"
    assert declaration_of(search).keys == {}


async def test_the_function_stays_what_it_was() -> None:
    """The decorated function is the same object: sync or async, with its own signature."""

    async def search(question: str, *, limit: int = 3) -> list[str]:
        return [question] * limit

    signature = inspect.signature(search)
    decorated = tool(provides="pages")(search)
    assert decorated is search
    assert inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == signature
    assert await decorated("x", limit=2) == ["x", "x"]


def test_every_argument_is_a_key_of_the_node() -> None:
    """Each argument means what the key of its name means in a graph file."""

    @tool(
        name="web",
        provides=["pages", "count"],
        needs={"question": {"value": "text", "optional": 2}},
        after="login",
        when=rule,
        units=1,
        usd=0.5,
        latency="900ms",
        success=0.9,
        risk="high",
        effect="once",
        undo=rule,
        verify=rule,
        approve=rule,
        output={"type": "object"},
        timeout="5s",
    )
    def search(question: str) -> None: ...

    node = spec_from_tools([search], {"g": "pages"}).spec.tools["web"]
    reference = f"{__name__}:rule"
    assert node.python == f"{__name__}:search"
    assert (node.provides, node.after) == (("pages", "count"), ("login",))
    assert node.needs == {"question": NeedSpec(value="text", optional=2)}
    assert node.cost is not None
    assert node.cost.model_dump() == {"units": 1, "usd": 0.5, "latency": "900ms", "success": 0.9, "risk": 1.0}
    assert node.undo is not None
    assert {node.when, node.undo.python, node.verify, node.approve} == {reference}
    assert (node.effect, node.output, node.timeout) == ("once", {"type": "object"}, 5.0)


def test_a_retry_of_what_may_be_repeated() -> None:
    """Retry is a map as in a file, with times as texts."""

    @tool(effect="read", retry={"attempts": 3, "backoff": "1s"})
    def search() -> None: ...

    node = spec_from_tools([search], {"g": "search"}).spec.tools["search"]
    assert node.retry == Retry.model_validate({"attempts": 3, "backoff": "1s"})


def test_a_pure_effect() -> None:
    """Nothing provided is an empty list; any iterable of names will do, and is read once."""

    def ping() -> None: ...

    assert declaration_of(tool(provides=[])(ping)).keys["provides"] == []
    assert declaration_of(tool(provides=iter(("a", "b")))(ping)).keys["provides"] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latency": "900"}, "<lambda>.cost.latency: 'latency' cannot be '900'"),
        ({"latency": 900}, "<lambda>.cost.latency: 'latency': a bare number has no unit"),
        ({"usd": -1}, "<lambda>.cost.usd: 'usd' must be at least 0"),
        ({"success": 0}, "<lambda>.cost.success: 'success' must be above 0"),
        ({"effect": "onec"}, "<lambda>.effect: 'effect' cannot be 'onec'"),
        ({"retry": {"attempt": 2}}, "<lambda>.retry.attempt: unknown key 'attempt'"),
        ({"provides": 5}, "<lambda>.provides: 'provides' must be a text or a list, not 5"),
        ({"provides": "a b"}, "<lambda>.provides: 'provides': a name may hold no blanks"),
        ({"undo": {"cost": 1}}, "<lambda>.undo: 'undo' lacks the key 'python'"),
        ({"timeout": "0s"}, "<lambda>.timeout: 'timeout' must be above 0"),
    ],
)
def test_slips_are_found_where_the_function_is_decorated(arguments: dict[str, Any], message: str) -> None:
    """What is not well formed is refused at once, with the name of the tool and of the argument."""
    with pytest.raises(SpecError) as caught:
        tool(**arguments)(lambda question: None)
    assert caught.value.problems[0].message.startswith(message)


def test_methods() -> None:
    """A decorated method is a tool when it is bound; a bound method cannot be decorated."""

    class Shop:
        @tool(provides="pages")
        def search(self, question: str) -> str:
            return question

        def other(self) -> None: ...

    assert declaration_of(Shop().search).keys == {"provides": "pages"}
    with pytest.raises(TypeError, match="wrap it in a function"):
        tool(Shop().other)


def test_a_wrapper_keeps_the_declaration() -> None:
    """Another decorator on top does not lose what was declared below it."""

    @tool(provides="pages", usd=0.1)
    def search(question: str) -> str:
        return question

    @functools.wraps(search)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return search(*args, **kwargs)

    assert declaration_of(wrapper) == declaration_of(search)
    assert spec_from_tools([wrapper], {"g": "pages"}).functions["search"] is wrapper


def test_a_circuit_and_a_probe_of_its_own() -> None:
    """Both mean what they mean in a graph file; the probe's function is found again, and times are numbers."""

    def back() -> bool:
        return True

    @tool(
        provides="page",
        effect="read",
        circuit={"failures": 2, "cooldown": "2m"},
        probe={"every": "10s", "python": back},
    )
    def fetch() -> str:
        return "page"

    orchestrator = Orchestrator([fetch], {"g": ["page"]})
    (circuit,) = circuits_of(orchestrator.spec, orchestrator.policy).values()
    assert (circuit.failures, circuit.cooldown, circuit.window) == (2, 120.0, orchestrator.policy.circuit.window)
    assert probed(orchestrator.spec) == ("fetch",)
    assert orchestrator._bound().probes["fetch"].every == 10.0
    with pytest.raises(SpecError, match="fail"):
        tool(circuit={"fail": 2})(lambda: None)
