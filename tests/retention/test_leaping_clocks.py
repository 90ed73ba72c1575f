"""A clock that leaps ends nothing: expiry rests for a day, and goes on by the right time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from backup_platform.catalog.models import Snapshot
from backup_platform.notifications.models import Alert
from backup_platform.retention import running
from backup_platform.retention.clocks import REST, rest_in_force, watch_clock
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.following import follow_policies
from backup_platform.retention.holds import set_hold
from backup_platform.retention.models import Expiry, Hold, LifecycleEntry, Term
from backup_platform.retention.queries import reclaimable
from backup_platform.retention.services import expire_by_hand
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

DAY = timedelta(days=1)


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock of this process ahead."""
    real = timezone.now

    def set_ahead(by: timedelta) -> datetime:
        monkeypatch.setattr(timezone, "now", lambda: real() + by)
        return timezone.now()

    return set_ahead


def alerts() -> int:
    with without_tenant_scope("test"):
        return Alert.objects.filter(dedupe_key="clock-leapt", resolved_at=None).count()


@pytest.mark.defence
@pytest.mark.parametrize("ticked", [True, False])
def test_nothing_ends_by_a_clock_that_has_leapt(ours, machine, policy, clock, ticked):
    """A year ahead for a while: no expiry, no hold's end, no rule's day, no end of the days for bringing back."""
    snapshots = ours.snapshots(machine, 6, policy)
    hold = set_hold(ours.tenant, "case", "why", by="test", until=timezone.now() + 30 * DAY)
    ours.run()
    with tenant_scope(ours.tenant):
        Hold.objects.update(released_at=None)
        Expiry.objects.create(tenant=ours.tenant, snapshot=snapshots[5], at=timezone.now(), by="", because="",
                              until=timezone.now() + 10 * DAY)  # fmt: skip
        Snapshot.objects.filter(pk=snapshots[5].pk).update(
            state="expired", state_before="verified", expired_at=timezone.now()
        )
        LifecycleEntry.objects.update(number=2)
        Term.objects.update(pending={"retention.keep_last": 1}, takes_effect_at=timezone.now() + 5 * DAY)
    watch_clock(timezone.now())
    now = clock(365 * DAY)
    if ticked:
        watch_clock(now)
        assert alerts() == 1
    assert "rests" in ours.run()
    with tenant_scope(ours.tenant):
        assert follow_policies(ours.tenant.pk, now) == 0
        assert not reclaimable(Snapshot.objects.all()).exists()
        assert Hold.objects.get(pk=hold.pk).released_at is None
        with pytest.raises(RetentionRefused, match="clock"):
            expire_by_hand(snapshots[4], by="test", reason="why not")
    assert ours.states(snapshots) == ["verified"] * 5 + ["expired"]


def test_going_back_is_a_leap_too_and_a_day_later_all_goes_on(ours, machine, policy, clock):
    snapshots = ours.snapshots(machine, 6, policy)
    watch_clock(timezone.now())
    watch_clock(clock(365 * DAY))
    watch_clock(clock(timedelta(0)))
    assert "rests" in ours.run()
    watch_clock(clock(REST / 2))
    watch_clock(clock(REST + timedelta(minutes=1)))
    assert alerts() == 0
    assert ours.run()["expired"] == 2
    assert ours.states(snapshots).count("expired") == 2


def test_ordinary_time_and_a_weekend_off_are_no_leaps(ours):
    now = timezone.now()
    watch_clock(now)
    for later in (timedelta(minutes=5), DAY, 3 * DAY, 6 * DAY - timedelta(minutes=30)):
        watch_clock(now + later)
        assert rest_in_force(now + later) == ""
    assert alerts() == 0


def test_every_tick_looks_at_the_clock(ours, clock):
    running.tick()
    clock(30 * DAY)
    running.tick()
    assert alerts() == 1
