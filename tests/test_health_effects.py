"""Attention and effects: the highest score is looked at first, and masks nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health import Signal
from orchestrator.health.attention import FAILURE, RISK, Attention, winner
from orchestrator.health.effects import combine, factors
from orchestrator.weight import View
from tests.boards import Desk, Says

SIGNALS = st.lists(
    st.builds(
        Signal,
        st.sampled_from(["circuit", "risk", "intent"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0.1, 0.5, 0.9, 0.95, 0.99]),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["none", "factor", "veto", "gate"]),
        st.sampled_from([1.0, 1.5, 7.0]),
        st.booleans(),
    ),
    max_size=12,
)
BASE = View("declared", (), vetoes=(("c", "declared down"),), gates=(("b", "always"),))


@given(SIGNALS, st.randoms(use_true_random=False))
def test_no_veto_and_no_gate_is_ever_masked(signals: list[Signal], order: object) -> None:
    """Whatever the scores and the order, vetoes and gates are unions, and open holds only where every veto is open."""
    effects = combine(signals, BASE)
    vetoes = [signal for signal in signals if signal.effect == "veto"]
    assert set(effects.vetoes) == {signal.node for signal in vetoes} | {"c"}
    assert set(effects.gates) == {signal.node for signal in signals if signal.effect == "gate"} | {"b"}
    passable = {name for name in effects.vetoes if name != "c"}
    assert set(effects.open) == {
        name for name in passable if all(signal.open for signal in vetoes if signal.node == name)
    }
    shuffled = list(signals)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # random.Random, which may not be named here
    assert combine(shuffled, BASE) == effects
    assert factors(shuffled) == factors(signals)
    assert winner(shuffled) == winner(signals)


@given(SIGNALS)
def test_the_highest_score_takes_attention(signals: list[Signal]) -> None:
    """Of equal scores the monitor that comes first by name, then the node."""
    won = winner(signals)
    rest = [signal for signal in signals if signal is not won]
    assert all((-won.score, won.monitor, won.node) <= (-each.score, each.monitor, each.node) for each in rest if won)


def test_attention_is_remembered_as_it_changes() -> None:
    """A change of attention is noted once, with its time; the same signal in other words is no change."""
    attention = Attention()
    attention.compete([Signal("risk", "pay", RISK, "15000")], 1.0)
    attention.compete([Signal("risk", "pay", RISK, "16000")], 2.0)
    attention.compete([Signal("circuit", "mail", FAILURE, "open"), Signal("risk", "pay", RISK, "16000")], 3.0)
    attention.compete([], 4.0)
    assert [(each.at, each.signal and each.signal.monitor) for each in attention.past] == [
        (1.0, "risk"),
        (3.0, "circuit"),
        (4.0, None),
    ]


def test_a_broken_tool_does_not_hide_a_doubtful_payment() -> None:
    """A tool failure of 0.99 takes attention, and the gate of 0.95 is in every view all the same.

    In the published router only the winner has an effect: a refund of 15,000 went through while a tool was down.
    """
    desk = Desk(monitors=[Says(Signal("risk", "alone", RISK, "a refund of 15,000", "gate"))])
    desk.check()
    desk.saw("a", *["external"] * 5)
    view = desk.start("run")
    assert desk.board.attention is not None
    assert (desk.board.attention.monitor, desk.board.attention.score) == ("circuit", FAILURE)
    assert view.gates == (("alone", "a refund of 15,000"),)
    assert [name for name, _ in view.vetoes] == ["a"]
    assert view.open == ("a",)
    assert [each.signal.monitor for each in desk.board.attended if each.signal] == ["risk", "circuit"]
