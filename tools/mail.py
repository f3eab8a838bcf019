"""Send a mail by SMTP, encrypted, with a Message-ID by which a repeat is recognised.

The Message-ID is made from the run's idempotency key: every attempt of one node in one run has the same, so that
servers and mail programs can tell a repeat from a second mail, and a person can look it up in the server's log. Server,
user and password come from the environment, so that no data can choose them.

SMTP cannot be asked whether a message went out. When the connection is lost after the message was sent and before the
server's answer, this is said (outcome unknown) and never guessed; there is no `verify`, a person settles it.
"""

from __future__ import annotations

import hashlib
import os
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, NoReturn

from orchestrator import ToolFailed

__all__ = ("send",)

# Settings. This file is yours: change them here.
PATIENCE = 10.0
"""Seconds of silence in any step; less than the node's `timeout`, so that the tool can say how far it came."""
MAX_RECIPIENTS = 20
"""More is a mailing, which has its own tools and rules."""
MAX_CHARACTERS = 200_000
"""Characters of a body: a long report; more belongs behind a link."""

_POLICY = SMTP.clone(cte_type="7bit")
"""Lines as SMTP wants them, and no byte that an old server could not pass on."""


def send(to: str | Sequence[str], subject: str, body: str, *, idempotency_key: str) -> dict[str, Any]:
    """Send a plain-text mail and return ``{"message_id", "to"}``. It goes to all recipients or to none.

    Args:
        to: One address or several.
        subject: One line.
        body: Plain text.
        idempotency_key: Supplied by the run.

    Raises:
        ToolFailed: It was not sent, or (``happened`` unknown) the server's answer was lost.
    """
    sender = _setting("SMTP_FROM")
    recipients = [to] if isinstance(to, str) else list(to)
    message = _message(sender, recipients, subject, body, idempotency_key)
    client = _connected()
    try:
        _hand_over(client, message)
    finally:
        with suppress(smtplib.SMTPException, OSError):
            client.quit()
        client.close()
    return {"message_id": message["Message-ID"], "to": recipients}


def _message(sender: str, recipients: Sequence[str], subject: str, body: str, key: str) -> EmailMessage:
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise ToolFailed(f"a mail has 1 to {MAX_RECIPIENTS} recipients, not {len(recipients)}")
    if len(body) > MAX_CHARACTERS:
        raise ToolFailed(f"the body is longer than {MAX_CHARACTERS} characters")
    message = EmailMessage(policy=_POLICY)
    try:
        domain = Address(addr_spec=sender).domain
        message["From"] = Address(addr_spec=sender)
        # One address per text: a comma in it must not make two.
        message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
        message["Subject"] = subject
        message["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"
        message.set_content(body)
    except Exception as error:  # the parser of addresses raises whatever it stumbles over
        raise ToolFailed(f"no mail can be made of this: {error}") from None
    return message


def _connected() -> smtplib.SMTP:
    """Connect, encrypt and log in; nothing of the message has been said by then, whatever fails."""
    host, security = _setting("SMTP_HOST"), os.environ.get("SMTP_SECURITY", "starttls")
    if security not in ("starttls", "tls", "none"):
        raise ToolFailed("SMTP_SECURITY is starttls, tls or none")
    port = int(os.environ.get("SMTP_PORT", "465" if security == "tls" else "587"))
    user, password = os.environ.get("SMTP_USER"), os.environ.get("SMTP_PASSWORD", "")
    client: smtplib.SMTP | None = None
    try:
        if security == "tls":
            client = smtplib.SMTP_SSL(host, port, timeout=PATIENCE, context=ssl.create_default_context())
        else:
            client = smtplib.SMTP(host, port, timeout=PATIENCE)
        if security == "starttls":
            client.starttls(context=ssl.create_default_context())
        if user:
            client.login(user, password)
    except (smtplib.SMTPException, OSError) as error:
        if client is not None:
            client.close()
        _failed("the mail server was not reached", error)
    return client


def _hand_over(client: smtplib.SMTP, message: EmailMessage) -> None:
    try:
        # Not `sendmail`: it goes on without the recipients that were refused, and hides how far it came.
        client.ehlo_or_helo_if_needed()
        _expect(client.mail(message["From"].addresses[0].addr_spec), "the sender was refused")
        for recipient in message["To"].addresses:
            _expect(client.rcpt(recipient.addr_spec), "a recipient was refused")
    except (smtplib.SMTPException, OSError) as error:
        _failed("the mail was not sent", error)
    try:
        code, answer = client.data(message.as_bytes())
    except smtplib.SMTPDataError as error:  # refused before the message itself
        _failed("the mail was refused", error)
    except (smtplib.SMTPException, OSError) as error:
        raise ToolFailed(
            f"the answer to {message['Message-ID']} was lost: {error or type(error).__name__}",
            transient=True,
            happened="unknown",
        ) from error
    _expect((code, answer), "the mail was refused")


def _expect(answer: tuple[int, bytes], what: str) -> None:
    if not 200 <= answer[0] < 300:
        _failed(what, smtplib.SMTPResponseException(answer[0], answer[1]))


def _failed(what: str, error: Exception) -> NoReturn:
    """Raise what is known: nothing was sent, and whether another try may help (SMTP: 4yz may, 5yz will not)."""
    if isinstance(error, smtplib.SMTPResponseException):
        reply = error.smtp_error
        text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
        raise ToolFailed(f"{what}: {error.smtp_code} {text}", transient=error.smtp_code < 500) from error
    mended = not isinstance(error, smtplib.SMTPNotSupportedError | ssl.SSLCertVerificationError)
    raise ToolFailed(f"{what}: {error or type(error).__name__}", transient=mended) from error


def _setting(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ToolFailed(f"set the environment variable {name}")
    return value
