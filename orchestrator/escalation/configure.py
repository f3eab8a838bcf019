"""From a graph's policy to the model that decides, if it says that one does."""

from __future__ import annotations

from orchestrator.errors import InputError
from orchestrator.escalation.model import DecisionModel, OpenAIModel
from orchestrator.escalation.plain import Redact
from orchestrator.policy import Policy
from orchestrator.spec.models import GraphSpec

__all__ = ("decision_model",)


def decision_model(spec: GraphSpec, policy: Policy, redact: Redact) -> DecisionModel | None:
    """Return the model that *policy* lets decide; None where the rule or a person does. Nothing is opened yet.

    Args:
        spec: The graph whose ``models:`` the policy names one of.
        policy: The policy of the run.
        redact: Hides secrets.

    Raises:
        InputError: The policy names no model of the graph.
    """
    escalation = policy.escalation
    if escalation.by != "model":
        return None
    if escalation.model is None or escalation.model not in spec.models:
        known = f"the graph's models are {', '.join(spec.models)}" if spec.models else "the graph declares no models"
        raise InputError(f"the policy lets the model {escalation.model!r} decide, and {known}")
    return OpenAIModel(escalation.model, spec.models[escalation.model], redact=redact)
