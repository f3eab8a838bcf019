"""The pytest plug-in: the fixtures `world` and `assert_log`, and the failure matrix as tests.

It is registered by an entry point and is imported whenever pytest starts, in any project where this package is
installed. So it imports nothing but pytest before one of its parts is used, and its options have names of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from orchestrator.testing.snapshots import LogSnapshots
    from orchestrator.testing.world import World

__all__ = (
    "assert_log",
    "pytest_addoption",
    "pytest_collect_file",
    "pytest_configure",
    "pytest_pyfunc_call",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
    "world",
)

UPDATE = "--orchestrator-update-snapshots"
WRITTEN = "orchestrator_snapshot_written"
"""The property of a report that names a snapshot which its test wrote."""

MATRIX = pytest.StashKey[list[Path]]()
"""The graph files whose failure matrix is asked for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("orchestrator", "testing of orchestrator graphs")
    group.addoption(
        "--orchestrator-matrix",
        action="append",
        default=[],
        metavar="FILE",
        help="run every single failure and every pair of failures of this graph, each as a test; repeatable",
    )
    group.addoption(
        "--orchestrator-matrix-kinds",
        default="down,hang",
        metavar="KINDS",
        help="how nodes fail in the matrix: some of down, permanent, hang, wrong, unknown (default: down,hang)",
    )
    group.addoption(
        "--orchestrator-matrix-size",
        type=int,
        default=2,
        metavar="N",
        help="most failures at the same time in the matrix (default: 2)",
    )
    group.addoption(
        "--orchestrator-matrix-limit",
        type=int,
        default=2000,
        metavar="N",
        help="of a larger matrix, run every single failure and a sample of the others (default: 2000)",
    )
    group.addoption(
        "--orchestrator-matrix-seed", type=int, default=0, metavar="N", help="picks the sample (default: 0)"
    )
    group.addoption(UPDATE, action="store_true", help="write the snapshots of run logs instead of comparing them")
    parser.addini("orchestrator_graph", "the graph file that the fixture `world` loads", default="")
    parser.addini("orchestrator_matrix", "graph files whose failure matrix belongs to the tests", type="paths")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the graphs whose matrix is asked for: on the command line, else by the configuration."""
    named = [Path(config.invocation_params.dir, file) for file in config.getoption("orchestrator_matrix")]
    files = named or config.getini("orchestrator_matrix")
    config.stash[MATRIX] = [file.resolve() for file in files]
    given = config.args_source is config.ArgsSource.ARGS
    if named and not given:
        config.args = []
    if named or not given:
        there = {Path(config.invocation_params.dir, arg.partition("::")[0]).resolve() for arg in config.args}
        config.args += [str(file) for file in config.stash[MATRIX] if file not in there]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Make a graph file a collector of its failure matrix."""
    if file_path not in parent.config.stash[MATRIX]:
        return None
    from orchestrator.testing.items import MatrixFile

    return MatrixFile.from_parent(parent, path=file_path)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """Give a world for one test: virtual time, scripts, faults; at the end every step must have been used.

    It has loaded the graph that ``orchestrator_graph`` names in pytest's configuration, if there is one. A relative
    path is looked for beside the test's module first, then in the root folder.
    """
    from orchestrator.testing.world import World

    world = World(folders=(request.path.parent, request.config.rootpath))
    graph = request.config.getini("orchestrator_graph")
    return world.load(graph) if graph else world


@pytest.fixture
def assert_log(request: pytest.FixtureRequest) -> Iterator[LogSnapshots]:
    """Give a function that compares a run's log with a file beside the test: ``assert_log(result, "stripe down")``."""
    from orchestrator.testing.snapshots import LogSnapshots, in_ci

    config = request.config
    # A project may have the common name for it already.
    update = config.getoption(UPDATE) or config.getoption("--update-snapshots", default=False)
    test = request.node.name
    snapshots = LogSnapshots(request.path, test, update=bool(update), ci=in_ci(), update_option=UPDATE)
    yield snapshots
    for path in snapshots.written:
        request.node.user_properties.append((WRITTEN, str(path)))


def _world_of(item: pytest.Item) -> World | None:
    """Return the world of a test, if it has one; imports nothing."""
    module = sys.modules.get("orchestrator.testing.world")
    candidate = getattr(item, "funcargs", {}).get("world")
    return candidate if module is not None and isinstance(candidate, module.World) else None


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Check a test's world right after the test: what it left undone is the test's own failure."""
    result = yield
    world = _world_of(pyfuncitem)
    wrong = None if world is None else world.unfinished()
    if wrong is not None:
        pytest.fail(str(wrong), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the story of its runs with a failed test, unless it failed by its scripts and so tells it already."""
    report = yield
    world = _world_of(item)
    if world is not None and report.when == "call" and report.failed and world.logs and not world.unfinished():
        report.sections.append(("runs", world.story()))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what the failure matrix came to, and which snapshots were written."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    found = [(report.when, *prop) for report in reports for prop in getattr(report, "user_properties", ())]
    rows = [value for when, name, value in found if name == "orchestrator_matrix" and when == "call"]
    if rows:
        from orchestrator.testing.items import summarise

        summarise(terminalreporter, rows)
    written = dict.fromkeys(value for _, name, value in found if name == WRITTEN)
    if written:
        terminalreporter.write_sep("=", "snapshots of run logs")
        for path in written:
            terminalreporter.write_line(f"written: {path}")
