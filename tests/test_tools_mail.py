"""The tool `mail` against a real SMTP server: encrypted, recognisable as a repeat, and honest about what it knows."""

from __future__ import annotations

import email
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from orchestrator import ToolFailed
from tests.loopback import CERTIFICATE, SmtpPeer, served
from tools import mail
from tools.mail import send


def peer_of(monkeypatch: pytest.MonkeyPatch, peer: SmtpPeer, **environ: str) -> SmtpPeer:
    """Tell the tool of a server."""
    for name in ("SMTP_USER", "SMTP_PASSWORD", "SMTP_SECURITY"):
        monkeypatch.delenv(name, raising=False)
    found = {"SMTP_HOST": "localhost", "SMTP_PORT": str(peer.port), "SMTP_FROM": "shop@example.com"}
    for name, value in {**found, "SSL_CERT_FILE": str(CERTIFICATE), **environ}.items():
        monkeypatch.setenv(name, value)
    return peer


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpPeer]:
    """Run a server, and tell the tool of it."""
    with served(SmtpPeer()) as server:
        yield peer_of(monkeypatch, server)


def sent(
    to: Any = "ann@example.com", subject: str = "Refund", body: str = "It is on its way.", key: str = "r:m"
) -> Any:
    """Send a mail."""
    return send(to, subject, body, idempotency_key=key)


def failure(**more: Any) -> tuple[bool, str]:
    """Return what a mail that is not sent says: may another try help, and did it happen."""
    with pytest.raises(ToolFailed) as caught:
        sent(**more)
    return caught.value.transient, caught.value.happened


def message(peer: SmtpPeer, number: int = 0) -> EmailMessage:
    """Return a mail as its reader would see it."""
    parsed = email.message_from_bytes(peer.delivered[number].content, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def test_a_mail_arrives_as_written(peer: SmtpPeer) -> None:
    """Sender, recipients, subject and body arrive over an encrypted connection, also with accents and lone dots."""
    body = "Dear Ann,\n.\n..two dots\nünïcode, fine\n" + "long " * 400 + "\n"
    result = sent(["ann@example.com", "bob@example.com"], "Rückzahlung für Bestellung 12-3", body)
    (delivered,) = peer.delivered
    assert delivered.encrypted
    assert delivered.sender.startswith("FROM:<shop@example.com>")
    assert [text.partition(">")[0] for text in delivered.recipients] == ["TO:<ann@example.com", "TO:<bob@example.com"]
    read = message(peer)
    assert (read["From"], read["To"]) == ("shop@example.com", "ann@example.com, bob@example.com")
    assert read["Subject"] == "Rückzahlung für Bestellung 12-3"
    assert read.get_content().replace("\r\n", "\n") == body
    assert delivered.content.isascii()
    assert result == {"message_id": read["Message-ID"], "to": ["ann@example.com", "bob@example.com"]}


def test_a_repeat_has_the_same_message_id(peer: SmtpPeer) -> None:
    """The id depends on the idempotency key alone, and is a proper one whatever the key holds."""
    for key in ("run-1:mail", "run-1:mail", "run-2:mail>\r\nBcc: x@example.com"):
        sent(key=key)
    ids = [message(peer, number)["Message-ID"] for number in range(3)]
    assert ids[0] == ids[1] != ids[2]
    assert all(id.startswith("<") and id.endswith("@example.com>") for id in ids)
    assert message(peer, 2)["Bcc"] is None


def test_it_logs_in_only_after_encryption(peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password are sent when they are given, and after STARTTLS."""
    peer_of(monkeypatch, peer, SMTP_USER="shop", SMTP_PASSWORD="s3cret-password")
    sent()
    verbs = [line.split()[0] for line in peer.heard]
    assert verbs.index("STARTTLS") < verbs.index("AUTH") < verbs.index("MAIL")


def test_implicit_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SMTP_SECURITY=tls` encrypts from the first byte."""
    with served(SmtpPeer(tls=True)) as peer:
        peer_of(monkeypatch, peer, SMTP_SECURITY="tls")
        sent()
        assert peer.delivered[0].encrypted
        assert "STARTTLS" not in peer.heard


def test_nothing_is_sent_in_the_clear_unless_told(peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without STARTTLS, as one behind somebody who strips it, gets nothing; `none` is a choice."""
    peer.extensions = []
    assert failure() == (False, "no")
    assert peer.delivered == []
    assert not any(line.startswith(("MAIL", "AUTH")) for line in peer.heard)
    monkeypatch.setenv("SMTP_SECURITY", "none")
    sent()
    assert not peer.delivered[0].encrypted


def test_a_certificate_that_nobody_vouches_for(peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot prove its name gets nothing."""
    monkeypatch.delenv("SSL_CERT_FILE")
    assert failure() == (False, "no")
    peer_of(monkeypatch, peer, SMTP_HOST="127.0.0.1")  # the certificate is for localhost
    assert failure() == (False, "no")
    assert peer.delivered == []


@pytest.mark.parametrize(
    ("verb", "answer", "transient"),
    [
        ("EHLO", "drop", True),
        ("STARTTLS", "454 not now", True),
        ("MAIL", "550 not you", False),
        ("MAIL", "451 try later", True),
        ("RCPT", "450 mailbox busy", True),
        ("RCPT", "550 nobody", False),
        ("RCPT", "drop", True),
        ("DATA", "554 no", False),
        ("DATA", "421 closing", True),
    ],
)
def test_what_fails_before_the_message_did_not_happen(peer: SmtpPeer, verb: str, answer: str, transient: bool) -> None:
    """A refusal, or a connection lost, before the message itself: nothing was sent; 4yz may pass, 5yz will not."""
    peer.script = {verb: answer}
    assert failure() == (transient, "no")
    assert peer.delivered == []


def test_a_wrong_password(peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused log-in will be refused again."""
    peer_of(monkeypatch, peer, SMTP_USER="shop", SMTP_PASSWORD="s3cret-password")
    peer.script = {"AUTH": "535 no"}
    assert failure() == (False, "no")


def test_the_servers_word_on_the_message_itself(peer: SmtpPeer) -> None:
    """A message that is refused as a whole was not sent."""
    for answer, transient in (("552 too much", False), ("451 later", True)):
        peer.after_data = answer
        assert failure() == (transient, "no")


def test_an_answer_that_is_lost_is_unknown(peer: SmtpPeer) -> None:
    """The server took the message and died: nobody knows, and the error holds the id to look for."""
    peer.after_data = "drop"
    with pytest.raises(ToolFailed) as caught:
        sent()
    assert caught.value.happened == "unknown"
    assert message(peer)["Message-ID"] in str(caught.value)


def test_a_connection_that_dies_after_success_changes_nothing(peer: SmtpPeer) -> None:
    """Once the server has taken the message, a lost goodbye is no failure."""
    peer.script = {"QUIT": "drop"}
    assert sent()["to"] == ["ann@example.com"]


def test_all_recipients_or_none(peer: SmtpPeer) -> None:
    """One refused recipient, and nobody gets the mail."""
    peer.refused = "bob"
    assert failure(to=["ann@example.com", "bob@example.com"]) == (False, "no")
    assert peer.delivered == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "ann@example.com, eve@example.com"},
        {"to": "ann@example.com\r\nBcc: eve@example.com"},
        {"to": "not an address"},
        {"to": []},
        {"to": ["a@example.com"] * (mail.MAX_RECIPIENTS + 1)},
        {"subject": "Refund\r\nBcc: eve@example.com"},
        {"subject": "Refund\nX-Evil: 1"},
        {"body": "x" * (mail.MAX_CHARACTERS + 1)},
    ],
)
def test_nothing_is_smuggled_into_a_mail(peer: SmtpPeer, wrong: dict[str, Any]) -> None:
    """Line breaks in addresses and subjects, two addresses in one, and too much of anything: no mail is made."""
    assert failure(**wrong) == (False, "no")
    assert peer.heard == []


@pytest.mark.parametrize("name", ["SMTP_HOST", "SMTP_FROM"])
def test_what_is_not_set_is_told(peer: SmtpPeer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing setting is named."""
    monkeypatch.delenv(name)
    with pytest.raises(ToolFailed, match=name):
        sent()


def test_a_server_that_is_not_there(peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listening is worth another try, and nothing was sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("SMTP_PORT", str(taken.getsockname()[1]))
        assert failure() == (True, "no")
