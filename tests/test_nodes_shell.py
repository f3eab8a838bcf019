"""Command nodes, with real programs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.abc
import pytest

from orchestrator.errors import ToolFailed
from orchestrator.graph import Need, Node
from orchestrator.nodes.binding import CallContext
from orchestrator.nodes.classify import classify
from orchestrator.nodes.contract import OutputTooLarge
from orchestrator.nodes.shell import shell_call
from orchestrator.redact import Redactor

CONTEXT = CallContext(run_id="run-1", node="it", attempt=1, key="run-1/it")
ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "API_KEY": "hunter2", "LD_PRELOAD": ""}


async def run(
    *command: str,
    stdin: str | None = None,
    environ: Mapping[str, str] = ENVIRON,
    max_output: int = 10**6,
    redact: Callable[[str], str] = str,
    **inputs: Any,
) -> Any:
    """Run a command whose needs are the inputs that are given."""
    node = Node("it", kind="shell", needs=tuple(Need(name, name) for name in inputs), provides=("it",))
    call = shell_call(command, node, stdin=stdin, environ=environ, max_output=max_output, redact=redact)
    return await call(inputs, CONTEXT)


async def python(program: str, *arguments: str, **settings: Any) -> Any:
    """Run a small Python program."""
    return await run(sys.executable, "-Ic", program, *arguments, **settings)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"id": 1}\n', {"id": 1}),
        (" [1, 2]", [1, 2]),
        ("[not json]\n", "[not json]"),
        ("7\n", "7"),
        ("null", "null"),
        ("  a\n\nb \r\n\n", "  a\n\nb "),
        ("", ""),
    ],
)
async def test_the_output_is_data_or_text(text: str, result: Any) -> None:
    """A JSON object or list is decoded; everything else is text without the line breaks at its end."""
    assert await run("printf", "%s", "{text}", text=text) == result


async def test_output_that_is_no_text() -> None:
    """Bytes that are no UTF-8 do not fail a command that worked."""
    assert await run("printf", r"a\377b") == "a\ufffdb"


@pytest.mark.parametrize("value", ["a b", "$(touch x)", "`id`", '"; rm -rf x', "*", "a\nb", "--help", "été"])
async def test_a_value_is_never_a_second_argument(value: str) -> None:
    """A value stays inside its one argument, whatever a shell would make of it."""
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert await python(program, "{v}", "x={v}", "{other}", v=value) == [value, f"x={value}", "{other}"]


async def test_values_that_are_no_text() -> None:
    """Data is written as JSON, null as nothing."""
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert await python(program, "{a}", "{b}", "{c}", a={"x": [1]}, b=None, c=True) == ['{"x":[1]}', "", "true"]


async def test_an_argument_cannot_hold_a_zero_byte() -> None:
    """What the system cannot take as an argument is a mistake, not an outage."""
    with pytest.raises(ValueError, match="null byte") as caught:
        await run("echo", "{v}", v="a\0b")
    assert not classify(caught.value).transient


async def test_standard_input() -> None:
    """Input is written as its template says, also when it is longer than a pipe holds; without one there is none."""
    text = "line\n" * 100_000
    assert await run("cat", stdin="<{text}>", text=text) == f"<{text}>"
    assert await run("cat") == ""


async def test_a_program_that_does_not_read_its_input() -> None:
    """A program may end before it has read everything; its status decides."""
    assert await run("true", stdin="x" * 1_000_000) == ""


async def test_the_environment_is_minimal() -> None:
    """A program sees PATH and HOME and no key of ours."""
    output = await run("env")
    assert {line.partition("=")[0] for line in output.splitlines()} == {"PATH", "HOME"}


async def test_a_failed_program_shows_its_last_words() -> None:
    """A status other than 0 is a permanent failure with the end of standard error."""
    program = "import sys; sys.stderr.write('x' * 100_000 + 'no such order'); sys.exit(3)"
    with pytest.raises(ToolFailed) as caught:
        await python(program)
    failure = classify(caught.value)
    assert re.fullmatch(r".*python.* ended with status 3: x+no such order", failure.message)
    assert (failure.type, failure.transient, failure.happened) == ("ToolFailed", False, "no")


async def test_a_secret_is_hidden_before_it_is_cut() -> None:
    """No half of a secret is left where the message begins."""
    with pytest.raises(ToolFailed) as caught:
        await run(
            "sh",
            "-c",
            "printf %s 'hunter2hunter2{rest}' >&2; exit 1",
            rest="x" * 395,
            redact=Redactor(["hunter2" * 2]).redact,
        )
    assert "unter2" not in str(caught.value)


async def test_a_killed_program_may_have_had_its_effect() -> None:
    """A program that was killed did not say how far it had come."""
    with pytest.raises(ToolFailed, match=r"killed by signal 9$") as caught:
        await run("sh", "-c", "kill -9 $$")
    assert classify(caught.value).happened == "unknown"


@pytest.mark.parametrize("program", ["no-such-program-here", "/etc/passwd"])
async def test_a_program_that_cannot_be_started(program: str) -> None:
    """A missing program, or one that may not be run, is a permanent failure that names it."""
    with pytest.raises(ToolFailed, match=f"cannot start {program}") as caught:
        await run(program)
    assert not classify(caught.value).transient


async def test_output_that_is_too_large() -> None:
    """A program that never stops writing is killed at the limit."""
    with pytest.raises(OutputTooLarge, match="more than 100000 bytes"):
        await run("yes", max_output=100_000)
    assert len(await run("head", "-c", "100000", "/dev/zero", max_output=100_000)) == 100_000


async def test_what_stays_in_the_background_does_not_hold_the_result() -> None:
    """The result is there when the program ends, and what it left behind ends with it."""
    with anyio.fail_after(30):
        assert await run("sh", "-c", "sleep 3600 & echo done") == "done"


HOLD_A_CONNECTION = """
import socket, subprocess, sys
if sys.argv[2] == "parent":
    subprocess.Popen([sys.executable, "-Ic", sys.argv[3], sys.argv[1], "child"])
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(b"u")
connection.recv(1)
"""


async def test_cancellation_kills_a_program_and_its_children() -> None:
    """A call that is given up leaves no process behind, not even one that the program had started."""
    listener: Any = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners[0]
    async with listener:
        port = str(listener.extra(anyio.abc.SocketAttribute.local_port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: python(HOLD_A_CONNECTION, port, "parent", HOLD_A_CONNECTION))
            with anyio.fail_after(30):
                alive = [await listener.accept(), await listener.accept()]
                assert [await connection.receive() for connection in alive] == [b"u", b"u"]
            tasks.cancel_scope.cancel()
    with anyio.fail_after(30):
        for connection in alive:
            async with connection:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await connection.receive()
