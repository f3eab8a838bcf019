"""Providers as they run: processes on the loopback address, and a folder with their ledgers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from shared.providers import Ledger

__all__ = ("Place", "ProviderProcess")

READY_SECONDS = 30.0
"""How long a provider may take to start; a machine under load is slow."""


class ProviderProcess:
    """A provider in a process of its own, on a port that it keeps when it is started again.

    Args:
        name: Its name.
        folder: Where its ledger is.
        program: The module that it runs, and what that is told.
    """

    def __init__(self, name: str, folder: Path, *program: str) -> None:
        self.name = name
        self.program = program
        self.path = folder / f"{name}.db"
        self.port = 0
        self.deaths: list[int] = []
        """The process ids that it had and that were killed by somebody else."""
        self._process: subprocess.Popen[str] | None = None
        self._watched: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    @property
    def ledger(self) -> Ledger:
        """What it has booked, read from its file: also while it is dead."""
        return Ledger(self.path, self.name)

    def spawn(self, *, dies: str | None = None) -> None:
        """Start it without waiting for it."""
        # -S: it needs the standard library and the examples only, and is up sooner without looking for anything else.
        command = [sys.executable, "-P", "-S", "-m", *self.program, "--as-child"]
        command += ["--ledger", str(self.path), "--port", str(self.port)]
        command += [] if dies is None else ["--dies", dies]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def await_ready(self) -> None:
        """Wait until it answers requests.

        Raises:
            RuntimeError: It ended instead, or took too long.
        """
        process = self._running()
        assert process.stdout is not None
        too_late = threading.Timer(READY_SECONDS, process.kill)
        too_late.start()
        try:
            line = process.stdout.readline()
        finally:
            too_late.cancel()
        if not line.strip().isdigit():
            raise RuntimeError(f"provider {self.name} did not start")
        self.port = int(line)

    def start(self) -> None:
        """Start it and wait until it answers requests."""
        self.spawn()
        self.await_ready()

    def kill(self) -> int:
        """Kill it with SIGKILL and return the process id that it had; it does not come back by itself."""
        process = self._running()
        self.close()
        return process.pid

    def die_once(self, moment: str) -> None:
        """Start it so that its first order kills it at *moment*, and start it again when that has happened."""
        self.close()
        self.spawn(dies=moment)
        self.await_ready()
        self._watched = self._running()
        threading.Thread(target=self._start_again, args=(self._watched,), daemon=True).start()

    def _start_again(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        with self._starting:
            if self._watched is process:
                self.deaths.append(process.pid)
                _release(process)
                self.start()

    def close(self) -> None:
        """End it, however it is, and wait until it has gone."""
        self._watched = None
        with self._starting:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                _release(self._process)

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, f"provider {self.name} was never started"
        return self._process


def _release(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class Place:
    """Providers and the files around them, while the context lasts; nothing is left of them afterwards.

    Args:
        name: What its temporary folder is called after.
        programs: What each provider runs, by name: a module and what that is told.
    """

    def __init__(self, name: str, programs: Mapping[str, tuple[str, ...]]) -> None:
        self.name = name
        self.programs = programs
        self._lasting = ExitStack()
        self._providers: dict[str, ProviderProcess] = {}
        self._files: dict[str, str] = {}

    def furnish(self, folder: Path) -> dict[str, str]:
        """Put files into the folder; return what the environment says of them."""
        return {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix=f"{self.name}-")))
            self._files = self.furnish(folder)
            for name, program in self.programs.items():
                provider = self._providers[name] = ProviderProcess(name, folder, *program)
                stack.callback(provider.close)
                provider.spawn()
            for provider in self._providers.values():
                provider.await_ready()
            self._lasting = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lasting.close()

    def __getitem__(self, name: str) -> ProviderProcess:
        return self._providers[name]

    @property
    def environ(self) -> dict[str, str]:
        """What the graph and its functions read from the environment, and the process ids for whoever wants to kill."""
        found = dict(self._files)
        for name, provider in self._providers.items():
            found[f"{name.upper()}_URL"] = provider.url
            found[f"{name.upper()}_PID"] = str(provider.pid)
        return found
