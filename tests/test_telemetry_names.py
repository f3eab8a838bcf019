"""The vocabulary of traces is frozen: dashboards and saved searches are built on it."""

from __future__ import annotations

from orchestrator.telemetry import names

SPANS = """
    answered approve chat check decide escalate execute_tool gate guard health invoke_agent invoke_workflow last_chance
    plan_route reroute run_resumed run_started settle settled undo verify
"""
ATTRIBUTES = """
    error.type
    gen_ai.agent.name gen_ai.operation.name gen_ai.provider.name gen_ai.request.model gen_ai.tool.name
    gen_ai.workflow.name
    orchestrator.algorithm orchestrator.answer orchestrator.answer.by orchestrator.answers
    orchestrator.attempt orchestrator.attempt.answer orchestrator.attempt.calls orchestrator.attempt.outcome
    orchestrator.attempt.part orchestrator.attempt.settled orchestrator.attempt.settled.by
    orchestrator.attempt.transient orchestrator.attempt.waited_ms
    orchestrator.attempts
    orchestrator.backup.domain orchestrator.backup.domain.found orchestrator.backup.domain.route
    orchestrator.backup.domain.weight orchestrator.backup.found orchestrator.backup.protects orchestrator.backup.route
    orchestrator.backup.taken orchestrator.backup.weight
    orchestrator.blocked orchestrator.cause orchestrator.choice orchestrator.cost.usd
    orchestrator.decision orchestrator.decision.by orchestrator.decision.id
    orchestrator.demotions orchestrator.driver orchestrator.effect orchestrator.escalations
    orchestrator.evidence
    orchestrator.goal orchestrator.goal.after orchestrator.goal.reached orchestrator.goal.requested orchestrator.graph
    orchestrator.health.barred orchestrator.health.concern orchestrator.health.gated orchestrator.health.spent
    orchestrator.health.weights
    orchestrator.idempotency_key orchestrator.inputs orchestrator.last_chances orchestrator.model_calls
    orchestrator.monitor
    orchestrator.node orchestrator.node.kind orchestrator.nodes orchestrator.ok orchestrator.options
    orchestrator.outputs orchestrator.probe orchestrator.question orchestrator.question.seconds
    orchestrator.reason orchestrator.records.lost orchestrator.reroutes orchestrator.retries orchestrator.retry.wait_ms
    orchestrator.route orchestrator.route.after orchestrator.route.before orchestrator.route.bound
    orchestrator.route.calls orchestrator.route.cost_usd orchestrator.route.latency_ms orchestrator.route.verdict
    orchestrator.route.weight orchestrator.route.weight.after orchestrator.route.weight.before
    orchestrator.run.id orchestrator.run.outcome
    orchestrator.tokens orchestrator.trigger orchestrator.undone orchestrator.value orchestrator.view orchestrator.words
"""
METRICS = """
    orchestrator.circuit.state orchestrator.health.attempts orchestrator.health.attention
"""
SPAN_EVENTS = """
    orchestrator.backup.planned
    orchestrator.cancel_requested orchestrator.goal.demoted orchestrator.late_result orchestrator.node.excluded
    orchestrator.warning
"""


def test_the_names_are_frozen() -> None:
    """A name that users search by neither changes nor goes, and a new one is written down here."""
    table = {constant: getattr(names, constant) for constant in names.__all__}
    spans = {name for name in table.values() if "." not in name}
    events = {name for constant, name in table.items() if constant.startswith("EVENT_")}
    assert spans == set(SPANS.split())
    metrics = {name for constant, name in table.items() if constant.startswith("METRIC_")}
    assert events == set(SPAN_EVENTS.split())
    assert metrics == set(METRICS.split())
    assert set(table.values()) - spans - events - metrics == set(ATTRIBUTES.split())
    assert len(set(table.values())) == len(table)
