"""From a channel and its messages to what came of each. Touches no row, so it may run in threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from backup_platform.notifications.mail import send_letter
from backup_platform.notifications.messages import Message
from backup_platform.notifications.models import Channel
from backup_platform.notifications.other_services import send_note
from backup_platform.notifications.outcomes import Outcome, Route
from backup_platform.notifications.secret_box import open_sealed
from backup_platform.notifications.webhook import send_hook
from backup_platform.notifications.words import ChannelKind

logger = logging.getLogger(__name__)


def route_of(channel: Channel) -> Route:
    """A channel's way out, secrets opened. Raises SecretUnreadable."""
    secrets = open_sealed(channel.pk, bytes(channel.sealed))
    return Route(channel.pk, channel.kind, channel.name, dict(channel.settings), secrets)


def send_all(route: Route, messages: Sequence[Message], until: float) -> list[Outcome | None]:
    """What came of each message; None for those that were not tried: after a failure, or past `until` (monotonic)."""
    try:
        if route.kind == ChannelKind.EMAIL:
            return [send_letter(route, messages)] * len(messages)
        one = send_hook if route.kind == ChannelKind.WEBHOOK else send_note
        return _one_by_one(one, route, messages, until)
    except Exception as fault:  # noqa: BLE001 (the boundary: a fault in a sender is an attempt that failed)
        # Without the traceback: what it shows may hold an address.
        known = {"channel": str(route.channel_id), "kind": route.kind, "fault": type(fault).__name__}
        logger.error("A channel could not be used.", extra=known)  # noqa: TRY400
        failed = Outcome(ok=False, fault=f"Sending failed inside the platform ({type(fault).__name__}).")
        return [failed, *[None] * (len(messages) - 1)]


def _one_by_one(
    send: Callable[[Route, Message], Outcome], route: Route, messages: Sequence[Message], until: float
) -> list[Outcome | None]:
    outcomes: list[Outcome | None] = []
    for message in messages:
        failed = bool(outcomes) and (outcomes[-1] is None or not outcomes[-1].ok)
        late = bool(outcomes) and time.monotonic() > until
        outcomes.append(None if failed or late else send(route, message))
    return outcomes
