"""The local driver with a store: what is accepted is kept, and what is called has its reason on the disk."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator import Orchestrator, ToolFailed, tool
from orchestrator.drivers.answers import Answer
from orchestrator.drivers.local import LocalRun
from orchestrator.errors import (
    FencedError,
    InputError,
    RecordError,
    RunNotFoundError,
    RunTakenError,
    StoreError,
)
from orchestrator.escalation import Verdict
from orchestrator.events import (
    Answered,
    AttemptEnded,
    CancelRequested,
    Escalated,
    LateResult,
    ModelAsked,
    QuestionAsked,
    Record,
    RunResumed,
    Settled,
)
from orchestrator.result import Question, RunResult
from orchestrator.store import Store
from tests.durable import Calls, Watched, answered_by, full, outcome, reasons, refund, stored, watched, yields
from tests.running import of
from tests.stores import Clock, tamper

pytestmark = pytest.mark.anyio

ASK = {"ask": "o-1"}
MET = ("met", "refunded")
BY_MODEL: dict[str, Any] = {"policy": {"escalation": {"by": "model"}}}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the address of a store that is not there yet."""
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Watched]:
    """Give a store that can be watched."""
    async with watched(url) as opened:
        yield opened


async def fails(**how: Any) -> Any:
    """Fail as a tool does."""
    raise ToolFailed("no", **how)


async def by_stripe() -> Any:
    """Find that stripe has paid."""
    return "by stripe"


async def lost() -> Any:
    """Lose the answer of a call."""
    raise ToolFailed("lost", happened="unknown")


def refuse(at: int, error: Callable[[], StoreError] = full) -> Any:
    """Return a hook that refuses every write from the one with this number on."""

    async def hook(number: int, records: tuple[Record, ...]) -> None:
        if number >= at:
            raise error()

    return hook


async def writes_of(url: str, **options: Any) -> int:
    """Return how many writes a whole run takes."""
    async with watched(url) as store:
        result = await refund(Calls(), store=store, **options).run(ASK)
        assert outcome(result) == MET
        return int(store.writes)


# -------------------------------------------------------------------------------------------------- before it is called


async def test_a_run_is_accepted_when_its_first_record_is_on_the_disk(store: Watched, url: str) -> None:
    """Until then nobody is told of it and nothing is called; from then on another process finds it."""
    held = anyio.Event()
    calls = Calls()
    told: list[Record] = []

    async def hook(number: int, records: tuple[Record, ...]) -> None:
        if number == 1:
            await held.wait()

    store.hook = hook
    run = refund(calls, store=store).start(ASK, run_id="r", on_record=told.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.run)
        while not store.writes:
            await anyio.lowlevel.checkpoint()
        await yields()
        assert (calls.made, told, run.log) == ([], [], [])
        held.set()
        while not told:
            await anyio.lowlevel.checkpoint()
        assert [record.seq for record in (await stored(url)).records][:1] == [1]
    assert outcome(run.result()) == MET


async def test_nothing_is_called_before_its_reason_is_durable(store_url: str) -> None:
    """Whatever is called finds the record that asks for it in the store: nodes, guards, gates, verifies and all."""
    missing: list[str] = []
    made: set[str] = set()
    async with watched(store_url) as store, Store.open(store_url) as witness:

        async def hook(number: int, records: tuple[Record, ...]) -> None:
            await yields()

        async def seen(what: str, inputs: Any) -> None:
            made.add(what)
            if what not in reasons((await witness.load(run_id)).records):
                missing.append(what)

        store.hook = hook
        run_id = "met"
        await refund(Calls(seen=seen), store=store).run(ASK, run_id=run_id)
        run_id = "undone"
        await refund(Calls({"mail": fails}, seen=seen), store=store).run(ASK, run_id=run_id)
        run_id = "not done"
        await refund(Calls({"stripe": lost}, seen=seen), store=store).run(ASK, run_id=run_id)
        run_id = "asked"
        orchestrator = refund(Calls(seen=seen), store=store, gate="dear")
        await orchestrator.run(ASK, run_id=run_id)
        await orchestrator.answer(run_id, "approve:stripe", "yes")
    assert missing == []
    calls = {"guard stripe", "gate stripe", "verify stripe", "undo stripe", "check refunded"}
    assert made == {"crm", "bank", "stripe", "wire", "mail", *calls}


# ------------------------------------------------------------------------------------------- when it cannot be recorded


@pytest.mark.parametrize("error", [full, lambda: FencedError("another process has taken over the run")])
async def test_a_driver_that_cannot_record_stops_before_the_effect(
    url: str, tmp_path: Path, error: Callable[[], StoreError]
) -> None:
    """Whichever write fails: the error is raised, nothing is called that needed it, and resuming finishes the run."""
    writes = await writes_of(f"sqlite:///{tmp_path / 'whole.db'}")
    assert writes > 5
    for number in range(1, writes + 1):
        run_id = f"r{number}"
        async with watched(url) as store:
            store.hook = refuse(number, error)
            calls = Calls()
            with pytest.raises(StoreError, match=r"full|another"):
                await refund(calls, store=store).run(ASK, run_id=run_id)
            await yields()
        if number == 1:
            with pytest.raises(RunNotFoundError):
                await stored(url, run_id)
            assert calls.made == []
            continue
        assert set(calls.made) <= reasons((await stored(url, run_id)).records)
        again = Calls(truth=by_stripe if "stripe" in calls.made else None)
        async with refund(again, store=url) as orchestrator:
            result = await orchestrator.resume(run_id)
        # Whether an unmarked call that was in flight has happened, nobody can find out.
        assert outcome(result) == MET or (calls.made[-1] == "mail" and result.outcome == "demoted")
        assert [*calls.made, *again.made].count("stripe") <= 1
        assert [*calls.made, *again.made].count("mail") <= 1


async def test_what_only_reads_is_cancelled_when_the_driver_stops(store: Watched) -> None:
    """A read in flight is cancelled where nobody will take its answer; an effect in flight is left to finish."""
    finish = anyio.Event()
    done: list[str] = []

    async def effect() -> Any:
        await finish.wait()
        done.append("idempotent")
        return 1

    calls = Calls({"crm": anyio.sleep_forever, "bank": effect})
    store.hook = refuse(2)
    run = refund(calls, store=store, policy={"limits": {"seconds": "30s"}}).start(ASK)
    async with anyio.create_task_group() as tasks:

        async def drive() -> None:
            with pytest.raises(StoreError, match="no room left"):
                await run.run()

        tasks.start_soon(drive)
        while len(calls.made) < 2:
            await anyio.lowlevel.checkpoint()
        run.cancel()
    await yields()
    assert (calls.cancelled, done) == (["crm"], [])
    finish.set()
    await yields()
    assert done == ["idempotent"]


async def test_guards_and_models_are_cancelled_when_the_driver_stops(store: Watched) -> None:
    """What asks a question and has no effect is not waited for, and nobody pays for it any longer."""
    ended: list[str] = []

    class Slow:
        name = "slow"

        async def decide(self, question: Any, preview: Any, *, timeout: float, **more: Any) -> Verdict:  # noqa: ASYNC109
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("model")
            return Verdict(None)

        async def aclose(self) -> None:
            """Nothing to close."""

    calls = Calls({"crm": fails})
    run = refund(calls, store=store, **BY_MODEL, model=Slow()).start(ASK)
    async with anyio.create_task_group() as tasks:

        async def drive() -> None:
            with pytest.raises(StoreError, match="no room left"):
                await run.run()

        tasks.start_soon(drive)
        while not of(run.log, ModelAsked):
            await anyio.lowlevel.checkpoint()
        store.hook = refuse(0)
        run.cancel()
    await yields()
    assert ended == ["model"]


async def test_a_run_whose_claim_could_not_be_released_is_resumed_by_its_own_process(store: Watched) -> None:
    """A full disk takes no release either; once there is room, the same process goes on with the run."""
    calls = Calls()
    orchestrator = refund(calls, store=store)
    store.hook = refuse(2)
    store.unreleasable = True
    with pytest.raises(StoreError, match="no room left"):
        await orchestrator.run(ASK, run_id="r")
    with pytest.raises(StoreError, match="no room left"):
        await orchestrator.resume("r")
    store.hook, store.unreleasable = None, False
    assert outcome(await orchestrator.resume("r")) == MET


async def test_a_run_that_is_over_is_a_result_also_where_it_cannot_be_released(store: Watched) -> None:
    """The end is recorded, so its result is returned; what could not be let go is let go later."""
    store.unreleasable = True
    orchestrator = refund(Calls(), store=store)
    assert outcome(await orchestrator.run(ASK, run_id="r")) == MET
    store.unreleasable = False
    assert outcome(await orchestrator.resume("r")) == MET


# --------------------------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("natively", [False, True])
async def test_a_caller_that_is_cancelled_in_the_middle_of_a_write_leaves_a_whole_record(
    url: str, tmp_path: Path, natively: bool, durable: bool
) -> None:
    """Whichever write is interrupted, what was decided is recorded, the run is cancelled, and effects are undone."""
    writes = await writes_of(f"sqlite:///{tmp_path / 'whole.db'}")
    for number in range(1 + durable, writes + 1):
        calls = Calls()
        async with watched(url) as store:
            run = refund(calls, store=store).start(ASK, run_id=f"r{number}")
            result = await interrupted(store, number, run, natively=natively, durable=durable)
        record = (await stored(url, f"r{number}")).records
        assert result.records == record
        assert result.outcome == ("met" if number == writes else "cancelled")
        assert calls.made.count("undo stripe") == ("stripe" in calls.made and number < writes)


async def interrupted(
    store: Watched, number: int, run: LocalRun, *, natively: bool, durable: bool = False
) -> RunResult:
    """Cancel whoever drives a run while one of its writes is under way, or *durable* already; return the result."""
    begun, held = anyio.Event(), anyio.Event()

    async def hook(write: int, records: tuple[Record, ...]) -> None:
        if write == number:
            begun.set()
            await held.wait()

    if durable:
        store.after = hook
    else:
        store.hook = hook
    cancel, task = driven(run, natively=natively)
    await begun.wait()
    await yields(3)
    cancel()
    await yields(3)
    held.set()
    with anyio.fail_after(10):
        await asyncio.wait([task])
    return run.result()


def driven(run: LocalRun, *, natively: bool) -> tuple[Callable[[], object], asyncio.Task[None]]:
    """Drive a run; return what cancels whoever does, and the task."""
    scope = anyio.CancelScope()

    async def drive() -> None:
        with scope:
            await run.run()

    task = asyncio.create_task(drive())
    return task.cancel if natively else scope.cancel, task


@pytest.mark.parametrize("natively", [False, True])
async def test_a_run_whose_caller_is_cancelled_while_it_is_accepted_is_recorded_as_cancelled(
    url: str, natively: bool
) -> None:
    """A caller who gives up while the file is locked finds, once it is free, a run that was cancelled."""
    async with Store.open(url, patience=10.0) as store:
        orchestrator = refund(Calls(), store=store)
        await orchestrator.run(ASK)
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        run = orchestrator.start(ASK, run_id="r")
        cancel, task = driven(run, natively=natively)
        await yields()
        cancel()
        await yields()
        assert not task.done()
        other.execute("ROLLBACK")
        other.close()
        with anyio.fail_after(10):
            await asyncio.wait([task])
        assert run.result().outcome == "cancelled"
        assert run.result().records == (await store.load("r")).records
        assert (await store.load("r")).row.owner is None


async def test_a_second_cancellation_does_not_wait(store: Watched, url: str) -> None:
    """Cancelled twice, the driver goes at once; the run is to be cancelled by its record, and resuming does that."""
    calls = Calls({"stripe": anyio.sleep_forever})
    run = refund(calls, store=store).start(ASK, run_id="r")
    task = asyncio.create_task(run.run())
    while "stripe" not in calls.made:
        await anyio.lowlevel.checkpoint()
    task.cancel()
    while not of(run.log, CancelRequested):
        await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = Calls(truth=by_stripe)
    async with refund(again, store=url) as orchestrator:
        result = await orchestrator.resume("r")
    assert result.outcome == "cancelled"
    assert again.made == ["verify stripe", "undo stripe"]


@pytest.mark.parametrize("natively", [False, True])
async def test_a_resumed_run_that_is_cancelled_at_once_still_settles_what_was_in_flight(
    store: Watched, url: str, natively: bool
) -> None:
    """Cancelled while it records that it goes on, a driver settles the effect that was in flight, and ends."""
    async with dead("stripe", url, Calls({"stripe": anyio.sleep_forever})):
        again = Calls(truth=by_stripe)
        run = await refund(again, store=store).reopen("r", steal=True)
        result = await interrupted(store, 1, run, natively=natively)
    assert result.outcome == "cancelled"
    assert again.made == ["verify stripe", "undo stripe"]


@asynccontextmanager
async def dead(node: str, url: str, calls: Calls, **options: Any) -> AsyncIterator[LocalRun]:
    """Give a run whose driver writes no more after a call of *node* has begun: it hangs, until another one steals it.

    For the record, that is as good as dead.
    """
    async with watched(url) as store:
        run = refund(calls, store=store, **options).start(ASK, run_id="r")
        task = asyncio.create_task(run.run())
        while node not in calls.made:
            await anyio.lowlevel.checkpoint()
        await yields()
        yield run
        for _ in range(3):
            task.cancel()
            await yields()
        await asyncio.wait([task])
        assert task.cancelled() or isinstance(task.exception(), FencedError)


# --------------------------------------------------------------------------------------------------------------- values


async def test_values_survive_a_restart(store: Watched, url: str) -> None:
    """What a node made before the process ended is handed to the nodes that run in the next one, bit for bit."""
    order = {"id": "ä-1", "lines": [1, 2.5, None, True, 10**30], "nested": {"nul": "a\0b"}, "big": "x" * 3_000_000}
    made: Any
    for made in (order, b"\xff\x00", "", None, [], math.inf):
        run_id = f"run-{type(made).__name__}"

        async def act(made: Any = made) -> Any:
            return made

        waiting = await refund(Calls({"crm": act}), store=store, gate="dear").run(ASK, run_id=run_id)
        assert waiting.outcome == "waiting"
        received: list[Any] = []

        async def seen(what: str, inputs: Any, received: list[Any] = received) -> None:
            received += [inputs["order"], inputs["rate"]] if what == "stripe" else []

        async with refund(Calls(seen=seen), store=url) as orchestrator:
            result = await orchestrator.answer(run_id, "approve:stripe", "yes")
        assert outcome(result) == MET
        assert received == [made, 7]
        assert type(received[0]) is type(made)


@pytest.mark.parametrize("made", [object(), {"a": object()}, "\ud800", (n for n in range(3))])
async def test_a_result_without_json_form_fails_its_attempt(store: Watched, made: Any) -> None:
    """What the run log cannot hold is a failed attempt that has had its effect: undone, and gone round."""

    async def act() -> Any:
        return made

    calls = Calls({"stripe": act})
    result = await refund(calls, store=store).run(ASK)
    assert outcome(result) == MET
    assert "wire" in result.route
    (attempt,) = [attempt for attempt in result.attempts if attempt.node == "stripe"]
    assert (attempt.outcome, attempt.error) == ("failed", "not_recordable")
    assert "has no JSON form" in (attempt.message or "")
    assert calls.made.index("undo stripe") < calls.made.index("wire")


async def test_an_iterator_is_handed_on_unread_where_nothing_is_recorded() -> None:
    """Writing down what flows through a run must not use it up."""

    async def act() -> Any:
        return (n for n in range(3))

    got: list[Any] = []

    async def seen(what: str, inputs: Any) -> None:
        got.extend(inputs["order"] if what == "stripe" else ())

    assert outcome(await refund(Calls({"crm": act}, seen=seen)).run(ASK)) == MET
    assert got == [0, 1, 2]


async def test_a_verify_whose_result_cannot_be_recorded_leaves_the_outcome_open(store: Watched) -> None:
    """A result that would be gone after a crash settles nothing: a person is asked."""

    async def truth() -> Any:
        return object()

    policy = {"effects": {"verify_attempts": 1}}
    result = await refund(Calls({"stripe": lost}, truth=truth), store=store, policy=policy).run(ASK)
    assert [question.id for question in result.questions] == ["settle:stripe"]


async def test_a_value_is_written_once(store: Watched, url: str) -> None:
    """A late answer to a call that verify has settled changes nothing, neither in memory nor in the store."""
    finish = anyio.Event()
    mailing = anyio.Event()

    async def late() -> Any:
        await finish.wait()
        return "too late"

    async def mail() -> Any:
        finish.set()
        await yields()
        mailing.set()
        return "mailed"

    calls = Calls({"stripe": late, "mail": mail}, truth=by_stripe)
    result = await refund(calls, store=store, stripe_timeout="10ms").run(ASK, run_id="r")
    assert outcome(result) == MET
    assert of(result, LateResult)
    kept = {value.name: value.data for value in (await stored(url)).values}
    assert kept["paid"] == b'"by stripe"'


# ------------------------------------------------------------------------------------------------------------- resuming


async def test_a_run_that_is_over_is_not_run_again(store: Watched, url: str) -> None:
    """Resuming it returns its result, by a beginning of its id as well, and records nothing."""
    calls = Calls()
    orchestrator = refund(calls, store=store)
    first = await orchestrator.run(ASK, run_id="run-1")
    before = list(calls.made)
    for name in ("run-1", "run"):
        again = await orchestrator.resume(name)
        assert (again.outcome, again.values, again.route) == (first.outcome, first.values, first.route)
        assert again.records == first.records == (await stored(url, "run-1")).records
    assert calls.made == before
    with pytest.raises(RunNotFoundError):
        await orchestrator.resume("run-2")


async def test_a_run_that_ended_while_it_was_claimed_is_left_as_it_is(store: Watched, url: str) -> None:
    """Whoever comes a moment too late gets the result, and adds nothing to the record."""
    orchestrator = refund(Calls(), store=store)
    await orchestrator.run(ASK, run_id="r")
    run = await orchestrator.reopen("r")
    assert outcome(await run.run()) == MET
    assert not of(await loaded(url), RunResumed)


async def loaded(url: str, run_id: str = "r") -> list[Record]:
    """Return the records that the store holds of a run."""
    return list((await stored(url, run_id)).records)


async def test_a_waiting_run_is_returned_as_it_waits(store: Watched, url: str) -> None:
    """Resuming a run that waits for people returns its questions, and asks nobody again."""
    orchestrator = refund(Calls(), store=store, gate="dear")
    first = await orchestrator.run(ASK, run_id="r")
    again = await orchestrator.resume("r")
    assert again.questions == first.questions
    assert again.questions[0].inputs == {"order": ASK, "rate": 7}
    assert await loaded(url) == list(first.records)


async def test_a_run_that_its_process_drives_is_refused_to_everybody_else(store: Watched, url: str) -> None:
    """A live driver keeps its run, against other processes and against its own."""
    go = anyio.Event()

    async def act() -> Any:
        await go.wait()
        return ASK

    calls = Calls({"crm": act})
    orchestrator = refund(calls, store=store)
    async with anyio.create_task_group() as tasks:
        run = orchestrator.start(ASK, run_id="r")
        tasks.start_soon(run.run)
        while "crm" not in calls.made:
            await anyio.lowlevel.checkpoint()
        for other in (orchestrator, refund(Calls(), store=url)):
            with pytest.raises(RunTakenError):
                await other.resume("r")
        assert await orchestrator.resume_all() == ()
        go.set()
    assert outcome(run.result()) == MET
    assert calls.made.count("crm") == 1


@pytest.mark.parametrize(
    ("node", "again"),
    [
        ("crm", ["crm"]),
        ("bank", ["bank"]),
        ("stripe", ["verify stripe"]),
        ("mail", []),
        ("verify stripe", ["verify stripe"]),
        ("check refunded", ["check refunded"]),
    ],
)
async def test_what_was_in_flight_is_settled_by_its_effect(url: str, node: str, again: list[str]) -> None:
    """Reads, idempotent calls and questions are made again; an effect is looked for; an unmarked one is given up."""

    async def hangs(what: str, inputs: Any) -> None:
        if what == node:
            await anyio.sleep_forever()

    first = Calls({"stripe": lost} if node == "verify stripe" else {}, truth=by_stripe, seen=hangs)
    async with dead(node, url, first), watched(url) as store:
        second = Calls(truth=by_stripe)
        result = await refund(second, store=store).resume("r", steal=True)
    assert second.made[: len(again)] == again
    once_or_unmarked = [name for name in (*first.made, *second.made) if name in ("stripe", "mail")]
    assert len(once_or_unmarked) == len(set(once_or_unmarked))
    assert outcome(result) == (("demoted", "looked_up") if node == "mail" else MET)
    interrupted_ = [
        event for event in of(result, AttemptEnded) if event.failure and event.failure.type == "interrupted"
    ]
    assert [event.node for event in interrupted_] == [name for name in [node] if name in ("stripe", "mail")]


async def test_an_effect_that_did_not_happen_is_gone_round(url: str) -> None:
    """Verify finds nothing, so the call is not made again, and the other provider pays."""
    async with dead("stripe", url, Calls({"stripe": anyio.sleep_forever})), watched(url) as store:
        calls = Calls()
        result = await refund(calls, store=store).resume("r", steal=True)
    assert outcome(result) == MET
    assert calls.made == ["verify stripe", "wire", "mail", "check refunded"]
    assert [(event.done, event.by) for event in of(result, Settled)] == [(False, "verify")]


async def test_what_has_finished_is_not_called_again(url: str) -> None:
    """A resumed run goes on from the values that are recorded, and gives the second half the same key and inputs."""
    seen: list[Any] = []

    async def note(what: str, inputs: Any) -> None:
        seen.append((what, inputs))

    first = Calls({"mail": anyio.sleep_forever})
    async with dead("mail", url, first), watched(url) as store:
        calls = Calls(seen=note)
        result = await refund(calls, store=store, policy={"effects": {"keep": True}}).resume("r", steal=True)
    assert first.made == ["bank", "crm", "guard stripe", "gate stripe", "stripe", "mail"]
    assert [what for what, _ in seen] == ["undo stripe"]
    assert seen[0][1] == {"result": "by stripe", "key": "r:stripe"}
    assert result.outcome == "demoted"


async def test_a_cancellation_in_flight_is_not_forgotten(url: str) -> None:
    """A read that was to be cancelled when the process ended is not made again."""
    calls = Calls({"crm": anyio.sleep_forever, "bank": anyio.sleep_forever})
    async with watched(url) as store:
        run = refund(calls, store=store).start(ASK, run_id="r")
        task = asyncio.create_task(run.run())
        while len(calls.made) < 2:
            await anyio.lowlevel.checkpoint()

        async def hook(number: int, records: tuple[Record, ...]) -> None:
            if of(records, AttemptEnded):
                raise full()

        store.hook = hook
        run.cancel()
        with pytest.raises(StoreError, match="no room left"):
            await task
        store.hook = None
        again = Calls()
        result = await refund(again, store=store).resume("r")
    assert result.outcome == "cancelled"
    assert again.made == ["bank"]
    ended = {attempt.node: attempt.outcome for attempt in result.attempts}
    assert ended == {"crm": "cancelled", "bank": "succeeded"}


async def test_all_runs_that_nobody_drives_are_resumed(store: Watched, url: str) -> None:
    """`resume_all` goes on with what stopped, and leaves what is over, what waits and what is not of this graph."""
    orchestrator = refund(Calls(), store=store)
    await orchestrator.run(ASK, run_id="over")
    await refund(Calls(), store=store, gate="dear").run(ASK, run_id="waits")
    other = Orchestrator(tools=[tool(provides="v", effect="read")(by_stripe)], goals={"g": ["v"]}, store=store)
    for each, run_id in ((orchestrator, "stopped-1"), (other, "other"), (orchestrator, "stopped-2")):
        store.hook = refuse(store.writes + 2)
        with pytest.raises(StoreError, match="no room left"):
            await (each.run(run_id=run_id) if each is other else each.run(ASK, run_id=run_id))
    store.hook = None
    results = await orchestrator.resume_all()
    assert [(result.run_id, result.outcome) for result in results] == [("stopped-1", "met"), ("stopped-2", "met")]
    assert await orchestrator.resume_all() == ()


# -------------------------------------------------------------------------------------------------- two of them at once


async def test_a_run_that_is_stolen_is_fenced_off(url: str, store: Watched) -> None:
    """The one that had the run can record nothing more, says so, and makes no call after that; the thief goes on."""
    go = anyio.Event()

    async def act() -> Any:
        await go.wait()
        return "by stripe"

    first = Calls({"stripe": act})
    async with watched(url) as other:
        run = refund(first, store=other).start(ASK, run_id="r")
        task = asyncio.create_task(run.run())
        while "stripe" not in first.made:
            await anyio.lowlevel.checkpoint()
        second = Calls(truth=by_stripe)
        result = await refund(second, store=store).resume("r", steal=True)
        go.set()
        with pytest.raises(FencedError):
            await task
        await yields()
    assert outcome(result) == MET
    assert first.made[-1] == "stripe"
    assert second.made == ["verify stripe", "mail", "check refunded"]
    assert [record.seq for record in await loaded(url)] == list(range(1, len(result.records) + 1))
    assert result.records == tuple(await loaded(url))


async def test_of_two_that_resume_a_run_at_once_one_goes_on(url: str) -> None:
    """Whoever claims the run first goes on with it; the other is told that it is taken, or gets the result."""
    async with watched(url) as store:
        store.hook = refuse(2)
        with pytest.raises(StoreError, match="no room left"):
            await refund(Calls(), store=store).run(ASK, run_id="r")
    calls = Calls()
    ended: list[Any] = []

    async def resume() -> None:
        async with refund(calls, store=url) as orchestrator:
            try:
                ended.append((await orchestrator.resume("r")).outcome)
            except RunTakenError:
                ended.append("taken")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(resume)
    assert "met" in ended
    assert set(ended) <= {"met", "taken"}
    assert calls.made.count("stripe") == calls.made.count("crm") == 1


# ---------------------------------------------------------------------------------------------------- what does not fit


async def test_a_graph_that_has_lost_a_node_is_refused(url: str, store: Watched) -> None:
    """A run is not resumed under functions that cannot call what its own graph has; the error names it."""
    store.hook = refuse(2)
    with pytest.raises(StoreError, match="no room left"):
        await refund(Calls(), store=store).run(ASK, run_id="r")
    store.hook = None

    @tool(provides="order", effect="read")
    async def crm(ask: Any) -> Any:
        return ask

    @tool(provides="paid", effect="once")
    async def stripe(order: Any) -> Any:
        return order

    today = Orchestrator(tools=[crm, stripe], goals={"g": ["paid"]}, name="refund", store=store)
    with pytest.raises(RecordError, match=r"bank, mail, wire, refunded, stripe \(undo\), stripe \(verify\)") as caught:
        await today.resume("r")
    assert "stripe (when)" in str(caught.value)
    assert "stripe (approve)" in str(caught.value)
    assert outcome(await refund(Calls(), store=store).resume("r")) == MET  # it was let go


async def test_a_run_that_cannot_go_on_does_not_keep_the_others(url: str, store: Watched) -> None:
    """`resume_all` resumes what it can, leaves what somebody else was quicker to take, and then says what is broken."""
    orchestrator = refund(Calls(), store=store)
    for run_id in ("broken", "taken", "sound"):
        store.hook = refuse(store.writes + 2)
        with pytest.raises(StoreError, match="no room left"):
            await orchestrator.run(ASK, run_id=run_id)
    store.hook = None
    tamper(url, "UPDATE records SET body = replace(body, '\"bound\":', '\"bound\":1') WHERE run_id = 'broken'")
    async with watched(url) as other:
        listed = orchestrator._runs.resumable

        async def resumable(graph: str) -> Any:
            rows = await listed(graph)
            await other.claim("taken")
            return rows

        orchestrator._runs.resumable = resumable  # type: ignore[method-assign]
        with pytest.raises(RecordError, match="run broken was recorded by another version"):
            await orchestrator.resume_all()
    outcomes = {row.run_id: row.outcome for row in await store.runs()}
    assert outcomes == {"broken": "running", "taken": "running", "sound": "met"}


async def test_a_record_that_decides_otherwise_today_is_refused(url: str, store: Watched) -> None:
    """Facts that do not lead to the recorded decisions are those of another version; nothing is called."""
    orchestrator = refund(Calls(), store=store, gate="dear")
    await orchestrator.run(ASK, run_id="r")
    tamper(url, "UPDATE records SET body = replace(body, '\"bound\":', '\"bound\":1') WHERE seq = 2")
    with pytest.raises(RecordError, match=r"decided otherwise at record 2 \(route_planned\)"):
        await orchestrator.answer("r", "approve:stripe", "yes")


async def test_a_record_that_ends_too_early_is_refused(url: str, store: Watched) -> None:
    """A log without its last records is not whole."""
    orchestrator = refund(Calls(), store=store, gate="dear")
    last = (await orchestrator.run(ASK, run_id="r")).records[-1].seq
    tamper(url, f"DELETE FROM records WHERE seq = {last}", f"UPDATE runs SET last_seq = {last - 1}")
    with pytest.raises(RecordError, match="not whole"):
        await orchestrator.answer("r", "approve:stripe", "yes")


async def test_finished_runs_are_kept_as_long_as_the_policy_says(url: str) -> None:
    """The first run that an orchestrator records deletes finished ones that are older; others stay."""
    clock = Clock()

    def later(keep: Any, **options: Any) -> Orchestrator:
        made = refund(Calls(), store=store, policy={"log": {"keep": keep}}, **options)
        made._runs.now = clock
        return made

    async with Store.open(url, clock=clock) as store:
        await later("1h").run(ASK, run_id="old")
        await later("1h", gate="dear").run(ASK, run_id="waits")
        clock.now += 3000
        await later("1h").run(ASK, run_id="young")
        assert {row.run_id for row in await store.runs()} == {"old", "waits", "young"}
        clock.now += 1000
        await later(None).run(ASK, run_id="another")
        assert len(await store.runs()) == 4
        await later("1h").run(ASK, run_id="last")
        assert {row.run_id for row in await store.runs()} == {"waits", "young", "another", "last"}


# -------------------------------------------------------------------------------------------------------------- answers


async def waits(url: str, question: str) -> None:
    """Record a run that waits for the answer to one question."""
    kind = question.partition(":")[0]
    async with watched(url) as store:
        calls = Calls({"stripe": lost, "crm": fails} if kind != "approve" else {})
        if kind == "settle":
            calls = Calls({"stripe": lost}, truth=lost)
        options: dict[str, Any] = {"gate": "dear"} if kind == "approve" else {}
        policy = {"effects": {"verify_attempts": 1}, "escalation": {"by": "person" if kind == "decide" else "policy"}}
        result = await refund(calls, store=store, policy=policy, **options).run(ASK, run_id="r")
        assert [asked.id for asked in result.questions] == [question]


@pytest.mark.parametrize(
    ("question", "said", "values", "made", "how"),
    [
        ("approve:stripe", "yes", {}, ["stripe", "mail", "check refunded"], MET),
        ("approve:stripe", "no", {}, ["wire", "mail", "check refunded"], MET),
        ("approve:stripe", "edit", {"rate": 8}, ["guard stripe", "stripe", "mail", "check refunded"], MET),
        ("settle:stripe", "yes", {"paid": "by ann"}, ["mail", "check refunded"], MET),
        ("settle:stripe", "yes", {}, ["undo stripe", "wire", "mail", "check refunded"], MET),
        ("settle:stripe", "no", {}, ["wire", "mail", "check refunded"], MET),
        ("decide:1", "supply:order", {"order": "by hand"}, ["guard stripe", "gate stripe", "stripe"], MET),
        ("decide:1", "no", {}, [], ("failed", None)),
    ],
)
async def test_an_answer_puts_a_run_back_to_running(
    url: str, question: str, said: str, values: dict[str, Any], made: list[str], how: tuple[str, str | None]
) -> None:
    """Every kind of answer, given in another process, leads on, and is in the record with who gave it and why."""
    await waits(url, question)
    calls = Calls()
    async with refund(calls, store=url) as orchestrator:
        result = await orchestrator.answer("r", question, said, values=values, by="ann", reason="I know")
    assert outcome(result) == how
    assert calls.made[: len(made)] == made
    (answered,) = of(result, Answered)
    assert (answered.question, answered.answer, answered.by, answered.reason) == (question, said, "ann", "I know")
    assert result.records == tuple(await loaded(url))
    if values:
        (name, value), kept = next(iter(values.items())), (await stored(url)).values
        assert any(each.name.endswith(name) and each.data == json.dumps(value).encode() for each in kept)


@pytest.mark.parametrize(
    ("question", "asked", "said", "values", "message"),
    [
        ("approve:stripe", "approve:wire", "yes", {}, "no open question 'approve:wire'; open: approve:stripe"),
        (
            "approve:stripe",
            "approve:stripe",
            "maybe",
            {},
            "'maybe' is no answer to approve:stripe; answer yes, no, edit",
        ),
        ("approve:stripe", "approve:stripe", "yes", {"rate": 8}, "takes no value 'rate'; it takes none"),
        ("approve:stripe", "approve:stripe", "edit", {}, "edit says which inputs to change; stripe takes order, rate"),
        ("approve:stripe", "approve:stripe", "edit", {"sum": 8}, "takes no value 'sum'; it takes order, rate"),
        ("approve:stripe", "approve:stripe", "edit", {"rate": object()}, "'stripe.rate' has no JSON form"),
        ("settle:stripe", "settle:stripe", "no", {"paid": 1}, "takes no value 'paid'; it takes none"),
        ("settle:stripe", "settle:stripe", "yes", {"sum": 1}, "takes no value 'sum'; it takes paid"),
        ("decide:1", "decide:1", "supply:order", {}, "supply:order needs the value of order"),
        ("decide:1", "decide:1", "demote:looked_up", {}, "'demote:looked_up' is no answer to decide:1"),
    ],
)
async def test_what_is_no_answer_is_refused_and_the_run_still_waits(
    url: str, question: str, asked: str, said: str, values: dict[str, Any], message: str
) -> None:
    """The error says what would be one; nothing is recorded, and the right answer can still be given."""
    await waits(url, question)
    before = await loaded(url)
    async with refund(Calls(), store=url) as orchestrator:
        with pytest.raises(InputError) as caught:
            await orchestrator.answer("r", asked, said, values=values)
        assert message in str(caught.value)
        assert await loaded(url) == before
        assert (await orchestrator.answer("r", question, "no")).outcome != "waiting"
        with pytest.raises(InputError, match="no open question"):
            await orchestrator.answer("r", question, "yes")


async def test_an_answer_that_comes_too_late_is_refused(url: str) -> None:
    """After its deadline a question is answered by the policy, whoever resumes the run."""
    clock = Clock()
    async with Store.open(url, clock=clock) as store:
        calls = Calls()
        orchestrator = refund(calls, store=store, gate="dear", policy={"people": {"deadline": "1h"}})
        orchestrator._runs.now = clock
        assert (await orchestrator.run(ASK, run_id="r")).outcome == "waiting"
        assert await orchestrator.resume_all() == ()
        clock.now += 3660
        with pytest.raises(InputError, match=r"comes 60 s after its deadline"):
            await orchestrator.answer("r", "approve:stripe", "yes")
        (result,) = await orchestrator.resume_all()
    assert outcome(result) == MET
    assert "wire" in calls.made
    assert "stripe" not in calls.made


# --------------------------------------------------------------------------------------------------- people, in process


async def test_a_callback_is_asked_and_its_answer_is_recorded(store: Watched, url: str) -> None:
    """An application that can ask people need not leave the run waiting."""
    asked: list[Question] = []

    async def ask(questions: tuple[Question, ...]) -> list[Answer]:
        asked.extend(questions)
        assert (await stored(url)).row.outcome == "waiting"
        return [Answer("approve:stripe", "edit", {"rate": 9}, by="ann")]

    seen: dict[str, Any] = {}

    async def note(what: str, inputs: Any) -> None:
        seen[what] = inputs

    result = await refund(Calls(seen=note), store=store, gate="dear", ask=ask).run(ASK, run_id="r")
    assert outcome(result) == MET
    assert [question.inputs for question in asked] == [{"order": ASK, "rate": 7}]
    assert (seen["stripe"]["rate"], seen["stripe"]["key"]) == (9, "r:stripe:edit-1")
    assert [event.answer for event in of(result, Answered)] == ["edit"]
    assert result.records == tuple(await loaded(url))


async def test_a_callback_that_declines_leaves_the_run_waiting(store: Watched, url: str) -> None:
    """None and nothing are no answer; the run is let go, and can be answered by somebody else."""
    for declined, run_id in ((None, "r1"), ((), "r2")):
        ask = answered_by(declined)
        assert (await refund(Calls(), store=store, gate="dear", ask=ask).run(ASK, run_id=run_id)).outcome == "waiting"
        async with refund(Calls(), store=url) as orchestrator:
            assert outcome(await orchestrator.answer(run_id, "approve:stripe", "yes")) == MET


async def raises(questions: Any) -> Any:
    """Fail to ask."""
    raise OSError("the chat is down")


async def cancels(questions: Any) -> Any:
    """End as if somebody had cancelled what this waits for."""
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (raises, "OSError: the chat is down"),
        (answered_by(["yes"]), "answered by Answer, not by str"),
        (answered_by([Answer("approve:stripe", "maybe")]), "'maybe' is no answer"),
        (answered_by([Answer("approve:wire", "yes")]), "no open question 'approve:wire'"),
    ],
)
async def test_a_callback_that_fails_leaves_the_run_waiting(store: Watched, url: str, ask: Any, message: str) -> None:
    """It warns with the reason, and loses nothing."""
    with pytest.warns(RuntimeWarning, match=message):
        result = await refund(Calls(), store=store, gate="dear", ask=ask).run(ASK, run_id="r")
    assert result.outcome == "waiting"
    async with refund(Calls(), store=url) as orchestrator:
        assert outcome(await orchestrator.answer("r", "approve:stripe", "yes")) == MET


async def test_a_callback_that_is_cancelled_by_itself_leaves_the_run_waiting(store: Watched) -> None:
    """A run never hangs on somebody who asks no more."""
    with anyio.fail_after(10):
        result = await refund(Calls(), store=store, gate="dear", ask=cancels).run(ASK, run_id="r")
    assert result.outcome == "waiting"


async def test_a_slow_callback_is_overtaken_by_the_deadline(store: Watched) -> None:
    """Once the time is up the policy answers, and whoever was asked is told that it is too late: cancelled."""
    told: list[str] = []

    async def ask(questions: Any) -> Any:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            told.append("too late")
            raise

    policy = {"people": {"deadline": "20ms"}}
    calls = Calls()
    result = await refund(calls, store=store, gate="dear", ask=ask, policy=policy).run(ASK)
    await yields()
    assert (outcome(result), told) == (MET, ["too late"])
    assert "wire" in calls.made


async def test_a_callback_is_asked_again_when_there_is_something_else_to_ask(store: Watched) -> None:
    """A run that waits a second time asks a second time, also the same callback."""
    asked: list[list[str]] = []

    async def ask(questions: tuple[Question, ...]) -> list[Answer]:
        asked.append([question.id for question in questions])
        return [Answer(questions[0].id, "no")]

    policy = {"escalation": {"by": "person"}}
    calls = Calls({"wire": fails})
    result = await refund(calls, store=store, gate="dear", ask=ask, policy=policy).run(ASK)
    assert asked == [["approve:stripe"], ["decide:1"]]
    assert result.outcome == "failed"


async def test_one_wrong_answer_among_several_does_not_lose_the_others(store: Watched) -> None:
    """What answers a question counts; the run is then left waiting for the rest."""

    async def ask(questions: tuple[Question, ...]) -> list[Answer]:
        return [Answer("approve:one", "maybe"), Answer("approve:two", "yes")]

    @tool(provides="a", effect="once", approve="always")
    async def one() -> str:
        return "a"

    @tool(provides="b", effect="once", approve="always")
    async def two() -> str:
        return "b"

    orchestrator = Orchestrator(tools=[one, two], goals={"g": ["a", "b"]}, store=store, ask=ask)
    with pytest.warns(RuntimeWarning, match="'maybe' is no answer"):
        result = await orchestrator.run()
    assert [question.id for question in result.questions] == ["approve:one"]
    assert [event.question for event in of(result, Answered)] == ["approve:two"]


async def test_a_waiting_run_is_resumed_by_whoever_can_ask(store: Watched, url: str) -> None:
    """With a callback, resuming a run that waits asks again what is open, and goes on."""
    await refund(Calls(), store=store, gate="dear").run(ASK, run_id="r")
    ask = answered_by([Answer("approve:stripe", "yes")])
    async with refund(Calls(), store=url, ask=ask) as orchestrator:
        result = await orchestrator.resume("r")
    assert outcome(result) == MET
    assert [event.question for event in of(result, QuestionAsked)] == ["approve:stripe"] * 2


async def test_cancelling_a_run_that_asks_people_cancels_the_asking(store: Watched) -> None:
    """The caller's cancellation ends the run, and nobody is asked any more."""
    told: list[str] = []

    async def ask(questions: Any) -> Any:
        told.append("asked")
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cancelled")

    run = refund(Calls(), store=store, gate="dear", ask=ask).start(ASK)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.run)
        while not told:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await yields()
    assert (run.result().outcome, told) == ("cancelled", ["asked", "cancelled"])


# --------------------------------------------------------------------------------------------------------------- models


class Model:
    """A model that decides by what a test says."""

    name = "scripted"

    def __init__(self, decide: Callable[[Any], Awaitable[Verdict]]) -> None:
        self._decide = decide
        self.asked: list[Any] = []

    async def decide(self, question: Any, preview: Any, *, timeout: float, **more: Any) -> Verdict:  # noqa: ASYNC109
        """Answer as the test says."""
        self.asked.append(question)
        return await self._decide(question)

    async def aclose(self) -> None:
        """Nothing to close."""


async def test_a_run_whose_process_dies_while_the_model_is_asked_asks_it_again(url: str) -> None:
    """The same question is put again, once recorded; its answer is the one that counts."""

    async def never(question: Any) -> Verdict:
        await anyio.sleep_forever()
        return Verdict(None)

    async def demotes(question: Any) -> Verdict:
        return Verdict("demote:looked_up", reason="the order is known", calls=1, usd=0.01, tokens=100)

    first, second = Model(never), Model(demotes)
    calls = Calls({"stripe": fails, "wire": fails})
    async with watched(url) as store, watched(url) as other:
        run = refund(calls, store=store, **BY_MODEL, model=first).start(ASK, run_id="r")
        task = asyncio.create_task(run.run())
        while not first.asked:
            await anyio.lowlevel.checkpoint()
        again = Calls()
        result = await refund(again, store=other, **BY_MODEL, model=second).resume("r", steal=True)
        task.cancel()
        with pytest.raises(FencedError):
            await task
    assert (outcome(result), again.made) == (("demoted", "looked_up"), [])
    assert first.asked == second.asked == of(result, ModelAsked)
    assert (result.model_calls, result.usd, result.tokens) == (1, 0.01, 100)
    assert [(event.by, event.words) for event in of(result, Escalated)] == [("model", "the order is known")]


async def test_a_model_that_raises_or_is_cancelled_by_itself_leaves_the_policy_to_decide(store: Watched) -> None:
    """A run never hangs on a model that breaks its promise."""

    async def broken(question: Any) -> Verdict:
        raise OSError("no route to host")

    async def gone(question: Any) -> Verdict:
        raise asyncio.CancelledError

    for decide, error in ((broken, "OSError"), (gone, "CancelledError")):
        calls = Calls({"stripe": fails, "wire": fails})
        with anyio.fail_after(10):
            result = await refund(calls, store=store, **BY_MODEL, model=Model(decide)).run(ASK)
        assert outcome(result) == ("demoted", "looked_up")
        (answered,) = [record.event for record in result.records if record.event.event == "model_answered"]
        assert (answered.choice, answered.error) == (None, error)
