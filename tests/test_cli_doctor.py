"""`orchestrator doctor`: one line each, a fix for what is wrong, bounded in time, never a value of the environment."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import checks, reach, run_log
from orchestrator.cli.app import app
from orchestrator.cli.checks import Check, Patient
from orchestrator.cli.run_log import run_log_checks

GRAPH = """\
version: 1
name: doctored
imports: {allow: [doctored]}
inputs: {question: {type: string}}
models:
  small: {model: tiny, base_url: "${MODEL_URL:-http://127.0.0.1:1/v1}", api_key: "${MODEL_KEY}"}
tools:
  web: {python: "doctored:web", provides: pages, effect: read, timeout: "${PATIENCE:-5s}"}
goals: [{name: found, values: [pages]}]
"""
SECRET = "sk-very-secret-1"
NOW = 4e9
"""A wall clock in a century without surprises."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a graph and its tool, and go there."""
    (tmp_path / "doctored.py").write_text("def web(question):\n    return [question]\n")
    (tmp_path / "graph.yaml").write_text(GRAPH)
    monkeypatch.chdir(tmp_path)
    for name in (checks.OTLP, "ORCHESTRATOR_STORE", "MODEL_KEY", "MODEL_URL", "PATIENCE"):
        monkeypatch.delenv(name, raising=False)
    sys.modules.pop("doctored", None)
    return Path("graph.yaml")


def call(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Call the doctor in this process."""
    return CliRunner().invoke(app, ["doctor", *arguments], env=env, prog_name="orchestrator")


def found(*arguments: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the checks of `doctor --json` by name."""
    return {check["name"]: check for check in json.loads(call(*arguments, "--json", env=env).stdout)["checks"]}


def patient(environ: dict[str, str], file: Path | None = None, **more: Any) -> dict[str, Check]:
    """Return the checks of a patient by name."""
    return {check.name: check for check in Patient(file, environ, **{"now": NOW, **more}).checks()}


@contextmanager
def serving(status: int = 200, body: bytes = b"{}", date: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve one answer on the loopback address; gives the URL, and what was asked with which authorization."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization', '-')}")
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            if date is not None:
                self.send_header("Date", date)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815  # the names that the base class calls

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --------------------------------------------------------------------------------------------------------- the file


def test_all_is_well_in_a_sound_project(file: Path) -> None:
    """A sound file in a sound environment is all ok, exit 0, one line each."""
    result = call("graph.yaml", env={"MODEL_KEY": SECRET})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(line.startswith(("ok ", "warn ")) for line in lines if not line.startswith(" "))
    checks = found("graph.yaml", env={"MODEL_KEY": SECRET})
    assert {"python", "package", "env MODEL_KEY", "file", "references", "traces", "clock", "run log"} <= set(checks)
    assert checks["env MODEL_KEY"]["text"] == "set"
    assert checks["env PATIENCE"]["text"] == "not set; the file has a default"
    assert checks["model small"]["text"].startswith("not asked")


def test_a_variable_that_is_not_set_fails_with_the_fix(file: Path) -> None:
    """What the file needs and the environment lacks is named, with the line to type, and the exit code is 1."""
    assert call("graph.yaml").exit_code == 1
    checks = found("graph.yaml")
    assert (checks["env MODEL_KEY"]["status"], checks["env MODEL_KEY"]["fix"]) == ("fail", "export MODEL_KEY=…")
    assert checks["env PATIENCE"]["status"] == "ok"
    assert checks["file"]["status"] == "fail"


def test_what_is_wrong_with_a_file_is_told_where_it_is(file: Path) -> None:
    """A file that does not load, a function that is not there, a missing file: one line each, with a fix."""
    key = {"MODEL_KEY": SECRET}
    file.write_text(GRAPH.replace("provides:", "provide:"))
    assert "line 8: unknown key 'provide'" in found("graph.yaml", env=key)["file"]["text"]
    assert "did you mean 'provides'" in found("graph.yaml", env=key)["file"]["fix"]
    file.write_text(GRAPH.replace("doctored:web", "doctored:wbe").replace("provides", "needs: [question], provides"))
    broken = found("graph.yaml", env=key)
    assert "wbe" in (broken.get("references") or broken["file"])["text"]
    assert call("nowhere.yaml").exit_code == 1
    assert "no file" in found("nowhere.yaml")["file"]["text"]


def test_a_warning_of_validate_is_a_warning_here(file: Path) -> None:
    """Findings are counted and `validate` is named; a warning alone does not fail."""
    file.write_text(GRAPH.replace("effect: read, ", ""))
    checks = found("graph.yaml", env={"MODEL_KEY": SECRET})
    assert (checks["file"]["status"], "1 warning" in checks["file"]["text"]) == ("warn", True)
    assert call("graph.yaml", env={"MODEL_KEY": SECRET}).exit_code == 0


def test_no_value_of_the_environment_is_told(file: Path) -> None:
    """Neither a key, nor a password in an address, nor what the file was filled with, in any form of output."""
    env = {
        "MODEL_KEY": SECRET,
        "MODEL_URL": "http://user:hush-hush-1@127.0.0.1:1/v1",
        "ORCHESTRATOR_STORE": "postgresql://user:hush-hush-2@127.0.0.1:1/runs",
        checks.OTLP: "http://user:hush-hush-3@127.0.0.1:1",
        "PATIENCE": "7654321ms",
    }
    for arguments in (["graph.yaml", "--live"], ["graph.yaml", "--live", "--json"]):
        output = call(*arguments, env=env).output
        assert not any(secret in output for secret in (SECRET, "hush-hush", "7654321", "user:"))


# ------------------------------------------------------------------------------------------------------- elsewhere


def test_a_collector_that_takes_spans_is_well() -> None:
    """The collector is sent an empty request at the path that spans go to."""
    with serving(date="Fri, 01 Jan 2100 00:00:00 GMT") as (url, asked):
        checks = patient({"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    assert asked == ["POST /v1/traces -"]
    assert checks["traces"] == Check("traces", "ok", "the collector at 127.0.0.1 takes spans")


@pytest.mark.parametrize(("now", "status"), [(4102444800.0, "ok"), (4102444803.0, "ok"), (4102444860.0, "warn")])
def test_the_clock_is_held_against_the_collectors(now: float, status: str) -> None:
    """Two clocks that differ by more than some seconds are a warning, in the right direction."""
    with serving(date="Fri, 01 Jan 2100 00:00:00 GMT") as (url, _):
        clock = patient({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, now=now)["clock"]
    assert clock.status == status
    assert ("60 s ahead" in clock.text) == (status == "warn")


def test_a_clock_before_this_package_fails() -> None:
    """A clock that is earlier than the installation is wrong."""
    assert patient({}, now=0.0)["clock"].status == "fail"


@pytest.mark.parametrize(("endpoint", "status"), [("http://127.0.0.1:1", "warn"), ("nonsense", "fail")])
def test_a_collector_that_is_away_is_a_warning(endpoint: str, status: str) -> None:
    """Runs go on without a collector; an address that is none can only be a slip."""
    check = patient({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})["traces"]
    assert check.status == status
    assert check.fix is not None


def test_something_else_at_the_collectors_address_is_a_warning() -> None:
    """A server that refuses the request is not taken for a collector."""
    with serving(status=404) as (url, _):
        check = patient({"OTEL_EXPORTER_OTLP_ENDPOINT": url})["traces"]
    assert (check.status, "404" in check.text) == ("warn", True)


def test_nobody_is_waited_for_longer_than_the_time_given() -> None:
    """A server that accepts and says nothing is given up on."""
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        check = patient({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, seconds=0.05)["traces"]
    assert check.status == "warn"
    stuck = threading.Event()
    with pytest.raises(reach.UnreachableError, match=r"within 0\.01 s"):
        reach.bounded(stuck.wait, 0.01)
    stuck.set()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"data": [{"id": "tiny"}]}', "ok"),
        (200, b'{"data": [{"id": "other"}]}', "warn"),
        (200, b"no json", "ok"),
        (401, b"", "fail"),
    ],
)
def test_models_are_asked_only_live(file: Path, status: int, body: bytes, expected: str) -> None:
    """With `--live` each model's endpoint is asked for its list, with its key; without it nobody is."""
    with serving(status, body) as (url, asked):
        environ = {"MODEL_KEY": SECRET, "MODEL_URL": f"{url}/v1"}
        assert patient(environ, file)["model small"].status == "ok"
        assert asked == []
        assert patient(environ, file, live=True)["model small"].status == expected
    assert asked == [f"GET /v1/models Bearer {SECRET}"]


def test_an_extra_is_missed_only_where_it_is_needed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is fine until the environment or the file asks for it; then the line to type is given."""
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert all(check.status == "ok" for name, check in patient({}).items() if name.startswith("extra"))
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "ORCHESTRATOR_STORE": "postgresql://127.0.0.1/x",
        "MODEL_KEY": SECRET,
    }
    needed = patient(environ, file)
    assert [needed[f"extra {extra}"].status for extra in checks.EXTRAS] == ["warn", "warn", "fail"]
    assert needed["extra otel"].fix == "pip install 'orchestrator-runtime[otel]'"


# ------------------------------------------------------------------------------------------------------ the run log


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a store in the place of the real one; returns what it holds and what was done to it."""
    sizes = SimpleNamespace(runs=3, records=40, values=9, bytes=12_000)
    held: dict[str, Any] = {"sizes": sizes, "resumable": [], "opened": [], "closed": 0}

    class Store:
        @classmethod
        def open(cls, url: str) -> Store:
            held["opened"].append(url)
            if "error" in held:
                raise held["error"]
            return cls()

        async def sizes(self) -> SimpleNamespace:
            return sizes

        async def resumable(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(run_id=name) for name in held["resumable"]]

        async def aclose(self) -> None:
            held["closed"] += 1

    module = ModuleType("orchestrator.store")
    module.Store = Store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "orchestrator.store", module)
    monkeypatch.setattr(run_log, "find_spec", lambda name: module)
    return held


def log_checks(environ: dict[str, str]) -> dict[str, Check]:
    """Return what is said of the run log, by name."""
    return {check.name: check for check in run_log_checks(environ)}


def test_where_no_run_was_ever_recorded_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: dict[str, Any]
) -> None:
    """Without a run log there is one quiet line, and looking does not create one."""
    monkeypatch.chdir(tmp_path)
    assert log_checks({})["run log"] == Check("run log", "ok", "no run log here yet: .orchestrator/runs.db")
    assert (store["opened"], list(tmp_path.iterdir())) == ([], [])


def test_a_run_log_tells_its_sizes_and_unfinished_runs(tmp_path: Path, store: dict[str, Any]) -> None:
    """Sizes are told for a person; runs that did not finish are a warning with the command that finishes them."""
    (tmp_path / "runs.db").touch()
    environ = {"ORCHESTRATOR_STORE": str(tmp_path / "runs.db")}
    assert log_checks(environ)["run log"].status == "ok"
    environ = {"ORCHESTRATOR_STORE": f"sqlite:///{tmp_path / 'runs.db'}"}
    told = log_checks(environ)
    assert told["run log"].text == f"{tmp_path / 'runs.db'}: 3 runs, 40 records, 9 values, 12 kB"
    assert told["unfinished runs"].status == "ok"
    store["resumable"] = ["a", "b", "c", "d"]
    unfinished = log_checks(environ)["unfinished runs"]
    assert (unfinished.status, unfinished.text) == ("warn", "4 runs did not finish: a, b, c, …")
    assert unfinished.fix == "orchestrator runs resume --all"
    assert store["closed"] == len(store["opened"]) == 3


def test_a_store_that_does_not_open_fails_and_says_why(store: dict[str, Any]) -> None:
    """The reason is told, and the address without user and password."""
    store["error"] = OSError("connection refused")
    check = log_checks({"ORCHESTRATOR_STORE": "postgresql://user:hush@db.local/runs?sslmode=off"})["run log"]
    assert check.status == "fail"
    assert check.text == "postgresql://db.local/runs cannot be read: connection refused"


def test_a_place_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a folder without the right to write is found before a run needs it."""
    environ = {"ORCHESTRATOR_STORE": f"sqlite:///{tmp_path}/deep/below/runs.db"}
    assert log_checks(environ)["run log"].status == "ok"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    check = log_checks(environ)["run log"]
    assert (check.status, str(tmp_path) in check.text) == ("fail", True)
