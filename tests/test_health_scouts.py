"""Scouts: where nothing of a group works one run at a time tries it, and nobody is held off for anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.graph import Goal, Graph, Node
from orchestrator.health.scouts import ALONE
from orchestrator.policy import Circuit
from tests.boards import Desk

WHY = "nothing that provides v works, and another run is trying it"
NODES = tuple(Node(name, provides=("v",), effect="read") for name in "abcd")
FOUR = Graph((*NODES, Node("alone", provides=("w",))), (Goal("g", ("v",)), Goal("less", ("w",))))
PATIENCE = ALONE * Circuit().cooldown


def dark() -> Desk:
    """Return a desk at which four substitutes have all failed; half of them are open, and just so."""
    desk = Desk(FOUR)
    for name in "abcd":
        desk.saw(name, *["external"] * 5)
    return desk


def reach(desk: Desk, run_id: str) -> set[str]:
    """Return the providers of `v` that a run may use, be it as its last chance."""
    view = desk.shown[run_id][-1]
    barred = dict(view.vetoes)
    return {name for name in "abcd" if name not in barred or name in view.open}


def test_one_run_at_a_time_tries_what_is_dark() -> None:
    """The first may try all of it, open circuits as its last chance; the second is told why it may not, at once."""
    desk = dark()
    desk.start("one", ("a",))
    assert reach(desk, "one") == {"a", "b", "c", "d"}
    view = desk.start("two", ("alone",))
    assert reach(desk, "two") == set()
    assert dict(view.vetoes)["c"] == dict(view.vetoes)["d"] == WHY
    assert "alone" not in dict(view.vetoes)


def test_the_next_run_tries_once_the_first_is_over_or_does_not_want_to() -> None:
    """A run that ends, or whose route goes elsewhere, lets the next one try at once."""
    desk = dark()
    desk.start("one", ("alone",))
    desk.start("two", ("a",))
    assert reach(desk, "two") == {"a", "b", "c", "d"}
    desk.board.release("two")
    desk.start("three", ("a",))
    assert reach(desk, "three") == {"a", "b", "c", "d"}


def test_a_call_that_hangs_holds_nobody_off_for_long() -> None:
    """After two cooldowns of a circuit another run may try beside it."""
    desk = dark()
    desk.start("hangs", ("a",))
    desk.wait(PATIENCE * 0.9)
    assert desk.start("early").id != ""
    assert not {"c", "d"} & reach(desk, "early")
    desk.wait(PATIENCE * 0.2)
    desk.start("late", ("c",))
    assert {"c", "d"} <= reach(desk, "late")


def test_a_success_ends_it() -> None:
    """As soon as one call works nobody is held off, neither new runs nor those that were."""
    desk = dark()
    desk.start("one", ("c",))
    desk.start("two", ("alone",))
    desk.saw("c", "ok", run_id="one")
    desk.wait(1)
    assert {"c", "d"} <= reach(desk, "two")
    desk.start("three")
    assert {"c", "d"} <= reach(desk, "three")


def test_one_dead_node_makes_nothing_dark() -> None:
    """However many runs at once meet it: what was not tried, or works, is open to all."""
    desk = Desk(FOUR)
    desk.saw("a", *["external"] * 200)
    for number in range(20):
        desk.start(f"run {number}", ("b",))
        assert {"b", "c", "d"} <= reach(desk, f"run {number}")


EVENTS = st.lists(
    st.tuples(st.sampled_from(["start", "end", "leave", "fail", "wait"]), st.integers(0, 5), st.sampled_from("abcd")),
    max_size=60,
)


@given(EVENTS)
def test_whoever_is_alone_may_always_try(events: list[tuple[str, int, str]]) -> None:
    """Contract 2: a run is held off only while another one, begun within the patience, still wants the group."""
    desk, since = dark(), dict[str, float]()
    for what, number, node in events:
        run = f"run {number}"
        if what == "start" and run not in since:
            desk.start(run, ("a",))
            held_off = WHY in dict(desk.shown[run][-1].vetoes).values()
            fresh = [other for other, at in since.items() if desk.now < at + PATIENCE]
            assert not held_off or fresh
            assert held_off or not [other for other in fresh if desk.board._scouts._trying["v"][0] == other]
            if not held_off:
                since[run] = desk.now
            else:
                desk.board.release(run)
        elif what == "end":
            desk.board.release(run)
            since.pop(run, None)
        elif what == "leave" and run in since:
            desk.board.settle(run, ("alone",))
            del since[run]
        elif what == "fail":
            desk.saw(node, "external")
        else:
            desk.wait(1.0)
