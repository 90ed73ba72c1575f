"""What somebody with a stolen account, or two tabs, may not get out of the doors of retention."""

from __future__ import annotations

import pytest
from django.db import connection
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.notifications.models import Alert
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.holds import release_hold, set_hold
from backup_platform.retention.models import ExpiryStop, Hold
from backup_platform.retention.one_preview import LOCK_CLASS
from backup_platform.retention.services import set_rules
from backup_platform.tenants.models import Role
from backup_platform.tenants.scope import tenant_scope
from tests.retention.test_services import actor


def page(name, *args):
    return reverse(f"admin:{name}", args=args)


@pytest.mark.defence
def test_switching_two_persons_on_and_off_again_frees_no_hold_that_was_set_before(ours, machine):
    ada, bob = actor(ours, "ada"), actor(ours, "bob")
    hold = set_hold(ours.tenant, "case 7", "why", by=ada)
    set_rules(ours.tenant, by=ada, release_needs_second=True)
    set_rules(ours.tenant, by=bob, release_needs_second=False)
    assert not release_hold(hold, by=bob, because="I say so")
    with pytest.raises(RetentionRefused, match="another person"):
        release_hold(hold, by=bob, because="I say so")
    assert release_hold(hold, by=ada, because="agreed")


def test_a_hold_that_never_knew_two_persons_is_released_by_one(ours):
    ada = actor(ours, "ada")
    hold = set_hold(ours.tenant, "case 8", "why", by=ada)
    set_rules(ours.tenant, by=ada, guard_percent=40, release_needs_second=False)
    assert release_hold(hold, by=ada, because="settled")


@pytest.mark.parametrize(("strong", "weak", "words"), [
    ({"undelete_days": 90}, {"undelete_days": None}, "for 14 days, not 90"),
    ({"shrink_days": 60}, {"shrink_days": 30}, "after 30 days, not 60"),
    ({"guard_percent": 20}, {"guard_percent": 95}, "over 95 %"),
    ({"release_needs_second": True}, {"release_needs_second": False}, "one person alone"),
])  # fmt: skip
def test_rules_that_protect_less_are_told(ours, strong, weak, words):
    set_rules(ours.tenant, by="test", **strong)
    with tenant_scope(ours.tenant):
        assert not Alert.objects.exists()
    set_rules(ours.tenant, by=actor(ours, "eve"), **weak)
    with tenant_scope(ours.tenant):
        alert = Alert.objects.get()
        assert "user eve@ours" in alert.text
        assert words in alert.text
        (name, value), (_, before) = *weak.items(), *strong.items()
        line = Entry.objects.filter(verb="retention.rules_changed").latest("id")
        assert (line.detail["before"][name], line.detail["after"][name]) == (before, value)


@pytest.mark.defence
def test_a_stopped_expiry_is_confirmed_as_it_was_shown(ours, machine, sign_in):
    policy = ours.policy(**{"retention.keep_last": 4})
    ours.assign(policy)
    ours.in_force(policy, machine, **{"retention.keep_last": 4})
    ours.snapshots(machine, 12, policy)
    ours.run()
    ada = sign_in(ours.member("ada"))
    with tenant_scope(ours.tenant):
        stop = ExpiryStop.objects.get()
    confirm = page("retention_expirystop_confirm", stop.pk)
    assert "not shown to you" in ada.post(confirm, follow=True).content.decode(), "nobody has looked"
    ada.get(confirm)
    ours.snapshots(machine, 3, policy)  # meanwhile more of them would go
    ours.run()
    assert "not shown to you" in ada.post(confirm, follow=True).content.decode()
    with tenant_scope(ours.tenant):
        assert ExpiryStop.objects.get().confirmed_at is None
    assert "11 of its 15" in ada.get(confirm).content.decode()
    assert "The run goes on" in ada.post(confirm, follow=True).content.decode()


@pytest.mark.parametrize("reason", ["because\0of this", "\0", "x" * 200_000, "\u202etxt.exe"])
def test_no_reason_makes_a_page_fail(ours, machine, sign_in, reason):
    ada = sign_in(ours.member("ada"))
    hold = set_hold(ours.tenant, "case 7", "why", by="test")
    answer = ada.post(page("retention_hold_release", hold.pk), {"reason": reason}, follow=True)
    assert answer.status_code == 200
    with tenant_scope(ours.tenant):
        because = Hold.objects.get().released_because
    assert because.isprintable()
    assert len(because) <= 300


@pytest.fixture
def another_preview(ours):
    """Somebody else's preview of the same tenant, in a database session of its own."""
    other = connection.copy()
    with other.cursor() as cursor:
        key = int.from_bytes(ours.tenant.pk.bytes[:4], "big", signed=True)
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_CLASS, key])
        assert cursor.fetchone() == (True,)
    yield other
    other.close()


@pytest.mark.defence
def test_a_tenants_previews_are_made_one_at_a_time(ours, theirs, machine, sign_in, another_preview):
    policy = ours.policy(**{"retention.keep_last": 4})
    ours.assign(policy)
    ours.snapshots(machine, 3, policy)
    viewer, stranger = sign_in(ours.member("vic", Role.VIEWER)), sign_in(theirs.member("sam", Role.VIEWER))
    api = reverse("api:retention-preview")
    answers = [viewer.get(api), viewer.get(api, {"policy": policy.pk}), viewer.get(api, {"machine": machine.pk})]
    assert [answer.status_code for answer in answers] == [429] * 3
    assert all(int(answer["Retry-After"]) > 0 for answer in answers)
    shown = page("retention_expiry_preview")
    for asked in ({}, {"policy": policy.pk}, {"machine": machine.pk}):
        assert "Another preview" in viewer.get(shown, asked).content.decode()
    assert stranger.get(api).status_code == 200, "other tenants do not wait"
    another_preview.close()
    assert viewer.get(api).status_code == 200
    assert viewer.get(api).status_code == 200, "the lock was given back"


def test_who_belongs_nowhere_is_refused_and_causes_no_fault(ours, sign_in):
    from backup_platform.tenants.models import User

    nobody = sign_in(User.objects.create_user("nobody"))
    policy = ours.policy("Nightly")
    for name in ("api:retention-preview", "api:hold-list", "api:machine-list", "api:storage"):
        for asked in ({}, {"policy": policy.pk}, {"machine": policy.pk}):
            assert nobody.get(reverse(name), asked).status_code in {403, 404}, name
    body = {"reason": "x", "policy": str(policy.pk), "settings": {}}
    for name in ("api:snapshot-expire", "api:snapshot-bring-back"):
        address = reverse(name, args=[policy.pk])
        assert nobody.post(address, body, content_type="application/json").status_code in {403, 404}
    asked = nobody.post(reverse("api:retention-preview"), body, content_type="application/json")
    assert asked.status_code in {403, 404}
