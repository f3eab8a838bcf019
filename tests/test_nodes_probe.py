"""Probes: what they ask, what counts as up, and what is said of a probe that can ask nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from orchestrator.errors import Problem, SpecError
from orchestrator.nodes.bind import bind
from orchestrator.nodes.binding import Bindings, BoundProbe
from orchestrator.nodes.probe import Down, python_probe
from orchestrator.runtime import Orchestrator
from orchestrator.spec.models import GraphSpec
from orchestrator.spec.resolve import resolve
from tests.loopback import HttpPeer, served

EVERY = {"every": "10s"}


def bound(it: Mapping[str, Any], known: Mapping[str, Any] | None = None, **more: Any) -> Bindings:
    """Bind a graph of one tool, called `it`; references are looked up in *known*."""
    goals = [{"name": "done", "values": ["it"]}]
    spec = GraphSpec.model_validate({"version": 1, "tools": {"it": {"needs": [], **it}}, "goals": goals, **more})
    functions = {"shop:it": lambda: 1, **(known or {})}
    graph = resolve(spec, functions=functions).graph
    return bind(spec, graph, resolve_reference=functions.__getitem__)


def probe_of(it: Mapping[str, Any], known: Mapping[str, Any] | None = None, **more: Any) -> BoundProbe:
    """Return the probe of the tool."""
    return bound(it, known, **more).probes["it"]


def problem(it: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Problem:
    """Return the only thing that binding finds wrong."""
    with pytest.raises(SpecError) as caught:
        bound(it, known)
    (found,) = caught.value.problems
    return found


class Heads(HttpPeer):
    """A server that knows HEAD."""

    def __init__(self, answer: Callable[[Any], object]) -> None:
        super().__init__(answer)
        exchange: Any = self.RequestHandlerClass
        self.RequestHandlerClass = type("Heads", (exchange,), {"do_HEAD": exchange.do_GET})


# -------------------------------------------------------------------------------------------------------- what is asked


async def test_a_url_is_asked_by_get() -> None:
    """A probe with a URL sends a GET there, whatever the node itself is."""
    with served(Heads(lambda exchange: exchange.reply("ok"))) as peer:
        probe = probe_of({"python": "shop:it", "probe": {**EVERY, "http": peer.url("/health?deep=1")}})
        await probe.call()
        assert [asked.path for asked in peer.asked] == ["/health?deep=1"]
    assert (probe.every, probe.timeout) == (10.0, 2.0)


def test_a_probe_takes_no_longer_than_its_interval() -> None:
    """Without a timeout of its own it has two seconds, or the time to the next one if that is less."""
    known = {"shop:up": lambda: None}
    for told, timeout in (({"every": "500ms"}, 0.5), ({"every": "1m"}, 2.0), ({"every": "1m", "timeout": "5s"}, 5.0)):
        assert probe_of({"python": "shop:it", "probe": {**told, "python": "shop:up"}}, known).timeout == timeout


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("/orders", "/orders"),
        ("/orders/{order_id}/items?full=1", "/orders/"),
        ("/find?q={order_id}", "/find"),
    ],
)
async def test_a_tool_is_asked_at_its_own_url(url: str, asked: str) -> None:
    """A tool over HTTP is asked by HEAD up to the folder of its first placeholder, with headers that need no run."""
    methods = []

    def answer(exchange: Any) -> None:
        methods.append(exchange.command)
        exchange.reply()

    with served(Heads(answer)) as peer:
        headers = {"Authorization": "Bearer k", "X-Order": "{order_id}"}
        http = {"url": peer.url(url), "headers": headers, "method": "POST", "body": {"order": "{order_id}"}}
        await probe_of({"http": http, "needs": ["order_id"], "probe": EVERY}).call()
        (seen,) = peer.asked
    assert (methods, seen.path) == (["HEAD"], asked)
    assert (seen.headers["Authorization"], seen.headers["X-Order"], seen.body) == ("Bearer k", None, b"")


async def test_a_server_without_head_is_asked_by_get() -> None:
    """A server that answers 501 to HEAD is asked by GET, and by GET alone from then on."""
    with served(HttpPeer(lambda exchange: exchange.reply("ok"))) as peer:
        probe = probe_of({"http": peer.url("/orders"), "probe": EVERY})
        await probe.call()
        await probe.call()
        assert len(peer.asked) == 2


# ---------------------------------------------------------------------------------------------------- what counts as up


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 429, 499])
async def test_an_answer_below_500_is_up(status: int) -> None:
    """Any answer below 500 to a probe's URL says that somebody is there."""
    with served(HttpPeer(lambda exchange: exchange.reply("", status))) as peer:
        await probe_of({"python": "shop:it", "probe": {**EVERY, "http": peer.url()}}).call()


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_answer_from_500_is_down(status: int) -> None:
    """A server's error is one of the node; the message shows no URL, whose query may hold a key."""
    with served(HttpPeer(lambda exchange: exchange.reply("sk-secret", status))) as peer:
        probe = probe_of({"python": "shop:it", "probe": {**EVERY, "http": peer.url("/?key=sk-secret")}})
        with pytest.raises(httpx.HTTPStatusError, match=f"^HTTP {status}") as caught:
            await probe.call()
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_noticed_at_the_own_url(status: int) -> None:
    """At the tool's own URL its own headers are sent, and their refusal would meet a run as well."""
    with (
        served(HttpPeer(lambda exchange: exchange.reply("", status))) as peer,
        pytest.raises(httpx.HTTPStatusError, match=f"^HTTP {status}"),
    ):
        await probe_of({"http": peer.url("/orders"), "probe": EVERY}).call()


async def test_a_function_is_up_unless_it_raises_or_says_no() -> None:
    """Sync or async, it is called without arguments; null and true are up, false and any error are not."""

    async def waits() -> bool:
        await anyio.lowlevel.checkpoint()
        return True

    def fails() -> None:
        raise OSError("gone")

    for up in (lambda: None, lambda: True, lambda wait=3: 0, waits):
        await probe_of({"python": "shop:it", "probe": {**EVERY, "python": "shop:up"}}, {"shop:up": up}).call()
    with pytest.raises(Down):
        await python_probe(lambda: False)()
    with pytest.raises(OSError, match="gone"):
        await python_probe(fails)()


async def test_a_function_that_hangs_is_not_called_beside_itself() -> None:
    """While a call that was given up is still under way in its thread, the probe fails without a second one."""
    calls, inside, let_go, gone = [], threading.Event(), threading.Event(), threading.Event()

    def hangs() -> None:
        calls.append(1)
        inside.set()
        let_go.wait(30)
        gone.set()

    probe = python_probe(hangs)
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            await probe()

        group.start_soon(ask)
        assert await anyio.to_thread.run_sync(inside.wait, 30)
        group.cancel_scope.cancel()
    for _ in range(3):
        with pytest.raises(TimeoutError, match="has not returned"):
            await probe()
    assert len(calls) == 1
    let_go.set()
    assert await anyio.to_thread.run_sync(gone.wait, 30)
    with anyio.fail_after(30):
        while True:  # the thread is about to say that it is over
            try:
                await probe()
                break
            except TimeoutError:
                await anyio.lowlevel.checkpoint()
    assert len(calls) == 2


async def test_tools_that_hold_all_threads_do_not_keep_a_probe_waiting() -> None:
    """A probe has a thread of its own, so that a busy process does not take its nodes for dead."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    tokens, limiter.total_tokens = limiter.total_tokens, 1
    try:
        async with limiter:
            with anyio.fail_after(30):
                await python_probe(lambda: None)()
    finally:
        limiter.total_tokens = tokens


# -------------------------------------------------------------------------------------------------------- what is wrong


def test_a_probe_that_can_ask_nothing_is_refused() -> None:
    """Where neither the probe nor the node says what to ask, the problem names the node and the fix."""
    for it in ({"python": "shop:it"}, {"declared": True}):
        found = problem({**it, "probe": EVERY})
        assert (found.code, found.message) == ("E021", "tools.it.probe: probe of it: nothing says what to ask")
        assert found.help == "write http: URL or python: package.module:function below every:"
    found = problem({"http": "https://{region}.shop/orders", "needs": ["region"], "probe": EVERY})
    assert found.message == "tools.it.probe: probe of it: nothing says what to ask: its URL has no fixed host"
    found = problem({"http": "https://shop/buy", "effect": "once", "probe": EVERY})
    assert found.message == "tools.it.probe: probe of it: nothing says what to ask: its GET has an effect"


def test_a_probe_that_is_wrong_is_refused() -> None:
    """Two things to ask, a URL that is none or has placeholders, a function that wants arguments: each has its fix."""
    known = {"shop:up": lambda order: None}
    both = problem({"python": "shop:it", "probe": {**EVERY, "http": "http://shop/", "python": "shop:up"}}, known)
    assert (both.code, both.help) == ("E032", "write exactly one of them")
    for url in ("shop/health", "ftp://shop/", "http:///health", "http://shop/{order}/health"):
        found = problem({"python": "shop:it", "probe": {**EVERY, "http": url}})
        assert (found.code, found.message) == ("E022", "tools.it.probe: probe of it: http: is no URL that can be asked")
    found = problem({"python": "shop:it", "probe": {**EVERY, "python": "shop:up"}}, known)
    assert (found.code, "its parameter 'order' is not given" in found.message) == ("E036", True)


def test_a_probe_of_the_file_counts_where_it_can() -> None:
    """Under `defaults:` a probe that names nothing to ask holds for tools with a URL, and for no other node."""
    defaults = {"probe": EVERY}
    assert bound({"python": "shop:it"}, defaults=defaults).probes == {}
    assert bound({"http": "https://shop/buy", "effect": "once"}, defaults=defaults).probes == {}
    assert probe_of({"http": "http://shop/orders"}, defaults=defaults).every == 10.0
    own = {"http": "http://shop/orders", "probe": {"every": "1s"}}
    assert probe_of(own, defaults=defaults).every == 1.0
    named = {"probe": {**EVERY, "http": "http://shop/health"}}
    assert probe_of({"python": "shop:it"}, defaults=named).every == 10.0


def test_validate_tells_where_a_probe_is_wrong(tmp_path: Path) -> None:
    """What is wrong with a probe is told with the line of the file; planning goes on without it."""
    file = tmp_path / "graph.yaml"
    file.write_text(
        "version: 1\ntools:\n  it: {shell: [date], probe: {every: 10s}}\n"
        "imports: {shell: true}\ngoals: [{name: g, values: it}]\n"
    )
    orchestrator = Orchestrator.from_yaml(file)
    assert orchestrator.plan().route.feasible
    with pytest.raises(SpecError, match=r"(?s)nothing says what to ask.*graph.yaml:3:30"):
        orchestrator.check()
