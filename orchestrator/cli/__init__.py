"""The command line. `main` is the console script; nothing heavy is imported before a command needs it."""

from __future__ import annotations

__all__ = ("main",)


def main() -> None:
    """Run the command line and exit with its code."""
    from orchestrator.cli.app import app

    app(prog_name="orchestrator")
