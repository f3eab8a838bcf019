"""Health over time: in every scenario the rank that is claimed, on short draws; and that the measures measure."""

from __future__ import annotations

from dataclasses import astuple, replace
from functools import cache
from statistics import fmean

import pytest

from orchestrator.events import Failure
from tests.bench import outages
from tests.health_measures import MEASURES, SCALES, Measured, compare, dominated, losses, measured
from tests.health_routers import NAMES, ROUTERS, Gateway, Retrying, StaticList
from tests.health_world import CALM, NODES, SCENARIOS, Answer, Requested, Scenario, Spell, Stage, World, scenario
from tests.outage_figures import LENGTHS, arrivals_per_second, length, outage_seconds

SEEDS = (11,)
"""Neither those that figures were chosen on, nor those of the report."""

SHORT = 0.1
"""What is long in a scenario is a tenth as long here."""

FAILING = ("hard outage", "flapping")
GOOD = Measured(0, 10, 2, 5, 5, 0, 0, 0, 1)
SLOW = replace(GOOD, detect=65)


@cache
def found(name: str) -> dict[str, Measured]:
    """Play a scenario once for all tests; the machine without health, the slowest, only where it is asked for."""
    routers = [router for router in ROUTERS if router != "no health" or name in FAILING]
    return compare([name], SEEDS, SHORT, routers)[name]


@pytest.mark.parametrize("name", SCENARIOS)
def test_nobody_dominates_ours(name: str) -> None:
    """No other router is at least as good in every measure and better in one."""
    assert dominated(found(name), "ours") == []


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "all down"])
def test_nothing_is_given_up_while_a_node_works(name: str) -> None:
    """With health, a request that some sound node could answer is never given up."""
    assert found(name)["ours"].needless == 0


@pytest.mark.parametrize("name", FAILING)
def test_health_spares_calls(name: str) -> None:
    """Where nodes fail, the same run machine without health wastes at least three times as many calls."""
    assert found(name)["no health"].wasted > 3 * found(name)["ours"].wasted


# --------------------------------------------------------------------------------------------------- the world itself


def test_the_world_is_the_same_for_everybody() -> None:
    """Two routers meet the same requests at the same moments, and a call has the same luck whoever makes it."""
    world = scenario("brown-out", 3, SHORT)
    assert world.arrivals() == tuple(sorted(world.arrivals()))
    one, other = World(world), World(world)
    assert [one.answer("north-1", n, 1, 200.0) for n in range(50)] == [
        other.answer("north-1", n, 1, 200.0) for n in range(50)
    ]


def test_seeds_draw_other_worlds() -> None:
    """Another seed has other outages and other arrivals."""
    one, other = scenario("hard outage", 1), scenario("hard outage", 2)
    assert one.spells != other.spells
    assert one.arrivals()[:5] != other.arrivals()[:5]


def test_outages_are_as_long_as_published() -> None:
    """The median of what is drawn is the published 77 minutes, the ninetieth percentile near the published 323."""
    assert outage_seconds(0.5, 1, 1e7) / 60 == pytest.approx(77, abs=2)
    assert outage_seconds(0.9, 1, 1e7) / 60 == pytest.approx(323, rel=0.15)
    assert all(299.9 <= outage_seconds(n / 100, 300, 3600) <= 3600.1 for n in range(100))


def test_traffic_is_as_published() -> None:
    """The trace holds its 19,366 requests in 3,502 s, 16 in the busiest second; its answers are 1 long on average."""
    counts = arrivals_per_second()
    assert (len(counts), sum(counts), max(counts)) == (3502, 19_366, 16)
    assert fmean(length(n / 1000) for n in range(1000)) == pytest.approx(1, abs=0.1)
    assert length(0.0) == LENGTHS[0] / 211.0


def test_correlation_is_as_published() -> None:
    """Of 300 outages about 60 % take the other node of the provider with them, about 6 % one of another provider."""
    drawn = [{spell.node for spell in scenario("correlated domain", seed).spells} for seed in range(300)]
    assert fmean("north-2" in nodes for nodes in drawn) == pytest.approx(0.60, abs=0.08)
    assert fmean("south" in nodes for nodes in drawn) == pytest.approx(0.06, abs=0.04)


def test_a_call_that_an_outage_meets_is_cut() -> None:
    """A call that is in flight when its node goes down fails at that moment."""
    world = World(Scenario("cut", (Spell("south", 100.0, 200.0, "down"),), 300.0, 1.0, 1))
    answers = [world.answer("south", n, 1, 99.9) for n in range(50)]
    cut = [answer.seconds for answer in answers if answer.failure and answer.failure.type == "connection"]
    assert cut == pytest.approx([0.1] * len(cut))
    assert len(cut) > 40


def test_a_limited_node_says_when_it_takes_more() -> None:
    """Above its calls per minute a node refuses, and its Retry-After ends with the minute."""
    world = World(Scenario("quota", (Spell("west", 0.0, 300.0, "limited", 3),), 300.0, 1.0, 1))
    refused = [world.answer("west", n, 1, 70.0).failure for n in range(5)][3:]
    assert [failure and (failure.type, failure.retry_after) for failure in refused] == [("rate_limited", 50.0)] * 2
    assert world.answer("west", 9, 1, 121.0).failure is None


@pytest.mark.parametrize("router", ROUTERS)
def test_every_request_and_call_is_accounted_for(router: str) -> None:
    """Every request of the trace is asked once and ends, and no call is left in flight for ever."""
    world = scenario("recovery", 5, SHORT)
    stage = Stage(World(world))
    stage.play(ROUTERS[router](stage))
    assert [request.at for request in stage.requests] == pytest.approx(list(world.arrivals()))
    assert all(request.ended is not None for request in stage.requests)
    assert sum(len(request.nodes) for request in stage.requests) == len(stage.calls)
    assert {call.node for call in stage.calls} <= {node.name for node in NODES}


def test_everybody_likes_the_nodes_in_the_same_order() -> None:
    """On a calm day every router calls the first choice alone; only a board shares requests among near equals."""
    calm = Scenario("calm", (), 60.0, 0.2, 1)
    for name, make in ROUTERS.items():
        stage = Stage(World(calm))
        stage.play(make(stage))
        first = {request.nodes[0] for request in stage.requests}
        assert first == {NAMES[0]} or (name == "ours" and NAMES[-1] not in first)


# ------------------------------------------------------------------------------------------------------- the gateway


def gateway() -> tuple[Stage, Gateway]:
    """Return a gateway on a stage where all is well."""
    stage = Stage(World(Scenario("calm", (), 60.0, 0.2, 1)))
    return stage, Gateway(stage)


def test_the_gateway_counts_by_the_calendar_minute() -> None:
    """More than half of a minute's calls must fail, a single call says nothing, and a new minute begins anew."""
    stage, router = gateway()
    failed = Answer(0.1, replace(_failure(), type="http_5xx"))
    for at, answer, refused in (
        (59.0, failed, []),
        (61.0, failed, []),
        (62.0, failed, ["north-1"]),
        (68.0, Answer(1.0), []),
        (69.0, Answer(1.0), []),
        (70.0, failed, ["north-1"]),
    ):
        stage.now = at
        stage.requests.append(_requested())
        router.tried[len(stage.requests) - 1] = list(NAMES)
        router.answered(len(stage.requests) - 1, "north-1", 1, answer, at)
        assert router.refused(at + 0.1) == refused, at
    assert router.refused(75.1) == []


def test_the_gateway_leaves_a_limited_node_out_at_once() -> None:
    """One 429 is enough, and it lasts for 5 s whatever the Retry-After says."""
    stage, router = gateway()
    stage.requests.append(_requested())
    router.tried[0] = list(NAMES)
    router.answered(0, "north-1", 1, Answer(0.1, replace(_failure(), type="rate_limited", retry_after=50.0)), 10.0)
    assert router.refused(14.9) == ["north-1"]
    assert router.refused(15.1) == []


def test_lists_and_retries_are_what_they_say() -> None:
    """Where everything is down, a list calls each node once and retrying calls the first three times."""
    spells = tuple(Spell(name, 0.0, 600.0, "down") for name in NAMES)
    for make, called in ((StaticList, list(NAMES)), (Retrying, [NAMES[0]] * 3)):
        stage = Stage(World(Scenario("dark", spells, 60.0, 0.1, 1)))
        stage.play(make(stage))
        assert all(request.nodes == called and not request.met for request in stage.requests)


# ------------------------------------------------------------------------------------------------------- the measures


def test_what_a_router_that_learns_nothing_is_told() -> None:
    """A static list never leaves a node that is down, so that it detects nothing and has nothing to recover from."""
    one = found("hard outage")["static list"]
    outage = [spell.end - spell.start for seed in SEEDS for spell in scenario("hard outage", seed, SHORT).spells]
    assert one.detect == pytest.approx(fmean(outage), abs=1)
    assert (one.recover, one.false, one.needless) == (0, 0, 0)
    assert one.swing < 0.01


def test_a_healthy_node_that_is_refused_is_a_false_ejection() -> None:
    """Refusing a node counts where nothing was wrong with it, nor shortly before."""
    world = Scenario("one", (Spell("north-1", CALM, CALM + 100, "down"),), 3600.0, 0.01, 1)
    stage = Stage(World(world))
    stage.play(StaticList(stage))
    stage.refusals = [(CALM + 5, "north-1"), (CALM + 130, "north-1"), (CALM + 150, "north-1"), (10.0, "west")]
    assert measured(world, stage).false == 2


def test_dominance_and_loss() -> None:
    """Dominated is who is nowhere better and somewhere worse; a loss counts in scales, and no measure counts twice."""
    assert dominated({"a": SLOW, "b": GOOD}, "a") == ["b"]
    assert dominated({"a": SLOW, "b": GOOD}, "b") == []
    assert dominated({"a": SLOW, "b": replace(GOOD, wasted=50)}, "a") == []
    lost = losses({"a": SLOW, "b": replace(GOOD, wasted=1_000)})
    assert lost == {"a": pytest.approx(1 / len(MEASURES)), "b": pytest.approx(1 / len(MEASURES))}
    assert min(astuple(SCALES)) > 0


def test_seeds_of_tuning_and_reporting_differ() -> None:
    """No seed that figures were chosen on is reported or tested."""
    assert not {*outages.TUNED} & {*outages.REPORTED, *SEEDS}
    assert not {*outages.REPORTED} & {*SEEDS}


def test_the_page_says_where_ours_is_behind() -> None:
    """The section names the measures in which another is better, and who dominates."""
    worse = replace(GOOD, recover=65)
    rest = {router: replace(GOOD, wasted=2_000) for router in ROUTERS if router != "ours"}
    page = outages.section({"storm": {"ours": worse, **rest}})
    assert page.tables[0].rows[0][-1] == "recover 0.50"
    assert [bar.met for bar in page.bars] == [True, True]
    page = outages.section({"storm": {"ours": worse, **rest, "static list": GOOD}})
    assert [bar.met for bar in page.bars] == [False, False]
    assert "storm: by static list" in page.bars[0].measured


def _failure() -> Failure:
    return Failure("http_5xx", "503", transient=True)


def _requested() -> Requested:
    return Requested(0.0)
