"""Taking a recorded run over: claim it, replay its record, and go on from there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from orchestrator.drivers.answers import Answer, Ask, to_fact
from orchestrator.drivers.beside import Beside
from orchestrator.drivers.local import LocalRun
from orchestrator.drivers.runs import Runs
from orchestrator.drivers.values import Values
from orchestrator.errors import FencedError, InputError, RecordError, RunNotFoundError, RunTakenError
from orchestrator.events import Answered, Record, RunStarted
from orchestrator.nodes.binding import Bindings
from orchestrator.result import RunResult, fold
from orchestrator.run import Foreseen, Run

if TYPE_CHECKING:
    from orchestrator.escalation import DecisionModel
    from orchestrator.store import RunRow, StoredRun

__all__ = ("at_rest", "each_of", "recorded", "replayed", "taken_over")


async def taken_over(
    runs: Runs,
    run_id: str,
    answers: Iterable[Answer],
    *,
    steal: bool,
    bindings: Bindings,
    clock: Callable[[], float],
    begin: Callable[[RunStarted], tuple[Callable[[str, Record], None], Callable[[Foreseen], None] | None, str]],
    redact: Callable[[str], str],
    model: DecisionModel | None,
    ask: Ask | None,
    beside: Callable[[str], Beside],
) -> LocalRun:
    """Return a recorded run, claimed and ready to go on; the arguments are those of `LocalRun` and `Orchestrator`.

    *begin* is given the run's first record once nothing can go wrong any more, and returns what takes its records, what
    takes what it foresees, and its trace: a run that is refused leaves no trace, and one that somebody else drives
    keeps its own.
    """
    stored, journal = await runs.claimed(run_id, steal=steal)
    try:
        machine, first = replayed(stored)
        _check_bindings(machine, bindings)
        values = _values(stored)
        # Run time goes on while nobody drives the run, so that deadlines of people are kept.
        at = max(stored.records[-1].at, runs.now() - stored.row.created)
        facts = [_in_time(machine, to_fact(machine, answer, values), at) for answer in answers]
        publish, foreseen, trace_id = begin(first)
    except BaseException:
        await journal.release()
        raise
    return LocalRun(
        machine,
        first,
        values,
        bindings,
        clock=clock,
        publish=publish,
        foreseen=foreseen,
        redact=redact,
        trace_id=trace_id,
        journal=journal,
        model=model,
        ask=ask,
        log=stored.records,
        at=at,
        answers=facts,
        beside=beside(run_id),
    )


async def each_of(rows: Iterable[RunRow], resume: Callable[[str], Awaitable[RunResult]]) -> tuple[RunResult, ...]:
    """Resume one run after the other; leave those that somebody else goes on with.

    Raises:
        RecordError: One of them could not go on; that is no reason to leave the others, so it is raised after them.
    """
    results: list[RunResult] = []
    broken: list[RecordError] = []
    for row in rows:
        try:
            results.append(await resume(row.run_id))
        except (RunTakenError, FencedError, RunNotFoundError):
            continue
        except RecordError as error:
            broken.append(error)
    if broken:
        for other in broken[1:]:
            broken[0].add_note(str(other))
        raise broken[0]
    return tuple(results)


def at_rest(stored: StoredRun, now: float, *, asks: bool) -> bool:
    """Whether there is nothing to go on with: the run is over, or waits for people.

    Args:
        stored: The run.
        now: Wall-clock seconds.
        asks: Whether there is somebody to ask.
    """
    if stored.row.outcome == "waiting":
        overdue = stored.row.until is not None and stored.row.until <= now
        return not asks and not overdue
    return stored.row.outcome != "running"


def recorded(stored: StoredRun) -> RunResult:
    """Return the result of a run as it is recorded."""
    values = _values(stored)
    return fold(stored.records, lookup=values.get, trace_id=stored.row.trace_id)


def _values(stored: StoredRun) -> Values:
    return Values.restored((value.name, value.provider, value.data, value.encoding) for value in stored.values)


def _in_time(machine: Run, fact: Answered, at: float) -> Answered:
    until = machine.questions()[fact.question].until
    if until is not None and until <= at:
        raise InputError(
            f"the answer to {fact.question} comes {at - until:.0f} s after its deadline; "
            "resume the run, and the policy answers instead"
        )
    return fact


def replayed(stored: StoredRun) -> tuple[Run, RunStarted]:
    """Return the machine of a recorded run as its record left it, and its first record.

    Raises:
        RecordError: The facts do not lead to the recorded decisions any more.
    """
    machine, written = Run.replay(stored.records)
    for recorded, decided in zip(stored.records, written, strict=False):
        if recorded != decided:
            raise RecordError(
                f"run {stored.row.run_id} was recorded by another version of orchestrator, which decided otherwise at "
                f"record {recorded.seq} ({recorded.event.event}); go on with it under that version"
            )
    if len(written) != len(stored.records):
        raise RecordError(f"the record of run {stored.row.run_id} is not whole")
    first = stored.records[0].event
    assert isinstance(first, RunStarted)
    return machine, first


def _check_bindings(machine: Run, bindings: Bindings) -> None:
    """Check that everything which the run's own graph names can be called today."""
    missing = [node.name for node in machine.graph.nodes if node.name not in bindings.nodes]
    missing += [goal.name for goal in machine.graph.goals if goal.check and goal.name not in bindings.checks]
    for node in machine.graph.nodes:
        binding = bindings.nodes.get(node.name)
        if binding is None:
            continue
        wanted = {"undo": node.undo, "verify": node.verify, "when": node.guard, "approve": node.gate == "function"}
        there = {"undo": binding.undo, "verify": binding.verify, "when": binding.guard, "approve": binding.gate}
        missing += [f"{node.name} ({key})" for key, needed in wanted.items() if needed and there[key] is None]
    if missing:
        raise RecordError(f"the run's graph has {', '.join(missing)}, which today's graph cannot call")
