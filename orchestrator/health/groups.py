"""Substitutes: nodes that provide the same needed value, and how many of them may be out of use at once.

A node belongs to one group for every value of its own that something needs. It may be taken out of use only if each of
its groups can spare it; a lone node can be spared by nobody, so that ejecting it would help nobody. A group is dark
when each of its nodes has failed as often as opens a circuit since anything in the group last worked, and one lately.
"""

from __future__ import annotations

import math

from orchestrator.graph import Graph

__all__ = ("Groups", "permitted")


def permitted(size: int, share: float) -> int:
    """Return how many of *size* substitutes may be out of use at once.

    >>> [permitted(size, 0.5) for size in (1, 2, 3, 4, 5, 6)]
    [0, 1, 1, 2, 2, 3]
    >>> permitted(2, 0.1), permitted(2, 0.0)
    (1, 0)
    """
    if size < 2 or share <= 0:
        return 0
    # 0.29 of 100 is 28.999…; what is a whole number on paper is one here.
    return max(math.floor(share * size + 1e-9), 1)


class Groups:
    """The groups of a graph, and who of each is out of use.

    Args:
        graph: The graph. Values that nothing needs make no group: nobody misses them.
    """

    def __init__(self, graph: Graph) -> None:
        needed = {need.value for node in graph.nodes for need in node.needs}
        needed.update(value for goal in graph.goals for value in goal.values)
        self._members = {value: names for value, names in graph.providers.items() if value in needed}
        self._of = {
            node.name: tuple(value for value in dict.fromkeys(node.provides) if value in needed) for node in graph.nodes
        }
        self._out: dict[str, dict[str, None]] = {value: {} for value in self._members}
        self._failed: dict[str, dict[str, int]] = {}
        """Failures of the members of a group since a call of any of them succeeded."""
        self._failed_at: dict[str, float] = {}
        """When a member of a group last failed."""

    def of(self, node: str) -> tuple[str, ...]:
        """Return the values whose groups *node* belongs to."""
        return self._of[node]

    def room(self, node: str, share: float) -> bool:
        """Tell whether every group of *node* can spare it, if *share* of a group may be out of use."""
        values = self._of[node]
        return bool(values) and all(
            len(self._out[value]) - (node in self._out[value]) < permitted(len(self._members[value]), share)
            for value in values
        )

    def take_out(self, node: str) -> None:
        """Count *node* as out of use."""
        for value in self._of[node]:
            self._out[value][node] = None

    def put_back(self, node: str) -> None:
        """Count *node* as usable."""
        for value in self._of[node]:
            self._out[value].pop(node, None)

    def succeeded(self, node: str) -> None:
        """A call of *node* succeeded: its groups are not dark."""
        for value in self._of[node]:
            self._failed.pop(value, None)

    def failed(self, node: str, now: float) -> None:
        """A call of *node* failed."""
        for value in self._of[node]:
            failed = self._failed.setdefault(value, {})
            failed[node] = failed.get(node, 0) + 1
            self._failed_at[value] = now

    def dark(self, failures: int, since: float) -> tuple[str, ...]:
        """Return the values whose groups are dark, if *failures* in a row open one circuit. A lone node is no group.

        A group of which nothing has failed since the time *since* is none of them: what was tried long ago says little
        of now.
        """
        return tuple(
            value
            for value, failed in self._failed.items()
            if len(failed) == len(self._members[value]) > 1
            and min(failed.values()) >= failures
            and self._failed_at[value] >= since
        )
