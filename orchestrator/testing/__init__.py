"""Testing a graph: real runs on a virtual clock, with tools, models and people that a test decides about.

Nothing has to be imported in a test under pytest: the fixture `world` is there as soon as this package is installed::

    def test_a_lost_payment_is_found_again(world):
        world.load("refund.yaml")
        world.tool("crm").returns({"order": {"id": "12-1", "cents": 900}, "contact": "kim"})
        world.tool("cardpay").loses({"id": 7, "cents": 900})  # paid, but the answer never came
        world.tool("email").raises(ConnectionError("down"), times=2)
        world.tool("sms").returns({"id": 1, "refund": {"id": 7}}, after="3s")
        result = world.run(order_id="12-1")  # takes no time
        assert result.outcome == "met"
        assert result.route == ("crm", "cardpay", "sms")

A call that no step covers fails the test, and so does a step that nothing called for. What people and a model answer is
written down in the same way (`world.people`, `world.model`), and with a store (`world.store`) a run survives that its
process ends (`world.crash`, `world.resume`). `failure_matrix` tries every single and every pair of failures of a graph;
``pytest --orchestrator-matrix FILE`` does so without any code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.testing.clock import NothingCanHappenError, VirtualClock, VirtualLoop, outside
    from orchestrator.testing.crash import Crashed
    from orchestrator.testing.matrix import FailureMatrix, Row, failure_matrix
    from orchestrator.testing.people import ScriptedModel, ScriptedPeople
    from orchestrator.testing.scripts import NodeScript, Script, UnexpectedCallError, UnusedStepError
    from orchestrator.testing.stories import story
    from orchestrator.testing.world import World

__all__ = (
    "Crashed",
    "FailureMatrix",
    "NodeScript",
    "NothingCanHappenError",
    "Row",
    "Script",
    "ScriptedModel",
    "ScriptedPeople",
    "UnexpectedCallError",
    "UnusedStepError",
    "VirtualClock",
    "VirtualLoop",
    "World",
    "failure_matrix",
    "outside",
    "story",
)

_HOMES = {
    "Crashed": "crash",
    "FailureMatrix": "matrix",
    "NodeScript": "scripts",
    "NothingCanHappenError": "clock",
    "Row": "matrix",
    "Script": "scripts",
    "ScriptedModel": "people",
    "ScriptedPeople": "people",
    "UnexpectedCallError": "scripts",
    "UnusedStepError": "scripts",
    "VirtualClock": "clock",
    "VirtualLoop": "clock",
    "World": "world",
    "failure_matrix": "matrix",
    "outside": "clock",
    "story": "stories",
}
"""Where each public name lives: imported on first use, because pytest loads this package with its plug-in."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
