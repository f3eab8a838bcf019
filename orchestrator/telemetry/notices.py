"""Notices: what goes wrong beside runs, told once through structlog, never raised."""

from __future__ import annotations

import threading

__all__ = ("Notices",)


class Notices:
    """Warnings that are each given once; safe to be called by any thread."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        """Warn, if that was not said before. Texts hold no error messages: those may quote a secret."""
        with self._lock:
            if text in self._given:
                return
            self._given.add(text)
        try:
            import structlog

            structlog.get_logger("orchestrator.health").warning(text)
        except Exception:  # a broken log is no reason to stop
            return
