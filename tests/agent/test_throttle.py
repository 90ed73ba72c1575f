"""Rates: by calendar, never exceeded for long, and with room for others."""

from __future__ import annotations

import datetime
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.calendar import KBIT, Calendar, local_now, read_calendar, stricter
from agents.transport.throttle import LEAST_RATE, RoomForOthers, Throttle, round_trips


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


PEER, OTHER = socket.socketpair()


def sent_in(throttle: Throttle, clock: Clock, seconds: float) -> int:
    """Send as much as is allowed for some seconds."""
    total, until = 0, clock.now + seconds
    while clock.now < until:
        throttle.look(PEER)
        piece = throttle.piece()
        if piece:
            size = min(piece, 60_000)
            throttle.spent(size)
            total += size
        else:
            clock.now += throttle.wait()
    return total


@given(st.integers(16, 1_000_000))
def test_no_more_is_sent_than_the_rate_allows_and_hardly_less(kbit: int):
    clock = Clock()
    throttle = Throttle(lambda: float(kbit * KBIT), clock=clock)
    sent = sent_in(throttle, clock, 100)
    # A quarter of a second's worth may go at once, and a piece may make a debt.
    assert 0.95 * kbit * KBIT * 100 <= sent + 65_536
    assert sent <= kbit * KBIT * 100.5 + 65_536


def test_no_limit_is_no_wait():
    throttle = Throttle(lambda: None)
    throttle.look(PEER)
    assert throttle.piece() > 1 << 20
    assert throttle.wait() == 0


def test_rate_that_changes_counts_from_then_on():
    clock, rate = Clock(), [1_000_000.0]
    throttle = Throttle(lambda: rate[0], clock=clock)
    sent_in(throttle, clock, 10)
    rate[0] = 10_000.0
    clock.now += 1
    sent_in(throttle, clock, 2)
    assert sent_in(throttle, clock, 50) < 700_000


def test_tiny_rates_keep_the_connection_alive():
    clock = Clock()
    throttle = Throttle(lambda: 1.0, clock=clock)
    assert sent_in(throttle, clock, 60) >= 0.9 * LEAST_RATE * 60
    assert throttle.wait() < 1


def test_sending_slows_down_while_the_way_is_long_and_recovers():
    clock, times = Clock(), [0.02, 0.02]
    judge = RoomForOthers(lambda connection: (times[0], times[1]))
    throttle = Throttle(lambda: 2_000_000.0, judge, clock)
    free = sent_in(throttle, clock, 20)
    times[0] = 0.2
    sent_in(throttle, clock, 15)
    crowded = sent_in(throttle, clock, 20)
    assert crowded < free / 4
    assert crowded >= 0.9 * 20 * RoomForOthers.FLOOR
    times[0] = 0.02
    sent_in(throttle, clock, 60)
    assert sent_in(throttle, clock, 20) > free / 2


def test_kernel_tells_round_trips_of_a_real_connection_and_nothing_of_others():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        accepted.close()
        times = round_trips(client)
        assert times is None or 0 <= times[1] <= times[0] < 10
    assert round_trips(PEER) is None


CALENDAR = read_calendar(
    [
        {"days": [0, 1, 2, 3, 4], "from": "08:00", "until": "18:00", "kbit_per_second": 1000},
        {"days": [5], "from": "22:00", "until": "06:00", "kbit_per_second": None},
        {"days": [0], "from": "09:00", "until": "10:00", "kbit_per_second": 500},
    ],
    8000,
)
MONDAY = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("day", "hour", "minute", "kbit"),
    [
        (0, 7, 59, 8000),
        (0, 8, 0, 1000),
        (0, 9, 30, 500),
        (4, 17, 59, 1000),
        (4, 18, 0, 8000),
        (5, 12, 0, 8000),
        (5, 23, 0, None),
        (6, 5, 59, None),
        (6, 6, 0, 8000),
        (5, 5, 0, 8000),
    ],
)
def test_rate_of_a_moment_is_that_of_the_strictest_open_window(day: int, hour: int, minute: int, kbit: int | None):
    rate = CALENDAR.rate(MONDAY + datetime.timedelta(days=day, hours=hour, minutes=minute))
    assert rate == (None if kbit is None else kbit * KBIT)


def test_whole_days_and_empty_calendars():
    assert Calendar().rate(MONDAY) is None
    whole = read_calendar([{"days": [0], "from": "00:00", "until": "24:00", "kbit_per_second": 16}], None)
    assert whole.rate(MONDAY + datetime.timedelta(hours=23, minutes=59)) == 16 * KBIT
    assert whole.rate(MONDAY + datetime.timedelta(days=1)) is None


def test_stricter_rate_wins_and_none_is_no_limit():
    assert stricter(None, 5.0, 3.0) == 3.0
    assert stricter(None, None) is None


def test_zone_that_this_machine_does_not_know_is_its_own():
    assert local_now("Mars/Olympus").utcoffset() == datetime.datetime.now().astimezone().utcoffset()
    assert local_now("Asia/Tokyo").utcoffset() == datetime.timedelta(hours=9)
