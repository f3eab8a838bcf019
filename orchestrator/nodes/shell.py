"""Commands as nodes: a program and its arguments, never a shell.

A placeholder is part of one argument and can never become a second one; a program that reads options from anywhere
may still take a value that begins with a dash for an option, so put ``--`` before such an argument. The program
sees PATH, HOME and LANG and nothing else of the environment: keys are handed over on purpose or not at all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from orchestrator.errors import ToolFailed
from orchestrator.graph import Node
from orchestrator.nodes.binding import CallContext
from orchestrator.nodes.contract import OutputTooLarge
from orchestrator.nodes.placeholders import Placeholders
from orchestrator.nodes.python import RawCall

__all__ = ("MAX_OUTPUT", "shell_call")

MAX_OUTPUT = 10 * 2**20
"""Bytes of standard output that are read; more is a failed attempt."""

_STDERR_TAIL = 4096
"""Bytes of standard error that are kept, the last ones: that is where a program says why it stopped."""
_STDERR_TEXT = 400
"""Characters of them that are shown."""
_ENVIRONMENT = ("PATH", "HOME", "LANG")


def shell_call(
    command: Sequence[str],
    node: Node,
    *,
    stdin: str | None = None,
    environ: Mapping[str, str],
    max_output: int = MAX_OUTPUT,
    redact: Callable[[str], str] = str,
) -> RawCall:
    """Return the call of a command node.

    The result is what the program wrote to standard output: decoded if it is a JSON object or list, else its text
    without the line breaks at the end. Cancellation kills the program and everything that it started.

    Raises, when called:
        ToolFailed: The program does not exist, or ended with another status than 0; never transient.
        OutputTooLarge: It wrote more than *max_output* bytes.
        ValueError: An input cannot be an argument.
    """
    placeholders = Placeholders(need.parameter for need in node.needs if need.passed)
    environment = {name: environ[name] for name in _ENVIRONMENT if name in environ}

    async def call(inputs: Mapping[str, Any], context: CallContext) -> Any:
        arguments = [placeholders.fill(argument, inputs) for argument in command]
        given = placeholders.fill(stdin, inputs).encode() if stdin is not None else None
        process = await _start(arguments, environment, piped=given is not None)
        output, errors = _Head(max_output), _Tail(_STDERR_TAIL)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_write, process.stdin, given)
                tasks.start_soon(errors.read, process.stderr)
                tasks.start_soon(_end_group, process)
                await output.read(process.stdout)
                if output.too_large:
                    tasks.cancel_scope.cancel()
        finally:
            _kill(process)
            with anyio.CancelScope(shield=True):
                await process.aclose()
        if output.too_large:
            raise OutputTooLarge(f"{arguments[0]} wrote more than {max_output} bytes", happened="unknown")
        if process.returncode != 0:
            # Redacted before it is cut: half a secret would not be found.
            raise _failed(arguments[0], process.returncode, redact(errors.text)[-_STDERR_TEXT:])
        return _decoded(output.text)

    return call


async def _start(arguments: Sequence[str], environment: Mapping[str, str], *, piped: bool) -> Process:
    try:
        return await anyio.open_process(
            arguments,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ToolFailed(f"cannot start {arguments[0]}: {error.strerror}") from error


async def _end_group(process: Process) -> None:
    """Wait for the program; then end what it left in the background, which may hold its output open for ever."""
    await process.wait()
    _kill(process)


def _kill(process: Process) -> None:
    """Kill the program's whole process group: what it started in the background must not outlive the attempt."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass


async def _write(stream: ByteSendStream | None, data: bytes | None) -> None:
    if stream is None or data is None:
        return
    try:
        async with stream:
            await stream.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        pass  # a program need not read all that it is given; its exit status says whether that was a failure


class _Head:
    """The first bytes of a stream, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()

    async def read(self, stream: ByteReceiveStream | None) -> None:
        assert stream is not None
        async for chunk in stream:
            self._bytes += chunk
            if self.too_large:
                return

    @property
    def too_large(self) -> bool:
        return len(self._bytes) > self._limit

    @property
    def text(self) -> str:
        return self._bytes.decode(errors="replace")


class _Tail:
    """The last bytes of a stream."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = bytearray()

    async def read(self, stream: ByteReceiveStream | None) -> None:
        assert stream is not None
        async for chunk in stream:
            self._bytes += chunk
            del self._bytes[: -self._size]

    @property
    def text(self) -> str:
        return self._bytes.decode(errors="replace").strip()


def _failed(program: str, status: int | None, errors: str) -> ToolFailed:
    if status is not None and status < 0:
        text = f"{program} was killed by signal {-status}"
        return ToolFailed(f"{text}: {errors}" if errors else text, happened="unknown")
    text = f"{program} ended with status {status}"
    return ToolFailed(f"{text}: {errors}" if errors else text)


def _decoded(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text.rstrip("\r\n")
