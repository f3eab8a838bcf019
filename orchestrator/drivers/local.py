"""The local driver: a run inside one process, on the event loop of its caller.

Facts are fed to the run machine one after the other; what it answers is recorded, then told, then carried out. With a
journal, nothing is carried out before its reason is durable, so that after a crash another process can go on from the
record: at most the calls in flight are in doubt.

Cancelling the caller cancels the run: reads are cancelled, effects in flight are waited for, finished effects are
undone, and then the cancellation goes on its way. A second cancellation does not wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from orchestrator.drivers.ahead import Ahead
from orchestrator.drivers.answers import Answer, Ask, checked, report_unasked, to_fact
from orchestrator.drivers.beside import Beside
from orchestrator.drivers.calls import Calls, Later, Timer, lost_attempt
from orchestrator.drivers.consult import consult, usd_left
from orchestrator.drivers.journal import Journal
from orchestrator.drivers.values import Made, Values
from orchestrator.errors import InputError
from orchestrator.events import (
    Answered,
    AttemptEnded,
    CallEnded,
    CancelRequested,
    Fact,
    LateResult,
    QuestionAsked,
    Record,
    RunResumed,
    RunStarted,
    ViewChanged,
    Woken,
)
from orchestrator.nodes.binding import Bindings
from orchestrator.result import RunResult, fold
from orchestrator.run import AskModel, Call, Cancel, Command, Foreseen, Run, Start, WakeAt

if TYPE_CHECKING:
    from orchestrator.escalation import DecisionModel
    from orchestrator.weight import View

__all__ = ("LocalRun",)

REPEATABLE = ("read", "idempotent")
"""Attempts in flight at a crash that are simply made again."""


class LocalRun:
    """One run and everything that it has under way.

    Args:
        machine: The run machine, not yet started, or as its record left it.
        first: Its first record; it is given the view that the run begins with.
        values: The run inputs' values, or all that are recorded.
        bindings: How nodes are called.
        clock: Returns seconds; only differences matter.
        publish: Takes every record as it happens; must neither block nor raise.
        foreseen: Takes what was planned ahead for calls that take their time, likewise; None: nobody asks.
        redact: Removes secrets from the texts of errors.
        later: Calls a function with arguments after some seconds; default: the event loop's timer.
        trace_id: The run's trace.
        journal: Makes every record durable before anything follows from it; None: nothing is recorded.
        model: Decides where the machine asks it; None: the policy does.
        ask: Called with the open questions when people are needed; None: the run ends waiting.
        log: The records of a run that is taken over.
        at: The time on the run's clock at which it is taken over.
        answers: Answers to its open questions.
        beside: What the run has beside it in its process; None: nothing.
    """

    checkpoint: Callable[[str], None] = staticmethod(lambda point: None)
    """Told of every point at which a crash would matter: decided, recorded, calling, called. For crash tests."""

    def __init__(
        self,
        machine: Run,
        first: RunStarted,
        values: Values,
        bindings: Bindings,
        *,
        clock: Callable[[], float],
        publish: Callable[[str, Record], None],
        foreseen: Callable[[Foreseen], None] | None = None,
        redact: Callable[[str], str],
        later: Later | None = None,
        trace_id: str = "",
        journal: Journal | None = None,
        model: DecisionModel | None = None,
        ask: Ask | None = None,
        log: Iterable[Record] = (),
        at: float = 0.0,
        answers: Iterable[Answered] = (),
        beside: Beside | None = None,
    ) -> None:
        self.machine = machine
        self.first = first
        self.values = values
        self.bindings = bindings
        self.clock = clock
        self.publish = publish
        self.foreseen = foreseen
        self.redact = redact
        self.later = later or asyncio.get_running_loop().call_later
        self.trace_id = trace_id
        self.journal = journal
        self.model = model
        self.ask = ask
        self.log: list[Record] = list(log)
        self.cancelling = False
        self.beside = beside
        self._at = at
        self._answers = tuple(answers)
        self._began = 0.0
        self._facts: deque[tuple[float, Fact | Answer, Made | None]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._wakes: list[Timer] = []
        self._asking: asyncio.Task[None] | None = None
        self._asked: dict[str, QuestionAsked] = {}
        self._unanswered = False
        self._broken: BaseException | None = None

    async def run(self) -> RunResult:
        """Run to the end, or until people are needed, and return the result.

        Raises:
            StoreError: A record could not be made durable. Nothing was called that would have needed it; `resume` goes
                on from what is recorded.
            Exception: Something of the driver itself failed: better the run ends with it than that it waits for ever.
        """
        self._began = self.clock() - self._at
        self._ahead = Ahead(self.machine, self.foreseen, now=self._now)
        self._calls = Calls(
            self.first.run_id,
            self.machine,
            self.values,
            self.bindings,
            clock=self.clock,
            later=self.later,
            redact=self.redact,
            post=self._ended,
            broke=self._broke,
            reached=self.checkpoint,
            beside=self.beside,
            seed=self.first.seed,
        )
        try:
            view = None if self.beside is None else self.beside.begin(self._post)
            try:
                if self.log:
                    await self._take_over(view)
                else:
                    self.first = self.first if view is None else replace(self.first, view=view)
                    self._facts.append((0.0, self.first, None))
                await self._until_finished()
            except asyncio.CancelledError:
                self.cancel()
                with anyio.CancelScope(shield=True):
                    await self._until_finished()
                raise
        finally:
            self._ahead.close()
            self._calls.close()
            if self.beside is not None:
                self.beside.end()
            self._stop_asking()
            for timer in self._wakes:
                timer.cancel()
            if self.journal is not None:
                with anyio.CancelScope(shield=True):
                    await self.journal.release()
        return self.result()

    def result(self) -> RunResult:
        """Return the result so far."""
        return fold(self.log, lookup=self.values.get, trace_id=self.trace_id)

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the run to stop; it ends with the outcome `cancelled` once effects in flight are over and undone."""
        self.cancelling = True
        self._post(CancelRequested(reason))

    # ------------------------------------------------------------------------------------------------------- the loop

    async def _until_finished(self) -> None:
        while True:
            while self._facts and self.machine.state.phase != "finished":
                await self._feed()
            if self._broken is not None:
                raise self._broken
            if self.machine.state.phase == "finished":
                return
            if self.machine.state.phase != "waiting":
                self._stop_asking()
            elif not self._people_asked():
                return
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def _feed(self) -> None:
        """Feed what has come in; record, tell and carry out what follows from it."""
        records: list[Record] = []
        commands: list[Command] = []
        while self._facts and self.machine.state.phase != "finished":
            at, fact, made = self._facts.popleft()
            if isinstance(fact, Answer):
                answered = self._answered(fact)
                if answered is None:
                    continue
                fact = answered
            if made is not None and self._takes(fact):
                self.values.keep(made)
            step = self.machine.feed(fact, at)
            records += step.records
            commands += step.commands
        if not records:
            return
        self.checkpoint("decided")
        if self.beside is not None:
            self.beside.wants(self.machine)
        interrupted = await self._record(records)
        self.checkpoint("recorded")
        for command in commands:
            self._carry_out(command)
        if interrupted:
            raise asyncio.CancelledError
        self._ahead.soon()

    def _takes(self, fact: Fact) -> bool:
        """Whether the run still waits for what this brings: a value is written once."""
        state = self.machine.state
        match fact:
            case AttemptEnded(node=node, attempt=attempt):
                return node in state.flights and state.flights[node].attempt == attempt
            case LateResult(node=node, attempt=attempt):
                return node in state.unresolved and state.unresolved[node].attempt == attempt
            case CallEnded(subject=node):
                return node in state.unresolved
        return False

    async def _record(self, records: list[Record]) -> bool:
        """Make records durable and tell of them; True where the caller was cancelled meanwhile."""
        interrupted = False
        if self.journal is not None:
            over = self.machine.state.phase == "finished"  # nothing more will be recorded
            interrupted = await _written(self.journal, records, self.values.unrecorded(), last=over)
        for record in records:
            self.log.append(record)
            self.publish(self.first.run_id, record)
        return interrupted

    def _ended(self, fact: Fact, *, made: Made | None = None) -> None:
        """Take in what a call has come to, and tell of it whoever watches nodes."""
        if self.beside is not None and isinstance(fact, AttemptEnded):
            self.beside.ended(fact)
        self._post(fact, made=made)

    def _post(self, fact: Fact | Answer, at: float = 0.0, *, made: Made | None = None) -> None:
        self._facts.append((max(self._now(), at), fact, made))
        self._look()

    def _broke(self, error: BaseException) -> None:
        self._broken = error
        self._look()

    def _now(self) -> float:
        return self.clock() - self._began

    def _look(self) -> None:
        """Have the run look at what has come in."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start():
                self._calls.start(command)
            case Cancel():
                self._calls.cancel(command)
            case Call():
                self._calls.call(command)
            case AskModel():
                self._calls.spawn(self._consult(command))
            case WakeAt():
                delay = command.at - self._now()
                self._wakes.append(self.later(max(delay, 0.0), self._wake, command.at))

    def _wake(self, at: float) -> None:
        # A timer may fire a little early by this clock; the machine must not see the time before it is there.
        self._post(Woken(), at)

    # ---------------------------------------------------------------------------------------------- models and people

    async def _consult(self, command: AskModel) -> None:
        self._post(await consult(self.model, command, self.values, left=usd_left(self.machine), clock=self.clock))

    def _people_asked(self) -> bool:
        """Whether somebody who may answer is being asked; asks them where nobody is asked all that is open."""
        if self.ask is None or self._unanswered or self.cancelling:
            return False
        open_ = self.machine.questions()
        if self._asking is None or any(self._asked.get(id) != question for id, question in open_.items()):
            self._stop_asking()
            self._asked = open_
            self._asking = asyncio.create_task(self._ask_people(self.ask))
        return True

    def _stop_asking(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    async def _ask_people(self, ask: Ask) -> None:
        answers: tuple[Answer, ...] = ()
        try:
            answers = checked(await ask(self.result().questions) or ())
        except Exception as error:
            # An application that cannot ask leaves the run waiting; nothing is lost.
            report_unasked(error, self.redact)
        finally:
            # Else it was stopped: what it asked is not open any more.
            if asyncio.current_task() is self._asking:
                self._asking = None
                self._unanswered |= not answers
                for answer in answers:
                    self._post(answer)
                self._look()

    def _answered(self, answer: Answer) -> Answered | None:
        """Return an answer as a fact; None where it is none that counts."""
        if answer.question in self._asked and answer.question not in self.machine.questions():
            return None  # what has happened meanwhile was quicker
        try:
            return to_fact(self.machine, answer, self.values)
        except InputError as error:
            self._unanswered = True
            report_unasked(error, self.redact)
            return None

    # ------------------------------------------------------------------------------------------------------ taking over

    async def _take_over(self, view: View | None) -> None:
        """Go on with a recorded run: settle what was in flight by its effect, and carry out the rest again."""
        if self.machine.state.phase == "finished":
            return  # whoever had it was quicker
        lost = {(name, flight.attempt) for name, flight in self.machine.state.flights.items()}
        records: list[Record] = []
        facts: list[Fact] = [*(self._answers or (RunResumed(),))]
        if view is not None:
            facts.insert(0 if self._answers else 1, ViewChanged(view))  # an answer may set off what is barred by now
        for fact in facts:
            records += self.machine.feed(fact, self._at).records
        self.checkpoint("decided")
        interrupted = await self._record(records)
        self.checkpoint("recorded")
        for command in self.machine.outstanding():
            match command:
                case Start() if (command.node, command.attempt) in lost and not self._repeatable(command):
                    self._post(lost_attempt(command))
                case Cancel():
                    self._post(AttemptEnded(command.node, command.part, command.attempt, "cancelled"))
                case _:
                    self._carry_out(command)
        if interrupted:
            raise asyncio.CancelledError
        self._ahead.soon()

    def _repeatable(self, command: Start) -> bool:
        return self.machine.graph.by_name[command.node].effect in REPEATABLE


async def _written(
    journal: Journal, records: list[Record], values: Sequence[tuple[str, str, bytes, str]], *, last: bool
) -> bool:
    """Make records durable, whatever happens to the caller; True where it was cancelled meanwhile."""
    # No task of its own: that would cost more turns of the event loop than all the rest.
    try:
        await journal.write(records, values, last=last)
        return False
    except asyncio.CancelledError:
        pass
    while True:
        # What was decided is recorded all the same: half a step is none that could be resumed. To write again what is
        # on its way to the disk changes nothing.
        try:
            with anyio.CancelScope(shield=True):
                await journal.write(records, values, last=last)
            return True
        except asyncio.CancelledError:
            continue
