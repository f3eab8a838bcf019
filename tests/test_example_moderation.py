"""The moderation example: a fan-out that really runs, k of n, a gate that nothing masks, and ledgers as witnesses."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Orchestrator
from orchestrator.faults import Fault, FaultPlan
from orchestrator.result import RunResult
from tests import examples
from tests.examples import EXAMPLES, Terminal, same_output, shown

command_line = partial(examples.command_line, "moderation")
EXAMPLE = EXAMPLES / "moderation"

CLASSIFIERS = ("history_check", "image_check", "spam_check", "text_check", "toxicity_check")
OPTIONAL = tuple(name for name in CLASSIFIERS if name != "toxicity_check")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Return a terminal in the example's folder."""
    return examples.terminal_in("moderation", tmp_path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the example's package be imported, with records of its own; return their file."""
    with examples.at_home("moderation", "desk"):
        import_module("desk.records").create(tmp_path / "desk.db")
        monkeypatch.setenv("DESK_DB", str(tmp_path / "desk.db"))
        yield tmp_path / "desk.db"


def post(number: int) -> dict[str, Any]:
    """Return one of the example's posts."""
    content: dict[str, Any] = json.loads((EXAMPLE / "posts" / f"{number}.json").read_text(encoding="utf-8"))
    return content


# ------------------------------------------------------------------------------------------------------------- the demo


def test_the_demo_ends_as_it_says(terminal: Terminal) -> None:
    """All five are asked at once each time; posts are published, removed, held, or wait; the ledgers agree."""
    demo = terminal.run(sys.executable, "demo.py")

    assert demo.stderr == ""
    assert demo.returncode == 0, demo.stdout
    text = [" ".join(line.split()) for line in demo.stdout.splitlines()]
    assert text.count("At once history, image, spam, text, toxicity") == 4
    assert sum(line.startswith("Result goal decided met") for line in text) == 2
    assert "Question approve decide: post 3 has a toxicity of 0.70" in text
    assert any(line.startswith("Result demoted to goal held_for_review") for line in text)
    assert "1 0.00 0.00 0.00 0.00 published" in text
    assert "2 - 0.90 0.00 0.00 removed" in text
    assert "3 - 0.00 0.70 0.00 -" in text
    assert "4 - - 0.00 - held" in text
    assert "Each post is recorded once, with all scores that there are, or waits." in text
    assert terminal.left_behind() == []


def test_the_demo_fails_if_the_ledgers_disagree(terminal: Terminal) -> None:
    """A complaint about the ledgers is shown and is the exit code."""
    program = "import demo, sys; demo.objections = lambda *_: ['recorded twice']; sys.exit(demo.main())"
    demo = terminal.python(program)

    assert demo.returncode == 1
    assert "recorded twice" in demo.stdout
    assert "Each post is recorded" not in demo.stdout
    assert terminal.left_behind() == []


@pytest.mark.parametrize(("command", "output"), shown("moderation"))
def test_the_readme_shows_what_a_terminal_shows(terminal: Terminal, command: str, output: str) -> None:
    """Each command in the README prints what stands below it, up to a line with dots; times and ids differ."""
    same_output(terminal, command, output)


# ------------------------------------------------------------------------------------------------------------ the graph


@pytest.mark.usefixtures("home")
def test_the_graph_is_valid() -> None:
    """`validate --strict` finds nothing: functions fit and effects are declared."""
    found = command_line("validate", "--strict", "--json")
    assert found.exit_code == 0, found.output
    (document,) = json.loads(found.stdout)["files"]
    assert (document["valid"], document["findings"]) == (True, [])


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("size", range(5))
def test_a_plan_has_every_classifier_that_is_not_down(size: int) -> None:
    """None is left out to save its cost, none stands in for another; a missing one is null and adds its price."""
    for down in combinations(OPTIONAL, size):
        options = [word for name in down for word in ("--down", name)]
        plan = json.loads(command_line("plan", "--json", *options).stdout)
        assert set(plan["route"]) == {*CLASSIFIERS, "decide"} - set(down)
        missing = [name for name, source in plan["nodes"]["decide"]["inputs"].items() if source is None]
        assert len(missing) == size
        prices = {"image_check": 5, "text_check": 5, "history_check": 2, "spam_check": 2}
        assert plan["nodes"]["decide"]["weight"] == pytest.approx(0.005 + sum(prices[name] for name in down))


@pytest.mark.usefixtures("home")
def test_without_toxicity_there_is_no_decision() -> None:
    """The one score that is required has no price: without it only the lower goal is within reach."""
    found = command_line("plan", "--json", "--down", "toxicity_check")
    assert found.exit_code == 1
    plan = json.loads(found.stdout)
    assert plan["unused"]["decide"] == "unmet: toxicity_score"
    assert [goal["feasible"] for goal in plan["goals"]] == [False, True]


# ----------------------------------------------------------------------------------- the fan-out, with real connections


@dataclass(slots=True)
class Desk:
    """Four classifiers that serve on free ports in threads of this process, each with its ledger."""

    orchestrator: Orchestrator
    servers: dict[str, Any]
    together: threading.Barrier | None = None
    """Where there is one, an answer goes only when so many classifiers have been asked."""

    def asked(self, identity: str) -> set[str]:
        """Return the classifiers that were asked about a post."""
        ledgers = {name: server.ledger.entries() for name, server in self.servers.items()}
        return {name for name, entries in ledgers.items() if any(entry["post"] == identity for entry in entries)}


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """Serve in a thread while the context lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
async def desk(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """Open the desk with all classifiers."""
    providers, classifiers = import_module("shared.providers"), import_module("desk.classifiers")
    servers: dict[str, Any] = {}

    def answer(name: str, content: dict[str, Any]) -> dict[str, Any]:
        if opened.together is not None:
            opened.together.wait(timeout=20.0)
        return dict(classifiers.score(name, content))

    with ExitStack() as stack:
        for name in classifiers.CLASSIFIERS:
            ledger = providers.Ledger(home.with_name(f"{name}.db"), name)
            server = stack.enter_context(serving(providers.Provider(ledger, "scores", answer=answer)))
            servers[name] = server
            monkeypatch.setenv(f"{name.upper()}_URL", f"http://127.0.0.1:{server.server_address[1]}")
        async with Orchestrator.from_yaml(EXAMPLE / "moderation.yaml") as orchestrator:
            opened = Desk(orchestrator, servers)
            yield opened


def recorded(home: Path) -> list[dict[str, Any]]:
    """Return what the desk has recorded."""
    found: list[dict[str, Any]] = import_module("desk.records").decisions(home)
    return found


async def test_the_classifiers_really_run_side_by_side(desk: Desk, home: Path) -> None:
    """Each of the four holds its answer until all of them have been asked: one after the other, none would answer."""
    desk.together = threading.Barrier(4)
    result = await desk.orchestrator.run(post(1))
    assert (result.outcome, result.values["decision"]["decision"]) == ("met", "published")
    assert desk.asked("1") == {"image", "text", "toxicity", "spam"}
    (record,) = recorded(home)
    assert record["scores"] == {"toxicity": 0.0, "image": 0.0, "text": 0.0, "history": 0.0, "spam": 0.0}


async def test_one_high_score_removes_a_post(desk: Desk, home: Path) -> None:
    """What a classifier says of a post decides about it."""
    result = await desk.orchestrator.run(post(2))
    assert result.values["decision"] == {"post": "2", "decision": "removed", "without": []}
    assert recorded(home)[0]["scores"]["text"] == 0.9


SUBSETS = [down for size in range(6) for down in combinations(CLASSIFIERS, size)]


def enough(down: tuple[str, ...]) -> bool:
    """Say whether a decision may be made: toxicity is known, and three of five have answered."""
    return "toxicity_check" not in down and len(down) <= 2


async def run_without(desk: Desk, number: int, down: tuple[str, ...], known: bool) -> RunResult:
    """Take a post with some classifiers down for good, known before or found out by asking them."""
    if known:
        return await desk.orchestrator.run(post(number), down=down)
    faults = FaultPlan({name: (Fault("permanent"),) for name in down})
    return await desk.orchestrator.run(post(number), faults=faults)


@pytest.mark.parametrize("known", [False, True], ids=["found out", "known before"])
async def test_k_of_n_decides_and_fewer_hold(desk: Desk, home: Path, known: bool) -> None:
    """Of all 32 sets of lost classifiers, a decision follows exactly where the rule allows it; else the post is held.

    Either way every classifier that is left has been asked, and what is recorded is theirs and nothing else.
    """
    for down in SUBSETS:
        before = len(recorded(home))
        result = await run_without(desk, 1, down, known)
        goal = ("met", "decided") if enough(down) else ("demoted", "held_for_review")
        assert (result.outcome, result.goal) == goal, down
        record = recorded(home)[before]
        assert len(recorded(home)) == before + 1
        assert record["decision"] == ("published" if enough(down) else "held")
        missing = {f"{name}_check" for name, score in record["scores"].items() if score is None}
        assert missing == set(down)


@pytest.mark.parametrize("known", [False, True], ids=["found out", "known before"])
async def test_nothing_masks_a_toxic_post(desk: Desk, home: Path, known: bool) -> None:
    """Whatever else is down, no toxic post is published or removed without a person: the run waits, or holds it."""
    for down in SUBSETS:
        before = len(recorded(home))
        result = await run_without(desk, 3, down, known)
        decided = [record["decision"] for record in recorded(home)[before:]]
        if enough(down):
            assert (result.outcome, decided) == ("waiting", []), down
            assert [question.reason for question in result.questions] == ["post 3 has a toxicity of 0.70"]
        else:
            assert (result.outcome, decided) == ("demoted", ["held"]), down


# --------------------------------------------------------------------------------------------- runs with a real SIGKILL


def visit(terminal: Terminal, number: int, dead: str = "") -> tuple[int, dict[str, Any]]:
    """Open the desk, kill some classifiers, and take a post; return the exit code and the result."""
    kill = "kill -9 " + " ".join(f"${name.upper()}_PID" for name in dead.split()) if dead else ":"
    script = f"{kill}; orchestrator run moderation.yaml --inputs posts/{number}.json --json"
    done = terminal.run(sys.executable, "with_desk.py", "sh", "-c", script)
    assert terminal.left_behind() == []
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("number", "dead", "code", "goal"),
    [
        (1, "", 0, "decided"),
        (2, "image spam", 0, "decided"),
        (3, "image", 5, None),
        (4, "image text spam", 3, "held_for_review"),
        (4, "toxicity", 3, "held_for_review"),
    ],
)
def test_dead_processes_end_as_the_exit_code_says(
    terminal: Terminal, number: int, dead: str, code: int, goal: str | None
) -> None:
    """0 decided, 3 held, 5 waits for a person; and all five were asked in each run."""
    exit_code, result = visit(terminal, number, dead)
    assert (exit_code, result["goal"]) == (code, goal)
    assert {attempt["node"] for attempt in result["attempts"]} >= set(CLASSIFIERS)


# ------------------------------------------------------------------------------------------ classifiers and witnesses


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("name", "content", "score"),
    [
        ("image", {"image": "0000f7c781a1f70f"}, 1.0),
        ("image", {"image": "0000f7c781a1f70e"}, 0.94),
        ("image", {"image": "ffff083f7e5e08f0"}, 0.0),
        ("text", {"text": "A Forgery!"}, 0.9),
        ("text", {"text": "forgeryless"}, 0.0),
        ("toxicity", {"text": "scum"}, 0.7),
        ("toxicity", {"text": "scum and vermin"}, 0.91),
        ("spam", {"text": "CLICK NOW, WINNER"}, 0.9),
    ],
)
def test_a_classifier_reads_what_it_is_given(name: str, content: dict[str, str], score: float) -> None:
    """The score comes from the post's own content."""
    assert import_module("desk.classifiers").score(name, content) == {"score": score}


def test_the_witnesses_see_what_is_wrong(home: Path, tmp_path: Path) -> None:
    """A decision that no run reports, twice, or with another score than the classifier gave is an objection."""
    process = import_module("shared.processes").ProviderProcess
    records, objections = import_module("desk.records"), import_module("desk.books").objections
    desk = {name: process(name, tmp_path) for name in ("image", "text", "toxicity", "spam")}
    desk["toxicity"].ledger.book("a", {"post": "1", "score": 0.1})
    met, waiting = (RunResult("run", outcome, None, {}, (), ()) for outcome in ("met", "waiting"))
    assert "0 decisions" in objections(desk, "1", met)[0]

    records.hold("1", {"score": 0.1}, idempotency_key="a")
    assert objections(desk, "1", met) == []
    assert "1 decisions" in objections(desk, "1", waiting)[0]
    desk["spam"].ledger.book("b", {"post": "1", "score": 0.3})
    assert "'spam': 0.3" in objections(desk, "1", met)[0]
    records.hold("1", None, idempotency_key="b")
    assert "2 decisions" in objections(desk, "1", met)[0]
