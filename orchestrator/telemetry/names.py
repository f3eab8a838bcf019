"""The names of all spans and attributes: what dashboards and saved searches of users are built on.

``gen_ai.*`` follows the OpenTelemetry semantic conventions for generative AI, spelt out here because the constants of
the `opentelemetry-semantic-conventions` package are deprecated ahead of their replacement. Only spans that stand for a
workflow, a tool, an agent or a question to a model carry ``gen_ai.operation.name``: a decision by algorithm never
looks like one by a model.
"""

from __future__ import annotations

# Spans. All but the zero-length marks are followed by what they are about: `execute_tool stripe`.
INVOKE_WORKFLOW = "invoke_workflow"
RUN_STARTED = "run_started"
RUN_RESUMED = "run_resumed"
HEALTH = "health"
PLAN_ROUTE = "plan_route"
EXECUTE_TOOL = "execute_tool"
INVOKE_AGENT = "invoke_agent"
REROUTE = "reroute"
LAST_CHANCE = "last_chance"
ESCALATE = "escalate"
CHAT = "chat"
APPROVE = "approve"
SETTLE = "settle"
DECIDE = "decide"
ANSWERED = "answered"
SETTLED = "settled"
GUARD = "guard"
GATE = "gate"
CHECK = "check"
VERIFY = "verify"
UNDO = "undo"

# Semantic conventions.
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_WORKFLOW = "gen_ai.workflow.name"
GEN_AI_TOOL = "gen_ai.tool.name"
GEN_AI_AGENT = "gen_ai.agent.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
ERROR_TYPE = "error.type"

# The run, on the root span.
RUN_ID = "orchestrator.run.id"
RUN_OUTCOME = "orchestrator.run.outcome"
GOAL_REQUESTED = "orchestrator.goal.requested"
GOAL_REACHED = "orchestrator.goal.reached"
ATTEMPTS = "orchestrator.attempts"
RETRIES = "orchestrator.retries"
REROUTES = "orchestrator.reroutes"
ESCALATIONS = "orchestrator.escalations"
DEMOTIONS = "orchestrator.demotions"
LAST_CHANCES = "orchestrator.last_chances"
MODEL_CALLS = "orchestrator.model_calls"
UNDONE = "orchestrator.undone"
DRIVER = "orchestrator.driver"
RECORDS_LOST = "orchestrator.records.lost"

# Money and tokens: of everything below it on a root, of one attempt or one question to a model on its span.
COST_USD = "orchestrator.cost.usd"
TOKENS = "orchestrator.tokens"

# Routes. Nodes are joined by " > ", because viewers draw arrays as trees.
GOAL = "orchestrator.goal"
ROUTE = "orchestrator.route"
ROUTE_WEIGHT = "orchestrator.route.weight"
ROUTE_BOUND = "orchestrator.route.bound"
ROUTE_VERDICT = "orchestrator.route.verdict"
ROUTE_COST_USD = "orchestrator.route.cost_usd"
ROUTE_LATENCY_MS = "orchestrator.route.latency_ms"
ROUTE_CALLS = "orchestrator.route.calls"
ROUTE_BEFORE = "orchestrator.route.before"
ROUTE_AFTER = "orchestrator.route.after"
ROUTE_WEIGHT_BEFORE = "orchestrator.route.weight.before"
ROUTE_WEIGHT_AFTER = "orchestrator.route.weight.after"
BACKUP_TAKEN = "orchestrator.backup.taken"
NODES = "orchestrator.nodes"

# Health, as the run is shown it. Nodes that may not be used or only with a person's yes, with the reason; those that
# weigh otherwise than declared; those that are not retried; and what takes attention, with its monitor and score.
VIEW = "orchestrator.view"
HEALTH_BARRED = "orchestrator.health.barred"
HEALTH_GATED = "orchestrator.health.gated"
HEALTH_WEIGHTS = "orchestrator.health.weights"
HEALTH_SPENT = "orchestrator.health.spent"
HEALTH_CONCERN = "orchestrator.health.concern"

# Nodes and their attempts.
NODE = "orchestrator.node"
NODE_KIND = "orchestrator.node.kind"
ATTEMPT = "orchestrator.attempt"
ATTEMPT_PART = "orchestrator.attempt.part"
ATTEMPT_OUTCOME = "orchestrator.attempt.outcome"
ATTEMPT_ANSWER = "orchestrator.attempt.answer"
ATTEMPT_SETTLED = "orchestrator.attempt.settled"
ATTEMPT_SETTLED_BY = "orchestrator.attempt.settled.by"
ATTEMPT_TRANSIENT = "orchestrator.attempt.transient"
ATTEMPT_CALLS = "orchestrator.attempt.calls"
ATTEMPT_WAITED_MS = "orchestrator.attempt.waited_ms"
EFFECT = "orchestrator.effect"
IDEMPOTENCY_KEY = "orchestrator.idempotency_key"
INPUTS = "orchestrator.inputs"
OUTPUTS = "orchestrator.outputs"
RETRY_WAIT_MS = "orchestrator.retry.wait_ms"

# Decisions, calls and questions.
ALGORITHM = "orchestrator.algorithm"
TRIGGER = "orchestrator.trigger"
CAUSE = "orchestrator.cause"
REASON = "orchestrator.reason"
ANSWERS = "orchestrator.answers"
DECISION = "orchestrator.decision"
DECISION_ID = "orchestrator.decision.id"
DECISION_BY = "orchestrator.decision.by"
GOAL_AFTER = "orchestrator.goal.after"
BLOCKED = "orchestrator.blocked"
OK = "orchestrator.ok"
VALUE = "orchestrator.value"
WORDS = "orchestrator.words"
OPTIONS = "orchestrator.options"
CHOICE = "orchestrator.choice"
QUESTION = "orchestrator.question"
QUESTION_SECONDS = "orchestrator.question.seconds"
ANSWER = "orchestrator.answer"
ANSWER_BY = "orchestrator.answer.by"

# Backups, on the event that tells of one: what would follow if a call failed, and if all of its fault domain did.
BACKUP_FOUND = "orchestrator.backup.found"
BACKUP_ROUTE = "orchestrator.backup.route"
BACKUP_WEIGHT = "orchestrator.backup.weight"
BACKUP_PROTECTS = "orchestrator.backup.protects"
BACKUP_DOMAIN = "orchestrator.backup.domain"
BACKUP_DOMAIN_FOUND = "orchestrator.backup.domain.found"
BACKUP_DOMAIN_ROUTE = "orchestrator.backup.domain.route"
BACKUP_DOMAIN_WEIGHT = "orchestrator.backup.domain.weight"

# Span events on the call that is protected.
EVENT_BACKUP_PLANNED = "orchestrator.backup.planned"

# Span events on the root: detail, never the only carrier of a decision.
EVENT_GOAL_DEMOTED = "orchestrator.goal.demoted"
EVENT_NODE_EXCLUDED = "orchestrator.node.excluded"
EVENT_LATE_RESULT = "orchestrator.late_result"
EVENT_CANCEL_REQUESTED = "orchestrator.cancel_requested"
EVENT_WARNING = "orchestrator.warning"

# Metrics of health, and what they are told apart by.
METRIC_CIRCUIT = "orchestrator.circuit.state"
METRIC_ATTEMPTS = "orchestrator.health.attempts"
METRIC_ATTENTION = "orchestrator.health.attention"
GRAPH = "orchestrator.graph"
EVIDENCE = "orchestrator.evidence"
PROBE = "orchestrator.probe"
MONITOR = "orchestrator.monitor"

__all__ = tuple(sorted(name for name in globals() if name.isupper()))
