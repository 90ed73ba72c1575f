"""Both edges of daylight saving time in three zones, one of which changes its clock by half an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from backup_platform.policies.timetable import next_runs, read

# zone, a moment some hours before the change, the change itself, its length in minutes (negative: set back)
CHANGES = [
    ("Europe/Berlin", "2026-03-28T12:00Z", "2026-03-29T01:00Z", 60),
    ("Europe/Berlin", "2026-10-24T12:00Z", "2026-10-25T01:00Z", -60),
    ("America/New_York", "2026-03-07T17:00Z", "2026-03-08T07:00Z", 60),
    ("America/New_York", "2026-10-31T17:00Z", "2026-11-01T06:00Z", -60),
    ("Australia/Lord_Howe", "2026-10-03T02:00Z", "2026-10-03T15:30Z", 30),
    ("Australia/Lord_Howe", "2026-04-04T02:00Z", "2026-04-04T15:00Z", -30),
]
FORWARD = [change for change in CHANGES if change[3] > 0]
BACK = [change for change in CHANGES if change[3] < 0]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def runs(cron: str, zone: str, after: str, days: int = 2, **more) -> list[datetime]:
    schedule = {"schedule.kind": "cron", "schedule.cron": cron, **{f"schedule.{k}": v for k, v in more.items()}}
    end = at(after) + timedelta(days=days)
    return [run for run in next_runs(at(after), read(schedule, zone), "m", 500) if run < end]


def walls(found: list[datetime], zone: str) -> list[str]:
    return [run.astimezone(ZoneInfo(zone)).strftime("%d %H:%M") for run in found]


@pytest.mark.parametrize(("zone", "before", "change", "length"), FORWARD)
def test_a_time_that_does_not_exist_runs_once_at_the_first_moment_after_the_gap(zone, before, change, length):
    found = runs("15 2 * * *", zone, before)
    assert at(change) in found
    of_the_day = [run for run in found if abs(run - at(change)) < timedelta(hours=12)]
    assert of_the_day == [at(change)]


@pytest.mark.parametrize(("zone", "before", "change", "length"), FORWARD)
def test_several_times_in_the_gap_run_once_together(zone, before, change, length):
    found = runs("5,10,20 2 * * *", zone, before)
    assert [run for run in found if abs(run - at(change)) < timedelta(minutes=20)] == [at(change)]


@pytest.mark.parametrize(("zone", "before", "change", "length"), BACK)
def test_a_time_that_comes_twice_runs_at_its_first(zone, before, change, length):
    local = at(change).astimezone(ZoneInfo(zone)) + timedelta(minutes=15)  # a wall time of the second pass
    found = runs(f"{local.minute} {local.hour} * * *", zone, before)
    of_the_day = [run for run in found if abs(run - at(change)) < timedelta(hours=12)]
    assert of_the_day == [at(change) + timedelta(minutes=15 + length)]


@pytest.mark.parametrize("minute", [0, 15, 30, 45])
@pytest.mark.parametrize(("zone", "before", "change", "length"), CHANGES)
def test_an_every_hour_line_runs_in_every_real_hour(zone, before, change, length, minute):
    found = runs(f"{minute} * * * *", zone, before)
    pauses = [later - earlier for earlier, later in pairwise(found)]
    assert max(pauses) == timedelta(hours=1)
    if length in (60, -60):
        assert set(pauses) == {timedelta(hours=1)}
    else:
        assert len(found) in (48, 49)


@pytest.mark.parametrize(("zone", "before", "change", "length"), CHANGES)
def test_an_every_minute_line_runs_in_every_real_minute(zone, before, change, length):
    schedule = {"schedule.kind": "cron", "schedule.cron": "* * * * *"}
    start = at(change) - timedelta(hours=2)
    found = next_runs(start, read(schedule, zone), "m", 240)
    assert found == [start + timedelta(minutes=number) for number in range(1, 241)]


@pytest.mark.parametrize(("zone", "before", "change", "length"), CHANGES)
def test_a_daily_run_outside_the_change_keeps_its_wall_time(zone, before, change, length):
    found = runs("30 22 * * *", zone, before, days=4)
    assert {wall[3:] for wall in walls(found, zone)} == {"22:30"}
    assert len(found) == 4


def test_a_machine_in_berlin_of_a_server_in_utc_runs_at_its_own_two_o_clock():
    found = runs("0 2 * * *", "Europe/Berlin", "2026-03-27T12:00Z", days=4)
    assert found == [at(f"2026-03-{text}Z") for text in ("28T01:00", "29T01:00", "30T00:00", "31T00:00")]
    assert walls(found, "Europe/Berlin") == ["28 02:00", "29 03:00", "30 02:00", "31 02:00"]


def test_a_window_is_read_by_the_clock_on_the_wall_in_both_passes():
    """01:00 to 02:30 on the night when 02:00 to 03:00 comes twice: the second pass is inside until 02:30, too."""
    window = [{"days": [6], "from": "01:00", "until": "02:30"}]
    found = runs("*/30 * * * *", "Europe/Berlin", "2026-10-24T20:00Z", days=1, windows=window, catch_up="skip")
    assert found == [at(f"2026-10-2{text}Z") for text in ("4T23:00", "4T23:30", "5T00:00", "5T01:00")]


def test_a_window_that_lies_in_the_gap_opens_nothing_that_night():
    window = [{"days": [6], "from": "02:00", "until": "03:00"}]
    found = runs("*/30 * * * *", "Europe/Berlin", "2026-03-28T12:00Z", days=9, windows=window, catch_up="skip")
    assert walls(found, "Europe/Berlin") == ["05 02:00", "05 02:30"]


def test_a_blackout_to_a_time_that_comes_twice_lasts_to_its_second():
    dark = [{"from": "2026-10-25T02:00", "until": "2026-10-25T02:30"}]
    found = runs("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45Z", days=1, blackouts=dark)[:2]
    assert found == [at("2026-10-25T01:30Z"), at("2026-10-25T02:00Z")]


def test_midnight_that_does_not_exist_runs_at_the_first_moment_of_that_day():
    found = runs("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00Z", days=2)
    assert walls(found, "Africa/Cairo") == ["24 01:00", "25 00:00"]


def test_a_day_that_a_zone_left_out_is_made_up_for_on_the_next():
    found = runs("0 12 30 12 *", "Pacific/Apia", "2011-12-28T00:00Z", days=5)
    assert walls(found, "Pacific/Apia") == ["31 00:00"]


def test_the_same_line_in_another_zone_runs_at_other_moments():
    start = "2026-06-01T00:00Z"
    berlin, york = (runs("0 9 * * *", zone, start, days=1) for zone in ("Europe/Berlin", "America/New_York"))
    assert york[0] - berlin[0] == timedelta(hours=6)
    assert berlin[0] == datetime(2026, 6, 1, 7, tzinfo=UTC)
