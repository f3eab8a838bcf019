"""What an application holds: a configured graph, and the orchestrator that runs it."""

from __future__ import annotations

from orchestrator.runtime.connected import Sink
from orchestrator.runtime.orchestrator import Orchestrator

__all__ = ("Orchestrator", "Sink")
