"""A world in which nodes go down, falter, slow down and come back, and time that passes by itself.

Four nodes of three providers answer the same kind of request. A `Scenario` says what happens to them and when; a
`World` answers calls by it; a `Stage` is the virtual clock on which one router sends one stream of requests through
one world, and the record of what it did. All luck is a hash of (seed, node, request, attempt): the same request meets
the same luck at the same node whoever sends it there. What depends on a router is only what it causes itself: quota
that it has used up, calls that it has in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from heapq import heappop, heappush
from itertools import count
from typing import Literal, Protocol

from orchestrator.chance import unit_interval
from orchestrator.events import Failure
from tests.outage_figures import OTHER_PROVIDER, SAME_PROVIDER, arrivals_per_second, length, outage_seconds

__all__ = (
    "NODES",
    "SCENARIOS",
    "TIMEOUT",
    "Answer",
    "Called",
    "Provider",
    "Requested",
    "Router",
    "Scenario",
    "Spell",
    "Stage",
    "World",
    "scenario",
)

TIMEOUT = 30.0
"""Seconds that every router waits for an answer: the default of the policies."""

HEALTHY = 0.99
"""Share of calls that succeed at a healthy node."""

CALM = 180.0
"""Seconds before anything happens: what a router does then is what its behaviour is compared with."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A node of the world: whom it belongs to, what a call costs in cents, and the seconds of a mean answer."""

    name: str
    domain: str
    cents: float
    seconds: float


NODES = (
    Provider("north-1", "north", 1.0, 2.0),
    Provider("north-2", "north", 1.1, 2.0),
    Provider("south", "south", 1.5, 2.0),
    Provider("west", "west", 2.5, 1.5),
)
"""Best first: cost and seconds together. Every router likes them in this order."""

FIRST = NODES[0].name
BY_NAME = {node.name: node for node in NODES}

State = Literal["down", "flaky", "slow", "limited", "cold"]


@dataclass(frozen=True, slots=True)
class Spell:
    """What is wrong with a node for a while.

    ``figure`` is the share of calls that still succeed (flaky), the factor of slowness (slow), the calls per minute
    (limited), or the seconds that a cold node needs until it takes everything again (cold).
    """

    node: str
    start: float
    end: float
    state: State
    figure: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and the stream of requests that meets it."""

    name: str
    spells: tuple[Spell, ...]
    end: float
    """Seconds until the last request."""
    thin: float
    """Share of the trace's requests that are sent."""
    seed: int

    def arrivals(self) -> tuple[float, ...]:
        """Return when requests arrive: the trace second by second, from a place that the seed picks, thinned."""
        return _arrivals(self.seed, self.end, self.thin)

    def sound(self, node: str, start: float, end: float) -> bool:
        """Whether nothing at all is wrong with a node between two moments."""
        return not any(s.node == node and s.start <= end and s.end >= start for s in self.spells)


@lru_cache(maxsize=64)
def _arrivals(seed: int, end: float, thin: float) -> tuple[float, ...]:
    counts = arrivals_per_second()[120:]  # the trace begins slowly
    first = int(unit_interval(seed, "from") * len(counts))
    return tuple(
        sorted(
            second + unit_interval(seed, "at", second, n)
            for second in range(int(end))
            for n in range(counts[(first + second) % len(counts)])
            if unit_interval(seed, "sent", second, n) < thin
        )
    )


_luck = lru_cache(maxsize=100_000)(unit_interval)
"""Routers meet the same luck: one draws it for all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ends, *seconds* after it began; `failure` is None where it ends well."""

    seconds: float
    failure: Failure | None = None
    headroom: float | None = None


class World:
    """What the nodes answer to one router."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.flying = dict.fromkeys(BY_NAME, 0)
        self._spells = {name: [s for s in scenario.spells if s.node == name] for name in BY_NAME}
        self._used: dict[tuple[str, int], int] = {}
        self._crashed: dict[str, float] = {}

    def answer(self, node: str, request: int, attempt: int, at: float) -> Answer:
        """Answer the *attempt*-th call that a request makes of a node."""
        seed, provider = self.scenario.seed, BY_NAME[node]
        luck = _luck(seed, node, request, attempt)
        seconds = provider.seconds * length(_luck(seed, "length", request)) + 0.2
        here = self._spells[node]
        spell = next((s for s in here if s.start <= at < s.end), None)
        state = None if spell is None else spell.state
        if state == "down" or self._crashed.get(node, 0.0) > at:
            return _down(luck)
        success, headroom = HEALTHY, None
        if spell is not None and state == "flaky":
            success = spell.figure
        elif spell is not None and state == "slow":
            seconds *= spell.figure
        elif spell is not None and state == "limited":
            minute = int(at // 60)
            used = self._used[node, minute] = self._used.get((node, minute), 0) + 1
            headroom = max(0.0, 1 - used / spell.figure)
            if used > spell.figure:
                wait = (minute + 1) * 60 - at
                return Answer(0.1, Failure("rate_limited", "429", transient=True, retry_after=wait), 0.0)
        elif spell is not None and state == "cold":
            room = 2.0 + 20.0 * (at - spell.start) / spell.figure
            if self.flying[node] > 2 * room:
                self._crashed[node] = at + 20.0  # what starts under too much load falls over again
            if self.flying[node] > room:
                return Answer(0.3, Failure("http_5xx", "503: still warming up", transient=True))
        if luck >= success:
            return Answer(min(seconds / 2, TIMEOUT), Failure("http_5xx", "500", transient=True), headroom)
        cut = next((s for s in here if s.state == "down" and at < s.start < at + seconds), None)
        if cut is not None:
            return Answer(cut.start - at, Failure("connection", "the connection was closed", transient=True))
        if seconds > TIMEOUT:
            failure = Failure("timeout", f"no answer within {TIMEOUT:g} s", transient=True, happened="unknown")
            return Answer(TIMEOUT, failure, headroom)
        return Answer(seconds, None, headroom)


def _down(luck: float) -> Answer:
    """A node that is down refuses at once, mostly; some calls of it hang."""
    if luck < 0.85:
        return Answer(0.05 + luck / 2, Failure("http_5xx", "503", transient=True))
    failure = Failure("timeout", f"no answer within {TIMEOUT:g} s", transient=True, happened="unknown")
    return Answer(TIMEOUT, failure)


# ---------------------------------------------------------------------------------------------------------- the stage


@dataclass(slots=True)
class Called:
    """One call that a router made."""

    request: int
    node: str
    at: float
    seconds: float = 0.0
    outcome: str = "open"
    """ok, failed or cancelled."""


@dataclass(slots=True)
class Requested:
    """One request, and how it ended."""

    at: float
    ended: float | None = None
    met: bool = False
    nodes: list[str] = field(default_factory=list)
    """What it called, in order."""


class Router(Protocol):
    """Whoever decides which node a request goes to."""

    name: str

    def arrive(self, request: int, at: float) -> None:
        """Take a new request; sooner or later the stage is told that it is finished."""

    def answered(self, request: int, node: str, attempt: int, answer: Answer, at: float) -> None:
        """Take the answer to a call."""

    def refused(self, at: float) -> Collection[str]:
        """Return the nodes that no new request may use."""


class Stage:
    """The virtual clock of one router in one world, and the record of what happened on it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 0.0
        self.calls: list[Called] = []
        self.requests: list[Requested] = []
        self.refusals: list[tuple[float, str]] = []
        """When which node began to be refused."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._open: dict[tuple[int, str, int], Called] = {}

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Let something happen later."""
        heappush(self._due, (self.now + max(seconds, 0.0), next(self._number), then))

    def call(self, router: Router, request: int, node: str, attempt: int) -> None:
        """Call a node; the router is told the answer."""
        called = Called(request, node, self.now)
        self.calls.append(called)
        self.requests[request].nodes.append(node)
        self.world.flying[node] += 1
        self._open[request, node, attempt] = called
        answer = self.world.answer(node, request, attempt, self.now)

        def end() -> None:
            if called.outcome != "open":
                return
            self._end(called, request, attempt, "ok" if answer.failure is None else "failed")
            router.answered(request, node, attempt, answer, self.now)

        self.after(answer.seconds, end)

    def cancel(self, request: int, node: str, attempt: int) -> None:
        """Cancel a call; its answer never comes."""
        called = self._open.get((request, node, attempt))
        if called is not None:
            self._end(called, request, attempt, "cancelled")

    def _end(self, called: Called, request: int, attempt: int, outcome: str) -> None:
        called.outcome, called.seconds = outcome, self.now - called.at
        self.world.flying[called.node] -= 1
        del self._open[request, called.node, attempt]

    def finish(self, request: int, met: bool) -> None:
        """Finish a request, with an answer or without."""
        requested = self.requests[request]
        if requested.ended is None:
            requested.ended, requested.met = self.now, met

    def play(self, router: Router) -> None:
        """Send all requests through the router, until the last one is finished."""
        arrivals = iter(self.world.scenario.arrivals())
        self._next_arrival(router, arrivals)
        self._watch(router, frozenset())
        while self._due:
            self.now, _, then = heappop(self._due)
            if self.now > self.world.scenario.end and all(r.ended is not None for r in self.requests[-200:]):
                break
            then()

    def _next_arrival(self, router: Router, arrivals: Iterator[float]) -> None:
        at = next(arrivals, None)
        if at is None:
            return

        def arrive() -> None:
            self.requests.append(Requested(self.now))
            self._next_arrival(router, arrivals)
            router.arrive(len(self.requests) - 1, self.now)

        self.after(at - self.now, arrive)

    def _watch(self, router: Router, before: frozenset[str]) -> None:
        refused = frozenset(router.refused(self.now))
        self.refusals += [(self.now, node.name) for node in NODES if node.name in refused - before]
        if self.now < self.world.scenario.end:
            self.after(0.5, lambda: self._watch(router, refused))


# ------------------------------------------------------------------------------------------------------- the scenarios


def _after(seconds: float, scale: float) -> float:
    """Return how long a scenario goes on once all is well: long enough for every router to come back."""
    return max(240.0, seconds * scale)


def _hard(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice is down for as long as real incidents last, from 5 minutes to an hour and a half."""
    end = CALM + scale * outage_seconds(unit_interval(seed, "outage"), 300, 5400)
    return (Spell(FIRST, CALM, end, "down"),), end + _after(420, scale)


def _brown(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice fails between 30 and 70 % of its calls."""
    end = CALM + scale * outage_seconds(unit_interval(seed, "outage"), 300, 3600)
    return (Spell(FIRST, CALM, end, "flaky", 0.3 + 0.4 * unit_interval(seed, "success")),), end + _after(420, scale)


def _flapping(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice is up for 40 s and down for 20 s, again and again."""
    rounds = max(8, round(25 * scale))
    starts = [CALM + 60.0 * n for n in range(rounds)]
    return tuple(Spell(FIRST, at, at + 20, "down") for at in starts), starts[-1] + _after(420, scale)


def _limited(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice takes a third of the requests of a minute, and says when it takes more."""
    end = CALM + max(300.0, 1200 * scale)
    end = 60 * (end // 60)
    share = 0.25 + 0.25 * unit_interval(seed, "share")
    return (Spell(FIRST, CALM, end, "limited", round(60 * share * 5.5 * _thin("rate limit"))),), end + _after(
        240, scale
    )


def _domain(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice is down, and with it others: of its provider with 60 %, of another one with 6 %."""
    length = scale * outage_seconds(unit_interval(seed, "outage"), 300, 3600)
    spells = [Spell(FIRST, CALM, CALM + length, "down")]
    for node in NODES[1:]:
        chance = SAME_PROVIDER if node.domain == NODES[0].domain else OTHER_PROVIDER
        if unit_interval(seed, "with", node.name) < chance:
            start = CALM + 60 * unit_interval(seed, "later", node.name)
            spells.append(Spell(node.name, start, start + length, "down"))
    return tuple(spells), CALM + length + _after(420, scale)


def _slow(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice answers everything, but takes five to nine times as long."""
    end = CALM + scale * outage_seconds(unit_interval(seed, "outage"), 300, 2400)
    return (Spell(FIRST, CALM, end, "slow", 5 + 4 * unit_interval(seed, "factor")),), end + _after(420, scale)


def _recovery(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice comes back as real ones do: up, down again, then half, then whole."""
    end = CALM + max(120.0, 300 * scale)
    spells = (
        Spell(FIRST, CALM, end, "down"),
        Spell(FIRST, end + 20, end + 80, "down"),
        Spell(FIRST, end + 80, end + 140, "flaky", 0.5),
    )
    return spells, end + 140 + _after(600, scale)


def _all_down(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """Everything is down, and comes back one by one, the dearest first."""
    length = max(60.0, 240 * scale)
    spells = [
        Spell(node.name, CALM, CALM + length + 30 * n + 30 * unit_interval(seed, node.name), "down")
        for n, node in enumerate(reversed(NODES))
    ]
    return tuple(spells), CALM + length + 120 + _after(420, scale)


def _herd(seed: int, scale: float) -> tuple[tuple[Spell, ...], float]:
    """The first choice comes back cold: for two minutes it takes few calls at once, and falls over under many."""
    end = CALM + max(120.0, 300 * scale)
    warm = 60 + 60 * unit_interval(seed, "warm")
    return (Spell(FIRST, CALM, end, "down"), Spell(FIRST, end, end + warm, "cold", warm)), end + _after(600, scale)


Make = Callable[[int, float], tuple[tuple[Spell, ...], float]]
SCENARIOS: dict[str, tuple[Make, float]] = {
    "hard outage": (_hard, 0.25),
    "brown-out": (_brown, 0.25),
    "flapping": (_flapping, 0.25),
    "rate limit": (_limited, 0.5),
    "correlated domain": (_domain, 0.25),
    "slow node": (_slow, 0.25),
    "recovery": (_recovery, 0.25),
    "all down": (_all_down, 0.25),
    "herd at re-admission": (_herd, 1.0),
}
"""Each scenario, and the share of the trace's 5.5 requests per second that it is played with."""


def _thin(name: str) -> float:
    return SCENARIOS[name][1]


@cache
def scenario(name: str, seed: int, scale: float = 1.0) -> Scenario:
    """Return a scenario as a seed draws it; *scale* shortens what is long in it."""
    make, thin = SCENARIOS[name]
    spells, end = make(seed, scale)
    return Scenario(name, spells, end, thin, seed)
