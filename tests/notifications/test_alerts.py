"""Raising and resolving: one alert for one trouble, told once, whoever says it and however often."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from backup_platform.fleet.models import MachineGroup
from backup_platform.notifications import acting
from backup_platform.notifications.delivery import deliver_due
from backup_platform.notifications.models import Alert, Delivery, Turn
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import ChannelKind, Level
from backup_platform.tenants.models import CustomRole, Member, MemberGroup, Role, User
from backup_platform.tenants.scope import ScopeError, tenant_scope
from tests.notifications.conftest import make_channel, make_due

pytestmark = pytest.mark.django_db


def say(tenant, level="error", key="failed:x", text="Backup of web-1 failed."):
    return raise_alert(tenant.pk if tenant else None, "failed", "machine:x", level, text, "Look at the job.", key)


def test_the_same_trouble_is_one_alert_that_counts_up(tenant, hook, receiver):
    first = say(tenant)
    assert say(tenant) == first
    deliver_due()
    say(tenant)
    deliver_due()
    alert = Alert.objects.get()
    assert alert.count == 3
    assert len(receiver.hits) == 1


def test_what_got_worse_is_told_again_and_what_got_better_is_not(tenant, hook, receiver):
    for level, hits in (("warning", 1), ("error", 2), ("warning", 2), ("error", 2)):
        say(tenant, level)
        deliver_due()
        assert len(receiver.hits) == hits, level


def test_an_alert_that_comes_back_after_its_end_is_a_new_one(tenant, hook, receiver):
    first = say(tenant)
    assert resolve_alert(tenant.pk, "failed:x", "It works again.")
    assert not resolve_alert(tenant.pk, "failed:x")
    assert say(tenant) != first
    deliver_due()
    assert [hit.body.count(b'"alert.resolved"') for hit in receiver.hits].count(1) == 1
    assert len(receiver.hits) == 3


def test_the_end_is_told_to_those_who_want_it(tenant, hook, receiver):
    quiet = make_channel(tenant, ChannelKind.WEBHOOK, receiver.url("/quiet"), tell_recovery=False)
    say(tenant)
    deliver_due()
    resolve_alert(tenant.pk, "failed:x", "The next run ended well.")
    deliver_due()
    assert [hit.path for hit in receiver.hits if b"alert.resolved" in hit.body] == ["/hook/very-secret-path"]
    assert not Delivery.objects.filter(channel=quiet, event="resolved").exists()


def test_an_alert_belongs_to_the_callers_transaction(tenant, hook, receiver):
    with transaction.atomic():
        say(tenant)
        transaction.set_rollback(True)
    deliver_due()
    assert not Alert.objects.exists()
    assert receiver.hits == []


def test_a_tenants_scope_cannot_raise_or_resolve_anothers_alert(tenant, other):
    say(other)
    with tenant_scope(tenant):
        with pytest.raises(ScopeError):
            say(other, key="y")
        with pytest.raises(ScopeError):
            resolve_alert(other.pk, "failed:x")
    assert Alert.objects.get().resolved_at is None


def test_equal_keys_of_two_tenants_and_the_platform_are_three_alerts(tenant, other):
    assert len({say(tenant), say(other), say(None), say(None)}) == 3


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_make_one_alert(tenant):
    barrier = threading.Barrier(8)
    faults = []

    def one():
        try:
            barrier.wait(30)
            say(tenant)
        except Exception as fault:  # noqa: BLE001 (a thread's fault is the test's)
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    assert Alert.objects.get().count == 8


def test_channels_hear_only_of_their_level_kinds_and_tenant(tenant, other, receiver):
    make_channel(tenant, ChannelKind.WEBHOOK, receiver.url("/errors"), lowest_level=Level.ERROR)
    make_channel(tenant, ChannelKind.WEBHOOK, receiver.url("/silent"), kinds=["silent"])
    make_channel(other, ChannelKind.WEBHOOK, receiver.url("/other"))
    make_channel(None, ChannelKind.WEBHOOK, receiver.url("/platform"))
    make_channel(None, ChannelKind.WEBHOOK, receiver.url("/provider"), every_tenant=True)
    say(tenant, "warning")
    deliver_due()
    assert {hit.path for hit in receiver.hits} == {"/provider"}
    say(tenant, "error")
    deliver_due()
    assert [hit.path for hit in receiver.hits].count("/errors") == 1
    say(None, key="disk")
    deliver_due()
    assert sorted(hit.path for hit in receiver.hits) == ["/errors", "/platform", "/provider", "/provider", "/provider"]


def test_a_person_who_left_the_tenant_is_told_nothing_more(tenant, receiver):
    user = User.objects.create_user("ada")
    make_channel(tenant, ChannelKind.WEBHOOK, receiver.url(), person=user)
    say(tenant)
    deliver_due()
    assert receiver.hits == []
    Member.objects.create(user=user, tenant=tenant, role=Role.VIEWER)
    say(tenant, key="b")
    deliver_due()
    assert len(receiver.hits) == 1
    Member.objects.all().delete()
    say(tenant, key="c")
    deliver_due()
    assert len(receiver.hits) == 1


@pytest.mark.parametrize(
    "what", [{}, {"kind": "failed"}, {"subject": "machine:x"}, {"kind": "failed", "subject": "machine:x"}]
)
def test_what_is_snoozed_is_told_when_the_snooze_is_over(tenant, hook, receiver, what):
    until = timezone.now() + timedelta(hours=1)
    row = acting.snooze(tenant.pk, until=until, actor="tests", **what)
    say(tenant)
    deliver_due()
    assert receiver.hits == []
    type(row).objects.filter(pk=row.pk).update(until=timezone.now())
    deliver_due()
    assert len(receiver.hits) == 1


@pytest.mark.parametrize("what", [{"kind": "silent"}, {"subject": "machine:y"}])
def test_a_snooze_covers_nothing_else(tenant, other, hook, receiver, what):
    until = timezone.now() + timedelta(hours=1)
    acting.snooze(tenant.pk, until=until, actor="tests", **what)
    acting.snooze(other.pk, until=until, actor="tests")
    acting.snooze(None, until=until, actor="tests")
    say(tenant)
    deliver_due()
    assert len(receiver.hits) == 1


def test_a_snooze_has_an_end_that_is_near(tenant):
    for hours in (-1, 24 * 91):
        with pytest.raises(acting.ActRefused):
            acting.snooze(tenant.pk, until=timezone.now() + timedelta(hours=hours), actor="tests")


def test_reminders_come_until_somebody_acknowledges(tenant, receiver):
    make_channel(tenant, ChannelKind.WEBHOOK, receiver.url(), remind_hours=1)
    say(tenant)
    deliver_due()
    for hits in (2, 3):
        Delivery.objects.update(created_at=timezone.now() - timedelta(minutes=61))
        deliver_due()
        deliver_due()
        assert len(receiver.hits) == hits
    assert acting.acknowledge(Alert.objects.get(), actor="ada")
    assert not acting.acknowledge(Alert.objects.get(), actor="bob")
    Delivery.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    deliver_due()
    assert len(receiver.hits) == 3
    make_due()


@pytest.mark.parametrize("what", ["limited", "without the permission"])
def test_a_person_who_may_not_see_all_alerts_is_mailed_none(tenant, receiver, what):
    user = User.objects.create_user("ada")
    member = Member.objects.create(user=user, tenant=tenant, role=Role.OPERATOR)
    make_channel(tenant, ChannelKind.WEBHOOK, receiver.url(), person=user)
    if what == "limited":
        group = MachineGroup.objects.create(tenant=tenant, name="g")
        MemberGroup.objects.create(member=member, group=group)
    else:
        member.custom_role = CustomRole.objects.create(tenant=tenant, name="r", permissions=["jobs.view"])
        member.save()
    say(tenant)
    deliver_due()
    assert receiver.hits == []


def test_what_is_over_long_ago_is_forgotten_and_what_is_open_stays(tenant, hook, receiver):
    for key in ("old", "recent", "open"):
        say(tenant, key=key)
    deliver_due()
    resolve_alert(tenant.pk, "old")
    resolve_alert(tenant.pk, "recent")
    deliver_due()
    long_ago = timezone.now() - timedelta(days=400)
    Delivery.objects.update(created_at=long_ago)
    Alert.objects.filter(dedupe_key="old").update(resolved_at=long_ago)
    Turn.objects.filter(name="forget").delete()
    deliver_due()
    assert sorted(Alert.objects.values_list("dedupe_key", flat=True)) == ["open", "recent"]
    assert list(Delivery.objects.values_list("alert__dedupe_key", flat=True)) == ["open"]
