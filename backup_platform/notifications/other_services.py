"""Other services (chats, pagers) through apprise, an extra package that is loaded only when such a channel is used.

Apprise turns one address into requests of its own making, so the operator says which of its services may be used
(STRONGROOM_APPRISE_SCHEMES). Those allowed from the start talk to their makers' own hosts only; services whose address
names a host (`json://`, `ntfy://`) would go around the checks of safe_addresses, and are the operator's to allow.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings

from backup_platform.notifications.messages import Message
from backup_platform.notifications.outcomes import DELIVERED, Outcome, Route

MISSING = "The package apprise is not installed on this platform: its operator installs it (pip install apprise)."


class ServiceRefused(ValueError):
    """An apprise address that cannot be used; the text says why and never repeats it."""


def check_address(url: str) -> str:
    """The service's scheme. Raises ServiceRefused for one that is not allowed or no address of such a service."""
    scheme, mark, rest = url.strip().partition("://")
    scheme = scheme.lower()
    allowed = [name.lower() for name in settings.STRONGROOM_APPRISE_SCHEMES]
    several = "://" in rest or any(character.isspace() for character in rest)
    if not mark or not rest or several:
        raise ServiceRefused("This is not one address of apprise's: write service://…, as apprise's pages show it.")
    if scheme not in allowed:
        raise ServiceRefused(
            f"This platform allows only these services: {', '.join(sorted(allowed)) or 'none'}."
            " Its operator names others in STRONGROOM_APPRISE_SCHEMES."
        )
    if (apprise := _apprise()) is not None and apprise.Apprise.instantiate(url.strip()) is None:
        raise ServiceRefused(f"Apprise does not understand this address of {scheme}.")
    return scheme


def send_note(route: Route, message: Message) -> Outcome:
    """Send one message."""
    if (apprise := _apprise()) is None:
        return Outcome(ok=False, fault=MISSING)
    address = str(route.secrets.get("url", ""))
    try:
        check_address(address)  # what was allowed when it was saved may not be any more
    except ServiceRefused as fault:
        return Outcome(ok=False, fault=str(fault))
    # Made from exactly one address: given a text, apprise would take a list of them, of whatever services.
    service = apprise.Apprise.instantiate(address)
    if service is not None and service.notify(body=message.text, title=message.title):
        return DELIVERED
    return Outcome(ok=False, fault="The service did not take it.")


def _apprise() -> Any:
    try:
        return import_module("apprise")
    except ImportError:
        return None
