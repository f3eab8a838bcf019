"""The store's contract: what was written is read, whole and in order, from SQLite and from PostgreSQL alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import FencedError, RecordError, RunNotFoundError, StoreError
from orchestrator.events import Answered, Record, RunResumed, Warned
from orchestrator.store import Claim, Sizes, StoredValue
from tests.recorded_runs import RECORDED
from tests.stores import Clock, accept, asked, finished, opened, started, tamper, warned, written

by_log = pytest.mark.parametrize("record", RECORDED, ids=lambda record: record.__name__)

# ------------------------------------------------------------------------------------------------- written and read


@by_log
async def test_a_log_is_read_as_it_was_written(store_url: str, record: Callable[[], list[Record]]) -> None:
    """Every record of a run comes back equal, in order, also to a process that opens the store later."""
    log = record()
    async with opened(store_url) as store:
        claim = await store.accept("r1", "refund", "refunded", log[:2], source="refund.yaml", trace_id="abc")
        for each in log[2:]:
            await store.append(claim, [each])
    async with opened(store_url) as store:
        stored = await store.load("r1")
    assert stored.records == tuple(log)
    row = stored.row
    assert (row.run_id, row.graph, row.goal, row.source, row.trace_id) == (
        "r1",
        "refund",
        "refunded",
        "refund.yaml",
        "abc",
    )
    assert (row.last_seq, row.epoch, row.outcome) == (len(log), 1, log[-1].event.outcome)  # type: ignore[union-attr]


async def test_the_tail_of_a_log_is_read_alone(store_url: str) -> None:
    """Whoever follows a run reads only what is new, and nothing where nothing is."""
    async with opened(store_url) as store:
        claim = await accept(store)
        await store.append(claim, warned(2, 5))
        assert await store.records_after("r", 3) == tuple(warned(4, 5))
        assert await store.records_after("r", 5) == ()


async def test_values_are_bytes_and_the_last_one_stands(store_url: str) -> None:
    """Values come back to the byte, by name and provider; writing one again replaces it."""
    blob = StoredValue("order", "crm", bytes(range(256)) * 300, "bytes")
    answer = StoredValue("stripe.amount", "input", b"15000", "json")
    async with opened(store_url) as store:
        claim = await accept(store, values=[StoredValue("order", "input", b"", "text"), answer])
        edited = StoredValue("stripe.amount", "input", b"900", "json")
        await store.append(claim, warned(2), [blob])
        await store.append(claim, [], [edited])
        stored = await store.load("r")
    assert stored.values == (blob, StoredValue("order", "input", b"", "text"), edited)
    assert stored.row.last_seq == 2


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\N{SNOWMAN} 😀", "'; DROP TABLE runs; --", "%s %(run)s ?"])
async def test_any_text_can_be_recorded(store_url: str, text: str) -> None:
    """What a tool said is kept to the letter, also where it is no character or would mean something to a database."""
    async with opened(store_url) as store:
        claim = await store.accept("r", text, text, [started()], source=text)
        await store.append(claim, written(2, Warned(text, text)))
        await store.append(claim, finished(3, "failed", None))
        stored = await store.load("r")
    assert stored.records[1].event == Warned(text, text)
    assert stored.row.outcome == "failed"


async def test_reading_creates_nothing(tmp_path: Path) -> None:
    """Where there is no SQLite file yet, reading finds no run and leaves no trace."""
    path = tmp_path / ".orchestrator" / "runs.db"
    async with opened(path) as store:
        assert await store.runs() == ()
        assert await store.resumable() == ()
        assert await store.sizes() == Sizes()
        assert await store.prune(1e12) == 0
        for missing in (store.load("r"), store.find("r"), store.claim("r"), store.records_after("r", 0)):
            with pytest.raises(RunNotFoundError, match="no run 'r'"):
                await missing
    assert os.listdir(tmp_path) == []


async def test_a_closed_store_says_so(store_url: str) -> None:
    """What is closed takes nothing more."""
    async with opened(store_url) as store:
        claim = await accept(store)
    with pytest.raises(StoreError, match="is closed"):
        await store.append(claim, warned(2))


# ------------------------------------------------------------------------------------------------- order and atomicity


async def test_a_run_is_accepted_once(store_url: str) -> None:
    """A second run of the same name is refused, and the first one stays as it is."""
    async with opened(store_url) as store, opened(store_url) as other:
        await accept(store, more=warned(2))
        for refusing in (store, other):
            with pytest.raises(StoreError, match="has a run r already"):
                await refusing.accept("r", "other", "other", [started(), *warned(2)])
        stored = await other.load("r")
    assert (stored.row.graph, stored.records) == ("refund", (started(), *warned(2)))


@pytest.mark.parametrize("records", [warned(3), warned(4, 6), [*warned(2), *warned(4)], [*warned(3), *warned(2)]])
async def test_a_log_has_no_gaps(store_url: str, records: list[Record]) -> None:
    """Records that do not go on where the log ends are refused, whole; the run then goes on as if nothing was."""
    async with opened(store_url) as store:
        claim = await accept(store)
        with pytest.raises(StoreError, match=r"goes on at record 2|does not follow"):
            await store.append(claim, records, [StoredValue("x", "y", b"", "text")])
        await store.append(claim, warned(2))
        stored = await store.load("r")
    assert stored.records == (started(), *warned(2))
    assert stored.values == ()


async def test_a_log_begins_at_its_beginning(store_url: str) -> None:
    """A run whose first record is not its first is not accepted."""
    async with opened(store_url) as store:
        with pytest.raises(StoreError, match="begins at record 1, not at 2"):
            await store.accept("r", "g", "g", warned(2))
        assert await store.runs() == ()


async def test_writing_the_same_again_changes_nothing(store_url: str) -> None:
    """Whoever does not know whether an append was written may try it again under the same claim."""
    async with opened(store_url) as store:
        claim = await accept(store)
        for _ in range(3):
            await store.append(claim, warned(2, 3))
        await store.append(claim, warned(4))
        assert (await store.load("r")).records == (started(), *warned(2, 4))


async def test_other_records_under_the_same_claim_are_refused(store_url: str) -> None:
    """Where two write different records at one place of a log, the first one stands and the other is fenced off."""
    async with opened(store_url) as store, opened(store_url) as copy:
        claim = await accept(store)
        await store.append(claim, warned(2, text="first"))
        for other in (warned(2, text="second"), warned(2, 3, text="first"), warned(1, 2)):
            with pytest.raises(FencedError):
                await copy.append(claim, other)
        assert (await store.load("r")).records == (started(), *warned(2, text="first"))


async def test_what_a_store_remembers_of_a_run_is_checked(store_url: str) -> None:
    """A store whose memory of a run is behind what the database holds does not set the run back."""
    async with opened(store_url) as store, opened(store_url) as copy:
        claim = await accept(store)
        await copy.append(claim, finished(2))
        await store.append(claim, [], [StoredValue("x", "y", b"", "text")])
        stored = await store.load("r")
        assert (stored.row.outcome, stored.row.last_seq, len(stored.values)) == ("met", 2, 1)
        await store.append(claim, warned(3))
        assert (await store.load("r")).row.outcome == "met"


async def test_a_reader_sees_one_moment(store_url: str) -> None:
    """What is written while somebody reads is not there for that reader, whatever else it still looks up."""
    async with opened(store_url) as store:
        claim = await accept(store)

        def look(connection: sa.Connection) -> list[int]:
            seen = []
            for seq in (2, 3):
                seen.append(connection.exec_driver_sql("SELECT count(*) FROM records").scalar_one())
                anyio.from_thread.run(store.append, claim, warned(seq))
            return [*seen, connection.exec_driver_sql("SELECT last_seq FROM runs").scalar_one()]

        assert await anyio.to_thread.run_sync(store._database.read, look) == [1, 1, 1]
        assert (await store.load("r")).row.last_seq == 3


async def test_a_log_whose_row_lags_is_not_written_over(store_url: str) -> None:
    """The key of the records is a second guard: also where the row says less, no record is replaced or doubled."""
    async with opened(store_url) as store:
        claim = await accept(store, more=warned(2, 3))
    tamper(store_url, "UPDATE runs SET last_seq = 2")
    async with opened(store_url) as store:
        with pytest.raises(FencedError):
            await store.append(claim, warned(3, text="other"), [StoredValue("x", "y", b"", "text")])
        assert await store.records_after("r", 0) == (started(), *warned(2, 3))


async def test_one_that_is_refused_spoils_no_other(store_url: str) -> None:
    """Of appends that are written together, one is fenced, one has a gap, one cannot be stored: the others stand."""
    bad = StoredValue("x", "y", b"", None)  # type: ignore[arg-type]  # on purpose
    async with opened(store_url) as store, opened(store_url) as thief:
        claims = [await accept(store, f"r{number}") for number in range(6)]
        await thief.claim("r1", steal=True)
        errors: dict[int, Exception] = {}

        async def append(number: int) -> None:
            try:
                records = warned(3) if number == 3 else warned(2)
                await store.append(claims[number], records, [bad] if number == 4 else [])
            except Exception as error:
                errors[number] = error

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(append, number)
        lasts = {row.run_id: row.last_seq for row in await store.runs()}
    assert isinstance(errors.pop(1), FencedError)
    assert "goes on at record 2" in str(errors.pop(3))
    assert type(errors.pop(4)) is StoreError
    assert errors == {}
    assert lasts == {"r0": 2, "r1": 1, "r2": 2, "r3": 1, "r4": 1, "r5": 2}


async def test_what_waits_is_written_together(tmp_path: Path) -> None:
    """Fifty runs that append at the same time share a few transactions, and each keeps its own order."""
    async with opened(tmp_path / "runs.db") as store:
        claims = [await accept(store, f"r{number}") for number in range(50)]
        commits: list[int] = []
        sa.event.listen(store._database._connections(), "commit", lambda connection: commits.append(1))

        async def drive(claim: Claim) -> None:
            for seq in range(2, 12):
                await store.append(claim, warned(seq))

        async with anyio.create_task_group() as group:
            for claim in claims:
                group.start_soon(drive, claim)
        for claim in claims:
            assert (await store.load(claim.run_id)).records[1:] == tuple(warned(2, 11))
    assert len(commits) < 250  # of 500 appends


async def test_runs_live_on_several_event_loops(store_url: str) -> None:
    """One store serves event loops in several threads, each of which is told of its own appends."""
    async with opened(store_url) as store:

        async def drive(run_id: str) -> None:
            claim = await accept(store, run_id)
            for seq in range(2, 30):
                await store.append(claim, warned(seq))

        threads = [threading.Thread(target=anyio.run, args=(drive, f"r{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        assert [row.last_seq for row in await store.runs()] == [29] * 4


@st.composite
def interleavings(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Draw appends of some records each to some runs, in any order."""
    return draw(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 4)), max_size=20))


@given(plan=interleavings(), together=st.booleans())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_appends_keep_their_order_and_are_read_whole(
    store_url: str, number: list[int], plan: list[tuple[str, int]], together: bool
) -> None:
    """However appends interleave, each log is the concatenation of its appends, and a reader sees only whole ones."""
    number[0] += 1
    prefix = f"{number[0]}-"

    async def main() -> None:
        async with opened(store_url) as store, opened(store_url) as reader:
            claims = {name: await accept(store, prefix + name) for name in ("a", "b", "c")}
            ends: dict[str, list[int]] = {name: [1] for name in claims}
            done = anyio.Event()

            async def read() -> None:
                while not done.is_set():
                    for name in claims:
                        stored = await reader.load(prefix + name)
                        assert len(stored.records) in ends[name]
                        assert len(stored.values) == ends[name].index(len(stored.records))

            async def append(name: str, last: int, count: int) -> None:
                value = StoredValue(f"v{last}", "x", b"", "text")
                await store.append(claims[name], warned(last + 1, last + count), [value])

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                async with anyio.create_task_group() as writers:
                    for name, count in plan:
                        if count == 0:
                            continue
                        last = ends[name][-1]
                        ends[name].append(last + count)
                        if together:
                            writers.start_soon(append, name, last, count)
                        else:
                            await append(name, last, count)
                done.set()
            for name, claim in claims.items():
                stored = await reader.load(claim.run_id)
                assert stored.records[1:] == tuple(warned(2, ends[name][-1]) if len(ends[name]) > 1 else [])

    anyio.run(main)


@pytest.fixture
def number() -> list[int]:
    """Count the examples of one test, which share a store."""
    return [0]


# --------------------------------------------------------------------------------------------------- lists, and finding


async def test_runs_are_listed_the_newest_first(store_url: str) -> None:
    """The list can be cut, and narrowed to an outcome or a graph."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store:
        for number in range(5):
            clock.now += 1
            claim = await accept(store, f"r{number}", finished(2) if number % 2 else ())
            await store.release(claim)
        await store.accept("other", "another", "goal", [started("other")])
        rows = await store.runs(graph="refund")
        assert [row.run_id for row in rows] == ["r4", "r3", "r2", "r1", "r0"]
        assert [row.created for row in rows] == [1_000_005.0, 1_000_004.0, 1_000_003.0, 1_000_002.0, 1_000_001.0]
        assert [row.run_id for row in await store.runs(outcome="met")] == ["r3", "r1"]
        assert [row.run_id for row in await store.runs(limit=2, graph="refund")] == ["r4", "r3"]
        assert len(await store.runs(limit=None)) == 6


async def test_a_run_is_found_by_the_beginning_of_its_id(store_url: str) -> None:
    """A prefix that fits one run names it; a whole id names itself; several fits are told; none has a meaning."""
    async with opened(store_url) as store:
        for run_id in ("abc1", "abc2", "abc", "Abd", "a%", "b_c"):
            await accept(store, run_id)
        assert await store.find("abc1") == "abc1"
        assert await store.find("abc") == "abc"
        assert await store.find("A") == "Abd"
        assert await store.find("a%") == "a%"
        with pytest.raises(
            RunNotFoundError, match=r"several runs begin with 'ab': .*abc1.*; write more of it"
        ) as error:
            await store.find("ab")
        assert "Abd" not in str(error.value)
        for nothing in ("x", "%", "_", "b%", "abc11", "B"):
            with pytest.raises(RunNotFoundError, match="no run"):
                await store.find(nothing)


async def test_an_empty_beginning_names_no_run(store_url: str) -> None:
    """An unset variable of a shell must not name the only run there is."""
    async with opened(store_url) as store:
        await accept(store, "only")
        with pytest.raises(RunNotFoundError, match="name a run"):
            await store.find("")


async def test_what_is_not_there_is_told(store_url: str) -> None:
    """A run that is not in the store is an error that says so, for everything that names one."""
    async with opened(store_url) as store:
        await accept(store)
        nobody = Claim("nobody", 1, "x")
        for missing in (
            store.load("nobody"),
            store.records_after("nobody", 0),
            store.claim("nobody"),
            store.append(nobody, warned(2)),
        ):
            with pytest.raises(RunNotFoundError, match="nobody"):
                await missing
        await store.release(nobody)


async def test_a_waiting_run_shows_its_questions_until_it_goes_on(store_url: str) -> None:
    """The row is the fold of the log: waiting with its open questions and deadline, running again, over at last."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store:
        claim = await accept(store, more=warned(2))
        await store.append(claim, [*asked(3, "approve:stripe", 70.0, 10.0), *asked(4, "settle:mail", None, 10.0)])
        row = (await store.load("r")).row
        assert (row.outcome, row.questions, row.until) == ("running", (), None)

        clock.now += 5
        await store.append(claim, finished(5, "waiting", None))
        row = (await store.load("r")).row
        assert (row.outcome, row.reached) == ("waiting", None)
        assert row.questions == ("approve:stripe", "settle:mail")
        assert (row.until, row.updated) == (1_000_060.0, 1_000_005.0)

        await store.append(claim, written(6, Answered("settle:mail", "yes")))
        row = (await store.load("r")).row
        assert (row.outcome, row.questions, row.until, row.reason) == ("running", (), None, None)

        await store.append(claim, [*asked(7, "approve:stripe", 100.0, 90.0), *finished(8, "waiting", None)])
        row = (await store.load("r")).row
        assert (row.questions, row.until) == (("approve:stripe",), 1_000_015.0)

        await store.append(claim, [*written(9, RunResumed()), *finished(10)])
        row = (await store.load("r")).row
        assert (row.outcome, row.reached, row.questions, row.until) == ("met", "refunded", (), None)


async def test_what_nobody_drives_is_resumable(store_url: str) -> None:
    """Running runs without a living owner, and waiting ones that are overdue; the oldest first."""
    clock = Clock(0.0)
    async with opened(store_url, clock=clock, lease=100.0) as store:
        claims = {}
        for name in ("driven", "overdue", "later", "left", "finished", "never"):
            clock.now += 1
            claims[name] = await accept(store, name)
        clock.now = 10.0
        for name, until in (("overdue", 10.0), ("later", 11.0), ("never", None)):
            await store.append(claims[name], [*asked(2, "approve:x", until), *finished(3, "waiting", None)])
        await store.append(claims["finished"], finished(2))
        for name in claims:
            if name != "driven":
                await store.release(claims[name])
        clock.now = 19.0
        assert [row.run_id for row in await store.resumable()] == ["left"]
        clock.now = 20.0
        assert [row.run_id for row in await store.resumable()] == ["overdue", "left"]
        clock.now = 101.0
        async with opened(store_url, clock=clock, lease=100.0) as other:
            await other.claim("later")
            # The lease of the first store is over by now.
            assert [row.run_id for row in await store.resumable()] == ["driven", "overdue", "left"]


async def test_sizes_are_told(store_url: str) -> None:
    """How many runs, records and values there are, what they take on the disk, and since when."""
    clock = Clock()
    async with opened(store_url, clock=clock) as store:
        await accept(store, values=[StoredValue("a", "b", b"x" * 100_000, "bytes")])
        clock.now += 1
        await accept(store, "q", warned(2, 4))
        sizes = await store.sizes()
    assert (sizes.runs, sizes.records, sizes.values, sizes.oldest, sizes.schema) == (2, 5, 1, 1_000_000.0, 1)
    # A hundred thousand times the same is compressed by one of them.
    assert sizes.bytes > (100_000 if "sqlite" in store.url else 10_000)


# -------------------------------------------------------------------------------------------------------------- pruning


@given(
    ends=st.lists(
        st.tuples(st.sampled_from(["running", "waiting", "met", "demoted", "failed", "cancelled"]), st.integers(0, 9)),
        max_size=12,
    ),
    older_than=st.integers(0, 10),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pruning_takes_only_what_is_over_and_old(
    store_url: str, number: list[int], ends: list[tuple[str, int]], older_than: int
) -> None:
    """A running or waiting run is never deleted, nor a finished one before its time; nothing of a deleted one stays."""
    number[0] += 1
    prefix = f"{number[0]}-"

    async def main() -> None:
        clock = Clock()
        async with opened(store_url, clock=clock) as store:
            await store.prune(1e12)
            before = await store.sizes()
            for index, (outcome, at) in enumerate(ends):
                clock.now = 100.0 + at
                value = StoredValue("v", "p", b"x", "text")
                end = [] if outcome == "running" else finished(2, outcome)
                await accept(store, f"{prefix}{index}", end, [value])
            over = [outcome not in ("running", "waiting") and at < older_than for outcome, at in ends]
            assert await store.prune(100.0 + older_than) == sum(over)
            kept = {f"{prefix}{index}" for index, gone in enumerate(over) if not gone}
            found = {row.run_id for row in await store.runs(limit=None) if row.run_id.startswith(prefix)}
            assert found == kept
            sizes = await store.sizes()
            assert sizes.values - before.values == len(kept)
            running = sum(outcome == "running" for outcome, _ in ends)
            assert sizes.records - before.records == 2 * len(kept) - running

    anyio.run(main)


async def test_many_runs_are_pruned_some_at_a_time(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs are old, all of them go, and no transaction is long."""
    monkeypatch.setattr("orchestrator.store.store.AT_A_TIME", 3)
    async with opened(store_url, clock=Clock()) as store:
        for number in range(7):
            await accept(store, f"r{number}", finished(2))
        assert await store.prune(2_000_000.0) == 7
        assert await store.runs() == ()


# ----------------------------------------------------------------------------------------------------- what is damaged


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE records SET body = '{\"seq\":2}' WHERE seq = 2", "record 2 of the run r cannot be read"),
        ("UPDATE records SET body = 'x' WHERE seq = 2", "record 2 of the run r cannot be read"),
        ("DELETE FROM records WHERE seq = 2", "records of the run r are missing"),
        ("DELETE FROM records WHERE seq = 3", "records of the run r are missing"),
    ],
)
async def test_a_damaged_log_is_no_log(store_url: str, statement: str, message: str) -> None:
    """A log with a record that is missing or cannot be read is an error, never a shorter run."""
    async with opened(store_url) as store:
        await accept(store, more=warned(2, 3))
        tamper(store_url, statement)
        with pytest.raises(RecordError, match=message):
            await store.load("r")
