"""Runs that are decided by models and people: a virtual clock on which they answer as a script says, well or badly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.events import (
    Answered,
    AttemptEnded,
    CallEnded,
    Event,
    Fact,
    Failure,
    ModelAnswered,
    ModelAsked,
    QuestionAsked,
    Record,
    RunFinished,
    RunResumed,
    Value,
)
from orchestrator.graph import Graph
from orchestrator.run import AskModel, Call, Cancel, Command, Run, Start, Step
from orchestrator.simulate import Simulation, _Clock

__all__ = ("Drive", "ModelKind", "Moved", "PersonKind", "Scene", "Word")

ModelKind = Literal[
    "pick", "retry", "supply", "ask", "give_up", "absent", "unlisted", "unknown", "garbage", "wrong_values", "twice"
]
PersonKind = Literal["yes", "no", "edit", "pick", "retry", "supply", "nonsense", "twice", "silent"]
Moved = tuple[Run, Step]

BOUND = 40
"""Facts per node, word and piece of news within which every run must have come to its end."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is said to one question, after how many seconds, and for how much money."""

    kind: ModelKind | PersonKind
    delay: float = 0.0
    number: int = 0
    """Which one, where there are several to pick from."""
    usd: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything about a run that its graph and faults leave open. People without a word left are silent."""

    simulation: Simulation
    model: tuple[Word, ...] = ()
    people: tuple[Word, ...] = ()
    stops: tuple[str, ...] = ()
    """Nodes whose gate stops every call."""
    inapplicable: tuple[str, ...] = ()
    """Nodes whose guard says no."""
    failing: tuple[str, ...] = ()
    """Goals whose check fails every time."""
    news: tuple[tuple[float, Fact], ...] = ()
    """Views, and facts that fit nothing, with their times; each one differs from all others."""

    @property
    def graph(self) -> Graph:
        """The graph of the run."""
        return self.simulation.blueprint.graph

    @property
    def bound(self) -> int:
        """How many facts the run may take at most."""
        return BOUND * (len(self.graph.nodes) + len(self.people) + len(self.news) + 1)


class Clock(_Clock):
    """The clock of a simulation, with guards, gates and checks that say no, and a ledger of what really happened."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(scene.simulation, seed)
        self.scene = scene
        self.happened: dict[str, int] = {}
        """How often the effect of each `once` node took place in the world."""

    def _start(self, command: Start, now: float) -> None:
        super()._start(command, now)
        ended = next(fact for _, number, fact in self.due if number == self.planned[command.node, command.attempt])
        assert isinstance(ended, AttemptEnded)
        surely = ended.failure is not None and ended.failure.happened == "yes"
        if self.nodes[command.node].effect == "once" and (self.truth[command.node] or surely):
            self.happened[command.node] = self.happened.get(command.node, 0) + 1

    def _call(self, command: Call, now: float) -> None:
        denied = {"gate": self.scene.stops, "guard": self.scene.inapplicable, "check": self.scene.failing}
        if command.subject in denied.get(command.kind, ()):
            self.at(now, CallEnded(command.kind, command.n, command.subject, False, "it says no"))
        else:
            super()._call(command, now)


@dataclass
class Drive:
    """Drives one run of a scene."""

    scene: Scene
    log: list[Record] = field(default_factory=list)
    at: float = 0.0
    asked_again: bool = False
    """Whether the latest step took a waiting run over, and did nothing but ask again what was open."""

    def __post_init__(self) -> None:
        self.asked = sum(isinstance(record.event, QuestionAsked) for record in self.log)
        self.first = self.scene.simulation.first_record()
        self.clock = Clock(self.scene, self.first.seed)
        self.machine = self.scene.simulation.blueprint.run(self.first)

    # A whole run

    def run(self) -> list[Record]:
        """Drive the run to its end and return its log."""
        for _ in self.steps():
            pass
        return self.log

    def steps(self) -> Iterator[Moved]:
        """Go through the run fact by fact, until it is over or waits for people who have no more to say."""
        for time, fact in self.scene.news:
            self.clock.at(time, fact)
        yield self._feed(self.first)
        yield from self._on()

    def _on(self) -> Iterator[Moved]:
        taken = 0
        while self.machine.state.phase != "finished" and self.clock.due:
            taken += 1
            assert taken <= self.scene.bound, "the run does not come to an end"
            time, fact = self.clock.next()
            self.at = max(self.at, time)
            yield self._feed(fact)
        assert self.machine.finished, "the run hangs: nothing will happen any more, and it is not over"

    def _feed(self, fact: Fact) -> Moved:
        waiting = self.machine.state.phase == "waiting"
        step = self.machine.feed(fact, self.at)
        # Where a waiting run is taken over and does nothing but ask again, the questions have their words already.
        decided = (record.event for record in step.records[1:])
        merely = waiting and isinstance(fact, RunResumed)
        self.asked_again = merely and all(isinstance(event, QuestionAsked | RunFinished) for event in decided)
        for record in step.records:
            if isinstance(record.event, QuestionAsked) and not self.asked_again:
                self._ask(record.event, self.asked, record.at)
                self.asked += 1
            self.log.append(record)
        for command in step.commands:
            self._carry_out(command)
        return self.machine, step

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, AskModel):
            self._consult(command.question, self.at)
        else:
            self.clock.carry_out(command, self.at)

    # After a crash

    @classmethod
    def resumed(cls, scene: Scene, log: Iterable[Record], happened: dict[str, int], truth: dict[str, bool]) -> Drive:
        """Return a drive that takes a run over from its log, as a durable driver does.

        Args:
            scene: The run's scene.
            log: What was recorded before the crash, to the end of a step.
            happened: What had really happened by then; an effect in flight may be among it.
            truth: Whether the latest attempt of a node took effect.
        """
        drive = cls(scene, list(log))
        drive.machine, written = Run.replay(drive.log)
        assert list(written) == drive.log
        drive.at = drive.log[-1].at
        drive.clock.happened.update(happened)
        drive.clock.truth.update(truth)
        return drive

    def go_on(self) -> Iterator[Moved]:
        """Go on with a run that was taken over: what was in flight is repeated where that is safe, else it failed."""
        known = [record.event for record in self.log]
        self._still_to_come(known)
        lost = dict(self.machine.state.flights)
        yield self._feed(RunResumed("another"))
        for command in self.machine.outstanding():
            repeatable = isinstance(command, Start) and self._repeatable(command.node)
            if isinstance(command, Cancel):
                self.clock.at(self.at, AttemptEnded(command.node, command.part, command.attempt, "cancelled"))
            elif not isinstance(command, Start) or repeatable:
                self._carry_out(command)
            elif lost[command.node].attempt == command.attempt:
                failure = Failure("interrupted", "the driver went away", transient=True, happened="unknown")
                ended = AttemptEnded(command.node, command.part, command.attempt, "failed", (), failure)
                self.clock.at(self.at, ended)
        yield from self._on()

    def _repeatable(self, name: str) -> bool:
        return self.scene.graph.by_name[name].effect in ("read", "idempotent")

    def _still_to_come(self, known: list[Event]) -> None:
        """Let what people had on their lips, and the news, come after the crash as they would have without it."""
        for time, fact in self.scene.news:
            if fact not in known:
                self.clock.at(max(time, self.at), fact)
        said = [event.by for event in known if isinstance(event, Answered)]
        asked = [record for record in self.log if isinstance(record.event, QuestionAsked)]
        for number, record in enumerate(asked):
            assert isinstance(record.event, QuestionAsked)
            self._ask(record.event, number, record.at, said=said.count(str(number)))

    # Words

    def _ask(self, question: QuestionAsked, number: int, at: float, *, said: int = 0) -> None:
        """Let a person answer a question, the *number*-th of the run, as far as they have not *said* it yet."""
        if number >= len(self.scene.people):
            return
        word = self.scene.people[number]
        answer, values = self._answer(question, word)
        if word.kind != "silent":
            fact = Answered(question.question, answer, tuple(map(Value, values)), str(number))
            for _ in range(said, 2 if word.kind == "twice" else 1):
                self.clock.at(max(at + word.delay, self.at), fact)

    def _answer(self, question: QuestionAsked, word: Word) -> tuple[str, tuple[str, ...]]:
        if word.kind == "nonsense":
            return ("yes, but later", "retry:nobody", "")[word.number % 3], ("nothing",)
        if question.kind == "settle":
            # People say what they found out; whether they know the result as well is another matter.
            values = self.scene.graph.by_name[question.node].provides if word.number % 2 else ()
            return ("yes" if self.clock.truth.get(question.node) else "no"), values
        if question.kind == "approve":
            own = [f"{question.node}.{parameter}" for parameter, _, _ in question.inputs]
            if word.kind == "edit" and own:
                return "edit", (own[word.number % len(own)],)
            return ("no" if word.kind == "no" else "yes"), ()
        if word.kind in ("yes", "no"):
            return word.kind, ()
        option = picked(question.options[2:], word)
        return option, (option.removeprefix("supply:"),) if option.startswith("supply:") else ()

    def _consult(self, question: ModelAsked, at: float) -> None:
        """Let the model answer as the script says; one without delay answers before anything else happens."""
        words = self.scene.model or (Word("absent"),)
        word = words[(question.n - 1) % len(words)]
        choice, values = self._choice(question, word)
        fact = ModelAnswered(question.n, choice, values=tuple(map(Value, values)), usd=word.usd, calls=1)
        for _ in range(2 if word.kind == "twice" else 1):
            self.clock.at(at + word.delay, fact, first=not word.delay)

    def _choice(self, question: ModelAsked, word: Word) -> tuple[str | None, tuple[str, ...]]:
        listed = tuple(option.id for option in question.options)
        names = [node.name for node in self.scene.graph.nodes]
        match word.kind:
            case "absent":
                return None, ()
            case "garbage":
                return ("", "yes", "retry:", "call:http://evil.example", "demote")[word.number % 5], ("nothing",)
            case "unknown":
                return ("retry:nobody", "demote:nowhere", "supply:nothing")[word.number % 3], ("nothing",)
            case "unlisted":
                wished = [f"retry:{name}" for name in names]
                wished += [f"demote:{goal.name}" for goal in self.scene.graph.goals]
                wished += [f"supply:{value}" for value in self.scene.graph.values]
                wished = [wish for wish in wished if wish not in listed]
                wish = wished[word.number % len(wished)]
                return wish, (wish.partition(":")[2],)
            case "wrong_values":
                supply = [option for option in listed if option.startswith("supply:")]
                return (supply[0] if supply else None), ("nothing",)
            case _:
                option = picked(listed, word)
                return option, (option.removeprefix("supply:"),) if option.startswith("supply:") else ()


def picked(listed: tuple[str, ...], word: Word) -> str:
    """Return the option that a word means: one of its kind where there is one, else any."""
    wished = [option for option in listed if option.startswith(word.kind)] or list(listed)
    return wished[word.number % len(wished)]
