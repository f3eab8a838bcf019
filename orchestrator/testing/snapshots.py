"""Snapshots of run logs: a log's text, kept in a file next to its test, and compared with what a run writes today."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path

from orchestrator.result import RunResult
from orchestrator.testing.stories import story

__all__ = ("LogSnapshots", "SnapshotError", "in_ci")


class SnapshotError(AssertionError):
    """A run's log is not the one that was kept, or none was kept."""


def in_ci(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a continuous integration job, by the variable that they all set."""
    return environ.get("CI", "").lower() not in ("", "0", "false")


class LogSnapshots:
    """The snapshots of one test: the fixture ``assert_log``.

    Called with a result and a name, it compares the story of the run with ``snapshots/MODULE/NAME.txt`` beside the
    test's module. The text holds every event in order, with times in milliseconds and without ids, digests or the
    messages of failures, so that it changes only when the run does.

    Args:
        module: The test's module.
        test: The test's name: the first snapshot's, unless another is given.
        update: Whether to write what differs or is missing.
        ci: Whether a missing one fails; else it is written.
        update_option: How to ask for an update, for messages.
    """

    def __init__(self, module: Path, test: str, *, update: bool, ci: bool, update_option: str) -> None:
        self.folder = module.parent / "snapshots" / module.stem
        self.test = test
        self.update = update
        self.ci = ci
        self.written: list[Path] = []
        """The files that were written."""
        self._update_option = update_option
        self._names: set[str] = set()

    def __call__(self, run: RunResult, name: str | None = None) -> None:
        """Compare a run's log with its snapshot.

        Raises:
            SnapshotError: It differs, or is missing in CI.
            ValueError: This test has used the name already.
        """
        __tracebackhide__ = True
        name = name or self.test
        if name in self._names:
            raise ValueError(f"this test has a snapshot {name!r} already: give the second one a name of its own")
        self._names.add(name)
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-')}.txt"
        now = story(run, messages=False) + "\n"
        kept = path.read_text(encoding="utf-8") if path.exists() else None
        if kept == now:
            return
        if self.update or (kept is None and not self.ci):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(now, encoding="utf-8")
            self.written.append(path)
            return
        shown = Path(os.path.relpath(path))
        if kept is None:
            raise SnapshotError(
                f"there is no snapshot {shown}: run the test once with {self._update_option}, look at the file, and "
                f"add it to the repository\n\n{now}"
            )
        lines = unified_diff(kept.splitlines(), now.splitlines(), "kept", "now", lineterm="", n=2)
        diff = "\n".join(line for line in lines if not line.startswith("@@"))
        raise SnapshotError(
            f"the run went another way than in {shown}\n\n{diff}\n\nif that is right: pytest {self._update_option}"
        )
