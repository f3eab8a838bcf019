"""The travel example: joins that carry dates, real processes that are really killed, and ledgers as witnesses."""

from __future__ import annotations

import json
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from orchestrator.faults import FaultPlan
from orchestrator.result import RunResult
from tests import examples
from tests.examples import EXAMPLES, Terminal, same_output, shown

command_line = partial(examples.command_line, "travel")

STAGES = {
    "flight": ("skyways", "airjet"),
    "hotel": ("grandhotel", "hostel"),
    "car": ("citycar", "shuttle"),
    "notice": ("email", "sms"),
}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Return a terminal in the example's folder."""
    return examples.terminal_in("travel", tmp_path)


@pytest.fixture
def agency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the example's package be imported, with a database of trips and no provider."""
    with examples.at_home("travel", "agency"):
        import_module("agency.trips").create(tmp_path / "trips.db")
        monkeypatch.setenv("AGENCY_DB", str(tmp_path / "trips.db"))
        yield


# ------------------------------------------------------------------------------------------------------------- the demo


def test_the_demo_ends_as_it_says(terminal: Terminal) -> None:
    """One trip is booked round two dead providers, one keeps its flight, one waits; the ledgers agree; all is gone."""
    demo = terminal.run(sys.executable, "demo.py")

    assert demo.stderr == ""
    assert demo.returncode == 0, demo.stdout
    text = [" ".join(line.split()) for line in demo.stdout.splitlines()]
    assert any(line.startswith("Result goal booked met") and line.endswith("2 reroutes") for line in text)
    assert any(line.startswith("Result demoted to goal flight_only") for line in text)
    assert "Question approve skyways: T-3 may cost up to 990.00, and Edsger's budget is 600.00" in text
    assert "skyways | airjet airjet-1 2031-05-03 skyways-1 2031-05-09 -" in text
    assert "grandhotel | hostel hostel-1 2031-05-03 - -" in text
    assert "citycar | shuttle citycar-1 2031-05-03 - -" in text
    assert "email | sms email-1 email-2 -" in text
    assert "What the runs report is booked, the dates fit, and nothing else is booked." in text
    assert terminal.left_behind() == []


def test_the_demo_fails_if_the_ledgers_disagree(terminal: Terminal) -> None:
    """A complaint about the ledgers is shown and is the exit code."""
    program = "import demo, sys; demo.objections = lambda *_: ['booked twice']; sys.exit(demo.main())"
    demo = terminal.python(program)

    assert demo.returncode == 1
    assert "booked twice" in demo.stdout
    assert "nothing else is booked" not in demo.stdout
    assert terminal.left_behind() == []


def test_ctrl_c_takes_the_bookings_back(terminal: Terminal) -> None:
    """Interrupted once the car is booked, a run cancels car, hotel and flight, in this order, with the providers."""
    demo = terminal.python(
        """
import demo, os, signal, sys
from orchestrator.events import AttemptEnded, CallStarted

async def interrupted(stage):
    undone = []
    def watch(record):
        match record.event:
            case AttemptEnded(node="citycar"):
                os.kill(os.getpid(), signal.SIGINT)
            case CallStarted(kind="undo", subject=subject):
                undone.append(subject)
    try:
        return await stage.orchestrator.start(trip_id="T-1", on_record=watch).run()
    finally:
        booked = [stage.agency[name].ledger.entries()[0] for name in ("skyways", "grandhotel", "citycar")]
        print(undone, [entry["state"] for entry in booked])

demo.ACTS = (demo.Act("T-1", "", "", "met", interrupted),)
sys.exit(demo.main())
"""
    )

    assert "['citycar', 'grandhotel', 'skyways'] ['void', 'void', 'void']" in demo.stdout
    assert demo.returncode == 130
    assert terminal.left_behind() == []


@pytest.mark.parametrize(("command", "output"), shown("travel"))
def test_the_readme_shows_what_a_terminal_shows(terminal: Terminal, command: str, output: str) -> None:
    """Each command in the README prints what stands below it, up to a line with dots; times and ids differ."""
    same_output(terminal, command, output)


# ------------------------------------------------------------------------------------------------------------ the graph


@pytest.mark.usefixtures("agency")
def test_the_graph_is_valid() -> None:
    """`validate --strict` finds nothing: functions fit and effects are declared."""
    found = command_line("validate", "--strict", "--json")
    assert found.exit_code == 0, found.output
    (document,) = json.loads(found.stdout)["files"]
    assert (document["valid"], document["findings"]) == (True, [])


@pytest.mark.usefixtures("agency")
@pytest.mark.parametrize("down", [(), ("skyways",), ("grandhotel", "citycar"), ("airjet", "hostel", "shuttle", "sms")])
def test_a_plan_joins_every_stage(down: tuple[str, ...]) -> None:
    """Hotel takes the flight, car takes both, and the notice takes all three, of whatever providers are chosen."""
    options = [word for name in down for word in ("--down", name)]
    plan = json.loads(command_line("plan", "--json", *options).stdout)
    chosen = {what: next(name for name in names if name not in down) for what, names in STAGES.items()}
    flight, hotel, car = chosen["flight"], chosen["hotel"], chosen["car"]
    assert plan["route"] == list(chosen.values())
    assert plan["exact"]
    inputs = {name: node["inputs"] for name, node in plan["nodes"].items()}
    assert inputs[hotel] == {"trip_id": "input", "flight": flight}
    assert inputs[car] == {"trip_id": "input", "flight": flight, "hotel": hotel}
    assert inputs[chosen["notice"]] == {"trip_id": "input", "flight": flight, "hotel": hotel, "car": car}


def simulated(down: str) -> RunResult:
    """Simulate a trip with some providers down."""
    from orchestrator import Orchestrator

    orchestrator = Orchestrator.from_yaml(EXAMPLES / "travel" / "travel.yaml")
    nodes = ", ".join(f"{name}: {{raise: permanent}}" for name in down.split())
    return orchestrator.simulation(FaultPlan.from_text(f"nodes: {{{nodes}}}")).run()


@pytest.mark.usefixtures("agency")
@pytest.mark.parametrize(
    ("down", "goal", "route"),
    [
        ("skyways grandhotel citycar email", "booked", "airjet hostel shuttle sms"),
        ("citycar shuttle", "flight_and_hotel", "skyways grandhotel email"),
        ("grandhotel hostel", "flight_only", "skyways email"),
        ("grandhotel hostel email", "flight_only", "skyways sms"),
        ("skyways airjet", None, ""),
        ("email sms", None, ""),
    ],
)
def test_each_loss_has_its_goal(down: str, goal: str | None, route: str) -> None:
    """A stage with one provider left is gone round; a stage with none ends at the next goal that can be reached."""
    result = simulated(down)
    assert (result.goal, list(result.route)) == (goal, route.split())


@pytest.mark.usefixtures("agency")
def test_nothing_stays_booked_if_the_traveller_cannot_be_told() -> None:
    """With both notifiers down no goal can be reached: car, hotel and flight are cancelled again, in this order."""
    result = simulated("email sms")
    assert result.outcome == "failed"
    assert [undone.node for undone in result.undone] == ["citycar", "grandhotel", "skyways"]


# ---------------------------------------------------------------------------------------------- runs, and their ledgers


@dataclass(frozen=True, slots=True)
class Visit:
    """A run of the command line in an open agency, and the ledgers after it."""

    code: int
    result: dict[str, Any]
    books: dict[str, list[dict[str, Any]]]

    def standing(self, what: str) -> list[dict[str, Any]]:
        """Return what is booked of a stage and not taken back."""
        return [entry for name in STAGES[what] for entry in self.books[name]]


def visit(terminal: Terminal, trip: str, dead: str = "", *, answer: str = "") -> Visit:
    """Open the agency, kill some providers, book a trip, answer what is asked, and keep the ledgers."""
    kill = "kill -9 " + " ".join(f"${name.upper()}_PID" for name in dead.split()) if dead else ":"
    script = f"""
        {kill}
        orchestrator run travel.yaml -i trip_id={trip} --json > "$TMPDIR/result.json"
        code=$?
        for answer in {answer}; do
            run=$(python -c 'import json, sys; print(json.load(sys.stdin)["run_id"])' < "$TMPDIR/result.json")
            orchestrator approve "$run" $answer --json > "$TMPDIR/result.json"
            code=$?
        done
        cp "$(dirname "$AGENCY_DB")"/*.db {shlex.quote(str(terminal.folder))}
        exit $code
    """
    done = terminal.run(sys.executable, "with_agency.py", "sh", "-c", script)
    assert terminal.left_behind() == []
    books = {}
    for name in (name for names in STAGES.values() for name in names):
        with closing(sqlite3.connect(terminal.folder / f"{name}.db")) as database:
            rows = database.execute("SELECT body FROM entries WHERE state = 'booked'").fetchall()
        books[name] = [json.loads(body) for (body,) in rows]
    result = json.loads((terminal.folder / "result.json").read_text(encoding="utf-8"))
    return Visit(done.returncode, result, books)


def test_the_dates_move_with_the_flight(terminal: Terminal) -> None:
    """With the first airline dead, room and car are booked from the day on which the other lands, for a night less."""
    found = visit(terminal, "T-1", "skyways grandhotel")

    assert found.code == 0
    assert found.result["route"] == ["airjet", "hostel", "citycar", "email"]
    ((flight,), (hotel,), (car,), (notice,)) = (found.standing(what) for what in STAGES)
    assert flight["lands"] == hotel["from"] == car["from"] == "2031-05-03"
    assert (hotel["nights"], car["to"]) == (2, hotel["address"])
    assert [notice[what]["id"] for what in ("flight", "hotel", "car")] == ["airjet-1", "hostel-1", "citycar-1"]


def test_the_traveller_is_told_of_what_there_is(terminal: Terminal) -> None:
    """With no car left the run ends at the lower goal, exit code 3; nothing else is booked, and the notice says so."""
    found = visit(terminal, "T-1", "citycar shuttle")

    assert (found.code, found.result["goal"]) == (3, "flight_and_hotel")
    (notice,) = found.standing("notice")
    assert (notice["flight"]["id"], notice["hotel"]["id"], notice["car"]) == ("skyways-1", "grandhotel-1", None)
    assert len(found.standing("flight")) == len(found.standing("hotel")) == 1


@pytest.mark.parametrize("dead", ["", "skyways", "skyways grandhotel citycar email"])
def test_a_trip_over_budget_waits_before_the_first_booking(terminal: Terminal, dead: str) -> None:
    """Exit code 5 and no booking of any provider, whoever else is dead."""
    found = visit(terminal, "T-3", dead)

    assert found.code == 5
    assert found.result["questions"][0]["reason"] == "T-3 may cost up to 990.00, and Edsger's budget is 600.00"
    assert [found.standing(what) for what in STAGES] == [[], [], [], []]


def test_a_yes_books_the_trip(terminal: Terminal) -> None:
    """Approved from another process, the waiting trip is booked as a whole, each stage once: exit code 0."""
    found = visit(terminal, "T-3", answer="yes")

    assert (found.code, found.result["outcome"]) == (0, "met")
    assert [len(found.standing(what)) for what in STAGES] == [1, 1, 1, 1]


# ------------------------------------------------------------------------------------------------ rules and witnesses


@pytest.mark.usefixtures("agency")
def test_the_gate_reckons_with_the_dearest_providers() -> None:
    """A reroute can never cross the budget that the gate has let pass."""
    offers, trips, rules = (import_module(f"agency.{name}") for name in ("offers", "trips", "rules"))
    for identity in ("T-1", "T-2", "T-3"):
        trip = trips.find(identity)
        for airline in offers.SEATS:
            flight = offers.seat(trip, airline)
            for hotel in offers.ROOMS:
                room = offers.room(trip, hotel, flight)
                for company in offers.RIDES:
                    ride = offers.ride(trip, company, flight, room)
                    assert flight["cents"] + room["cents"] + ride["cents"] <= offers.worst_case(trip)
                    assert rules.fits_together(flight, room, ride) is True
    assert [rules.over_budget(identity) is None for identity in ("T-1", "T-2", "T-3")] == [True, True, False]


@pytest.mark.usefixtures("agency")
def test_the_goal_asks_whether_the_trip_fits_together() -> None:
    """A room from another day, or a car to another hotel, is no booked trip, and the check says why."""
    fits = import_module("agency.rules").fits_together
    flight, hotel = {"lands": "2031-05-03"}, {"from": "2031-05-03", "address": "here"}
    assert fits(flight, hotel, {"from": "2031-05-03", "to": "there"}) == "the car goes to there, the hotel is at here"
    assert "lands on 2031-05-04" in fits({"lands": "2031-05-04"}, hotel, {"from": "2031-05-03", "to": "here"})


@pytest.mark.usefixtures("agency")
def test_the_witnesses_see_what_is_wrong(tmp_path: Path) -> None:
    """A second booking, one that no run reports, or a notice of something else is an objection."""
    process = import_module("shared.processes").ProviderProcess
    objections = import_module("agency.books").objections
    desk = {name: process(name, tmp_path) for names in STAGES.values() for name in names}
    flight = desk["skyways"].ledger.book("a", {"trip": "T-1"})
    notice = desk["email"].ledger.book("a", {"trip": "T-1", "flight": flight, "hotel": None, "car": None})
    told = RunResult("run", "demoted", "flight_only", {"flight": flight, "notice": notice}, (), ())
    assert objections(desk, "T-1", told) == []

    room = desk["hostel"].ledger.book("a", {"trip": "T-1"})
    assert "the run reports hotel [], the ledgers say ['hostel-1']" in objections(desk, "T-1", told)[0]
    desk["hostel"].ledger.void(room["id"])
    desk["airjet"].ledger.book("a", {"trip": "T-1"})
    assert "['skyways-1', 'airjet-1']" in objections(desk, "T-1", told)[0]
    desk["airjet"].ledger.void("airjet-1")
    desk["email"].ledger.void("email-1")
    desk["sms"].ledger.book("a", {"trip": "T-1", "flight": None, "hotel": room, "car": None})
    assert "the traveller was told of" in objections(desk, "T-1", told)[-1]
