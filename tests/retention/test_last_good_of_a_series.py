"""Damage may meet all that came after a snapshot that expired: then that one is the last good one, and stays."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Snapshot
from backup_platform.retention.holds import set_hold
from backup_platform.retention.models import Expiry, Hold, LifecycleEntry
from backup_platform.retention.queries import reclaimable
from backup_platform.retention.turns import take_turn
from backup_platform.tenants.scope import tenant_scope
from tests.retention.conftest import Past, make_past

KEEP_1 = {"retention.keep_last": 1}


@pytest.fixture
def policy(ours, machine):
    policy = ours.policy(**KEEP_1)
    ours.assign(policy)
    ours.in_force(policy, machine, **KEEP_1)
    return policy


def its_days_are_over(ours: Past) -> None:
    with tenant_scope(ours.tenant):
        Expiry.objects.update(until=timezone.now() - timedelta(days=1))
        LifecycleEntry.objects.update(number=2)


def may_go(ours: Past) -> set:
    with tenant_scope(ours.tenant):
        return set(reclaimable(Snapshot.objects.all()).values_list("pk", flat=True))


@pytest.mark.defence
@pytest.mark.parametrize("by_hand", [False, True])
def test_what_expired_as_a_newer_one_was_good_stays_once_that_is_damaged(ours, machine, policy, by_hand):
    series = None if by_hand else policy
    ours.in_force(None, machine, **KEEP_1)
    newest, last_good, older = ours.snapshots(machine, 3, series)
    ours.run()
    assert ours.states([newest, last_good, older]) == ["verified", "expired", "expired"]
    its_days_are_over(ours)
    assert may_go(ours) == {last_good.pk, older.pk}
    with tenant_scope(ours.tenant):
        Snapshot.objects.filter(pk=newest.pk).update(state="damaged")
    assert may_go(ours) == {older.pk}
    ours.snapshot(machine, -1, series)
    assert may_go(ours) == {last_good.pk, older.pk}, "there is a good one again"


def test_another_series_or_machine_keeps_nothing_back(ours, machine, policy):
    other = ours.policy("Other", **KEEP_1)
    ours.in_force(other, machine, **KEEP_1)
    newest, older = ours.snapshots(machine, 2, policy)
    damaged = ours.snapshot(machine, 0, other, state="damaged")
    ours.run()
    its_days_are_over(ours)
    assert may_go(ours) == {older.pk}
    assert ours.states([newest, damaged]) == ["verified", "damaged"]


def waits_for_a_lock(times: int = 2000) -> bool:
    for _ in range(times):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
            )
            if cursor.fetchone()[0]:
                return True
        threading.Event().wait(0.01)
    return False


@pytest.mark.defence
def test_a_hold_that_is_set_while_snapshots_are_retired_waits_and_is_set(
    transactional_db, strongroom_home, monkeypatch
):
    """Reclaim takes a vault's lock and then the tenant's turn. Were a hold set the other way round, each would wait
    for the other until the database breaks one of them off: it might be the hold."""
    from backup_platform.jobs import services

    monkeypatch.setattr(services, "send", lambda *_: None)
    ours = make_past("ours")
    faults: list[BaseException] = []

    def hold() -> None:
        try:
            set_hold(ours.tenant, "case 7", "a lawsuit", by="test")
        except BaseException as fault:  # noqa: BLE001 (the test looks at it)
            faults.append(fault)
        finally:
            connection.close()

    beside = threading.Thread(target=hold)
    with tenant_scope(ours.tenant), vault_lock(ours.vault.number, shared=False):
        beside.start()
        assert waits_for_a_lock()
        take_turn(ours.tenant.pk)
    beside.join(60)
    assert not beside.is_alive()
    assert not faults
    with tenant_scope(ours.tenant):
        assert Hold.objects.filter(released_at=None).count() == 1
