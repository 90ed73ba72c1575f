"""How often somebody may ask the API: so many requests a minute for each person, and for each address of visitors.

Counted in Valkey, so that all processes of all hosts count together. Each request uses up its share of the minute, and
shares come back steadily: a minute's worth may be asked at once, and whoever is refused is told when the next share is
there. What is refused uses up nothing. Without Valkey nobody is refused: limits guard against too much, not access.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Any

import redis
from django.conf import settings
from rest_framework.exceptions import APIException, Throttled
from rest_framework.throttling import BaseThrottle

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.5
"""Longer than this no request waits for Valkey."""
PAUSE_SECONDS = 5
"""After a failure it is not asked for this long."""
MINUTE = 60.0
NETWORK_BITS = 64
"""Of an IPv6 address these name the network; whoever has one has all the addresses in it."""

# One key for each asker holds the time at which all that it used up is back (a "theoretical arrival time"). One that
# lies further ahead than it can was written before the server's clock leapt: it counts for nothing.
TAKE_SHARE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local share, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local back = tonumber(redis.call('GET', KEYS[1]) or now)
if back < now or back > now + room + 2 * share then back = now end
local wait = back - now - room
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', back + share), 'PX', math.ceil((back + share - now) * 1000) + 1000)
return '0'
"""

_gate = threading.Lock()
_closed_until = 0.0


class TooManyRequests(Throttled):
    """Somebody asks too often; `wait` seconds until they may again."""

    def __init__(self, wait: float, most: int, whose: str) -> None:
        self.wait = max(1, math.ceil(wait))
        seconds = "1 second" if self.wait == 1 else f"{self.wait} seconds"
        APIException.__init__(self, f"Too many requests: {whose} may ask the API {most} times a minute. Try again in "
                                    f"{seconds}.", self.default_code)  # fmt: skip


class RateLimit(BaseThrottle):
    """The framework's way to ask before each request of somebody who may be here; `refusals` asks for the others."""

    def allow_request(self, request: Any, view: Any) -> bool:
        """True, or TooManyRequests."""
        check_rate(request)
        return True


def check_rate(request: Any) -> None:
    """Count a request, once. Raises TooManyRequests."""
    asked = getattr(request, "_request", request)  # the framework's own would sign in again where that has failed
    if getattr(asked, "rate_checked", False):
        return
    asked.rate_checked = True
    user = getattr(asked, "user", None)
    if user is not None and user.is_authenticated:
        _check(f"person:{user.pk}", settings.STRONGROOM_API_RATE, "each person")
    else:
        most = settings.STRONGROOM_API_VISITOR_RATE
        _check(f"visitor:{network_of(asked.META.get('REMOTE_ADDR', ''))}", most, "visitors who are not signed in")


def _check(name: str, most: int, whose: str) -> None:
    if most > 0 and (wait := take_share(name, most)) > 0:
        raise TooManyRequests(wait, most, whose)


def take_share(name: str, most: int, per: float = MINUTE) -> float:
    """Use up one of the `most` shares that `name` has in `per` seconds: 0.0, or the seconds until there is one."""
    global _closed_until  # noqa: PLW0603 (one gate per process is the point)
    if time.monotonic() < _closed_until:
        return 0.0
    share = per / most
    try:
        said: Any = _client(settings.REDIS_URL).eval(
            TAKE_SHARE, 1, f"strongroom:rate:{name}", f"{share:.9f}", f"{per - share:.9f}"
        )
        return float(said)
    except (redis.RedisError, OSError, ValueError) as fault:
        with _gate:
            _closed_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("Requests to the API are not counted just now. (%s)", type(fault).__name__)
        return 0.0


def network_of(address: str) -> str:
    """What of an address counts as one visitor."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return f"{IPv6Address(int(found) >> (128 - NETWORK_BITS) << (128 - NETWORK_BITS))}/{NETWORK_BITS}"
    return str(found)


@cache
def _client(url: str) -> redis.Redis:
    return redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
