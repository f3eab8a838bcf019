"""A process with circuits of its own that shares them over a store.

python -m tests.health_child URL listen     say what others announce, and when
python -m tests.health_child URL fail       take node `a` out of use and back, line by line, and say when
python -m tests.health_child URL open       take node `a` out of use, and end
python -m tests.health_child URL stay       take node `a` out of use, and stay
python -m tests.health_child URL state      say how node `a` is at the first run
"""

from __future__ import annotations

import sys
import time
from typing import Any

import anyio
import anyio.to_thread

from orchestrator.drivers.sharing import Heard, Sharing
from orchestrator.graph import Goal, Graph, Node
from orchestrator.health import Circuits, Outcome
from orchestrator.policy import Policy
from orchestrator.store import Store
from tests.store_child import say

GRAPH = Graph(nodes=(Node("a", provides=("v",)), Node("b", provides=("v",))), goals=(Goal("g", ("v",)),), name="g")
POLICY = Policy.model_validate({"circuit": {"cooldown": "5m", "max_cooldown": "5m"}})


class Member:
    """Circuits and what they are shared by."""

    def __init__(self, store: Store) -> None:
        self.restored = anyio.Event()
        self.circuits = Circuits(GRAPH, POLICY, clock=time.monotonic)  # noqa: TID251  # a real process
        self.sharing = Sharing(
            lambda: store,
            "g",
            snapshot=lambda: {"circuits": self.circuits.snapshot()},
            restore=self.restore,
            heard=self.hear,
            now=time.time,  # noqa: TID251  # as above
            report=say,
        )

    def restore(self, data: dict[str, Any], age: float) -> None:
        """Take over what was known before."""
        self.circuits.restore(data["circuits"], age=age)
        self.restored.set()

    def hear(self, heard: Heard) -> None:
        """Say what another process announces."""
        say(f"{heard.node} {heard.state} {time.time()}")  # noqa: TID251  # as above

    def record(self, evidence: str) -> None:
        """Record outcomes until the circuit moves."""
        moved = False
        while not moved:
            now = time.monotonic()  # noqa: TID251  # as above
            outcome = Outcome("a", evidence, now, probe=evidence == "ok")  # type: ignore[arg-type]
            moved = self.circuits.record(outcome)
        circuits = self.circuits
        self.sharing.note("a", circuits.state("a"), circuits.open_for("a"), circuits.blocked("a") or "")


async def main() -> None:
    """Open the store and carry out the command."""
    url, command = sys.argv[1:]
    async with Store.open(url) as store:
        member = Member(store)
        await member.sharing.begin()
        match command:
            case "listen":
                say("ready")
                await anyio.sleep_forever()
            case "fail":
                say("ready")
                while line := await anyio.to_thread.run_sync(sys.stdin.readline):
                    evidence = "external" if line.strip() == "open" else "ok"
                    member.record(evidence)
                    say(f"a {member.circuits.state('a')} {time.time()}")  # noqa: TID251  # as above
            case "state":
                await member.restored.wait()  # the machine may be slow
                say(member.circuits.state("a"))
            case "open" | "stay":
                member.record("external")
                say(member.circuits.state("a"))
                if command == "stay":
                    await anyio.sleep_forever()
        await member.sharing.aclose()


if __name__ == "__main__":
    anyio.run(main)
