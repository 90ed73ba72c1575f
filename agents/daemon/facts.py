"""What a daemon says of its machine when it connects."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

from agents import __version__

LONGEST = 255
ZONES = "/zoneinfo/"


def facts(host: str, port: int, configuration: str) -> dict[str, str]:
    """The machine as its owners should see it; `configuration` is "good" or what is wrong with agent.toml."""
    said = {
        "hostname": platform.node() or "unnamed",
        "os": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "architecture": platform.machine(),
        "processors": str(os.cpu_count() or 1),
        "python": platform.python_version(),
        "agent_version": __version__,
        "address": _own_address(host, port),
        "configuration": configuration,
    }
    return {name: "".join(c for c in value if c.isprintable())[:LONGEST] for name, value in said.items() if value}


def zone() -> str:
    """The IANA name of the machine's time zone, "" when nothing says it."""
    named = os.environ.get("TZ", "").removeprefix(":")
    candidates = [named, _word("/etc/timezone"), _link("/etc/localtime")]
    return next((name for name in candidates if name and _is_zone(name)), "")


def _is_zone(name: str) -> bool:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return len(name) <= 64


def _link(path: str) -> str:
    target = os.path.realpath(path)
    return target.partition(ZONES)[2].removeprefix("posix/").removeprefix("right/")


def _word(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace").strip()[:100]
    except OSError:
        return ""


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _own_address(host: str, port: int) -> str:
    """The address under which this machine reaches the gateway; nothing is sent to find it."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
