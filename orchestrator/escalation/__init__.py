"""Escalation by a model: what it is asked where no feasible route is left, and what may come back.

The run machine lists the options, each of which leads on; a model chooses one of them and can do nothing else. The
question fences everything that tools returned, the answer is checked against the list whatever the server promised,
and every failure is a `Verdict` with an error, at which the policy decides instead.
"""

from __future__ import annotations

from orchestrator.escalation.answer import Verdict, answer_schema
from orchestrator.escalation.configure import decision_model
from orchestrator.escalation.model import DecisionModel, OpenAIModel
from orchestrator.escalation.question import INSTRUCTIONS, question_text

__all__ = (
    "INSTRUCTIONS",
    "DecisionModel",
    "OpenAIModel",
    "Verdict",
    "answer_schema",
    "decision_model",
    "question_text",
)
