"""The trace of one run: what each record becomes.

The rows tell the story when read downwards: `plan_route`, `execute_tool`, `reroute`, `execute_tool`. A failed attempt
is an error, a run that recovered from it is not. Every failed attempt names the decision that answers it, and that
decision's span links back. Spans hold names, digests and sizes, never a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import singledispatchmethod

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from orchestrator.events import (
    Absorbed,
    Answers,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    CancelRequested,
    Escalated,
    Event,
    LastChance,
    LateResult,
    NodeExcluded,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunFinished,
    RunStarted,
    Settled,
    Warned,
)
from orchestrator.telemetry import names
from orchestrator.telemetry.span_writer import Attributes, SpanWriter
from orchestrator.telemetry.texts import answers_text, blocked_text, inputs_text, outputs_text, route_text, undone_text
from orchestrator.units import MICRO

__all__ = ("RunTrace",)

GAP_NS = 1_000
"""Least time between two records in a trace. A decision takes no time on the run's clock; viewers work in
microseconds, sort rows by their start, and leave spans that touch out of the critical path."""

REMOTE_KINDS = frozenset({"http", "mcp", "openapi"})


@dataclass(slots=True)
class _Attempt:
    """An attempt's span. A failed one stays open until its answer and, if unknown, its settlement are known."""

    span: Span
    effect: str | None
    end_ns: int | None = None
    usd: float = 0.0
    unanswered: bool = False
    unsettled: bool = False

    def end_if_complete(self) -> None:
        if not (self.unanswered or self.unsettled):
            self.span.end(end_time=self.end_ns)


@dataclass(slots=True)
class RunTrace:
    """The open spans of one run, and what its root will say at the end."""

    writer: SpanWriter
    run_id: str
    root: Span
    epoch_ns: int
    now_ns: int
    parent: Context
    kinds: dict[str, str] = field(default_factory=dict)
    running: dict[tuple[str, int, int], _Attempt] = field(default_factory=dict)
    failed: dict[tuple[str, int], _Attempt] = field(default_factory=dict)
    calls: dict[tuple[str, int], Span] = field(default_factory=dict)
    attempts: int = 0
    retries: int = 0
    reroutes: int = 0
    escalations: int = 0
    demotions: int = 0
    last_chances: int = 0
    usd: float = 0.0
    tokens: int = 0
    seq: int | None = None
    at: float = 0.0
    lost: int = 0

    @classmethod
    def begin(cls, writer: SpanWriter, run_id: str, graph_name: str, epoch_ns: int) -> RunTrace:
        """Start the root span in the current context, at second 0 of the run's clock."""
        root = writer.start(
            f"{names.INVOKE_WORKFLOW} {graph_name}",
            epoch_ns,
            {
                names.GEN_AI_OPERATION: names.INVOKE_WORKFLOW,
                names.GEN_AI_WORKFLOW: graph_name,
                names.RUN_ID: run_id,
            },
        )
        return cls(writer, run_id, root, epoch_ns, epoch_ns, set_span_in_context(root))

    def write(self, record: Record) -> None:
        """Write what *record* says; the last record of a run ends its spans."""
        if self.seq is not None:
            self.lost += max(record.seq - self.seq - 1, 0)
        self.seq = record.seq
        self.now_ns = max(self.epoch_ns + round(record.at * 1e9), self.now_ns + GAP_NS)
        self.at = record.at
        self._write(record.event)

    def end(self) -> None:
        """End whatever is open, children first."""
        for attempt in [*self.running.values(), *self.failed.values()]:
            if attempt.span.is_recording():
                attempt.span.end(end_time=attempt.end_ns or self.now_ns)
        for span in self.calls.values():
            span.end(end_time=self.now_ns)
        self.root.end(end_time=self.now_ns)

    @singledispatchmethod
    def _write(self, event: Event) -> None:
        """Write nothing: a wake or a new view is no news yet."""

    # ------------------------------------------------------------------------------------------------------- the run

    @_write.register
    def _run_started(self, event: RunStarted) -> None:
        self.kinds = {node["name"]: node["kind"] for node in event.graph["nodes"]}
        self.writer.describe(self.root, {names.GOAL_REQUESTED: event.goal})
        # Sent while the run is under way: if the process dies, the root never arrives, but this row is there.
        self._mark(names.RUN_STARTED, {names.RUN_ID: self.run_id, names.GOAL_REQUESTED: event.goal})

    @_write.register
    def _run_finished(self, event: RunFinished) -> None:
        try:
            self.writer.describe(
                self.root,
                {
                    names.RUN_OUTCOME: event.outcome,
                    names.GOAL_REACHED: event.goal if event.outcome in ("met", "demoted") else None,
                    names.ROUTE: route_text(event.route),
                    names.REASON: event.reason,
                    names.ATTEMPTS: self.attempts,
                    names.RETRIES: self.retries,
                    names.REROUTES: self.reroutes,
                    names.ESCALATIONS: self.escalations,
                    names.DEMOTIONS: self.demotions,
                    names.LAST_CHANCES: self.last_chances,
                    names.COST_USD: self.usd,
                    names.TOKENS: self.tokens,
                    names.UNDONE: undone_text(event.undone),
                    names.RECORDS_LOST: self.lost or None,
                },
            )
            if event.outcome == "failed":
                self.writer.error(self.root, event.reason)
        finally:
            self.end()

    @_write.register
    def _route_planned(self, event: RoutePlanned) -> None:
        self._mark(
            f"{names.PLAN_ROUTE} {event.goal}",
            {
                names.ALGORITHM: "dijkstra",
                names.GOAL: event.goal,
                names.TRIGGER: event.trigger,
                names.ROUTE: route_text(event.route),
                names.ROUTE_VERDICT: event.verdict,
                names.ROUTE_WEIGHT: event.weight / MICRO,
                names.ROUTE_BOUND: event.bound / MICRO,
                names.ROUTE_COST_USD: event.usd,
                names.ROUTE_LATENCY_MS: round(event.seconds * 1000),
                names.ROUTE_CALLS: event.calls,
                names.NODES: event.nodes,
            },
        )

    # ------------------------------------------------------------------------------------------------------ attempts

    @_write.register
    def _attempt_started(self, event: AttemptStarted) -> None:
        kind = self.kinds.get(event.node)
        operation, named = (
            (names.INVOKE_AGENT, names.GEN_AI_AGENT) if kind == "agent" else (names.EXECUTE_TOOL, names.GEN_AI_TOOL)
        )
        span = self._start(
            f"{operation} {event.node}",
            {
                names.GEN_AI_OPERATION: operation,
                named: event.node,
                names.NODE: event.node,
                names.NODE_KIND: kind,
                names.ATTEMPT: event.attempt,
                names.ATTEMPT_PART: event.part or None,
                names.EFFECT: event.effect or "unmarked",
                names.IDEMPOTENCY_KEY: event.key,
                names.INPUTS: inputs_text(event.inputs),
            },
            kind=SpanKind.CLIENT if kind in REMOTE_KINDS else SpanKind.INTERNAL,
        )
        self.attempts += 1
        self.running[event.node, event.part, event.attempt] = _Attempt(span, event.effect)

    @_write.register
    def _attempt_ended(self, event: AttemptEnded) -> None:
        attempt = self.running.pop((event.node, event.part, event.attempt), None)
        if attempt is None:
            return
        self.usd += event.usd
        self.tokens += event.tokens
        failure = event.failure
        in_doubt = failure is not None and failure.happened == "unknown"
        unknown = event.outcome == "failed" and attempt.effect == "once" and in_doubt
        self.writer.describe(
            attempt.span,
            {
                names.ATTEMPT_OUTCOME: "unknown" if unknown else event.outcome,
                names.ERROR_TYPE: None if failure is None else failure.type,
                names.ATTEMPT_TRANSIENT: None if failure is None else failure.transient,
                names.COST_USD: event.usd,
                names.TOKENS: event.tokens,
                names.OUTPUTS: outputs_text(event.values),
            },
        )
        attempt.end_ns, attempt.usd = self.now_ns, event.usd
        if event.outcome == "failed":
            self.writer.error(attempt.span, None if failure is None else failure.message or failure.type)
            attempt.unanswered, attempt.unsettled = True, unknown
            self.failed[event.node, event.attempt] = attempt
        attempt.end_if_complete()

    @_write.register
    def _settled(self, event: Settled) -> None:
        attempt = self.failed.get((event.node, event.attempt))
        if attempt is None or not attempt.unsettled:
            return
        attempt.span.set_attribute(names.ATTEMPT_SETTLED, "done" if event.done else "not done")
        if not event.done:
            self.usd -= attempt.usd
            attempt.span.set_attribute(names.COST_USD, 0.0)
        attempt.unsettled = False
        attempt.end_if_complete()

    @_write.register
    def _retried(self, event: Retried) -> None:
        self.retries += 1
        wait_ms = round(max(event.until - self.at, 0.0) * 1000)
        self._answer(f"retry-{event.n}", event.answers, {names.RETRY_WAIT_MS: wait_ms})

    @_write.register
    def _absorbed(self, event: Absorbed) -> None:
        self._answer(f"absorb-{event.n}", event.answers)

    @_write.register
    def _run_ended(self, event: RunEnded) -> None:
        self._answer(f"end-{event.n}", event.answers)

    def _answer(self, decision: str, answers: Answers, attributes: Attributes | None = None) -> list[Span]:
        """Write on every attempt that *decision* answers it; return their spans."""
        answered = [self.failed[key] for key in answers if key in self.failed]
        for attempt in answered:
            self.writer.describe(attempt.span, {names.ATTEMPT_ANSWER: decision, **(attributes or {})})
            attempt.unanswered = False
            attempt.end_if_complete()
        return [attempt.span for attempt in answered]

    # ----------------------------------------------------------------------------------------------------- decisions

    @_write.register
    def _rerouted(self, event: Rerouted) -> None:
        self.reroutes += 1
        decision = f"reroute-{event.n}"
        self._mark(
            names.REROUTE if event.node is None else f"{names.REROUTE} {event.node}",
            {
                names.DECISION_ID: decision,
                names.ANSWERS: answers_text(event.answers),
                names.ALGORITHM: "dijkstra",
                names.NODE: event.node,
                names.TRIGGER: event.trigger,
                names.CAUSE: event.cause,
                names.GOAL: event.goal,
                names.ROUTE_BEFORE: route_text(event.before),
                names.ROUTE_AFTER: route_text(event.after),
                names.ROUTE_WEIGHT_BEFORE: event.weight_before / MICRO,
                names.ROUTE_WEIGHT_AFTER: event.weight_after / MICRO,
                names.ROUTE_VERDICT: event.verdict,
            },
            links=self._answer(decision, event.answers),
        )

    @_write.register
    def _last_chance(self, event: LastChance) -> None:
        self.last_chances += 1
        decision = f"last-chance-{event.n}"
        self._mark(
            names.LAST_CHANCE,
            {
                names.DECISION_ID: decision,
                names.ANSWERS: answers_text(event.answers),
                names.NODE: ", ".join(event.nodes),
                names.GOAL: event.goal,
                names.ROUTE_AFTER: route_text(event.after),
                names.ROUTE_WEIGHT_AFTER: event.weight_after / MICRO,
            },
            links=self._answer(decision, event.answers),
        )

    @_write.register
    def _escalated(self, event: Escalated) -> None:
        self.escalations += 1
        decision = f"escalation-{event.n}"
        self._mark(
            f"{names.ESCALATE} {event.reason}",
            {
                names.DECISION_ID: decision,
                names.ANSWERS: answers_text(event.answers),
                names.DECISION: event.decision,
                names.DECISION_BY: event.by,
                names.REASON: event.reason,
                names.GOAL: event.goal,
                names.GOAL_AFTER: event.goal_after,
                names.BLOCKED: blocked_text(event.blocked),
            },
            links=self._answer(decision, event.answers),
        )
        if event.decision == "demote":
            self.demotions += 1
            self._note(names.EVENT_GOAL_DEMOTED, {names.GOAL: event.goal, names.GOAL_AFTER: event.goal_after})

    @_write.register
    def _call_started(self, event: CallStarted) -> None:
        # A call's kind is its span's name: guard, gate, check, verify, undo.
        about = names.GOAL if event.kind == "check" else names.NODE
        self.calls[event.kind, event.n] = self._start(f"{event.kind} {event.subject}", {about: event.subject})

    @_write.register
    def _call_ended(self, event: CallEnded) -> None:
        span = self.calls.pop((event.kind, event.n), None)
        if span is None:
            return
        self.writer.describe(
            span, {names.OK: event.ok, names.REASON: event.reason, names.OUTPUTS: outputs_text(event.values)}
        )
        # A guard that is false, a gate that asks and a verify that finds nothing have done their work.
        if event.ok is None or (not event.ok and event.kind in ("check", "undo")):
            self.writer.error(span, event.reason)
        span.end(end_time=self.now_ns)

    @_write.register
    def _question_asked(self, event: QuestionAsked) -> None:
        # A question's kind is its span's name: approve, settle. The run ends with it, waiting.
        self._mark(f"{event.kind} {event.node}", {names.NODE: event.node, names.REASON: event.reason})

    # ------------------------------------------------------------------------------------------- details of the root

    @_write.register
    def _node_excluded(self, event: NodeExcluded) -> None:
        self._note(names.EVENT_NODE_EXCLUDED, {names.NODE: event.node, names.REASON: event.reason})

    @_write.register
    def _late_result(self, event: LateResult) -> None:
        self._note(
            names.EVENT_LATE_RESULT,
            {names.NODE: event.node, names.ATTEMPT: event.attempt, names.ATTEMPT_OUTCOME: event.outcome},
        )

    @_write.register
    def _cancel_requested(self, event: CancelRequested) -> None:
        self._note(names.EVENT_CANCEL_REQUESTED, {names.REASON: event.reason})

    @_write.register
    def _warned(self, event: Warned) -> None:
        self._note(names.EVENT_WARNING, {names.NODE: event.node, names.REASON: event.message})

    # --------------------------------------------------------------------------------------------------------- spans

    def _start(
        self, name: str, attributes: Attributes, *, kind: SpanKind = SpanKind.INTERNAL, links: Iterable[Span] = ()
    ) -> Span:
        return self.writer.start(name, self.now_ns, attributes, parent=self.parent, kind=kind, links=links)

    def _mark(self, name: str, attributes: Attributes, *, links: Iterable[Span] = ()) -> None:
        """Write a span of no length."""
        self._start(name, attributes, links=links).end(end_time=self.now_ns)

    def _note(self, name: str, attributes: Attributes) -> None:
        """Write a span event on the root."""
        self.root.add_event(name, self.writer.attributes(attributes), timestamp=self.now_ns)
