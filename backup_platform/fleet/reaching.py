"""Where agents reach this platform, as enrolment strings say it."""

from __future__ import annotations

from django.conf import settings

from .errors import TermsRefused


def gateway_address() -> tuple[str, int]:
    """Host and port of the gateway, from the running instance or the settings. Raises `TermsRefused`."""
    host, _, port = settings.STRONGROOM_GATEWAY_ADDRESS.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise TermsRefused(
            "Nobody has said where agents reach the gateway: set STRONGROOM_GATEWAY_ADDRESS to host:port."
        )
    return host, int(port)


def enrollment_address() -> str:
    """The part of an enrolment string before its parameters: strongroom://host:port/."""
    host, port = gateway_address()
    return f"strongroom://[{host}]:{port}/" if ":" in host else f"strongroom://{host}:{port}/"
