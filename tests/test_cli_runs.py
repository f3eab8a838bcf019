"""Recorded runs on the command line: what ran is listed, shown, followed, and gone on with."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pexpect  # type: ignore[import-untyped]  # has no types
import pytest

from orchestrator import Orchestrator
from orchestrator.cli.listing import ago
from orchestrator.cli.steps import seconds_text
from tests.shop import GRAPH, call, calls, cut, document, environment, newest, open_shop, plain, spawn, start, until

UNKNOWN = "00000000-0000-4000-8000-000000000000"
SECRET = "sk-very-secret-1"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the shop and go there."""
    return open_shop(tmp_path, monkeypatch)


def waiting() -> str:
    """Run the graph until it waits for a person; return the run's id."""
    return start("-i", "amount=2000")


def terminal(*arguments: str, columns: int = 80, **env: str) -> str:
    """Return what a terminal shows of a command."""
    command = ["-m", "orchestrator", *arguments]
    child = pexpect.spawn(
        sys.executable, command, env=environment(**env), encoding="utf-8", dimensions=(50, columns), timeout=50
    )
    child.expect(pexpect.EOF)
    child.close()
    return plain(child.before)


# ----------------------------------------------------------------------------------------------------------------- list


def test_the_newest_runs_are_listed_first(graph: Path) -> None:
    """A run is a line: a short id, its age, its graph, how it went, the goal, and what it asks."""
    first, second = start(), waiting()
    result = call("runs", "list")
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["RUN", "STARTED", "GRAPH", "OUTCOME", "GOAL"]
    assert [row.split()[0] for row in rows] == [second[:8], first[:8]]
    assert [row.split()[3:] for row in rows] == [
        ["ago", "refund", "waiting", "refunded", "approve:pay"],
        ["ago", "refund", "met", "refunded"],
    ]
    assert (result.exit_code, result.stderr) == (0, "orchestrator approve RUN  shows what a waiting run asks\n")


def test_the_list_as_data(graph: Path) -> None:
    """`--json` holds every run with its whole id, and times in seconds."""
    run = waiting()
    (row,) = document(call("runs", "list", "--json"))
    known = "run_id graph goal outcome reached reason created updated last_seq source questions until trace_id alive"
    assert set(known.split()) <= set(row)
    assert (row["run_id"], row["outcome"], row["questions"]) == (run, "waiting", ["approve:pay"])
    assert (row["source"], row["alive"]) == (str(graph), False)


def test_a_list_can_be_narrowed(graph: Path) -> None:
    """By number, outcome and graph; an outcome that there is not is refused, with those that there are."""
    met, waits = start(), waiting()
    demoted = start(BROKEN="pay,card")
    stopped = cut(met, "pay", "stopped.db")

    def listed(*options: str) -> list[str]:
        return [row["run_id"] for row in document(call("runs", "list", "--json", *options))]

    assert listed("-n", "2") == [demoted, waits]
    assert [listed("--outcome", each) for each in ("met", "waiting", "demoted")] == [[met], [waits], [demoted]]
    assert [listed("--outcome", each) for each in ("running", "stopped", "failed", "cancelled")] == [[]] * 4
    assert listed("--outcome", "stopped", "--store", "stopped.db") == [stopped]
    assert listed("--outcome", "running", "--store", "stopped.db") == []
    assert (len(listed("--graph", "refund")), listed("--graph", "other")) == (3, [])
    wrong = call("runs", "list", "--outcome", "mett")
    assert (wrong.exit_code, "'waiting', 'met'" in wrong.stderr) == (2, True)


def test_a_run_whose_process_is_gone_is_stopped(graph: Path) -> None:
    """The list calls it so, and says how to go on; the store that was named is named in that too."""
    run = cut(start(), "pay", "stopped.db")
    result = call("runs", "list", "--store", "stopped.db")
    assert result.stdout.splitlines()[1].split()[:1] == [run[:8]]
    assert "stopped" in result.stdout
    assert "orchestrator runs resume --all --store stopped.db" in result.stderr


def test_no_store_yet(graph: Path) -> None:
    """Where nothing ran, there is nothing to list or resume; looking creates no store."""
    result = call("runs", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"no runs in sqlite:///{graph.parent}/.orchestrator/runs.db\n"
    assert document(call("runs", "list", "--json")) == []
    resumed = call("runs", "resume", "--all")
    assert (resumed.exit_code, resumed.stderr) == (0, "nothing to resume\n")
    assert document(call("runs", "resume", "--all", "--json")) == []
    assert call("runs", "show", "7d44").exit_code == 2
    assert not Path(".orchestrator").exists()


def test_a_list_fits_a_terminal(graph: Path) -> None:
    """At 80 columns no line is longer, whatever graphs and goals are called; elsewhere nothing is cut."""
    name = "a-graph-that-somebody-gave-a-very-long-name-indeed"
    graph.write_text(GRAPH.replace("name: refund\n", f"name: {name}\n", 1))
    start("-i", "amount=2000")
    lines = terminal("runs", "list").splitlines()
    assert max(map(len, lines)) <= 80
    assert "a-graph-that-somebo…" in lines[1]
    assert name in call("runs", "list").stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (86400, "1 d ago"), (9e6, "104 d ago")],
)
def test_ages_are_told_in_one_unit(seconds: float, text: str) -> None:
    """How long ago something was is quick to read."""
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (1, "1.00 s"), (60, "1 min"), (61.5, "1 min 1 s"), (86399, "23 h 59 min"), (86400, "1 d")],
)
def test_times_are_told_in_two_units(seconds: float, text: str) -> None:
    """A time of people is no number of seconds."""
    assert seconds_text(seconds) == text


# ----------------------------------------------------------------------------------------------------------------- show


def test_a_recorded_run_is_shown_as_it_was_told(graph: Path) -> None:
    """The table of its steps and its summary on stderr, its value on stdout: as `run` itself printed them."""
    ran = call("run", "graph.yaml", "-i", "order=A1", BROKEN="pay,card")
    shown = call("runs", "show", newest())
    head, rest = shown.stderr.split("\n", 1)
    assert head.startswith("refund, started ")
    assert (rest, shown.stdout) == (ran.stderr, ran.stdout)
    assert "demoted" in rest
    assert shown.exit_code == 0


def test_every_event_of_a_run_is_kept(graph: Path) -> None:
    """`runs show --events` prints the lines that `run --events` printed."""
    ran = call("run", "graph.yaml", "-i", "order=A1", "--events")
    assert call("runs", "show", newest(), "--events").stdout == ran.stdout


def test_a_recorded_run_as_data(graph: Path) -> None:
    """`runs show --json` is the document of `run --json`, with what the store knows of the run."""
    ran = document(call("run", "graph.yaml", "-i", "order=A1", "--json"))
    shown = document(call("runs", "show", ran["run_id"], "--json"))
    assert {name: shown[name] for name in ran} == ran
    assert {name: shown[name] for name in shown if name not in ran}.keys() == {
        "graph", "source", "created", "updated", "alive"
    }  # fmt: skip


def test_what_is_to_be_typed_can_be_typed(graph: Path) -> None:
    """A waiting run, run or shown, ends with its questions, once, and with a command that answers them."""
    ran = call("run", "graph.yaml", "-i", "order=A1", "-i", "amount=2000", "--store", "other.db")
    run = document(call("runs", "list", "--store", "other.db", "--json"))[0]["run_id"]
    shown = call("runs", "show", run, "--store", "other.db")
    for text in (ran.stderr, shown.stderr):
        assert text.count("2000 is over 1000") == 1
        assert "    amount = 2000\n" in text
        assert "    yes                 make the call\n" in text
    (line,) = [line for line in shown.stderr.splitlines() if "answer with" in line]
    _, _, command = line.partition("answer with: orchestrator ")
    answered = call(*shlex.split(command.replace("ANSWER", "yes")))
    assert (answered.exit_code, answered.stdout) == (0, "paid 2000\n")


def test_a_run_that_is_not_recorded_offers_no_command(graph: Path) -> None:
    """With --no-store nothing is written, and nobody is told to answer what cannot be answered."""
    ran = call("run", "graph.yaml", "-i", "order=A1", "-i", "amount=2000", "--no-store")
    assert ran.exit_code == 5
    assert "approve:pay: 2000 is over 1000" in ran.stderr
    assert "orchestrator approve" not in ran.stderr
    assert "cannot be answered" in ran.stderr
    assert not Path(".orchestrator").exists()


def test_on_a_terminal_a_run_is_told_once(graph: Path) -> None:
    """What was told as it happened is not said again in a table; a question stands at the end, once."""
    screen = terminal("run", "graph.yaml", "-i", "order=A1", "-i", "amount=2000", BROKEN="lookup")
    assert "STEP" not in screen
    screen = terminal("run", "graph.yaml", "-i", "order=A1", "-i", "amount=2000")
    assert screen.count("succeeded   lookup") == 1
    assert screen.count("2000 is over 1000") == 1
    assert "orchestrator approve" in screen
    assert "STEP" in terminal("runs", "show", newest())


def test_a_stopped_run_is_shown_with_what_was_in_flight(graph: Path) -> None:
    """It says that its process is gone, what was under way, and how to go on."""
    run = cut(start(), "pay", "stopped.db")
    shown = call("runs", "show", run[:8], "--store", "stopped.db")
    assert (
        f"stopped: its process is gone; go on with: orchestrator runs resume {run[:8]} --store stopped.db"
        in shown.stderr
    )
    assert [line.split()[1:] for line in shown.stderr.splitlines() if line.endswith("…")] == [
        ["pay", "python", "1", "…"]
    ]
    assert document(call("runs", "show", run, "--store", "stopped.db", "--json"))["outcome"] == "running"


def test_a_run_is_called_by_as_much_as_nobody_else_is(graph: Path) -> None:
    """An id of one's own is never cut, since others may begin like it; a beginning of several names them."""
    orchestrator = Orchestrator.from_yaml(graph, store=".orchestrator/runs.db")
    for number in (1, 2):
        orchestrator.run_sync(order="A1", amount=2000, run_id=f"order-2026-{number}")
    listed = call("runs", "list").stdout
    assert "order-2026-1  " in listed
    assert "orchestrator approve order-2026-1 ANSWER" in call("runs", "show", "order-2026-1").stderr
    ambiguous = call("runs", "show", "order-2026")
    assert ambiguous.exit_code == 2
    assert ambiguous.stderr.startswith("error: several runs begin with 'order-2026': order-2026-2, order-2026-1;")


COMMANDS = (
    ("runs", "show", "RUN"),
    ("runs", "tail", "RUN"),
    ("runs", "resume", "RUN"),
    ("runs", "replay", "RUN"),
    ("approve", "RUN"),
    ("approve", "RUN", "yes"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command))
def test_a_run_that_there_is_not(graph: Path, command: tuple[str, ...]) -> None:
    """Every command says the same of it: one line, with what lists those that there are."""
    start()
    result = call(*(UNKNOWN if word == "RUN" else word for word in command))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: the store has no run {UNKNOWN!r}; `runs list` shows those that it has\n"


@pytest.mark.parametrize("command", [("runs", "list"), ("runs", "resume", "--all"), *COMMANDS], ids=" ".join)
def test_a_store_that_cannot_be_read(graph: Path, command: tuple[str, ...]) -> None:
    """A file that is no store is one clear error, exit 1, also as data."""
    Path("notes.db").write_text("these are notes, and quite a lot of them. " * 100)
    result = call(*command, "--store", "notes.db")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "notes.db cannot be used" in result.stderr
    if command[1] != "tail":
        result = call(*command, "--store", "notes.db", "--json")
        assert (result.exit_code, document(result)["error"]["code"]) == (1, "store")


# ----------------------------------------------------------------------------------------------------------------- tail


def test_the_latest_events_of_a_run(graph: Path) -> None:
    """`runs tail` tells the last lines of the story, and how it ended; as many as are wanted."""
    run = start(BROKEN="pay")
    lines = call("runs", "tail", run, "-n", "100").stdout.splitlines()
    assert [line.split()[2:4] for line in lines] == [
        ["route", "lookup"], ["succeeded", "lookup"], ["failed", "pay"], ["reroute", "pay"], ["succeeded", "card"],
        ["met", "refunded"],
    ]  # fmt: skip
    assert call("runs", "tail", run, "-n", "2").stdout.splitlines() == lines[-2:]
    assert call("runs", "tail", run, "-n", "0").stdout == ""


def test_the_latest_events_as_data(graph: Path) -> None:
    """With --events they are the last lines of `runs show --events`."""
    run = start()
    whole = call("runs", "show", run, "--events").stdout.splitlines()
    assert call("runs", "tail", run, "--events", "-n", "3").stdout.splitlines() == whole[-3:]


def test_a_run_of_another_process_is_followed_to_its_end(graph: Path) -> None:
    """`runs tail -f` shows what another process does while it does it, and ends with the run."""
    wait = Path("go")
    source = Path("recorded_shop.py")
    source.write_text(
        source.read_text().replace(
            "def lookup(order):\n", "def lookup(order):\n    while not os.path.exists('go'): time.sleep(0.02)\n"
        )
    )
    with spawn("run", "graph.yaml", "-i", "order=A1") as run:
        until(lambda: Path(".orchestrator/runs.db").exists() and document(call("runs", "list", "--json")), run)
        name = newest()
        shown = call("runs", "show", name)
        assert "running, driven by " in shown.stderr
        with spawn("runs", "tail", "-f", name) as tail:
            assert tail.stdout is not None
            lines = [tail.stdout.readline()]
            wait.touch()
            lines += tail.stdout.readlines()
            assert tail.wait(30) == 0
        run.communicate()
        assert run.returncode == 0
    assert [line.split()[2] for line in lines] == ["route", "succeeded", "succeeded", "met"]


def test_following_ends_with_the_process_that_is_followed(graph: Path) -> None:
    """Where the process of a run dies, `runs tail -f` says so, and how to go on, instead of waiting for ever."""
    with spawn("run", "graph.yaml", "-i", "order=A1", HANG="lookup") as run:
        until(calls, run)
        name = newest()
        with spawn("runs", "tail", "-f", name) as tail:
            assert tail.stdout is not None
            assert "route" in tail.stdout.readline()
            run.kill()
            run.communicate()
            out, err = tail.communicate(timeout=30)
    assert (tail.returncode, out) == (0, "")
    assert err == f"its process is gone; go on with: orchestrator runs resume {name[:8]}\n"


def test_a_run_that_waits_is_not_followed(graph: Path) -> None:
    """It goes on only when somebody answers."""
    assert "waiting" in call("runs", "tail", "-f", waiting()).stdout


# --------------------------------------------------------------------------------------------------------------- resume


def test_a_stopped_run_is_gone_on_with(graph: Path) -> None:
    """What is done is not done again; a once call in flight is not repeated, and nobody knows whether it happened."""
    run = cut(start(), "lookup", "reads.db")
    Path("calls.txt").unlink()
    result = call("runs", "resume", run, "--store", "reads.db")
    assert (result.exit_code, result.stdout, calls()) == (0, "paid 20\n", ["lookup", "pay"])

    run = cut(run, "pay", "effects.db")
    Path("calls.txt").unlink()
    result = call("runs", "resume", run[:6], "--store", "effects.db", "--json")
    found = document(result)
    assert (result.exit_code, found["outcome"], calls()) == (5, "waiting", [])
    assert [question["id"] for question in found["questions"]] == ["settle:pay"]


def test_exit_codes_of_resumed_runs(graph: Path) -> None:
    """0 met, 1 no goal, 3 a lower goal (0 if allowed), 4 a limit, 5 waiting."""
    run = start()

    def resumed(store: str, *more: str, **env: str) -> int:
        return call("runs", "resume", cut(run, "lookup", store), "--store", store, *more, **env).exit_code

    assert resumed("1.db") == 0
    assert resumed("2.db", BROKEN="pay,card") == 3
    assert resumed("3.db", "--allow-demoted", BROKEN="pay,card") == 0
    assert resumed("4.db", BROKEN="lookup") == 1
    run = waiting()
    assert resumed("5.db") == 5
    Path("tight.yaml").write_text("limits: {calls: 2}\n")
    run = start("--policy", "tight.yaml", "-i", "amount=3")
    assert resumed("6.db", BROKEN="pay") == 4


def test_a_run_that_is_over_is_not_run_again(graph: Path) -> None:
    """Resuming it shows its result once more; a run that waits shows its questions."""
    run = start()
    before = calls()
    result = call("runs", "resume", run)
    assert (result.exit_code, result.stdout, calls()) == (0, "paid 20\n", before)
    result = call("runs", "resume", waiting())
    assert (result.exit_code, "answer with: orchestrator approve" in result.stderr) == (5, True)


def test_one_run_that_cannot_go_on_does_not_keep_the_others(graph: Path) -> None:
    """`--all` goes on with every run that it can, names the error of the other, and its exit code tells."""
    gone, moved = start(), graph.parent / "moved.yaml"
    cut(gone, "lookup", "all.db", source=str(moved))
    well = cut(start(), "lookup", "all.db")
    result = call("runs", "resume", "--all", "--store", "all.db", "--json")
    error, met = document(result)
    assert result.exit_code == 1
    assert (error["run_id"], met["run_id"], met["outcome"]) == (gone, well, "met")
    assert error["error"]["message"].startswith(f"{moved}, from which run {gone} was started, is gone")

    later = cut(start(), "lookup", "all.db")
    result = call("runs", "resume", "--all", "--store", "all.db")
    assert result.exit_code == 1
    assert f"run {gone} of refund\nerror: {moved}, from which" in result.stderr
    assert f"run {later} of refund\nSTEP" in result.stderr
    assert document(call("runs", "list", "--store", "all.db", "--outcome", "stopped", "--json"))[0]["run_id"] == gone


def test_a_run_whose_file_has_moved(graph: Path) -> None:
    """One clear error; with --file it goes on."""
    run = cut(start(), "lookup", "moved.db")
    graph.rename("elsewhere.yaml")
    result = call("runs", "resume", run, "--store", "moved.db")
    assert result.exit_code == 2
    assert result.stderr == f"error: {graph}, from which run {run} was started, is gone: name it with --file\n"
    assert call("runs", "resume", run, "--store", "moved.db", "--file", "elsewhere.yaml").exit_code == 0


def test_a_run_that_was_started_in_code(graph: Path) -> None:
    """Nobody knows where its functions are until a file is named."""
    run = cut(start(), "lookup", "code.db", source=None)
    result = call("runs", "resume", run, "--store", "code.db")
    assert (result.exit_code, result.stderr) == (
        2, f"error: run {run} was started in code: name a graph file with --file\n"
    )  # fmt: skip
    assert call("runs", "resume", run, "--store", "code.db", "--file", "graph.yaml").exit_code == 0


def test_another_graph_cannot_go_on_with_a_run(graph: Path) -> None:
    """A file without the run's nodes is refused, and the run is left to others."""
    run = cut(start(), "lookup", "other.db")
    Path("other.yaml").write_text(GRAPH.replace("  card:", "  cart:"))
    result = call("runs", "resume", run, "--store", "other.db", "--file", "other.yaml")
    assert (result.exit_code, "the run's graph has card" in result.stderr) == (2, True)
    assert call("runs", "resume", run, "--store", "other.db").exit_code == 0


def test_a_resumed_run_keeps_the_policy_that_it_was_started_under(graph: Path) -> None:
    """A policy given to `run` holds for the run, not for the process: also the model that it lets decide is asked."""
    graph.write_text(GRAPH + 'models: {small: {base_url: "http://127.0.0.1:9/v1", model: m}}\n')
    Path("strict.yaml").write_text("escalation: {by: model, model: small}\n")
    run = cut(start("--policy", "strict.yaml"), "lookup", "strict.db")
    assert call("runs", "resume", run, "--store", "strict.db", BROKEN="pay,card").exit_code == 3
    events = map(json.loads, call("runs", "show", run, "--store", "strict.db", "--events").stdout.splitlines())
    assert [event["error"] for event in events if event["event"] == "model_answered"] == ["connection"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), "name a run, or give --all"),
        (("7d44", "--all"), "name a run, or give --all"),
        (("--all", "--file", "graph.yaml"), "--file is for one run: name it, and leave out --all"),
        (("--all", "--steal"), "--steal is for one run: name it, and leave out --all"),
    ],
)
def test_bad_usage_of_resume(graph: Path, options: tuple[str, ...], error: str) -> None:
    """What cannot be meant is one clear error."""
    result = call("runs", "resume", *options)
    assert (result.exit_code, result.stderr) == (2, f"error: {error}\n")


def test_a_run_that_another_process_drives(graph: Path) -> None:
    """It is refused, with who has it; with --steal it is taken over, and the other cannot go on."""
    with spawn("run", "graph.yaml", "-i", "order=A1", HANG="lookup") as other:
        until(calls, other)
        run = newest()
        refused = call("runs", "resume", run)
        assert (refused.exit_code, f"is driven by process {other.pid} on " in refused.stderr) == (1, True)
        stolen = call("runs", "resume", run, "--steal")
        assert (stolen.exit_code, stolen.stdout) == (0, "paid 20\n")
        other.kill()
        other.communicate()


def interrupted(run: str, *more: str, store: str, **env: str) -> tuple[int, str, str]:
    """Interrupt a resumed run once its tool hangs; return how its process ended."""
    before = len(calls())
    with spawn("runs", "resume", *more, "--store", store, **env) as resumed:
        until(lambda: len(calls()) > before, resumed)
        resumed.send_signal(signal.SIGINT)
        out, err = resumed.communicate(timeout=30)
    return resumed.returncode, out, err


def test_an_interrupt_cancels_a_resumed_run(graph: Path) -> None:
    """Ctrl-C ends it in order: exit 130, and recorded as cancelled."""
    run = cut(start(), "lookup", "stopped.db")
    code, out, err = interrupted(run, run, store="stopped.db", HANG="lookup")
    assert (code, out) == (130, "")
    assert "stopping: effects in flight are finished first" in err
    assert "Traceback" not in err
    assert document(call("runs", "show", run, "--store", "stopped.db", "--json"))["outcome"] == "cancelled"


def test_an_interrupt_ends_all(graph: Path) -> None:
    """Ctrl-C during `--all` cancels the run under way and begins no other."""
    first = cut(start(), "lookup", "stopped.db")
    second = cut(start(), "lookup", "stopped.db")
    code, _, err = interrupted(first, "--all", store="stopped.db", HANG="lookup")
    assert (code, second in err) == (130, False)
    states = {
        row["run_id"]: row["outcome"] for row in document(call("runs", "list", "--store", "stopped.db", "--json"))
    }
    assert states == {first: "cancelled", second: "running"}


# -------------------------------------------------------------------------------------------------------------- secrets


def test_no_secret_is_shown(graph: Path) -> None:
    """A key that a tool put into its value, its error or a person's question is masked, however a run is looked at."""
    secret = {"SHOP_API_KEY": SECRET}
    runs = [
        start("--goal", "noted", **secret),
        start(BROKEN="pay,card", **secret),
        start("-i", "amount=2000", **secret),
    ]
    assert SECRET in anyio.run(_stored_values, runs[0])  # what the next tool needs is kept as it is
    commands: list[tuple[Any, ...]] = [("runs", "list"), ("runs", "list", "--json"), ("approve", runs[2])]
    commands += [("approve", runs[2], "--json")]
    for run in runs:
        commands += [("runs", "show", run), ("runs", "show", run, "--json"), ("runs", "show", run, "--events")]
        commands += [("runs", "tail", run, "-n", "99"), ("runs", "tail", run, "-n", "99", "--events")]
        commands += [("runs", "replay", run), ("runs", "replay", run, "--json")]
    for command in commands:
        assert SECRET not in call(*command, **secret).output, command
    assert '"key":"***"' in call("approve", runs[2], **secret).stdout


async def _stored_values(run: str) -> str:
    from orchestrator.store import Store

    async with Store.open(".orchestrator/runs.db") as store:
        return json.dumps([value.data.decode() for value in (await store.load(run)).values])


# ----------------------------------------------------------------------------------------------------------- completion


def offered(*words: str) -> list[str]:
    """Return what bash is offered for the last word."""
    environ = {
        "COMP_WORDS": " ".join(["orchestrator", *words]),
        "COMP_CWORD": str(len(words)),
        "_ORCHESTRATOR_COMPLETE": "bash_complete",
    }
    return [line.partition(",")[2] for line in call(**environ).stdout.splitlines() if line.startswith("plain,")]


def test_runs_and_answers_are_completed(graph: Path) -> None:
    """TAB offers the runs that a command is about, the newest first, their open questions, and what may be answered."""
    met, waits = start(), waiting()
    assert offered("runs", "show", "") == [waits[:8], met[:8]]
    assert offered("runs", "show", met[:3]) == [met[:8]]
    assert offered("runs", "show", met[:12]) == [met]
    assert offered("approve", "") == [waits[:8]]
    assert offered("approve", waits[:8], "") == ["yes", "no", "edit"]
    assert offered("approve", waits[:8], "e") == ["edit"]
    assert offered("approve", waits[:8], "yes", "-q", "") == ["approve:pay"]
    assert offered("runs", "resume", "") == []
    cut(met, "pay", "stopped.db")
    assert offered("runs", "resume", "--store", "stopped.db", "") == [met[:8]]


def test_completion_is_silent_where_there_is_no_store(graph: Path) -> None:
    """Nothing is offered, said or created."""
    assert offered("runs", "show", "") == offered("approve", "7d44", "") == offered("approve", "7d44", "-q", "") == []
    assert not Path(".orchestrator").exists()
    Path("notes.db").write_text("no store " * 1000)
    assert offered("runs", "show", "--store", "notes.db", "") == []
