"""Telling the local network where the gateway is, by DNS-SD.

What is announced is public: a name, the version, how busy the gateway is, and the fingerprint of the platform's CA,
which stands in every enrolment string. By itself a gateway announces itself on private addresses only, so one that
listens on loopback, or on the internet, says nothing to anybody.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

log = structlog.get_logger(__name__)

SERVICE = "_strongroom._tcp.local."
LONGEST_NAME = 60
AUTO, ON, OFF = "auto", "on", "off"
WISHES = (AUTO, ON, OFF)
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
WORTH_SAYING = 10
"""Percent by which the load must have changed."""


def addresses_to_announce(host: str, wish: str) -> list[str]:
    """On which addresses a gateway that listens on `host` announces itself: none with *off*, private ones with *auto*
    (10.…, 172.16.…, 192.168.…, fd…), every one that it listens on with *on*."""
    if wish == OFF:
        return []
    here = _own_addresses() if host in EVERYWHERE else [host]
    if wish == ON:
        return here
    return [one for one in here if _is_of_a_local_network(one)]


def _own_addresses() -> list[str]:
    """This host's IPv4 addresses but for loopback; none where zeroconf, which brings what looks, is not installed."""
    try:
        from ifaddr import get_adapters
    except ImportError:
        return []
    found = (ip.ip for adapter in get_adapters() for ip in adapter.ips if isinstance(ip.ip, str))
    return [one for one in found if not ip_address(one).is_loopback]


def _is_of_a_local_network(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:  # a name: whoever listens on one says `on` if it is to be announced
        return False
    return parsed.is_private and not parsed.is_loopback


def platform_version() -> str:
    """The version of the installed package; empty in a checkout that was not installed."""
    try:
        return version("strongroom")
    except PackageNotFoundError:
        return ""


class Announcer:
    """One gateway's announcement, on the gateway's own event loop. `load` is in percent."""

    def __init__(
        self, name: str, port: int, version: str, ca_fingerprint: str, addresses: Sequence[str], load: int = 0
    ) -> None:
        self._name = (name or socket.gethostname()).replace(".", "-")[:LONGEST_NAME]
        self._port = port
        self._addresses = list(addresses)
        self._words = {"name": name or self._name, "version": version, "ca": ca_fingerprint, "load": str(load)}
        self._zeroconf: AsyncZeroconf | None = None
        self._registered = f"{self._name}.{SERVICE}"

    async def start(self) -> bool:
        """Announce it. False, with a line in the log, where that is not possible: nothing depends on it."""
        try:
            from zeroconf import Error
            from zeroconf.asyncio import AsyncZeroconf
        except ImportError as fault:
            return _cannot(fault)
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._addresses)
            info = self._info()
            await self._zeroconf.async_register_service(info, allow_name_change=True)
            self._registered = info.name  # another gateway may have the name already
        except (OSError, Error) as fault:
            await self.stop()
            return _cannot(fault)
        log.info("the gateway is announced on the local network", addresses=self._addresses)
        return True

    async def say_load(self, percent: int) -> None:
        """Announce another load, if it is worth a word."""
        if self._zeroconf is None or abs(int(self._words["load"]) - percent) < WORTH_SAYING:
            return
        self._words["load"] = str(percent)
        await self._zeroconf.async_update_service(self._info())

    async def stop(self) -> None:
        """Take it back."""
        if self._zeroconf is not None:
            zeroconf, self._zeroconf = self._zeroconf, None
            await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()

    def _info(self) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            SERVICE,
            self._registered,
            parsed_addresses=self._addresses,
            port=self._port,
            properties=self._words,
        )


def _cannot(fault: Exception) -> bool:
    log.warning("the gateway is not announced on the local network", reason=str(fault))
    return False
