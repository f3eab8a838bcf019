"""What a stage's record says about a router, and how routers are compared.

All measures look from outside, at calls and requests, so that every router is measured by the same rule. Each has a
scale: the difference that matters fully to somebody who runs such nodes. A router's loss in a measure is its distance
from the best one in scales, at most 1; its loss in a scenario is the mean over the measures.

What was changed after results had been seen: the price was added, and is per answer since it was seen that who answers
nothing was the cheapest; chance was taken off the swing, since a fair lottery among equals counted as swinging. The
scales stand as they were first written.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from statistics import fmean, pvariance

from tests.health_routers import ROUTERS
from tests.health_world import CALM, FIRST, NODES, Scenario, Stage, World, scenario

__all__ = ("MEASURES", "SCALES", "Measured", "compare", "dominated", "losses", "mean", "measured", "play")

PRICES = {node.name: node.cents for node in NODES}

WINDOW = 10.0
"""Seconds over which shares of requests are taken."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measures of one router in one scenario; less is better in all of them."""

    unanswered: float
    """Requests without an answer, in percent."""
    wasted: float
    """Calls that failed or were given up, per 1,000 requests."""
    seconds: float
    """Mean seconds of a request, of all requests."""
    detect: float
    """Seconds until at most a fifth of the usual share of requests calls the node that something is wrong with."""
    recover: float
    """Seconds from the end of it until half of the usual share calls it again."""
    false: float
    """Times per hour that a node with which nothing is wrong, nor was in the last 40 s, began to be refused."""
    needless: float
    """Requests given up while some node had nothing wrong with it, per 1,000."""
    swing: float
    """Standard deviation of the first choice's share, per 10 s, while nothing changes in the world, beyond what chance
    alone makes of so few requests."""
    cents: float
    """Price of the calls that succeeded, per answer: what is not answered is not cheap."""


MEASURES = tuple(field.name for field in fields(Measured))
SCALES = Measured(
    unanswered=1.0,
    wasted=200.0,
    seconds=2.0,
    detect=60.0,
    recover=120.0,
    false=4.0,
    needless=10.0,
    swing=0.3,
    cents=0.5,
)
"""What counts fully: one request in a hundred lost, one call in five wasted, two seconds, one minute, two minutes,
one healthy node in a quarter of an hour, one request in a hundred given up for nothing, a share that swings by 0.3,
half of what a call of the first choice costs."""

EVEN = 0.03
"""Share of a scale below which two figures are the same."""


def play(name: str, routers: Iterable[str], seed: int, scale: float = 1.0) -> dict[str, Measured]:
    """Play one scenario with each of the routers."""
    world = scenario(name, seed, scale)
    found = {}
    for router in routers:
        stage = Stage(World(world))
        stage.play(ROUTERS[router](stage))
        found[router] = measured(world, stage)
    return found


def measured(world: Scenario, stage: Stage) -> Measured:
    """Measure what happened on a stage."""
    asked = [request for request in stage.requests if request.at < world.end]
    thousand = len(asked) / 1000
    lost = [request for request in asked if not request.met]
    for request in asked:
        if request.ended is None:
            raise AssertionError("a request was never finished")
    needless = [
        request for request in lost if any(world.sound(node.name, request.at, request.ended or 0.0) for node in NODES)
    ]
    healthy = [at for at, node in stage.refusals if world.sound(node, at - 40.0, at)]
    shares = _Shares(stage)
    detect, recover = _reactions(world, shares)
    return Measured(
        100 * len(lost) / len(asked),
        sum(call.outcome != "ok" for call in stage.calls) / thousand,
        fmean((request.ended or 0.0) - request.at for request in asked),
        detect,
        recover,
        len(healthy) / (world.end / 3600),
        len(needless) / thousand,
        _swing(world, shares),
        sum(PRICES[call.node] for call in stage.calls if call.outcome == "ok") / max(len(asked) - len(lost), 1),
    )


class _Shares:
    """Which share of the requests of a time called the first choice."""

    def __init__(self, stage: Stage) -> None:
        self.at = [request.at for request in stage.requests]
        self.called = [0]
        for request in stage.requests:
            self.called.append(self.called[-1] + (FIRST in request.nodes))

    def __call__(self, start: float, end: float) -> float | None:
        """Return the share between two moments; None where nothing was asked."""
        first, last = bisect_left(self.at, start), bisect_left(self.at, end)
        return None if first == last else (self.called[last] - self.called[first]) / (last - first)

    def asked(self, start: float, end: float) -> int:
        """Return how many requests there were between two moments."""
        return bisect_left(self.at, end) - bisect_left(self.at, start)


def _troubles(world: Scenario) -> list[tuple[float, float]]:
    """Return from when until when something is wrong with the first choice; what follows at once is one trouble.

    A node that is only cold is back.
    """
    found: list[tuple[float, float]] = []
    for spell in sorted((s for s in world.spells if s.node == FIRST and s.state != "cold"), key=lambda s: s.start):
        if found and spell.start <= found[-1][1]:
            found[-1] = (found[-1][0], spell.end)
        else:
            found.append((spell.start, spell.end))
    return found


def _reactions(world: Scenario, shares: _Shares) -> tuple[float, float]:
    """Return the mean time to detect and to recover; what never comes counts until the next change."""
    usual = shares(0.0, CALM) or 0.0
    detect, recover = [], []
    troubles = _troubles(world)
    for (start, end), following in zip(troubles, [*(start for start, _ in troubles[1:]), world.end], strict=True):
        gone = _when(shares, start, end, lambda share: share <= 0.2 * usual)
        detect.append(gone - start)
        recover.append(_when(shares, end, following, lambda share: share >= 0.5 * usual) - end)
    return fmean(detect), fmean(recover)


def _when(shares: _Shares, start: float, end: float, reached: Callable[[float], bool]) -> float:
    """Return the first second from which the share of the next requests has reached what is asked."""
    at = start
    while at < end:
        share = shares(at, min(at + WINDOW, end))
        if share is not None and reached(share):
            return at
        at += 1.0
    return end


def _swing(world: Scenario, shares: _Shares) -> float:
    """Return the deviation of the share within stretches of time in which nothing changes, but for their beginnings.

    A router that splits its requests by lot does not swing: the variance that lots have is taken off.
    """
    changes = sorted({0.0, world.end, *(s.start for s in world.spells), *(s.end for s in world.spells)})
    weighed, weight = 0.0, 0
    for start, end in pairwise(changes):
        at, found = start + WINDOW, []
        while at + WINDOW <= end:
            share = shares(at, at + WINDOW)
            if share is not None:
                found.append((share, shares.asked(at, at + WINDOW)))
            at += WINDOW
        if len(found) > 1:
            usual = fmean(share for share, _ in found)
            lots = fmean(usual * (1 - usual) / asked for _, asked in found)
            beyond = max(pvariance(share for share, _ in found) - lots, 0.0)
            weighed, weight = weighed + beyond**0.5 * len(found), weight + len(found)
    return weighed / weight if weight else 0.0


# --------------------------------------------------------------------------------------------------------- comparison


def mean(all_seeds: Sequence[Measured]) -> Measured:
    """Return the mean of each measure."""
    return Measured(*(fmean(figures) for figures in zip(*map(astuple, all_seeds), strict=True)))


def compare(
    names: Iterable[str], seeds: Iterable[int], scale: float = 1.0, routers: Iterable[str] = ROUTERS
) -> dict[str, dict[str, Measured]]:
    """Return the mean measures of every router in every scenario."""
    seeds, routers = tuple(seeds), tuple(routers)
    found = {}
    for name in names:
        played = [play(name, routers, seed, scale) for seed in seeds]
        found[name] = {router: mean([one[router] for one in played]) for router in routers}
    return found


def losses(found: Mapping[str, Measured]) -> dict[str, float]:
    """Return every router's loss in one scenario, 0 (best in every measure) to 1."""
    best = [min(figures) for figures in zip(*map(astuple, found.values()), strict=True)]
    scales = astuple(SCALES)
    return {
        router: fmean(
            min(1.0, (figure - least) / scale) for figure, least, scale in zip(astuple(one), best, scales, strict=True)
        )
        for router, one in found.items()
    }


def dominated(found: Mapping[str, Measured], router: str) -> list[str]:
    """Return which others are at least as good as *router* in every measure, and better in one."""
    scales, mine = astuple(SCALES), astuple(found[router])

    def better(theirs: Measured) -> bool:
        gains = [(m - t) / scale for m, t, scale in zip(mine, astuple(theirs), scales, strict=True)]
        return bool(min(gains) >= -EVEN and max(gains) > EVEN)

    return [other for other, theirs in found.items() if other != router and better(theirs)]
