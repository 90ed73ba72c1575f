"""Draining and replacing a target: everything is elsewhere before its copies leave."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Copy, Pack, SnapshotCopy
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.memory import MemoryStore
from backup_platform.targets.models import Target
from backup_platform.targets.services import home_target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.errors import TieringRefused
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen, TierRule
from backup_platform.tiering.services import pause_rule, remove_rule, replace_target, save_rule, start_drain
from tests.tiering.stage import comes_back, forget_cache, hour_passes, local_files, state_of, tick, ticks

LATER = GRACE + timedelta(minutes=1)


class Door(MemoryStore):
    """A store that can be shut."""

    shut = False

    def _find(self, key):
        if self.shut:
            raise StoreUnavailable("away")
        return super()._find(key)


@pytest.fixture
def store() -> Door:
    return Door()


@pytest.fixture
def target(make_target, store):
    return make_target(store=store, name="old")


@pytest.fixture
def remote_pack(pack, make_rule, target) -> Pack:
    """A pack that is at one target and nowhere else."""
    make_rule(target, evict_when=EvictWhen.DAYS)
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=5)
    unlink_due(timezone.now() + LATER)
    assert not local_files()
    pack.refresh_from_db()
    return pack


def test_what_lies_there_only_comes_home_before_its_copy_leaves(remote_pack, vault, data, target, store):
    start_drain(target, "user boss")
    tick()
    assert Copy.objects.get().state == "leaving"
    assert Pack.objects.get().place == "target"
    assert store.objects, "the object stays for an hour"
    hour_passes()
    tick()
    assert Copy.objects.get().state == "gone"
    assert not [key for key in store.objects if key.endswith(".pack")]
    forget_cache()
    assert comes_back(vault, data)


def test_a_drained_target_is_empty_and_retired(remote_pack, target, store):
    start_drain(target, "user boss")
    ticks(lambda: hour_passes() or state_of(target) == "retired", most=10)
    assert not store.objects
    assert not SnapshotCopy.objects.exists()
    with without_tenant_scope("test"):
        assert Entry.objects.filter(verb__in=["target.draining", "target.retired"]).count() == 2
    assert Entry.objects.filter(verb="copy.removed").count() == 1


def test_a_replaced_targets_packs_go_to_the_new_one(remote_pack, vault, data, target, make_target, store):
    fresh = MemoryStore()
    new = make_target(store=fresh, name="new")
    replace_target(target, new, "user boss")
    with without_tenant_scope("test"):
        assert TierRule.objects.get().target_id == new.pk
    ticks(lambda: Copy.objects.filter(target=new, state="good").exists(), most=10)
    hour_passes()
    ticks(lambda: hour_passes() or state_of(target) == "retired", most=10)
    assert not store.objects
    forget_cache()
    assert comes_back(vault, data)


@pytest.mark.defence
def test_a_copy_stays_while_no_other_place_could_be_read(remote_pack, target, store, monkeypatch):
    from backup_platform.tiering import draining

    def full(pack, heartbeat=bool):
        raise StoreUnavailable("no space left at home")

    monkeypatch.setattr(draining, "bring_home", full)
    start_drain(target, "user boss")
    tick()
    row = Copy.objects.get()
    assert row.state == "good"
    assert "cannot leave yet" in row.fault
    assert state_of(target) == "draining"


@pytest.mark.defence
def test_a_copy_that_was_let_go_counts_again_when_the_others_are_lost(remote_pack, vault, data, target, store):
    start_drain(target, "user boss")
    tick()
    assert Copy.objects.get().state == "leaving"
    Pack.objects.update(place="remote")
    for path in local_files():
        path.unlink()
    hour_passes()
    with without_tenant_scope("test"):
        Target.objects.update(state="active")
    tick()
    assert Copy.objects.get().state == "good"
    forget_cache()
    assert comes_back(vault, data)


def test_a_target_that_is_away_is_not_drained_and_nothing_is_lost(remote_pack, vault, data, target, store):
    store.shut = True
    start_drain(target, "user boss")
    for _ in range(3):
        tick()
    assert Copy.objects.get().state == "good"
    store.shut = False
    ticks(lambda: hour_passes() or state_of(target) == "retired", most=20)
    forget_cache()
    assert comes_back(vault, data)


def test_the_home_directory_can_neither_be_drained_nor_ruled(vault):
    home = home_target()
    with pytest.raises(TieringRefused, match="home directory"):
        start_drain(home, "user boss")
    with pytest.raises(TieringRefused, match="home directory"), without_tenant_scope("test"):
        save_rule(TierRule(target=home), "user boss")


def test_rules_are_checked_and_audited(vault, make_target):
    shared, own = make_target(), make_target(tenant=vault.tenant)
    with without_tenant_scope("test"):
        with pytest.raises(TieringRefused, match="shared target"):
            save_rule(TierRule(target=own), "user boss")
        rule = TierRule(target=own, tenant=vault.tenant)
        save_rule(rule, "user boss")
        with pytest.raises(TieringRefused, match="already"):
            save_rule(TierRule(target=own, tenant=vault.tenant), "user boss")
        pause_rule(rule, "user boss", paused=True)
        save_rule(TierRule(target=shared), "user boss")
        remove_rule(rule, "user boss")
        verbs = list(Entry.objects.filter(verb__startswith="tier_rule").values_list("verb", flat=True))
    assert sorted(verbs) == ["tier_rule.removed", "tier_rule.set", "tier_rule.set", "tier_rule.set"]


def test_a_shared_target_is_not_replaced_by_a_tenants_own(vault, make_target):
    with pytest.raises(TieringRefused, match="shared"):
        replace_target(make_target(), make_target(tenant=vault.tenant), "user boss")
