"""The failure matrix as pytest runs it: one test for each set of failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.runtime import Orchestrator
from orchestrator.testing.matrix import Failures, MatrixPlan, Row, counted, row_id, table

__all__ = ("MatrixFile", "MatrixItem", "summarise")

SHOWN = 30
"""Rows that a summary shows; all of them with ``-v``."""


class MatrixFile(pytest.File):
    """A graph file whose failures are tried."""

    def collect(self) -> Iterator[MatrixItem]:
        """Yield a test for each set of failures."""
        option = self.config.getoption
        kinds = [kind.strip() for kind in option("orchestrator_matrix_kinds").split(",")]
        try:
            plan = MatrixPlan(
                Orchestrator.from_yaml(self.path, imports=False),
                kinds=kinds,
                size=option("orchestrator_matrix_size"),
                limit=option("orchestrator_matrix_limit"),
                seed=option("orchestrator_matrix_seed"),
            )
        except (OrchestratorError, ValueError) as error:
            raise self.CollectError(str(error)) from error
        for failed in plan.sets:
            yield MatrixItem.from_parent(self, name=f"matrix[{row_id(failed)}]", plan=plan, failed=failed)


class _Problem(Exception):
    """Ends a test whose run has something wrong."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.id)
        self.row = row


class MatrixItem(pytest.Item):
    """One set of failures."""

    def __init__(self, *, plan: MatrixPlan, failed: Failures, **more: Any) -> None:
        super().__init__(**more)
        self.plan = plan
        self.failed = failed

    def runtest(self) -> None:
        """Run the set and judge the run."""
        row = self.plan.row(self.failed)
        told = {"matrix": self.plan.told(), "outcome": row.outcome, "cells": row.cells, "wrong": bool(row.problems)}
        self.user_properties.append(("orchestrator_matrix", told))
        if row.problems:
            raise _Problem(row)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what is wrong, and the story of the run."""
        if isinstance(excinfo.value, _Problem):
            return excinfo.value.row.explained()
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what the test is called in a report."""
        return self.path, None, self.name


def summarise(terminal: Any, rows: Iterable[dict[str, Any]]) -> None:
    """Write what the matrix of each graph came to: the counts, and every row that did not meet the goal."""
    matrices: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        matrices.setdefault(row["matrix"], []).append(row)
    for told, members in matrices.items():
        terminal.write_sep("=", "failure matrix")
        terminal.write_line(f"{told}: {counted(row['outcome'] for row in members)}")
        shown = [row["cells"] for row in members if terminal.verbosity > 0 or row["wrong"] or row["outcome"] != "met"]
        limit = len(shown) if terminal.verbosity > 0 else SHOWN
        if shown:
            for line in table(shown[:limit]):
                terminal.write_line(line)
        if len(shown) > limit:
            terminal.write_line(f"  and {len(shown) - limit} more; all of them with -v")
