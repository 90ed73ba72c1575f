"""Copying packs: what counts, what is asked again, and what is never done."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from blake3 import blake3
from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import pack_lease
from backup_platform.catalog.models import Copy, Pack
from backup_platform.notifications.models import Alert
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.faulty import Failure, Fault, FaultyStore
from backup_platform.storage.memory import MemoryStore
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.copying import copy_to
from backup_platform.tiering.errors import SourceDamaged, TargetTrouble, TieringRefused
from backup_platform.tiering.models import CopyWhen
from tests.catalog.stage import make_vault, overwrite, pack_path
from tests.tiering.stage import run_all, tick, ticks


def copy(pack: Pack, target) -> bool:
    with pack_lease(pack.pk) as held:
        return copy_to(held, target)


def test_a_verified_pack_is_copied_by_rule_and_counts_after_it_was_read_back(pack, make_target, make_rule, copy_of):
    store = MemoryStore()
    target = make_target(store=store)
    make_rule(target)
    tick()
    row = copy_of(pack, target)
    pack.refresh_from_db()
    assert row.state == "good"
    assert row.checked_at is not None
    assert blake3(store.objects[row.key]).digest() == bytes(pack.digest)
    assert len(bytes(pack.sha256)) == 32
    assert pack.place == "target", "a rule without eviction leaves the local file where it is"


def test_keys_begin_with_their_own_tenant_also_in_a_shared_target(pack, make_target, make_rule):
    store = MemoryStore()
    make_rule(make_target(store=store))
    tick()
    assert store.objects
    assert all(key.startswith(f"{pack.tenant_id.hex}/{pack.vault_id.hex}/") for key in store.objects)


@pytest.mark.defence
def test_a_pack_is_never_copied_to_another_tenants_target(pack, make_target):
    other = make_vault("south", 7302).tenant
    store = MemoryStore()
    with pytest.raises(TieringRefused):
        copy(pack, make_target(tenant=other, store=store))
    assert not store.objects
    assert not Copy.objects.exists()


@pytest.mark.defence
@pytest.mark.parametrize("failure", [Failure.INPUT_OUTPUT, Failure.AFTER_EFFECT, Failure.NO_SPACE])
def test_an_unknown_outcome_is_looked_at_and_never_counts_by_itself(pack, make_target, make_rule, copy_of, failure):
    inner = MemoryStore()
    target = make_target(store=FaultyStore(inner, [Fault("put", 1, failure)]))
    with pytest.raises(TargetTrouble):
        copy(pack, target)
    assert copy_of(pack, target).state == "writing"
    assert copy(pack, target)
    assert copy_of(pack, target).state == "good"
    assert len(inner.objects) == 1


@pytest.mark.defence
def test_other_bytes_under_the_key_are_neither_overwritten_nor_counted(pack, make_target, copy_of):
    store = MemoryStore()
    target = make_target(store=store)
    key = pack.path
    store.objects[key] = b"somebody was here before"
    assert not copy(pack, target)
    row = copy_of(pack, target)
    assert row.state == "damaged"
    assert "other bytes" in row.fault.lower()
    assert store.objects[key] == b"somebody was here before"
    with without_tenant_scope("test"):
        assert Alert.objects.filter(kind="damaged", resolved_at__isnull=True).exists()


class LyingStore(MemoryStore):
    """Takes a put, says that all is well, and keeps something else."""

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)
        spoilt = bytearray(self.objects[key])
        spoilt[len(spoilt) // 2] ^= 1
        self.objects[key] = bytes(spoilt)


@pytest.mark.defence
def test_a_target_that_keeps_other_bytes_than_it_was_given_gets_no_good_copy(pack, make_target, copy_of):
    target = make_target(store=LyingStore())
    assert not copy(pack, target)
    assert copy_of(pack, target).state == "damaged"


class ForgettingStore(MemoryStore):
    """Takes a put, says that all is well, and keeps nothing."""

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)
        del self.objects[key]


def test_a_target_that_keeps_nothing_gets_no_good_copy(pack, make_target, copy_of):
    target = make_target(store=ForgettingStore())
    with pytest.raises(TargetTrouble):
        copy(pack, target)
    assert copy_of(pack, target).state == "writing"


@pytest.mark.defence
def test_a_pack_that_rotted_on_this_host_is_not_spread(pack, make_target, make_rule, copy_of):
    overwrite(pack_path(pack), 100, b"rot")
    store = MemoryStore()
    target = make_target(store=store)
    with pytest.raises(SourceDamaged):
        copy(pack, target)
    assert not store.objects
    assert copy_of(pack, target).state == "writing"


def test_a_copy_that_another_holder_of_the_lease_makes_is_waited_for(pack, make_target):
    with pack_lease(pack.pk), pytest.raises(RecordUnavailable), pack_lease(pack.pk):
        pass


def test_a_lease_that_was_lost_makes_no_good_copy(pack, make_target, copy_of):
    target = make_target(store=MemoryStore())
    with pack_lease(pack.pk) as held:
        Pack.objects.filter(pk=pack.pk).update(lease_owner="somebody else")
        with pytest.raises(RecordUnavailable):
            copy_to(held, target)
    assert copy_of(pack, target).state == "writing"


def test_a_body_that_is_cut_short_on_its_way_back_is_read_again(pack, make_target, copy_of):
    target = make_target(store=FaultyStore(MemoryStore(), [Fault("open", 1, Failure.SHORT)]))
    assert copy(pack, target)
    assert copy_of(pack, target).state == "good"


def test_small_packs_wait_to_be_joined_for_a_day_at_most(pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), at_once=False)
    tick()
    assert not Copy.objects.exists()
    Pack.objects.filter(pk=pack.pk).update(sealed_at=timezone.now() - timedelta(hours=25))
    tick()
    assert Copy.objects.get().state == "good"


def test_a_rule_of_days_waits_for_them(pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), copy_when=CopyWhen.DAYS, copy_days=30)
    tick()
    assert not Copy.objects.exists()
    Pack.objects.filter(pk=pack.pk).update(verified_at=timezone.now() - timedelta(days=31))
    tick()
    assert Copy.objects.get().state == "good"


def test_a_paused_rule_and_a_paused_target_copy_nothing(pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), paused_at=timezone.now())
    make_rule(make_target(store=MemoryStore(), state="paused"))
    tick()
    assert not Copy.objects.exists()


def test_a_tenants_rule_is_about_its_own_packs_only(pack, vault, make_target, make_rule):
    other = make_vault("south", 7303)
    make_rule(make_target(store=MemoryStore()), tenant=other.tenant)
    tick()
    assert not Copy.objects.exists()
    make_rule(make_target(store=MemoryStore(), tenant=vault.tenant), tenant=vault.tenant)
    tick()
    assert Copy.objects.get().state == "good"


def test_asking_twice_copies_once(pack, make_target, make_rule):
    store = FaultyStore(MemoryStore())
    make_rule(make_target(store=store))
    tick()
    puts = store.calls["put"]
    tick()
    run_all()
    assert store.calls["put"] == puts


def test_nothing_is_ever_put_over_something(pack, make_target, make_rule):
    """However often things fail, no put is made without the condition that nothing is there."""

    dice = Random(7)

    class Watching(MemoryStore):
        def put(self, key, data, *, sha256=None, only_if_absent=True):
            assert only_if_absent
            if key.endswith(".pack") and dice.random() < 0.4:
                raise StoreUnavailable("busy")
            super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)
            if key.endswith(".pack") and dice.random() < 0.4:
                raise StoreUnavailable("no answer")

    make_rule(make_target(store=Watching()))
    ticks(lambda: Copy.objects.filter(state="good").count() == 1)
