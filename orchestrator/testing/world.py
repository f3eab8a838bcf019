"""A world for a test: a user's orchestrator with time, tools, models and people that the test decides about."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, TypeVarTuple

from orchestrator.drivers.runs import Runs
from orchestrator.errors import InputError
from orchestrator.events import AttemptEnded, CallEnded, ModelAnswered, Record
from orchestrator.faults import FaultPlan
from orchestrator.policy import Policy
from orchestrator.result import RunResult
from orchestrator.runtime import Orchestrator
from orchestrator.testing.calls import Calls
from orchestrator.testing.clock import VirtualClock
from orchestrator.testing.crash import Crashed, Process
from orchestrator.testing.people import RUN, ScriptedModel, ScriptedPeople, SilentModel, nobody
from orchestrator.testing.scripts import Delay, NodeScript, Script, UnexpectedCallError, UnusedStepError, seconds_of
from orchestrator.testing.stories import at_text, story

if TYPE_CHECKING:
    from orchestrator.drivers.answers import Ask
    from orchestrator.escalation import DecisionModel
    from orchestrator.nodes.binding import Bindings
    from orchestrator.runtime.configured import Bind
    from orchestrator.store import Store

__all__ = ("World",)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class World:
    """A graph under test: the real run machine and driver, on a clock of the test's own.

    Nodes keep their real functions unless they are scripted. Used as a context manager it checks at the end that every
    step of every script was used; the `world` fixture does so at the end of its test::

        with World("refund.yaml") as world:
            world.tool("stripe").raises(ConnectionError("down"))
            world.tool("razorpay").returns({"id": 7}, after="3s")
            result = world.run(order_id="12-1")
        assert result.route == ("crm", "razorpay", "sms")

    Args:
        source: A graph file, or an orchestrator, which stays as it is; default: `load` follows.
        policy: Instead of the file's policy, as for `Orchestrator.from_yaml`.
        unscripted: What becomes of nodes without a script. They are ``real``; or ``fake``: they answer after their
            declared latency with a placeholder, and guards, gates and checks without a script pass; or to ``refuse``:
            every call of them is unexpected. Without a script of theirs, models and people are as real as nodes; else
            the model has no answer, which to *refuse* makes unexpected, and a run that needs people is left waiting.
        seed: Decides all that is left to chance, as the jitter of a back-off.
        folders: Where relative paths are looked for; default: the working directory.
    """

    def __init__(
        self,
        source: str | Path | Orchestrator | None = None,
        *,
        policy: Policy | Mapping[str, Any] | str | None = None,
        unscripted: Literal["real", "fake", "refuse"] = "real",
        seed: int = 0,
        folders: tuple[Path, ...] = (),
    ) -> None:
        self.clock = VirtualClock()
        """The time of this world."""
        self.seed = seed
        self.logs: dict[str, list[Record]] = {}
        """The records of every run, by its id."""
        self._folders = folders or (Path(),)
        self._faults: FaultPlan | None = None
        self._model: ScriptedModel | None = None
        self._people: ScriptedPeople | None = None
        self._source: Orchestrator | None = None
        self._copy: Orchestrator | None = None
        self._calls: Calls | None = None
        self._unexpected: list[str] = []
        self._store: str | Path | None = None
        self._process = Process(self.clock)
        if source is not None:
            self.load(source, policy=policy, unscripted=unscripted)

    # ---------------------------------------------------------------------------------------------------- what is there

    def load(
        self,
        source: str | Path | Orchestrator,
        *,
        policy: Policy | Mapping[str, Any] | str | None = None,
        unscripted: Literal["real", "fake", "refuse"] = "real",
    ) -> Self:
        """Take a graph; the arguments are those of the class.

        Raises:
            SpecError: Something is wrong with the file.
        """
        if isinstance(source, Orchestrator):
            if policy is not None:
                raise ValueError("an orchestrator has its policy already: give it to the orchestrator")
            self._source = source
        else:
            self._source = Orchestrator.from_yaml(self.find(source), policy=policy, imports=unscripted == "real")
        self._copy = None
        self._calls = Calls(self._source.graph, self.clock, unscripted, self._unexpected)
        return self

    def find(self, path: str | Path) -> Path:
        """Return where a file is: in the first of the folders that has it."""
        found = (folder / path for folder in self._folders if (folder / path).exists())
        return next(found, Path(path))

    @property
    def orchestrator(self) -> Orchestrator:
        """The orchestrator under test, for code that runs it itself; see `call`."""
        __tracebackhide__ = True
        calls = self._graph_calls()
        if self._copy is None:
            assert self._source is not None
            self._copy = self._source.standing_in(
                clock=self.clock.time,
                bind=self._bind,
                begin=self._begin,
                on_record=self._record,
                runs=Runs(None if self._store is None else self._open, now=self.clock.time),
                model=self._deciding(calls),
                ask=self._asking(calls),
            )
        return self._copy

    def tool(self, name: str) -> NodeScript:
        """Return the script of a node, tool or agent. Only what a step was given to is scripted."""
        __tracebackhide__ = True
        return self._graph_calls().node(name)

    def check(self, goal: str) -> Script:
        """Return the script of a goal's check: returns true, or false or a reason."""
        __tracebackhide__ = True
        return self._graph_calls().check(goal)

    @property
    def model(self) -> ScriptedModel:
        """The script of the model that decides where no route is left."""
        if self._model is None:
            self._model = ScriptedModel(unexpected=self._unexpected)
            self._copy = None
        return self._model

    @property
    def people(self) -> ScriptedPeople:
        """The script of the people who are asked."""
        if self._people is None:
            self._people = ScriptedPeople(self._unexpected)
            self._copy = None
        return self._people

    def faults(self, faults: FaultPlan | Mapping[str, Any] | str | Path) -> Self:
        """Let things fail as a fault file says: a file, a plan, or a map as under ``nodes:`` in a file.

        Faults come before scripts: an attempt that a fault fails takes no step.
        """
        if isinstance(faults, str | Path):
            self._faults = FaultPlan.from_file(self.find(faults))
        elif isinstance(faults, FaultPlan):
            self._faults = faults
        else:
            self._faults = FaultPlan.from_text(json.dumps({"nodes": faults}), "<faults>")
        return self

    def store(self, url: str | Path) -> Self:
        """Record the runs, as with the ``store`` of `Orchestrator`: for `crash`, `resume` and `answer`.

        The world never writes to the orchestrator's own store. Its wall clock is the world's, so that the time between
        two calls is `VirtualClock.advance`; whatever is loaded later finds the same runs.
        """
        self._store = url
        self._copy = None
        return self

    def _graph_calls(self) -> Calls:
        __tracebackhide__ = True
        if self._calls is None:
            raise InputError(
                "this world has no graph: load one with world.load('graph.yaml'), or name it for all tests as "
                "orchestrator_graph in pytest's configuration"
            )
        return self._calls

    # --------------------------------------------------------------------------------------------------------- running

    def run(self, inputs: Mapping[str, Any] | None = None, /, **options: Any) -> RunResult:
        """Run to the end, in virtual time, and return the result; the arguments are those of `Orchestrator.run`.

        Raises:
            UnexpectedCallError: Something was called that no script covers.
        """
        __tracebackhide__ = True
        orchestrator = self.orchestrator

        async def run() -> RunResult:
            return await orchestrator.run(inputs, **options)

        return self.call(run)

    def resume(self, run_id: str | None = None, **options: Any) -> RunResult:
        """Go on with a recorded run (default: the last one); the arguments are those of `Orchestrator.resume`."""
        __tracebackhide__ = True
        orchestrator, name = self.orchestrator, self._named(run_id)

        async def resume() -> RunResult:
            return await orchestrator.resume(name, **options)

        return self.call(resume)

    def answer(self, question: str, answer: str, *, run_id: str | None = None, **options: Any) -> RunResult:
        """Answer a question of a waiting run (default: the last one) and go on with it.

        The arguments are those of `Orchestrator.answer`.
        """
        __tracebackhide__ = True
        orchestrator, name = self.orchestrator, self._named(run_id)

        async def give_answer() -> RunResult:
            return await orchestrator.answer(name, question, answer, **options)

        return self.call(give_answer)

    def _named(self, run_id: str | None) -> str:
        if run_id is None and not self.logs:
            raise InputError("nothing was run in this world; name the run: run_id=...")
        return run_id if run_id is not None else list(self.logs)[-1]

    @contextmanager
    def crash(self, *, after: Delay) -> Iterator[None]:
        """Let the process end, so long into what is run in the block, as if it were killed; needs a `store`.

        What is under way then is lost, and nothing is recorded or called any more; `resume` goes on from the record. A
        scripted effect that had begun has happened. ::

            with world.crash(after="3s"):
                world.run(order_id="12")
            result = world.resume()

        Raises:
            AssertionError: What was run was over before.
        """
        __tracebackhide__ = True
        if self._store is None:
            raise InputError("nothing is left after a crash without a store: world.store(tmp_path / 'runs.db')")
        try:
            with self._process.ending(seconds_of(after)):
                yield
        except Crashed:
            return
        raise AssertionError(
            f"nothing was under way any more after {after}, at {at_text(self.clock.now)}\n\n{self.story()}"
        )

    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call an async function of your own, in virtual time, and return its result.

        For code that holds an orchestrator: give it this world's `orchestrator`, or put that in the place of its own::

            monkeypatch.setattr(app, "orchestrator", world.load(app.orchestrator).orchestrator)
            world.call(app.refund, "12-1")

        Raises:
            UnexpectedCallError: Something was called that no script covers.
            Crashed: The process ended; `crash` takes it.
        """
        __tracebackhide__ = True
        orchestrator = self.orchestrator

        async def main() -> T:
            async with orchestrator:
                return await self._process.call(function, *args)

        try:
            result = self.clock.run(main)
        except Exception as error:
            unexpected = self._unexpected_error()
            if unexpected is not None:
                raise unexpected from error
            raise
        unexpected = self._unexpected_error()
        if unexpected is not None:
            raise unexpected
        return result

    # ------------------------------------------------------------------------------------- what stands in for the real

    def _bind(self, bind: Bind) -> Bindings:
        calls = self._graph_calls()
        return calls.around(bind(calls.instead()))

    def _open(self) -> Store:
        from orchestrator.testing.stored import open_store

        assert self._store is not None
        return open_store(self._store, self.clock, lambda: self._process.ended)

    def _deciding(self, calls: Calls) -> DecisionModel | None:
        """Return the model that decides; None: the real one."""
        if self._model is not None or calls.unscripted == "real":
            return self._model
        return SilentModel() if calls.unscripted == "fake" else ScriptedModel(unexpected=self._unexpected)

    def _asking(self, calls: Calls) -> Ask | None:
        """Return who asks people; None: whoever really does."""
        if self._people is not None:
            return self._people.ask
        return None if calls.unscripted == "real" else nobody

    def _begin(
        self, run_id: str | None, seed: int | None, faults: FaultPlan | None
    ) -> tuple[str, int, FaultPlan | None]:
        """Complete what a run is started with: a name and a seed that are the same every time, and the faults."""
        name = run_id or f"run-{len(self.logs) + 1}"
        self.logs[name] = []
        faults = faults or self._faults
        if seed is None:
            seed = self.seed if faults is None or faults.seed is None else faults.seed
        return name, seed, faults

    def _record(self, run_id: str, record: Record) -> None:
        RUN.set(run_id)
        self.logs.setdefault(run_id, []).append(record)

    # -------------------------------------------------------------------------------------------------------- checking

    def story(self) -> str:
        """Return what happened in every run so far."""
        return "\n\n".join(f"{name}\n{story(log)}" for name, log in self.logs.items()) or "nothing was run"

    def finish(self) -> None:
        """Check that nothing unexpected was called and that every step was used.

        Raises:
            UnexpectedCallError: Something was called that no script covers.
            UnusedStepError: A step of a script was not used.
        """
        __tracebackhide__ = True
        error = self.unfinished()
        if error is not None:
            raise error

    def unfinished(self) -> UnexpectedCallError | UnusedStepError | None:
        """Return what `finish` would raise, if anything."""
        unexpected = self._unexpected_error()
        if unexpected is not None:
            return unexpected
        scripts = [*(self._calls.scripts() if self._calls else ()), self._model, self._people]
        unused = [text for script in scripts if script is not None for text in script.unused()]
        if not unused:
            return None
        head = "unused step" if len(unused) == 1 else f"{len(unused)} unused steps"
        return UnusedStepError("\n".join([head, *(f"  {text}" for text in unused), "", self.story()]))

    def _unexpected_error(self) -> UnexpectedCallError | None:
        texts = self._unexpected
        return UnexpectedCallError(f"{texts[0]}\n\n{self._story_so_far()}") if texts else None

    def _story_so_far(self) -> str:
        """Return the story up to the unexpected call: what came of it then is no longer the graph's doing."""
        name, log = list(self.logs.items())[-1] if self.logs else ("nothing was run", [])
        return f"{name}\n{story(takewhile(_expected, log))}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()


def _expected(record: Record) -> bool:
    event, unexpected = record.event, UnexpectedCallError.__name__
    if isinstance(event, AttemptEnded):
        return event.failure is None or event.failure.type != unexpected
    if isinstance(event, ModelAnswered):
        return event.error != unexpected
    return not (isinstance(event, CallEnded) and unexpected in (event.reason or ""))
