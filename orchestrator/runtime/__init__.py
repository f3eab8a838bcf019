"""What an application holds: a configured graph, and the orchestrator that runs it."""

from __future__ import annotations

from orchestrator.runtime.orchestrator import Orchestrator, Sink

__all__ = ("Orchestrator", "Sink")
