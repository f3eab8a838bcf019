"""A world for a test: a user's orchestrator with time, tools, models and people that the test decides about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, TypeVarTuple

from orchestrator.errors import InputError
from orchestrator.events import AttemptEnded, CallEnded, Record
from orchestrator.faults import FaultPlan
from orchestrator.policy import Policy
from orchestrator.result import RunResult
from orchestrator.runtime import Orchestrator
from orchestrator.testing.calls import Calls
from orchestrator.testing.clock import VirtualClock
from orchestrator.testing.people import ScriptedModel, ScriptedPeople
from orchestrator.testing.rig import plan_of, rigged
from orchestrator.testing.scripts import NodeScript, Script, UnexpectedCallError, UnusedStepError
from orchestrator.testing.stories import story

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
            every call of them is unexpected.
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
        self._rigged: Orchestrator | None = None
        self._calls: Calls | None = None
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
            self._source = Orchestrator.from_yaml(self.find(source), policy=policy)
        self._rigged = None
        self._calls = Calls(self._source.graph, self.clock, unscripted)
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
        if self._rigged is None:
            assert self._source is not None
            ask = None if self._people is None else self._people.ask
            self._rigged = rigged(self._source, calls, self.clock, self._beginning, model=self._model, ask=ask)
        return self._rigged

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
            self._model = ScriptedModel()
            self._rigged = None
        return self._model

    @property
    def people(self) -> ScriptedPeople:
        """The script of the people who are asked."""
        if self._people is None:
            self._people = ScriptedPeople()
            self._rigged = None
        return self._people

    def faults(self, faults: FaultPlan | Mapping[str, Any] | str | Path) -> Self:
        """Let things fail as a fault file says: a file, a plan, or a map as under ``nodes:`` in a file.

        Faults come before scripts: an attempt that a fault fails takes no step.
        """
        if isinstance(faults, str | Path):
            self._faults = FaultPlan.from_file(self.find(faults))
        else:
            self._faults = plan_of(faults)
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

    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call an async function of your own, in virtual time, and return its result.

        For code that holds an orchestrator: give it `orchestrator`.

        Raises:
            UnexpectedCallError: Something was called that no script covers.
        """
        __tracebackhide__ = True
        orchestrator = self.orchestrator

        async def main() -> T:
            async with orchestrator:
                return await function(*args)

        try:
            result = self.clock.run(main)
        except Exception as error:
            unexpected = self._unexpected()
            if unexpected is not None:
                raise unexpected from error
            raise
        unexpected = self._unexpected()
        if unexpected is not None:
            raise unexpected
        return result

    def _beginning(self, options: dict[str, Any]) -> dict[str, Any]:
        """Complete the arguments of a run: a name and a seed that are the same every time, the faults, and its log."""
        name = options.get("run_id") or f"run-{len(self.logs) + 1}"
        log = self.logs[name] = []
        told = options.get("on_record")

        def on_record(record: Record) -> None:
            log.append(record)
            if told is not None:
                told(record)

        given = {name: value for name, value in options.items() if value is not None}
        seed = self.seed if self._faults is None or self._faults.seed is None else self._faults.seed
        return {"seed": seed, "faults": self._faults, **given, "run_id": name, "on_record": on_record}

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
        unexpected = self._unexpected()
        if unexpected is not None:
            return unexpected
        scripts = [*(self._calls.scripts() if self._calls else ()), self._model, self._people]
        unused = [text for script in scripts if script is not None for text in script.unused()]
        if not unused:
            return None
        head = "unused step" if len(unused) == 1 else f"{len(unused)} unused steps"
        return UnusedStepError("\n".join([head, *(f"  {text}" for text in unused), "", self.story()]))

    def _unexpected(self) -> UnexpectedCallError | None:
        scripts = (self._calls, self._model, self._people)
        texts = [text for script in scripts if script is not None for text in script.unexpected]
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
    return not (isinstance(event, CallEnded) and unexpected in (event.reason or ""))
