"""Backups in explanations: what takes the place of each step of a route if it fails, alone or with its domain."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from orchestrator.events import Rerouted
from orchestrator.graph import INPUT, Graph
from orchestrator.planner import Planner, Situation, explain
from orchestrator.planner.backups import Backup, Detour, backups
from orchestrator.policy import Objective
from orchestrator.weight import declared_view
from tests.planning import planner_situation
from tests.running import ByHand, graph, node, of
from tests.strategies import Case, cases

slow_to_draw = settings(suppress_health_check=list(HealthCheck))

SHOP = graph(
    node("crm", provides="order"),
    node("visa", "order", "paid", units=2.0, domains=("west",)),
    node("amex", "order", "paid", units=3.0, domains=("west",)),
    node("bank", "order", "paid", units=9.0),
    node("mail", "paid", "told", domains=("west",)),
    node("sms", "paid", "told", units=4.0),
    goals="g: told",
)


def of_route(some: Graph) -> dict[str, Backup]:
    """Return the backups of the cheapest route of a graph, from its start."""
    view = declared_view(some, Objective())
    held = dict.fromkeys(some.run_inputs, (INPUT,))
    return dict(explain(Planner(some), view, "g", Situation(held=held)).backups)


def test_a_step_is_backed_up_from_the_work_done_by_then() -> None:
    """What has finished before the step costs nothing more, and a step that nobody stands in for has no backup."""
    found = of_route(SHOP)
    assert list(found) == ["crm", "visa", "mail"]
    assert found["crm"] == Backup(None, None)
    assert found["visa"].node == Detour(("visa",), ("amex", "mail"), 4.0)
    assert found["mail"].node == Detour(("mail",), ("sms",), 4.0)


def test_a_backup_keeps_clear_of_the_whole_domain() -> None:
    """If what a step shares its fate with goes too, the second backup is the one that still works."""
    found = of_route(SHOP)
    assert found["visa"].domain == Detour(("visa", "amex", "mail"), ("bank", "sms"), 13.0)
    # `visa` has finished by then: only what is still to be called can be lost.
    assert found["mail"].domain == Detour(("mail", "amex"), ("sms",), 4.0)


def test_a_finished_effect_counts_in_what_follows() -> None:
    """A payment that stands is not made again by somebody else: after it only the notice has another way."""
    shop = graph(
        node("pay", provides="paid", effect="once"),
        node("bank", provides="paid", effect="once", units=9.0),
        node("mail", "paid", "told"),
        node("sms", "paid", "told", units=4.0),
        goals="g: told",
    )
    found = of_route(shop)
    assert found["pay"].node == Detour(("pay",), ("bank", "mail"), 10.0)
    assert found["mail"].node == Detour(("mail",), ("sms",), 4.0)


@pytest.mark.parametrize(("failing", "before"), [("visa", ["crm"]), ("mail", ["crm", "visa"])])
def test_a_run_takes_the_backup_that_is_told(failing: str, before: list[str]) -> None:
    """What the explanation says follows a failure is what a run goes on with."""
    run = ByHand(SHOP)
    run.succeed(*before)
    run.fail(failing)
    backup = of_route(SHOP)[failing].node
    assert backup is not None
    (rerouted,) = of(run, Rerouted)
    assert (rerouted.after, rerouted.weight_after / 1e6) == (backup.route, backup.weight)


@slow_to_draw
@given(cases(max_nodes=8))
def test_a_backup_never_uses_what_it_is_to_replace(case: Case) -> None:
    """On any graph each step has its two backups, neither of which names a node that they do without."""
    planner = Planner(case.graph)
    situation = planner_situation(case.graph, case.situation, case.goal, case.limits)
    route = planner.plan(case.view, case.goal.name, situation)
    found = backups(planner, case.view, route, situation)
    assert tuple(found) == route.nodes
    for name, backup in found.items():
        for detour in (backup.node, backup.domain):
            if detour is not None:
                assert name in detour.without
                assert not set(detour.without) & set(detour.route)
