"""The open spans of one stretch of a run, and what its root will say at the end.

A run that waits for people ends its trace, and so does a process that dies. What follows is a trace of its own, whose
root links to the one before where that is known; it counts what happened in it, so that the roots of a run add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from orchestrator.events import Answers, Rerouted, RunStarted
from orchestrator.run import Foreseen
from orchestrator.telemetry import names
from orchestrator.telemetry.backups import backup_attributes
from orchestrator.telemetry.span_writer import Attributes, SpanWriter

__all__ = ("AttemptSpan", "Segment")

GAP_NS = 1_000
"""Least time between two records in a trace. A decision takes no time on the run's clock; viewers work in
microseconds, sort rows by their start, and leave spans that touch out of the critical path."""

REMOTE_KINDS = frozenset({"http", "mcp", "openapi"})


@dataclass(slots=True)
class AttemptSpan:
    """An attempt's span. A failed one stays open until its answer and, if unknown, its settlement are known."""

    span: Span
    effect: str | None
    end_ns: int | None = None
    usd: float = 0.0
    unanswered: bool = False
    unsettled: bool = False

    def end_if_complete(self) -> None:
        """End the span where nothing more is to be said on it."""
        if not (self.unanswered or self.unsettled):
            self.span.end(end_time=self.end_ns)


@dataclass(slots=True)
class Segment:
    """A root span, what is open below it, and the totals so far."""

    writer: SpanWriter
    run_id: str
    graph_name: str
    root: Span
    epoch_ns: int
    """Second 0 of the run's clock."""
    now_ns: int
    parent: Context
    goal: str | None = None
    nodes: dict[str, Any] = field(default_factory=dict)
    """What the graph says of each node."""
    running: dict[tuple[str, int, int], AttemptSpan] = field(default_factory=dict)
    failed: dict[tuple[str, int], AttemptSpan] = field(default_factory=dict)
    earlier: dict[tuple[str, int], AttemptSpan] = field(default_factory=dict)
    """Failed attempts of earlier segments that are not answered or settled yet; their spans are ended."""
    backups: dict[tuple[str, int], Foreseen] = field(default_factory=dict)
    """What was last told to be planned ahead for each attempt."""
    calls: dict[tuple[str, int], Span] = field(default_factory=dict)
    resumed: bool = False
    attempts: int = 0
    retries: int = 0
    reroutes: int = 0
    escalations: int = 0
    demotions: int = 0
    last_chances: int = 0
    model_calls: int = 0
    usd: float = 0.0
    tokens: int = 0
    seq: int | None = None
    at: float = 0.0
    lost: int = 0

    @classmethod
    def begin(
        cls,
        writer: SpanWriter,
        run_id: str,
        graph_name: str,
        start_ns: int,
        *,
        started: RunStarted | None = None,
        earlier: Segment | None = None,
        parent: Context | None = None,
    ) -> Self:
        """Start a root span.

        Args:
            writer: Starts the spans.
            run_id: The run.
            graph_name: Name of its graph.
            start_ns: Nanoseconds since the Unix epoch.
            started: The run's first record, for a segment that will not hold it.
            earlier: The segment before, if it is known.
            parent: The context of the root; None: the caller's current one.
        """
        root = writer.start(
            f"{names.INVOKE_WORKFLOW} {graph_name}",
            start_ns,
            {
                names.GEN_AI_OPERATION: names.INVOKE_WORKFLOW,
                names.GEN_AI_WORKFLOW: graph_name,
                names.RUN_ID: run_id,
            },
            parent=parent,
            links=() if earlier is None else (earlier.root,),
        )
        self = cls(writer, run_id, graph_name, root, start_ns, start_ns, set_span_in_context(root))
        if earlier is not None:
            self.goal, self.nodes = earlier.goal, earlier.nodes
            self.earlier = {
                key: attempt
                for key, attempt in {**earlier.earlier, **earlier.failed}.items()
                if attempt.unanswered or attempt.unsettled
            }
        if started is not None:
            self.read_first(started)
        elif self.goal is not None:
            writer.describe(root, {names.GOAL_REQUESTED: self.goal})
        return self

    def continued(self, at: float) -> Self:
        """Start the segment after this one, on the same clock, in a trace of its own."""
        start_ns = max(self.epoch_ns + round(at * 1e9), self.now_ns + GAP_NS)
        segment = self.begin(self.writer, self.run_id, self.graph_name, start_ns, earlier=self, parent=Context())
        segment.epoch_ns, segment.seq = self.epoch_ns, self.seq
        return segment

    def read_first(self, event: RunStarted) -> None:
        """Take from the run's first record what later ones leave out."""
        self.goal = event.goal
        self.nodes = {node["name"]: node for node in event.graph["nodes"]}
        self.writer.describe(self.root, {names.GOAL_REQUESTED: event.goal})

    def end(self) -> None:
        """End whatever is open, children first."""
        for attempt in [*self.running.values(), *self.failed.values()]:
            if attempt.span.is_recording():
                attempt.span.end(end_time=attempt.end_ns or self.now_ns)
        for span in self.calls.values():
            span.end(end_time=self.now_ns)
        self.root.end(end_time=self.now_ns)

    def totals(self) -> dict[str, int | float | None]:
        """Return what the root says of everything below it."""
        return {
            names.ATTEMPTS: self.attempts,
            names.RETRIES: self.retries,
            names.REROUTES: self.reroutes,
            names.ESCALATIONS: self.escalations,
            names.DEMOTIONS: self.demotions,
            names.LAST_CHANCES: self.last_chances,
            names.MODEL_CALLS: self.model_calls,
            names.COST_USD: self.usd,
            names.TOKENS: self.tokens,
            names.RECORDS_LOST: self.lost or None,
        }

    # --------------------------------------------------------------------------------------------------------- spans

    def start(
        self,
        name: str,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Iterable[Span] = (),
    ) -> Span:
        """Start a span below the root."""
        return self.writer.start(name, self.now_ns, attributes, parent=self.parent, kind=kind, links=links)

    def mark(self, name: str, attributes: Attributes, *, links: Iterable[Span] = ()) -> None:
        """Write a span of no length."""
        self.start(name, attributes, links=links).end(end_time=self.now_ns)

    def note(self, name: str, attributes: Attributes) -> None:
        """Write a span event on the root."""
        self.root.add_event(name, self.writer.attributes(attributes), timestamp=self.now_ns)

    def start_attempt(self, node: str, attempt: int, attributes: Attributes, effect: str | None) -> AttemptSpan:
        """Start the span of an attempt."""
        kind = self.nodes[node]["kind"] if node in self.nodes else None
        operation, named = (
            (names.INVOKE_AGENT, names.GEN_AI_AGENT) if kind == "agent" else (names.EXECUTE_TOOL, names.GEN_AI_TOOL)
        )
        span = self.start(
            f"{operation} {node}",
            {
                names.GEN_AI_OPERATION: operation,
                named: node,
                names.NODE: node,
                names.NODE_KIND: kind,
                names.ATTEMPT: attempt,
                names.EFFECT: effect or "unmarked",
                **attributes,
            },
            kind=SpanKind.CLIENT if kind in REMOTE_KINDS else SpanKind.INTERNAL,
        )
        self.attempts += 1
        return AttemptSpan(span, effect)

    def foresee(self, foreseen: Foreseen) -> None:
        """Write on a call what would follow if it failed; on the root, if another process began the call."""
        attempt = self.running.get((foreseen.node, 0, foreseen.attempt))
        span = self.root if attempt is None else attempt.span
        domains = self.nodes[foreseen.node]["domains"] if foreseen.node in self.nodes else ()
        attributes = self.writer.attributes(backup_attributes(foreseen, domains))
        at_ns = max(self.epoch_ns + round(foreseen.at * 1e9), self.now_ns)
        span.add_event(names.EVENT_BACKUP_PLANNED, attributes, timestamp=at_ns)
        self.backups[foreseen.node, foreseen.attempt] = foreseen

    def takes_backup(self, event: Rerouted) -> bool | None:
        """Whether a reroute goes the way that was planned ahead for the call that failed; None if none was told."""
        told = [self.backups[key].backup for key in event.answers if key[0] == event.node and key in self.backups]
        ways = [None if backup.node is None else backup.node.route for backup in told]
        return event.after in ways if ways else None

    def answer(self, decision: str, answers: Answers, attributes: Attributes | None = None) -> list[Span]:
        """Write on every attempt that *decision* answers it; return their spans."""
        known = {**self.earlier, **self.failed}
        answered = [(key, known[key]) for key in answers if key in known]
        for key, attempt in answered:
            attempt.unanswered = False
            if key in self.failed:
                self.writer.describe(attempt.span, {names.ATTEMPT_ANSWER: decision, **(attributes or {})})
                attempt.end_if_complete()
        return [attempt.span for _, attempt in answered]
