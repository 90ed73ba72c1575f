"""Timetables are what a walk through every minute finds, whatever the settings, over the clock's changes too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_platform.policies.timetable import next_run, next_runs, read
from backup_platform.policies.timetable.reading import share_of
from tests.policies.timetable_oracle import MINUTE, Walk

DAYS = 12
LEAD = 3
"""Days before the first that is judged: what fell due in them may still wait for its window."""
EDGES = {
    "Europe/Berlin": (datetime(2026, 3, 22, tzinfo=UTC), datetime(2026, 10, 18, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 9, 26, tzinfo=UTC)),
    "Asia/Kolkata": (datetime(2026, 5, 1, tzinfo=UTC),),
    "Africa/Cairo": (datetime(2026, 4, 16, tzinfo=UTC), datetime(2026, 10, 22, tzinfo=UTC)),
}
WALKS = {(zone, begin): Walk(begin, DAYS, zone) for zone, begins in EDGES.items() for begin in begins}


def numbers(lowest: int, highest: int) -> st.SearchStrategy[str]:
    """A cron field: anything, a number, a list, a range, a step."""
    one = st.integers(lowest, highest)
    return st.one_of(
        one.map(str),
        st.lists(one, min_size=2, max_size=4).map(lambda found: ",".join(map(str, found))),
        st.tuples(one, one).map(lambda ends: f"{min(ends)}-{max(ends)}"),
        st.integers(2, 20).map(lambda step: f"*/{min(step, highest)}"),
        st.just("*"),
    )


ANY_DAY = st.just("*")
CRONS = st.builds(
    lambda *words: " ".join(words),
    numbers(0, 59),
    numbers(0, 23) | st.just("*") | st.sampled_from(["1", "2", "1-3"]),
    ANY_DAY | numbers(1, 28),
    ANY_DAY,
    ANY_DAY | numbers(0, 6),
)
CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
WINDOWS = st.lists(
    st.builds(
        lambda days, begin, end: {"days": sorted(days), "from": begin, "until": end},
        st.sets(st.integers(0, 6), min_size=1),
        CLOCKS,
        CLOCKS,
    ).filter(lambda window: window["from"] != window["until"]),
    max_size=3,
)


def blackouts(begin: datetime) -> st.SearchStrategy[list[dict]]:
    moments = st.integers(0, (DAYS - 4) * 24).map(lambda hour: begin + timedelta(hours=hour))
    timed = st.builds(
        lambda start, hours: {"from": start.isoformat(), "until": (start + timedelta(hours=hours)).isoformat()},
        moments,
        st.integers(1, 60),
    )
    dated = st.builds(
        lambda start, more: {
            "from": start.date().isoformat(),
            "until": (start.date() + timedelta(days=more)).isoformat(),
        },
        moments,
        st.integers(0, 2),
    )
    return st.lists(timed | dated, max_size=2)


@st.composite
def cases(draw):
    zone, begin = draw(st.sampled_from(sorted(WALKS)))
    schedule = {
        "schedule.kind": "cron",
        "schedule.cron": draw(CRONS),
        "schedule.windows": draw(WINDOWS),
        "schedule.blackouts": draw(blackouts(begin)),
        "schedule.jitter_minutes": draw(st.sampled_from([0, 0, 7, 60])),
        "schedule.catch_up": draw(st.sampled_from(["once", "skip"])),
    }
    return zone, begin, schedule, draw(st.sampled_from(["a", "b", "c"]))


@settings(max_examples=60)
@given(cases())
def test_runs_are_those_that_a_walk_through_every_minute_finds(case):
    zone, begin, schedule, key = case
    walk, timetable = WALKS[zone, begin], read(schedule, zone)
    permitted = walk.permitted(schedule["schedule.windows"], schedule["schedule.blackouts"])
    once = schedule["schedule.catch_up"] == "once"
    jitter = schedule["schedule.jitter_minutes"]
    wanted = []
    for index in walk.bases(walk.due(schedule["schedule.cron"]), permitted, once=once):
        spread = walk.lasts(permitted, index, jitter) * 60 if jitter else 0
        wanted.append(walk.minutes[index] + timedelta(seconds=int(share_of(key) * spread)))
    first, last = begin + timedelta(days=LEAD), begin + timedelta(days=DAYS - 1)
    wanted = sorted({run for run in wanted if first < run <= last})
    found, after = [], first
    while (run := next_run(after, timetable, key)) is not None and run <= last and len(found) <= 5 + len(wanted):
        assert run > after
        found.append(run)
        after = run
    if any(permitted[: LEAD * 1440]) or not once:  # else the walk does not know what was due before it began
        assert found == wanted
    for run in found:
        assert permitted[int((run - begin) / MINUTE)]


@settings(max_examples=40)
@given(case=cases(), seconds=st.lists(st.integers(0, 8 * 86400), min_size=2, max_size=6))
def test_a_later_question_never_gets_an_earlier_answer(case, seconds):
    zone, begin, schedule, key = case
    timetable = read(schedule, zone)
    asked = sorted(begin + timedelta(seconds=second) for second in seconds)
    answers = [next_run(after, timetable, key) for after in asked]
    for after, answer in zip(asked, answers, strict=True):
        assert answer is None or answer > after
    known = [answer for answer in answers if answer is not None]
    assert known == sorted(known)


@settings(max_examples=60)
@given(case=cases(), seconds=st.lists(st.integers(0, 8 * 86400), min_size=2, max_size=12))
def test_what_was_asked_before_changes_no_answer(case, seconds):
    """A timetable remembers what it found for one machine and uses it for others."""
    zone, begin, schedule, key = case
    asked = [(begin + timedelta(seconds=second), f"{key}{number % 3}") for number, second in enumerate(seconds)]
    known = read(schedule, zone)
    fresh = [next_run(after, replace(known, steps=[]), one) for after, one in asked]
    assert [next_run(after, known, one) for after, one in asked] == fresh


@settings(max_examples=40)
@given(every=st.integers(1, 3000), key=st.text(max_size=8), begin=st.integers(0, 10**9))
def test_an_interval_keeps_its_real_length_and_its_phase(every, key, begin):
    schedule = {"schedule.kind": "interval", "schedule.every_minutes": every}
    start = datetime.fromtimestamp(begin, UTC)
    runs = next_runs(start, read(schedule, "Europe/Berlin"), key, 5)
    assert start < runs[0] <= start + timedelta(minutes=every)
    assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(minutes=every)}
    assert next_runs(runs[1], read(schedule, "Asia/Tokyo"), key, 1) == [runs[2]]


@pytest.mark.parametrize("jitter", [1, 15, 60, 1440])
def test_jitter_spreads_machines_evenly_and_leaves_each_in_its_place(jitter):
    schedule = {"schedule.kind": "cron", "schedule.cron": "0 2 * * fri", "schedule.jitter_minutes": jitter}
    timetable, start = read(schedule, "UTC"), datetime(2026, 5, 1, 1, tzinfo=UTC)  # a Friday
    due = datetime(2026, 5, 1, 2, tzinfo=UTC)
    shares = sorted(
        (next_run(start, timetable, f"machine {number}") - due) / timedelta(minutes=jitter) for number in range(1000)
    )
    assert shares[0] >= 0
    assert shares[-1] < 1
    assert all(abs(share - rank / 1000) < 0.06 for rank, share in enumerate(shares))
    runs = next_runs(start, timetable, "machine 5", 400)
    assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(days=7)}
