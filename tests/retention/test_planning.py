"""What stays and what goes: against a second implementation, at changes of the clock, and by law."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.retention.planning import LAST_GOOD, NONE_GOOD, Facts, plan
from backup_platform.retention.rules import KEEP_ALL, Rules, as_settings, joined, keeps_as_much, rules_of
from tests.retention.reference import staying

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
ZONES = st.sampled_from(
    [UTC_ZONE, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia")]
)
TAGS = st.frozensets(st.sampled_from(["a", "b"]))
COUNT = st.integers(0, 6)
RULES = st.builds(
    Rules, keep_last=COUNT, keep_hourly=COUNT, keep_daily=COUNT, keep_weekly=COUNT, keep_monthly=COUNT,
    keep_yearly=COUNT, keep_within_days=st.sampled_from([0, 0, 1, 30]), keep_tags=TAGS,
    minimum_age_days=st.sampled_from([0, 0, 10]),
)  # fmt: skip


def between(begin, end):
    """Moments between two days, to the second."""
    first, last = (int(datetime.fromisoformat(f"{day}T00:00+00:00").timestamp()) for day in (begin, end))
    return st.integers(first, last).map(lambda second: datetime.fromtimestamp(second, UTC))


SNAPSHOTS = st.lists(
    st.builds(
        Facts,
        id=st.uuids(),
        # Around changes of the clock, and all over some years.
        received_at=between("2025-03-28", "2025-04-08")
        | between("2025-10-20", "2025-11-05")
        | between("2011-12-25", "2026-06-15"),
        state=st.sampled_from(["verified", "verified", "verified", "damaged", "received"]),
        tags=TAGS,
        holds=st.sampled_from([(), (), (), ("case 7",)]),
        minimum_days=st.sampled_from([0, 0, 0, 14, 4000]),
        brought_back_until=st.sampled_from([None, None, NOW - timedelta(days=1), NOW + timedelta(days=1)]),
    ),
    max_size=40,
    unique_by=lambda one: one.id,
)


def at(*when, state="verified", **facts):
    return Facts(uuid4(), datetime(*when, tzinfo=UTC), state, **facts)


def kept(snapshots, rules, zone=UTC_ZONE, now=NOW):
    return {one.facts.id for one in plan(snapshots, rules, zone, now) if one.keep}


@given(SNAPSHOTS, RULES, ZONES)
def test_a_second_implementation_keeps_the_same(snapshots, rules, zone):
    assert kept(snapshots, rules, zone) == staying(snapshots, rules, zone, NOW)


@given(SNAPSHOTS, RULES, RULES, ZONES)
def test_longer_rules_never_keep_less(snapshots, some, others, zone):
    both = joined((some, others))
    assert keeps_as_much(both, some)
    assert keeps_as_much(both, others)
    assert kept(snapshots, both, zone) >= kept(snapshots, some, zone) | kept(snapshots, others, zone)


@given(SNAPSHOTS, RULES, ZONES)
@pytest.mark.defence
def test_the_last_good_one_always_stays(snapshots, rules, zone):
    good = [one for one in snapshots if one.state == "verified"]
    found = kept(snapshots, rules, zone)
    assert not snapshots or found
    assert not good or any(one.id in found for one in good)


@given(SNAPSHOTS, RULES, ZONES)
@pytest.mark.defence
def test_what_is_held_too_young_or_not_verified_yet_always_stays(snapshots, rules, zone):
    found = kept(snapshots, rules, zone)
    for one in snapshots:
        young = NOW - one.received_at < timedelta(days=one.minimum_days)
        assert not (one.holds or young or one.state == "received") or one.id in found


@given(SNAPSHOTS, RULES, ZONES)
def test_every_decision_has_its_reasons_in_words(snapshots, rules, zone):
    for one in plan(snapshots, rules, zone, NOW):
        assert one.keep == bool(one.reasons)
        assert all(reason and "%" not in reason for reason in one.reasons)
        assert not one.until or one.until > NOW


@given(RULES)
def test_rules_survive_being_written_down(rules):
    assert rules_of(as_settings(rules)) == rules


def test_without_rules_everything_stays_and_tags_alone_are_no_rule():
    snapshots = [at(2020, 1, day) for day in range(1, 20)]
    assert len(kept(snapshots, KEEP_ALL)) == len(kept(snapshots, Rules(keep_tags=frozenset("a")))) == 19


def test_a_day_is_the_machines_day():
    before, after = at(2026, 6, 1, 21, 59), at(2026, 6, 1, 22, 1)  # midnight in Berlin lies between
    assert kept([before, after], Rules(keep_daily=2), BERLIN) == {before.id, after.id}
    assert kept([before, after], Rules(keep_daily=2), UTC_ZONE) == {after.id}


def test_the_hour_that_comes_twice_in_autumn_is_two_hours():
    first, second = at(2025, 10, 26, 0, 30), at(2025, 10, 26, 1, 30)  # both 02:30 on Berlin's clock
    assert kept([first, second], Rules(keep_hourly=2), BERLIN) == {first.id, second.id}


def test_the_day_of_23_hours_and_the_day_of_25_hours_are_days():
    spring = [at(2025, 3, 29, 22, 59), at(2025, 3, 29, 23, 0), at(2025, 3, 30, 21, 59), at(2025, 3, 30, 22, 0)]
    assert kept(spring, Rules(keep_daily=10), BERLIN) == {spring[0].id, spring[2].id, spring[3].id}
    autumn = [at(2025, 10, 25, 21, 59), at(2025, 10, 25, 22, 0), at(2025, 10, 26, 22, 59), at(2025, 10, 26, 23, 0)]
    assert kept(autumn, Rules(keep_daily=10), BERLIN) == {autumn[0].id, autumn[2].id, autumn[3].id}


def test_a_clock_that_runs_back_over_midnight_makes_no_third_day():
    zone = ZoneInfo("America/St_Johns")  # in 2010 its clock went back at 00:01
    late, early_next, late_again = at(2010, 11, 7, 2, 25), at(2010, 11, 7, 2, 30, 30), at(2010, 11, 7, 2, 45)
    days = {one.received_at.astimezone(zone).date() for one in (late, early_next, late_again)}
    assert len(days) == 2
    assert len(kept([late, early_next, late_again], Rules(keep_daily=9), zone)) == 2


def test_years_and_weeks_are_told_apart_at_new_year():
    old, new = at(2024, 12, 31, 12), at(2025, 1, 1, 12)  # one ISO week, two years
    assert kept([old, new], Rules(keep_weekly=5)) == {new.id}
    assert kept([old, new], Rules(keep_yearly=5)) == {old.id, new.id}


def test_damaged_snapshots_take_no_place_from_good_ones_and_wait_to_be_healed():
    good, bad, old = at(2026, 6, 1), at(2026, 6, 2, state="damaged"), at(2026, 5, 1)
    assert kept([good, bad, old], Rules(keep_last=1)) == {good.id, bad.id}


def test_without_a_good_one_the_newest_stays():
    snapshots = [at(2020, 1, day, state="damaged") for day in (1, 2, 3)]
    (newest, *others) = plan(snapshots, Rules(keep_within_days=1), UTC_ZONE, NOW)
    assert newest.reasons == [NONE_GOOD]
    assert not any(one.keep for one in others)


def test_reasons_say_everything_that_keeps_it_and_until_when():
    snapshot = at(2026, 6, 10, tags=frozenset(["audit"]), minimum_days=30)
    (found,) = plan([snapshot], Rules(keep_last=3, keep_daily=7, keep_within_days=20), UTC_ZONE, NOW)
    assert LAST_GOOD in found.reasons
    assert "last: 1 of 3" in found.reasons
    assert "daily: 2026-06-10 (1 of 7)" in found.reasons
    assert found.until == datetime(2026, 7, 10, tzinfo=UTC)
    assert found.is_open


def test_equal_times_are_told_apart_by_the_id():
    twins = [Facts(UUID(int=number), NOW) for number in (1, 2)]
    assert kept(twins, Rules(keep_last=1)) == kept(twins[::-1], Rules(keep_last=1))
