"""A test's world: scripts that are strict both ways, fakes, faults, and real functions in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import FaultPlan, NotApplicable, Orchestrator, RunResult, SpecError, tool
from orchestrator.errors import InputError
from orchestrator.testing import UnexpectedCallError, UnusedStepError, World

REFUND = Path(__file__).resolve().parent.parent / "examples" / "refund" / "refund.yaml"

OUTPUT = {"type": "object", "required": ["id"]}


def slow_over_limit(order: dict[str, Any]) -> str | None:
    """Ask a person about dear orders."""
    return "too much" if order["cents"] > 1000 else None


def shop(**policy: Any) -> Orchestrator:
    """Return a shop that refunds: two ways to pay, of which the first can be verified and undone."""

    @tool(provides="order", effect="read", timeout="2s", retry={"backoff": "5s", "max_backoff": "60s"})
    async def crm(order_id: str) -> dict[str, Any]:
        await anyio.sleep(1)
        return {"id": order_id, "cents": 900}

    def find(order: dict[str, Any]) -> None:
        raise AssertionError("nothing of a scripted node is really called")

    @tool(
        provides="refund",
        effect="once",
        verify=find,
        undo=find,
        approve=slow_over_limit,
        output=OUTPUT,
        timeout="30s",
        units=1,
    )
    async def stripe(order: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("really called")

    @tool(provides="refund", effect="once", units=2, timeout="30s")
    async def wire(order: dict[str, Any]) -> dict[str, Any]:
        return {"id": "wire"}

    @tool(provides="notice", effect="idempotent", units=1, latency="500ms")
    async def email(refund: dict[str, Any]) -> dict[str, Any]:
        return {"told": refund["id"]}

    def whole(refund: dict[str, Any], notice: dict[str, Any]) -> bool:
        return bool(notice["told"] == refund["id"])

    goals = [
        {"name": "told", "values": ["refund", "notice"], "check": whole},
        {"name": "refunded", "values": ["refund"]},
    ]
    return Orchestrator(tools=[crm, stripe, wire, email], goals=goals, policy=policy)


def run(world: World) -> RunResult:
    """Run the shop."""
    return world.run(order_id="12")


# -------------------------------------------------------------------------------------------------------------- scripts


def test_steps_are_played_in_order_and_waiting_takes_no_time() -> None:
    """A look-up that fails, hangs and at last answers late: half a minute of retries in no time."""
    with World(shop(retry={"attempts": 3})) as world:
        crm = world.tool("crm").raises(ConnectionError("down")).hangs().returns({"cents": 1}, after="1500ms")
        world.tool("stripe").returns({"id": 7}, after=20)
        result = run(world)
    assert result.outcome == "met"
    assert [(a.node, a.attempt, a.error) for a in result.attempts][:3] == [
        ("crm", 1, "connection"),
        ("crm", 2, "timeout"),
        ("crm", 3, None),
    ]
    assert result.values == {"refund": {"id": 7}, "notice": {"told": 7}}
    assert crm.called == [{"order_id": "12"}] * 3
    # At least the late answers and the timeout; the jitter of the back-offs comes on top.
    assert 1.5 + 2 + 20 < world.clock.now < 40
    assert result.seconds == pytest.approx(world.clock.now)


def test_every_run_of_a_test_is_the_same() -> None:
    """The seed is the world's, so that jitter and all chance repeat; another seed waits otherwise."""

    def seconds(seed: int) -> float:
        with World(shop(), seed=seed) as world:
            world.tool("crm").raises(ConnectionError).returns({"cents": 1})
            world.tool("stripe").returns({"id": 7})
            return run(world).seconds

    assert seconds(0) == seconds(0) != seconds(1)


def test_nodes_without_a_script_keep_their_function() -> None:
    """Only what is scripted is replaced; the real functions run in virtual time, and what they are given is kept."""
    with World(shop()) as world:
        world.tool("stripe").returns({"id": 7})
        result = run(world)
        assert result.outcome == "met"
        assert world.tool("crm").called == [{"order_id": "12"}]
        assert world.tool("email").called == [{"refund": {"id": 7}}]
        assert world.tool("wire").called == []
    assert world.clock.now == 1


def test_the_original_stays_as_it_is() -> None:
    """An orchestrator that was handed over is not changed by the world: its own runs call its own functions."""
    orchestrator = shop()
    with World(orchestrator) as world:
        world.tool("stripe").raises(ConnectionError)
        run(world)
    result = orchestrator.run_sync(order_id="12", down=["crm"], order={"cents": 1})
    assert (result.attempts[0].node, result.attempts[0].error) == ("stripe", "AssertionError")


def test_a_scripted_result_is_held_against_the_output_contract() -> None:
    """A result that the graph would refuse is refused from a script too."""
    with World(shop()) as world:
        world.tool("stripe").returns({"no": "id"})
        result = run(world)
    assert result.attempts[1].error == "invalid_output"
    assert result.route == ("crm", "wire", "email")


def test_a_lost_answer_is_found_again_by_verify() -> None:
    """The effect of a scripted call that loses its answer happened, and verify finds the value of the step."""
    with World(shop()) as world:
        world.tool("stripe").loses({"id": 7}, after="3s")
        result = run(world)
    assert result.attempts[1].settled == "done"
    assert result.values["refund"] == {"id": 7}


def test_a_call_that_hangs_did_not_happen() -> None:
    """A scripted call that hangs has no effect, and verify says so."""
    with World(shop()) as world:
        world.tool("stripe").hangs()
        result = run(world)
    assert result.attempts[1].settled == "not done"
    assert result.route == ("crm", "wire", "email")
    assert world.clock.now == 1 + 30


def test_undo_verify_gate_guard_and_check_can_be_scripted() -> None:
    """Each of a node's other calls has a script of its own, and so has a goal's check."""
    with World(shop(escalation={"demote": False})) as world:
        stripe = world.tool("stripe").hangs()
        stripe.gate.returns(None)
        stripe.verify.raises(ConnectionError, times=2).returns({"id": 8})
        stripe.undo.raises(ConnectionError).returns(None)
        world.check("told").returns("the notice is wrong")
        result = run(world)
    assert result.outcome == "failed"
    assert [(undone.node, undone.outcome) for undone in result.undone] == [("stripe", "undone")]
    assert len(stripe.verify.called) == 3
    assert stripe.undo.called == [{"order": {"id": "12", "cents": 900}}] * 2


def test_a_scripted_gate_and_guard_decide() -> None:
    """A gate that returns a reason makes the run wait for a person; a guard that says no sends it another way."""
    with World(shop()) as world:
        world.tool("stripe").gate.returns("ask me")
        assert [question.id for question in run(world).questions] == ["approve:stripe"]

    @tool(provides="pages", when=lambda question: True, units=1)
    def web(question: str) -> str:
        return "web"

    @tool(provides="pages", units=2)
    def wiki(question: str) -> str:
        return "wiki"

    with World(Orchestrator(tools=[web, wiki], goals={"found": ["pages"]})) as world:
        world.tool("web").guard.returns(False)
        assert world.run(question="why").route == ("wiki",)


def test_a_replacement_is_called_with_the_inputs() -> None:
    """A function of the test may stand in for a node, sync or async, as often as it is called."""
    seen = []

    async def pay(order: dict[str, Any]) -> dict[str, Any]:
        seen.append(order["id"])
        raise NotApplicable

    with World(shop()) as world:
        world.tool("stripe").calls(pay)
        world.tool("wire").calls(lambda order: {"id": order["cents"]}, after="1s")
        result = run(world)
    assert seen == ["12"]
    assert result.values["notice"] == {"told": 900}


def test_an_unexpected_call_ends_everything_and_tells_the_story() -> None:
    """A call without a step fails the test with node, attempt, inputs and script, and nothing is called after it."""
    world = World(shop())
    world.tool("stripe").raises(ConnectionRefusedError("down"))
    world.tool("wire").returns({"id": 1}, after="2s")
    world.tool("email").raises(ConnectionRefusedError("busy"))
    with pytest.raises(UnexpectedCallError) as caught:
        run(world)
    assert str(caught.value) == (
        "unexpected call of email (attempt 2), given refund={'id': 1}, at 3.035 s\n"
        "the script of email:\n"
        "  1. raises ConnectionRefusedError('busy'), used\n"
        "\n"
        "run-1\n"
        "       0 s  start       told; given order_id\n"
        "       0 s  route       crm > stripe > email\n"
        "       0 s  call        crm #1  (order_id from input)\n"
        "       1 s  answered    crm #1\n"
        "       1 s  call        gate of stripe\n"
        "       1 s  said        gate of stripe: yes\n"
        "       1 s  call        stripe #1  (order from crm)\n"
        "       1 s  failed      stripe #1  connection: down\n"
        "       1 s  out         stripe: connection\n"
        "       1 s  reroute     stripe > email -> wire > email: stripe connection  (answers stripe #1)\n"
        "       1 s  call        wire #1  (order from crm)\n"
        "       3 s  answered    wire #1\n"
        "       3 s  call        email #1  (refund from wire)\n"
        "       3 s  failed      email #1  connection: busy\n"
        "       3 s  retry       email at 3.035 s  (answers email #1)\n"
        "   3.035 s  call        email #2  (refund from wire)"
    )


def test_after_an_unexpected_call_nothing_is_really_called() -> None:
    """The run may still try this and that: it reaches neither real functions nor scripts."""
    called = []

    @tool(provides="pages", units=1)
    def web(question: str) -> str:
        return "web"

    @tool(provides="pages", units=2)
    def wiki(question: str) -> str:
        called.append(question)
        return "wiki"

    world = World(Orchestrator(tools=[web, wiki], goals={"found": ["pages"]}))
    world.tool("web").never()
    with pytest.raises(UnexpectedCallError, match="web is not to be called"):
        world.run(question="why")
    assert called == []
    assert world.clock.now == 0


def test_an_unused_step_is_an_error_at_the_end() -> None:
    """What a script expected and nothing called for is named, with the story of what happened instead."""

    def test() -> None:
        with World(shop()) as world:
            world.tool("stripe").returns({"id": 7}).returns({"id": 8}, times=2)
            world.tool("wire").raises(ConnectionError("down"), after="2s")
            world.tool("email").returns({"told": 7}, times="any")
            run(world)

    with pytest.raises(UnusedStepError) as caught:
        test()
    told = str(caught.value)
    assert told.startswith(
        "2 unused steps\n"
        "  stripe: step 2, returns {'id': 8}, used 0 of 2 times\n"
        "  wire: step 1, raises ConnectionError('down') after 2s, not used\n"
        "\n"
        "run-1\n"
    )
    assert "met told; crm > stripe > email" in told


def test_an_error_in_the_with_block_is_not_hidden_by_unused_steps() -> None:
    """The first thing that went wrong is the one that is told."""

    def test() -> None:
        with World(shop()) as world:
            world.tool("stripe").hangs()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda world: world.tool("strip"), "there is no node 'strip'; did you mean 'stripe'?"),
        (lambda world: world.check("told!"), "there is no goal 'told!'; did you mean 'told'?"),
        (lambda world: world.check("refunded"), "goal 'refunded' declares no check that could be scripted"),
        (lambda world: world.tool("stripe").returns(1, times=0), "stands for 1 call or more"),
        (lambda world: world.tool("stripe").returns(1, times="any").hangs(), "would never come to 'hangs'"),
        (lambda world: world.tool("stripe").returns(1, after="soon"), "write a duration such as"),
        (lambda world: world.tool("stripe").returns(1, after=-1), "0 s or later"),
        (lambda world: world.tool("stripe").raises("down"), "can raise exceptions only, not 'down'"),
        (lambda world: world.tool("stripe").raises(KeyboardInterrupt), "can raise exceptions only"),
        (lambda world: World().run(), "this world has no graph"),
        (lambda world: World(shop(), policy="fast"), "an orchestrator has its policy already"),
        (lambda world: world.load(shop(), unscripted="mock"), "unscripted calls are real, fake or refuse, not 'mock'"),
    ],
)
def test_mistakes_of_a_test_are_explained(write: Any, message: str) -> None:
    """A script that can only be a slip is refused when it is written."""
    with pytest.raises((InputError, ValueError, TypeError)) as caught:
        write(World(shop()))
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------------------- fakes and refusals


def test_fakes_answer_after_their_declared_latency() -> None:
    """Asked for, nodes without a script are fakes with their declared figures; guards, gates and checks pass."""
    with World(REFUND, unscripted="fake") as world:
        world.tool("cardpay").returns({"id": 7, "cents": 1})
        result = world.run(order_id="12-1")
    assert result.outcome == "met"
    assert result.values == {"refund": {"id": 7, "cents": 1}, "notice": {"fake": "email"}}
    assert world.clock.now == pytest.approx(0.005 + 0.15)


def test_calls_without_a_script_can_be_refused() -> None:
    """A test that wants nothing real to be called says so."""
    world = World(shop(), unscripted="refuse")
    world.tool("crm").returns({"cents": 1})
    with pytest.raises(UnexpectedCallError, match=r"unexpected call of stripe \(attempt 1\), which has no script"):
        run(world)


def test_what_is_not_really_called_is_not_bound(tmp_path: Path) -> None:
    """A graph whose functions are not here can be tested with fakes and scripts: nothing of them is imported."""
    (tmp_path / "graph.yaml").write_text(
        "version: 1\n"
        "imports: {allow: [elsewhere]}\n"
        "tools:\n"
        "  web:  {python: 'elsewhere.tools:web', needs: [question], provides: pages}\n"
        "  read: {python: 'elsewhere.tools:read', needs: [pages], provides: answer}\n"
        "goals: [{name: answered, values: [answer]}]\n"
    )
    with World("graph.yaml", unscripted="fake", folders=(tmp_path,)) as world:
        world.tool("read").returns("yes")
        assert world.run(question="why").values == {"answer": "yes"}


# --------------------------------------------------------------------------------------------------------------- faults


def test_faults_come_before_scripts(tmp_path: Path) -> None:
    """A fault plan works in the world as in a run, from a map or a file, on the virtual clock."""
    file = tmp_path / "faults.yaml"
    file.write_text("nodes: {crm: [{hang: 90s}, ok], stripe: unknown}\n")
    with World(shop()).faults(file) as world:
        world.tool("stripe").returns({"id": 7})
        result = run(world)
    assert [attempt.outcome for attempt in result.attempts[:3]] == ["failed", "succeeded", "unknown"]
    assert result.values["refund"] == {"id": 7}
    with World(shop()).faults(FaultPlan.from_text("nodes: {stripe: down, crm: {slow: 1.5x}}")) as world:
        world.tool("stripe").never()
        result = run(world)
    assert result.route == ("crm", "wire", "email")
    assert world.clock.now == 1.5


def test_faults_that_do_not_fit_are_refused() -> None:
    """A fault plan with an unknown node is an error of the test, with a hint."""
    with pytest.raises(SpecError, match="there is no node 'strip'"):
        run(World(shop()).faults({"strip": "down"}))
    with pytest.raises(SpecError, match="there is no outcome 'dwn'"):
        World(shop()).faults({"stripe": "dwn"})


# ------------------------------------------------------------------------------------------------------ code of users


def test_code_that_holds_an_orchestrator_runs_in_the_world() -> None:
    """An application's own coroutine, with several runs at once and waits of its own, is called in virtual time."""

    async def refund_all(orchestrator: Orchestrator, orders: list[str]) -> list[str]:
        await anyio.sleep(60)
        outcomes: list[str] = []

        async def one(order: str) -> None:
            outcomes.append((await orchestrator.run(order_id=order)).outcome)

        async with anyio.create_task_group() as group:
            for order in orders:
                group.start_soon(one, order)
        return outcomes

    with World(shop()) as world:
        world.tool("stripe").returns({"id": 7}, after="10s", times=2)
        assert world.call(refund_all, world.orchestrator, ["1", "2"]) == ["met", "met"]
        world.clock.advance(3600)
        world.tool("stripe").returns({"id": 8})
        assert run(world).outcome == "met"
    assert world.clock.now == 60 + 11 + 3600 + 1
    assert list(world.logs) == ["run-1", "run-2", "run-3"]


def test_an_unexpected_call_is_told_although_the_code_failed_by_it() -> None:
    """The error of the application's code is a consequence; it is kept as the cause."""

    async def refund(orchestrator: Orchestrator) -> Any:
        return (await orchestrator.run(order_id="1")).values["refund"]

    world = World(shop(), unscripted="refuse")
    with pytest.raises(UnexpectedCallError) as caught:
        world.call(refund, world.orchestrator)
    assert isinstance(caught.value.__cause__, KeyError)
