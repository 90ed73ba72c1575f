"""Keeping less waits, keeping more does not, and a minimum age that was promised stays promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.retention.rules import KEEP_ALL, Rules, keeps_as_much
from backup_platform.retention.shrinking import Standing, follow, merged, minimum_days
from tests.retention.test_planning import RULES

START = datetime(2026, 1, 1, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)


def walk(standing, *steps):
    """Look once for each (day, wanted)."""
    for day, wanted in steps:
        standing = follow(standing, wanted, START + day * DAY, WEEK)
    return standing


@pytest.mark.defence
def test_keeping_less_takes_effect_after_the_delay():
    long, short = Rules(keep_daily=30), Rules(keep_daily=7)
    waiting = walk(Standing(long), (1, short), (7, short))
    assert (waiting.in_force, waiting.pending, waiting.takes_effect_at) == (long, short, START + 8 * DAY)
    done = walk(waiting, (8, short))
    assert (done.in_force, done.pending, done.takes_effect_at) == (short, None, None)


def test_keeping_more_holds_at_once():
    assert walk(Standing(Rules(keep_daily=7)), (1, Rules(keep_daily=30))).in_force == Rules(keep_daily=30)
    assert walk(Standing(Rules(keep_daily=7)), (1, KEEP_ALL)).in_force == KEEP_ALL


def test_what_keeps_more_in_one_respect_and_less_in_another_waits_for_the_less():
    found = walk(Standing(Rules(keep_daily=30)), (1, Rules(keep_weekly=8)))
    assert found.in_force == Rules(keep_daily=30, keep_weekly=8)
    assert found.pending == Rules(keep_weekly=8)


def test_a_shorter_wish_starts_the_delay_anew_and_a_milder_one_keeps_the_day():
    standing = walk(Standing(Rules(keep_daily=30)), (0, Rules(keep_daily=10)))
    assert walk(standing, (3, Rules(keep_daily=5))).takes_effect_at == START + 10 * DAY
    assert walk(standing, (3, Rules(keep_daily=20))).takes_effect_at == START + 7 * DAY


def test_taking_it_back_withdraws_it():
    standing = walk(Standing(Rules(keep_daily=30)), (0, Rules(keep_daily=1)), (6, Rules(keep_daily=30)), (9, KEEP_ALL))
    assert (standing.in_force, standing.pending) == (KEEP_ALL, None)


@given(st.lists(st.tuples(st.integers(0, 40), RULES), max_size=8).map(lambda steps: sorted(steps, key=lambda s: s[0])))
@pytest.mark.defence
def test_nothing_takes_effect_that_was_not_wanted_for_the_whole_delay(steps):
    standing, shown = Standing(), []
    for day, wanted in steps:
        before = standing
        standing = walk(standing, (day, wanted))
        shown.append((day, wanted))
        if not keeps_as_much(standing.in_force, before.in_force):
            announced = before.takes_effect_at
            assert announced is not None
            assert announced <= START + day * DAY
        assert keeps_as_much(standing.in_force, wanted)


@pytest.mark.defence
def test_a_shorter_minimum_age_counts_for_new_snapshots_only():
    standing = walk(Standing(), (0, Rules(minimum_age_days=30)), (10, KEEP_ALL), (20, KEEP_ALL))
    assert standing.in_force == KEEP_ALL
    assert minimum_days(standing.ages, START - DAY) == 30
    assert minimum_days(standing.ages, START + 19 * DAY) == 30
    assert minimum_days(standing.ages, START + 21 * DAY) == 0


def test_a_longer_minimum_age_protects_what_is_there():
    standing = walk(Standing(), (0, Rules(minimum_age_days=10)), (50, Rules(minimum_age_days=90)))
    assert minimum_days(standing.ages, START + DAY) == 90


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=5),
       st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=5), st.integers(-1, 35))  # fmt: skip
def test_joined_histories_promise_what_either_did(some, others, day):
    these, those = (tuple(sorted((START + d * DAY, days) for d, days in dict(history).items()))
                    for history in (some, others))  # fmt: skip
    when = START + day * DAY
    promised = max(minimum_days(these, when), minimum_days(those, when))
    assert minimum_days(merged(these, those), when) >= promised
