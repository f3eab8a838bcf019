"""Logs of runs written by hand, one per way in which a run can go; and traces of them as text.

The graph: `crm` (http) provides the order, `stripe` and `razorpay` the refund, the agent `brief` a letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from orchestrator.events import (
    Absorbed,
    Answered,
    Answers,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    CancelRequested,
    Escalated,
    Event,
    Failure,
    LastChance,
    LateResult,
    ModelAnswered,
    ModelAsked,
    NodeExcluded,
    Option,
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
    Value,
    ViewChanged,
    Warned,
)
from orchestrator.graph import Goal, Graph, Need, Node
from orchestrator.policy import Policy
from orchestrator.weight import View

__all__ = (
    "EPOCH_NS",
    "OPTIONS",
    "RECORDED",
    "RUN",
    "SEGMENTED",
    "Recording",
    "approved",
    "attribute",
    "cancelled",
    "demoted",
    "failed",
    "happy",
    "late",
    "modelled",
    "parents",
    "refused",
    "rerouted",
    "resumed",
    "retried",
    "ruled",
    "settled",
    "settled_by_person",
    "shown",
    "story",
    "timeout",
    "waiting",
)

RUN = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
EPOCH_NS = 1_700_000_000_000_000_000
TOLD = (
    "orchestrator.attempt",
    "orchestrator.attempt.outcome",
    "orchestrator.attempt.settled",
    "orchestrator.attempt.answer",
    "orchestrator.decision.id",
    "orchestrator.run.outcome",
    "orchestrator.goal.reached",
    "orchestrator.route",
    "orchestrator.route.after",
)

GRAPH = Graph(
    nodes=(
        Node("crm", "http", provides=("order",), effect="read"),
        Node("stripe", "python", (Need("order", "order"),), ("refund",), effect="once", verify=True, undo=True),
        Node("razorpay", "python", (Need("order", "order"),), ("refund",), effect="once", undo=True),
        Node("brief", "agent", (Need("order", "order"),), ("letter",), effect="idempotent"),
    ),
    goals=(Goal("refunded", ("refund",), check=True), Goal("told", ("letter",))),
    name="refund",
)


def timeout(*, happened: str = "no", message: str = "no answer") -> Failure:
    """A transient failure."""
    return Failure("timeout", message, transient=True, happened="unknown" if happened == "unknown" else "no")


def shown(*views: View) -> list[Record]:
    """A run that is shown a view at the start, and then others one after the other, at a second each."""
    run = Recording(view=views[0]).plan("crm", "stripe")
    for view in views[1:]:
        run.at += 1.0
        run.add(ViewChanged(view))
    return run.records


class Recording:
    """The log of one run as it is written. Facts move the clock; decisions take no time, as in a real log."""

    def __init__(self, goal: str = "refunded", run_id: str = RUN, view: View | None = None) -> None:
        self.records: list[Record] = []
        self.at = 0.0
        view = view or View("declared", tuple((node.name, 1_000_000) for node in GRAPH.nodes))
        self.add(RunStarted(run_id, goal, GRAPH.as_dict(), Policy().model_dump(mode="json"), 7, (), view))

    def add(self, *events: Event) -> Recording:
        """Write events at the present time."""
        for event in events:
            self.records.append(Record(len(self.records) + 1, self.at, event))
        return self

    def plan(self, *route: str, goal: str = "refunded") -> Recording:
        """Plan a route."""
        return self.add(
            RoutePlanned(goal, route, 2_500_000, 2_500_000, "found", "start", 0.3, 0.52, len(route), len(GRAPH.nodes))
        )

    def start(self, node: str, attempt: int = 1) -> Recording:
        """Start an attempt."""
        inputs = () if node == "crm" else (("order", "order", "crm"),)
        return self.add(AttemptStarted(node, 0, attempt, inputs, f"key-{node}", GRAPH.by_name[node].effect))

    def succeed(self, node: str, attempt: int = 1, *, usd: float = 0.25, tokens: int = 0) -> Recording:
        """End an attempt well, half a second later."""
        self.at += 0.5
        values = tuple(Value(name, f"digest-{name}", 12) for name in GRAPH.by_name[node].provides)
        return self.add(AttemptEnded(node, 0, attempt, "succeeded", values, seconds=0.5, usd=usd, tokens=tokens))

    def fail(self, node: str, attempt: int = 1, failure: Failure | None = None, *, usd: float = 0.125) -> Recording:
        """End an attempt badly, 0.4 seconds later."""
        self.at += 0.4
        return self.add(AttemptEnded(node, 0, attempt, "failed", failure=failure or timeout(), seconds=0.4, usd=usd))

    def exclude(self, node: str, reason: str = "timeout") -> Recording:
        """Exclude a node from the run."""
        return self.add(NodeExcluded(node, reason, transient=True))

    def reroute(self, n: int, answers: Answers, before: Sequence[str], after: Sequence[str]) -> Recording:
        """Take a new route because of the first of the failures."""
        return self.add(
            Rerouted(
                n, answers, "failed", answers[0][0], "timeout", "refunded", tuple(before), tuple(after),
                1_500_000, 2_000_000, "found",
            )
        )  # fmt: skip

    def call(self, kind: str, n: int, subject: str, *, ok: bool | None = True, reason: str | None = None) -> Recording:
        """Call a guard, gate, check, verify or undo, which takes a tenth of a second."""
        self.add(CallStarted(kind, n, subject))  # type: ignore[arg-type]
        self.at += 0.1
        return self.add(CallEnded(kind, n, subject, ok, reason))  # type: ignore[arg-type]

    def escalate(self, n: int, answers: Answers, decision: str, goal_after: str | None = None) -> Recording:
        """Find no route and decide something else."""
        blocked = (("razorpay", "down"), ("stripe", "excluded: timeout"))
        return self.add(
            Escalated(n, answers, "policy", decision, "refunded", goal_after, "no_route", blocked)  # type: ignore[arg-type]
        )

    def finish(
        self,
        outcome: str,
        *route: str,
        goal: str | None = None,
        reason: str | None = None,
        undone: tuple[tuple[str, bool], ...] = (),
    ) -> list[Record]:
        """End the run and return its log."""
        self.add(RunFinished(outcome, goal, route, (), undone, reason))  # type: ignore[arg-type]
        return self.records


def happy() -> list[Record]:
    """Everything works."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0).call("gate", 1, "stripe")
    run.start("stripe").succeed("stripe").call("check", 1, "refunded")
    return run.finish("met", "crm", "stripe", goal="refunded")


def rerouted() -> list[Record]:
    """A node fails for good and another one takes its place."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0).start("stripe").fail("stripe")
    run.exclude("stripe").reroute(1, (("stripe", 1),), ["stripe"], ["razorpay"])
    run.start("razorpay").succeed("razorpay")
    return run.finish("met", "crm", "razorpay", goal="refunded")


def retried() -> list[Record]:
    """A transient failure is tried again, and works."""
    run = Recording().plan("crm", "stripe").start("crm").fail("crm")
    run.add(Retried(1, (("crm", 1),), "crm", run.at + 0.15))
    run.at += 0.15
    run.start("crm", 2).succeed("crm", 2).start("stripe").succeed("stripe")
    return run.finish("met", "crm", "stripe", goal="refunded")


def demoted() -> list[Record]:
    """No route to the asked goal is left, also not in the last-chance stage; a lower goal is reached."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0).start("stripe").fail("stripe")
    run.exclude("stripe").reroute(1, (("stripe", 1),), ["stripe"], ["razorpay"]).start("razorpay").fail("razorpay")
    run.exclude("razorpay")
    run.add(LastChance(1, (("razorpay", 1),), ("razorpay", "stripe"), "refunded", ("razorpay",), 2_000_000))
    run.start("razorpay", 2).fail("razorpay", 2).start("stripe", 2).fail("stripe", 2)
    run.escalate(1, (("razorpay", 2), ("stripe", 2)), "demote", "told").plan("brief", goal="told")
    run.start("brief").succeed("brief", tokens=321)
    return run.finish("demoted", "crm", "brief", goal="told")


def settled() -> list[Record]:
    """The outcome of an effect is unknown; its verify finds out that it did not happen."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0)
    run.start("stripe").fail("stripe", failure=timeout(happened="unknown")).call("verify", 1, "stripe", ok=False)
    run.add(Settled("stripe", 1, done=False, by="verify"))
    run.exclude("stripe").reroute(1, (("stripe", 1),), ["stripe"], ["razorpay"])
    run.start("razorpay").succeed("razorpay")
    return run.finish("met", "crm", "razorpay", goal="refunded")


def late() -> list[Record]:
    """The outcome of an effect is unknown until its own result comes late."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0)
    run.start("stripe").fail("stripe", failure=timeout(happened="unknown"))
    run.call("verify", 1, "stripe", ok=None, reason="ConnectionError")
    run.add(LateResult("stripe", 0, 1, "succeeded"), Settled("stripe", 1, done=True, by="late_result"))
    run.add(Absorbed(1, (("stripe", 1),)))
    return run.finish("met", "crm", "stripe", goal="refunded")


def failed() -> list[Record]:
    """Nothing is left to do."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0).start("stripe").succeed("stripe")
    run.call("check", 1, "refunded", ok=False, reason="the amount differs").exclude("stripe", "check")
    run.start("razorpay").fail("razorpay").exclude("razorpay").escalate(1, (("razorpay", 1),), "give_up")
    run.call("undo", 1, "stripe", ok=False, reason="HTTPError").add(Warned("stripe", "its undo failed"))
    return run.finish("failed", goal=None, reason="no_route", undone=(("stripe", False),))


def cancelled() -> list[Record]:
    """Somebody stops the run while two attempts are in flight."""
    run = Recording().plan("crm", "stripe", "brief").start("crm").succeed("crm", usd=0.0)
    run.start("stripe").start("brief").add(CancelRequested("the user left"))
    run.add(AttemptEnded("brief", 0, 1, "cancelled", seconds=0.0)).fail("stripe")
    run.add(RunEnded(1, (("stripe", 1),), "cancelled"))
    return run.finish("cancelled", "crm", reason="cancelled")


def waiting() -> list[Record]:
    """A gate asks for a person."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0)
    run.call("gate", 1, "stripe", ok=False, reason="over 10,000")
    run.add(QuestionAsked("approve:stripe", "approve", "stripe", "over 10,000"))
    return run.finish("waiting", "crm")


OPTIONS = (
    Option("retry:razorpay,stripe", "retry", ("razorpay", "stripe")),
    Option("demote:told", "demote", ("told",)),
    Option("supply:refund", "supply", ("refund",)),
    Option("ask", "ask"),
    Option("give_up", "give_up"),
)


def _stuck() -> Recording:
    """No route is left, and a model is asked."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0).start("stripe").fail("stripe")
    run.exclude("stripe")
    failed = (("stripe", 1, "timeout", "no answer"),)
    blocked = (("razorpay", "down"), ("stripe", "excluded: timeout"))
    return run.add(ModelAsked(1, "small", "refunded", "no_route", OPTIONS, (("order", "crm"),), failed, blocked))


def modelled() -> list[Record]:
    """No route is left; a model that is asked chooses a lower goal."""
    run = _stuck()
    run.at += 1.5
    words = "the outage will last"
    run.add(ModelAnswered(1, "demote:told", words, calls=1, usd=0.0625, tokens=700, seconds=1.5))
    run.add(
        Escalated(
            1, (("stripe", 1),), "model", "demote", "refunded", "told", "no_route",
            (("razorpay", "down"), ("stripe", "excluded: timeout")), words=words,
        )
    )  # fmt: skip
    run.plan("brief", goal="told").start("brief").succeed("brief", tokens=321)
    return run.finish("demoted", "crm", "brief", goal="told")


def ruled() -> list[Record]:
    """No route is left; the model does not answer in time, and the policy decides."""
    run = _stuck()
    run.at += 10.0
    run.add(ModelAnswered(1, None, "no answer within 10 s", error="timeout", calls=1, seconds=10.0))
    run.escalate(1, (("stripe", 1),), "give_up")
    return run.finish("failed", goal=None, reason="no_route")


def _asking(*questions: QuestionAsked) -> Recording:
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0)
    run.call("gate", 1, "stripe", ok=False, reason="over 10,000")
    inputs = (("order", "order", "crm"),)
    run.add(QuestionAsked("approve:stripe", "approve", "stripe", "over 10,000", inputs, ("yes", "no", "edit"), 3600.0))
    run.add(*questions)
    run.finish("waiting", "crm")
    run.at += 60.0
    return run


def approved() -> list[Record]:
    """A gate asks for a person, who says yes a minute later."""
    run = _asking().add(Answered("approve:stripe", "yes", by="Ann"))
    run.start("stripe").succeed("stripe")
    return run.finish("met", "crm", "stripe", goal="refunded")


def refused() -> list[Record]:
    """A person says no to one question and leaves the other open; the run waits again, then goes another way."""
    decide = QuestionAsked("decide:1", "decide", "refunded", "no_route", options=("demote:told", "give_up"))
    run = _asking(decide).add(Answered("approve:stripe", "no", by="Ann", reason="not this one"))
    run.add(decide)
    run.finish("waiting", "crm")
    run.at += 60.0
    run.add(Answered("decide:1", "demote:told"))
    run.add(Rerouted(1, (), "refused", "stripe", None, "refunded", ("stripe",), ("razorpay",), 1, 2, "found"))
    run.start("razorpay").succeed("razorpay")
    return run.finish("met", "crm", "razorpay", goal="refunded")


def settled_by_person() -> list[Record]:
    """Nobody knows whether an effect happened until a person says that it did not."""
    run = Recording().plan("crm", "stripe").start("crm").succeed("crm", usd=0.0)
    run.start("stripe").fail("stripe", failure=timeout(happened="unknown"))
    run.call("verify", 1, "stripe", ok=None, reason="ConnectionError")
    run.add(QuestionAsked("settle:stripe", "settle", "stripe", "nobody knows", options=("yes", "no")))
    run.finish("waiting", "crm")
    run.at += 60.0
    run.add(Answered("settle:stripe", "no", by="Ann"), Settled("stripe", 1, done=False, by="person"))
    run.exclude("stripe").reroute(1, (("stripe", 1),), ["stripe"], ["razorpay"])
    run.start("razorpay").succeed("razorpay")
    return run.finish("met", "crm", "razorpay", goal="refunded")


def resumed() -> list[Record]:
    """The process dies while an effect and a read are in flight; another one goes on with the run."""
    run = Recording().plan("crm", "stripe", "brief").start("crm").succeed("crm", usd=0.0).start("stripe").start("brief")
    run.add(RunResumed("local"))
    run.fail("stripe", failure=timeout(happened="unknown"), usd=0.0)
    run.succeed("brief", usd=0.0).call("verify", 1, "stripe").add(Settled("stripe", 1, done=True, by="verify"))
    run.add(Absorbed(1, (("stripe", 1),)))
    return run.finish("met", "crm", "stripe", goal="refunded")


SEGMENTED: tuple[Callable[[], list[Record]], ...] = (approved, refused, settled_by_person)
"""Runs that wait for people, and whose traces come in several parts."""

RECORDED: tuple[Callable[[], list[Record]], ...] = (
    happy,
    rerouted,
    retried,
    demoted,
    settled,
    late,
    failed,
    cancelled,
    waiting,
    modelled,
    ruled,
    resumed,
)


def attribute(span: ReadableSpan, name: str) -> object:
    """Return an attribute of a span, or None."""
    return (span.attributes or {}).get(name)


def parents(spans: Iterable[ReadableSpan]) -> dict[int, ReadableSpan]:
    """Return spans by id."""
    return {span.context.span_id: span for span in spans if span.context is not None}


def story(spans: Sequence[ReadableSpan]) -> str:
    """Tell a trace as text: a row per span, by start, indented below its parent; links as arrows, errors as such."""
    by_id = parents(spans)

    def title(span: ReadableSpan) -> str:
        number = attribute(span, "orchestrator.attempt")
        return span.name if number is None else f"{span.name} #{number}"

    def row(span: ReadableSpan) -> str:
        told = [f"{name.removeprefix('orchestrator.')}={attribute(span, name)}" for name in TOLD[1:]
                if attribute(span, name) is not None]  # fmt: skip
        if span.status.status_code is StatusCode.ERROR:
            told.append(f"ERROR({span.status.description})")
        told += [f"-> {title(by_id[link.context.span_id])}" for link in span.links]
        depth, above = 0, span.parent
        while above is not None and above.span_id in by_id:
            depth, above = depth + 1, by_id[above.span_id].parent
        return "  " * depth + " ".join([title(span), *told])

    return "\n".join(row(span) for span in sorted(spans, key=lambda span: span.start_time or 0))
