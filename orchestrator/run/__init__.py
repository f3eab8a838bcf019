"""The run machine: what a run does next, given what has happened."""

from __future__ import annotations

from orchestrator.run.ahead import Foreseen
from orchestrator.run.commands import AskModel, Call, Cancel, Command, Finish, Start, WakeAt
from orchestrator.run.machine import Run, Step

__all__ = ("AskModel", "Call", "Cancel", "Command", "Finish", "Foreseen", "Run", "Start", "Step", "WakeAt")
