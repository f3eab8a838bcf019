"""Which processes live: a lease that each one renews, and on the same machine the process table.

A lease alone would make a run wait for it after its process was killed; the process table alone cannot see other
machines, and a pid is used again. So a process lives if it was seen within the lease and, where its pid can be looked
up, still has that pid since the same moment. Machines that share a store are to agree on the time to within a lease.
"""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ("Process", "lives", "place", "start_of")

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One opened store in one process."""

    id: str
    host: str
    place: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        """Return this process, under a new id."""
        host, pid = socket.gethostname(), os.getpid()
        return cls(f"{host}:{pid}:{uuid.uuid4().hex[:12]}", host, place(), pid, start_of(pid) or "")


def lives(row: Any, now: float, lease: float) -> bool:
    """Whether the process of a row lives; a row without one (None in its place) tells of none."""
    if row.seen is None or row.seen + lease <= now:
        return False
    if not row.started or row.place != place():
        return True  # of a process elsewhere, all that is known is when it was seen
    return bool(start_of(row.pid) == row.started)


def place() -> str:
    """Name the space in which a pid means one process: a machine since it was booted, and a container on it."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def start_of(pid: int) -> str | None:
    """Return when the process with this pid started, in the words of the system; None if there is none.

    Also None where the system tells nothing. A process that is over and only waits for its parent is none.
    """
    try:
        # The name in parentheses may hold anything, also parentheses.
        state, *fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None if (_PROC / "self/stat").exists() else _asked_for(pid)
    return None if state in "ZX" else fields[18]


def _asked_for(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    state, _, started = told.strip().partition(" ")
    return None if not state or state.startswith("Z") else " ".join(started.split())
