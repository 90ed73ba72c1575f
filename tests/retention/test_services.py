"""What people do: expire by hand, bring back, tag, confirm, holds with a second person; and who may not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Snapshot
from backup_platform.jobs.models import Job
from backup_platform.notifications.models import Alert
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.holds import release_hold, set_hold, withdraw_request
from backup_platform.retention.models import Expiry, Hold
from backup_platform.retention.queries import bring_back_until, verdict_of
from backup_platform.retention.services import bring_back, expire_by_hand, set_rules, set_tags
from backup_platform.retention.telling import verdict_words
from backup_platform.tenants.access import actor_of
from backup_platform.tenants.errors import Forbidden, OutOfReach
from backup_platform.tenants.models import Role
from backup_platform.tenants.queries import memberships_of
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault

DAY = timedelta(days=1)


def actor(place, name, role=Role.ADMIN):
    user = place.member(name, role)
    return actor_of(user, memberships_of(user), None, None)


def again(snapshot):
    with tenant_scope(snapshot.tenant_id):
        return Snapshot.objects.select_related("machine").get(pk=snapshot.pk)


def test_one_expires_by_hand_and_comes_back(ours, machine):
    _, old = ours.snapshots(machine, 2)
    ada = actor(ours, "ada")
    expire_by_hand(again(old), by=ada, reason="sent by mistake")
    gone = again(old)
    assert (gone.state, gone.expired_because) == ("expired", "By hand: sent by mistake")
    with tenant_scope(ours.tenant):
        assert bring_back_until(gone) - gone.expired_at == 14 * DAY
    assert bring_back(gone, by=ada) == "verified"
    assert (again(old).state, again(old).expired_at, again(old).state_before) == ("verified", None, "")
    assert ours.verbs() == ["snapshots.expired", "snapshot.brought_back"]
    with tenant_scope(ours.tenant), pytest.raises(RetentionRefused, match="has not expired"):
        bring_back(again(old), by=ada)


@pytest.mark.defence
def test_by_hand_nothing_goes_that_must_stay(ours, machine):
    newest, held, young, new = (ours.snapshot(machine, days) for days in (0, 1, 2, 3))
    with tenant_scope(ours.tenant):
        Snapshot.objects.filter(pk=new.pk).update(state="received")
    set_hold(ours.tenant, "case 7", "why", by="test", scope="snapshot", about=held)
    for one, why in ((newest, "newest good"), (held, "case 7"), (new, "not verified")):
        with pytest.raises(RetentionRefused, match=why):
            expire_by_hand(again(one), by="test", reason="x")
    policy = ours.policy(**{"retention.minimum_age_days": 30})
    ours.assign(policy)
    ours.run()
    with pytest.raises(RetentionRefused, match="nobody can shorten"):
        expire_by_hand(again(young), by="test", reason="x")
    with pytest.raises(RetentionRefused, match="Say why"):
        expire_by_hand(again(young), by="test", reason=" ")
    assert "expired" not in ours.states([newest, held, young, new])


@pytest.mark.defence
def test_only_those_who_manage_snapshots_expire_them_and_only_their_own(ours, theirs, machine):
    _, old = ours.snapshots(machine, 2)
    with pytest.raises(Forbidden):
        expire_by_hand(again(old), by=actor(ours, "olga", Role.OPERATOR), reason="x")
    stranger = actor(theirs, "eve")
    deeds = (
        lambda: expire_by_hand(again(old), by=stranger, reason="x"),
        lambda: set_tags(again(old), [], by=stranger),
        lambda: bring_back(again(old), by=stranger),
    )
    for deed in deeds:
        with pytest.raises(OutOfReach):
            deed()
    with pytest.raises(OutOfReach):
        set_hold(ours.tenant, "c", "w", by=stranger)
    assert again(old).state == "verified"


@pytest.mark.defence
def test_one_that_may_have_been_damaged_meanwhile_is_checked_before_it_counts_as_good(ours, machine):
    _, old = ours.snapshots(machine, 2)
    expire_by_hand(again(old), by="test", reason="x")
    with tenant_scope(ours.tenant):
        Vault.objects.update(generation=7)
    assert bring_back(again(old), by="test") == "received"
    with tenant_scope(ours.tenant):
        assert Job.objects.filter(kind="verify", subject=f"snapshot:{old.pk}").exists()


def test_a_reclaimed_one_does_not_come_back(ours, machine):
    snapshot = ours.snapshot(machine, state="reclaimed")
    with pytest.raises(RetentionRefused, match="reclaimed"):
        bring_back(again(snapshot), by="test")


def test_one_that_expired_without_a_row_comes_back_checked(ours, machine):
    snapshot = ours.snapshot(machine, state="expired", state_before="verified", expired_at=timezone.now())
    assert bring_back(again(snapshot), by="test") == "received"
    with tenant_scope(ours.tenant):
        assert Expiry.objects.get().brought_back_by == "test"


def test_tags_are_words_and_keep_what_a_rule_names(ours, machine):
    snapshot = ours.snapshot(machine)
    assert set_tags(again(snapshot), ["b", "a", " "], by="test") == ["a", "b"]
    with pytest.raises(RetentionRefused, match="no tag"):
        set_tags(again(snapshot), ["two words"], by="test")
    assert ours.verbs() == ["snapshot.tagged"]


@pytest.mark.defence
def test_a_second_person_releases_where_the_tenant_asks_for_it(ours, machine):
    ada, bob = actor(ours, "ada"), actor(ours, "bob")
    set_rules(ours.tenant, by=ada, release_needs_second=True)
    hold = set_hold(ours.tenant, "case 7", "why", by=ada)
    set_rules(ours.tenant, by=ada, release_needs_second=False)
    assert not release_hold(hold, by=ada, because="settled")
    with pytest.raises(RetentionRefused, match="another person"):
        release_hold(hold, by=ada, because="settled")
    with tenant_scope(ours.tenant):
        assert Hold.objects.get().released_at is None
        assert Alert.objects.get(subject=f"hold:{hold.pk}").resolved_at is None
    assert release_hold(hold, by=bob, because="agreed")
    with tenant_scope(ours.tenant):
        assert Hold.objects.get().released_by == bob.name
        assert Alert.objects.get(subject=f"hold:{hold.pk}").resolved_at
        assert Entry.objects.get(verb="hold.released").detail["asked_by"] == ada.name
    with pytest.raises(RetentionRefused, match="already"):
        release_hold(hold, by=bob, because="agreed")


def test_a_release_that_was_asked_for_can_be_refused(ours):
    ada = actor(ours, "ada")
    set_rules(ours.tenant, by=ada, release_needs_second=True)
    hold = set_hold(ours.tenant, "case 7", "why", by=ada)
    release_hold(hold, by=ada, because="settled")
    withdraw_request(hold, by="bob")
    with pytest.raises(RetentionRefused, match="Nobody asks"):
        withdraw_request(hold, by="bob")
    assert ours.verbs()[-2:] == ["hold.release_asked", "hold.release_refused"]


def test_holds_that_cannot_be_are_refused_in_a_sentence(ours, theirs, machine):
    now = timezone.now()
    for values, why in (
        ({"until": now - DAY}, "lies in the past"),
        ({"received_from": now, "received_until": now - DAY}, "covers no time"),
        ({"scope": "machine"}, "Choose the machine"),
        ({"scope": "machine", "about": theirs.machine()}, "Choose the machine"),
        ({"about": machine}, "names no machine"),
    ):
        with pytest.raises(RetentionRefused, match=why):
            set_hold(ours.tenant, "case", "why", by="test", **values)
    with pytest.raises(RetentionRefused, match="Name the case"):
        set_hold(ours.tenant, " ", "why", by="test")


@pytest.mark.defence
def test_nobody_in_a_tenant_shortens_the_platforms_delays(ours):
    for name in ("undelete_days", "shrink_days"):
        with pytest.raises(RetentionRefused, match="at least"):
            set_rules(ours.tenant, by=actor(ours, name), **{name: 1})
    assert set_rules(ours.tenant, by="test", undelete_days=60).undelete_days == 60
    with pytest.raises(Forbidden):
        set_rules(ours.tenant, by=actor(ours, "olga", Role.OPERATOR), undelete_days=90)


def test_a_snapshot_says_why_it_stays_and_what_is_announced(ours, machine):
    policy = ours.policy(**{"retention.keep_last": 1})
    ours.assign(policy)
    new, old = ours.snapshots(machine, 2, policy)
    ours.run()
    with tenant_scope(ours.tenant):
        words = verdict_words(verdict_of(again(old)))
        assert verdict_of(again(new)).decision.is_open
    assert words.startswith("Stays as long as that is so: no rule lets anything expire.")
    assert "UTC on: last 1." in words


@pytest.mark.defence
def test_holds_are_bounded_and_those_that_have_ended_make_room(ours, theirs, machine, monkeypatch):
    from backup_platform.retention import holds

    monkeypatch.setattr(holds, "MOST_IN_FORCE", 3)
    made = [set_hold(ours.tenant, f"case {number}", "why", by="test") for number in range(3)]
    with pytest.raises(RetentionRefused, match="3 legal holds are in force here, and there can be no more"):
        set_hold(ours.tenant, "one more", "why", by="test", scope="machine", about=machine)
    set_hold(theirs.tenant, "another tenant's", "why", by="test")
    assert release_hold(made[0], by="test", because="over")
    set_hold(ours.tenant, "one more", "why", by="test")
    with tenant_scope(ours.tenant):
        Hold.objects.filter(pk=made[1].pk).update(until=timezone.now() - DAY)
    set_hold(ours.tenant, "in place of the one whose end has come", "why", by="test")
    with pytest.raises(RetentionRefused, match="Release those whose matter is over"):
        set_hold(ours.tenant, "too many", "why", by="test")
