"""The bureau's providers as they run: three processes whose speed can be changed, and that can be stopped."""

from __future__ import annotations

import os
import signal
from urllib.request import Request, urlopen

from shared.processes import Place

__all__ = ("SECONDS", "Bureau")

SECONDS = {"northbank": 0.06, "eastbank": 0.11, "archive": 0.15}
"""How long an answer of each provider takes, as the graph declares it."""


class Bureau(Place):
    """All providers, while the context lasts."""

    def __init__(self) -> None:
        programs = {name: ("bureau.provider", name, str(seconds)) for name, seconds in SECONDS.items()}
        super().__init__("rates", programs)

    def slow(self, name: str, seconds: float) -> None:
        """Let every answer of a provider take *seconds* from now on."""
        request = Request(f"{self[name].url}/seconds", data=str(seconds).encode(), method="PUT")
        with urlopen(request, timeout=10.0) as answer:
            answer.read()

    def stop(self, name: str) -> None:
        """Stop a provider: it still accepts connections, by the system's grace, and answers nothing."""
        os.kill(self[name].pid, signal.SIGSTOP)

    def restore(self, name: str) -> None:
        """Let a provider go on, as fast as it once was."""
        os.kill(self[name].pid, signal.SIGCONT)
        self.slow(name, SECONDS[name])
