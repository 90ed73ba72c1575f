"""How fast this machine may send at this moment: the strictest of its own limits, a policy's and the command line's."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.transport.calendar import KBIT, Calendar, local_now, read_calendar, stricter
from agents.transport.throttle import RoomForOthers, Throttle

if TYPE_CHECKING:
    from agents.daemon.configuration import Limits
    from agents.daemon.configuration_file import ConfigurationFile


class UploadRate:
    """Asked about once a second by whoever sends. It follows `agent.toml` while it runs."""

    def __init__(self, own: ConfigurationFile | None, policy: Calendar, fixed: float | None, zone: str) -> None:
        self._own = own
        self._policy = policy
        self._fixed = fixed
        self._zone = zone
        self._lock = threading.Lock()
        self._limits: Limits | None = None
        self._calendar = Calendar()

    def __call__(self) -> float | None:
        """Bytes a second, None for no limit."""
        now = local_now(self._zone)
        with self._lock:
            own = self._own_calendar().rate(now)
        return stricter(own, self._policy.rate(now), self._fixed)

    def _own_calendar(self) -> Calendar:
        if self._own is None:
            return self._calendar
        self._own.refresh()
        limits = self._own.loaded.configuration.limits
        if limits is not self._limits:
            self._limits, self._calendar = limits, own_calendar(limits)
        return self._calendar


def own_calendar(limits: Limits) -> Calendar:
    """The calendar of this machine's own configuration."""
    windows = [
        {"days": window.days, "from": window.start, "until": window.until, "kbit_per_second": window.kbit_per_second}
        for window in limits.bandwidth
    ]
    return read_calendar(windows, limits.kbit_per_second)


def policy_calendar(settings: Mapping[str, Any]) -> Calendar:
    """The calendar of a policy's settings; one that this agent cannot read limits nothing."""
    try:
        return read_calendar(settings.get("limits.bandwidth") or (), settings.get("limits.bandwidth_default"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Calendar()


def throttle_for(
    home: Path,
    settings: Mapping[str, Any] | None = None,
    zone: str = "",
    kbit: int | None = None,
    *,
    adaptive: bool = False,
) -> Throttle | None:
    """The throttle of one backup; None when nothing limits it, so that it costs nothing then."""
    from agents.daemon.configuration_file import FILE

    own_exists = (home / FILE).exists()
    if settings is None and kbit is None and not adaptive and not own_exists:
        return None
    from agents.daemon.configuration_file import ConfigurationFile

    own = ConfigurationFile(home, keep=False)
    own.refresh()
    policy = settings or {}
    rate = UploadRate(own, policy_calendar(policy), None if kbit is None else float(kbit * KBIT), zone)
    spares = adaptive or own.loaded.configuration.limits.adaptive or bool(policy.get("limits.adaptive"))
    return Throttle(rate, RoomForOthers() if spares else None)
