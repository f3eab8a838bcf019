"""What a failed attempt leads to before anybody gives up: another try, a way round, or the last chance."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from orchestrator.events import Absorbed, LastChance, NodeExcluded, Rerouted, Retried, Warned
from orchestrator.run import Start
from tests.running import ByHand, attempts, began, graph, node, of, simulated, started, view

TWO = graph(node("near"), node("far", provides="near", units=5.0), goals="there: near")
"""Two providers of one value; the cheap one comes first."""


def change(name: str, **fields):
    """Return the graph of two providers with one of them changed."""
    return replace(TWO, nodes=tuple(replace(n, **fields) if n.name == name else n for n in TWO.nodes))


# ---------------------------------------------------------------------------------------------------------------- retry


def test_a_transient_failure_is_tried_again_after_a_wait() -> None:
    """A node that only reads is called again after a wait below the ceiling, and the run goes on as if nothing were."""
    result = simulated(TWO, "near: [raise, ok]")
    assert (result.outcome, result.route, result.retries, result.reroutes) == ("met", ("near",), 1, 0)
    assert [a.answer for a in result.attempts] == ["retry-1", None]
    assert 0.0 < began(result, "near", 2) < 0.2


def test_the_wait_is_jittered_below_a_ceiling_that_doubles_up_to_a_limit() -> None:
    """Waits lie below 0.2, 0.4, 0.8 and then 1 s; some exceed the ceiling before, so that the ceiling really grows."""
    patient = change("near", attempts=5, backoff=0.2, max_backoff=1.0)
    ceilings = [0.2, 0.4, 0.8, 1.0]
    longest = [0.0] * 4
    for seed in range(40):
        result = simulated(patient, "near: [raise, raise, raise, raise, ok]", seed=seed)
        starts = [began(result, "near", number) for number in range(1, 6)]
        waits = [later - earlier for earlier, later in pairwise(starts)]
        assert all(0.0 <= wait < ceiling for wait, ceiling in zip(waits, ceilings, strict=True))
        longest = [max(pair) for pair in zip(longest, waits, strict=True)]
    assert all(reached > 0.8 * ceiling for reached, ceiling in zip(longest, ceilings, strict=True))


def test_the_wait_depends_on_the_seed_and_on_the_node() -> None:
    """Runs with other seeds, and other nodes of one run, do not wait in step; the same seed waits the same."""
    both = graph(node("a"), node("b"), goals="g: a b")

    def waits(seed: int) -> tuple[float, float]:
        result = simulated(both, "a: [raise, ok], b: [raise, ok]", seed=seed)
        return began(result, "a", 2), began(result, "b", 2)

    assert waits(1) == waits(1)
    drawn = [wait for seed in range(10) for wait in waits(seed)]
    assert len(set(drawn)) == len(drawn)


def test_a_server_that_says_when_to_come_back_is_believed() -> None:
    """After a rate limit the node is not called before the time that it named."""
    result = simulated(TWO, "near: [{rate_limited: {retry_after: 3s}}, ok]")
    assert (result.route, result.retries) == (("near",), 1)
    assert began(result, "near", 2) == 3.0


def test_a_server_that_wants_too_long_a_wait_is_gone_round() -> None:
    """A named wait beyond the longest allowed one is not sat out: the run reroutes at once."""
    result = simulated(TWO, "near: [{rate_limited: {retry_after: 30s}}, ok]")
    assert (result.route, result.retries, result.reroutes) == (("far",), 0, 1)
    assert result.seconds == 0.0


def test_a_permanent_failure_is_not_repeated() -> None:
    """What will fail again is called once; the way round is taken at once."""
    result = simulated(TWO, "near: {raise: permanent}")
    assert started(result) == ["near", "far"]
    assert [a.answer for a in result.attempts] == ["reroute-1", None]


@pytest.mark.parametrize(("effect", "calls"), [("read", 2), ("idempotent", 2), ("once", 1), (None, 1)])
def test_only_what_is_safe_to_repeat_is_repeated(effect: str | None, calls: int) -> None:
    """Nodes that read or are idempotent get their second attempt; `once` and unmarked ones never do."""
    result = simulated(change("near", effect=effect, attempts=2), "near: down")
    assert started(result) == ["near"] * calls + ["far"]
    assert (result.outcome, result.retries, result.reroutes) == ("met", calls - 1, 1)


def test_an_unmarked_node_is_warned_about_once() -> None:
    """The first failure of an unmarked node says what to declare, once per node; declared ones cause no warning."""
    unmarked = graph(
        node("a", effect=None),
        node("b", provides="a", effect=None, units=2.0),
        node("c", "", "a", units=9.0),
        goals="g: a",
    )
    result = simulated(unmarked, "a: down, b: down")
    warned = [event for event in of(result, Warned) if event.node is not None]
    assert [event.node for event in warned] == ["a", "b"]
    assert "effect:" in warned[0].message
    assert of(simulated(TWO, "near: down"), Warned) == []


def test_a_retry_that_comes_after_the_deadline_is_not_made() -> None:
    """Where the wait would outlast the run's time, the node is given up for another one that still fits."""
    result = simulated(TWO, "near: [{rate_limited: {retry_after: 3s}}, ok]", {"limits": {"seconds": "2s"}})
    assert (result.outcome, result.route, result.retries) == ("met", ("far",), 0)


def test_every_attempt_of_a_node_carries_the_same_key() -> None:
    """A server can tell a repeated call by its idempotency key; other nodes have other keys."""
    run = ByHand(graph(node("a", effect="idempotent"), node("b"), goals="g: a b"))
    run.fail("a", transient=True)
    run.wake(run.wakes[0])
    keys = [(command.node, command.attempt, command.key) for command in run.issued(Start)]
    assert [(name, number) for name, number, _ in keys] == [("a", 1), ("b", 1), ("a", 2)]
    assert keys[0][2] == keys[2][2] != keys[1][2]


def test_each_node_has_attempts_of_its_own() -> None:
    """Two nodes that each fail once both get their second attempt: failures are not counted over the whole run."""
    chain = graph(*(node(f"n{i}", f"n{i - 1}" if i else "") for i in range(6)), goals="g: n5")
    result = simulated(chain, ", ".join(f"n{i}: [raise, ok]" for i in range(6)))
    assert (result.outcome, result.retries, result.escalations) == ("met", 6, 0)


# -------------------------------------------------------------------------------------------------------------- reroute


def test_a_reroute_goes_on_from_the_work_already_done() -> None:
    """Three finished nodes are not called again when the fourth fails; the new route starts from their values."""
    chain = graph(
        node("a"), node("b", "a"), node("c", "b"), node("d", "c"), node("d2", "c", "d", units=9.0), goals="g: d"
    )
    result = simulated(chain, "d: {raise: permanent}")
    assert started(result) == ["a", "b", "c", "d", "d2"]
    [reroute] = of(result, Rerouted)
    assert (reroute.trigger, reroute.node, reroute.before, reroute.after) == ("failed", "d", ("d",), ("d2",))
    assert (reroute.weight_after, reroute.answers) == (9_000_000, (("d", 1),))


def test_independent_branches_start_together() -> None:
    """All nodes whose needs are met are in flight at once, and the run takes as long as its longest branch."""
    wide = graph(
        *(node(f"n{i}", seconds=float(i)) for i in range(1, 6)), node("join", "n1 n2 n3 n4 n5"), goals="g: join"
    )
    run = ByHand(wide)
    assert run.in_flight == ["n1", "n2", "n3", "n4", "n5"]
    result = simulated(wide)
    assert {began(result, f"n{i}") for i in range(1, 6)} == {0.0}
    assert (began(result, "join"), result.seconds) == (5.0, 5.0)


def test_a_node_starts_as_soon_as_its_own_needs_are_met() -> None:
    """A branch does not wait for a slower sibling before its next step."""
    run = ByHand(graph(node("slow"), node("a"), node("b", "a"), node("join", "slow b"), goals="g: join"))
    run.succeed("a")
    assert run.in_flight == ["slow", "b"]


def test_a_failing_branch_does_not_disturb_its_sibling() -> None:
    """The sibling in flight is neither cancelled nor started again while the other branch is gone round."""
    forked = graph(node("a"), node("b"), node("b2", "", "b", units=3.0), node("join", "a b"), goals="g: join")
    run = ByHand(forked)
    run.fail("b")
    assert (run.in_flight, run.cancelled) == (["a", "b2"], [])
    run.succeed("a", "b2", "join")
    assert (run.outcome, started(run)) == ("met", ["a", "b", "b2", "join"])


def test_a_failure_of_what_the_route_no_longer_needs_is_absorbed() -> None:
    """An idempotent node that a reroute dropped finishes; its failure is answered, and nothing is planned again."""
    run = ByHand(dropping("idempotent"))
    run.fail("b")
    assert (run.in_flight, run.cancelled) == (["a", "c"], [])
    run.fail("a", transient=True)
    assert [event.answers for event in of(run, Absorbed)] == [(("a", 1),)]
    run.succeed("c")
    assert (run.outcome, run.result().reroutes, run.result().retries) == ("met", 1, 0)


def dropping(effect: str):
    """Return a graph in which `a` and `b` start together, and the failure of `b` makes `a` needless."""
    return graph(
        node("a", effect=effect), node("b"), node("j", "a b", "v"), node("c", "", "v", units=4.0), goals="g: v"
    )


def test_a_read_in_flight_that_a_reroute_drops_is_cancelled() -> None:
    """Nobody waits for it, its end changes nothing, and it is no failure."""
    run = ByHand(dropping("read"))
    run.fail("b")
    assert run.cancelled == ["a"]
    run.end("a", "cancelled")
    run.succeed("c")
    result = run.result()
    assert (run.outcome, result.route, result.reroutes) == ("met", ("c",), 1)
    assert [(a.node, a.outcome, a.answer) for a in attempts(result, "a")] == [("a", "cancelled", None)]


def test_an_idempotent_node_in_flight_that_a_reroute_drops_is_absorbed() -> None:
    """It is left to finish, and its value may still serve; the run does not wait for it to go on."""
    run = ByHand(dropping("idempotent"))
    run.fail("b")
    assert run.cancelled == []
    run.succeed("c")
    assert not run.machine.finished
    run.succeed("a")
    assert (run.outcome, run.result().route) == ("met", ("c",))


def test_a_node_that_fell_to_a_cancelled_read_is_still_free_to_be_called() -> None:
    """A read cancelled by a reroute was not at fault: when the new way fails too, it is called again."""
    run = ByHand(graph(*dropping("read").nodes, node("d", "a", "v", units=7.0), goals="g: v"))
    run.fail("b")
    run.end("a", "cancelled")
    run.fail("c")
    assert run.in_flight == ["a"]
    run.succeed("a", "d")
    assert (run.outcome, run.result().route) == ("met", ("a", "d"))


def test_a_retry_of_a_node_that_was_in_flight_at_a_reroute_is_made() -> None:
    """A node in flight is no part of the new route's own nodes; when it fails then, it is repeated all the same."""
    run = ByHand(graph(node("a"), node("b"), node("b2", "", "b", units=3.0), node("join", "a b"), goals="g: join"))
    run.fail("b")
    run.fail("a", transient=True)
    [retried] = of(run, Retried)
    run.wake(retried.until)
    assert "a" in run.in_flight
    run.succeed("a", "b2", "join")
    assert run.outcome == "met"


def test_a_view_that_vetoes_the_rest_of_the_route_reroutes() -> None:
    """A veto of a node yet to come leads to another route with the trigger `view`; no attempt failed."""
    run = ByHand(graph(node("a"), node("b", "a", "v"), node("c", "a", "v", units=3.0), goals="g: v"))
    run.see(view(run.machine.graph, b="circuit open"))
    [reroute] = of(run, Rerouted)
    assert (reroute.trigger, reroute.answers, reroute.after) == ("view", (), ("c",))
    run.succeed("a", "c")
    assert (run.outcome, started(run)) == ("met", ["a", "c"])


def test_a_view_that_changes_nothing_for_the_route_changes_nothing() -> None:
    """A veto of a node that the route does not use is no reroute."""
    run = ByHand(graph(node("a"), node("b", "a"), node("x"), goals="g: b; h: x"))
    run.see(view(run.machine.graph, x="circuit open"))
    assert of(run, Rerouted) == []
    run.succeed("a", "b")
    assert (run.outcome, run.result().reroutes) == ("met", 0)


def test_a_view_that_changes_nothing_is_no_reroute_while_a_retry_waits() -> None:
    """A node that waits for its second attempt is part of what is left, also if it was in flight at a reroute."""
    run = ByHand(graph(node("a"), node("b"), node("b2", "", "b", units=3.0), node("j", "a b"), goals="g: j"))
    run.fail("b")
    run.fail("a", transient=True)
    run.see(view(run.machine.graph))
    assert [event.trigger for event in of(run, Rerouted)] == ["failed"]


# ---------------------------------------------------------------------------------------------------------- last chance


def test_the_last_chance_comes_before_a_demotion() -> None:
    """When no route is left, what failed for transient reasons gets one attempt more, and the asked goal may be met."""
    lower = graph(node("a"), node("spare"), goals="g: a; less: spare")
    result = simulated(lower, "a: [down, down, ok]")
    assert (result.outcome, result.last_chances, result.escalations) == ("met", 1, 0)
    assert [a.answer for a in result.attempts] == ["retry-1", "last-chance-1", None]


def test_the_last_chance_is_taken_once_per_run() -> None:
    """After it, a node that fails again is not called a fourth time; the run demotes."""
    lower = graph(node("a"), node("spare"), goals="g: a; less: spare")
    result = simulated(lower, "a: down")
    assert (result.outcome, result.goal, result.last_chances) == ("demoted", "less", 1)
    assert started(result) == ["a", "a", "a", "spare"]
    assert [a.answer for a in attempts(result, "a")] == ["retry-1", "last-chance-1", "escalation-1"]


def test_the_last_chance_is_over_for_nodes_that_fail_after_it() -> None:
    """Once taken for one node, it is not taken again for another that fails for good later on."""
    run = ByHand(graph(node("a", attempts=1), node("b", "a", attempts=1), node("spare"), goals="g: b; less: spare"))
    run.fail("a", transient=True)
    run.succeed("a")
    run.fail("b", transient=True)
    assert len(of(run, LastChance)) == 1
    assert run.in_flight == ["spare"]


def test_the_last_chance_lifts_every_node_that_deserves_it_at_once() -> None:
    """All transiently excluded nodes are lifted together, and the cheapest way among them is tried first."""
    three = graph(*(node(f"n{i}", "", "v", units=float(i)) for i in (1, 2, 3)), goals="g: v")
    result = simulated(three, "n1: down, n2: [down, down, ok], n3: down")
    [chance] = of(result, LastChance)
    assert chance.nodes == ("n1", "n2", "n3")
    assert (result.outcome, result.route) == ("met", ("n2",))
    assert started(result)[-2:] == ["n1", "n2"]


@pytest.mark.parametrize("effect", ["once", None])
def test_the_last_chance_repeats_nothing_that_may_not_be_repeated(effect: str | None) -> None:
    """`once` and unmarked nodes have no last chance, however transient their failure."""
    alone = graph(node("a", effect=effect), node("spare"), goals="g: a; less: spare")
    result = simulated(alone, "a: [down, ok]")
    assert (result.outcome, result.last_chances, started(result)) == ("demoted", 0, ["a", "spare"])


def test_the_last_chance_repeats_no_permanent_failure() -> None:
    """What always fails is not lifted."""
    result = simulated(graph(node("a"), node("spare"), goals="g: a; less: spare"), "a: {raise: permanent}")
    assert (result.last_chances, started(result)) == (0, ["a", "spare"])


def test_a_spent_retry_budget_takes_no_last_chance_away() -> None:
    """The budget is for retries beside other ways; before anything is given up, what failed is tried once more."""
    two = graph(node("a", attempts=2), node("spare"), goals="g: a; less: spare")
    run = ByHand(two)
    run.see(replace(view(two, id="storm"), spent=("a",)))
    run.fail("a", transient=True)
    assert len(of(run, LastChance)) == 1
    assert [command.node for command in run.issued(Start)] == ["a", "a"]
    assert not run.wakes


def test_an_exclusion_outlives_every_change_of_the_view() -> None:
    """A node excluded in this run is not called again, however healthy the world says it is."""
    run = ByHand(graph(node("a", effect=None), node("b", "", "a", units=3.0), goals="g: a"))
    run.fail("a", transient=True)
    assert [event.node for event in of(run, NodeExcluded)] == ["a"]
    for number in range(3):
        run.see(view(run.machine.graph, id=f"healthy-{number}"))
    run.succeed("b")
    assert [command.node for command in run.issued(Start)] == ["a", "b"]
