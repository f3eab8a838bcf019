"""The run machine: what a run does next, given what has happened."""

from __future__ import annotations

from orchestrator.run.commands import Call, Cancel, Command, Finish, Start, WakeAt
from orchestrator.run.machine import Run, Step

__all__ = ("Call", "Cancel", "Command", "Finish", "Run", "Start", "Step", "WakeAt")
