"""``orchestrator health``: the table, one document, and watching on a terminal and off it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pexpect  # type: ignore[import-untyped]  # has no types
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.health import Signal
from orchestrator.health.rows import HealthRow
from orchestrator.health.stored import attention_of, circuits_of, document, rows_of
from orchestrator.store import Store
from tests.stores import tamper

ROOT = Path(__file__).resolve().parent.parent
SLOW = Signal("latency", "adyen", 0.7, "3 times slower than usual", effect="factor", factor=3.0)
STRIPE = HealthRow(
    "stripe", "open", 1.2, 6.4, 0.8, 1810.0, 290.0, "http_5xx", 4.0, (), 1.0, 1.0, spent=True
)  # fmt: skip
ADYEN = HealthRow("adyen", "closed", 11.7, 12.0, 0.97, 42.1, 0.0, None, None, (SLOW,), 0.4, 2.9)
IDLE = HealthRow("sepa", "closed", 0.0, 0.0, 1.0, None, 0.0, None, None, (), 1.0, 1.0)


def save(rows: Iterable[HealthRow], graph: str = "refund", attention: Signal | None = SLOW) -> None:
    """Save health as a process that runs the graph would."""

    async def main() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            await store.save_health(graph, document({"version": 1}, rows, attention))

    anyio.run(main)


def health(*arguments: str) -> Result:
    """Call the command."""
    return CliRunner().invoke(app, ["health", *arguments])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_STORE", raising=False)
    return tmp_path


# ------------------------------------------------------------------------------------------------------------ documents


def test_rows_are_read_as_they_were_saved() -> None:
    """What was saved comes back whole through JSON, with attention and the circuits' own snapshot."""
    data = json.loads(json.dumps(document({"version": 1}, [STRIPE, ADYEN], SLOW)))
    assert rows_of(data, 0.0) == (STRIPE, ADYEN)
    assert attention_of(data) == SLOW
    assert circuits_of(data) == {"version": 1}


def test_rows_grow_old() -> None:
    """Later, less of an outage is left, an error is longer ago, and an outage that is over waits for its probe."""
    data = document({}, [STRIPE])
    (later,) = rows_of(data, 100.0)
    assert later == replace(STRIPE, open_for=190.0, last_error_ago=104.0)
    (over,) = rows_of(data, 300.0)
    assert (over.state, over.open_for) == ("half_open", 0.0)


@pytest.mark.parametrize(
    "data", [{}, {"rows": None}, {"rows": [{"other": 1}]}, {"rows": [3]}, {"rows": [{"node": "a"}]}]
)
def test_what_another_version_saved_is_no_row(data: dict[str, Any]) -> None:
    """Data of another form is nothing to show, and no error."""
    assert (rows_of(data, 1.0), attention_of(data), circuits_of(data)) == ((), None, None)


def test_what_a_later_version_adds_is_left_aside() -> None:
    """A field that this version does not know is not shown."""
    data = document({}, [IDLE])
    data["rows"][0]["mood"] = "good"
    assert rows_of(data, 0.0) == (IDLE,)


# -------------------------------------------------------------------------------------------------------------- looking


def test_the_table() -> None:
    """Each node has a line with what is known of it; a node that was never called says so."""
    save([STRIPE, ADYEN, IDLE])
    result = health()
    assert (result.exit_code, result.stderr) == (0, "")
    title, head, *lines = result.stdout.splitlines()
    assert re.fullmatch(r"refund, as of \S+ ago; attention: adyen, 3 times slower than usual", title)
    assert head.split() == ["NODE", "STATE", "OK", "LATENCY", "OPEN", "FOR", "LAST", "ERROR"]
    stripe, adyen, sepa = (re.split(r"\s{2,}", line) for line in lines)
    assert stripe[:4] == ["stripe", "open", "1/6", "1.8s"]
    assert re.fullmatch(r"2[89]\d?s|5m", stripe[4])
    assert stripe[5].startswith("http_5xx ")
    assert stripe[6] == "retries spent"
    assert adyen == ["adyen", "closed", "12/12", "42ms", "3 times slower than usual; gets 40% of its share"]
    assert sepa == ["sepa", "closed", "-", "-"]


def test_attention_for_what_is_about_no_node() -> None:
    """A late event loop takes attention in its own name."""
    save([IDLE], attention=Signal("lag", "", 0.65, "the event loop was 0.4s late"))
    assert health().stdout.splitlines()[0].endswith(" ago; attention: the event loop was 0.4s late")


def test_one_document() -> None:
    """With --json all that is known comes as one document, by graph."""
    save([STRIPE, ADYEN])
    save([IDLE], "travel", None)
    graphs = json.loads(health("--json").stdout)["graphs"]
    assert [(each["graph"], [node["node"] for node in each["nodes"]]) for each in graphs] == [
        ("refund", ["stripe", "adyen"]),
        ("travel", ["sepa"]),
    ]
    assert graphs[0]["attention"]["reason"] == "3 times slower than usual"
    assert graphs[0]["nodes"][0]["last_error"] == "http_5xx"
    assert 0 <= graphs[0]["age"] < 60


def announce(node: str, state: str, left: float, graph: str = "refund") -> None:
    """Announce an outage as a process that runs the graph would."""

    async def main() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            await store.announce(graph, node, state, store._clock() + left, "5 failures in a row")

    anyio.run(main)


def test_an_outage_that_was_told_is_shown_before_it_is_saved() -> None:
    """What a process tells the others is newer than what it saved last, and says whose word it is, and how old."""
    save([ADYEN, IDLE], attention=None)
    announce("adyen", "open", 290.0)
    announce("sepa", "open", 290.0)
    announce("sepa", "closed", 0.0)
    _, _, adyen, sepa = (re.split(r"\s{2,}", line) for line in health().stdout.splitlines())
    assert adyen[:4] == ["adyen", "open", "12/12", "42ms"]
    assert re.fullmatch(r"28\d\S*|29\d\S*|5m", adyen[4])
    assert re.match(rf"5 failures in a row, says process {os.getpid()} on \S+ \S+ ago; 3 times slower", adyen[5])
    assert sepa == ["sepa", "closed", "-", "-"]
    (graph,) = json.loads(health("--json").stdout)["graphs"]
    (outage,) = graph["outages"]
    assert (outage["node"], outage["state"], outage["reason"]) == ("adyen", "open", "5 failures in a row")
    assert 0 < outage["seconds"] <= 290


def test_what_was_saved_after_an_outage_was_told_is_newer() -> None:
    """A process that heard of it, and knows better, has the last word; whose outage it is stays in the document."""
    announce("adyen", "open", 290.0)
    save([ADYEN], attention=None)
    assert "closed" in health().stdout
    (graph,) = json.loads(health("--json").stdout)["graphs"]
    assert (graph["nodes"][0]["state"], len(graph["outages"])) == ("closed", 1)


def test_an_outage_of_a_graph_of_which_nothing_is_saved() -> None:
    """Is shown; one that is over is not."""
    announce("a", "open", 300.0, "travel")
    announce("b", "open", -1.0, "other")
    title, _, row = health().stdout.splitlines()
    assert title.startswith("travel, as of ")
    assert row.split()[:3] == ["a", "open", "-"]


def test_a_file_names_the_graph() -> None:
    """Of a store with several graphs, FILE picks its own."""
    save([STRIPE])
    save([IDLE], "travel", None)
    Path("trip.yaml").write_text(
        "version: 1\nname: travel\ntools: {sepa: {declared: true}}\ngoals: [{name: g, values: sepa}]\n"
    )
    lines = health("trip.yaml").stdout.splitlines()
    assert [line.split()[0].strip(",") for line in lines] == ["travel", "NODE", "sepa"]


def test_nothing_yet_is_one_sentence(here: Path) -> None:
    """Without a store, or without health in it, one sentence says so, and looking creates nothing."""
    result = health()
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        "nothing is known of the health of any graph yet: it is saved while a graph runs with this run log\n"
    )
    assert os.listdir(here) == []
    save([STRIPE])
    Path("g.yaml").write_text("version: 1\nname: other\ntools: {a: {declared: true}}\ngoals: [{name: g, values: a}]\n")
    assert "of the health of the graph other yet" in health("g.yaml").stderr
    assert json.loads(health("g.yaml", "--json").stdout) == {"graphs": []}


def test_a_graph_whose_policy_leaves_health_aside_is_told_of() -> None:
    """Whoever waits for figures that nobody measures is told why there are none."""
    head = "version: 1\nname: other\ntools: {a: {declared: true}}\ngoals: [{name: g, values: a}]\n"
    for use, told in (("false", True), ("true", False)):
        Path("g.yaml").write_text(f"{head}policy: {{health: {{use: {use}}}}}\n")
        says = "the policy of g.yaml gives health no say: nothing is saved without health: {use: true}"
        assert (says in health("g.yaml").stderr) == told


def test_what_cannot_be_is_refused() -> None:
    """Watching has no end and a document has one; a file that is none and data that is damaged say so."""
    both = health("--watch", "--json")
    assert (both.exit_code, "give one of them" in json.loads(both.stdout)["error"]["message"]) == (2, True)
    assert health("nowhere.yaml").exit_code == 2
    save([STRIPE])
    tamper(f"sqlite:///{Path('.orchestrator/runs.db').absolute()}", "UPDATE health SET data = '{'")
    damaged = health()
    assert damaged.exit_code == 2
    assert "the health of the graph refund cannot be read" in damaged.stderr


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that quotes a key of the environment is masked, in the table and in the document."""
    monkeypatch.setenv("SHOP_API_KEY", "sk-0123456789")
    told = replace(SLOW, reason="refused sk-0123456789")
    save([replace(ADYEN, reasons=(told,), last_error="sk-0123456789", last_error_ago=1.0)], attention=told)
    for arguments in ((), ("--json",)):
        shown = health(*arguments).stdout
        assert ("sk-0123456789" in shown, "***" in shown) == (False, True)


# ------------------------------------------------------------------------------------------------------------- watching


COMMAND = [sys.executable, "-m", "orchestrator", "health", "--watch"]


def environment() -> dict[str, str]:
    """Return the environment of a process that runs this tree."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}


def test_watching_off_a_terminal_prints_what_changes() -> None:
    """A line for every node at first, then for each that changed; Ctrl-C ends it with 130."""
    save([STRIPE, IDLE])
    with subprocess.Popen(
        COMMAND, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        first, second = watching.stdout.readline(), watching.stdout.readline()
        assert re.match(r"\d\d:\d\d:\d\d  refund  stripe  open  1/6", first)
        assert "\x1b" not in first
        assert "sepa  closed" in second
        save([replace(STRIPE, state="closed", open_for=0.0), IDLE])
        assert "refund  stripe  closed" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        assert "Traceback" not in watching.stderr.read()


def test_watching_before_anything_is_known_waits() -> None:
    """It says once that nothing is known, and shows what comes."""
    with subprocess.Popen(
        COMMAND, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "nothing is known" in watching.stderr.readline()
        save([IDLE])
        assert "sepa  closed" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        assert watching.stderr.read() == ""


def test_a_terminal_gets_colour_and_whole_lines() -> None:
    """On a terminal states have their colours, and what is known of a node is not cut off."""
    save([STRIPE, replace(ADYEN, reasons=(replace(SLOW, reason="slow " * 30 + "indeed"),))], attention=None)
    shown = pexpect.spawn(
        sys.executable,
        ["-m", "orchestrator", "health"],
        env=environment(),
        encoding="utf-8",
        timeout=30,
        dimensions=(24, 60),
    )
    shown.expect(pexpect.EOF)
    assert "\x1b[31mopen" in shown.before
    assert "\x1b[32mclosed" in shown.before
    assert "slow " * 30 + "indeed" in shown.before


def test_watching_on_a_narrow_terminal_tells_why() -> None:
    """Where a node's notes do not fit beside its figures they stand below them; a blank line ends each graph."""
    save([replace(STRIPE, reasons=(replace(SLOW, reason="takes 3.2s now, mostly 1.1s"),)), IDLE], attention=None)
    save([IDLE], "travel", None)
    watching = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env=environment(), encoding="utf-8", timeout=30, dimensions=(24, 72)
    )
    watching.expect(r"travel, as of")
    drawn = [line.strip() for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", watching.before).splitlines()]
    at = next(number for number, line in enumerate(drawn) if line.startswith("stripe"))
    assert drawn[at + 1] == "takes 3.2s now, mostly 1.1s; retries spent"
    assert drawn[at + 2].startswith("sepa")
    assert drawn[at + 3] == ""
    watching.close(force=True)


def test_watching_on_a_terminal_redraws_in_place() -> None:
    """The table is drawn over itself, in colour, until Ctrl-C, which ends it with 130 and the cursor back."""
    save([STRIPE])
    watching = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env=environment(), encoding="utf-8", timeout=30, dimensions=(24, 100)
    )
    watching.expect("as of")
    watching.expect("stripe")
    watching.expect("open")
    save([replace(STRIPE, state="closed", open_for=0.0)])
    watching.expect("closed")
    assert "\x1b[1A" in watching.before  # one line up: it draws over what it drew
    watching.sendintr()
    watching.expect(pexpect.EOF)
    assert "\x1b[?25h" in watching.before
    assert "Traceback" not in watching.before
    watching.close()
    assert watching.exitstatus == 130
