"""What may be written in a schedule, how it is read, and which sentence a wrong one gets."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from backup_platform.policies.timetable import (
    ScheduleFault,
    next_run,
    next_runs,
    parse_cron,
    read,
    read_blackouts,
    read_windows,
    zone_named,
)

START = datetime(2026, 5, 4, 12, tzinfo=UTC)  # a Monday


def cron(line: str, **more) -> dict:
    return {"schedule.kind": "cron", "schedule.cron": line, **{f"schedule.{name}": v for name, v in more.items()}}


def days_of(line: str, most: int = 5) -> list[str]:
    return [run.strftime("%a %d %b %H:%M") for run in next_runs(START, read(cron(line), "UTC"), "m", most)]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("30 1 * * mon-fri", ["Tue 05 May 01:30", "Wed 06 May 01:30"]),
        ("0 0 * * 7", ["Sun 10 May 00:00", "Sun 17 May 00:00"]),
        ("0 0 * * FRI-SUN", ["Fri 08 May 00:00", "Sat 09 May 00:00", "Sun 10 May 00:00", "Fri 15 May 00:00"]),
        ("0 0 13 * fri", ["Fri 08 May 00:00", "Wed 13 May 00:00", "Fri 15 May 00:00"]),
        ("0 0 1 jan,jul *", ["Wed 01 Jul 00:00", "Fri 01 Jan 00:00"]),
        ("*/20 12-13 4 5 *", ["Mon 04 May 12:20", "Mon 04 May 12:40", "Mon 04 May 13:00"]),
        ("5/25 0 * * *", ["Tue 05 May 00:05", "Tue 05 May 00:30", "Tue 05 May 00:55"]),
        ("0 0 29 2 *", ["Tue 29 Feb 00:00"]),
        ("  0   0 * * *", ["Tue 05 May 00:00"]),
    ],
)
def test_cron_lines_are_read_as_cron_reads_them(line, wanted):
    assert days_of(line, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "five fields"),
        ("* * * *", "4 were given"),
        ("* * * * * *", "6 were given"),
        ("60 * * * *", "field minute; use 0 to 59"),
        ("* 25 * * *", "field hour; use 0 to 23"),
        ("* * 0 * *", "field day of month; use 1 to 31"),
        ("* * * 13 *", "field month; use 1 to 12 or jan to dec"),
        ("* * * * 8", "field day of week; use 0 to 7 or sun to sat"),
        ("* * * * montag", "field day of week"),
        ("5-1 * * * *", "goes backwards"),
        ("*/0 * * * *", "the step"),
        ("*/99 * * * *", "the step"),
        ("1,,2 * * * *", "not understood in the field minute"),
        ("-5 * * * *", "not understood in the field minute"),
        ("* * L * *", "not understood in the field day of month"),
        ("* * ? * *", "not understood in the field day of month"),
        ("٣ * * * *", "not understood in the field minute"),
        ("@daily", "for @daily write 0 0 * * *"),
        ("@reboot", "five fields"),
        ("0 0 31 2 *", "it never comes"),
        ("0 0 31 4,6,9,11 *", "use a day up to 30"),
        ("1," * 200 + "1 * * * *", "longer than 200 characters"),
    ],
)
def test_a_wrong_cron_line_is_told_by_its_field(line, said):
    with pytest.raises(ScheduleFault, match="cron line") as told:
        parse_cron(line)
    assert said in str(told.value)
    assert told.value.setting == "schedule.cron"


@pytest.mark.parametrize(
    "name", ["Europe/Berln", "", "Mars", "../../etc/passwd", "Europe", "localtime", "a" * 300, "\0"]
)
def test_a_zone_that_does_not_exist_is_refused(name):
    with pytest.raises(ScheduleFault, match="no time zone"):
        zone_named(name)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"days": [], "from": "22:00", "until": "06:00"}, "never opens"),
        ({"days": [7], "from": "22:00", "until": "06:00"}, "from 0 .Monday. to 6"),
        ({"days": [1], "from": "22:00", "until": "22:00"}, "never opens"),
        ({"days": [1], "from": "9:00", "until": "22:00"}, "write its times"),
        ({"days": [1], "from": "09:00", "until": "24:30"}, "write its times"),
        ({"days": [1]}, "write its times"),
    ],
)
def test_a_wrong_window_is_told(rule, said):
    with pytest.raises(ScheduleFault, match=said):
        read_windows([rule])


@pytest.mark.parametrize(
    "rule", [{"from": "Christmas", "until": "2026-12-26"}, {}, {"from": "2026-12-26", "until": "2026-12-24"}]
)
def test_a_wrong_blackout_is_told(rule):
    with pytest.raises(ScheduleFault, match="Blackout 1"):
        read_blackouts([rule], zone_named("utc"))


def test_windows_may_run_past_midnight_and_past_the_weeks_end():
    windows = [{"days": [6], "from": "22:00", "until": "02:00"}]
    found = next_runs(START, read(cron("0 * * * *", windows=windows, catch_up="skip"), "UTC"), "m", 5)
    assert [run.strftime("%a %H") for run in found] == ["Sun 22", "Sun 23", "Mon 00", "Mon 01", "Sun 22"]


def test_windows_that_fill_the_week_are_no_windows():
    assert read_windows([{"days": list(range(7)), "from": "06:00", "until": "06:00".replace("06", "18")}]).spans
    whole = [{"days": list(range(7)), "from": "00:00", "until": "24:00"}]
    assert read_windows(whole) == read_windows([])


def test_what_falls_due_outside_the_window_runs_once_when_it_opens():
    windows = [{"days": list(range(7)), "from": "22:30", "until": "05:00"}]
    found = next_runs(START, read(cron("0 12,13 * * *", windows=windows), "UTC"), "m", 2)
    assert [run.strftime("%d %H:%M") for run in found] == ["04 22:30", "05 22:30"]


def test_with_catch_up_skip_it_is_left_out_and_a_line_that_never_meets_its_window_never_comes():
    windows = [{"days": list(range(7)), "from": "22:30", "until": "05:00"}]
    begun = time.monotonic()
    assert next_run(START, read(cron("0 12,13 * * *", windows=windows, catch_up="skip"), "UTC"), "m") is None
    assert next_run(START, read(cron("* 12 * * *", windows=windows, catch_up="skip"), "Europe/Berlin"), "m") is None
    assert time.monotonic() - begun < 20  # bounded; a second on a quiet machine


def test_a_blackout_puts_off_until_it_ends_and_dates_count_whole_days():
    blackouts = [{"from": "2026-05-05", "until": "2026-05-06"}]
    found = next_runs(START, read(cron("0 2 * * *", blackouts=blackouts), "Europe/Berlin"), "m", 2)
    assert found[0] == datetime(2026, 5, 6, 22, tzinfo=UTC)  # midnight of the 7th in Berlin, for the 5th and the 6th
    assert found[1] == datetime(2026, 5, 7, 0, tzinfo=UTC)


def test_a_question_within_the_blackout_knows_what_fell_due_before():
    blackouts = [{"from": "2026-05-05T00:00Z", "until": "2026-05-20T00:00Z"}]
    timetable = read(cron("0 2 5 * *", blackouts=blackouts), "UTC")
    for day in (5, 7, 19):
        assert next_run(datetime(2026, 5, day, 9, tzinfo=UTC), timetable, "m") == datetime(2026, 5, 20, tzinfo=UTC)


def test_jitter_never_leaves_the_window():
    windows = [{"days": list(range(7)), "from": "02:00", "until": "02:10"}]
    timetable = read(cron("0 2 * * *", windows=windows, jitter_minutes=600), "UTC")
    found = {next_run(START, timetable, f"machine {number}") for number in range(200)}
    opens = datetime(2026, 5, 5, 2, tzinfo=UTC)
    assert len(found) > 100
    assert all(opens <= run < opens + timedelta(minutes=10) for run in found)


def test_intervals_of_many_machines_do_not_begin_together():
    timetable = read({"schedule.kind": "interval", "schedule.every_minutes": 60}, "UTC")
    assert len({next_run(START, timetable, f"machine {number}") for number in range(500)}) > 50


def test_a_schedule_of_kind_none_has_no_timetable():
    assert read({"schedule.kind": "none", "schedule.cron": "nonsense"}, "UTC") is None


@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule.kind": "weekly"},
        {"schedule.kind": "interval", "schedule.every_minutes": 0},
        {"schedule.kind": "interval", "schedule.every_minutes": "60"},
        cron("0 0 * * *", jitter_minutes=-1),
    ],
)
def test_other_wrong_settings_are_told(schedule):
    with pytest.raises(ScheduleFault):
        read(schedule, "UTC")


def test_a_fraction_of_a_second_makes_no_run_come_twice():
    timetable = read(cron("0 * * * *"), "UTC")
    assert next_run(START.replace(microsecond=1), timetable, "m") == START + timedelta(hours=1)
    assert next_run(START - timedelta(microseconds=1), timetable, "m") == START
