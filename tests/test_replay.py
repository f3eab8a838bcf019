"""Replay: the same first record and the same facts give the same log and commands, in any process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from orchestrator.errors import RecordError
from orchestrator.events import record_from_dict, record_to_dict
from orchestrator.run import Run
from orchestrator.simulate import Simulation
from tests.test_run_contracts import scenarios

ROOT = Path(__file__).parents[1]


def fingerprint() -> str:
    """Simulate a fixed set of drawn scenarios and hash every log, command and snapshot."""
    digest = hashlib.sha256()

    @settings(derandomize=True, database=None, max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scenarios(limited=True))
    def collect(simulation: Simulation) -> None:
        for run, step in simulation.steps(simulation.first_record()):
            digest.update(json.dumps([record_to_dict(record) for record in step.records]).encode())
            digest.update(repr(step.commands).encode())
            digest.update(json.dumps(run.snapshot()).encode())

    collect()
    return digest.hexdigest()


def test_logs_commands_and_snapshots_do_not_depend_on_the_hash_seed() -> None:
    """Two processes under different hash seeds write the same logs, commands and snapshots, byte for byte."""
    code = "from tests.test_replay import fingerprint; print(fingerprint())"
    prints = set()
    for seed in ("1", "20261122"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )
        prints.add(done.stdout.strip())
    assert len(prints) == 1


@settings(suppress_health_check=list(HealthCheck))
@given(scenarios(limited=True))
def test_a_log_survives_json(simulation: Simulation) -> None:
    """A log written as JSON lines and read back is the same log, and replays to itself."""
    log = simulation.run().records
    read = tuple(record_from_dict(json.loads(json.dumps(record_to_dict(record)))) for record in log)
    assert read == log
    assert Run.replay(read)[1] == log


def test_what_is_no_log_and_no_snapshot_is_refused() -> None:
    """A log without its beginning and data that is no snapshot are one clear error each."""
    with pytest.raises(RecordError, match="begins with run_started"):
        Run.replay([])
    with pytest.raises(RecordError, match="no snapshot"):
        Run.restore({"first": {}, "state": {}})
