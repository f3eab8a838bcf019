"""What holds for every test: no proxy, one async backend, repeatable examples in CI, and no silent skip there."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.drivers.local import LocalRun
from orchestrator.events import Record, RunStarted
from orchestrator.result import RunResult
from orchestrator.run import Run
from orchestrator.simulate import Simulation
from tests.postgres import Postgres

collect_ignore_glob = ["bench/*"]  # the benchmarks import peers that only `make bench` installs

# No deadline: a test never depends on the wall clock. CI draws the same examples every time.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "dev"))


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """Keep requests to servers on this machine away from a proxy that the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, the backend that the local driver is used with."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give a real PostgreSQL, which starts for the first test that asks for it."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty store: what uses it runs on either database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_schema()


@pytest.fixture(autouse=True)
def every_run_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay every run of every test from its log and from a snapshot after each fact: both must give the log again."""
    drive, simulate = LocalRun.run, Simulation.run

    async def run(self: LocalRun) -> RunResult:
        result = await drive(self)
        check_replay(result.records)
        return result

    def simulated(self: Simulation, **options: Any) -> RunResult:
        result = simulate(self, **options)
        check_replay(result.records)
        return result

    monkeypatch.setattr(LocalRun, "run", run)
    monkeypatch.setattr(Simulation, "run", simulated)


def check_replay(log: Sequence[Record]) -> None:
    """Check that a log's facts give the log again, also to a machine that is restored after each of them."""
    facts = [record for record in log if record.is_fact]
    assert isinstance(facts[0].event, RunStarted)
    whole, taken_down = Run(facts[0].event), Run(facts[0].event)
    written: list[Record] = []
    for record in facts:
        step = whole.feed(record.event, record.at)  # type: ignore[arg-type]  # facts, by the line above
        assert taken_down.feed(record.event, record.at) == step  # type: ignore[arg-type]  # likewise
        taken_down = Run.restore(json.loads(json.dumps(taken_down.snapshot())))
        written += step.records
    assert tuple(written) == tuple(log)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure in CI, unless its reason starts with ``allowed:``."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith("allowed:"):
        report.outcome = "failed"
        report.longrepr = f"a skip fails in CI unless its reason starts with 'allowed:': {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at a skipped test after pytest itself has told it from an expected failure."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at a module that skipped itself as a whole."""
    report = yield
    _refuse_skip(report)
    return report
