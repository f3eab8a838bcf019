"""Backups in traces: on a call that takes its time stands what would follow if it failed, and whether that was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, StatusCode, Tracer

from orchestrator import Orchestrator, tool
from orchestrator.errors import FencedError
from orchestrator.events import Record, RunResumed
from orchestrator.planner.backups import Backup, Detour
from orchestrator.run import Foreseen, Run
from orchestrator.telemetry.backups import backup_attributes
from orchestrator.telemetry.outlets import Outlets
from orchestrator.telemetry.spans import SpanSink
from tests.recorded_runs import EPOCH_NS, RUN, Recording, attribute, rerouted

PLANNED = "orchestrator.backup.planned"
TAKEN = "orchestrator.backup.taken"

ALONE = Detour(("visa",), ("amex", "mail"), 4.0)
APART = Detour(("visa", "amex"), ("bank", "mail"), 10.5)


class Traced:
    """A tracer that keeps what it is given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = provider.get_tracer("test")

    def span(self, name: str) -> ReadableSpan:
        """Return the one span of this name."""
        (found,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return found


def planned(span: ReadableSpan) -> list[SpanEvent]:
    """Return the backups that a span tells of."""
    return [event for event in span.events if event.name == PLANNED]


def said(event: SpanEvent) -> Mapping[str, Any]:
    """Return what an event says, without the prefix of all our names."""
    return {name.removeprefix("orchestrator."): value for name, value in (event.attributes or {}).items()}


def way(*route: str, without: str = "stripe") -> Backup:
    """Return a backup of one way, with or without the rest of a domain."""
    detour = Detour((without,), route, 2.0)
    return Backup(detour, detour)


def write(news: Iterable[Record | Foreseen], **options: Any) -> Traced:
    """Write the trace of a run."""
    traced = Traced()
    sink = SpanSink(traced.tracer, **options)
    sink.begin(RUN, "refund", EPOCH_NS)
    for one in news:
        sink(RUN, one)
    sink.close()
    return traced


def with_backups(records: list[Record], *backups: Foreseen) -> list[Record | Foreseen]:
    """Return a log with what was foreseen in its place: after all records up to its time."""
    news: list[Record | Foreseen] = [*records, *backups]
    return sorted(news, key=lambda one: (one.at, isinstance(one, Foreseen)))


# ------------------------------------------------------------------------------------------------------------ the words


@pytest.mark.parametrize(
    ("backup", "shared", "told"),
    [
        (
            Backup(ALONE, ALONE),
            (),
            {"backup.found": True, "backup.route": "amex > mail", "backup.weight": 4.0, "backup.protects": "node"},
        ),
        (
            Backup(ALONE, Detour(("visa", "wire"), ("amex", "mail"), 4.0)),
            ("wire",),
            {
                "backup.found": True,
                "backup.route": "amex > mail",
                "backup.weight": 4.0,
                "backup.domain": "west, cloud",
                "backup.protects": "node and domain",
            },
        ),
        (
            Backup(ALONE, APART),
            ("amex",),
            {
                "backup.found": True,
                "backup.route": "amex > mail",
                "backup.weight": 4.0,
                "backup.domain": "west, cloud",
                "backup.protects": "node",
                "backup.domain.found": True,
                "backup.domain.route": "bank > mail",
                "backup.domain.weight": 10.5,
            },
        ),
        (
            Backup(ALONE, None),
            ("amex",),
            {
                "backup.found": True,
                "backup.route": "amex > mail",
                "backup.weight": 4.0,
                "backup.domain": "west, cloud",
                "backup.protects": "node",
                "backup.domain.found": False,
                "reason": "with all of its domain: no way to the goal is left",
            },
        ),
        (Backup(None, None), ("amex",), {"backup.found": False, "backup.domain": "west, cloud"}),
        (Backup(None, None), (), {"backup.found": False}),
        (
            Backup(Detour(("visa",), (), 0.0), Detour(("visa",), (), 0.0)),
            (),
            {"backup.found": True, "backup.route": "", "backup.weight": 0.0, "backup.protects": "node"},
        ),
    ],
    ids=["alone", "both", "apart", "domain is lost", "none at all", "none", "nothing more to call"],
)
def test_a_backup_in_words(backup: Backup, shared: tuple[str, ...], told: dict[str, Any]) -> None:
    """The way, its weight and what it protects from; another way for the domain only where it is another one."""
    attributes = backup_attributes(Foreseen(0.0, "visa", 1, backup, shared), ("west", "cloud"))
    expected = {"node": "visa", **told}
    if backup.node is None:
        expected["reason"] = "no way to the goal is left"
    given = {name.removeprefix("orchestrator."): value for name, value in attributes.items() if value is not None}
    assert given == expected


# ----------------------------------------------------------------------------------------------------------- the traces


def test_a_backup_stands_on_its_call_as_of_when_it_was_planned() -> None:
    """Every time that it changes; the run's other spans tell nothing of it."""
    news = (Foreseen(0.6, "stripe", 1, Backup(None, None)), Foreseen(0.7, "stripe", 1, way("razorpay")))
    traced = write(with_backups(rerouted(), *news))
    events = planned(traced.span("execute_tool stripe"))
    assert [event.timestamp - EPOCH_NS for event in events] == [600_000_000, 700_000_000]
    assert [said(event)["backup.found"] for event in events] == [False, True]
    assert said(events[1]) == {
        "node": "stripe",
        "backup.found": True,
        "backup.route": "razorpay",
        "backup.weight": 2.0,
        "backup.protects": "node",
    }
    assert all(not planned(span) for span in traced.exporter.get_finished_spans() if span.name != "execute_tool stripe")


@pytest.mark.parametrize(
    ("backups", "taken"),
    [
        ([("stripe", 1, way("razorpay"))], True),
        ([("stripe", 1, way("brief")), ("stripe", 1, way("razorpay"))], True),
        ([("stripe", 1, way("razorpay")), ("stripe", 1, way("brief"))], False),
        ([("stripe", 1, Backup(None, None))], False),
        ([("crm", 1, way("razorpay", without="crm"))], None),
        ([("stripe", 2, way("razorpay"))], None),
        ([], None),
    ],
)
def test_a_reroute_says_whether_it_was_foreseen(backups: list[tuple[str, int, Backup]], taken: bool | None) -> None:
    """By what was last told of the attempt that failed; where nothing was told, it says nothing."""
    news = [Foreseen(0.6, *backup) for backup in backups]
    traced = write(with_backups(rerouted(), *news))
    reroute = traced.span("reroute stripe")
    assert attribute(reroute, TAKEN) is taken
    assert attribute(reroute, "orchestrator.route.after") == "razorpay"


def test_a_log_that_is_written_later_foresees_nothing() -> None:
    """What was planned ahead is no record, so a trace of the records alone has none of it."""
    traced = write(rerouted())
    assert not any(planned(span) for span in traced.exporter.get_finished_spans())
    assert TAKEN not in (traced.span("reroute stripe").attributes or {})


def test_a_call_that_another_process_began_is_backed_up_on_the_root() -> None:
    """Its span is not there before it ends; what is foreseen for it is told all the same, and as of the right time."""
    run = Recording().plan("crm", "stripe").start("crm")
    run.at = 5.0
    resumed = run.add(RunResumed()).records[-1]
    traced = write([resumed, Foreseen(5.5, "crm", 1, way("archive", without="crm"))])
    root = traced.span("invoke_workflow refund")
    (event,) = planned(root)
    assert (event.timestamp - EPOCH_NS, said(event)["backup.route"]) == (500_000_000, "archive")


def test_what_is_foreseen_of_a_run_that_is_not_traced_is_dropped() -> None:
    """Neither a run that was never begun nor one that is over gains a span by it."""
    records = rerouted()
    traced = write([*records, Foreseen(99.0, "stripe", 1, way("razorpay"))])
    count = len(traced.exporter.get_finished_spans())
    SpanSink(traced.tracer)(RUN, Foreseen(0.0, "stripe", 1, way("razorpay")))
    assert len(traced.exporter.get_finished_spans()) == count
    assert not any(planned(span) for span in traced.exporter.get_finished_spans())


def test_a_secret_in_a_name_is_kept_out_of_a_backup() -> None:
    """The texts of an event are redacted like those of a span."""
    news = with_backups(rerouted(), Foreseen(0.6, "stripe", 1, way("hunter2")))
    traced = write(news, redact=lambda text: text.replace("hunter2", "***"))
    (event,) = planned(traced.span("execute_tool stripe"))
    assert said(event)["backup.route"] == "***"


async def test_only_the_trace_is_told_what_is_foreseen() -> None:
    """Sinks take records and nothing else; without a tracer there is nobody to tell."""
    for tracer, traces in ((Traced().tracer, True), (NoOpTracer(), False)):
        outlets = Outlets([lambda run_id, record: None], tracer, str)
        taking, _ = outlets.begin(RUN, "refund")
        tracing = outlets.tracing(RUN)
        assert (tracing in taking) == (tracing is not None) == traces
        await outlets.aclose()


# ----------------------------------------------------------------------------------------------------------------- runs


@tool(provides="rating", effect="read")
async def score(order: str) -> int:
    """Rate an order."""
    return len(order)


@tool(provides="letter", effect="read")
async def write_letter(order: str) -> str:
    """Write to the customer."""
    return f"About {order}"


@tool(provides="order", effect="read", latency="90ms")
async def archive() -> str:
    """Find the order in the archive."""
    return "order"


def slow_crm(foreseen: anyio.Event) -> Any:
    """Return a CRM that fails once somebody has foreseen it."""

    @tool(provides="order", effect="read", latency="10ms")
    async def crm() -> str:
        await foreseen.wait()
        raise LookupError("gone")

    return crm


def foreseeing(monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """Return what is set once the driver has told what it foresees of the CRM."""
    told, original = anyio.Event(), Run.foresee

    def observed(self: Run, node: str, at: float) -> Foreseen | None:
        found = original(self, node, at)
        if found is not None and node == "crm":
            told.set()
        return found

    monkeypatch.setattr(Run, "foresee", observed)
    return told


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(
    ("values", "rest"), [(["rating"], "score"), (["rating", "letter"], "score > write_letter")], ids=["path", "shared"]
)
async def test_the_backup_that_a_trace_tells_is_the_one_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, durable: bool, values: list[str], rest: str
) -> None:
    """A slow call fails: what stood on it, and what the run did, are the same, on a mere path and where needs share."""
    traced, told = Traced(), foreseeing(monkeypatch)
    async with Orchestrator(
        tools=[slow_crm(told), archive, score, write_letter],
        goals={"g": values},
        policy={"retry": {"attempts": 1}},
        tracer=traced.tracer,
        store=tmp_path / "runs.db" if durable else None,
    ) as orchestrator:
        with anyio.fail_after(30):
            result = await orchestrator.run()
    assert result.outcome == "met"
    (event,) = planned(traced.span("execute_tool crm"))
    route = attribute(traced.span("reroute crm"), "orchestrator.route.after")
    assert said(event)["backup.route"] == route == f"archive > {rest}"
    assert said(event)["backup.found"] is True
    assert attribute(traced.span("reroute crm"), TAKEN) is True
    crm = traced.span("execute_tool crm")
    assert crm.start_time is not None
    assert crm.end_time is not None
    assert crm.start_time < event.timestamp < crm.end_time


async def test_a_backup_that_shares_the_fate_of_its_call_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first way is lost with the domain of the call, the trace tells in one event which one is not."""

    @tool(provides="order", effect="read", units=9)
    async def library() -> str:
        return "order"

    traced, told = Traced(), foreseeing(monkeypatch)
    async with Orchestrator(
        tools=[slow_crm(told), archive, library, score],
        goals={"g": ["rating"]},
        domains={"west": ["crm", "archive"]},
        tracer=traced.tracer,
    ) as orchestrator:
        with anyio.fail_after(30):
            assert (await orchestrator.run()).route == ("archive", "score")
    (event,) = planned(traced.span("execute_tool crm"))
    assert {name: value for name, value in said(event).items() if not name.endswith("weight")} == {
        "node": "crm",
        "backup.found": True,
        "backup.route": "archive > score",
        "backup.protects": "node",
        "backup.domain": "west",
        "backup.domain.found": True,
        "backup.domain.route": "library > score",
    }


async def test_a_single_point_of_failure_is_told_before_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can stand in for a call, that is on its span while it still runs."""
    traced, told = Traced(), foreseeing(monkeypatch)
    async with Orchestrator(
        tools=[slow_crm(told), score],
        goals={"g": ["rating"]},
        policy={"retry": {"attempts": 1}},
        tracer=traced.tracer,
    ) as orchestrator:
        with anyio.fail_after(30):
            result = await orchestrator.run()
    assert result.outcome == "failed"
    events = planned(traced.span("execute_tool crm"))
    assert [(said(event)["backup.found"], said(event)["reason"]) for event in events] == [
        (False, "no way to the goal is left")
    ]
    assert traced.span("execute_tool crm").status.status_code is StatusCode.ERROR


async def test_a_call_that_is_made_again_after_a_crash_is_planned_round_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The trace of the process that goes on tells its backup, on the root, and that the reroute takes it."""
    traced, told, called = Traced(), foreseeing(monkeypatch), anyio.Event()

    @tool(provides="order", effect="read", latency="10ms")
    async def crm() -> str:
        called.set()
        await anyio.sleep_forever()
        return "order"

    def shop(first: Any, **options: Any) -> Orchestrator:
        rest: dict[str, Any] = {"goals": {"g": ["rating"]}, "policy": {"retry": {"attempts": 1}}}
        return Orchestrator(tools=[first, archive, score], store=tmp_path / "runs.db", **rest, **options)

    async with shop(crm) as dead, shop(slow_crm(told), tracer=traced.tracer) as alive:

        async def abandoned() -> None:
            with suppress(FencedError):
                await dead.run(run_id=RUN)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(abandoned)
                await called.wait()
                result = await alive.resume(RUN, steal=True)
                tasks.cancel_scope.cancel()
    assert result.route == ("archive", "score")
    (event,) = planned(traced.span("invoke_workflow graph"))
    assert (said(event)["node"], said(event)["backup.route"]) == ("crm", "archive > score")
    assert attribute(traced.span("reroute crm"), TAKEN) is True


async def test_quick_calls_and_runs_that_nobody_traces_foresee_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is over within the moment is never asked about, and without a tracer none is."""
    asked: list[str] = []
    monkeypatch.setattr(Run, "foresee", lambda self, node, at: asked.append(node))
    monkeypatch.setattr("orchestrator.drivers.ahead.MOMENT", 3600.0)
    traced = Traced()
    async with Orchestrator(tools=[archive, score], goals={"g": ["rating"]}, tracer=traced.tracer) as orchestrator:
        assert (await orchestrator.run()).outcome == "met"
    assert asked == []
    assert not any(planned(span) for span in traced.exporter.get_finished_spans())

    looked, original = anyio.Event(), Run.plan_ahead

    def observed(self: Run, *, watched: bool = False) -> bool:
        assert not watched
        looked.set()
        return original(self)

    monkeypatch.setattr(Run, "plan_ahead", observed)
    monkeypatch.setattr("orchestrator.drivers.ahead.MOMENT", 0.0)
    async with Orchestrator(
        tools=[slow_crm(looked), archive, score], goals={"g": ["rating"]}, tracer=NoOpTracer()
    ) as orchestrator:
        with anyio.fail_after(30):
            assert (await orchestrator.run()).outcome == "met"
    assert asked == []
