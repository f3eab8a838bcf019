"""An outlet takes records without ever waiting for its sink."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchestrator.events import Record, Warned
from orchestrator.telemetry.outlet import Outlet

LONG = 30.0
"""Seconds that no test waits unless it is about to fail."""


def record(number: int) -> Record:
    """A record that is told apart by its number."""
    return Record(number, 0.0, Warned(None, ""))


class Blocked:
    """A sink that takes one record and then waits to be released."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(self, run_id: str, record: Record) -> None:
        self.entered.set()
        self.release.wait()
        self.taken.append(record.seq)


@contextmanager
def blocked_outlet(capacity: int) -> Iterator[tuple[Outlet, Blocked]]:
    """An outlet whose sink is stuck in record 0; released and closed at the end, whatever happens."""
    sink = Blocked()
    outlet = Outlet(sink, capacity=capacity)
    try:
        outlet.put("run", record(0))
        assert sink.entered.wait(LONG)
        yield outlet, sink
    finally:
        sink.release.set()
        outlet.close(LONG)


def feeding_threads() -> list[threading.Thread]:
    """The feeding threads of all outlets."""
    return [thread for thread in threading.enumerate() if thread.name == "orchestrator-telemetry"]


def test_records_arrive_in_order() -> None:
    """The sink is given every record with its run's id, in the order of put."""
    taken: list[tuple[str, int]] = []
    outlet = Outlet[Record](lambda run_id, record: taken.append((run_id, record.seq)))
    given_out = [(f"run-{number % 3}", number) for number in range(100)]
    for run_id, number in given_out:
        outlet.put(run_id, record(number))
    assert outlet.flush(LONG)
    assert taken == given_out
    assert outlet.close(LONG)
    assert (outlet.dropped, outlet.failed) == (0, 0)


@given(capacity=st.integers(1, 20), count=st.integers(0, 60))
def test_a_blocked_sink_takes_nothing_from_the_run(capacity: int, count: int) -> None:
    """While the sink is blocked every put returns; what does not fit is dropped, and exactly that is counted."""
    with blocked_outlet(capacity) as (outlet, sink):
        for number in range(1, count + 1):
            outlet.put("run", record(number))
        assert sink.taken == []
        assert outlet.dropped == max(count - capacity, 0)
        sink.release.set()
        assert outlet.flush(LONG)
        assert sink.taken == list(range(min(count, capacity) + 1))


def test_a_blocked_sink_blocks_no_other_outlet() -> None:
    """Outlets have a thread each."""
    taken: list[int] = []
    with blocked_outlet(4):
        other = Outlet[Record](lambda _, record: taken.append(record.seq))
        other.put("run", record(7))
        assert other.close(LONG)
    assert taken == [7]


def test_flush_and_close_are_bounded() -> None:
    """With a blocked sink flush and close give up at their time limit and say so; what was waiting is dropped."""
    with capture_logs() as logs, blocked_outlet(4) as (outlet, sink):
        for number in range(1, 4):
            outlet.put("run", record(number))
        assert not outlet.flush(0.0)
        assert outlet.dropped == 0
        assert not outlet.close(0.0)
        assert outlet.dropped == 3
        outlet.put("run", record(4))
        assert outlet.dropped == 4
    assert sink.taken == [0]
    assert [(line["event"], line["dropped"]) for line in logs] == [("telemetry records were dropped", 3)]


def test_a_sink_that_raises_is_counted_and_told_once() -> None:
    """Errors of a sink end in the count and in one warning, which does not quote the message."""

    def broken(run_id: str, record: Record) -> None:
        raise ConnectionError("password=hunter2")

    outlet = Outlet(broken)
    with capture_logs() as logs:
        for number in range(5):
            outlet.put("run", record(number))
        assert outlet.flush(LONG)
    assert (outlet.failed, outlet.dropped) == (5, 0)
    assert [(line["event"], line["error"], line["log_level"]) for line in logs] == [
        ("a telemetry sink failed", "ConnectionError", "warning")
    ]
    assert logs[0]["at"].startswith("test_telemetry_outlet.py:")
    assert "hunter2" not in str(logs)
    assert outlet.close(LONG)


def test_a_sink_that_raises_keeps_being_fed() -> None:
    """A record that the sink cannot take costs that record only."""
    taken: list[int] = []

    def picky(run_id: str, record: Record) -> None:
        if record.seq % 2:
            raise ValueError
        taken.append(record.seq)

    outlet = Outlet(picky)
    for number in range(6):
        outlet.put("run", record(number))
    assert outlet.close(LONG)
    assert (taken, outlet.failed) == ([0, 2, 4], 3)


def test_drops_are_told_once() -> None:
    """A queue that overflows again and again is one warning."""
    expected = [("telemetry records were dropped", 1)]
    with capture_logs() as logs:
        with blocked_outlet(1) as (outlet, sink):
            for number in range(1, 10):
                outlet.put("run", record(number))
            sink.release.set()
            assert outlet.flush(LONG)
            assert [(line["event"], line["capacity"]) for line in logs] == expected
        outlet.put("run", record(10))
    assert [(line["event"], line["capacity"]) for line in logs] == expected
    assert outlet.dropped == 9


def test_an_outlet_has_no_thread_before_its_first_record() -> None:
    """An outlet that is given nothing starts nothing, also when it is flushed and closed; one that was used ends."""
    before = feeding_threads()
    idle = Outlet[Record](lambda *_: None)
    assert idle.flush(0.0)
    assert idle.close(0.0)
    assert feeding_threads() == before
    used = Outlet[Record](lambda *_: None)
    used.put("run", record(1))
    assert len(feeding_threads()) == len(before) + 1
    assert used.close(LONG)
    assert feeding_threads() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_feeding_thread_is_replaced() -> None:
    """When the thread is gone, after a fork say, the next record starts another."""
    taken: list[int] = []

    def leaving(run_id: str, record: Record) -> None:
        if record.seq == 0:
            raise SystemExit
        taken.append(record.seq)

    before = feeding_threads()
    outlet = Outlet(leaving)
    outlet.put("run", record(0))
    for thread in feeding_threads():
        if thread not in before:
            thread.join(LONG)
    outlet.put("run", record(1))
    assert outlet.close(LONG)
    assert taken == [1]


def test_puts_from_many_threads_are_all_accounted_for() -> None:
    """Under contention every record is delivered or counted as dropped, and each thread's own order holds."""
    with blocked_outlet(300) as (outlet, sink):

        def write(start: int) -> None:
            for number in range(start, start + 100):
                outlet.put("run", record(number))

        writers = [threading.Thread(target=write, args=(start,)) for start in range(1000, 9000, 1000)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(LONG)
        assert outlet.dropped == 800 - 300
        sink.release.set()
        assert outlet.flush(LONG)
    delivered = sink.taken[1:]
    assert len(set(delivered)) == len(delivered) == 300
    for start in range(1000, 9000, 1000):
        own = [number for number in delivered if number // 1000 == start // 1000]
        assert own == sorted(own)


def test_no_thread_to_be_had_is_no_error(monkeypatch) -> None:
    """Where no thread can be started, at the interpreter's end say, records are dropped and put still returns."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    outlet = Outlet[Record](lambda *_: None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    outlet.put("run", record(1))
    assert outlet.dropped == 1
    monkeypatch.undo()
    outlet.put("run", record(2))
    assert outlet.close(LONG)
    assert outlet.dropped == 1


def test_a_process_that_traces_nothing_loads_nothing() -> None:
    """The package, its outlet, names and log lines load neither OpenTelemetry, structlog nor rich."""
    program = (
        "import sys, orchestrator.telemetry\n"
        "from orchestrator.telemetry import logs, names, outlet, provider\n"
        "heavy = ('opentelemetry', 'structlog', 'rich', 'requests')\n"
        "print(*[name for name in heavy if name in sys.modules])\n"
        "import orchestrator.telemetry.spans\n"
        "print(*[name for name in ('opentelemetry.sdk', 'structlog') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
