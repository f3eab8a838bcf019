"""Lanes: how many calls run at once, of one node and of the whole process, and whose turn is next.

A call that finds its lane full waits for its turn. Turns go round the runs, so that a run with a hundred calls does not
keep one with a single call waiting. Where too many wait already, the call is refused at once: what waits longer than
its caller is work for nobody. A node that turns calls away is asked less (adaptive throttling: "Handling Overload",
Site Reliability Engineering, 2016). A call that is refused here is not tried again on the same node: that is what
"overloaded; do not retry" is for. Its run goes another way, or ends with the reason `limit:overload`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.chance import unit_interval
from orchestrator.errors import NotCalled, OverloadedError
from orchestrator.events import AttemptEnded, Failure
from orchestrator.policy import Overload

__all__ = ("Lanes", "Overloaded", "Throttle", "turns_away")

FREE = 10
"""Requests in a window that are always made: of so few, a share says nothing. The book speaks of thousands."""
WINDOW = 120.0
"""Seconds over which requests and acceptances are counted: the SRE book's two minutes."""


class Overloaded(NotCalled):
    """A call was refused before it was made: too many wait, or the node turns calls away."""

    failure_type = "overloaded"


def turns_away(failure: Failure) -> bool:
    """Return whether a failure is that of a node that was asked and would not take the call.

    It is a rate limit, the node's own word that it is overloaded, or 503 (Service Unavailable): of the statuses from
    500 on the only one that says that nothing happened.
    """
    limited = failure.type in ("rate_limited", "overloaded") or failure.evidence == "rate_limited"
    return limited or (failure.type == "http_5xx" and failure.happened == "no")


class Throttle:
    """Adaptive throttling of one node: refuses a share of calls that grows with those that the node turned away.

    Args:
        k: Requests per accepted one before anything is refused.
        clock: Returns seconds.
    """

    def __init__(self, k: float, clock: Callable[[], float]) -> None:
        self._k = k
        self._clock = clock
        self._since = clock()
        self._requests = [0.0, 0.0]
        self._away = [0.0, 0.0]

    def share(self) -> float:
        """Return the share of calls to refuse now, 0 to 1."""
        self._roll()
        requests = sum(self._requests)
        accepts = requests - sum(self._away)  # what is under way counts as accepted until it is not
        return max(0.0, (requests - self._k * accepts - FREE) / (requests + 1.0))

    def asked(self) -> None:
        """Count a call, made or refused, before it is made."""
        self._roll()
        self._requests[0] += 1

    def turned_away(self) -> None:
        """Count a call that the node turned away, or that was refused in its name."""
        self._roll()
        self._away[0] += 1

    def _roll(self) -> None:
        # Two buckets, swapped: what is older than the window is forgotten, and never all at one moment.
        while self._clock() - self._since >= WINDOW / 2:
            self._since += WINDOW / 2
            for counts in (self._requests, self._away):
                counts[0], counts[1] = 0.0, counts[0]
            if self._clock() - self._since >= WINDOW:
                self._since = self._clock()
                self._requests, self._away = [0.0, 0.0], [0.0, 0.0]


class _Lane:
    """A number of places, and who waits for one, by run."""

    def __init__(self, places: int | None, queue: int) -> None:
        self._free = places
        self._queue = queue
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def free(self) -> bool:
        """Whether there is a place."""
        return self._free is None or self._free > 0

    async def enter(self, run_id: str, name: str) -> None:
        if self._free is None:
            return
        if self._free:
            self._free -= 1
            return
        if self.waiting >= self._queue:
            raise Overloaded(f"{self._queue} calls of {name} wait for their turn already (overload.queue)")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was this call's turn just now: the next one takes it
            else:
                self._forget(run_id, turn)
            raise

    def leave(self) -> None:
        """Give the place to the next run's call."""
        if self._free is None:
            return
        while self._waiting:
            run_id, calls = self._waiting.popitem(last=False)
            turn = calls.popleft()
            if calls:
                self._waiting[run_id] = calls  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, run_id: str, turn: asyncio.Future[None]) -> None:
        calls = self._waiting.get(run_id)
        if calls is not None and turn in calls:
            calls.remove(turn)
            if not calls:
                del self._waiting[run_id]


class Lanes:
    """The lanes of one process.

    Args:
        policy: How many calls may run and wait.
        clock: Returns seconds.
    """

    def __init__(self, policy: Overload, *, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._all = _Lane(policy.calls, policy.queue)
        self._lanes: dict[str, _Lane] = {}
        self._throttles: dict[str, Throttle] = {}
        self._unmade: dict[tuple[str, str, int], set[asyncio.Task[Any]]] = {}
        """The tasks of the calls of an attempt, by run, node and number, while none of them has had its turn."""
        self._runs = 0

    def begin(self) -> None:
        """Count a run that begins.

        Raises:
            OverloadedError: There are as many as there may be.
        """
        most = self._policy.runs
        if most is not None and self._runs >= most:
            raise OverloadedError(f"{self._runs} runs are under way, and no more than that may be (overload.runs)")
        self._runs += 1

    def end(self, run_id: str) -> None:
        """Count a run that nobody drives any more, and withdraw what it still waits for."""
        self._runs -= 1
        for key in [key for key in self._unmade if key[0] == run_id]:
            for task in self._unmade.pop(key):
                task.cancel()

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return self._all.waiting + sum(lane.waiting for lane in self._lanes.values())

    @asynccontextmanager
    async def turn(self, node: str, run_id: str, attempt: int, seed: int) -> AsyncIterator[None]:
        """Wait for the turn of one call, and hold the place while it is made.

        Raises:
            Overloaded: The call is refused.
        """
        throttle = self._throttle(node)
        share = throttle.share()
        throttle.asked()
        if share and unit_interval(seed, "throttle", node, attempt) < share:
            throttle.turned_away()
            raise Overloaded(f"{node} turns calls away; this one was not made (overload.throttle)")
        lane = self._lane(node)
        key, task = (run_id, node, attempt), asyncio.current_task()
        assert task is not None
        self._unmade.setdefault(key, set()).add(task)
        try:
            await lane.enter(run_id, node)
            try:
                await self._all.enter(run_id, "all nodes")
                try:
                    self._unmade.pop(key, None)  # a call is made: the attempt can not be withdrawn any more
                    yield
                finally:
                    self._all.leave()
            finally:
                lane.leave()
        finally:
            self._forget(key, task)

    def at_once(self, node: str) -> bool:
        """Whether a call of a node would be made at once: there is a place for it, and the node takes calls."""
        return self._all.free and self._lane(node).free and not self._throttle(node).share()

    def ended(self, fact: AttemptEnded) -> None:
        """Take in how an attempt went: a node that turned it away is asked less."""
        if fact.calls and fact.failure is not None and turns_away(fact.failure):
            self._throttle(fact.node).turned_away()

    def _forget(self, key: tuple[str, str, int], task: asyncio.Task[Any]) -> None:
        tasks = self._unmade.get(key, set())
        tasks.discard(task)
        if not tasks:
            self._unmade.pop(key, None)

    def _lane(self, node: str) -> _Lane:
        return self._lanes.setdefault(node, _Lane(self._policy.node, self._policy.queue))

    def _throttle(self, node: str) -> Throttle:
        throttle = self._throttles.get(node)
        if throttle is None:
            throttle = self._throttles[node] = Throttle(self._policy.throttle, self._clock)
        return throttle
