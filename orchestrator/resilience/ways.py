"""The ways to a goal that are known, and the search for another one.

A known way that avoids a set of losses proves that the goal survives them, without a search. So ways are collected,
and each search is drawn to nodes that no known way takes: a few ways that have little in common answer most questions.
Whether there is a way at all is the planner's word: its legal tree is found whenever a route exists, and its
judgement of limits is asked where that tree breaks one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.planner import Planner, Route, Situation
from orchestrator.planner.improve import Work, legal_tree
from orchestrator.planner.limits import Allowance
from orchestrator.planner.union import Union, unfinished
from orchestrator.resilience.losses import MOST, Loss, bits
from orchestrator.weight import View

__all__ = ("Way", "Ways")


@dataclass(frozen=True, slots=True)
class Way:
    """A route to the goal, as a bit mask of the losses that would break it."""

    hit: int
    proved: bool = True
    """False for one over a limit where none within it was found, and none was proved impossible."""


class Ways:
    """The ways to one goal under one view.

    Args:
        planner: Whose word it is that a goal is feasible.
        view: The weights.
        goal: The goal's name.
        situation: What is held at the start, and the limits.
        losses: What can be lost.
        work: Budget in node expansions; spent here, heeded by whoever asks.
    """

    def __init__(
        self, planner: Planner, view: View, goal: str, situation: Situation, losses: tuple[Loss, ...], work: Work
    ) -> None:
        self.index = planner.index(view)
        self.target = self.index.goal_number[goal]
        self.ground = planner.ground(self.index, situation)
        self.allowance = Allowance(situation.left)
        self.expansions = planner.expansions
        self.losses = losses
        self.work = work
        self.searches = 0
        self.known: list[int] = []
        number = self.index.number
        self._nodes = [frozenset(number[name] for name in loss.nodes) for loss in losses]
        self._bit = {(loss.name, loss.domain): 1 << i for i, loss in enumerate(losses)}
        self._hit: dict[int, int] = {}
        for i, nodes in enumerate(self._nodes):
            for p in nodes:
                self._hit[p] = self._hit.get(p, 0) | 1 << i
        self._weight = [1] * self.index.size

    def mask(self, loss: Loss) -> int:
        """Return a loss of another goal as one of this goal's; 0 where it does not matter here."""
        return self._bit.get((loss.name, loss.domain), 0)

    def know(self, route: Route) -> Way:
        """Take note of a planned route."""
        way = Way(self._hits([self.index.number[name] for name in route.nodes]), route.verdict == "found")
        if way.proved:
            self._remember(way)
        return way

    def spread(self) -> None:
        """Collect a few ways that have as little in common as a search can make them."""
        for _ in range(MOST):
            before = len(self.known)
            self._search(0, judged=False)
            if len(self.known) == before:
                return

    def round(self, lost: int) -> Way | None:
        """Return a way round a set of losses, known or searched for; None where there is none."""
        # The fewer losses break it, the fewer sets have to be looked at next.
        hit = min((hit for hit in self.known if not hit & lost), key=int.bit_count, default=None)
        return self._search(lost) if hit is None else Way(hit)

    def disjoint(self) -> int:
        """Return how many known ways have no loss in common: one loss fewer can never break the goal."""
        used = count = 0
        for hit in sorted(self.known, key=int.bit_count):
            if not hit & used:
                used |= hit
                count += 1
        return count

    def _search(self, lost: int, *, judged: bool = True) -> Way | None:
        index, ground, target = self.index, self.ground, self.target
        self.searches += 1
        gone = frozenset[int]().union(*(self._nodes[i] for i in bits(lost)))
        choice = legal_tree(index, ground, target, self.work, without=gone, weight=self._weight)
        if choice is None:
            self.work.spend(len(self._hit))
            return None
        union = Union(index, ground, choice, target)
        if not self.allowance.fits(union):
            if not judged:
                return Way(0, proved=False)
            work = Work(self.expansions)
            without = replace(ground, barred=ground.barred | gone)
            verdict, within, _ = self.allowance.judge(index, without, target, union, work)
            self.work.spend(self.expansions - work.left)
            if verdict == "impossible":
                return None
            if within is None:
                return Way(self._hits(unfinished(index, ground, choice)), proved=False)
            union = within.union
        way = Way(self._hits(unfinished(index, ground, union.choice)))
        self._remember(way)
        return way

    def _hits(self, nodes: list[int]) -> int:
        mask = 0
        for p in nodes:
            mask |= self._hit[p]
        return mask

    def _remember(self, way: Way) -> None:
        if way.hit in self.known:
            return
        self.known.append(way.hit)
        # One node that is taken again weighs more than a whole route of new ones.
        for i in bits(way.hit):
            for p in self._nodes[i]:
                self._weight[p] += self.index.size
