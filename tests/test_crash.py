"""Processes that are killed while they run graphs, hundreds of times: nothing is lost, and nothing is done twice.

The ledger that the tools write outside is the witness. `CRASHES` says how many lives are killed at random, and
`CRASH_SEED` which ones; in CI both are fixed.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.chance import unit_interval
from orchestrator.drivers.resuming import recorded
from orchestrator.drivers.values import reference
from orchestrator.events import (
    Absorbed,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    Escalated,
    Event,
    LastChance,
    NodeExcluded,
    Record,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunFinished,
    RunResumed,
    Settled,
    Warned,
)
from orchestrator.graph import Graph
from orchestrator.result import RunResult
from orchestrator.run import Run
from orchestrator.store import StoredRun
from tests import oracle
from tests.conftest import check_replay
from tests.crashing import POINTS, SEED, Ended, Ledger, Lives, Row, Scene, World, scene, script
from tests.postgres import Postgres
from tests.stores import opened
from tests.test_run_contracts import check_route, moment_before_lift, remaining

ANSWERS = (Absorbed, Retried, Rerouted, LastChance, Escalated, RunEnded)
REPEATABLE = ("read", "idempotent")

CRASHES = int(os.environ.get("CRASHES", "120"))
SHARDS = 4
FIXED = "CRASHES" not in os.environ
EVENTFUL = 185
"""A scene whose script ``s`` meets reroutes, retries, questions, a failed check and undos on its way."""
KILLS = 5
"""Lives of one case that are killed, at most, before one is left to finish."""

MEMORY = Path("/dev/shm")
"""A file system without a disk, where there is one: what is tried out here are killed processes, not lost power."""


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    """Give a warm process that forks lives."""
    forking = Lives()
    yield forking
    forking.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder that takes no time to write to."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="crash-") as made:
        yield Path(made)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    """Give the address of an empty store on either database."""
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'runs.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_schema()


@dataclass
class Case:
    """Runs of one scene in one store, with what they did outside and what was said about them."""

    lives: Lives
    url: str
    folder: Path
    number: int
    accepted: set[str] = field(default_factory=set)

    @property
    def ledger(self) -> Path:
        """Where the tools write what they do."""
        return self.folder / "ledger"

    def begin(self, runs: list[str], *, by: Lives | None = None, **how: Any) -> int:
        """Let a process live; return its pid."""
        told = {"scene": self.number, "ledger": str(self.ledger), "url": self.url, "runs": runs, **how}
        return (by or self.lives).begin(**told)

    def end(self, pid: int, kill_after: float | None = None, *, by: Lives | None = None) -> Ended:
        """Wait until a process is over."""
        ended = (by or self.lives).end(pid, kill_after)
        self.accepted.update(run for (run,) in ended.all("accepted"))
        return ended

    def live(self, runs: list[str], kill_after: float | None = None, **how: Any) -> bool:
        """Let one process live, and nothing go wrong but its death; return whether it was killed."""
        ended = self.end(self.begin(runs, **how), kill_after)
        assert ended.all("refused") == []
        return ended.killed

    def stored(self) -> dict[str, StoredRun]:
        """Return all that the store holds."""

        async def load() -> dict[str, StoredRun]:
            async with opened(self.url) as store:
                rows = await store.runs(limit=None, graph=scene(self.number).name)
                return {row.run_id: await store.load(row.run_id) for row in rows}

        return anyio.run(load)


# ---------------------------------------------------------------------------------------------------------- the verdict


def judge(case: Case) -> Counter[str]:
    """Check every run of a case against its ledger and against the run left alone; return what was found out."""
    scene_ = scene(case.number)
    stored = case.stored()
    assert case.accepted <= set(stored), "an accepted run was lost"
    ledger = Ledger(case.ledger)
    rows = ledger.rows()
    ledger.close()
    found: Counter[str] = Counter()
    alone: dict[str, RunResult] = {}
    for run_id, run in stored.items():
        assert run.row.outcome in ("met", "demoted", "failed"), (run_id, run.row.outcome)
        check_values(run, check_log(run.records))
        check_ledger(run.records, [row for row in rows if row.run == run_id])
        found["runs"] += 1
        found["resumes"] += len(events(run.records, RunResumed))
        if only_repeatable_in_flight(run.records):
            if script(run_id) not in alone:
                alone[script(run_id)] = left_alone(scene_, script(run_id), case.folder / f"alone-{script(run_id)}")
            if waits_alone(alone[script(run_id)].records):
                found["compared"] += 1
                check_same(recorded(run), alone[script(run_id)])
    return found


def events(log: tuple[Record, ...], kind: type[Any]) -> list[Any]:
    """Return the events of one kind."""
    return [record.event for record in log if isinstance(record.event, kind)]


def left_alone(of: Scene, run: str, path: Path) -> RunResult:
    """Return the run that nobody kills, recorded nowhere."""
    world = World(of, Ledger(path))

    async def main() -> RunResult:
        async with world.orchestrator(ask=partial(world.people, run)) as orchestrator:
            return await orchestrator.run(ask="how", run_id=run, seed=SEED)

    try:
        return anyio.run(main)
    finally:
        world.ledger.close()


def check_log(log: tuple[Record, ...]) -> Run:
    """Check that a log replays to itself, that every failure is answered once, and that no route was left too early.

    Return the run as it ended.
    """
    check_replay(log)
    answered = Counter(key for record in log if isinstance(record.event, ANSWERS) for key in record.event.answers)
    failed = [event for event in events(log, AttemptEnded) if event.outcome == "failed"]
    assert answered == Counter((event.node, event.attempt) for event in failed)
    check_never_again(log)
    facts = [record for record in log if record.is_fact]
    run = Run(facts[0].event)  # type: ignore[arg-type]  # the first one is run_started
    for fact in facts:
        step = run.feed(fact.event, fact.at)  # type: ignore[arg-type]
        for escalated in events(step.records, Escalated):
            check_escalation(run, escalated)
        if run.state.phase == "running" and run.state.pending is None:
            check_route(run.graph, run.graph.goal_by_name[run.state.goal], run)
    return run


def check_escalation(run: Run, escalated: Escalated) -> None:
    """Check that no goal was left to which there was still a way."""
    graph = run.graph
    if escalated.decision in ("ask", "retry", "supply"):
        return
    if run.state.failed_checks:
        return  # what is left then rests on effects that are to be undone, of which the oracle knows nothing
    for goal in graph.goals[graph.goals.index(graph.goal_by_name[escalated.goal]) :]:
        if goal.name == escalated.goal_after or (escalated.by != "policy" and goal.name != escalated.goal):
            break
        now = moment_before_lift(run)
        assert not oracle.feasible(graph, goal, run.state.view, now, remaining(run)), goal.name


def check_never_again(log: tuple[Record, ...]) -> None:
    """Check that what has finished, was excluded or is `once` is never started again."""
    gone: dict[str, str] = {}
    started: set[str] = set()
    for record in log:
        match record.event:
            case AttemptStarted(node=node, effect=effect):
                assert node not in gone, (node, gone.get(node))
                assert effect != "once" or node not in started
                started.add(node)
            case AttemptEnded(node=node, outcome="succeeded") | Settled(node=node, done=True):
                gone[node] = "finished"
            case NodeExcluded(node=node):
                gone.setdefault(node, "excluded")
            case LastChance(nodes=nodes) | Escalated(decision="retry", nodes=nodes):
                for node in nodes:
                    assert gone.pop(node) == "excluded"
                if isinstance(record.event, Escalated) and record.event.by == "person":
                    started -= set(nodes)


def check_values(run: StoredRun, machine: Run) -> None:
    """Check that every value that the run holds is stored as it was when it was recorded."""
    kept = {(value.name, value.provider): value for value in run.values}
    for name, providers in machine.state.held.items():
        for provider, held in providers.items():
            data = kept[name, provider].data
            assert held.size == len(data)
            assert held == reference(name, recorded_value(data))


def recorded_value(data: bytes) -> Any:
    """Return a value from its bytes."""
    from pydantic_core import from_json

    return from_json(data)


def check_ledger(log: tuple[Record, ...], rows: list[Row]) -> None:
    """Check what was really done: each call has its record, no effect came twice, and none is forgotten."""
    graph = Graph.from_dict(log[0].event.graph)  # type: ignore[union-attr]  # the first one is run_started
    made = Counter((row.node, row.attempt) for row in rows if row.what == "called")
    for (node, attempt), times in made.items():
        assert times <= allowed(log).get((node, attempt), 0), f"attempt {attempt} of {node} was made {times} times"
    done = Counter(row.node for row in rows if row.what == "done")
    by_key = Counter(row.key for row in rows if row.what == "done")
    undone = {row.node for row in rows if row.what == "undone"}
    known = {event.node for event in events(log, AttemptEnded) if took_place(event)}
    known |= {event.node for event in events(log, Settled) if event.done}
    for name in (each.name for each in graph.nodes if each.effect == "once"):
        assert done[name] == (name in known), f"{name}: {done[name]} times"
        assert all(by_key[row.key] == 1 for row in rows if (row.node, row.what) == (name, "done"))
    finished = events(log, RunFinished)[-1]
    assert {name for name, ok in finished.undone if ok} <= undone
    assert undone <= {event.subject for event in events(log, CallStarted) if event.kind == "undo"}
    assert undone <= set(done)


def took_place(event: AttemptEnded) -> bool:
    """Whether the end of an attempt says that it had its effect."""
    return event.outcome == "succeeded" or (event.failure is not None and event.failure.happened == "yes")


def allowed(log: tuple[Record, ...]) -> dict[tuple[str, int], int]:
    """Return how often each attempt may have been made: once, and again by everybody who found it in flight."""
    found: dict[tuple[str, int], int] = {}
    flying: dict[tuple[str, int], str | None] = {}
    for record in log:
        match record.event:
            case AttemptStarted(node=node, attempt=attempt, effect=effect):
                found[node, attempt] = 1
                flying[node, attempt] = effect
            case AttemptEnded(node=node, attempt=attempt):
                flying.pop((node, attempt), None)
            case RunResumed():
                for key, effect in flying.items():
                    found[key] += effect in REPEATABLE
    return found


def only_repeatable_in_flight(log: tuple[Record, ...]) -> bool:
    """Whether nothing was in flight at any crash that could not simply be made again."""
    flying: dict[str, str | None] = {}
    for record in log:
        match record.event:
            case AttemptStarted(node=node, effect=effect):
                flying[node] = effect
            case AttemptEnded(node=node):
                flying.pop(node, None)
            case RunResumed() if any(effect not in REPEATABLE for effect in flying.values()):
                return False
    return True


def waits_alone(log: tuple[Record, ...]) -> bool:
    """Whether nothing else went on while a node waited for its retry: else the clock decides which of them is first."""
    busy: set[object] = set()
    waiting = False
    for record in log:
        match record.event:
            case AttemptStarted(node=node):
                busy.add(node)
                waiting = False
            case AttemptEnded(node=node):
                busy.discard(node)
            case CallStarted(kind=kind, n=n):
                busy.add((kind, n))
            case CallEnded(kind=kind, n=n):
                busy.discard((kind, n))
            case Retried():
                waiting = True
        if waiting and busy:
            return False
    return True


def check_same(result: RunResult, alone: RunResult) -> None:
    """Check that a run that was killed decided what it decides when it is left alone."""
    assert decisions(result.records) == decisions(alone.records)
    assert (result.outcome, result.goal, result.values) == (alone.outcome, alone.goal, alone.values)
    assert (result.route, result.undone, result.reason) == (alone.route, alone.undone, alone.reason)


def decisions(log: tuple[Record, ...]) -> list[Event]:
    """Return what was decided, in order, without times and keys."""
    kinds = (*ANSWERS, AttemptStarted, NodeExcluded, Settled, RoutePlanned, Warned)
    found = [record.event for record in log if isinstance(record.event, kinds)]
    own: dict[type[Event], dict[str, Any]] = {
        Retried: {"until": 0.0},
        AttemptStarted: {"key": ""},
        # Of what is under way at once, what comes first is not for the run to decide: some of it may have finished.
        Rerouted: {"before": (), "weight_before": 0},
    }
    return [replace(event, **own.get(type(event), {})) for event in found]


# ------------------------------------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_run_that_is_killed_at_any_one_point_goes_on(lives: Lives, url: str, folder: Path, shard: int) -> None:
    """Whatever point of a run its process dies at, the next one finishes it, and nothing is lost or done twice."""
    case = Case(lives, url, folder, EVENTFUL)
    runs: list[str] = []
    for n in count(1 + shard, SHARDS):
        runs.append(f"s~{n}")
        if not case.live([runs[-1]], point="any", n=n):
            break
    assert len(runs) > 60 / SHARDS
    assert not case.live(runs)
    assert judge(case)["compared"] > len(runs) / 3


@pytest.mark.parametrize("shard", range(SHARDS))
def test_runs_survive_kills_at_random(lives: Lives, url: str, folder: Path, shard: int) -> None:
    """Many runs at once, killed again and again at named points and at any moment: all of them end as they should."""
    seed = int(os.environ.get("CRASH_SEED", "0" if FIXED else str(int.from_bytes(os.urandom(4), "big"))))
    before = lives.kills
    for number in count(1):
        if lives.kills - before >= CRASHES / (2 * SHARDS):
            break
        within = folder / str(number)
        within.mkdir()
        own = url.replace("runs.db", f"{number}/runs.db")
        drawn = partial(unit_interval, "random", seed, shard, number)
        case = Case(lives, own, within, int(drawn("scene") * 1000))
        try:
            torment(case, [f"r{shard}-{number}-{each}" for each in range(4)], drawn)
        except AssertionError as error:
            error.add_note(f"case {number} of shard {shard} with CRASH_SEED={seed}")
            raise


def torment(case: Case, runs: list[str], drawn: Callable[..., float]) -> None:
    """Kill whoever drives some runs a few times, then let them end, and judge them."""
    for turn in range(KILLS):
        how: dict[str, Any] = {"kill_after": drawn("after", turn) * 0.08}
        if drawn("how", turn) < 0.5:
            how = {"point": POINTS[int(drawn("point", turn) * len(POINTS))], "n": 1 + int(drawn("n", turn) * 12)}
        if not case.live(runs, asks=drawn("asks", turn) < 0.5, **how):
            break
    assert not case.live(runs)
    assert set(runs) <= set(case.stored())
    judge(case)


# -------------------------------------------------------------------------------------------- what becomes of the store


def runs_of(case: Case, number: int = 12) -> list[str]:
    """Return the ids of some runs of a case."""
    return [f"r{each}" for each in range(number)]


@pytest.fixture
def case(lives: Lives, folder: Path) -> Case:
    """Give a case on SQLite."""
    return Case(lives, f"sqlite:///{folder / 'runs.db'}", folder, EVENTFUL)


@pytest.mark.parametrize("kill", [False, True])
def test_runs_go_on_when_the_server_is_restarted(lives: Lives, postgres: Postgres, folder: Path, kill: bool) -> None:
    """PostgreSQL stops and starts again in the middle of many runs: they wait for it, and end as they should."""
    case = Case(lives, postgres.create_schema(), folder, EVENTFUL)
    runs = runs_of(case, 40)
    pid = case.begin(runs)
    assert lives.hear("accepted")
    postgres.stop(kill=kill)
    postgres.start()
    ended = case.end(pid)
    assert (ended.killed, ended.all("refused")) == (False, [])
    assert judge(case)["runs"] == len(runs)


def test_runs_go_on_when_the_file_was_locked_for_a_while(lives: Lives, case: Case) -> None:
    """While somebody else holds the file nothing new is called, and afterwards all runs end as they should."""
    runs = runs_of(case)
    case.live(runs[:1])
    other = sqlite3.connect(case.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pid = case.begin(runs)
    assert lives.hear("awake")
    before = case.ledger.read_bytes()
    assert not lives.hear("accepted", 0.3)
    assert case.ledger.read_bytes() == before
    other.execute("ROLLBACK")
    other.close()
    assert case.end(pid).all("refused") == []
    judge(case)


def test_runs_stop_when_the_file_stays_locked(lives: Lives, case: Case) -> None:
    """A driver that waits in vain says so, and calls nothing; whoever comes when the file is free finishes the runs."""
    runs = runs_of(case)
    pid = case.begin(runs, patience=0.2)
    assert lives.hear("accepted")
    other = sqlite3.connect(case.url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    refused = case.end(pid).all("refused")
    other.execute("ROLLBACK")
    other.close()
    assert refused
    assert all("another program holds the file" in message for _, _, message in refused)
    assert not case.live(runs)
    assert judge(case)["runs"] == len(runs)


@pytest.mark.parametrize("room", [80_000, 120_000, 200_000])
def test_runs_stop_when_the_disk_is_full(case: Case, room: int) -> None:
    """Where no more can be recorded nothing more is called; with more room the same runs end as they should."""
    runs = runs_of(case)
    ended = case.end(case.begin(runs, room=room, patience=0.2))
    assert not ended.killed
    refused = {run: message for run, kind, message in ended.all("refused") if kind != "RunTakenError"}
    assert refused  # a run that could not even be let go is taken, for whoever tries to go on with it beside its driver
    assert [message for message in refused.values() if "the disk refuses" not in message] == []
    assert not case.live(runs)
    assert judge(case)["runs"] == len(runs)


def test_of_two_processes_that_resume_the_same_runs_one_goes_on_with_each(lives: Lives, url: str, folder: Path) -> None:
    """Whichever claims a run finishes it; the other is told that it is taken, and no effect comes twice."""
    case = Case(lives, url, folder, EVENTFUL)
    runs = runs_of(case, 8)
    others = Lives()
    try:
        for turn in range(4):
            assert case.live(runs, point="called", n=4 + turn) or turn
            pids = case.begin(runs, starts=False), case.begin(runs, starts=False, by=others)
            for pid, by in zip(pids, (lives, others), strict=True):
                refused = case.end(pid, by=by).all("refused")
                assert {kind for _, kind, _ in refused} <= {"RunTakenError", "InputError"}
            assert not case.live(runs)  # each may have left to the other what waits for people
            runs = [f"{run}-{turn}" for run in runs]
    finally:
        others.close()
    assert judge(case)["runs"] == 4 * len(runs)
