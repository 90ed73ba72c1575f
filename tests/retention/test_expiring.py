"""Runs of expiry: what they mark, what they never touch, when they stop and ask."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Snapshot
from backup_platform.jobs.backups_of_jobs import note_snapshot
from backup_platform.jobs.models import Job, JobKind
from backup_platform.notifications.models import Alert
from backup_platform.policies.errors import PolicyRefused
from backup_platform.policies.services import delete_policy
from backup_platform.retention.expiring import expire_machine
from backup_platform.retention.holds import release_hold, set_hold
from backup_platform.retention.models import ExpiryStop, LifecycleEntry, RetentionRules, Term
from backup_platform.retention.queries import reclaimable
from backup_platform.retention.running import tick
from backup_platform.retention.services import bring_back, confirm_stop
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.retention.conftest import KEEP_4

DAY = timedelta(days=1)


def test_what_no_rule_keeps_expires_and_says_why(ours, machine, policy):
    snapshots = ours.snapshots(machine, 6, policy)
    assert ours.run()["expired"] == 2
    assert ours.states(snapshots) == ["verified"] * 4 + ["expired"] * 2
    with tenant_scope(ours.tenant):
        gone = Snapshot.objects.get(pk=snapshots[5].pk)
        line = Entry.objects.get(verb="snapshots.expired")
        entries = LifecycleEntry.objects.filter(number=None).count()
    assert (gone.state_before, gone.expired_because) == ("verified", "Nothing keeps it: last 4.")
    assert sorted(line.detail["snapshots"]) == sorted(one.pk.hex for one in snapshots[4:])
    assert ours.expiry(gone).until - ours.expiry(gone).at == 14 * DAY
    assert entries == 2
    assert ours.run()["expired"] == 0


def test_series_are_judged_apart_and_unassigned_ones_as_the_policy_says_there(ours, machine, policy):
    other = ours.policy("Other", **{"retention.keep_last": 1})
    ours.in_force(other, machine, **{"retention.keep_last": 1})
    first, second = ours.snapshots(machine, 4, policy), ours.snapshots(machine, 2, other)
    ours.run()
    assert ours.states(first) == ["verified"] * 4
    assert ours.states(second) == ["verified", "expired"]


def test_snapshots_made_by_hand_follow_the_longest_rules_that_apply(ours, machine, policy):
    longer = ours.policy("Longer", **{"retention.keep_last": 5})
    ours.assign(longer)
    ours.run()  # nothing is there yet: the rules hold at once
    by_hand = ours.snapshots(machine, 7)
    ours.run()
    assert ours.states(by_hand) == ["verified"] * 5 + ["expired"] * 2


def test_without_a_policy_everything_stays(ours, machine):
    by_hand = ours.snapshots(machine, 30)
    assert ours.run()["expired"] == 0
    assert ours.states(by_hand) == ["verified"] * 30


@pytest.mark.defence
def test_rules_that_keep_less_wait_before_they_bite(ours, machine):
    policy = ours.policy()
    ours.assign(policy)
    snapshots = ours.snapshots(machine, 3, policy)
    ours.run()
    with tenant_scope(ours.tenant):
        policy.settings = {"retention.keep_last": 1}
        policy.save()
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 3
    with tenant_scope(ours.tenant):
        term = Term.objects.get(policy=policy)
        assert (term.in_force, term.pending) == ({}, {"retention.keep_last": 1})
        assert term.takes_effect_at - timezone.now() > 6.9 * DAY
        Term.objects.update(takes_effect_at=timezone.now())
    ours.run()
    assert ours.states(snapshots) == ["verified", "expired", "expired"]
    assert ours.verbs() == ["retention.announced", "retention.in_force", "snapshots.expired"]


@pytest.mark.defence
def test_an_assignment_is_no_way_around_the_delay(ours, machine, policy):
    snapshots = ours.snapshots(machine, 4, policy)
    ours.run()
    ours.assign(policy, machine=machine, **{"retention.keep_last": 2})
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 4


@pytest.mark.defence
def test_deleting_a_policy_is_no_way_around_the_delay(ours, machine, policy):
    shorter = ours.policy("Shorter", **{"retention.keep_last": 2})
    ours.assign(shorter)
    ours.in_force(shorter, machine, **{"retention.keep_last": 2})
    ours.in_force(None, machine, **{"retention.keep_last": 2})
    snapshots = ours.snapshots(machine, 4, policy)
    with tenant_scope(ours.tenant):
        delete_policy(policy, by="test")
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 4
    with tenant_scope(ours.tenant):
        Term.objects.filter(policy=None).update(takes_effect_at=timezone.now())
    ours.run()
    assert ours.states(snapshots).count("verified") == 2


@pytest.mark.defence
def test_a_minimum_age_holds_back_what_rules_drop(ours, machine):
    settings = {"retention.keep_last": 1, "retention.minimum_age_days": 3}
    policy = ours.policy(**settings)
    ours.assign(policy)
    ours.in_force(policy, machine, **settings)
    snapshots = ours.snapshots(machine, 5, policy)
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 3 + ["expired"] * 2


@pytest.mark.defence
def test_the_last_good_one_stays_though_it_is_older_than_every_rule(ours, machine):
    policy = ours.policy(**{"retention.keep_within_days": 1})
    ours.assign(policy)
    ours.in_force(policy, machine, **{"retention.keep_within_days": 1})
    old, older = ours.snapshot(machine, 100, policy), ours.snapshot(machine, 200, policy)
    damaged = ours.snapshot(machine, 0, policy, state="damaged")
    ours.run()
    assert ours.states([old, older, damaged]) == ["verified", "expired", "damaged"]


def test_unsettled_snapshots_stay(ours, machine, policy):
    new = [ours.snapshot(machine, 50 + number, policy, state="received") for number in range(3)]
    ours.snapshots(machine, 5, policy)
    ours.run()
    assert ours.states(new) == ["received"] * 3


@pytest.mark.defence
@pytest.mark.parametrize("scope", ["tenant", "machine", "policy", "snapshot"])
def test_what_a_hold_covers_stays_until_it_is_released(ours, machine, policy, scope):
    snapshots = ours.snapshots(machine, 6, policy)
    about = {"tenant": None, "machine": machine, "policy": policy, "snapshot": snapshots[5]}[scope]
    hold = set_hold(ours.tenant, "case 7", "a lawsuit", by="test", scope=scope, about=about)
    ours.run()
    assert ours.states(snapshots)[5] == "verified"
    with tenant_scope(ours.tenant):
        assert LifecycleEntry.objects.filter(snapshot=snapshots[5], hold=hold).count() == 1
    release_hold(hold, by="test", because="settled")
    ours.run()
    assert ours.states(snapshots)[5] == "expired"
    with tenant_scope(ours.tenant):
        events = LifecycleEntry.objects.filter(snapshot=snapshots[5]).order_by("id").values_list("event", flat=True)
        assert list(events) == [4, 5, 2]


@pytest.mark.defence
def test_a_hold_that_comes_after_the_decision_still_holds(ours, machine, policy, monkeypatch):
    """The marking itself asks again: whatever the plan said, nothing under a hold is marked."""
    from backup_platform.retention import expiring

    snapshots = ours.snapshots(machine, 6, policy)
    judge = expiring.Judge

    class Earlier(judge):
        def __init__(self, *given):
            super().__init__(*given)
            self.holds = []

    monkeypatch.setattr(expiring, "Judge", Earlier)
    set_hold(ours.tenant, "case 7", "a lawsuit", by="test")
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 6


def test_a_hold_covers_what_comes_later_within_its_times(ours, machine, policy):
    set_hold(ours.tenant, "case", "why", by="test", received_from=ours.moment - 5.5 * DAY,
             received_until=ours.moment - 4.5 * DAY)  # fmt: skip
    snapshots = ours.snapshots(machine, 7, policy)
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 4 + ["expired", "verified", "expired"]


def test_a_hold_ends_by_itself_and_says_so(ours, machine, policy):
    hold = set_hold(ours.tenant, "case", "why", by="test", until=timezone.now() + DAY)
    with tenant_scope(ours.tenant):
        type(hold).objects.update(until=timezone.now())
    snapshots = ours.snapshots(machine, 6, policy)
    ours.run()
    assert ours.states(snapshots).count("expired") == 2
    assert "hold.released" in ours.verbs()


@pytest.mark.defence
def test_a_run_that_would_drop_most_of_a_machine_stops_and_asks(ours, machine, policy):
    snapshots = ours.snapshots(machine, 12, policy)
    assert ours.run() == {"expired": 0, "stopped": 1, "after": ""}
    assert ours.states(snapshots) == ["verified"] * 12
    with tenant_scope(ours.tenant):
        stop = ExpiryStop.objects.get()
        assert (stop.dropping, stop.good) == (8, 12)
        assert Alert.objects.get(kind="expiry").resolved_at is None
    ours.run()
    with tenant_scope(ours.tenant):
        assert ExpiryStop.objects.count() == 1
        confirm_stop(stop, by="test")
    newer = ours.snapshot(machine, -0.01, policy)
    ours.run()
    assert ours.states([newer, *snapshots]) == ["verified"] * 4 + ["expired"] * 9
    with tenant_scope(ours.tenant):
        assert ExpiryStop.objects.get().closed_at
        assert Alert.objects.get(kind="expiry").resolved_at


def test_a_stop_is_over_when_the_rules_are_taken_back(ours, machine, policy):
    ours.snapshots(machine, 12, policy)
    ours.run()
    with tenant_scope(ours.tenant):
        policy.settings = {}
        policy.save()
    assert ours.run() == {"expired": 0, "stopped": 0, "after": ""}
    with tenant_scope(ours.tenant):
        assert ExpiryStop.objects.get().closed_at
        assert Alert.objects.get(kind="expiry").resolved_at


def test_a_confirmation_is_for_the_snapshots_that_were_shown(ours, machine, policy):
    ours.snapshots(machine, 12, policy)
    ours.run()
    with tenant_scope(ours.tenant):
        confirm_stop(ExpiryStop.objects.get(), by="test")
        Term.objects.filter(policy=policy).update(in_force={"retention.keep_last": 1})
        policy.settings = {"retention.keep_last": 1}
        policy.save()
        ExpiryStop.objects.update(snapshots=ExpiryStop.objects.get().snapshots[:1])
    assert ours.run()["expired"] == 0
    with tenant_scope(ours.tenant):
        assert ExpiryStop.objects.filter(closed_at=None, confirmed_at=None).count() == 1


def test_an_expired_one_can_be_brought_back_and_is_left_alone_for_a_while(ours, machine, policy):
    snapshots = ours.snapshots(machine, 5, policy)
    ours.run()
    with tenant_scope(ours.tenant):
        assert bring_back(Snapshot.objects.get(pk=snapshots[4].pk), by="test") == "verified"
    ours.run()
    assert ours.states(snapshots) == ["verified"] * 5
    assert ours.expiry(snapshots[4]).protected_until > timezone.now() + 13 * DAY


def test_what_may_be_reclaimed(ours, machine, policy):
    snapshots = ours.snapshots(machine, 7, policy)
    ours.put_received(*snapshots)
    ours.run()
    later = timezone.now() + 15 * DAY
    with tenant_scope(ours.tenant):
        assert not reclaimable(Snapshot.objects.all(), later), "their records are not written yet"
        LifecycleEntry.objects.filter(snapshot__in=snapshots[4:6]).update(number=2)
        assert not reclaimable(Snapshot.objects.all(), timezone.now() + 13 * DAY)
        assert set(reclaimable(Snapshot.objects.all(), later)) == set(snapshots[4:6])
        set_hold(ours.tenant, "case", "why", by="test", scope="snapshot", about=snapshots[4])
        assert set(reclaimable(Snapshot.objects.all(), later)) == {snapshots[5]}
        bring_back(Snapshot.objects.get(pk=snapshots[5].pk), by="test")
        assert not reclaimable(Snapshot.objects.all(), later)


@pytest.mark.defence
def test_a_run_touches_its_own_tenants_snapshots_only(ours, theirs, machine, policy):
    other = theirs.machine(zone="UTC")
    foreign = theirs.policy(**KEEP_4)
    theirs.assign(foreign)
    theirs.in_force(foreign, other, **KEEP_4)
    snapshots = theirs.snapshots(other, 6, foreign)
    set_hold(theirs.tenant, "case", "why", by="test")
    own = ours.snapshots(machine, 6, policy)
    ours.run()
    assert theirs.states(snapshots) == ["verified"] * 6
    assert ours.states(own).count("expired") == 2, "another tenant's hold covers nothing here"
    with tenant_scope(ours.tenant):
        assert expire_machine(other, timezone.now()).snapshots == 0


@pytest.mark.defence
def test_another_tenants_hold_keeps_nothing_here(ours, theirs, machine, policy):
    snapshots = ours.snapshots(machine, 6, policy)
    ours.run()
    set_hold(theirs.tenant, "case", "why", by="test", scope="tenant")
    with without_tenant_scope("reclaim looks at all tenants"):
        LifecycleEntry.objects.update(number=2)
        found = reclaimable(Snapshot.objects.all(), timezone.now() + 15 * DAY)
        assert {one.pk for one in found} == {one.pk for one in snapshots[4:]}


def test_a_policy_under_a_hold_is_not_deleted(ours, policy):
    hold = set_hold(ours.tenant, "case 9", "why", by="test", scope="policy", about=policy)
    with tenant_scope(ours.tenant):
        with pytest.raises(PolicyRefused, match="case 9"):
            delete_policy(policy, by="test")
        release_hold(hold, by="test", because="over")
        delete_policy(policy, by="test")
        hold.refresh_from_db()
    assert (hold.policy, hold.about) == (None, "Documents")


def test_a_job_tells_whose_policy_made_a_snapshot(ours, machine, policy):
    made, lost = ours.snapshot(machine), ours.snapshot(machine)
    with tenant_scope(ours.tenant):
        job = Job.objects.create(tenant=ours.tenant, kind=JobKind.BACKUP, subject=f"machine:{machine.pk}",
                                 dedupe_key="x", machine=machine, policy=policy)  # fmt: skip
        assert note_snapshot(job.pk, machine.pk, made.pk)
        assert Snapshot.objects.get(pk=made.pk).policy == policy
        Job.objects.update(snapshot=lost.pk)
    ours.run()
    with tenant_scope(ours.tenant):
        assert Snapshot.objects.get(pk=lost.pk).policy == policy


def test_the_tick_asks_for_tenants_that_were_not_looked_at_lately(ours, theirs, machine, policy):
    ours.snapshots(machine, 1, policy)
    tick()
    with without_tenant_scope("test"):
        assert list(Job.objects.values_list("kind", "subject")) == [("expire", f"tenant:{ours.tenant.pk}")]
        Job.objects.all().delete()
    ours.run()
    tick()
    with without_tenant_scope("test"):
        assert not Job.objects.filter(subject__startswith="tenant").exists()
        RetentionRules.objects.update(looked_at=timezone.now() - 2 * DAY)
    tick()
    with without_tenant_scope("test"):
        assert Job.objects.filter(subject__startswith="tenant").count() == 1


def test_two_runs_at_once_expire_each_snapshot_once(ours, machine, policy):
    ours.snapshots(machine, 6, policy)
    with tenant_scope(ours.tenant):
        assert expire_machine(machine, timezone.now()).snapshots == 2
        assert expire_machine(machine, timezone.now()).snapshots == 0
