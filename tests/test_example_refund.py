"""The refund example: real processes that are really killed, and ledgers that say what became of the money."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator import Orchestrator
from tests import examples
from tests.examples import EXAMPLES, Terminal, same_output, shown

EXAMPLE = EXAMPLES / "refund"
command_line = partial(examples.command_line, "refund")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Return a terminal in the example's folder."""
    return examples.terminal_in("refund", tmp_path)


# ------------------------------------------------------------------------------------------------------------- the demo


def test_the_demo_goes_round_a_killed_provider(terminal: Terminal) -> None:
    """Three runs meet their goal while a provider is killed, each order is paid once, and nothing is left behind."""
    demo = terminal.run(sys.executable, "demo.py")

    assert demo.stderr == ""
    assert demo.returncode == 0
    text = [" ".join(line.split()) for line in demo.stdout.splitlines()]
    assert sum(line.startswith("Result goal refunded_and_told met") for line in text) == 3
    assert sum(line.startswith("SIGKILL: cardpay") or " SIGKILL: cardpay" in line for line in text) == 2
    assert "Old route cardpay > email would have cost 30.65" in text
    assert "New route bankpay > email costs 45.95" in text
    assert "Settled cardpay's ledger says: it was paid" in text
    assert "cardpay 49.00 cardpay-1 - 25.50 cardpay-2" in text
    assert "bankpay - 80.00 bankpay-1 -" in text
    assert "Each order was paid exactly once and in full, and its customer told once." in text
    assert len(set(re.findall(r"Trace +([0-9a-f]{32})\n", demo.stdout))) == 3
    assert terminal.left_behind() == []


def test_the_demo_fails_if_the_ledgers_disagree(terminal: Terminal) -> None:
    """A complaint about the ledgers is shown and is the exit code."""
    program = "import demo, sys; demo.objections = lambda *_: ['paid twice']; sys.exit(demo.main())"
    demo = terminal.python(program)

    assert demo.returncode == 1
    assert "paid twice" in demo.stdout
    assert "exactly once" not in demo.stdout
    assert terminal.left_behind() == []


def test_ctrl_c_undoes_the_refund_and_ends_every_process(terminal: Terminal) -> None:
    """Interrupted after it paid, a run takes the payment back with the real provider, and the demo cleans up."""
    demo = terminal.python(
        """
import demo, os, signal, sys
from orchestrator.events import AttemptEnded

async def interrupted(stage):
    def interrupt(record):
        if isinstance(record.event, AttemptEnded) and record.event.node == "cardpay":
            os.kill(os.getpid(), signal.SIGINT)
    try:
        return await stage.orchestrator.start(order_id="12-1", on_record=interrupt).run()
    finally:
        print(*[(entry["cents"], entry["state"]) for entry in stage.shop["cardpay"].ledger.entries()])

demo.ACTS = (demo.Act("", "12-1", "", interrupted),)
sys.exit(demo.main())
"""
    )

    assert "(4900, 'void')" in demo.stdout
    assert demo.returncode == 130
    assert terminal.left_behind() == []


def test_no_provider_outlives_the_demo(terminal: Terminal) -> None:
    """Providers end even if the demo is killed and cannot end them."""
    demo = terminal.python(
        """
import demo, os, signal

async def killed(stage):
    os.kill(os.getpid(), signal.SIGKILL)

demo.ACTS = (demo.Act("", "12-1", "", killed),)
demo.main()
"""
    )

    assert demo.returncode == -signal.SIGKILL
    processes = [line for line in terminal.left_behind() if not line.startswith(str(terminal.folder))]
    assert processes == []


# ---------------------------------------------------------------------------------------- in this process: nothing runs


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the providers, none of them started, beside an order database; forget the package `shop` afterwards."""
    with examples.at_home("refund", "shop"):
        sold = import_module("shop.processes").PROVIDERS
        process = import_module("shared.processes").ProviderProcess
        monkeypatch.setenv("SHOP_DB", str(tmp_path / "orders.db"))
        import_module("shop.orders").create(tmp_path / "orders.db")
        yield {name: process(name, tmp_path, "shared.providers", name, sold[name]) for name in sold}


@pytest.mark.parametrize(
    ("bookings", "complaint"),
    [
        ([("cardpay", 4900, "a")], ""),
        ([], "4900 cents were owed, 0 were paid in 0 payments"),
        ([("cardpay", 4900, "a"), ("bankpay", 4900, "a")], "9800 were paid in 2 payments"),
        ([("cardpay", 2450, "a"), ("cardpay", 2450, "b")], "4900 were paid in 2 payments"),
        ([("cardpay", 4800, "a")], "4800 were paid in 1 payments"),
        ([("bankpay", 4900, "a")], "the run reports payment cardpay-1, the ledgers do not"),
    ],
)
def test_the_witnesses_see_what_is_wrong(
    shop: dict[str, Any], bookings: list[tuple[str, int, str]], complaint: str
) -> None:
    """The ledgers agree with a run only if the order was paid once, in full, and by the payment that it reports."""
    for name, cents, key in bookings:
        shop[name].ledger.book(key, {"order_id": "12-1", "cents": cents})
    refund = {"id": "cardpay-1", "order_id": "12-1"}
    notice = shop["email"].ledger.book("a", {"refund": refund})

    found = import_module("shop.books").objections(shop, "12-1", {"refund": refund, "notice": notice})
    assert complaint in "; ".join(found)
    assert bool(found) == bool(complaint)


def test_the_witnesses_ask_who_was_told(shop: dict[str, Any]) -> None:
    """A customer who was told twice, or of another payment, is an objection; what was taken back does not count."""
    objections = import_module("shop.books").objections
    refund = shop["cardpay"].ledger.book("a", {"order_id": "12-1", "cents": 4900})
    taken_back = shop["bankpay"].ledger.book("a", {"order_id": "12-1", "cents": 4900})
    shop["bankpay"].ledger.void(taken_back["id"])
    notice = shop["email"].ledger.book("a", {"refund": refund})
    assert objections(shop, "12-1", {"refund": refund, "notice": notice}) == []

    shop["sms"].ledger.book("a", {"refund": taken_back})
    complaints = "; ".join(objections(shop, "12-1", {"refund": refund, "notice": notice}))
    assert "the notifiers do not" in complaints
    assert "told of another payment" in complaints


@pytest.mark.parametrize(
    ("paid", "told", "verdict"),
    [
        ("cardpay-1", "cardpay-1", True),
        ("bankpay-1", "cardpay-1", "the notice names cardpay-1, but bankpay-1 was paid"),
    ],
)
def test_the_goal_asks_which_refund_was_told(shop: dict[str, Any], paid: str, told: str, verdict: bool | str) -> None:
    """The goal's check accepts a notice of the refund that stands and gives the reason against any other."""
    check = import_module("shop.rules").told_of_this_refund
    assert check({"id": paid}, {"refund": {"id": told}}) == verdict


# ---------------------------------------------------------------------------------------------------- the command line


@pytest.mark.usefixtures("shop")
def test_the_graph_is_valid() -> None:
    """`validate --strict` finds nothing: functions fit, effects are declared; and the asked goal is checked."""
    found = command_line("validate", "--strict", "--json")
    assert found.exit_code == 0, found.output
    (document,) = json.loads(found.stdout)["files"]
    assert document["valid"]
    assert document["findings"] == []
    asked, *lower = Orchestrator.from_yaml(EXAMPLE / "refund.yaml").graph.goals
    assert (asked.check, [goal.check for goal in lower]) == (True, [False, False])


@pytest.mark.usefixtures("shop")
def test_the_plan_is_the_cheapest_route() -> None:
    """`plan --json` takes the cheaper payment and notice; without that payment, the other one; without both, none."""
    found = command_line("plan", "--json")
    assert found.exit_code == 0, found.output
    plan = json.loads(found.stdout)
    assert plan["route"] == ["crm", "cardpay", "email"]
    assert plan["weight"] == pytest.approx(30.655)
    assert plan["exact"]

    found = command_line("plan", "--json", "--down", "cardpay")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["route"] == ["crm", "bankpay", "email"]

    found = command_line("plan", "--json", "--down", "cardpay", "--down", "bankpay")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["unused"]["crm"] == "unmet: refund, notice"


@pytest.mark.usefixtures("shop")
def test_the_simulation_survives_the_fault_file() -> None:
    """`simulate --faults` repeats the look-up, settles the lost payment, and tells by SMS; the exit code is 0."""
    found = command_line("simulate", "-i", "order_id=12-1", "--faults", str(EXAMPLE / "faults.yaml"), "--json")

    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["outcome"] == "met"
    assert result["route"] == ["crm", "cardpay", "sms"]
    (paid,) = [attempt for attempt in result["attempts"] if attempt["node"] == "cardpay"]
    assert (paid["outcome"], paid["settled"]) == ("unknown", "done")
    assert result["reroutes"] == 1
    assert result["model_calls"] == 0


@pytest.mark.parametrize(("command", "output"), shown("refund"))
def test_the_readme_shows_what_a_terminal_shows(terminal: Terminal, command: str, output: str) -> None:
    """Each command in the README prints what stands below it, up to a line with dots; times and ids differ."""
    same_output(terminal, command, output)


# ----------------------------------------------------------------------------------------------- runs, and their money


@dataclass(frozen=True, slots=True)
class Visit:
    """A run of the command line in an open shop, and the ledgers after it."""

    code: int
    result: dict[str, Any]
    books: dict[str, list[tuple[dict[str, Any], str]]]

    def attempt(self, node: str) -> dict[str, Any]:
        """Return the one attempt of a node."""
        (found,) = [attempt for attempt in self.result["attempts"] if attempt["node"] == node]
        return dict(found)

    @property
    def paid(self) -> dict[str, list[int]]:
        """What each payment provider has booked and not taken back, in cents."""
        standing = {name: [body for body, state in self.books[name] if state == "booked"] for name in self.books}
        return {name: [body["cents"] for body in standing[name]] for name in ("cardpay", "bankpay")}


def visit(terminal: Terminal, order: str, *options: str, first: str = ":") -> Visit:
    """Open the shop, do what *first* says, run a refund, and keep the ledgers."""
    script = f"""
        {first}
        orchestrator run refund.yaml -i order_id={order} --json
        code=$?
        cp "$(dirname "$SHOP_DB")"/*.db {shlex.quote(str(terminal.folder))}
        exit $code
    """
    done = terminal.run(sys.executable, "with_shop.py", *options, "sh", "-c", script)
    assert terminal.left_behind() == []
    books = {}
    for name in ("cardpay", "bankpay", "email", "sms"):
        with closing(sqlite3.connect(terminal.folder / f"{name}.db")) as database:
            rows = database.execute("SELECT body, state FROM entries").fetchall()
        books[name] = [(json.loads(body), state) for body, state in rows]
    return Visit(done.returncode, json.loads(done.stdout), books)


def test_a_provider_that_is_dead_is_gone_round(terminal: Terminal) -> None:
    """A refused connection is known to have moved no money: the other provider pays, once."""
    found = visit(terminal, "12-1", first="kill -9 $CARDPAY_PID")

    assert found.code == 0
    assert found.result["route"] == ["crm", "bankpay", "email"]
    assert found.attempt("cardpay")["outcome"] == "failed"
    assert found.attempt("cardpay")["error"] == "connection"
    assert found.attempt("cardpay")["answer"] == "reroute-1"
    assert found.paid == {"cardpay": [], "bankpay": [4900]}


@pytest.mark.parametrize(
    ("moment", "settled", "route", "paid"),
    [
        ("after-booking", "done", ["crm", "cardpay", "email"], {"cardpay": [4900], "bankpay": []}),
        ("before-booking", "not done", ["crm", "bankpay", "email"], {"cardpay": [], "bankpay": [4900]}),
    ],
)
def test_a_provider_that_dies_in_the_call_is_asked_afterwards(
    terminal: Terminal, moment: str, settled: str, route: list[str], paid: dict[str, list[int]]
) -> None:
    """Both look the same to the caller; only the ledger tells, and the order is paid exactly once either way."""
    found = visit(terminal, "12-1", "--dies", moment)

    assert found.code == 0
    assert found.attempt("cardpay")["outcome"] == "unknown"
    assert found.attempt("cardpay")["settled"] == settled
    assert found.result["route"] == route
    assert found.paid == paid
    assert len(found.books["email"]) == 1


def test_the_refund_stands_if_nobody_can_be_told(terminal: Terminal) -> None:
    """With both notifiers dead the run ends at the lower goal, exit code 3, and the payment is not taken back."""
    found = visit(terminal, "12-1", first="kill -9 $EMAIL_PID $SMS_PID")

    assert found.code == 3
    assert found.result["outcome"] == "demoted"
    assert found.result["goal"] == "refunded"
    assert found.paid == {"cardpay": [4900], "bankpay": []}


def test_the_staff_is_told_if_nobody_can_pay(terminal: Terminal) -> None:
    """With both payment providers dead nothing is paid or told; the order is noted for the staff, exit code 3."""
    found = visit(terminal, "12-1", first="kill -9 $CARDPAY_PID $BANKPAY_PID")

    assert found.code == 3
    assert found.result["goal"] == "noted"
    assert found.result["values"] == {"ticket": {"id": "ticket-1", "order_id": "12-1"}}
    assert found.paid == {"cardpay": [], "bankpay": []}
    assert found.books["email"] == found.books["sms"] == []


def test_a_large_refund_waits_for_a_person(terminal: Terminal) -> None:
    """The gate stops a large refund before the call: exit code 5, and no money has moved."""
    found = visit(terminal, "15-1")

    assert found.code == 5
    assert found.result["questions"][0]["reason"] == "a refund of 15,000.00 for order 15-1"
    assert found.paid == {"cardpay": [], "bankpay": []}


def test_an_unknown_order_moves_no_money(terminal: Terminal) -> None:
    """A look-up that finds nothing fails for good: no retry, exit code 1, no payment."""
    found = visit(terminal, "99-1")

    assert found.code == 1
    assert found.attempt("crm")["message"] == "there is no order 99-1"
    assert found.paid == {"cardpay": [], "bankpay": []}


# --------------------------------------------------------------------------------------------------------- a provider


@pytest.fixture
def cardpay(shop: dict[str, Any]) -> Iterator[httpx.Client]:
    """Return a client of a provider that serves on a free port."""
    provider = import_module("shared.providers").Provider(shop["cardpay"].ledger, "refunds")
    host, port = provider.server_address
    assert host == "127.0.0.1"
    thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False) as client:
            yield client
    finally:
        provider.shutdown()
        thread.join()
        provider.server_close()


ORDER = {"order_id": "12-1", "cents": 4900}


def test_a_key_books_once(cardpay: httpx.Client) -> None:
    """The same key again returns the first booking; the same key for something else is refused."""
    booked = cardpay.post("/refunds", json=ORDER, headers={"Idempotency-Key": "k 1/&"})
    again = cardpay.post("/refunds", json=ORDER, headers={"Idempotency-Key": "k 1/&"})
    other = cardpay.post("/refunds", json={**ORDER, "cents": 1}, headers={"Idempotency-Key": "k 1/&"})
    second = cardpay.post("/refunds", json=ORDER, headers={"Idempotency-Key": "k 2"})

    assert booked.json() == {"id": "cardpay-1", **ORDER, "state": "booked"}
    assert again.json() == booked.json()
    assert other.status_code == 422
    assert second.json()["id"] == "cardpay-2"
    assert cardpay.get("/refunds", params={"key": "k 1/&"}).json() == booked.json()


def test_a_booking_can_be_taken_back(cardpay: httpx.Client) -> None:
    """A void stays a void when it is asked for again; what was never booked cannot be found or taken back."""
    cardpay.post("/refunds", json=ORDER, headers={"Idempotency-Key": "k"})

    assert cardpay.post("/refunds/cardpay-1/void").json()["state"] == "void"
    assert cardpay.post("/refunds/cardpay-1/void").json()["state"] == "void"
    assert cardpay.get("/refunds", params={"key": "k"}).json()["state"] == "void"
    assert cardpay.post("/refunds/cardpay-2/void").status_code == 404
    assert cardpay.get("/refunds", params={"key": "other"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/refunds", "{}", {}, 400),
        ("/refunds", "no json", {"Idempotency-Key": "k"}, 400),
        ("/refunds", "[]", {"Idempotency-Key": "k"}, 400),
        ("/messages", "{}", {"Idempotency-Key": "k"}, 404),
    ],
)
def test_a_provider_refuses_what_it_cannot_book(
    cardpay: httpx.Client, path: str, body: str, headers: dict[str, str], status: int
) -> None:
    """Without a key, without a JSON object or in the wrong place, nothing is booked."""
    assert cardpay.post(path, content=body, headers=headers).status_code == status
    assert cardpay.get("/refunds", params={"key": "k"}).status_code == 404
