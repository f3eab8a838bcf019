"""Errors that nobody expected: one line for the person, a saved report for whoever mends it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Mapping

from orchestrator.errors import OrchestratorError

__all__ = ("DEBUG", "expected", "report_text", "save_report", "wants_traceback")

DEBUG = "ORCHESTRATOR_DEBUG"
"""Set to 1, this environment variable has tracebacks printed instead of saved."""

LEAST_SECRET = 6
"""Shorter values of the environment are not looked for in an error's message: they occur everywhere."""


def wants_traceback(verbose: bool, environ: Mapping[str, str]) -> bool:
    """Whether a traceback is printed: ``-v``, or the environment says so."""
    return verbose or environ.get(DEBUG, "") not in ("", "0")


def expected(error: Exception) -> OrchestratorError | None:
    """Return the error of ours that *error* is, or is about: a task group wraps what its tasks raise."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, OrchestratorError) else None


def report_text(error: Exception, command: str, environ: Mapping[str, str]) -> str:
    """Return what is known of *error*, without what a run was given and without the environment's secrets."""
    from importlib.metadata import version

    from orchestrator.redact import Redactor

    frames = Redactor.from_environment((), environ)
    # A message may hold anything that a graph file took from the environment; file names and code never do.
    messages = Redactor.from_environment([v for v in environ.values() if len(v) >= LEAST_SECRET], environ)
    pieces = traceback.TracebackException.from_exception(error).format()
    trace = "".join((frames if piece.startswith('  File "') else messages).redact(piece) for piece in pieces)
    return (
        f"orchestrator {version('orchestrator-runtime')}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: {command}\n\n{trace}"
    )


def save_report(text: str) -> str | None:
    """Save a report where only this user can read it, and return its path; None where nothing can be written."""
    try:
        handle, path = tempfile.mkstemp(prefix="orchestrator-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"the report could not be saved: {error.strerror}", file=sys.stderr)
        return None
    return path
