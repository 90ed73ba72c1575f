"""The dead man's ping: while everything is at work, an outside monitor is told so every minute.

Nobody inside can report that the inside is dead. So a monitor elsewhere expects this ping and raises the alarm when it
stays away: because the host is down, no worker works, the database is gone, or no gateway has written its beat.
The address is the operator's own setting and may lead anywhere; still no redirect is followed and nothing is read.
"""

from __future__ import annotations

import logging
import socket
from datetime import timedelta
from ipaddress import ip_address

from django.conf import settings
from django.utils import timezone

from backup_platform.fleet.models import GatewayBeat
from backup_platform.jobs.liveness import is_worker_alive
from backup_platform.notifications.safe_http import Answer, UrlRefused, check_url, exchange
from backup_platform.notifications.turns import note, take_turn
from backup_platform.safe_addresses import Resolved

logger = logging.getLogger(__name__)

TURN = "monitor"
EVERY = timedelta(seconds=55)
GATEWAY_SILENCE = timedelta(seconds=60)


def ping_when_due() -> bool:
    """Ping if an address is set, the minute is over and all is well; whether the monitor answered."""
    url = settings.STRONGROOM_MONITOR_URL
    if not url or not take_turn(TURN, EVERY):
        return False
    if fault := fault_of_platform():
        note(TURN, f"Not pinged: {fault}")
        logger.warning("The outside monitor was not pinged.", extra={"reason": fault})
        return False
    answer = _ping(url)
    good = answer.status is not None and 200 <= answer.status < 300
    note(TURN, "Pinged." if good else f"The monitor did not take it. {answer.fault or answer.status}")
    return good


def fault_of_platform() -> str:
    """What keeps the platform from being well; "" when nothing does. That this can be asked proves the database."""
    if not is_worker_alive():
        return "no worker has done a task for a minute"
    beat = GatewayBeat.objects.order_by("-seen_at").first()
    if beat is None or timezone.now() - beat.seen_at > GATEWAY_SILENCE:
        return "no gateway has been at work for a minute"
    return ""


def _ping(url: str) -> Answer:
    try:
        parts = check_url(url, may_be_plain=True)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(str(parts.hostname), port, type=socket.SOCK_STREAM)
    except (UrlRefused, OSError, UnicodeError) as fault:
        return Answer(None, str(fault) if isinstance(fault, UrlRefused) else "Its host name cannot be found.")
    address = ip_address(str(found[0][4][0]).partition("%")[0])
    return exchange("GET", parts, port, Resolved(str(parts.hostname), address, inside=True), None,
                    {"User-Agent": "Strongroom"})  # fmt: skip
