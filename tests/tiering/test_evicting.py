"""Local copies leave only after enough others were read back just before; and nobody who reads is disturbed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog import pack_files, stores
from backup_platform.catalog.leases import pack_lease
from backup_platform.catalog.models import Copy, Pack
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.faulty import FaultyStore
from backup_platform.storage.memory import MemoryStore
from backup_platform.targets.models import Target
from backup_platform.targets.services import home_target
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering import evicting
from backup_platform.tiering.evicting import GRACE, evict, unlink_due
from backup_platform.tiering.models import EvictWhen, Leftover
from tests.tiering.stage import comes_back, forget_cache, local_files, run_all, tick, ticks

LATER = GRACE + timedelta(minutes=1)


class Shut(MemoryStore):
    """A store that can be shut (away), and that counts."""

    shut = False

    def _find(self, key):
        if self.shut:
            raise StoreUnavailable("The service is away.")
        return super()._find(key)

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        if self.shut:
            raise StoreUnavailable("The service is away.")
        super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)


@pytest.fixture
def store() -> Shut:
    return Shut()


@pytest.fixture
def target(make_target, store):
    return make_target(store=store)


@pytest.fixture
def evicting_rule(make_rule, target):
    return make_rule(target, evict_when=EvictWhen.DAYS, evict_days=0)


def now_evict(pack: Pack, needed: int = 1) -> bool:
    with pack_lease(pack.pk) as held:
        return evict(held, needed)


def test_a_pack_leaves_and_every_byte_comes_back_from_the_target(pack, vault, data, evicting_rule):
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=5)
    assert len(local_files()) == 1, "the file stays for the hour in which somebody may still be reading it"
    assert unlink_due(timezone.now() + LATER) == 1
    assert not local_files()
    assert comes_back(vault, data)


@pytest.mark.defence
def test_the_file_stays_for_an_hour_after_the_switch(pack, evicting_rule):
    tick()
    assert Pack.objects.get().place == "remote"
    assert unlink_due() == 0
    assert len(local_files()) == 1


def test_the_end_of_a_local_file_is_audited_and_says_where_the_pack_is(pack, evicting_rule, target):
    tick()
    unlink_due(timezone.now() + LATER)
    entry = Entry.objects.get(verb="pack.evicted")
    assert entry.detail["held"] == [target.name]
    assert not Leftover.objects.exists()


@pytest.mark.defence
def test_a_copy_that_was_good_and_rotted_since_keeps_the_local_file(pack, vault, data, make_rule, target, store):
    rule = make_rule(target)
    tick()
    key = pack.path
    store.objects[key] = store.objects[key][:-1] + b"x"
    rule.evict_when = EvictWhen.DAYS
    with without_tenant_scope("test"):
        rule.save()
    tick()
    assert Pack.objects.get().place == "target"
    assert Copy.objects.get().state == "damaged"
    assert len(local_files()) == 1


@pytest.mark.defence
@pytest.mark.parametrize("state", ["writing", "damaged", "gone", "leaving"])
def test_a_copy_that_is_not_good_does_not_count(pack, make_rule, target, state):
    make_rule(target)
    tick()
    Copy.objects.update(state=state)
    assert not now_evict(pack)
    assert Pack.objects.get().place == "target"


def test_a_copy_at_a_target_that_is_drained_does_not_count(pack, make_rule, target):
    make_rule(target)
    tick()
    with without_tenant_scope("test"):
        Target.objects.filter(pk=target.pk).update(state="draining")
    assert not now_evict(pack)


def test_as_many_copies_are_read_back_as_the_rule_asks_for(pack, make_target, make_rule, target, store):
    make_rule(target, evict_when=EvictWhen.DAYS, min_copies=2)
    tick()
    assert Pack.objects.get().place == "target"
    second = FaultyStore(MemoryStore())
    make_rule(make_target(store=second))
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=5)
    assert second.calls["open"] >= 2, "once after the put, and once more just before the local file may go"


@pytest.mark.defence
def test_a_copy_that_stopped_being_good_meanwhile_stops_the_switch(pack, make_rule, target, monkeypatch):
    """Somebody found the copy damaged after it was read back: the switch looks at the row, not at its memory."""
    make_rule(target)
    tick()
    real = evicting.confirm

    def confirm(*arguments, **named):
        confirmed = real(*arguments, **named)
        Copy.objects.update(state="damaged")
        return confirmed

    monkeypatch.setattr(evicting, "confirm", confirm)
    assert not now_evict(pack)
    assert Pack.objects.get().place == "target"


@pytest.mark.defence
def test_a_lease_that_was_lost_meanwhile_switches_nothing(pack, make_rule, target):
    make_rule(target)
    tick()
    with pack_lease(pack.pk) as held:
        Pack.objects.filter(pk=pack.pk).update(lease_owner="somebody else")
        assert not evict(held, 1)
    assert Pack.objects.get().place == "target"


@pytest.mark.defence
def test_copies_that_are_lost_within_the_hour_keep_the_file(pack, vault, data, evicting_rule, store):
    tick()
    assert Pack.objects.get().place == "remote"
    Copy.objects.update(state="gone")
    store.objects.clear()
    assert unlink_due(timezone.now() + LATER) == 0
    assert Pack.objects.get().place == "target", "its file is the pack again"
    assert comes_back(vault, data)


def test_a_target_that_is_away_keeps_everything_here(pack, vault, data, make_rule, target, store):
    rule = make_rule(target)
    tick()
    rule.evict_when = EvictWhen.DAYS
    with without_tenant_scope("test"):
        rule.save()
    store.shut = True
    for _ in range(5):
        tick()
    assert Pack.objects.get().place == "target"
    assert Copy.objects.get().state == "good", "a target that does not answer has not said that anything is gone"
    assert comes_back(vault, data)


def test_only_the_watermarks_excess_leaves_the_oldest_first(backup, make_rule, target):
    from tests.catalog.stage import contents

    for _ in range(3):
        backup.run(contents(2, 10_000))
        run_all()
    sizes = list(Pack.objects.order_by("verified_at").values_list("bytes", flat=True))
    home = home_target()
    with without_tenant_scope("test"):
        Target.objects.filter(pk=home.pk).update(capacity_bytes=sum(sizes), watermark_percent=70)
    make_rule(target, evict_when=EvictWhen.WATERMARK)
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=5)
    for _ in range(3):
        tick()
    places = list(Pack.objects.order_by("verified_at").values_list("place", flat=True))
    assert places == ["remote", "target", "target"]


def test_a_reader_that_has_the_file_open_reads_on_after_it_was_unlinked(pack, evicting_rule):
    pack.refresh_from_db()
    with pack_files.open_pack_file(pack) as file:
        tick()
        unlink_due(timezone.now() + LATER)
        assert not local_files()
        assert len(file.read()) == pack.bytes


def test_a_reader_that_looked_the_place_up_before_the_switch_looks_again(pack, vault, evicting_rule):
    old = Pack.objects.get()
    tick()
    unlink_due(timezone.now() + LATER)
    with pack_files.open_pack_file(old) as file:
        assert len(file.read()) == old.bytes


def test_a_pack_comes_home_again(pack, vault, data, evicting_rule, store):
    from backup_platform.tiering.recalling import recall

    tick()
    unlink_due(timezone.now() + LATER)
    assert not local_files()
    assert recall(pack.pk)
    assert Pack.objects.get().place == "target"
    assert stores.local_target().size(pack.path) == pack.bytes
    store.shut = True
    forget_cache()
    assert comes_back(vault, data)


def test_a_pack_that_comes_home_within_the_hour_keeps_its_file(pack, evicting_rule):
    from backup_platform.tiering.recalling import recall

    tick()
    assert recall(pack.pk)
    assert unlink_due(timezone.now() + LATER) == 0
    assert len(local_files()) == 1


def test_evictions_of_two_tenants_do_not_meet(pack, evicting_rule):
    tick()
    with without_tenant_scope("test"):
        assert set(Leftover.objects.values_list("tenant", flat=True)) == {pack.tenant_id}
    with tenant_scope(pack.tenant_id):
        assert Leftover.objects.count() == 1
