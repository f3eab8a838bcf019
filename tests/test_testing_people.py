"""Models and people of a test's world: their answers reach real runs, in virtual time, and are strict both ways."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import Orchestrator, tool
from orchestrator.drivers.answers import Answer
from orchestrator.escalation import DecisionModel, Verdict
from orchestrator.events import Escalated, ModelAnswered, ModelAsked, Option
from orchestrator.result import Question, RunResult
from orchestrator.testing import ScriptedModel, ScriptedPeople, UnexpectedCallError, UnusedStepError, World

YES = ("yes", "no", "edit")


def shop(**policy: Any) -> Orchestrator:
    """Return a shop whose wire needs a person's yes and whose notice can only be sent by sms."""

    @tool(provides="order", effect="read")
    async def crm(order_id: str) -> dict[str, Any]:
        await anyio.sleep(1)
        return {"id": order_id, "cents": 900}

    @tool(provides="refund", effect="once", approve="always", units=1)
    async def wire(order: dict[str, Any]) -> dict[str, Any]:
        return {"by": "wire", "cents": order["cents"]}

    @tool(provides="refund", effect="once", units=2)
    async def voucher(order: dict[str, Any]) -> dict[str, Any]:
        return {"by": "voucher", "cents": order["cents"]}

    @tool(provides="notice", effect="idempotent", retry={"attempts": 1})
    async def sms(refund: dict[str, Any]) -> str:
        return f"{refund['cents']} by {refund['by']}"

    return Orchestrator(
        tools=[crm, wire, voucher, sms],
        goals={"told": ["refund", "notice"], "refunded": ["refund"], "seen": ["order"]},
        policy=policy,
        models={"judge": {"model": "judge-1", "base_url": "http://127.0.0.1:9/v1"}},
    )


def asking_model(**escalation: Any) -> Orchestrator:
    """Return a shop without gates in the way, whose model decides."""
    return shop(escalation={"by": "model", "model": "judge", **escalation})


def run(world: World) -> RunResult:
    """Run the shop."""
    return world.run(order_id="12")


def lost_sms(world: World) -> None:
    """Let the notice fail for good, after a wire that somebody has approved."""
    world.people.answer("approve:wire", "yes")
    world.tool("sms").raises(ConnectionRefusedError("down"), times="any")


# --------------------------------------------------------------------------------------------------------------- people


@pytest.mark.parametrize(
    ("answer", "values", "notice"),
    [("yes", {}, "900 by wire"), ("no", {}, "900 by voucher"), ("edit", {"order": {"cents": 5}}, "5 by wire")],
)
def test_people_answer_a_real_run(answer: str, values: dict[str, Any], notice: str) -> None:
    """Yes, no and edit have the effect that they have in production; they take as long as the test says."""
    with World(shop()) as world:
        world.people.answer("approve:wire", answer, values=values, by="kim", after="2h")
        result = run(world)
    assert (result.outcome, result.values["notice"]) == ("met", notice)
    assert world.clock.now == 1 + 7200
    [question] = world.people.questions
    assert (question.id, question.inputs) == ("approve:wire", {"order": {"id": "12", "cents": 900}})


def test_a_deadline_of_people_passes_in_virtual_time() -> None:
    """Who answers too late, or never, is not waited for: the call is refused and the run goes another way."""
    for late in (True, False):
        with World(shop(people={"deadline": "24h"})) as world:
            if late:
                world.people.answer("approve:wire", "yes", after="25h")
            else:
                world.people.ignore("approve:wire")
            assert run(world).route == ("crm", "voucher", "sms")
        assert world.clock.now == 1 + 86400
        assert "question    approve:wire, until 86401 s: every call of it needs" in world.story()
        assert "out         wire: refused: nobody answered in time" in world.story()


def test_a_question_that_is_ignored_leaves_the_run_waiting() -> None:
    """Without a deadline there is nothing to wait for in this process."""
    with World(shop()) as world:
        world.people.ignore("approve:wire")
        result = run(world)
    assert (result.outcome, [question.id for question in result.questions]) == ("waiting", ["approve:wire"])
    assert world.clock.now == 1


def two_gates(**policy: Any) -> Orchestrator:
    """Return a graph that asks for two calls at once."""

    @tool(provides="a", effect="once", approve="always")
    def first(order_id: str) -> int:
        return 1

    @tool(provides="b", effect="once", approve="always")
    def second(order_id: str) -> int:
        return 2

    return Orchestrator(tools=[first, second], goals={"both": ["a", "b"]}, policy=policy)


def test_each_question_is_answered_in_its_own_time() -> None:
    """One who is asked while another one thinks does not hold the other up, and does not begin anew."""
    with World(two_gates()) as world:
        world.people.answer("approve:first", "yes", after="1h").answer("approve:second", "yes", after="3h")
        assert run(world).outcome == "met"
    lines = [line.split() for line in world.story().splitlines()]
    assert [line[0] for line in lines if line[2:3] == ["person"]] == ["3600", "10800"]
    assert [question.id for question in world.people.questions] == ["approve:first", "approve:second"]


def test_runs_side_by_side_are_answered_each_for_itself() -> None:
    """Two runs ask the same question; each takes a step of its own."""

    async def both(orchestrator: Orchestrator) -> list[RunResult]:
        results: list[RunResult] = []

        async def one(order: str) -> None:
            results.append(await orchestrator.run(order_id=order))

        async with anyio.create_task_group() as group:
            group.start_soon(one, "1")
            group.start_soon(one, "2")
        return results

    with World(shop()) as world:
        world.people.answer("approve:wire", "yes", after="1h").answer("approve:wire", "no", after="2h")
        results = world.call(both, world.orchestrator)
    assert [result.values["refund"]["by"] for result in results] == ["wire", "voucher"]
    assert world.clock.now == 1 + 7200


def test_an_unexpected_question_tells_the_story_and_ends_all_calls() -> None:
    """A question without an answer fails the test, with what was written down."""
    world = World(shop())
    world.people.answer("approve:voucher", "yes")
    with pytest.raises(UnexpectedCallError) as caught:
        run(world)
    told = str(caught.value)
    assert told.startswith(
        "unexpected question to people: approve:wire: every call of it needs a person's yes\n"
        "answers were written down to approve:voucher\n\nrun-1\n"
    )
    assert told.endswith(
        "       1 s  question    approve:wire: every call of it needs a person's yes"
        "  (order from crm)  [yes, no, edit]\n"
        "       1 s  waits       for a person"
    )


def test_an_answer_that_is_none_is_a_mistake_of_the_test() -> None:
    """What the question does not take is refused with what it takes."""
    world = World(shop())
    world.people.answer("approve:wire", "perhaps")
    with pytest.raises(UnexpectedCallError, match="'perhaps' is no answer to approve:wire; it takes yes, no, edit"):
        run(world)


def test_an_answer_that_nobody_asks_for_is_an_unused_step() -> None:
    """As every step."""
    world = World(shop())
    world.people.answer("approve:wire", "yes").answer("settle:wire", "no", after="3s")
    run(world)
    with pytest.raises(UnusedStepError, match="settle:wire: step 1, answered 'no' after 3s, not used"):
        world.finish()


async def test_scripted_people_can_be_used_without_a_world() -> None:
    """They are what an orchestrator takes as ask."""
    people = ScriptedPeople().answer("approve:wire", "no", by="kim", reason="too much")
    assert await people.ask((Question("approve:wire", "approve", "wire", "dear", options=YES),)) == (
        Answer("approve:wire", "no", {}, "kim", "too much"),
    )
    people.finish()
    assert await people.ask((Question("approve:email", "approve", "email", "always", options=YES),)) == ()
    with pytest.raises(UnexpectedCallError, match="unexpected question to people: approve:email: always"):
        people.finish()


def test_fakes_ask_nobody() -> None:
    """Where nothing is real, a run that needs people is left waiting, whoever the orchestrator would ask."""

    asked: list[str] = []

    async def ask(questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        asked.extend(question.id for question in questions)
        return ()

    @tool(provides="paid", effect="once", approve="always")
    def pay(order_id: str) -> int:
        return 1

    orchestrator = Orchestrator(tools=[pay], goals={"done": ["paid"]}, ask=ask)
    with World(orchestrator, unscripted="fake") as world:
        assert run(world).outcome == "waiting"
    assert asked == []
    with World(orchestrator) as world:
        assert run(world).outcome == "waiting"
    assert asked == ["approve:pay"]


# --------------------------------------------------------------------------------------------------------------- models


def test_a_model_decides_a_real_run() -> None:
    """Its choice, its words and its price are in the run; it takes as long as the test says."""
    with World(asking_model()) as world:
        lost_sms(world)
        world.model.chooses("demote:seen", reason="nobody reads it", usd=0.25, tokens=40, after="3s")
        result = run(world)
    assert (result.outcome, result.goal, result.model_calls, result.usd) == ("demoted", "seen", 1, 0.25)
    assert world.story().splitlines()[-5:-2] == [
        "       1 s  model       asked about told: unreachable"
        "  [demote:refunded, demote:seen, retry:sms, ask, give_up]",
        "       4 s  model       chose demote:seen: nobody reads it",
        "       4 s  escalation  demote seen, decided by model: told is unreachable  (answers sms #2)",
    ]


def test_a_model_may_supply_a_value() -> None:
    """The content of its answer is the value."""
    with World(asking_model(supply=["notice"])) as world:
        lost_sms(world)
        world.model.chooses("supply:notice", content="by letter")
        result = run(world)
    assert (result.outcome, result.values["notice"]) == ("met", "by letter")


@pytest.mark.parametrize("failing", ["hangs", "fails", "raises", "lies"])
def test_the_policy_decides_where_a_model_does_not(failing: str) -> None:
    """A model that never answers, fails, breaks or lies costs time, and nothing else."""
    with World(asking_model(timeout="10s")) as world:
        lost_sms(world)
        match failing:
            case "hangs":
                world.model.hangs()
            case "fails":
                world.model.fails("http_5xx")
            case "raises":
                world.model.raises(OSError("broken"))
            case "lies":
                world.model.chooses("demote:nowhere")
        result = run(world)
    [decided] = [record.event for record in result.records if isinstance(record.event, Escalated)]
    assert (result.goal, decided.by) == ("refunded", "policy")
    assert world.clock.now == (12 if failing == "hangs" else 1)


def test_an_unexpected_question_to_the_model_tells_the_story() -> None:
    """The story ends with the question; what the policy then decided is not the graph's doing."""
    world = World(asking_model())
    lost_sms(world)
    assert world.model.questions == []
    with pytest.raises(UnexpectedCallError) as caught:
        run(world)
    told = str(caught.value)
    assert told.startswith("unexpected question to the model about told: unreachable; options: demote:refunded,")
    assert "\nthe model is not to be called\n" in told
    assert told.splitlines()[-1].startswith("       1 s  model       asked about told")


def test_a_model_without_a_script_is_as_real_as_nodes_are() -> None:
    """Beside fakes it has no answer; where calls without a script are refused, so is the question to it."""

    def failing(world: World) -> World:
        world.tool("crm").returns({"id": "12", "cents": 900})
        world.tool("wire").returns({"by": "wire"})
        lost_sms(world)
        return world

    with World(asking_model(), unscripted="fake") as world:
        result = run(failing(world))
    [answer] = [record.event for record in result.records if isinstance(record.event, ModelAnswered)]
    assert (answer.error, result.goal) == ("simulated", "refunded")
    with pytest.raises(UnexpectedCallError, match="unexpected question to the model about told"):
        run(failing(World(asking_model(), unscripted="refuse")))


def asked() -> ModelAsked:
    """Return a question to a model."""
    options = (Option("demote:refunded", "demote", ("refunded",)), Option("give_up", "give_up"))
    return ModelAsked(1, "scripted", "told", "unreachable", options, (), (), ())


async def decide(model: DecisionModel) -> Verdict:
    """Ask a model."""
    return await model.decide(asked(), lambda value, provider: "", timeout=10, usd_left=None)


async def test_a_scripted_model_can_be_used_without_a_world() -> None:
    """It is what an orchestrator takes as model: a choice, a failure and an error of its own, as written down."""
    model = ScriptedModel().chooses("demote:refunded", reason="enough", usd=0.1).fails("timeout").raises(OSError("no"))
    assert await decide(model) == Verdict("demote:refunded", None, "enough", None, 1, 0.1)
    assert await decide(model) == Verdict(None, error="timeout", calls=1)
    with pytest.raises(OSError, match="no"):
        await decide(model)
    assert model.questions == [asked()] * 3
    model.finish()
    await model.aclose()


async def test_a_scripted_model_is_strict() -> None:
    """A question too many and an answer too many are errors, with what was expected."""
    model = ScriptedModel().hangs()
    with anyio.move_on_after(0):
        await decide(model)
    with pytest.raises(UnexpectedCallError, match="options: demote:refunded, give_up"):
        await decide(model)
    with pytest.raises(UnexpectedCallError, match=r"the script of the model:\n  1. hangs, used"):
        model.finish()
    with pytest.raises(UnusedStepError, match="step 1, chooses 'give_up' after 2s, not used"):
        ScriptedModel().chooses("give_up", after="2s").finish()
