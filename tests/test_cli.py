"""The command line as scripts see it: exit codes, stdout, stderr, JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import app

GRAPH = """\
version: 1
imports: {allow: [cli_shop]}
defaults: {effect: read}
inputs: {question: {type: string}, count: {type: integer, default: 3}}
tools:
  web:   {python: "cli_shop:web",   provides: pages, cost: {usd: 0.001, latency: 300ms}, retry: {attempts: 1}}
  wiki:  {python: "cli_shop:wiki",  provides: pages, cost: {latency: 600ms, success: 0.9}, retry: {attempts: 1}}
  write: {python: "cli_shop:write", provides: answer, effect: read}
goals:
  - {name: answered, values: [answer]}
  - {name: found,    values: [pages]}
"""

TOOLS = """\
import os, time

def web(question):
    if os.environ.get("WEB_DOWN"):
        raise ConnectionRefusedError("the web is down")
    if os.environ.get("WEB_HANGS"):
        time.sleep(60)
    return [question.upper()]

def wiki(question, count):
    return [question] * count

def write(pages):
    if os.environ.get("WRITE_DOWN"):
        raise RuntimeError("no ink")
    return " ".join(pages)
"""


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a graph and its tools, and go there."""
    (tmp_path / "cli_shop.py").write_text(TOOLS)
    (tmp_path / "graph.yaml").write_text(GRAPH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    sys.modules.pop("cli_shop", None)
    return tmp_path / "graph.yaml"


def call(*arguments: str, env: dict[str, str] | None = None, input: str | None = None) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, arguments, env=env, input=input, prog_name="orchestrator")


def document(result: Result) -> Any:
    """Return the one JSON document on stdout."""
    return json.loads(result.stdout)


def test_plan_prints_the_documented_json(graph: Path) -> None:
    """`plan --json` has the documented keys, and exit 0 for a route."""
    result = call("plan", "graph.yaml", "--json")
    found = document(result)
    documented = "goal feasible verdict weight exact bound route nodes usd seconds calls limits unused runner_up goals"
    assert result.exit_code == 0
    assert set(documented.split()) <= set(found)
    assert found["route"] == ["web", "write"]
    assert found["weight"] == pytest.approx(sum(node["weight"] for node in found["nodes"].values()))
    assert found["nodes"]["write"]["inputs"] == {"pages": "web"}
    assert found["unused"]["wiki"].startswith("dearer")
    assert found["runner_up"]["without"] == "web"


def test_plan_without_a_node_and_without_a_route(graph: Path) -> None:
    """`--down` plans round a node; with no way left the route is empty and the exit code 1."""
    assert document(call("plan", "graph.yaml", "--json", "--down", "web"))["route"] == ["wiki", "write"]
    result = call("plan", "graph.yaml", "--json", "--down", "web", "--down", "wiki")
    found = document(result)
    assert result.exit_code == 1
    assert (found["route"], found["weight"], found["exact"], found["bound"]) == ([], None, None, None)
    assert found["unused"] == {"web": "down", "wiki": "down", "write": "unmet: pages"}


def test_plan_of_a_goal_that_lacks_one_value_of_two(graph: Path) -> None:
    """Out of reach for one value, the plan says of every node that could run what the goal lacks."""
    graph.write_text(graph.read_text() + "  - {name: both, values: [pages, letter]}\n")
    spec = graph.read_text().replace("tools:\n", "tools:\n  mail: {declared: true, provides: letter}\n", 1)
    graph.write_text(spec)
    result = call("plan", "graph.yaml", "--json", "--goal", "both", "--down", "mail")
    assert (result.exit_code, document(result)["reason"]) == (1, "unreachable")
    unmet = "unmet: letter"
    assert document(result)["unused"] == {"mail": "down", "web": unmet, "wiki": unmet}


def test_plan_for_people(graph: Path) -> None:
    """The text says the route, its weight, and with --explain the terms and the runner-up."""
    result = call("plan", "graph.yaml", "--explain")
    assert "web > write" in result.stdout
    assert "runner-up, without web" in result.stdout


def test_run_prints_the_value_on_stdout_and_the_story_on_stderr(graph: Path) -> None:
    """stdout has the result only; the step table, with the reroute, is on stderr."""
    result = call("run", "graph.yaml", "-i", "question=hello", env={"WEB_DOWN": "1"})
    assert result.exit_code == 0
    assert result.stdout == "hello hello hello\n"
    assert "reroute" in result.stderr
    assert "goal answered met" in result.stderr


def test_run_json_is_one_document(graph: Path) -> None:
    """`run --json` prints one document with the documented keys and nothing else anywhere."""
    result = call("run", "graph.yaml", "--json", "-i", "question=hello", "-i", "count:=1", env={"WEB_DOWN": "1"})
    found = document(result)
    documented = (
        "run_id outcome goal values route attempts retries reroutes escalations demotions undone model_calls usd "
        "tokens seconds trace_id"
    )
    assert set(documented.split()) <= set(found)
    assert (found["outcome"], found["values"], found["route"]) == ("met", {"answer": "hello"}, ["wiki", "write"])
    assert found["attempts"][0]["answer"] == "reroute-1"
    assert result.stderr == ""


def test_run_events_are_json_lines_in_order(graph: Path) -> None:
    """`--events` prints every record as a line; the last one says how the run ended."""
    result = call("run", "graph.yaml", "--events", "-i", "question=hello")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["event"], events[-1]["event"]) == ("run_started", "run_finished")


def test_exit_codes_tell_how_it_went(graph: Path) -> None:
    """0 met, 3 a lower goal (0 if allowed), 1 no goal, 4 for a limit, 2 bad usage."""
    hello = ("run", "graph.yaml", "-i", "question=hello")
    assert call(*hello, env={"WRITE_DOWN": "1"}).exit_code == 3
    assert call(*hello, "--allow-demoted", env={"WRITE_DOWN": "1"}).exit_code == 0
    assert call(*hello, "--down", "web", "--down", "wiki").exit_code == 1
    (graph.parent / "tight.yaml").write_text("limits: {calls: 0}\n")
    result = call(*hello, "--policy", "tight.yaml", "--json")
    assert (result.exit_code, document(result)["reason"]) == (4, "limit:calls")
    assert call("run", "graph.yaml").exit_code == 2
    assert call("run", "graph.yaml", "-i", "question=hello", "--goal", "nowhere").exit_code == 2
    assert call("run", "graph.yaml", "-i", "question").exit_code == 2
    assert call("frobnicate").exit_code == 2


def test_a_gate_waits_for_a_person(graph: Path) -> None:
    """A node with `approve: always` ends the run in `waiting`, exit 5, with the question printed."""
    graph.write_text(GRAPH.replace("provides: answer,", "provides: answer, approve: always,"))
    result = call("run", "graph.yaml", "-i", "question=hello", "--json")
    assert result.exit_code == 5
    assert document(result)["questions"][0]["node"] == "write"
    assert "approve:write" in call("run", "graph.yaml", "-i", "question=hello").stderr


def test_inputs_are_read_by_their_type(graph: Path) -> None:
    """Inputs come by name, by JSON, from a file or from standard input, and are checked."""
    result = call(
        "run", "graph.yaml", "--inputs", "-", "--down", "web", "--json", input='{"question": "a", "count": 2}'
    )
    assert document(result)["values"] == {"answer": "a a"}
    bad = call("run", "graph.yaml", "-i", "question=a", "-i", "count=two")
    assert (bad.exit_code, "integer" in bad.stderr) == (2, True)
    typo = call("run", "graph.yaml", "-i", "qestion=a")
    assert "did you mean 'question'" in typo.stderr


def test_simulate_calls_nothing_and_is_repeatable(graph: Path) -> None:
    """A simulation imports no tool whose needs are written, and the same seed gives the same document."""
    (graph.parent / "cli_shop.py").write_text(TOOLS + "\nraise SystemExit('imported')\n")
    graph.write_text(
        GRAPH.replace('"cli_shop:web",', '"cli_shop:web", needs: [question],')
        .replace('"cli_shop:wiki",', '"cli_shop:wiki", needs: [question, count],')
        .replace('"cli_shop:write",', '"cli_shop:write", needs: [pages],')
    )
    faults = graph.parent / "faults.yaml"
    faults.write_text("nodes: {web: down}\n")
    arguments = ("simulate", "graph.yaml", "-i", "question=x", "--faults", "faults.yaml", "--seed", "7", "--json")
    first, second = call(*arguments), call(*arguments)
    assert first.exit_code in (0, 3)
    assert document(first) == document(second)
    assert document(first)["attempts"][0] | {"seconds": 0.3} == document(first)["attempts"][0]


def test_simulate_sums_up_many_runs(graph: Path) -> None:
    """`--runs` prints the documented sums."""
    found = document(call("simulate", "graph.yaml", "-i", "question=x", "--runs", "50", "--json"))
    assert set(found) == {"runs", "outcomes", "goals", "reroutes", "escalations", "seconds", "usd"}
    assert sum(found["outcomes"].values()) == found["runs"] == 50


def test_a_fault_for_an_unknown_node_is_one_clear_error(graph: Path) -> None:
    """A fault file that does not fit says which node it means, and nothing runs."""
    (graph.parent / "faults.yaml").write_text("nodes: {wbe: down}\n")
    result = call("simulate", "graph.yaml", "-i", "question=x", "--faults", "faults.yaml")
    assert result.exit_code == 2
    assert "web" in result.stderr


def test_run_with_faults_breaks_the_real_calls(graph: Path) -> None:
    """`run --faults` injects the same faults into real calls."""
    (graph.parent / "faults.yaml").write_text("nodes: {web: {raise: permanent}}\n")
    result = call("run", "graph.yaml", "-i", "question=x", "--faults", "faults.yaml", "--json")
    assert document(result)["route"] == ["wiki", "write"]


def test_validate_says_what_the_file_means(graph: Path) -> None:
    """`validate` prints goals, inputs and edges; --json has them as data; --strict fails for unmarked nodes."""
    result = call("validate", "graph.yaml")
    assert result.exit_code == 0
    assert "{web | wiki} -> write" in result.stdout
    assert document(call("validate", "graph.yaml", "--json"))["valid"] is True
    graph.write_text(
        GRAPH.replace("defaults: {effect: read}\n", "")
        .replace(", effect: read", "")
        .replace(", retry: {attempts: 1}", "")
    )
    assert call("validate", "graph.yaml").exit_code == 0
    assert call("validate", "graph.yaml", "--strict").exit_code == 2


def test_validate_says_what_breaks_a_goal(graph: Path) -> None:
    """`validate` ends with what breaks each goal and the fix; --json holds it as data beside the keys it had."""
    result = call("validate", "graph.yaml")
    assert (
        "  write alone breaks answered: goal found is left\n    = help: add another provider of `answer`"
        in result.stdout
    )
    assert "web + wiki" in result.stdout
    (file,) = document(call("validate", "graph.yaml", "--json"))["files"]
    assert set(file) == {"file", "valid", "problems", "name", "inputs", "edges", "findings", "resilience"}
    answered, found = file["resilience"]["goals"]
    assert [point["name"] for point in answered["single_points"]] == ["write"]
    assert [loss["name"] for loss in found["breaking"]] == ["web", "wiki"]
    assert (answered["survives"], found["survives"]) == (0, 1)


def test_validate_judges_resilience_by_the_files_policy(graph: Path) -> None:
    """Limits of the policy count: a way round that is over them is none."""
    graph.write_text(GRAPH + "policy: {limits: {seconds: 500ms}}\n")
    (file,) = document(call("validate", "graph.yaml", "--json"))["files"]
    assert [point["name"] for point in file["resilience"]["goals"][0]["single_points"]] == ["web", "write"]


def test_validate_without_the_resilience_report(graph: Path) -> None:
    """`--no-resilience` leaves the report out of the text and out of the data, and changes nothing else."""
    whole, text = call("validate", "graph.yaml").stdout, call("validate", "graph.yaml", "--no-resilience").stdout
    assert "resilience" not in text
    assert whole.startswith(text)
    data = document(call("validate", "graph.yaml", "--json"))
    del data["files"][0]["resilience"]
    assert document(call("validate", "graph.yaml", "--json", "--no-resilience")) == data


def test_validate_shows_every_error_with_its_place(graph: Path) -> None:
    """All errors of a file at once, with line and column, on stderr; --json holds them as data."""
    graph.write_text(GRAPH.replace("cost:", "cots:", 1).replace("latency: 600ms", "latency: 600"))
    result = call("validate", "graph.yaml")
    assert result.exit_code == 2
    assert "did you mean" in result.stderr
    assert "600ms" in result.stderr
    problems = document(call("validate", "graph.yaml", "--json"))["files"][0]["problems"]
    assert [problem["line"] for problem in problems] == [6, 7]


@pytest.mark.parametrize("form", ["text", "mermaid", "dot", "json"])
def test_graph_draws_in_every_format(graph: Path, form: str) -> None:
    """Each format names every node; json parses."""
    result = call("graph", "graph.yaml", "--format", form, "--route")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("web", "wiki", "write"))
    if form == "json":
        json.loads(result.stdout)


def test_schema_is_json_and_accepts_the_graph(graph: Path) -> None:
    """The printed schema is JSON Schema, and the file is valid under it."""
    import jsonschema
    import yaml

    schema = json.loads(call("schema").stdout)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(GRAPH))


def test_no_secret_is_printed(graph: Path) -> None:
    """A key from the environment that a tool leaks in its error is masked on stdout and stderr."""
    (graph.parent / "cli_shop.py").write_text(TOOLS.replace('"the web is down"', '"key " + os.environ["SHOP_API_KEY"]'))
    env = {"WEB_DOWN": "1", "SHOP_API_KEY": "sk-very-secret-1"}
    for more in ((), ("--json",), ("--events",), ("--log",)):
        result = call("run", "graph.yaml", "-i", "question=x", *more, env=env)
        assert "sk-very-secret-1" not in result.output
        assert result.exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    """`orchestrator --help` loads neither pydantic nor anything that needs it."""
    code = (
        "import sys\nfrom orchestrator.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'pydantic', 'networkx', 'httpx', 'rich', 'yaml', 'opentelemetry'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_an_interrupt_ends_the_run_in_order(graph: Path) -> None:
    """Ctrl-C during a read cancels the run: exit 130, outcome cancelled."""
    run = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "graph.yaml", "-i", "question=x", "--events"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "WEB_HANGS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert run.stdout is not None
    events = []
    for line in run.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "attempt_started":
            run.send_signal(signal.SIGINT)
    run.stdout.close()
    assert run.wait(30) == 130
    assert events[-1]["outcome"] == "cancelled"
