"""Traces of whole runs, told as text, and what holds for every trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode, Tracer

from orchestrator.drivers.first import Blueprint
from orchestrator.events import (
    Absorbed,
    Answers,
    Escalated,
    Event,
    ModelAnswered,
    NodeExcluded,
    Record,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunFinished,
    RunResumed,
    RunStarted,
    Settled,
    Woken,
)
from orchestrator.faults import FaultPlan
from orchestrator.policy import Limits, Policy
from orchestrator.result import fold
from orchestrator.simulate import Simulation
from orchestrator.telemetry import spans as spans_module
from orchestrator.telemetry.run_trace import RunTrace
from orchestrator.telemetry.spans import SpanSink, trace_id_of
from orchestrator.weight import Concern, View
from tests.recorded_runs import (
    EPOCH_NS,
    RECORDED,
    RUN,
    SEGMENTED,
    Recording,
    approved,
    attribute,
    cancelled,
    demoted,
    failed,
    happy,
    modelled,
    parents,
    refused,
    rerouted,
    resumed,
    retried,
    ruled,
    settled,
    settled_by_person,
    shown,
    story,
    timeout,
)
from tests.strategies import fault_scripts, graphs

RUN_OUTCOME = "orchestrator.run.outcome"
OPEN = "circuit open for 3.7s: 5 failures in a row"
WELL = View("declared", tuple((name, 1_000_000) for name in ("brief", "crm", "razorpay", "stripe")))
SICK = View(
    "health 3",
    (("brief", 2_000_000), ("crm", 1_400_000), ("razorpay", 400_000), ("stripe", 9_000_000)),
    vetoes=(("stripe", OPEN),),
    open=("stripe",),
    gates=(("razorpay", "an audit"),),
    spent=("razorpay", "stripe"),
    concern=Concern("circuit", "stripe", 0.99, OPEN),
)
DECISION_SPANS = {"reroute", "last_chance", "escalate"}

ATTEMPT_SAYS = (
    "orchestrator.node",
    "orchestrator.attempt",
    "orchestrator.attempt.outcome",
    "error.type",
    "orchestrator.attempt.settled",
    "orchestrator.attempt.answer",
    "orchestrator.cost.usd",
)

STORIES = {
    "happy": """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > stripe
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  gate stripe
  execute_tool stripe #1 attempt.outcome=succeeded
  check refunded
""",
    "rerouted": """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > razorpay
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=failed attempt.answer=reroute-1 ERROR(no answer)
  reroute stripe decision.id=reroute-1 route.after=razorpay -> execute_tool stripe #1
  execute_tool razorpay #1 attempt.outcome=succeeded
""",
    "retried": """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > stripe
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=failed attempt.answer=retry-1 ERROR(no answer)
  execute_tool crm #2 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=succeeded
""",
    "demoted": """
invoke_workflow refund run.outcome=demoted goal.reached=told route=crm > brief
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=failed attempt.answer=reroute-1 ERROR(no answer)
  reroute stripe decision.id=reroute-1 route.after=razorpay -> execute_tool stripe #1
  execute_tool razorpay #1 attempt.outcome=failed attempt.answer=last-chance-1 ERROR(no answer)
  last_chance decision.id=last-chance-1 route.after=razorpay -> execute_tool razorpay #1
  execute_tool razorpay #2 attempt.outcome=failed attempt.answer=escalation-1 ERROR(no answer)
  execute_tool stripe #2 attempt.outcome=failed attempt.answer=escalation-1 ERROR(no answer)
  escalate no_route decision.id=escalation-1 -> execute_tool razorpay #2 -> execute_tool stripe #2
  plan_route told route=brief
  invoke_agent brief #1 attempt.outcome=succeeded
""",
    "settled": """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > razorpay
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=unknown attempt.settled=not done attempt.answer=reroute-1 ERROR(no answer)
  verify stripe
  reroute stripe decision.id=reroute-1 route.after=razorpay -> execute_tool stripe #1
  execute_tool razorpay #1 attempt.outcome=succeeded
""",
    "late": """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > stripe
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=unknown attempt.settled=done attempt.answer=absorb-1 ERROR(no answer)
  verify stripe ERROR(ConnectionError)
""",
    "failed": """
invoke_workflow refund run.outcome=failed route= ERROR(no_route)
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=succeeded
  check refunded ERROR(the amount differs)
  execute_tool razorpay #1 attempt.outcome=failed attempt.answer=escalation-1 ERROR(no answer)
  escalate no_route decision.id=escalation-1 -> execute_tool razorpay #1
  undo stripe ERROR(HTTPError)
""",
    "cancelled": """
invoke_workflow refund run.outcome=cancelled route=crm
  run_started
  plan_route refunded route=crm > stripe > brief
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=failed attempt.answer=end-1 ERROR(no answer)
  invoke_agent brief #1 attempt.outcome=cancelled
""",
    "waiting": """
invoke_workflow refund run.outcome=waiting route=crm
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  gate stripe
  approve stripe
""",
    "modelled": """
invoke_workflow refund run.outcome=demoted goal.reached=told route=crm > brief
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=failed attempt.answer=escalation-1 ERROR(no answer)
  chat small
  escalate no_route decision.id=escalation-1 -> execute_tool stripe #1
  plan_route told route=brief
  invoke_agent brief #1 attempt.outcome=succeeded
""",
    "ruled": """
invoke_workflow refund run.outcome=failed route= ERROR(no_route)
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=failed attempt.answer=escalation-1 ERROR(no answer)
  chat small ERROR(no answer within 10 s)
  escalate no_route decision.id=escalation-1 -> execute_tool stripe #1
""",
    "resumed": """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > stripe
  run_started
  plan_route refunded route=crm > stripe > brief
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=unknown attempt.settled=done attempt.answer=absorb-1 ERROR(no answer)
  invoke_agent brief #1 attempt.outcome=succeeded
  run_resumed
  verify stripe
""",
    "approved": """
invoke_workflow refund run.outcome=waiting route=crm
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  gate stripe
  approve stripe
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > stripe -> invoke_workflow refund
  answered approve:stripe
  execute_tool stripe #1 attempt.outcome=succeeded
""",
    "refused": """
invoke_workflow refund run.outcome=waiting route=crm
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  gate stripe
  approve stripe
  decide refunded
invoke_workflow refund run.outcome=waiting route=crm -> invoke_workflow refund
  answered approve:stripe
  decide refunded
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > razorpay -> invoke_workflow refund
  answered decide:1
  reroute stripe decision.id=reroute-1 route.after=razorpay
  execute_tool razorpay #1 attempt.outcome=succeeded
""",
    "settled_by_person": """
invoke_workflow refund run.outcome=waiting route=crm
  run_started
  plan_route refunded route=crm > stripe
  execute_tool crm #1 attempt.outcome=succeeded
  execute_tool stripe #1 attempt.outcome=unknown ERROR(no answer)
  verify stripe ERROR(ConnectionError)
  settle stripe
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > razorpay -> invoke_workflow refund
  answered settle:stripe
  settled stripe attempt.settled=not done -> execute_tool stripe #1
  reroute stripe decision.id=reroute-1 route.after=razorpay -> execute_tool stripe #1
  execute_tool razorpay #1 attempt.outcome=succeeded
""",
}


class Traced:
    """A sink in front of an SDK that keeps what it is given."""

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = provider.get_tracer("test")
        self.sink = SpanSink(self.tracer, redact=redact)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was exported."""
        return self.exporter.get_finished_spans()

    def run(self, records: Iterable[Record], run_id: str = RUN) -> str | None:
        """Write a whole log."""
        trace_id = self.sink.begin(run_id, "refund", EPOCH_NS)
        for record in records:
            self.sink(run_id, record)
        return trace_id


def traced(records: Iterable[Record], redact: Callable[[str], str] = str) -> tuple[ReadableSpan, ...]:
    """Return the spans of one run."""
    trace = Traced(redact)
    trace.run(records)
    return trace.spans


def named(spans: Iterable[ReadableSpan], name: str) -> ReadableSpan:
    """Return the first span of this name."""
    return next(span for span in spans if span.name == name)


def attempts(spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
    """Return the spans of attempts."""
    return [span for span in spans if attribute(span, "orchestrator.attempt") is not None]


def in_parts(spans: Iterable[ReadableSpan]) -> list[tuple[ReadableSpan, ...]]:
    """Return the traces that *spans* are, by their start."""
    traces: dict[int, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        assert span.context is not None
        traces.setdefault(span.context.trace_id, []).append(span)
    return [tuple(trace) for trace in traces.values()]


def check_parts(spans: Iterable[ReadableSpan]) -> None:
    """Check every trace of a run, and that each one links to the one before."""
    earlier: tuple[ReadableSpan, ...] = ()
    for part in in_parts(spans):
        check_invariants(part, earlier)
        roots = [span for span in earlier if span.parent is None]
        (root,) = [span for span in part if span.parent is None]
        assert [link.context for link in root.links] == [before.context for before in roots[-1:]]
        earlier += part


def check_invariants(spans: tuple[ReadableSpan, ...], earlier: tuple[ReadableSpan, ...] = ()) -> None:
    """Check what holds for the trace of every run that finished and lost no record; *earlier* are its traces before."""
    kinds = Counter(span.name.split()[0] for span in spans)
    root = next(span for span in spans if span.parent is None)
    by_id = parents([*earlier, *spans])
    assert root.context is not None

    # One root, one mark of the start; everything else hangs below the root and lies within it.
    assert kinds["invoke_workflow"] == 1
    assert kinds["run_started"] == (not earlier)
    for span in spans:
        assert span.context is not None
        assert span.context.trace_id == root.context.trace_id
        assert span is root or (span.parent is not None and span.parent.span_id == root.context.span_id)
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time  # type: ignore[operator]

    # Every failed attempt has exactly one answer; a decision with a span links to exactly what it answers.
    answered: dict[object, set[int]] = {}
    for span in attempts(spans):
        bad = attribute(span, "orchestrator.attempt.outcome") in ("failed", "unknown")
        answer = attribute(span, "orchestrator.attempt.answer")
        assert bad == (span.status.status_code is StatusCode.ERROR)
        # An outcome that a person is asked about is answered when it is known.
        waits = (
            attribute(span, "orchestrator.attempt.outcome") == "unknown" and attribute(root, RUN_OUTCOME) == "waiting"
        )
        assert (answer is not None) == bad or waits
        assert bad == (attribute(span, "error.type") is not None)
        if answer is not None:
            assert span.context is not None
            answered.setdefault(answer, set()).add(span.context.span_id)
    decisions = [span for span in spans if span.name.split()[0] in DECISION_SPANS]
    identified = {attribute(span, "orchestrator.decision.id"): span for span in decisions}
    assert len(identified) == len(decisions)
    for decision, span in identified.items():
        linked = {link.context.span_id for link in span.links if link.context.trace_id == root.context.trace_id}
        assert linked == answered.get(decision, set())
        assert all(by_id[link.context.span_id].start_time < span.start_time for link in span.links)  # type: ignore[operator]
    silent = {answer for answer in answered if str(answer).split("-")[0] in ("retry", "absorb", "end")}
    assert set(answered) - silent <= set(identified)

    # The root counts what the spans show.
    assert attribute(root, "orchestrator.attempts") == len(attempts(spans))
    assert attribute(root, "orchestrator.reroutes") == kinds["reroute"]
    assert attribute(root, "orchestrator.escalations") == kinds["escalate"]
    assert attribute(root, "orchestrator.last_chances") == kinds["last_chance"]
    assert attribute(root, "orchestrator.demotions") == sum(
        attribute(span, "orchestrator.decision") == "demote" for span in spans
    )
    assert attribute(root, "orchestrator.retries") == len(
        {answer for answer in answered if str(answer).startswith("retry-")}
    )
    for total in ("orchestrator.cost.usd", "orchestrator.tokens"):
        below = [attribute(span, total) or 0 for span in spans if span is not root]
        assert attribute(root, total) == pytest.approx(sum(below))  # type: ignore[arg-type]
    assert attribute(root, "orchestrator.model_calls") == sum(
        attribute(span, "orchestrator.model_calls") or 0  # type: ignore[misc]
        for span in spans
        if span.name.startswith("chat")
    )
    assert attribute(root, "orchestrator.records.lost") is None

    # What an algorithm decided never looks like a model's work.
    marked = {span.name.split()[0] for span in spans if attribute(span, "gen_ai.operation.name") is not None}
    assert marked <= {"invoke_workflow", "execute_tool", "invoke_agent", "chat"}

    # A run that recovered is no error; one that did not reached no goal.
    reached = attribute(root, "orchestrator.goal.reached") is not None
    assert reached == (attribute(root, "orchestrator.run.outcome") in ("met", "demoted"))
    assert (root.status.status_code is StatusCode.ERROR) == (attribute(root, "orchestrator.run.outcome") == "failed")


def check_result(spans: tuple[ReadableSpan, ...], records: Sequence[Record]) -> None:
    """Check that the traces say of their run what its result says: the last how it ended, all what it took."""
    result = fold(records)
    roots = [span for part in in_parts(spans) for span in part if span.parent is None]
    root = roots[-1]
    assert attribute(root, "orchestrator.run.id") == result.run_id
    assert attribute(root, "orchestrator.run.outcome") == result.outcome
    assert attribute(root, "orchestrator.goal.reached") == result.goal
    assert attribute(root, "orchestrator.route") == " > ".join(result.route)
    for count in ("retries", "reroutes", "escalations", "demotions", "last_chances", "model_calls", "tokens"):
        assert sum(attribute(each, f"orchestrator.{count}") for each in roots) == getattr(result, count)  # type: ignore[misc]
    assert sum(attribute(each, "orchestrator.cost.usd") for each in roots) == pytest.approx(result.usd)  # type: ignore[misc]
    told = [
        tuple(attribute(span, name) for name in ATTEMPT_SAYS)
        for span in sorted(attempts(spans), key=lambda span: span.start_time or 0)
    ]
    assert told == [
        (attempt.node, attempt.attempt, attempt.outcome, attempt.error, attempt.settled, attempt.answer, attempt.usd)
        for attempt in result.attempts
    ]


@pytest.mark.parametrize("record", [*RECORDED, *SEGMENTED], ids=lambda record: record.__name__)
def test_a_trace_tells_its_run(record: Callable[[], list[Record]]) -> None:
    """Read downwards, the rows of a trace are the story of the run."""
    assert story(traced(record())) == STORIES[record.__name__].strip()


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: record.__name__)
def test_the_invariants_hold_for_written_runs(record: Callable[[], list[Record]]) -> None:
    """What a trace promises holds for every way in which a run can go, and it agrees with the run's result."""
    spans = traced(record())
    check_invariants(spans)
    check_result(spans, record())


@pytest.mark.parametrize("record", [approved, refused], ids=lambda record: record.__name__)
def test_the_invariants_hold_for_runs_in_parts(record: Callable[[], list[Record]]) -> None:
    """A run that waits for people has a trace for each part, with what happened in it; together they are the run."""
    spans = traced(record())
    check_parts(spans)
    refusals = [attempt for attempt in fold(record()).attempts if attempt.outcome == "refused"]
    records = [line for line in record() if not refusals or line.event.event != "answered"]
    check_result(spans, records)


def test_an_effect_that_a_person_settles_costs_nothing_after_all() -> None:
    """A settlement after a wait is a row of its own, which takes off what the attempt was thought to have cost."""
    spans = traced(settled_by_person())
    check_parts(spans)
    row = named(spans, "settled stripe")
    assert dict(row.attributes or {}) == {
        "orchestrator.node": "stripe",
        "orchestrator.answers": "stripe #1",
        "orchestrator.attempt.settled": "not done",
        "orchestrator.attempt.settled.by": "person",
        "orchestrator.cost.usd": -0.125,
    }
    roots = [span for span in spans if span.parent is None]
    assert sum(attribute(root, "orchestrator.cost.usd") for root in roots) == fold(settled_by_person()).usd  # type: ignore[misc]


@st.composite
def drawn_runs(draw: st.DrawFn) -> list[Record]:
    """The log of a run whose attempts fail, stay unknown and are answered in any way, one by one or together."""
    run = Recording().plan("crm", "stripe")
    number: Counter[str] = Counter()
    decided: Counter[str] = Counter()
    waiting: list[tuple[str, int]] = []

    def answer() -> None:
        answers: Answers = tuple(waiting)
        waiting.clear()
        how = draw(st.sampled_from(["retry", "reroute", "escalate", "absorb", "end"]))
        decided[how] += 1
        if how == "retry":
            run.add(Retried(decided[how], answers, answers[0][0], run.at + 0.2))
        elif how == "reroute":
            run.reroute(decided[how], answers, ["stripe"], ["razorpay"])
        elif how == "escalate":
            run.escalate(decided[how], answers, draw(st.sampled_from(["demote", "give_up", "ask"])), "told")
        elif how == "absorb":
            run.add(Absorbed(decided[how], answers))
        else:
            run.add(RunEnded(decided[how], answers, "limit:calls"))

    for _ in range(draw(st.integers(0, 8))):
        node = draw(st.sampled_from(["crm", "stripe", "razorpay", "brief"]))
        number[node] += 1
        run.start(node, number[node])
        usd = draw(st.floats(0, 10))
        if draw(st.booleans()):
            run.succeed(node, number[node], usd=usd, tokens=draw(st.integers(0, 1000)))
            continue
        run.fail(node, number[node], timeout(happened=draw(st.sampled_from(["no", "unknown"]))), usd=usd)
        if draw(st.booleans()):
            run.add(Settled(node, number[node], done=False, by="verify"))
        waiting.append((node, number[node]))
        if draw(st.booleans()):
            answer()
    if waiting:
        answer()
    outcome = draw(st.sampled_from(["met", "demoted", "failed", "cancelled", "waiting"]))
    return run.finish(outcome, goal="refunded")


@given(drawn_runs())
def test_the_invariants_hold_for_any_run(records: list[Record]) -> None:
    """What a trace promises holds whatever fails and however it is answered."""
    check_invariants(traced(records))


@st.composite
def simulated_runs(draw: st.DrawFn) -> tuple[Record, ...]:
    """The log that the run machine itself writes, over a drawn graph with scripted faults and perhaps a limit."""
    graph = draw(graphs(max_nodes=6))
    limits = Limits(calls=draw(st.sampled_from([None, None, 2])))
    faults = FaultPlan.from_text(yaml.safe_dump(draw(fault_scripts(graph)), allow_unicode=True))
    return Simulation(Blueprint(graph, Policy(limits=limits)), faults).run(run_id=RUN).records


@settings(suppress_health_check=list(HealthCheck))
@given(simulated_runs())
def test_the_trace_of_a_simulated_run_agrees_with_its_result(records: tuple[Record, ...]) -> None:
    """What the run machine writes becomes a trace that keeps its promises and says what the result says."""
    spans = traced(records)
    check_invariants(spans)
    check_result(spans, records)


def test_every_event_is_written_or_left_out_on_purpose() -> None:
    """Only a wake leaves no mark in a trace."""
    dispatch = vars(RunTrace)["_write"].dispatcher.dispatch
    silent = {kind for kind in get_args(Event) if dispatch(kind) is dispatch(object)}
    assert silent == {Woken}


def test_what_a_run_is_shown_of_health_stands_before_the_plan_that_goes_by_it() -> None:
    """Who is out of use and why, who weighs otherwise, who is not retried, who is asked about, what matters most."""
    spans = traced(shown(SICK))
    rows = [span.name for span in sorted(spans, key=lambda span: span.start_time or 0)]
    assert rows == ["run_started", "health", "plan_route refunded"]
    assert dict(named(spans, "health").attributes or {}) == {
        "orchestrator.view": "health 3",
        "orchestrator.health.barred": f"stripe: {OPEN}",
        "orchestrator.health.gated": "razorpay: an audit",
        "orchestrator.health.weights": "brief: 2 times, razorpay: 0.4 times",
        "orchestrator.health.spent": "razorpay, stripe",
        "orchestrator.health.concern": f"stripe: {OPEN} (circuit, 0.99)",
    }


def test_a_view_with_nothing_to_tell_is_a_row_only_after_one_that_had() -> None:
    """What is as declared is no news, but that it is so again is."""
    spans = traced(shown(WELL, WELL, SICK, SICK, WELL, WELL))
    views = [attribute(span, "orchestrator.view") for span in spans if span.name == "health"]
    assert views == ["health 3", "health 3", "declared"]
    late = replace(WELL, concern=Concern("lag", "", 0.65, "the event loop was 0.4s late"))
    assert not [span for span in traced(shown(late)) if span.name == "health"]
    (back,) = [span for span in spans if attribute(span, "orchestrator.view") == "declared"]
    assert dict(back.attributes or {}) == {"orchestrator.view": "declared"}


def test_what_an_attempt_says() -> None:
    """An attempt's span names its node, kind, effect, key, inputs and outputs, and holds no value."""
    spans = traced(happy())
    assert dict(named(spans, "execute_tool stripe").attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "stripe",
        "orchestrator.node": "stripe",
        "orchestrator.node.kind": "python",
        "orchestrator.attempt": 1,
        "orchestrator.attempt.outcome": "succeeded",
        "orchestrator.effect": "once",
        "orchestrator.idempotency_key": "key-stripe",
        "orchestrator.inputs": "order: order of crm",
        "orchestrator.outputs": "refund digest-refund 12 B",
        "orchestrator.cost.usd": 0.25,
        "orchestrator.tokens": 0,
    }
    assert named(spans, "execute_tool crm").kind is SpanKind.CLIENT
    assert named(spans, "execute_tool stripe").kind is SpanKind.INTERNAL


def test_what_a_failed_attempt_says() -> None:
    """A failed attempt has an `error.type` of few values, and says when it is tried again."""
    crm = attempts(traced(retried()))[0]
    assert attribute(crm, "error.type") == "timeout"
    assert attribute(crm, "orchestrator.attempt.transient") is True
    assert attribute(crm, "orchestrator.retry.wait_ms") == 150


def test_what_an_agent_says() -> None:
    """An agent is an `invoke_agent` span, with the tokens it took under our own name."""
    brief = named(traced(demoted()), "invoke_agent brief")
    assert attribute(brief, "gen_ai.operation.name") == "invoke_agent"
    assert attribute(brief, "gen_ai.agent.name") == "brief"
    assert attribute(brief, "gen_ai.tool.name") is None
    assert attribute(brief, "orchestrator.tokens") == 321


def test_what_decisions_say() -> None:
    """Plans, reroutes and escalations carry routes as text and weights in units."""
    spans = traced(demoted())
    assert dict(named(spans, "plan_route refunded").attributes or {}) == {
        "orchestrator.algorithm": "dijkstra",
        "orchestrator.goal": "refunded",
        "orchestrator.trigger": "start",
        "orchestrator.route": "crm > stripe",
        "orchestrator.route.verdict": "found",
        "orchestrator.route.weight": 2.5,
        "orchestrator.route.bound": 2.5,
        "orchestrator.route.cost_usd": 0.3,
        "orchestrator.route.latency_ms": 520,
        "orchestrator.route.calls": 2,
        "orchestrator.nodes": 4,
    }
    assert dict(named(spans, "reroute stripe").attributes or {}) == {
        "orchestrator.decision.id": "reroute-1",
        "orchestrator.answers": "stripe #1",
        "orchestrator.algorithm": "dijkstra",
        "orchestrator.node": "stripe",
        "orchestrator.trigger": "failed",
        "orchestrator.cause": "timeout",
        "orchestrator.goal": "refunded",
        "orchestrator.route.before": "stripe",
        "orchestrator.route.after": "razorpay",
        "orchestrator.route.weight.before": 1.5,
        "orchestrator.route.weight.after": 2.0,
        "orchestrator.route.verdict": "found",
    }
    assert dict(named(spans, "escalate no_route").attributes or {}) == {
        "orchestrator.decision.id": "escalation-1",
        "orchestrator.answers": "razorpay #2, stripe #2",
        "orchestrator.decision": "demote",
        "orchestrator.decision.by": "policy",
        "orchestrator.reason": "no_route",
        "orchestrator.goal": "refunded",
        "orchestrator.goal.after": "told",
        "orchestrator.blocked": "razorpay: down, stripe: excluded: timeout",
    }


def test_what_the_root_says() -> None:
    """The root carries the run's id, what was asked and reached, and the totals."""
    root = named(traced(demoted()), "invoke_workflow refund")
    assert dict(root.attributes or {}) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "refund",
        "orchestrator.run.id": RUN,
        "orchestrator.goal.requested": "refunded",
        "orchestrator.run.outcome": "demoted",
        "orchestrator.goal.reached": "told",
        "orchestrator.route": "crm > brief",
        "orchestrator.attempts": 6,
        "orchestrator.retries": 0,
        "orchestrator.reroutes": 1,
        "orchestrator.escalations": 1,
        "orchestrator.demotions": 1,
        "orchestrator.last_chances": 1,
        "orchestrator.model_calls": 0,
        "orchestrator.cost.usd": 0.75,
        "orchestrator.tokens": 321,
    }
    assert [event.name for event in root.events] == [
        "orchestrator.node.excluded",
        "orchestrator.node.excluded",
        "orchestrator.goal.demoted",
    ]


def test_what_a_failed_run_says() -> None:
    """A failed run reached no goal; its reason, failed undos and warnings are on the root."""
    root = named(traced(failed()), "invoke_workflow refund")
    assert attribute(root, "orchestrator.goal.reached") is None
    assert attribute(root, "orchestrator.reason") == "no_route"
    assert attribute(root, "orchestrator.undone") == "stripe (failed)"
    assert [(event.name, dict(event.attributes or {})) for event in root.events][-1] == (
        "orchestrator.warning",
        {"orchestrator.node": "stripe", "orchestrator.reason": "its undo failed"},
    )


def test_what_a_question_to_a_model_says() -> None:
    """A model that is asked is a client span of the conventions, with what it could choose, chose, said and took."""
    chat = named(traced(modelled()), "chat small")
    assert chat.kind is SpanKind.CLIENT
    assert dict(chat.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "orchestrator.goal": "refunded",
        "orchestrator.reason": "no_route",
        "orchestrator.options": "retry:razorpay,stripe | demote:told | supply:refund | ask | give_up",
        "orchestrator.blocked": "razorpay: down, stripe: excluded: timeout",
        "orchestrator.choice": "demote:told",
        "orchestrator.words": "the outage will last",
        "orchestrator.model_calls": 1,
        "orchestrator.cost.usd": 0.0625,
        "orchestrator.tokens": 700,
    }
    assert (chat.end_time or 0) - (chat.start_time or 0) == pytest.approx(1_500_000_000, abs=20_000)
    escalate = named(traced(modelled()), "escalate no_route")
    assert attribute(escalate, "orchestrator.decision.by") == "model"
    assert attribute(escalate, "orchestrator.words") == "the outage will last"


def test_a_model_that_gives_no_answer_is_an_error_of_its_own() -> None:
    """Its span has an `error.type` and the run goes on by the rule: the root says what became of it."""
    chat = named(traced(ruled()), "chat small")
    assert chat.status.status_code is StatusCode.ERROR
    assert attribute(chat, "error.type") == "timeout"
    assert attribute(chat, "orchestrator.choice") is None


def test_what_a_decision_to_retry_or_to_supply_says() -> None:
    """An escalation names the nodes that are tried again, or the value that was supplied."""
    run = Recording().plan("crm")
    run.add(
        Escalated(1, (), "model", "retry", "refunded", None, "no_route", (), nodes=("razorpay", "stripe")),
        Escalated(2, (), "model", "supply", "refunded", None, "no_route", (), value="refund"),
    )
    retry, supply = [span for span in traced(run.finish("failed")) if span.name == "escalate no_route"]
    assert attribute(retry, "orchestrator.node") == "razorpay, stripe"
    assert attribute(supply, "orchestrator.value") == "refund"


def test_what_questions_and_answers_say() -> None:
    """A question says with what the call would be made and how long it may wait; an answer says who gave it."""
    spans = traced(refused())
    assert dict(named(spans, "approve stripe").attributes or {}) == {
        "orchestrator.node": "stripe",
        "orchestrator.reason": "over 10,000",
        "orchestrator.question": "approve:stripe",
        "orchestrator.inputs": "order: order of crm",
        "orchestrator.options": "yes | no | edit",
        "orchestrator.question.seconds": pytest.approx(3599.4),
    }
    assert attribute(named(spans, "decide refunded"), "orchestrator.goal") == "refunded"
    assert dict(named(spans, "answered approve:stripe").attributes or {}) == {
        "orchestrator.run.id": RUN,
        "orchestrator.question": "approve:stripe",
        "orchestrator.answer": "no",
        "orchestrator.answer.by": "Ann",
        "orchestrator.reason": "not this one",
    }


def test_times_are_the_runs_own() -> None:
    """Spans start and end at the run's times after the epoch, to within a microsecond per record."""
    spans = traced(rerouted())
    stripe = named(spans, "execute_tool stripe")
    assert stripe.start_time == pytest.approx(EPOCH_NS + 500_000_000, abs=20_000)
    assert stripe.end_time == pytest.approx(EPOCH_NS + 900_000_000, abs=20_000)
    started = named(spans, "run_started")
    assert started.start_time == started.end_time


@pytest.mark.parametrize("record", [*RECORDED, *SEGMENTED], ids=lambda record: record.__name__)
def test_rows_neither_touch_nor_tie(record: Callable[[], list[Record]]) -> None:
    """Times that are equal on the run's clock are a microsecond apart, so that viewers keep the order of the log."""
    spans = traced(record())
    micros = [(span.start_time or 0) // 1000 for span in spans]
    assert len(set(micros)) == len(micros)
    marks = sorted((span.start_time or 0, span.end_time or 0) for span in spans if span.parent is not None)
    for (_, end), (start, _) in pairwise(marks):
        assert end != start


def test_a_clock_that_steps_back_breaks_no_span() -> None:
    """A record that claims an earlier time is written after the one before it."""
    run = Recording().plan("crm").start("crm")
    run.at = -5.0
    spans = traced(run.succeed("crm").finish("met", "crm", goal="refunded"))
    check_invariants(spans)


def test_run_started_is_sent_while_the_run_is_under_way() -> None:
    """The mark of the start is exported with the first record, long before the root."""
    trace = Traced()
    trace.sink.begin(RUN, "refund", EPOCH_NS)
    trace.sink(RUN, happy()[0])
    assert [span.name for span in trace.spans] == ["run_started"]
    assert attribute(trace.spans[0], "orchestrator.run.id") == RUN


def test_an_answered_failure_is_sent_while_the_run_is_under_way() -> None:
    """A failed attempt waits for its answer and no longer."""
    trace = Traced()
    records = rerouted()
    answer = next(record.seq for record in records if record.event.event == "rerouted")
    trace.run(records[: answer - 1])
    assert "execute_tool stripe" not in [span.name for span in trace.spans]
    trace.sink(RUN, records[answer - 1])
    assert "execute_tool stripe" in [span.name for span in trace.spans]


def test_an_unknown_outcome_waits_for_answer_and_settlement_in_any_order() -> None:
    """A decision may come before the settlement; the attempt's span says both."""
    run = Recording().plan("stripe").start("stripe").fail("stripe", failure=timeout(happened="unknown"))
    run.escalate(1, (("stripe", 1),), "ask").add(Settled("stripe", 1, done=True, by="late_result"))
    stripe = attempts(traced(run.finish("met", "stripe", goal="refunded")))[0]
    assert attribute(stripe, "orchestrator.attempt.answer") == "escalation-1"
    assert attribute(stripe, "orchestrator.attempt.settled") == "done"


def test_only_a_once_attempt_is_unknown() -> None:
    """A lost answer of a node that may be repeated is a plain failure."""
    run = Recording().plan("crm").start("crm").fail("crm", failure=timeout(happened="unknown"))
    run.add(RunEnded(1, (("crm", 1),), "limit:calls"))
    crm = attempts(traced(run.finish("failed")))[0]
    assert attribute(crm, "orchestrator.attempt.outcome") == "failed"


def test_a_reroute_without_a_node_has_a_name() -> None:
    """A reroute that no node caused, a changed view say, is named without one."""
    run = Recording().plan("crm", "stripe")
    run.add(Rerouted(1, (), "view", None, None, "refunded", ("stripe",), ("razorpay",), 1, 2, "found"))
    assert "reroute" in [span.name for span in traced(run.records)]


def test_a_run_joins_the_callers_trace() -> None:
    """A run that starts inside a span of the application hangs below that span, and its trace id is returned."""
    trace = Traced()
    with trace.tracer.start_as_current_span("request") as request:
        trace_id = trace.run(happy())
    root = named(trace.spans, "invoke_workflow refund")
    assert root.parent is not None
    assert root.parent.span_id == request.get_span_context().span_id
    assert trace_id == f"{request.get_span_context().trace_id:032x}"


def test_runs_at_once_keep_apart() -> None:
    """Interleaved records of several runs become whole traces of their own."""
    trace = Traced()
    logs = {f"run-{number}": record() for number, record in enumerate([happy, demoted, settled, cancelled])}
    ids = {run_id: trace.sink.begin(run_id, "refund", EPOCH_NS) for run_id in logs}
    for place in range(max(map(len, logs.values()))):
        for run_id, records in logs.items():
            if place < len(records):
                trace.sink(run_id, records[place])
    assert len(set(ids.values())) == 4
    for trace_id in ids.values():
        check_invariants(
            tuple(span for span in trace.spans if span.context and f"{span.context.trace_id:032x}" == trace_id)
        )


def test_a_trace_without_a_tracer_has_an_id() -> None:
    """Where nothing is traced the result's trace id is the run's own, and records cost nothing."""
    sink = SpanSink(NoOpTracer())
    assert sink.begin(RUN, "refund", EPOCH_NS) == RUN.replace("-", "")
    assert sink._open == {}
    for record in happy():
        sink(RUN, record)


def test_the_applications_own_tracer_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink without a tracer takes the one of the application's provider, and none of its own."""
    assert SpanSink().begin(RUN, "refund", EPOCH_NS) == RUN.replace("-", "")
    trace = Traced()
    monkeypatch.setattr(spans_module, "get_tracer", {"orchestrator": trace.tracer}.__getitem__)
    trace.sink = SpanSink()
    trace.run(happy())
    check_invariants(trace.spans)


def test_any_run_id_gives_a_trace_id() -> None:
    """A run id that is no UUID gives 32 hex digits, always the same and different from others'."""
    assert len(trace_id_of("nightly-7")) == 32
    assert int(trace_id_of("nightly-7"), 16)
    assert trace_id_of("nightly-7") == trace_id_of("nightly-7") != trace_id_of("nightly-8")


def test_a_tracer_that_raises_costs_the_trace_only() -> None:
    """`begin` is called on the run's own path, so it returns None instead of raising, and later records are ignored."""

    class Broken(NoOpTracer):
        def start_span(self, *args, **kwargs):
            raise ConnectionError

    sink = SpanSink(Broken())
    assert sink.begin(RUN, "refund", EPOCH_NS) is None
    for record in happy():
        sink(RUN, record)
    sink.close()


def test_records_of_an_unknown_run_are_ignored() -> None:
    """A run that was not begun here leaves no trace."""
    trace = Traced()
    for record in happy():
        trace.sink("other", record)
    assert trace.spans == ()


def test_close_ends_runs_that_never_finished() -> None:
    """What is open at the end is sent, children first, with no outcome and no status."""
    trace = Traced()
    run = Recording().plan("stripe").start("crm").start("stripe").fail("stripe").add()
    trace.run(run.records)
    trace.sink.close()
    assert [span.name for span in trace.spans][-3:] == [
        "execute_tool crm",
        "execute_tool stripe",
        "invoke_workflow refund",
    ]
    root = trace.spans[-1]
    assert root.status.status_code is StatusCode.UNSET
    assert attribute(root, "orchestrator.run.outcome") is None
    for record in happy():
        trace.sink(RUN, record)
    trace.sink.close()
    assert trace.spans[-1] is root


def test_close_goes_on_after_an_error() -> None:
    """A span that cannot be ended does not keep the other runs open."""
    trace = Traced()
    for run_id in ("one", "two"):
        trace.sink.begin(run_id, run_id, EPOCH_NS)

    def broken(end_time: int | None = None) -> None:
        raise OSError

    trace.sink._open["one"].root.end = broken  # type: ignore[method-assign]
    trace.sink.close()
    assert [span.name for span in trace.spans] == ["invoke_workflow two"]


def test_a_run_begun_again_has_a_trace_of_its_own() -> None:
    """A resumed run gets a new root; the earlier one is ended."""
    trace = Traced()
    first = trace.sink.begin(RUN, "refund", EPOCH_NS)
    second = trace.run(happy())
    assert first != second
    assert [span.name for span in trace.spans].count("invoke_workflow refund") == 2


def after_a_crash() -> tuple[RunStarted, list[Record]]:
    """The first record of a run, and those that a process adds that goes on with it after another one died."""
    records = resumed()
    middle = next(place for place, record in enumerate(records) if isinstance(record.event, RunResumed))
    first = records[0].event
    assert isinstance(first, RunStarted)
    return first, records[middle:]


def test_a_process_that_goes_on_with_a_run_traces_it() -> None:
    """A log from the middle is a trace of its own; what was in flight when the other process died has its row there."""
    trace = Traced()
    first, records = after_a_crash()
    trace.sink.begin(RUN, "refund", EPOCH_NS, started=first)
    for record in records:
        trace.sink(RUN, record)
    assert (
        story(trace.spans)
        == """
invoke_workflow refund run.outcome=met goal.reached=refunded route=crm > stripe
  run_resumed
  execute_tool stripe #1 attempt.outcome=unknown attempt.settled=done attempt.answer=absorb-1 ERROR(no answer)
  invoke_agent brief #1 attempt.outcome=succeeded
  verify stripe
""".strip()
    )
    root = named(trace.spans, "invoke_workflow refund")
    assert attribute(root, "orchestrator.goal.requested") == "refunded"
    assert attribute(root, "orchestrator.attempts") == 2
    assert root.links == ()


def test_a_process_that_goes_on_with_a_run_keeps_its_own_time() -> None:
    """The first record is of the time at which the run was begun again, whatever the run's own clock says."""
    trace = Traced()
    first, records = after_a_crash()
    trace.sink.begin(RUN, "refund", EPOCH_NS, started=first)
    for record in records:
        trace.sink(RUN, replace(record, at=record.at + 5000.0))
    row = named(trace.spans, "run_resumed")
    assert row.start_time == pytest.approx(EPOCH_NS, abs=20_000)
    assert max(span.end_time or 0 for span in trace.spans) < EPOCH_NS + 2_000_000_000


def test_an_attempt_that_ends_twice_is_told_once() -> None:
    """Also after a crash only the first end of an attempt makes a row."""
    trace = Traced()
    first, records = after_a_crash()
    ended = next(record for record in records if record.event.event == "attempt_ended")
    trace.sink.begin(RUN, "refund", EPOCH_NS, started=first)
    for record in [*records[:3], ended, *records[3:]]:
        trace.sink(RUN, record)
    assert [span.name for span in trace.spans].count("execute_tool stripe") == 1


def test_a_model_that_a_dead_process_asked_is_told() -> None:
    """The answer to a question that is not in this trace has a row all the same, and counts."""
    trace = Traced()
    trace.sink.begin(RUN, "refund", EPOCH_NS)
    events: list[Event] = [RunResumed(), ModelAnswered(1, "ask", calls=1, usd=0.5), happy()[-1].event]
    for number, event in enumerate(events, 10):
        trace.sink(RUN, Record(number, 0.0, event))
    assert attribute(named(trace.spans, "chat"), "orchestrator.cost.usd") == 0.5
    assert attribute(named(trace.spans, "invoke_workflow refund"), "orchestrator.model_calls") == 1


def test_a_run_that_is_begun_again_links_to_what_is_known() -> None:
    """A waiting run that is begun again, to be answered, gets a root in the caller's context, linked to the old one."""
    trace = Traced()
    records = approved()
    middle = next(place for place, record in enumerate(records) if record.event.event == "answered")
    trace.run(records[:middle])
    with trace.tracer.start_as_current_span("request") as request:
        trace.sink.begin(RUN, "refund", EPOCH_NS + 60_000_000_000)
    for record in records[middle:]:
        trace.sink(RUN, record)
    old, new = [span for span in trace.spans if span.name == "invoke_workflow refund"]
    assert [link.context for link in new.links] == [old.context]
    assert new.parent == request.get_span_context()
    assert attribute(new, "orchestrator.goal.requested") == "refunded"
    assert trace.sink._waiting == trace.sink._open == {}


def test_only_a_run_that_waits_goes_on() -> None:
    """Records that come after the end of a run, a late result say, begin nothing."""
    trace = Traced()
    trace.run([*happy(), *approved()[-3:]])
    assert [span.name for span in trace.spans].count("invoke_workflow refund") == 1


def test_waiting_runs_do_not_pile_up(monkeypatch) -> None:
    """Of the runs that wait for people only so many are remembered, the latest; others go on without a trace here."""
    monkeypatch.setattr(spans_module, "OPEN_RUNS", 2)
    trace = Traced()
    for number in range(4):
        trace.run(Recording(run_id=f"run-{number}").finish("waiting"), f"run-{number}")
    assert list(trace.sink._waiting) == ["run-2", "run-3"]


def test_lost_records_are_told() -> None:
    """A trace with a hole says how many records it lacks, and still ends."""
    records = rerouted()
    spans = traced([record for record in records if not isinstance(record.event, NodeExcluded | RoutePlanned)])
    root = named(spans, "invoke_workflow refund")
    assert attribute(root, "orchestrator.records.lost") == 2
    every_second = traced([records[0], *records[1:-1:2], records[-1]])
    assert any(span.parent is None for span in every_second)


def test_lost_ends_do_not_pile_up(monkeypatch) -> None:
    """Runs whose last record was dropped are ended, oldest first, once too many are open."""
    monkeypatch.setattr(spans_module, "OPEN_RUNS", 3)
    trace = Traced()
    for number in range(5):
        run_id = f"run-{number}"
        trace.sink.begin(run_id, run_id, EPOCH_NS)
        trace.sink(run_id, happy()[0])
    ended = [span.name for span in trace.spans if span.parent is None]
    assert ended == ["invoke_workflow run-0", "invoke_workflow run-1"]


@pytest.mark.parametrize("record", [*RECORDED, *SEGMENTED], ids=lambda record: record.__name__)
def test_every_text_is_redacted(record: Callable[[], list[Record]]) -> None:
    """No text of a log leaves without going through the redaction: names, attributes, statuses and events."""
    spans = traced(record(), redact=lambda _: "■")
    assert spans
    told: set[object] = set()
    for span in spans:
        told |= {span.name, span.status.description, *(span.attributes or {}).values()}
        for event in span.events:
            told |= set((event.attributes or {}).values())
    assert {text for text in told if isinstance(text, str)} <= {"■"}


def test_long_texts_are_cut_after_redaction() -> None:
    """A text takes at most 2 KiB as UTF-8, is cut between characters, and cannot smuggle half a secret out."""
    secret = "s3cr3t"
    reason = "ü" * 1022 + secret + "x" * 5000
    records = Recording().finish("failed", reason=reason)
    root = named(traced(records, lambda text: text.replace(secret, "***")), "invoke_workflow refund")
    told = attribute(root, "orchestrator.reason")
    assert told == "ü" * 1022 + "*…"
    assert root.status.description == told
    for text, cut in (("x" * 2048, "x" * 2048), ("x" * 2049, "x" * 2045 + "…"), ("ü" * 1025, "ü" * 1022 + "…")):
        root = named(traced(Recording().finish("failed", reason=text)), "invoke_workflow refund")
        assert attribute(root, "orchestrator.reason") == cut


def test_a_lone_surrogate_spoils_no_batch() -> None:
    """A text that is no UTF-8 is written with a replacement, because an exporter would drop its whole batch."""
    root = named(traced(Recording().finish("failed", reason="a\ud800b")), "invoke_workflow refund")
    assert attribute(root, "orchestrator.reason") == "a?b"


def test_a_redaction_that_raises_leaves_no_open_run() -> None:
    """An error at the last record goes to the outlet, and the run's spans are ended all the same."""

    def redact(text: str) -> str:
        if text == "boom":
            raise ValueError(text)
        return text

    trace = Traced(redact)
    trace.sink.begin(RUN, "refund", EPOCH_NS)
    with pytest.raises(ValueError, match="boom"):
        trace.sink(RUN, Record(1, 0.0, RunFinished("failed", None, (), (), (), "boom")))
    assert [span.name for span in trace.spans] == ["invoke_workflow refund"]
    assert trace.sink._open == {}


def test_run_started_is_the_only_record_needed_for_kinds() -> None:
    """Without the first record, after a resume say, a node is told as a tool of unknown kind."""
    started = [record for record in happy() if not isinstance(record.event, RunStarted)]
    span = named(traced(started), "execute_tool stripe")
    assert attribute(span, "orchestrator.node.kind") is None
