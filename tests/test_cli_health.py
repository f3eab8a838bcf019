"""``orchestrator health``: the table, one document, and watching on a terminal and off it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import anyio
import pexpect  # type: ignore[import-untyped]  # has no types
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.app import app
from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Signal
from orchestrator.health.stored import circuits_of, known
from orchestrator.store import Store
from tests.boards import Desk, Says
from tests.stores import tamper

ROOT = Path(__file__).resolve().parent.parent
SLOW = Signal("latency", "adyen", 0.7, "3 times slower than usual", effect="factor", factor=3.0)
LONG = {"cooldown": "10m", "max_cooldown": "10m", "volume": 20}


def bank(*said: Signal) -> Desk:
    """Return the board of a graph in which one node is out of use, one is slow and scarce, and one was never called.

    Args:
        said: What a user's monitor says.
    """
    nodes = [Node(name, provides=("refund",), effect="read") for name in ("adyen", "stripe")]
    graph = Graph((*nodes, Node("sepa", provides=("transfer",))), (Goal("g", ("refund", "transfer")),), name="refund")
    policy = {"circuit": LONG}
    desk = Desk(graph, policy, monitors=[Says(*said)], patience=5.0)
    desk.check()
    desk.saw("adyen", *["ok"] * 12, seconds=0.0421)
    desk.saw("stripe", "ok", seconds=1.81)
    desk.saw("stripe", *["external"] * 8, error="http_5xx")
    desk.wait(4.0)
    desk.saw("adyen", "ok", seconds=0.0421, headroom=0.08)
    return desk


def idle(graph: str = "refund") -> Desk:
    """Return the board of a graph whose only node was never called."""
    return Desk(Graph((Node("sepa", provides=("transfer",)),), (Goal("g", ("transfer",)),), name=graph))


def save(desk: Desk) -> None:
    """Save health as a process that runs the graph would."""

    async def main() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            await store.save_health(desk.graph.name, desk.document())

    anyio.run(main)


def later(seconds: float) -> None:
    """Have all that was saved and told happened so much earlier."""
    tamper(
        f"sqlite:///{Path('.orchestrator/runs.db').absolute()}",
        f"UPDATE health SET updated = updated - {seconds}",
        f"UPDATE outages SET at = at - {seconds}, until = until - {seconds}",
    )


def table(text: str) -> dict[str, list[str]]:
    """Return the cells of each node's line."""
    lines = [re.split(r"\s{2,}", line) for line in text.splitlines()]
    return {cells[0]: cells for cells in lines if cells[0] in ("adyen", "stripe", "sepa")}


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


def test_what_was_saved_is_read_as_it_was() -> None:
    """Rows, attention and what had it before come back through JSON as the board had them, and the snapshot whole."""
    desk = bank(SLOW)
    data = desk.document()
    found = known(data, 0.0)
    assert found is not None
    for shown, row in zip(found.rows, desk.board.rows(), strict=True):
        assert asdict(shown) == {
            name: pytest.approx(value) if isinstance(value, float) else value for name, value in asdict(row).items()
        }
    assert found.attention == desk.board.attention
    assert [each for _, each in found.attended] == [each.signal for each in desk.board.attended]
    assert circuits_of(data) == json.loads(json.dumps(desk.circuits.snapshot()))


def test_what_was_saved_grows_old() -> None:
    """Later, less of an outage is left and an error is longer ago; what monitors said is over when it would have been.

    What then takes attention is what is left.
    """
    data = bank(SLOW).document()
    adyen, _, stripe = known(data, 100.0).rows  # type: ignore[union-attr]
    assert (stripe.state, stripe.last_error_ago) == ("open", pytest.approx(104.0))
    assert stripe.open_for == pytest.approx(known(data, 0.0).rows[2].open_for - 100.0)  # type: ignore[union-attr]
    assert [signal.monitor for signal in adyen.reasons] == ["latency"]
    assert adyen.share > 0.9
    old = known(data, 3600.0)
    assert old is not None
    assert [(row.state, row.reasons, row.share) for row in old.rows] == [
        ("closed", (), 1.0),
        ("closed", (), 1.0),
        ("half_open", (), 1.0),
    ]
    assert old.attention is None
    assert all(ago >= 3600.0 for ago, _ in old.attended)


def test_what_a_monitor_said_is_shown_for_as_long_as_it_holds() -> None:
    """A veto ends when its monitor lifts it, and a late event loop is told of for a moment: not until all is stale."""
    desk, late = Desk(), Desk()
    desk.saw("a", *["contract"] * 6)
    late.board.lag(0.4)
    found = [known(desk.document(), age) for age in (0.0, 6.0)]
    assert [[signal.effect for signal in each.rows[0].reasons] for each in found if each] == [["veto"], ["factor"]]
    found = [known(late.document(), age) for age in (6.0, 11.0)]
    assert [each.attention and each.attention.monitor for each in found if each] == ["lag", None]


@given(st.sampled_from([0.0, 1.0, 4.9, 20.0, 31.0, 59.0, 61.0, 300.0, 4000.0]), st.data())
def test_what_is_shown_later_is_what_the_process_would_show(age: float, data: st.DataObject) -> None:
    """Whatever happened: if nothing happens meanwhile, what was saved says later what the board itself says then."""
    words = ("ok", "external", "timeout", "unauthorised", "rate_limited", "contract")
    desk = Desk()
    for node, word in data.draw(st.lists(st.tuples(st.sampled_from(["a", "b", "alone"]), st.sampled_from(words)))):
        desk.saw(node, word, every=0.5, retry_after=20.0 if word == "rate_limited" else None)
    saved = desk.document()
    desk.wait(age)
    found = known(saved, age)
    assert found is not None
    for shown, row in zip(found.rows, desk.board.rows(), strict=True):
        assert (shown.condition, shown.spent, shown.last_error) == (row.condition, row.spent, row.last_error)
        figures = ("ok", "n", "left", "share", "success", "last_error_ago")
        for figure in figures:
            assert getattr(shown, figure) == pytest.approx(getattr(row, figure), abs=1e-6), figure
        said, holds = ([each.reason for each in told.reasons if each.monitor == "circuit"] for told in (shown, row))
        assert said == holds
        # What its monitor does not say any more is not told either.
        assert {each.monitor for each in shown.reasons} <= {each.monitor for each in row.reasons}


@pytest.mark.parametrize("data", [{}, {"rows": []}, {"graph": 3}, {"graph": {}, "policy": {}, "overrides": {}}])
def test_what_another_version_saved_is_nothing(data: dict[str, Any]) -> None:
    """Data of another form is nothing to show, and no error."""
    assert (known(data, 1.0), circuits_of(data)) == (None, None)


# -------------------------------------------------------------------------------------------------------------- looking


def test_the_table() -> None:
    """Each node has a line with what is known of it; a node that was never called says so.

    A retry budget that is spent is told once: substitutes share it, and none of them alone is to blame.
    """
    save(bank(SLOW))
    result = health()
    assert (result.exit_code, result.stderr) == (0, "")
    title, head, *lines, spent = result.stdout.splitlines()
    assert re.fullmatch(
        r"refund, as of \S+ ago; attention: stripe, open for (\d{3}s|\dm|10m): 5 failures in a row", title
    )
    assert head.split() == ["NODE", "STATE", "OK", "LATENCY", "OUT", "FOR", "LAST", "ERROR"]
    adyen, sepa, stripe = (re.split(r"\s{2,}", line) for line in lines)
    assert stripe[:2] == ["stripe", "open"]
    assert re.fullmatch(r"\d{3}s|\dm|10m", stripe[4])
    assert stripe[5].startswith("http_5xx ")
    assert stripe[6:] == ["5 failures in a row"]
    assert adyen[:2] == ["adyen", "closed"]
    assert adyen[3:] == [
        "42ms",
        "3 times slower than usual; about 8% of its rate limit is left; gets 40% of its share",
    ]
    assert sepa == ["sepa", "closed", "-", "-"]
    assert spent == "retries spent, which substitutes share: adyen, stripe"


def test_who_is_out_of_use_is_not_shown_as_in_use() -> None:
    """A node that refuses our credentials or is at its rate limit says so, for how long still, and when that is over.

    That its budget of traffic is halved does not matter while it gets none.
    """
    desk = Desk(bank().graph)
    desk.saw("adyen", "unauthorised", error="unauthorised")
    desk.saw("stripe", "rate_limited", error="rate_limited", retry_after=30.0)
    desk.saw("sepa", "ok")
    save(desk)
    rows = table(health().stdout)
    assert rows["adyen"][:4] == ["adyen", "refused", "-", "-"]
    assert rows["stripe"][:4] == ["stripe", "limited", "-", "-"]
    assert re.fullmatch(r"5\ds|60s", rows["adyen"][4])
    assert re.fullmatch(r"2\ds|30s", rows["stripe"][4])
    assert (len(rows["adyen"]), len(rows["stripe"])) == (6, 6)  # no note repeats it
    assert rows["sepa"][:2] == ["sepa", "closed"]
    later(15.0)
    rows = table(health().stdout)
    assert re.fullmatch(r"3\ds|4\ds", rows["adyen"][4])
    assert re.fullmatch(r"\d\.\ds|1\ds", rows["stripe"][4])
    later(20.0)
    rows = table(health().stdout)
    assert (rows["adyen"][1], rows["stripe"][1]) == ("refused", "closed")
    assert re.fullmatch(r"1\ds|2\ds", rows["adyen"][4])
    assert re.fullmatch(r"gets \d+% of its share", rows["stripe"][5])
    found = {node["node"]: node for node in json.loads(health("--json").stdout)["graphs"][0]["nodes"]}
    assert (found["adyen"]["state"], found["adyen"]["out"]) == ("closed", "refused")
    assert 0 < found["adyen"]["out_for"] < 30
    assert (found["stripe"]["out"], found["stripe"]["out_for"]) == (None, 0.0)
    later(3600.0)
    title, *_ = health().stdout.splitlines()
    assert re.fullmatch(r"refund, as of 6\dm ago", title)
    rows = table(health().stdout)
    assert [cells[1] for cells in rows.values()] == ["closed"] * 3
    assert rows["sepa"] == ["sepa", "closed", "-", "-"]  # what it did has faded


def test_attention_for_what_is_about_no_node() -> None:
    """A late event loop takes attention in its own name."""
    desk = idle()
    desk.board.lag(0.4)
    save(desk)
    assert (
        health()
        .stdout.splitlines()[0]
        .endswith(" ago; attention: the event loop was 0.4s late: timeouts are no evidence")
    )


def test_one_document() -> None:
    """With --json all that is known comes as one document, by graph, with what took attention before."""
    save(bank(SLOW))
    save(idle("travel"))
    graphs = json.loads(health("--json").stdout)["graphs"]
    assert [(each["graph"], [node["node"] for node in each["nodes"]]) for each in graphs] == [
        ("refund", ["adyen", "sepa", "stripe"]),
        ("travel", ["sepa"]),
    ]
    assert graphs[0]["attention"]["node"] == "stripe"
    assert [each["signal"]["node"] for each in graphs[0]["attended"]] == ["adyen", "stripe"]
    assert graphs[0]["attended"][1]["ago"] >= 4.0
    assert graphs[0]["nodes"][2]["last_error"] == "http_5xx"
    assert 0 <= graphs[0]["age"] < 60


def announce(node: str, state: str, left: float, graph: str = "refund") -> None:
    """Announce an outage as a process that runs the graph would."""

    async def main() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            await store.announce(graph, node, state, store._clock() + left, "5 failures in a row")

    anyio.run(main)


def test_an_outage_that_was_told_is_shown_before_it_is_saved() -> None:
    """What a process tells the others is newer than what it saved last, and says whose word it is, and how old."""
    save(bank(SLOW))
    announce("adyen", "open", 290.0)
    announce("sepa", "open", 290.0)
    announce("sepa", "closed", 0.0)
    adyen, sepa, _ = table(health().stdout).values()
    assert (adyen[:2], adyen[3]) == (["adyen", "open"], "42ms")
    assert re.fullmatch(r"28\d\S*|29\d\S*|5m", adyen[4])
    assert re.match(rf"5 failures in a row, says process {os.getpid()} on \S+ \S+ ago; 3 times slower", adyen[5])
    assert sepa == ["sepa", "closed", "-", "-"]
    (graph,) = json.loads(health("--json").stdout)["graphs"]
    (outage,) = graph["outages"]
    assert (outage["node"], outage["state"], outage["reason"]) == ("adyen", "open", "5 failures in a row")
    assert 0 < outage["seconds"] <= 290


def test_what_was_saved_after_an_outage_was_told_is_newer() -> None:
    """A process that heard of it, and knows better, has the last word; whose outage it is stays in the document."""
    announce("sepa", "open", 290.0)
    save(idle())
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
    save(bank())
    save(idle("travel"))
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
        f"nothing is known yet of the health of any graph in sqlite:///{here}/.orchestrator/runs.db, which is not "
        "there: it is saved while a graph runs\n"
    )
    assert f"in sqlite:///{here}/nowhere.db, which is not there" in health("--store", "nowhere.db").stderr
    assert os.listdir(here) == []
    save(bank())
    Path("g.yaml").write_text("version: 1\nname: other\ntools: {a: {declared: true}}\ngoals: [{name: g, values: a}]\n")
    assert "of the health of the graph other in sqlite" in (said := health("g.yaml").stderr)
    assert "not there" not in said
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
    save(bank())
    tamper(f"sqlite:///{Path('.orchestrator/runs.db').absolute()}", "UPDATE health SET data = '{'")
    damaged = health()
    assert damaged.exit_code == 2
    assert "the health of the graph refund cannot be read" in damaged.stderr


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that quotes a key of the environment is masked, in the table and in the document."""
    monkeypatch.setenv("SHOP_API_KEY", "sk-0123456789")
    told = replace(SLOW, reason="refused sk-0123456789")
    desk = bank(told)
    desk.saw("adyen", "external", error="sk-0123456789")
    save(desk)
    for arguments in ((), ("--json",)):
        shown = health(*arguments).stdout
        assert ("sk-0123456789" in shown, "***" in shown) == (False, True)


# ------------------------------------------------------------------------------------------------------------- watching


COMMAND = [sys.executable, "-m", "orchestrator", "health", "--watch"]


def environment() -> dict[str, str]:
    """Return the environment of a process that runs this tree; how wide it is, the terminal says."""
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**own, "PYTHONPATH": str(ROOT), "TERM": "xterm"}


def test_watching_off_a_terminal_prints_what_changes() -> None:
    """A line for every node at first, then for each that changed; Ctrl-C ends it with 130."""
    save(bank())
    with subprocess.Popen(
        COMMAND, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        first, second, third = (watching.stdout.readline() for _ in range(3))
        assert re.match(r"\d\d:\d\d:\d\d  refund  adyen  closed  1", first)
        assert "\x1b" not in third
        assert "sepa  closed" in second
        assert "refund  stripe  open" in third
        later(1200.0)
        lines = [watching.stdout.readline(), watching.stdout.readline()]
        assert any("refund  stripe  half-open" in line for line in lines)
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
        save(idle())
        assert "sepa  closed" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        assert watching.stderr.read() == ""


def test_a_terminal_gets_colour_and_whole_lines() -> None:
    """On a terminal states have their colours, and what is known of a node is not cut off."""
    save(bank(replace(SLOW, reason="slow " * 30 + "indeed")))
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
    save(bank(SLOW, replace(SLOW, node="stripe", reason="takes 3.2s now, mostly 1.1s")))
    save(idle("travel"))
    watching = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env=environment(), encoding="utf-8", timeout=30, dimensions=(24, 64)
    )
    watching.expect(r"travel, as of")
    drawn = [line.strip() for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", watching.before).splitlines()]
    at = next(number for number, line in enumerate(drawn) if line.startswith("stripe"))
    assert drawn[at + 1] == "5 failures in a row; takes 3.2s now, mostly 1.1s"
    assert drawn[at + 2] == "retries spent, which substitutes share: adyen, stripe"
    assert drawn[at + 3] == ""
    top = next(number for number, line in enumerate(drawn) if line.startswith("refund, as of"))
    assert re.fullmatch(r"attention: stripe, open for \S+: 5 failures in a row", drawn[top + 1])
    watching.close(force=True)


def test_watching_on_a_terminal_redraws_in_place() -> None:
    """The table is drawn over itself, in colour, until Ctrl-C, which ends it with 130 and the cursor back."""
    save(bank())
    watching = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env=environment(), encoding="utf-8", timeout=30, dimensions=(24, 100)
    )
    watching.expect("as of")
    watching.expect("stripe")
    watching.expect("open")
    later(1200.0)
    watching.expect("half-open")
    assert "\x1b[1A" in watching.before  # one line up: it draws over what it drew
    watching.sendintr()
    watching.expect(pexpect.EOF)
    assert "\x1b[?25h" in watching.before
    assert "Traceback" not in watching.before
    watching.close()
    assert watching.exitstatus == 130
