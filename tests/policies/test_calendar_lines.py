"""What people write in a form's lines is read, shown again as they would write it, and faults name the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.policies import calendar_lines as lines
from backup_platform.policies.errors import SettingRefused
from backup_platform.policies.registry import check_settings

DAYS = st.sets(st.integers(0, 6), min_size=1).map(sorted)
CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
WINDOWS = st.builds(lambda days, begin, end: {"days": days, "from": begin, "until": end}, DAYS, CLOCKS, CLOCKS)


@given(WINDOWS, st.none() | st.integers(8, 10**6))
def test_what_is_shown_is_read_back(window, rate):
    assert lines.read_window(lines.window_shown(window)) == window
    rule = {**window, "kbit_per_second": rate}
    assert lines.read_bandwidth(lines.bandwidth_shown(rule)) == rule


@given(st.integers(1, 2**60))
def test_a_size_is_shown_exactly(count):
    assert lines.read_size(lines.size_shown(count)) == count


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("Mon-Fri", [0, 1, 2, 3, 4]), ("fri-mon", [0, 4, 5, 6]), ("Sat,Sun", [5, 6]), ("sat sun", [5, 6]),
        ("Monday", [0]), ("weekend", [5, 6]), ("weekdays", [0, 1, 2, 3, 4]), ("daily", list(range(7))),
        ("", list(range(7))),
    ],
)  # fmt: skip
def test_days_are_read_as_people_write_them(text, days):
    assert lines.read_days(text) == days


@pytest.mark.parametrize("line", ["Mon 9:00 - 17:00", "mon 09:00–17:00", "Monday 09:00 until 17:00"])
def test_a_window_may_be_written_in_several_ways(line):
    assert lines.read_window(line) == {"days": [0], "from": "09:00", "until": "17:00"}


@pytest.mark.parametrize(
    ("text", "size"), [("500 MB", 500 * 10**6), ("1.5GiB", 3 * 2**29), ("4096", 4096), ("2k", 2000)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert lines.read_size(text) == size


def test_a_day_of_blackout_and_a_span():
    assert lines.read_blackout("2026-12-24") == {"from": "2026-12-24", "until": "2026-12-24"}
    span = lines.read_blackout("2026-12-24T18:00 until 2026-12-26")
    assert span == {"from": "2026-12-24T18:00", "until": "2026-12-26"}
    assert lines.blackout_shown(span) == "2026-12-24T18:00 until 2026-12-26"


@pytest.mark.parametrize(
    ("reader", "line", "words"),
    [
        (lines.read_window, "nights", "not a window"),
        (lines.read_window, "Mon 22:00-06:00 sharp", "not a window"),
        (lines.read_window, "Foo 22:00-06:00", "not a day"),
        (lines.read_bandwidth, "Mon 08:00-09:00 fast", "not understood"),
        (lines.read_size, "big", "not a size"),
    ],
)
def test_what_is_not_understood_gets_an_example(reader, line, words):
    with pytest.raises(SettingRefused, match=words) as caught:
        lines.read_lines(f"\n{line}\n", reader)
    assert str(caught.value).startswith("Line 2:")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    for reader in (lines.read_window, lines.read_bandwidth, lines.read_blackout, lines.read_size):
        try:
            found = reader(text)
        except SettingRefused:
            continue
        if reader is lines.read_window:
            check_settings({"schedule.windows": [found]})
