"""E-mail through the platform's own mail server. Several messages that are due together make one letter."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.message import BadHeaderError

from backup_platform.notifications.messages import Message, joined
from backup_platform.notifications.outcomes import DELIVERED, Outcome, Route

BACKEND = "django.core.mail.backends.smtp.EmailBackend"
NO_SERVER = "This platform has no mail server yet: its operator sets STRONGROOM_EMAIL_HOST."
REFUSED_FOR_GOOD = 500


def send_letter(route: Route, messages: Sequence[Message]) -> Outcome:
    """Send one letter about these messages to all of the channel's addresses."""
    if not settings.EMAIL_HOST:
        return Outcome(ok=False, fault=NO_SERVER)
    title, text = joined(messages)
    letter = EmailMessage(
        title,
        text,
        to=[str(address) for address in route.settings.get("to", [])],
        headers={"Message-ID": message_id(messages[0].uid), "Auto-Submitted": "auto-generated"},
        connection=get_connection(BACKEND),
    )
    try:
        letter.send()
    except smtplib.SMTPResponseException as fault:
        return Outcome(ok=False, fault=f"The mail server answered {fault.smtp_code}.")
    except smtplib.SMTPRecipientsRefused as fault:
        codes = sorted({code for code, _ in fault.recipients.values()})
        return Outcome(ok=False, fault=f"The mail server refused every address ({', '.join(map(str, codes))}).",
                       final=bool(codes) and codes[0] >= REFUSED_FOR_GOOD)  # fmt: skip
    except (OSError, smtplib.SMTPException) as fault:
        return Outcome(ok=False, fault=f"The mail server cannot be reached or broke off ({type(fault).__name__}).")
    except (BadHeaderError, ValueError):
        return Outcome(ok=False, fault="An address of this channel is not an e-mail address.", final=True)
    return DELIVERED


def message_id(uid: str) -> str:
    """A letter that is sent twice has the same id both times, so that mail programs show it once."""
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    return f"<{uid}@{sender.rpartition('@')[2] or 'strongroom'}>"
