"""``python -m orchestrator``."""

from __future__ import annotations

from orchestrator.cli import main

__all__ = ()

if __name__ == "__main__":
    main()
