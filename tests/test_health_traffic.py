"""Small worlds over time: a board's views decide where runs go, and what others do instead is ranked beside them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from statistics import fmean, pstdev

from orchestrator.graph import Goal, Graph, Node
from tests.boards import Desk, pair

Choose = Callable[[str, float], str | None]


def cheapest(desk: Desk, run_id: str, last_chance: bool = True) -> str | None:
    """Return the lightest of `a` and `b` that a new run may use, and take the route; else one whose circuit is open."""
    view = desk.board.view(run_id)
    barred = {name for name, _ in view.vetoes}
    usable = [name for name in ("a", "b") if name not in barred] or [name for name in view.open if last_chance]
    if not usable:
        return None
    chosen = min(usable, key=lambda name: (dict(view.weights)[name], name))
    desk.board.settle(run_id, (chosen,))
    return chosen


class Road:
    """Two equal nodes whose latency grows with the calls in flight, and runs that arrive evenly (survey, 5.3)."""

    def __init__(self, slope: float, period: float, seconds: float) -> None:
        self.slope, self.period, self.end = slope, period, seconds
        self.flying = {"a": 0, "b": 0}

    def drive(self, choose: Choose, ended: Callable[[str, str, float, float], None]) -> tuple[float, float]:
        """Return the mean latency, and how unevenly twenty arrivals at a time were spread."""
        calls: list[tuple[float, str, str, float]] = []
        took, went = [], []
        for i in range(int(self.end / self.period)):
            now = i * self.period
            while calls and calls[0][0] <= now:
                at, node, run, seconds = heapq.heappop(calls)
                self.flying[node] -= 1
                ended(run, node, at, seconds)
            node = choose(f"run {i}", now) or ""
            self.flying[node] += 1
            seconds = 1.0 + self.slope * (self.flying[node] - 1)
            heapq.heappush(calls, (now + seconds, node, f"run {i}", seconds))
            took.append(seconds)
            went.append(node == "a")
        shares = [fmean(went[i : i + 20]) for i in range(0, len(went), 20)]
        return fmean(took), pstdev(shares)


def shortest_path_on_latency(road: Road) -> tuple[float, float]:
    """Drive by what was measured last, refreshed every two seconds: the metric of the early ARPANET."""
    measured, shown, refreshed = {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, [0.0]

    def choose(run: str, now: float) -> str:
        if now >= refreshed[0] + 2:
            shown.update(measured)
            refreshed[0] = now
        return min(("a", "b"), key=lambda name: (shown[name], name))

    def ended(run: str, node: str, at: float, seconds: float) -> None:
        measured[node] += 0.3 * (seconds - measured[node])

    return road.drive(choose, ended)


def least_in_flight(road: Road) -> tuple[float, float]:
    """Drive with perfect knowledge of what is in flight."""
    return road.drive(lambda run, now: min(("a", "b"), key=lambda name: (road.flying[name], name)), lambda *_: None)


def by_the_board(road: Road, graph: Graph) -> tuple[float, float]:
    """Drive by a board's views."""
    desk = Desk(graph)

    def choose(run: str, now: float) -> str | None:
        desk.wait(max(now - desk.now, 0.0))
        return cheapest(desk, run)

    def ended(run: str, node: str, at: float, seconds: float) -> None:
        desk.wait(max(at - desk.now, 0.0))
        desk.saw(node, "ok", seconds=seconds, run_id=run)
        desk.board.release(run)

    return road.drive(choose, ended)


def test_two_equal_nodes_do_not_swing() -> None:
    """Trap 14: by the board latency and spread are those of perfect knowledge; by latency alone all swing together."""
    for graph in (pair(), pair(seconds=1.0)):
        for slope, period in ((0.1, 0.1), (0.35, 0.3)):
            ours, swing = by_the_board(Road(slope, period, 200), graph)
            naive, naive_swing = shortest_path_on_latency(Road(slope, period, 200))
            best, _ = least_in_flight(Road(slope, period, 200))
            assert ours < best * 1.05
            assert ours < naive / 2
            assert swing < 0.1 < naive_swing


# ---------------------------------------------------------------------------------------------------------- flapping


def flapping(now: float) -> bool:
    """Return whether a node that is up for 40 s and down for 20 s is up (survey, 5.4)."""
    return now % 60 < 40


def one_call_a_second(desk: Desk, seconds: int = 1800) -> tuple[int, int, int]:
    """Send a run a second to `a`, else `b`; return failed calls of `a`, calls that it answered, and runs lost."""
    failed = answered = lost = 0
    for i in range(seconds):
        desk.wait(max(i - desk.now, 0.0))
        run, tried = f"run {i}", []
        node = cheapest(desk, run)
        while node is not None and node not in tried:
            tried.append(node)
            works = node == "b" or flapping(desk.now)
            desk.saw(node, "ok" if works else "external", run_id=run)
            failed += node == "a" and not works
            answered += node == "a" and works
            if works:
                break
            # The run's own exclusion: it never waits for a publication.
            node = "b" if "b" not in tried else None
        else:
            lost += 1
        desk.board.release(run)
    return failed, answered, lost


def fixed_cooldown(cooldown: float, seconds: int = 1800) -> tuple[int, int]:
    """Do the same with a gateway's rule: one failure, out for so long, then all traffic; return failed and answered."""
    until, failed, answered = 0.0, 0, 0
    for now in range(seconds):
        if now >= until:
            if flapping(now):
                answered += 1
            else:
                failed, until = failed + 1, now + cooldown
    return failed, answered


def test_a_flapping_node_wastes_few_calls_and_is_admitted_again() -> None:
    """No run is lost; a third fewer calls fail than behind a gateway's fixed cooldown; it is never shut out.

    The price is the damping's: the longer it flaps, the longer it is left alone, so that it answers fewer runs.
    """
    graph = Graph((Node("a", provides=("v",)), Node("b", provides=("v",), units=2.0)), (Goal("g", ("v",)),))
    failed, answered, lost = one_call_a_second(Desk(graph))
    gateway_failed, _ = fixed_cooldown(5.0)
    retried_only, _ = fixed_cooldown(0.0)
    assert lost == 0
    assert failed < gateway_failed * 2 / 3 < retried_only / 3
    assert answered >= 100


# -------------------------------------------------------------------------------------------------------- a slow node


def test_a_node_that_only_gets_slow_loses_traffic_before_it_fails() -> None:
    """It is left within seconds though every call works, tried once per window, and soon back when it is quick."""
    graph = Graph(
        (Node("a", provides=("v",), seconds=1.0), Node("b", provides=("v",), seconds=2.0)), (Goal("g", ("v",)),)
    )
    desk = Desk(graph)
    went: dict[int, str | None] = {}
    for i in range(0, 900, 2):
        desk.wait(max(i - desk.now, 0.0))
        slow = 200 <= i < 400
        went[i] = node = cheapest(desk, f"run {i}")
        assert node is not None
        desk.saw(node, "ok", seconds=2.0 if node == "b" else 6.0 if slow else 1.0, run_id=f"run {i}")
        desk.board.release(f"run {i}")
    assert {went[i] for i in range(0, 200, 2)} == {"a"}
    assert [went[i] for i in range(230, 400, 2)].count("a") <= 170 / desk.policy.circuit.window + 1
    assert desk.circuits.state("a") == "closed"
    back = next(i for i in range(400, 900, 2) if went[i] == "a")
    assert back <= 400 + 2 * desk.policy.circuit.window
    assert [went[i] for i in range(650, 900, 2)].count("a") == 125


# ------------------------------------------------------------------------------------------------------- the domains


def test_a_backup_of_the_same_domain_is_not_the_first_to_be_asked() -> None:
    """Trap 20: of two equal backups, runs go to the one that does not share the fate of what failed."""
    nodes = [
        Node("a", provides=("v",), domains=("east",)),
        Node("b1", provides=("v",), units=1.1, domains=("east",)),
        Node("b2", provides=("v",), units=1.2, domains=("east",)),
        Node("c", provides=("v",), units=1.3, domains=("west",)),
    ]
    desk = Desk(Graph(tuple(nodes), (Goal("g", ("v",)),)))
    desk.saw("a", *["external"] * 5, every=0.1)
    desk.saw("b1", "external", every=0.1)
    desk.wait(0.6)
    view = desk.start("run")
    usable = {name: weight for name, weight in view.weights if name not in dict(view.vetoes)}
    assert min(usable, key=lambda name: usable[name]) == "c"
