"""The trace of one run: what each record becomes.

The rows tell the story when read downwards: `plan_route`, `execute_tool`, `reroute`, `execute_tool`. A failed attempt
is an error, a run that recovered from it is not. Every failed attempt names the decision that answers it, and that
decision's span links back. Spans hold names, digests and sizes, never a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatchmethod

from opentelemetry.trace import SpanKind

from orchestrator.events import (
    Absorbed,
    Answered,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    CancelRequested,
    Escalated,
    Event,
    LastChance,
    LateResult,
    ModelAnswered,
    ModelAsked,
    NodeExcluded,
    QuestionAsked,
    Record,
    Rerouted,
    Retried,
    RoutePlanned,
    RunEnded,
    RunFinished,
    RunResumed,
    RunStarted,
    Settled,
    ViewChanged,
    Warned,
    Woken,
)
from orchestrator.telemetry import names
from orchestrator.telemetry.segment import GAP_NS, Segment
from orchestrator.telemetry.span_writer import Attributes
from orchestrator.telemetry.texts import (
    answers_text,
    blocked_text,
    inputs_text,
    options_text,
    outputs_text,
    route_text,
    undone_text,
)
from orchestrator.units import MICRO

__all__ = ("RunTrace",)

PROVIDER = "openai"
"""The dialect in which models are asked, whoever answers."""

CONTINUING = (Answered, CancelRequested, RunResumed, Woken)
"""What may be the first record of a process that goes on with a run; its time is the time at which it does."""


@dataclass(slots=True)
class RunTrace(Segment):
    """The trace of one run, or of one stretch of it."""

    ended: set[tuple[str, int]] = field(default_factory=set)

    def write(self, record: Record) -> None:
        """Write what *record* says; the last record of a run ends its spans."""
        if self.seq is not None:
            self.lost += max(record.seq - self.seq - 1, 0)
        elif isinstance(record.event, CONTINUING):
            self.epoch_ns -= round(record.at * 1e9)
        self.seq = record.seq
        self.now_ns = max(self.epoch_ns + round(record.at * 1e9), self.now_ns + GAP_NS)
        self.at = record.at
        self._write(record.event)

    @singledispatchmethod
    def _write(self, event: Event) -> None:
        """Write nothing: a wake is no news yet."""

    # ------------------------------------------------------------------------------------------------------- the run

    @_write.register
    def _run_started(self, event: RunStarted) -> None:
        self.read_first(event)
        # Sent while the run is under way: if the process dies, the root never arrives, but this row is there.
        self.mark(names.RUN_STARTED, {names.RUN_ID: self.run_id, names.GOAL_REQUESTED: event.goal})
        self.show(event.view)

    @_write.register
    def _view_changed(self, event: ViewChanged) -> None:
        self.show(event.view)

    @_write.register
    def _run_resumed(self, event: RunResumed) -> None:
        self.resumed = True
        about = {names.RUN_ID: self.run_id, names.GOAL_REQUESTED: self.goal, names.DRIVER: event.driver or None}
        self.mark(names.RUN_RESUMED, about)

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
                    names.UNDONE: undone_text(event.undone),
                    **self.totals(),
                },
            )
            if event.outcome == "failed":
                self.writer.error(self.root, event.reason)
        finally:
            self.end()

    @_write.register
    def _route_planned(self, event: RoutePlanned) -> None:
        self.mark(
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
        about = {
            names.ATTEMPT_PART: event.part or None,
            names.IDEMPOTENCY_KEY: event.key,
            names.INPUTS: inputs_text(event.inputs),
        }
        attempt = self.start_attempt(event.node, event.attempt, about, event.effect)
        self.running[event.node, event.part, event.attempt] = attempt

    @_write.register
    def _attempt_ended(self, event: AttemptEnded) -> None:
        attempt = self.running.pop((event.node, event.part, event.attempt), None)
        if attempt is None:
            if not self.resumed or (event.node, event.attempt) in self.ended:
                return
            # It was in flight when the process before this one died: only its end is told here.
            effect = self.nodes[event.node]["effect"] if event.node in self.nodes else None
            attempt = self.start_attempt(event.node, event.attempt, {}, effect)
            self.now_ns += GAP_NS
        self.ended.add((event.node, event.attempt))
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
                names.ATTEMPT_CALLS: None if event.calls == 1 else event.calls,
                names.ATTEMPT_WAITED_MS: round(event.waited * 1000) or None,
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
        key = (event.node, event.attempt)
        attempt = self.failed.get(key)
        settled = {names.ATTEMPT_SETTLED: "done" if event.done else "not done", names.ATTEMPT_SETTLED_BY: event.by}
        if attempt is None:
            self._settled_earlier(key, event.done, settled)
        elif attempt.unsettled:
            self.writer.describe(attempt.span, settled)
            if not event.done:
                self.usd -= attempt.usd
                attempt.span.set_attribute(names.COST_USD, 0.0)
            attempt.unsettled = False
            attempt.end_if_complete()

    def _settled_earlier(self, key: tuple[str, int], done: bool, settled: Attributes) -> None:
        """Write a row for an attempt whose span has ended with its trace; what it did not cost is taken off here."""
        attempt = self.earlier.get(key)
        usd = None if done or attempt is None else -attempt.usd
        self.usd += usd or 0.0
        about = {names.NODE: key[0], names.ANSWERS: answers_text([key]), names.COST_USD: usd}
        self.mark(f"{names.SETTLED} {key[0]}", {**about, **settled}, links=() if attempt is None else (attempt.span,))
        if attempt is not None:
            attempt.unsettled = False

    @_write.register
    def _retried(self, event: Retried) -> None:
        self.retries += 1
        wait_ms = round(max(event.until - self.at, 0.0) * 1000)
        self.answer(f"retry-{event.n}", event.answers, {names.RETRY_WAIT_MS: wait_ms})

    @_write.register
    def _absorbed(self, event: Absorbed) -> None:
        self.answer(f"absorb-{event.n}", event.answers)

    @_write.register
    def _run_ended(self, event: RunEnded) -> None:
        self.answer(f"end-{event.n}", event.answers)

    # ----------------------------------------------------------------------------------------------------- decisions

    @_write.register
    def _rerouted(self, event: Rerouted) -> None:
        self.reroutes += 1
        decision = f"reroute-{event.n}"
        self.mark(
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
                names.BACKUP_TAKEN: self.takes_backup(event),
            },
            links=self.answer(decision, event.answers),
        )

    @_write.register
    def _last_chance(self, event: LastChance) -> None:
        self.last_chances += 1
        decision = f"last-chance-{event.n}"
        self.mark(
            names.LAST_CHANCE,
            {
                names.DECISION_ID: decision,
                names.ANSWERS: answers_text(event.answers),
                names.NODE: ", ".join(event.nodes),
                names.GOAL: event.goal,
                names.ROUTE_AFTER: route_text(event.after),
                names.ROUTE_WEIGHT_AFTER: event.weight_after / MICRO,
            },
            links=self.answer(decision, event.answers),
        )

    @_write.register
    def _escalated(self, event: Escalated) -> None:
        self.escalations += 1
        decision = f"escalation-{event.n}"
        self.mark(
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
                names.NODE: ", ".join(event.nodes) or None,
                names.VALUE: event.value,
                names.WORDS: event.words,
            },
            links=self.answer(decision, event.answers),
        )
        if event.decision == "demote":
            self.demotions += 1
            self.note(names.EVENT_GOAL_DEMOTED, {names.GOAL: event.goal, names.GOAL_AFTER: event.goal_after})

    @_write.register
    def _call_started(self, event: CallStarted) -> None:
        # A call's kind is its span's name: guard, gate, check, verify, undo.
        about = names.GOAL if event.kind == "check" else names.NODE
        self.calls[event.kind, event.n] = self.start(f"{event.kind} {event.subject}", {about: event.subject})

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

    # --------------------------------------------------------------------------------- questions to models and people

    @_write.register
    def _model_asked(self, event: ModelAsked) -> None:
        about = {
            names.GEN_AI_OPERATION: names.CHAT,
            names.GEN_AI_PROVIDER: PROVIDER,
            names.GEN_AI_REQUEST_MODEL: event.model,
            names.GOAL: event.goal,
            names.REASON: event.reason,
            names.OPTIONS: options_text(event.options),
            names.BLOCKED: blocked_text(event.blocked),
        }
        self.calls[names.CHAT, event.n] = self.start(f"{names.CHAT} {event.model}", about, kind=SpanKind.CLIENT)

    @_write.register
    def _model_answered(self, event: ModelAnswered) -> None:
        span = self.calls.pop((names.CHAT, event.n), None)
        if span is None:  # it was asked by a process that died
            span = self.start(names.CHAT, {names.GEN_AI_OPERATION: names.CHAT}, kind=SpanKind.CLIENT)
        self.model_calls += event.calls
        self.usd += event.usd
        self.tokens += event.tokens
        self.writer.describe(
            span,
            {
                names.CHOICE: event.choice,
                names.WORDS: event.reason or None,
                names.OUTPUTS: outputs_text(event.values),
                names.ERROR_TYPE: event.error,
                names.MODEL_CALLS: event.calls,
                names.COST_USD: event.usd,
                names.TOKENS: event.tokens,
            },
        )
        if event.error is not None:
            self.writer.error(span, event.reason or event.error)
        span.end(end_time=self.now_ns)

    @_write.register
    def _question_asked(self, event: QuestionAsked) -> None:
        # A question's kind is its span's name: approve, settle, decide. The run ends with it, waiting.
        about = {
            names.GOAL if event.kind == "decide" else names.NODE: event.node,
            names.REASON: event.reason,
            names.QUESTION: event.question,
            names.INPUTS: inputs_text(event.inputs),
            names.OPTIONS: " | ".join(event.options) or None,
            names.QUESTION_SECONDS: None if event.until is None else event.until - self.at,
        }
        self.mark(f"{event.kind} {event.node}", about)

    @_write.register
    def _answered(self, event: Answered) -> None:
        about = {
            names.RUN_ID: self.run_id,
            names.QUESTION: event.question,
            names.ANSWER: event.answer,
            names.ANSWER_BY: event.by or None,
            names.REASON: event.reason,
            names.OUTPUTS: outputs_text(event.values),
        }
        self.mark(f"{names.ANSWERED} {event.question}", about)

    # ------------------------------------------------------------------------------------------- details of the root

    @_write.register
    def _node_excluded(self, event: NodeExcluded) -> None:
        self.note(names.EVENT_NODE_EXCLUDED, {names.NODE: event.node, names.REASON: event.reason})

    @_write.register
    def _late_result(self, event: LateResult) -> None:
        about: Attributes = {names.NODE: event.node, names.ATTEMPT: event.attempt, names.ATTEMPT_OUTCOME: event.outcome}
        self.note(names.EVENT_LATE_RESULT, about)

    @_write.register
    def _cancel_requested(self, event: CancelRequested) -> None:
        self.note(names.EVENT_CANCEL_REQUESTED, {names.REASON: event.reason})

    @_write.register
    def _warned(self, event: Warned) -> None:
        self.note(names.EVENT_WARNING, {names.NODE: event.node, names.REASON: event.message})
