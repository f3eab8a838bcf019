"""Lives that end badly: graphs whose tools leave a trace outside, and processes that are killed while they run them.

A *scene* is a graph that is drawn from a number: alternatives, joins, `once` nodes with and without verify and undo,
idempotent, unmarked and reading ones, gates, guards, a check. What a tool answers depends on the run's *script* (what
stands before ``~`` in its id), the node and the attempt, and on nothing else; so a run that is killed can be compared
with the same run left alone. Every tool writes what it does to a *ledger*, which no part of the package knows of.

``python -m tests.crashing`` is a warm process that forks one *life* for each line on standard input, so that hundreds
of processes can die in a minute. A life kills itself when it has reached some point for the n-th time, or is killed.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from orchestrator import Orchestrator, ToolFailed, tool
from orchestrator.chance import unit_interval
from orchestrator.drivers.answers import Answer
from orchestrator.drivers.local import LocalRun
from orchestrator.errors import InputError, StoreError
from orchestrator.escalation import Verdict
from orchestrator.events import ModelAsked, Record
from orchestrator.nodes.binding import CallContext
from orchestrator.result import Question
from orchestrator.store import Store

__all__ = ("POINTS", "Ended", "Ledger", "Lives", "Row", "Scene", "World", "scene")

ROOT = Path(__file__).resolve().parent.parent

POINTS = ("decided", "recorded", "calling", "doing", "done", "called", "asked")
"""Where a life may end: those of the driver, two inside of a tool, before and after its effect, and one of a model."""

SEED = 1
"""Of every run, so that a killed one waits as long between its retries as the one that is left alone."""

POLICY = {
    "retry": {"attempts": 2, "backoff": "2ms", "max_backoff": "4ms"},
    # What one run went through must not move the next one's route: each is compared with the one that is left alone.
    "health": {"use": False},
}


# --------------------------------------------------------------------------------------------------------------- scenes


@dataclass(frozen=True)
class Part:
    """A tool of a scene."""

    name: str
    needs: tuple[str, ...]
    provides: tuple[str, ...]
    effect: str | None
    units: float
    undo: bool = False
    verify: bool = False
    approve: str | None = None
    guard: bool = False


@dataclass(frozen=True)
class Scene:
    """A graph to run: its tools, and its goals, best first."""

    name: str
    parts: tuple[Part, ...]
    goals: Mapping[str, tuple[str, ...]]
    by: str
    """Who decides where no route is left."""


def scene(number: int) -> Scene:
    """Return the scene with this number."""

    def drawn(*what: str | int) -> float:
        return unit_interval("scene", number, *what)

    def pick(options: Any, *what: str | int) -> Any:
        return options[int(drawn(*what) * len(options))]

    layers = [
        ("facts", ("ask",)),
        ("prices", ("ask",)),
        ("offer", pick([("facts", "prices"), ("facts", "prices"), ("facts",)], "offer")),
        ("booked", pick([("offer",), ("offer", "facts")], "booked")),
        ("paid", pick([("offer",), ("booked",)], "paid")),
        ("report", pick([("offer", "prices"), ("paid",), ("facts",)], "report")),
        ("mailed", pick([("paid", "report"), ("report",), ("booked",)], "mailed")),
    ]
    parts: list[Part] = []
    for value, needs in layers:
        effectful = value in ("booked", "paid", "mailed")
        for index in range(pick([1, 2, 2, 3, 3], value)):
            name = f"{value}{index + 1}"
            kinds = ["once", "once", "once", "idempotent", None] if effectful else ["read", "read", "idempotent", None]
            effect = pick(kinds, name, "effect")
            undo = effect != "read" and drawn(name, "undo") < (0.6 if effectful else 0.1)
            wanted = needs if index == 0 or drawn(name, "short") < 0.6 else ("ask",)
            also = ("prices",) if value == "facts" and drawn(name, "also") < 0.25 else ()
            gates = [None] * 6 + (["always", "function"] if effectful else [None, "function"])
            parts.append(
                Part(
                    name,
                    wanted,
                    (value, *also),
                    effect,
                    1.0 + index + drawn(name, "units"),
                    undo,
                    effect == "once" and drawn(name, "verify") < 0.7,
                    pick(gates, name, "gate"),
                    drawn(name, "guard") < 0.1,
                )
            )
    whole = pick([("mailed", "paid"), ("mailed", "booked", "paid"), ("paid", "report")], "whole")
    goals = {"whole": whole, "half": ("booked",), "little": ("offer",)}
    return Scene(f"scene-{number}", tuple(parts), goals, pick(["policy", "policy", "person", "model"], "by"))


# --------------------------------------------------------------------------------------------------------------- ledger


@dataclass(frozen=True)
class Row:
    """What somebody did outside: ``called``, ``done``, ``undone`` or ``looked`` (a verify)."""

    run: str
    node: str
    attempt: int
    key: str
    what: str
    text: str = ""


class Ledger:
    """A file to which every tool appends what it does; what was written survives the process that wrote it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def write(self, row: Row) -> None:
        """Append a row, and wait until it is on the disk."""
        os.write(self._file, f"{json.dumps(vars(row))}\n".encode())
        os.fsync(self._file)

    def rows(self, run: str | None = None) -> list[Row]:
        """Return all rows, or those of one run, in the order in which they were written."""
        found = (Row(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines())
        return [row for row in found if run in (None, row.run)]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


# ---------------------------------------------------------------------------------------------------------------- world


def script(run: str) -> str:
    """Return the script of a run."""
    return run.partition("~")[0]


def fate(run: str, node: str) -> str:
    """Return how the calls of a node end in a run: ok, flaky (once), dead, lost (done) or vanished (not done)."""
    drawn = unit_interval("fate", script(run), node)
    for share, how in ((0.78, "ok"), (0.86, "flaky"), (0.91, "dead"), (0.96, "lost")):
        if drawn < share:
            return how
    return "vanished"


@dataclass
class World:
    """The tools of a scene and the people beside it, with the ledger that they share."""

    scene: Scene
    ledger: Ledger
    reached: Callable[[str], None] = field(default=lambda point: None)

    def orchestrator(self, **options: Any) -> Orchestrator:
        """Return an orchestrator of this world."""
        goals = [
            {"name": name, "values": list(values), **({"check": self.checked} if name == "whole" else {})}
            for name, values in self.scene.goals.items()
        ]
        functions = [self._function(part) for part in self.scene.parts]
        policy = {**POLICY, "escalation": {"by": self.scene.by}}
        decider = Model(self) if self.scene.by == "model" else None
        return Orchestrator(tools=functions, goals=goals, policy=policy, name=self.scene.name, model=decider, **options)

    def _function(self, part: Part) -> Callable[..., Any]:
        async def call(*, context: CallContext, **inputs: Any) -> Any:
            return await self._call(part, context, inputs)

        async def undo(*, idempotency_key: str, result: Any, **inputs: Any) -> None:
            run = _run_of(idempotency_key)
            self.ledger.write(Row(run, part.name, 0, idempotency_key, "undone", str(result)))

        async def verify(*, idempotency_key: str, **inputs: Any) -> Any:
            run = _run_of(idempotency_key)
            self.ledger.write(Row(run, part.name, 0, idempotency_key, "looked"))
            text = self.done(run, part.name)
            return None if text is None else _result(part, text)

        async def guard(**inputs: Any) -> bool:
            return unit_interval("guard", part.name, _plain(inputs)) < 0.8

        async def gate(**inputs: Any) -> str | None:
            return "it is dear" if unit_interval("gate", part.name, _plain(inputs)) < 0.5 else None

        wanted = [inspect.Parameter(need, inspect.Parameter.KEYWORD_ONLY) for need in part.needs]
        shown = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=CallContext)
        call.__signature__ = inspect.Signature([*wanted, shown])  # type: ignore[attr-defined]  # any function has one
        call.__name__ = part.name
        declared: dict[str, Any] = {
            "name": part.name,
            "needs": list(part.needs),
            "provides": list(part.provides),
            "units": part.units,
            "effect": part.effect,
            "undo": undo if part.undo else None,
            "verify": verify if part.verify else None,
            "approve": gate if part.approve == "function" else part.approve,
            "when": guard if part.guard else None,
        }
        return tool(**declared)(call)

    async def _call(self, part: Part, context: CallContext, inputs: Mapping[str, Any]) -> Any:
        run, how = context.run_id, fate(context.run_id, part.name)
        text = f"{part.name}({_plain(inputs)})"

        def note(what: str, said: str = "") -> None:
            self.ledger.write(Row(run, part.name, context.attempt, context.key, what, said))

        note("called")
        self.reached("doing")
        if how == "dead":
            raise ToolFailed("broken")
        if how == "flaky" and context.attempt == 1:
            raise ToolFailed("busy", transient=True)
        if how != "vanished":
            note("done", text)
            self.reached("done")
        if how in ("lost", "vanished"):
            raise ToolFailed("no answer", happened="unknown")
        return _result(part, text)

    async def checked(self, **values: Any) -> bool:
        """Whether the values of the best goal please."""
        return unit_interval("check", _plain(values)) < 0.9

    # People

    def done(self, run: str, node: str) -> str | None:
        """Return what a node has really done in a run; None for nothing."""
        return next((row.text for row in self.ledger.rows(run) if (row.node, row.what) == (node, "done")), None)

    async def people(self, run: str, questions: tuple[Question, ...]) -> list[Answer]:
        """Answer the first of all open questions."""
        return [self.answer(run, questions[0])]

    def answer(self, run: str, question: Question) -> Answer:
        """Return what people say: the truth about what happened, and else what the script says."""
        if question.kind == "settle":
            text = self.done(run, question.node)
            part = next(part for part in self.scene.parts if part.name == question.node)
            values = {} if text is None else dict.fromkeys(part.provides, text)
            return Answer(question.id, "no" if text is None else "yes", values, by="ann")
        drawn = unit_interval("person", script(run), question.id)
        if drawn < 0.2 and question.inputs:
            return Answer(question.id, "edit", {next(iter(question.inputs)): "edited"}, by="ann")
        return Answer(question.id, "yes" if drawn < 0.85 else "no", by="ann")


class Model:
    """A model that decides as the scene and the question say."""

    name = "scripted"

    def __init__(self, world: World) -> None:
        self._world = world

    async def decide(
        self,
        question: ModelAsked,
        preview: Any,
        *,
        timeout: float,  # noqa: ASYNC109  # as the contract has it
        usd_left: float | None,
    ) -> Verdict:
        """Choose one of the options."""
        self._world.reached("asked")
        await anyio.lowlevel.checkpoint()
        failed = ",".join(node for node, *_ in question.failed)
        drawn = unit_interval("model", self._world.scene.name, question.n, failed)
        options = [option.id for option in question.options]
        return Verdict(options[int(drawn * len(options))], reason="so it is drawn", calls=1)

    async def aclose(self) -> None:
        """Nothing to close."""


def _run_of(key: str) -> str:
    return key.partition(":")[0]


def _plain(inputs: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(inputs.items()))


def _result(part: Part, text: str) -> Any:
    return text if len(part.provides) == 1 else dict.fromkeys(part.provides, text)


# ---------------------------------------------------------------------------------------------------------------- lives


class Life:
    """One process: starts runs that are not there yet, goes on with those that are, and dies when it is told to."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.left = int(told.get("n", 0))
        self.stack: AsyncExitStack
        self.store: Store
        self.world = World(scene(told["scene"]), Ledger(Path(told["ledger"])), self.reached)

    def reached(self, point: str) -> None:
        """Count a point, and die there if it is the one."""
        if self.told.get("point") in (point, "any"):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def say(self, *words: Any) -> None:
        """Tell whoever watches."""
        os.write(1, f"{json.dumps(words)}\n".encode())

    async def live(self) -> None:
        """Live to the end, if it is to be."""
        LocalRun.checkpoint = staticmethod(self.reached)
        if "room" in self.told:
            # Of every file: a disk that is full for whatever is larger.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.told["room"], resource.RLIM_INFINITY))
        store = Store.open(self.told["url"], patience=self.told.get("patience", 20.0))
        async with store, AsyncExitStack() as stack:
            self.stack, self.store = stack, store
            there = {row.run_id for row in await store.runs(limit=None)}
            self.say("awake")
            async with anyio.create_task_group() as runs:
                for run in self.told["runs"]:
                    if run not in there and self.told.get("starts", True):
                        runs.start_soon(self.start, run)
            for row in await store.resumable():
                if row.run_id in self.told["runs"]:
                    await self.go_on(row.run_id)
            for row in await store.runs(limit=None, outcome="waiting"):
                if row.run_id in self.told["runs"]:
                    await self.answer(row.run_id)
        self.say("over")

    async def orchestrator(self, run: str) -> Orchestrator:
        """Return the orchestrator of a run: it asks people by itself where the life is told so."""
        ask = partial(self.world.people, run) if self.told.get("asks") else None
        return await self.stack.enter_async_context(self.world.orchestrator(store=self.store, ask=ask))

    async def start(self, run: str) -> None:
        """Start a run, and say when it is accepted."""

        def accepted(record: Record) -> None:
            if record.seq == 1:
                self.say("accepted", run)

        orchestrator = await self.orchestrator(run)
        with self.refusals(run):
            await orchestrator.start(ask="how", run_id=run, seed=SEED, on_record=accepted).run()

    async def go_on(self, run: str) -> None:
        """Go on with a run, unless somebody else does."""
        orchestrator = await self.orchestrator(run)
        with self.refusals(run):
            await orchestrator.resume(run)

    async def answer(self, run: str) -> None:
        """Answer all questions of a run that waits, one at a time."""
        orchestrator = await self.orchestrator(run)
        with self.refusals(run):
            result = await orchestrator.resume(run)
            while result.questions:
                said = self.world.answer(run, result.questions[0])
                options: dict[str, Any] = {"values": said.values, "by": said.by}
                result = await orchestrator.answer(run, said.question, said.answer, **options)

    @contextmanager
    def refusals(self, run: str) -> Iterator[None]:
        """Say what is refused, and go on with other runs."""
        try:
            yield
        except (StoreError, InputError) as error:
            self.say("refused", run, type(error).__name__, str(error))


@dataclass(frozen=True)
class Ended:
    """What became of a life: what it said, and whether it was killed."""

    said: tuple[tuple[Any, ...], ...]
    killed: bool

    def all(self, word: str) -> list[tuple[Any, ...]]:
        """Return what was said after a word, each time."""
        return [tuple(rest) for first, *rest in self.said if first == word]


class Lives:
    """A warm process that forks lives, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashing"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._rest = b""
        self._said: list[tuple[Any, ...]] = []
        self.kills = 0
        assert self._next(None) == ["warm"]

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def begin(self, **told: Any) -> int:
        """Fork a life; return its pid."""
        self._tell(told)
        self._said = []
        while (heard := self._next(None))[0] != "born":
            self._said.append(tuple(heard))  # the life was quicker than whoever tells of its birth
        return int(heard[1])

    def end(self, pid: int, kill_after: float | None = None) -> Ended:
        """Wait until a life is over; kill it some seconds after it was awake."""
        if kill_after is not None and self.hear("awake") and not self.hear(None, kill_after):
            os.kill(pid, signal.SIGKILL)  # it is not buried before we say so
        self.hear(None)
        *said, (_, status) = self._said
        self._tell("bury")
        killed = status == -signal.SIGKILL
        assert killed or status == 0, f"a life ended with {status}"
        self.kills += killed
        return Ended(tuple(said), killed)

    def hear(self, word: str | None, patience: float | None = None) -> bool:
        """Wait until a life has said a word, or is gone; False if *patience*, in seconds, is not enough."""
        until = None if patience is None else time.monotonic() + patience
        while not any(said[0] in (word, "gone") for said in self._said):
            left = None if until is None else max(until - time.monotonic(), 0.0)
            heard = self._next(left)
            if heard is None:
                return False
            self._said.append(tuple(heard))
        return True

    def live(self, kill_after: float | None = None, **told: Any) -> Ended:
        """Fork a life and wait until it is over."""
        return self.end(self.begin(**told), kill_after)

    def _tell(self, what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(what)}\n".encode())

    def _next(self, patience: float | None) -> Any:
        """Return the next thing that is said; None if nothing is said for some seconds."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], patience)
            if not ready:
                return None
            more = self._process.stdout.read(65536)
            assert more, "the process that forks has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


def serve() -> None:
    """Fork a life for each line; tell of its birth and its death."""
    with tempfile.TemporaryDirectory() as folder:
        told = {"scene": 1, "ledger": f"{folder}/ledger", "url": f"sqlite:///{folder}/runs.db", "runs": ["w~1", "w~2"]}
        warm = Life(told)
        warm.say = lambda *words: None  # type: ignore[method-assign]  # nobody is to hear of it
        anyio.run(warm.live)
    gc.collect()
    gc.freeze()
    os.write(1, b'["warm"]\n')
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _live(json.loads(line))
        os.write(1, f'["born", {pid}]\n'.encode())
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        os.write(1, f'["gone", {status}]\n'.encode())
        sys.stdin.readline()
        os.waitpid(pid, 0)


def _live(told: Mapping[str, Any]) -> None:
    """Be a life, and nothing after it."""
    status = 1
    try:
        anyio.run(Life(told).live)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
