"""Gateways of the local network, by DNS-SD. What is heard there is anybody's word: it helps to find and proves nothing.

The agent trusts a gateway by the CA that its enrolment string pins, never by what is announced.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.errors import AgentError

if TYPE_CHECKING:
    from zeroconf import ServiceInfo

SERVICE = "_strongroom._tcp.local."
MOST_FOUND = 100
LONGEST = 200
RESOLVE = 1500
"""Milliseconds for one announcement to give its address."""
FINGERPRINT = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Found:
    """A gateway that announces itself. `ca` is SHA-256 of the platform's CA certificate in hexadecimal; `load` is in
    percent of what the gateway takes at a time, None when it does not say."""

    name: str
    host: str
    port: int
    version: str
    ca: str
    load: int | None

    @property
    def address(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def discover(seconds: float, interfaces: Sequence[str] | None = None) -> list[Found]:
    """Listen for so long and return what was heard, by name. Raises AgentError where that is impossible."""
    try:
        from zeroconf import InterfaceChoice, ServiceBrowser, Zeroconf
    except ImportError:
        raise AgentError(
            "Looking for gateways needs the package zeroconf, which is not installed.",
            "pip install 'strongroom[discover]', or ask the operator for the gateway's address.",
        ) from None
    names: dict[str, None] = {}
    lock = threading.Lock()

    def heard(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        with lock:
            if len(names) < MOST_FOUND:
                names[name] = None

    try:
        zeroconf = Zeroconf(interfaces=list(interfaces) if interfaces else InterfaceChoice.All)
    except OSError as fault:
        why = (fault.strerror or type(fault).__name__).lower()
        raise AgentError(f"The local network cannot be listened to: {why}.", "Is there a network?") from fault
    try:
        ServiceBrowser(zeroconf, SERVICE, handlers=[heard])
        time.sleep(seconds)
        with lock:
            heard_names = list(names)
        infos = (zeroconf.get_service_info(SERVICE, name, RESOLVE) for name in heard_names)
        found = {gateway for info in infos if info is not None for gateway in read(info)}
    finally:
        zeroconf.close()
    return sorted(found, key=lambda gateway: (gateway.name, gateway.host))


def read(info: ServiceInfo) -> list[Found]:
    """What an announcement says, as far as it makes sense: one entry for each of its first addresses."""
    words = info.properties or {}
    port = info.port
    if not isinstance(port, int) or not 0 < port < 65_536:
        return []
    load = _word(words, b"load")
    return [
        Found(
            name=_word(words, b"name") or _plain(info.name.removesuffix(f".{SERVICE}")),
            host=address,
            port=port,
            version=_word(words, b"version"),
            ca=ca if FINGERPRINT.match(ca := _word(words, b"ca")) else "",
            load=min(int(load), 100) if load.isascii() and load.isdigit() and len(load) < 4 else None,
        )
        for address in info.parsed_addresses()[:1]
    ]


def _word(words: Mapping[bytes, bytes | None], key: bytes) -> str:
    return _plain((words.get(key) or b"").decode("utf-8", "replace"))


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:LONGEST]
