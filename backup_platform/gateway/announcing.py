"""Telling the local network where the gateway is, by DNS-SD. Off unless it is asked for and zeroconf is installed.

What is announced is public: a name, the version, how busy the gateway is, and the fingerprint of the platform's CA,
which stands in every enrolment string.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

log = structlog.get_logger(__name__)

SERVICE = "_strongroom._tcp.local."
LONGEST_NAME = 60


class Announcer:
    """One gateway's announcement, on the gateway's own event loop. `load` is in percent."""

    def __init__(
        self, name: str, port: int, version: str, ca_fingerprint: str, addresses: Sequence[str], load: int = 0
    ) -> None:
        self._name = name[:LONGEST_NAME] or socket.gethostname()
        self._port = port
        self._addresses = list(addresses)
        self._words = {"name": self._name, "version": version, "ca": ca_fingerprint, "load": str(load)}
        self._zeroconf: AsyncZeroconf | None = None

    async def start(self) -> bool:
        """Announce it. False, with a line in the log, where that is not possible: nothing depends on it."""
        try:
            from zeroconf.asyncio import AsyncZeroconf

            self._zeroconf = AsyncZeroconf(interfaces=self._addresses)
            await self._zeroconf.async_register_service(self._info(), allow_name_change=True)
        except (ImportError, OSError) as fault:
            log.warning("the gateway is not announced on the local network", reason=str(fault))
            return False
        return True

    async def say_load(self, percent: int) -> None:
        """Announce another load, if it is worth a word."""
        if self._zeroconf is None or abs(int(self._words["load"]) - percent) < 10:
            return
        self._words["load"] = str(percent)
        await self._zeroconf.async_update_service(self._info())

    async def stop(self) -> None:
        """Take it back."""
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()

    def _info(self) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            SERVICE,
            f"{self._name}.{SERVICE}",
            parsed_addresses=self._addresses,
            port=self._port,
            properties=self._words,
        )
