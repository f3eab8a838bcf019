"""What a run would see of saved health, and how `plan` tells of it: the command line on real run logs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from orchestrator import Orchestrator, tool
from orchestrator.cli.app import app
from orchestrator.cli.known_health import known_health
from orchestrator.events import RunStarted
from orchestrator.health import Signal
from orchestrator.health.seen import drawn, seen
from orchestrator.store import Store
from orchestrator.weight import View
from tests.boards import Desk, Says
from tests.running import graph, node
from tests.stores import tamper

GRAPH = """
version: 1
name: pages
tools:
  fast: {declared: true, provides: page, effect: read, cost: {units: 1}}
  slow: {declared: true, provides: page, effect: read, cost: {units: 2}}
  last: {declared: true, provides: page, effect: read, cost: {units: 9}}
policy: {health: {use: true}, circuit: {cooldown: 10m, max_cooldown: 10m, volume: 20}}
goals: [{name: g, values: page}]
"""
POLICY = {"circuit": {"cooldown": "10m", "max_cooldown": "10m", "volume": 20}}
PAGES = replace(
    graph(
        node("fast", provides="page"),
        node("slow", provides="page", units=2.0),
        node("last", provides="page", units=9.0),
        goals="g: page",
    ),
    name="pages",
)


def pages(*said: Signal, error: str = "raised") -> Desk:
    """Return the board of a process in which `fast` is out of use, `slow` fails half of the time, and `last` rests."""
    desk = Desk(PAGES, POLICY, monitors=[Says(*said)])
    desk.check()
    desk.saw("fast", *["external"] * 5, error=error)
    desk.saw("slow", *["ok", "external"] * 15, every=0.02, seconds=0.12)
    desk.wait(0.5)
    return desk


def save(desk: Desk) -> None:
    """Save health as a process that runs the graph would."""

    async def main() -> None:
        async with Store.open(".orchestrator/runs.db") as store:
            await store.save_health("pages", desk.document())

    anyio.run(main)


def later(path: Path, seconds: float) -> None:
    """Have all that was saved and told happened so much earlier."""
    tamper(
        f"sqlite:///{path.absolute()}",
        f"UPDATE health SET updated = updated - {seconds}",
        f"UPDATE outages SET at = at - {seconds}, until = until - {seconds}",
    )


def plan(*arguments: str) -> Result:
    """Call `orchestrator plan` on the graph."""
    return CliRunner().invoke(app, ["plan", "pages.yaml", *arguments])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with nothing but the graph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_STORE", raising=False)
    (tmp_path / "pages.yaml").write_text(GRAPH)
    return tmp_path


# ------------------------------------------------------------------------------------------------------------- the view


def test_what_is_seen_is_what_the_next_run_is_shown() -> None:
    """An open circuit, a measured weight, a spent budget: the view of the board, but for its id."""
    desk = pages()
    shown = seen(desk.board)
    told = desk.board.view("run")
    assert [name for name, _ in told.vetoes] == ["fast"]
    assert set(told.spent) == {"fast", "slow", "last"}
    assert dict(told.weights)["slow"] > 2_000_000
    assert replace(told, id="health") == shown


def test_to_look_takes_nothing() -> None:
    """The permit to try a half-open node is for runs: who looks sees it as usable, and then as taken by a run."""
    desk = pages()
    desk.wait(600.0)
    assert seen(desk.board).vetoes == ()
    assert [name for name, _ in desk.start("first", ["fast"]).vetoes] == []
    assert [name for name, _ in seen(desk.board).vetoes] == ["fast"]
    assert [name for name, _ in desk.start("second").vetoes] == ["fast"]


@pytest.mark.parametrize(("headroom", "heavier"), [(0.098, True), (0.1, False)])
def test_a_share_is_seen_as_most_runs_see_it(headroom: float, heavier: bool) -> None:
    """Less than half of its share is no way for most runs; half of it or more is as good as ever."""
    desk = Desk(PAGES, POLICY)
    desk.saw("slow", "ok", headroom=headroom)
    desk.board.look()
    share = desk.circuits.share("slow")
    lots = [drawn(f"run {number}", "slow") for number in range(1000)]
    assert sum(lot < share for lot in lots) == pytest.approx(1000 * share, abs=60)
    assert (dict(seen(desk.board).weights)["slow"] >= 4_000_000) == heavier


# ----------------------------------------------------------------------------------------------- later, and elsewhere


class Refused(Exception):
    """An answer of a server that will not."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(str(status))
        self.status_code, self.headers = status, headers


def fourfold(store: Path) -> Orchestrator:
    """Return a graph in which one tool refuses us, one is at its rate limit, one is down, and one works."""

    @tool(provides="page", effect="read", units=1)
    async def noauth() -> str:
        raise Refused(401)

    @tool(provides="page", effect="read", units=2)
    async def limited() -> str:
        raise Refused(429, **{"retry-after": "30"})

    @tool(provides="page", effect="read", units=3, retry={"attempts": 1}, circuit={"cooldown": "2m"})
    async def down() -> str:
        raise ConnectionRefusedError("x")

    @tool(provides="page", effect="read", units=4)
    async def good() -> str:
        return "page"

    policy = {"circuit": {"max_cooldown": "2m"}}
    return Orchestrator(
        [noauth, limited, down, good], {"g": ["page"]}, policy=policy, store=store, name="pages", environ={}
    )


@pytest.mark.parametrize(
    ("age", "barred", "route"),
    [
        (0.0, ["down", "limited", "noauth"], "good"),
        (40.0, ["down", "noauth"], "limited"),
        (3600.0, [], "noauth"),
    ],
)
def test_a_plan_says_what_a_run_is_shown_that_starts_at_that_moment(
    here: Path, age: float, barred: list[str], route: str
) -> None:
    """However long ago health was saved: the same nodes are barred, for the same reasons, and the weights are alike."""
    store = here / "pages.db"

    async def first() -> None:
        async with fourfold(store) as orchestrator:
            for _ in range(6):
                await orchestrator.run()

    async def then(run_id: str) -> View:
        async with fourfold(store) as orchestrator:
            started = (await orchestrator.run(run_id=run_id)).records[0].event
        assert isinstance(started, RunStarted)
        return started.view

    anyio.run(first)
    later(store, age)
    told = known_health(fourfold(store), str(store))
    assert told is not None
    assert [name for name, _ in told.view.vetoes] == barred
    assert fourfold(store).plan(view=told.view).route.nodes == (route,)
    # One of the runs that see shares as most do.
    shares = {row.node: row.share for row in told.rows}
    like_most = (f"run {number}" for number in range(1000))
    run_id = next(
        each
        for each in like_most
        if all((drawn(each, name) < share) == (share >= 0.5) for name, share in shares.items())
    )
    shown = anyio.run(then, run_id)
    assert (shown.vetoes, shown.open, shown.gates) == (told.view.vetoes, told.view.open, told.view.gates)
    assert set(shown.spent) == set(told.view.spent)
    assert dict(shown.weights) == pytest.approx(dict(told.view.weights), rel=0.1)


@pytest.mark.parametrize("left", [300.0, -1.0])
def test_what_others_told_is_in_a_plan(here: Path, left: float) -> None:
    """An outage that a process announced bars the way of the next run, and a plan says so; not when it is over."""

    async def announce() -> None:
        async with Store.open(here / "pages.db") as store:
            await store.announce("pages", "good", "open", store._clock() + left, "5 failures in a row")

    anyio.run(announce)
    told = known_health(fourfold(here / "pages.db"), str(here / "pages.db"))
    reason = "circuit open for 120.0s: another process says: 5 failures in a row"
    assert (None if told is None else told.view.vetoes) == ((("good", reason),) if left > 0 else None)


def test_a_plan_asks_for_probes_as_a_run_does(here: Path) -> None:
    """A half-open node that is probed outside runs is tried by none before its probe has passed."""
    save(pages())
    later(here / ".orchestrator/runs.db", 601.0)
    assert json.loads(plan("--json").stdout)["route"] == ["fast"]
    probe = "probe: {http: 'http://127.0.0.1:9/up', every: 10s}, "
    (here / "pages.yaml").write_text(GRAPH.replace("fast: {", f"fast: {{{probe}"))
    found = json.loads(plan("--json").stdout)
    assert (found["route"], found["unused"]["fast"]) == (["slow"], "vetoed: half-open: waits for its probe")


# ----------------------------------------------------------------------------------------------------- the command line


def test_a_plan_goes_by_the_health_that_the_run_log_knows() -> None:
    """The route is the one that a run would take now, with each node's weight as declared and now, and why.

    A retry budget that is spent is its group's affair.
    """
    save(pages())
    told = plan("--explain").stdout
    assert told.startswith("goal g: weight 2.")
    assert re.search(r"\n  fast  vetoed: circuit open for \S+s: 5 failures in a row\n", told)
    assert "times what it declares" in told
    table = told[told.index("health, as of ") :].splitlines()
    assert table[1].split() == ["node", "state", "declared", "now", "why"]
    fast, last, slow = (line.split(maxsplit=4) for line in table[2:])
    assert fast[:4] == ["fast", "open", "1", "-"]
    assert re.fullmatch(r"circuit open for \S+s: 5 failures in a row; its group's retries are spent", fast[4])
    assert last == ["last", "closed", "9", "9", "its group's retries are spent"]
    assert slow[:3] == ["slow", "closed", "2"]
    assert re.fullmatch(r"\d+ of \d+ succeeded of late, 120 ms; its group's retries are spent", slow[4])


def test_what_monitors_of_a_process_say_is_not_in_a_plan() -> None:
    """The next process does not know it before its own monitors say it; `health` shows it meanwhile."""
    save(pages(Signal("mine", "slow", 0.5, "an audit is under way", "gate")))
    assert "audit" not in plan("--explain").stdout
    assert "an audit is under way" in CliRunner().invoke(app, ["health"]).stdout


def test_the_document_holds_health_and_backups() -> None:
    """`plan --json` tells the same as data."""
    save(pages())
    found = json.loads(plan("--json").stdout)
    assert found["route"] == ["slow"]
    assert found["backups"]["slow"]["node"] == {"without": ["slow"], "route": ["last"], "weight": 9.0}
    assert found["nodes"]["slow"]["terms"]["health"] > 1.05
    fast, slow = (found["health"]["nodes"][name] for name in ("fast", "slow"))
    assert (fast["state"], fast["out"], fast["declared"], fast["weight"]) == ("open", None, 1.0, None)
    assert fast["veto"] == fast["reasons"][0]["reason"]
    assert slow["weight"] == pytest.approx(found["nodes"]["slow"]["terms"]["health"] * 2, rel=1e-5)


@pytest.mark.parametrize("asked", ["--declared", "policy"])
def test_a_plan_as_declared_asks_nobody(here: Path, asked: str) -> None:
    """With --declared, and where the policy gives health no say, the run log is not even looked at."""
    save(pages())
    if asked == "policy":
        (here / "pages.yaml").write_text(GRAPH.replace("use: true", "use: false"))
    found = json.loads(plan("--json", *([asked] if asked == "--declared" else [])).stdout)
    assert (found["route"], found["health"]) == (["fast"], None)


def test_without_a_run_log_the_plan_is_as_declared(here: Path) -> None:
    """Nothing is known, nothing is said of it, and nothing is created."""
    result = plan("--explain")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "health" not in result.stdout
    assert [path.name for path in here.iterdir()] == ["pages.yaml"]


def test_a_run_log_that_cannot_be_read_stops_no_plan() -> None:
    """It is told of and left aside; one that is asked for by name is an error; another version's is nothing known."""
    save(pages())
    tamper(f"sqlite:///{Path('.orchestrator/runs.db').absolute()}", "UPDATE health SET data = '{'")
    result = plan()
    assert result.exit_code == 0
    assert result.stderr.startswith("planned as declared: the health of the graph pages cannot be read")
    assert plan("--store", ".orchestrator/runs.db").exit_code == 2
    odd = json.dumps({"circuits": {"version": 1, "nodes": {"fast": 3}}})
    tamper(f"sqlite:///{Path('.orchestrator/runs.db').absolute()}", f"UPDATE health SET data = '{odd}'")
    assert json.loads(plan("--json").stdout)["health"] is None


def test_a_plan_waits_for_nobody_whom_it_was_not_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run log of the environment that is not there costs a moment and a sentence, and a plan is made all the same."""
    monkeypatch.setenv("ORCHESTRATOR_STORE", "postgresql://nobody:sk-0123456789@127.0.0.1:1/runs")
    result = plan()
    assert result.exit_code == 0
    assert result.stdout.startswith("goal g: weight 1, ")
    waited = re.search(r"planned as declared: the store .* cannot be used, after (\S+) s of trying", result.stderr)
    assert waited is not None
    assert float(waited[1]) <= 2.5
    assert "sk-0123456789" not in result.stderr


def test_no_secret_is_in_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that quotes a key of the environment is masked, in the text and in the document."""
    monkeypatch.setenv("SHOP_API_KEY", "sk-0123456789")
    desk = pages(error="sk-0123456789")
    desk.wait(600.0)
    desk.start("probe", ["fast"])
    desk.saw("fast", "external", error="sk-0123456789", run_id="probe")
    save(desk)
    for option in ("--explain", "--json"):
        shown = plan(option).stdout
        assert ("sk-0123456789" in shown, "***" in shown) == (False, True)


async def test_an_application_is_told_what_its_next_run_would_take() -> None:
    """`Orchestrator.plan` goes by what this process has learnt from its runs."""

    @tool(provides="page", effect="read", units=1)
    async def fast() -> str:
        raise ConnectionError("down")

    @tool(provides="page", effect="read", units=2)
    async def slow() -> str:
        return "page"

    policy: dict[str, Any] = {"health": {"use": True}, "retry": {"attempts": 1}}
    async with Orchestrator(tools=[fast, slow], goals={"g": ["page"]}, policy=policy) as orchestrator:
        assert orchestrator.plan().route.nodes == ("fast",)
        for _ in range(5):
            await orchestrator.run()
        found = orchestrator.plan()
        assert found.route.nodes == ("slow",)
        assert found.unused["fast"].startswith("vetoed: circuit open")
