"""Set P: the nineteen scenarios of the paper, over the three examples with their real processes.

Bholani, "Graph-Based Self-Healing Tool Routing for Cost-Efficient LLM Agents" (arXiv 2603.01548), tables 1 to 4. The
paper prints per scenario what was injected, how many tools and how many models were called, and where its static
baseline dropped a step without a word. Its graphs are only drawn and its code is not public, so a row is rebuilt from
its condition, on the graph of the example that tells the same story; where our figures are others than the paper's,
the row says why, and only there.

Failures are the paper's: explicit and permanent, met when the tool is called. What really happened is read from the
ledgers of the providers, by an oracle that knows neither the graph nor the run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Orchestrator
from orchestrator.escalation import Verdict as Answer
from orchestrator.events import Escalated, ModelAsked
from orchestrator.faults import Fault, FaultPlan
from orchestrator.result import RunResult
from tests import examples
from tests.examples import EXAMPLES
from tests.model_endpoint import model_endpoint
from tests.running import of, started

# ------------------------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True)
class Scenario:
    """One row: what is injected, what comes of it here, and what the paper prints."""

    id: str
    down: tuple[str, ...]
    outcome: str
    goal: str | None
    tools: int
    """Calls of tools, the failed ones included."""
    reroutes: int
    models: int
    """Calls of a model for control, where a model decides."""
    published: tuple[int, int | None, int]
    """Tools, recoveries (None: not printed) and model calls of the published router."""
    difference: str

    @property
    def example(self) -> str:
        """The example whose graph it runs on."""
        return {"S": "refund", "T": "travel", "M": "moderation"}[self.id[0]]

    @property
    def ours(self) -> tuple[int, int | None, int]:
        """Our figures, in the order of the published ones and only those that are printed there."""
        return self.tools, None if self.published[1] is None else self.reroutes, self.models


def table(text: str) -> Iterator[Scenario]:
    """Read rows: id | down | outcome goal | tools, reroutes, models | the same as published | difference."""
    for row in text.strip().splitlines():
        identity, down, came, ours, theirs, difference = (cell.strip() for cell in row.split("|"))
        outcome, _, goal = came.partition(" ")
        tools, reroutes, models = (int(word) for word in ours.split())
        called, recovered, asked = theirs.split()
        published = (int(called), None if recovered == "-" else int(recovered), int(asked))
        yield Scenario(
            identity, tuple(down.split()), outcome, goal or None, tools, reroutes, models, published, difference
        )


SET_P = tuple(
    table(
        """
        S1 |                                      | met refunded_and_told   | 3 0 0 | 3 - 0 |
        S2 | cardpay                              | met refunded_and_told   | 4 1 0 | 4 - 0 |
        S3 | cardpay bankpay                      | demoted noted           | 4 1 1 | 4 - 1 |
        S4 |                                      | waiting                 | 1 0 0 | 3 - 1 | gate
        S5 | email                                | met refunded_and_told   | 4 1 0 | 4 - 0 |
        S6 | email sms                            | demoted refunded        | 4 1 1 | 4 - 2 | once
        S7 | cardpay email sms                    | demoted refunded        | 5 2 1 | 5 - 2 | once
        T1 |                                      | met booked              | 4 0 0 | 4 0 0 |
        T2 | skyways                              | met booked              | 5 1 0 | 5 1 0 |
        T3 | skyways grandhotel                   | met booked              | 6 2 0 | 5 2 0 | drawn
        T4 |                                      | waiting                 | 0 0 0 | 2 0 1 | gate
        T5 | grandhotel hostel citycar shuttle    | demoted flight_only     | 4 1 1 | 5 2 1 | join
        T6 | skyways grandhotel email             | met booked              | 7 3 0 | 6 2 0 | drawn
        M1 |                                      | met decided             | 6 0 0 | 2 - 0 | fan-out
        M2 | image_check                          | met decided             | 6 1 0 | 2 - 0 | fan-out
        M3 |                                      | waiting                 | 5 0 0 | 2 - 1 | fan-out
        M4 | image_check text_check history_check | demoted held_for_review | 6 3 0 | 2 - 0 | fan-out
        M5 | text_check toxicity_check spam_check | demoted held_for_review | 6 2 0 | 2 - 0 | fan-out
        M6 | image_check text_check toxicity_check history_check | demoted held_for_review | 6 3 0 | 2 - 0 | fan-out
        """
    )
)

DIFFERENCES = {
    "gate": "a gate stops the run before the call and asks a person: no model is called, and no tool behind the gate",
    "once": "the question is asked once: what is decided is a listed goal that is known to be within reach",
    "drawn": "each stage on the way and each provider found dead is one call; the paper's graph, which is only drawn, "
    "must have an edge that leaves a stage out",
    "join": "a car needs a hotel, so none is called when no hotel is left; the traveller is told of the flight",
    "fan-out": "all classifiers are called, where the published router walks a path through one of them",
}
"""Why a row's figures are others than the paper's."""

SILENT = ("S6", "S7", "T6")
"""Where the published static baseline ended as if all were well, with a step missing."""

by_id = pytest.mark.parametrize("scenario", SET_P, ids=lambda scenario: scenario.id)

INPUTS: Mapping[str, dict[str, Any]] = {
    "refund": {"order_id": "12-1"},
    "S4": {"order_id": "15-1"},
    "travel": {"trip_id": "T-1"},
    "T4": {"trip_id": "T-3"},
    "moderation": json.loads((EXAMPLES / "moderation" / "posts" / "1.json").read_text(encoding="utf-8")),
    "M3": json.loads((EXAMPLES / "moderation" / "posts" / "3.json").read_text(encoding="utf-8")),
}
"""What a run is given: that of its scenario, else that of its example."""


# ----------------------------------------------------------------------------------------------------------- the oracle

STEPS = {
    "refunded_and_told": {"paid", "told"},
    "refunded": {"paid"},
    "noted": {"noted"},
    "booked": {"flight", "hotel", "car", "told"},
    "flight_and_hotel": {"flight", "hotel", "told"},
    "flight_only": {"flight", "told"},
    "decided": {"toxicity", "decided"},
    "held_for_review": {"held"},
}
"""What must have been done in the world for a goal, in the words of the ledgers."""

ASKED = {"refund": "refunded_and_told", "travel": "booked", "moderation": "decided"}
CLASSIFIERS = frozenset({"image", "text", "toxicity", "spam", "history"})

Verdict = str


def judge(asked: str, outcome: str, reached: str | None, steps: Iterable[str]) -> Verdict:
    """Say what became of a task, from what was asked, what was said, and what was done.

    *complete*: everything that was asked was done. *explicit*: it was not, and the outcome says so truly. *silent*: a
    step is missing and nothing tells of it. *excess*: something was done that the outcome does not tell of.
    """
    done = set(steps) - CLASSIFIERS
    claimed = STEPS.get(reached or "", set())
    if not claimed <= set(steps):
        return "silent"
    if outcome in ("met", "demoted") and reached == "decided" and len(CLASSIFIERS & set(steps)) < 3:
        return "silent"
    if done - claimed:
        return "excess"
    if STEPS[asked] <= claimed:
        return "complete" if outcome == "met" else "excess"
    return "silent" if outcome == "met" else "explicit"


@pytest.mark.parametrize(
    ("outcome", "reached", "steps", "verdict"),
    [
        ("met", "booked", "flight hotel car told", "complete"),
        ("met", "booked", "flight hotel car", "silent"),
        ("met", "flight_only", "flight told", "silent"),
        ("demoted", "flight_only", "flight told", "explicit"),
        ("demoted", "flight_only", "flight", "silent"),
        ("demoted", "flight_only", "flight hotel told", "excess"),
        ("waiting", None, "", "explicit"),
        ("waiting", None, "flight", "excess"),
        ("failed", None, "", "explicit"),
    ],
)
def test_the_oracle_tells_a_dropped_step(outcome: str, reached: str | None, steps: str, verdict: str) -> None:
    """Whatever is missing or too much is seen from the ledgers alone, whatever the outcome claims."""
    assert judge("booked", outcome, reached, steps.split()) == verdict


def test_the_oracle_counts_the_classifiers() -> None:
    """A decision by two of five is no decision, though every step of the path was done."""
    assert judge("decided", "met", "decided", ["toxicity", "text", "decided"]) == "silent"
    assert judge("decided", "met", "decided", ["toxicity", "text", "spam", "decided"]) == "complete"


class World:
    """The three examples with all their processes, and what their ledgers say."""

    def __init__(self, places: Mapping[str, Any], folder: Path) -> None:
        self.places = places
        self.folder = folder

    def steps(self, example: str, run_id: str) -> set[str]:
        """Return what a run has done that stands, as the ledgers tell it."""
        place = self.places[example]
        if example == "moderation":
            return self._moderated(place, run_id)
        words = {
            "paid": ("cardpay", "bankpay"),
            "flight": ("skyways", "airjet"),
            "hotel": ("grandhotel", "hostel"),
            "car": ("citycar", "shuttle"),
            "told": ("email", "sms"),
        }
        done = set()
        for step, names in words.items():
            entries = [e for n in names if n in place.programs for e in place[n].ledger.entries()]
            standing = [e for e in entries if e["key"].startswith(f"{run_id}:") and e["state"] == "booked"]
            assert len(standing) <= 1, f"{step} twice: {standing}"
            done |= {step} if standing else set()
        if example == "refund":
            done |= {"noted"} if self._noted(place, run_id) else set()
        return done

    @staticmethod
    def _noted(place: Any, run_id: str) -> bool:
        with closing(sqlite3.connect(place.environ["SHOP_DB"])) as database:
            return bool(database.execute("SELECT 1 FROM tickets WHERE key LIKE ?", (f"{run_id}:%",)).fetchall())

    @staticmethod
    def _moderated(place: Any, run_id: str) -> set[str]:
        names = [name for name in place.programs if any(e["post"] == run_id for e in place[name].ledger.entries())]
        records = import_module("desk.records").decisions(Path(place.environ["DESK_DB"]))
        found = [record for record in records if record["post"] == run_id]
        assert len(found) <= 1, f"decided twice: {found}"
        for record in found:
            names += ["history"] if record["scores"]["history"] is not None else []
            names.append("held" if record["decision"] == "held" else "decided")
        return set(names)

    def file(self, example: str, *, more: str = "") -> Path:
        """Return the example's graph file, or a copy with *more* in it."""
        original = EXAMPLES / example / f"{example}.yaml"
        if not more:
            return original
        copy = self.folder / f"{example}.yaml"
        copy.write_text(original.read_text(encoding="utf-8") + more, encoding="utf-8")
        return copy


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Open shop, agency and desk, once for all scenarios."""
    with ExitStack() as stack:
        places = {}
        for example, package, name in (
            ("refund", "shop", "Shop"),
            ("travel", "agency", "Agency"),
            ("moderation", "desk", "Desk"),
        ):
            stack.enter_context(examples.at_home(example, package))
            places[example] = stack.enter_context(getattr(import_module(f"{package}.processes"), name)())
        yield World(places, tmp_path_factory.mktemp("set-p"))


async def play(
    world: World,
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
    *,
    variant: str = "policy",
    also_down: Iterable[str] = (),
    known: bool = False,
    more: str = "",
    answer: str | None = None,
    **options: Any,
) -> tuple[RunResult, Verdict]:
    """Play a row; return its result and what the oracle says of it.

    Args:
        world: Where it is played.
        scenario: The row.
        monkeypatch: Sets the environment of the row's example.
        variant: Keeps the ledgers' entries of several runs of one row apart.
        also_down: Tools that are down beside the row's own.
        known: Whether that is known before the run starts, or found out by calling them.
        more: Added to the example's graph file.
        answer: What a person says to every question.
        options: For the orchestrator.
    """
    for name, value in world.places[scenario.example].environ.items():
        monkeypatch.setenv(name, value)
    run_id = f"{scenario.id}-{variant}"
    inputs = dict(INPUTS.get(scenario.id, INPUTS[scenario.example]))
    if scenario.example == "moderation":
        inputs["post_id"] = run_id
    down = () if known else (*scenario.down, *also_down)
    async with Orchestrator.from_yaml(world.file(scenario.example, more=more), **options) as orchestrator:
        result = await orchestrator.run(
            inputs,
            run_id=run_id,
            down=(*scenario.down, *also_down) if known else (),
            faults=FaultPlan({name: (Fault("permanent"),) for name in down}),
        )
        while answer is not None and result.outcome == "waiting":
            result = await orchestrator.answer(run_id, result.questions[0].id, answer)
    steps = world.steps(scenario.example, run_id)
    return result, judge(ASKED[scenario.example], result.outcome, result.goal, steps)


# --------------------------------------------------------------------------------------------------------- row by row


@by_id
async def test_a_row_comes_out_as_it_says(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcome, goal, tool calls and reroutes are those of the row, and the ledgers bear the outcome out."""
    result, verdict = await play(world, scenario, monkeypatch)
    assert (result.outcome, result.goal) == (scenario.outcome, scenario.goal)
    assert (len(started(result)), result.reroutes) == (scenario.tools, scenario.reroutes)
    assert (result.retries, result.last_chances, result.undone) == (0, 0, ())
    assert verdict == ("complete" if result.outcome == "met" else "explicit")
    assert result.model_calls == 0


@by_id
async def test_every_failure_of_a_row_is_answered_once(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tool that is down is called at most once, and its failure has exactly one answer, of its own."""
    result, _ = await play(world, scenario, monkeypatch, variant="answers")
    failed = [attempt for attempt in result.attempts if attempt.outcome == "failed"]
    answers = [attempt.answer for attempt in failed]
    assert {attempt.node for attempt in failed} <= set(scenario.down)
    assert len({attempt.node for attempt in result.attempts}) == len(result.attempts)
    assert None not in answers
    assert len(set(answers)) == len(answers)
    demoted = scenario.outcome == "demoted"
    assert [event.decision for event in of(result, Escalated)] == ["demote"] * demoted


@by_id
async def test_what_is_known_before_the_start_costs_no_call(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tools are known to be down, none of them is called, nothing is rerouted, and the end is the same."""
    result, verdict = await play(world, scenario, monkeypatch, variant="known", known=True)
    assert (result.outcome, result.goal, result.reroutes) == (scenario.outcome, scenario.goal, 0)
    assert not set(started(result)) & set(scenario.down)
    assert verdict == ("complete" if result.outcome == "met" else "explicit")


# ----------------------------------------------------------------------------------------------- beside the published


def test_the_published_figures_are_copied_right() -> None:
    """The columns sum up to the totals that the paper prints: 66 tool calls, 9 model calls, 7 recoveries of trips."""
    assert len(SET_P) == 19
    assert sum(scenario.published[0] for scenario in SET_P) == 66
    assert sum(scenario.published[2] for scenario in SET_P) == 9
    assert sum(scenario.published[1] or 0 for scenario in SET_P) == 7


@by_id
def test_a_difference_is_stated_and_only_there(scenario: Scenario) -> None:
    """A row either has the published figures or says why not."""
    assert (scenario.ours == scenario.published) == (scenario.difference == "")
    assert scenario.difference == "" or scenario.difference in DIFFERENCES


def test_the_rows_that_can_be_rebuilt_exactly_are() -> None:
    """S1, S2, S3, S5, T1 and T2 have the published figures."""
    assert [scenario.id for scenario in SET_P if not scenario.difference] == ["S1", "S2", "S3", "S5", "T1", "T2"]


@by_id
def test_no_row_asks_a_model_more_often_than_the_published_router(scenario: Scenario) -> None:
    """A model is asked only where no route is left, and never more often than there."""
    assert scenario.models <= scenario.published[2]
    assert scenario.models == 0 or scenario.outcome == "demoted"


# ---------------------------------------------------------------------------------------------- where a model decides

MODEL = """
models: {{judge: {{model: stub, base_url: "{url}"}}}}
policy: {{escalation: {{by: model, model: judge}}}}
"""
"""Added to a graph: a model decides where no route is left. The moderation desk has a rule of its own for that."""


def deciding(scenario: Scenario, url: str = "http://127.0.0.1:9/v1") -> str:
    """Return what is added to the graph of a row."""
    return "" if scenario.example == "moderation" else MODEL.format(url=url)


def best(options: list[str]) -> str:
    """Choose the best lower goal: options come in the order of the goals."""
    return next(option for option in options if option.startswith("demote:"))


def again(options: list[str]) -> str:
    """Choose to try a tool once more wherever that is listed."""
    return next((option for option in options if option.startswith("retry:")), best(options))


class Counting:
    """A model in this process that chooses and counts."""

    name = "judge"

    def __init__(self) -> None:
        self.asked: list[ModelAsked] = []

    async def decide(
        self,
        question: ModelAsked,
        preview: Any,
        *,
        timeout: float,  # noqa: ASYNC109  # the name is that of the protocol
        usd_left: float | None,
    ) -> Answer:
        self.asked.append(question)
        return Answer(best([option.id for option in question.options]), calls=1)

    async def aclose(self) -> None:
        pass


@by_id
async def test_a_model_is_asked_as_often_as_the_row_says(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by the model itself: one question where no route is left, none elsewhere; the end is that of the row."""
    model = Counting()
    options: dict[str, Any] = {"more": deciding(scenario), "model": model}
    result, verdict = await play(world, scenario, monkeypatch, variant="model", **options)
    assert (len(model.asked), result.model_calls) == (scenario.models, scenario.models)
    assert (result.outcome, result.goal) == (scenario.outcome, scenario.goal)
    assert (len(started(result)), result.reroutes) == (scenario.tools, scenario.reroutes)
    assert verdict == ("complete" if result.outcome == "met" else "explicit")
    assert [event.by for event in of(result, Escalated)] == ["model"] * scenario.models + ["policy"] * (
        scenario.example == "moderation" and scenario.outcome == "demoted"
    )


@by_id
async def test_the_requests_that_are_really_made_are_counted(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by an OpenAI-compatible server: as many requests as the row says, and as the result reports."""
    with model_endpoint(best) as endpoint:
        more = deciding(scenario, endpoint.base_url)
        result, _ = await play(world, scenario, monkeypatch, variant="http", more=more)
    assert (len(endpoint.requests), result.model_calls) == (scenario.models, scenario.models)
    assert (result.outcome, result.goal) == (scenario.outcome, scenario.goal)


@pytest.mark.parametrize("scenario", [s for s in SET_P if s.models], ids=lambda scenario: scenario.id)
async def test_a_model_that_always_tries_again_is_asked_no_more_often_than_published(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second answer is the last: two questions at most, and the end is the row's, with nothing done twice."""
    with model_endpoint(again) as endpoint:
        more = deciding(scenario, endpoint.base_url)
        result, verdict = await play(world, scenario, monkeypatch, variant="again", more=more)
    assert result.model_calls == len(endpoint.requests) <= scenario.published[2]
    assert (result.outcome, result.goal, verdict) == (scenario.outcome, scenario.goal, "explicit")


async def test_a_rule_asks_no_model_what_it_knows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """M4 would be one question if a model decided there: the example's rule is what keeps it at the published none."""
    scenario = next(scenario for scenario in SET_P if scenario.id == "M4")
    model = Counting()
    more = 'models: {judge: {model: stub, base_url: "http://127.0.0.1:9/v1"}}\n'
    policy = {"escalation": {"by": "model", "model": "judge"}}
    result, _ = await play(world, scenario, monkeypatch, variant="asked", more=more, model=model, policy=policy)
    assert (len(model.asked), result.goal) == (1, "held_for_review")


# --------------------------------------------------------------------------------------- gates, fan-out, silent drops


@pytest.mark.parametrize(
    ("identity", "also_down"),
    [
        ("S4", ["bankpay"]),
        ("S4", ["email", "sms"]),
        ("T4", ["airjet"]),
        ("T4", ["grandhotel", "hostel", "citycar", "shuttle", "email"]),
        ("M3", ["image_check"]),
        ("M3", ["spam_check", "history_check"]),
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["found out", "known before"])
async def test_no_outage_masks_a_gate(
    world: World, identity: str, also_down: list[str], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where monitors compete by a maximum, an outage at 0.99 hides a risk at 0.95; here the risk stops the call."""
    scenario = next(scenario for scenario in SET_P if scenario.id == identity)
    variant = "-".join(["masked", str(known), *also_down])
    result, verdict = await play(world, scenario, monkeypatch, variant=variant, also_down=also_down, known=known)
    assert (result.outcome, verdict) == ("waiting", "explicit")
    assert [question.kind for question in result.questions] == ["approve"]
    assert not {"cardpay", "bankpay", "skyways", "airjet", "decide"} & set(started(result))


@pytest.mark.parametrize(
    ("identity", "answer", "end", "tools", "said"),
    [
        ("S4", "yes", ("met", "refunded_and_told"), 3, "complete"),
        ("S4", "no", ("demoted", "noted"), 2, "explicit"),
        ("T4", "yes", ("met", "booked"), 4, "complete"),
        ("T4", "no", ("failed", None), 0, "explicit"),
        ("M3", "yes", ("met", "decided"), 6, "complete"),
        ("M3", "no", ("demoted", "held_for_review"), 6, "explicit"),
    ],
)
async def test_a_person_lets_the_run_go_on_or_another_way(
    world: World,
    identity: str,
    answer: str,
    end: tuple[str, str | None],
    tools: int,
    said: Verdict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a yes the rest is done, once; after a no to all who could do it, the lower goal, or nothing at all."""
    scenario = next(scenario for scenario in SET_P if scenario.id == identity)
    variant = f"answered-{answer}"
    store = f"sqlite:///{world.folder / variant}.db"
    model = Counting()
    options: dict[str, Any] = {"variant": variant, "answer": answer, "store": store, "model": model}
    result, verdict = await play(world, scenario, monkeypatch, **options)
    assert ((result.outcome, result.goal), len(started(result)), verdict) == (end, tools, said)
    assert result.model_calls == len(model.asked) == 0


@pytest.mark.parametrize(
    ("budget", "called", "steps", "reason"),
    [
        (1.0, [], set(), "with it the run will have spent $2, and the budget is $1"),
        (
            4.0,
            ["skyways", "grandhotel"],
            {"flight", "hotel"},
            "with it the run will have spent $4.5, and the budget is $4",
        ),
    ],
)
async def test_a_budget_of_the_policy_is_a_gate_too(
    world: World,
    budget: float,
    called: list[str],
    steps: set[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T4 by declared prices: the call that would cross the budget waits, and what stands is kept while it does."""
    scenario = next(scenario for scenario in SET_P if scenario.id == "T1")
    variant = f"budget-{budget}"
    policy = {"approval": {"budget": budget}}
    result, _ = await play(world, scenario, monkeypatch, variant=variant, policy=policy)
    assert (result.outcome, started(result), result.undone) == ("waiting", called, ())
    assert [question.reason for question in result.questions] == [reason]
    assert world.steps("travel", f"T1-{variant}") == steps


@pytest.mark.parametrize("scenario", [s for s in SET_P if s.id[0] == "M"], ids=lambda scenario: scenario.id)
async def test_all_classifiers_really_run(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """All five are called before anything else is, and each one that is not down has answered, as its ledger says."""
    result, _ = await play(world, scenario, monkeypatch, variant="fan-out")
    called = started(result)
    assert set(called[:5]) == {f"{name}_check" for name in CLASSIFIERS}
    assert called[5:] == {"met": ["decide"], "waiting": [], "demoted": ["hold"]}[scenario.outcome]
    answered = {f"{name}_check" for name in world.steps("moderation", f"{scenario.id}-fan-out") & CLASSIFIERS}
    left = {f"{name}_check" for name in CLASSIFIERS} - set(scenario.down)
    # Nothing is recorded while a person is asked, so nobody but the run can tell of the desk's own look-up.
    assert answered | {"history_check"} == left | {"history_check"}
    assert "history_check" in answered or "history_check" not in left or scenario.outcome == "waiting"


@pytest.mark.parametrize("identity", SILENT)
async def test_no_step_is_dropped_in_silence(world: World, identity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the static baseline left a step out and said nothing, the run does the step or says that it did not.

    S6 and S7: the refund stands and nobody could be told, which is another goal and another outcome. T6: told by SMS.
    """
    scenario = next(scenario for scenario in SET_P if scenario.id == identity)
    result, verdict = await play(world, scenario, monkeypatch, variant="silent")
    steps = world.steps(scenario.example, f"{identity}-silent")
    if identity == "T6":
        assert (verdict, steps) == ("complete", {"flight", "hotel", "car", "told"})
    else:
        assert (verdict, steps) == ("explicit", {"paid"})
        assert (result.outcome, result.goal) == ("demoted", "refunded")
