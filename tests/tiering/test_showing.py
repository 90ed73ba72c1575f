"""What people and programs are told about where packs are: commands, pages, the API."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from backup_platform.catalog.models import Copy, Pack, Snapshot
from backup_platform.catalog.places import words_for_pack, words_for_snapshot
from backup_platform.notifications.models import Alert
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.memory import MemoryStore
from backup_platform.targets.models import Target
from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import ticking
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.lag import figures, lag_of_rule
from backup_platform.tiering.models import EvictWhen, TierRule
from tests.tiering.stage import local_files, run_all, tick, ticks


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output, stderr=output)
    return output.getvalue()


def status(tenant: str = "north") -> dict:
    return json.loads(run("tier_status", "--tenant", tenant, "--json"))


def test_status_says_what_is_where_and_what_is_on_one_disk_only(pack, make_target, make_rule):
    alone = status()
    assert (alone["packs"], alone["here_packs"], alone["single_bytes"]) == (1, 1, pack.bytes)
    rule = make_rule(make_target(store=MemoryStore(), name="Cloud"))
    assert status()["targets"][0]["lacking_packs"] == 1
    tick()
    copied = status()
    assert (copied["single_bytes"], copied["targets"][0]["copies"], copied["targets"][0]["lacking_packs"]) == (0, 1, 0)
    assert words_for_pack(pack) == "here and at 1 target"
    rule.evict_when = EvictWhen.DAYS
    with without_tenant_scope("test"):
        rule.save()
    tick()
    gone = status()
    assert (gone["here_packs"], gone["remote_packs"], gone["single_bytes"]) == (0, 1, pack.bytes)
    pack.refresh_from_db()
    assert words_for_pack(pack) == "at one target only"
    assert "1 packs" in run("tier_status", "--tenant", "north")


def test_a_snapshots_places_are_told(pack, make_target, make_rule):
    snapshot = Snapshot.objects.get()
    assert words_for_snapshot(snapshot) == "on one disk only"
    make_rule(make_target(store=MemoryStore()))
    ticks(lambda: Copy.objects.filter(state="good").exists(), most=5)
    ticking.watch()
    assert words_for_snapshot(snapshot) == "here and at 1 target"


def test_a_snapshot_that_shares_packs_that_have_left_is_not_called_here(vault, pack, make_target, make_rule):
    """It has no pack of its own: what it needs came with an earlier one."""
    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=5)
    Snapshot.objects.update(session=None)
    run_all()
    snapshot = Snapshot.objects.get(state="verified")
    assert words_for_snapshot(snapshot) == "not whole in any one place"  # its objects follow the packs
    ticking.watch()
    assert words_for_snapshot(snapshot) == "at one target only"


def test_a_pack_that_no_place_has_is_told_as_a_fault(pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    tick()
    Copy.objects.update(state="gone")
    assert "no good copy" in status()["faults"][0]


def test_lag_cost_and_size_are_per_target_and_tenant(pack, vault, make_target, make_rule):
    target = make_target(store=MemoryStore(), price=Decimal("100000"), currency="EUR")
    rule = make_rule(target)
    Pack.objects.update(verified_at=timezone.now() - timedelta(hours=2))
    lag = lag_of_rule(rule)
    assert (lag.packs, lag.bytes) == (1, pack.bytes)
    assert 7_000 < lag.seconds() < 7_500
    tick()
    assert lag_of_rule(rule).packs == 0
    there = figures(target, vault.tenant_id)
    assert (there.copies, there.bytes) == (1, pack.bytes)
    assert there.cost == Decimal("100000") * pack.bytes / 10**9


def test_a_target_that_is_far_behind_is_an_alert_until_it_has_caught_up(pack, make_target, make_rule, stores_of):
    class Away(MemoryStore):
        def put(self, *arguments, **named):
            raise StoreUnavailable("away")

    target = make_target(store=Away())
    make_rule(target)
    Pack.objects.update(verified_at=timezone.now() - timedelta(days=3))
    tick()
    ticking.watch()
    with without_tenant_scope("test"):
        assert Alert.objects.filter(kind="copies", resolved_at__isnull=True).count() == 1
    stores_of[target.pk] = MemoryStore()
    ticks(lambda: Copy.objects.filter(state="good").exists(), most=5)
    ticking.watch()
    with without_tenant_scope("test"):
        assert not Alert.objects.filter(kind="copies", resolved_at__isnull=True).exists()


def test_a_rule_is_made_and_changed_by_command(vault, make_target):
    make_target(name="Cloud")
    said = run("set_tier_rule", "--target", "Cloud", "--tenant", "north", "--evict", "90", "--copies", "2", "--at-once")
    assert "north" in said
    run("set_tier_rule", "--target", "Cloud", "--tenant", "north", "--copy", "7", "--evict", "watermark")
    rule = TierRule.objects.get()
    assert (rule.copy_when, rule.copy_days, rule.evict_when, rule.min_copies) == ("days", 7, "watermark", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "Nowhere"], "There are: Cloud"),
        (["--target", "Cloud", "--copy", "soon"], "neither verified, watermark nor a number"),
        (["--target", "Cloud", "--evict", "99999"], "neither never, watermark nor a number"),
        (["--target", "Cloud", "--copies", "0"], "from 1 to 10"),
        (["--target", "This server"], "home directory"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_a_sentence(vault, make_target, arguments, words):
    from backup_platform.targets.services import home_target

    home_target()
    make_target(name="Cloud")
    with pytest.raises(CommandError, match=words):
        run("set_tier_rule", *arguments)
    with without_tenant_scope("test"):
        assert not TierRule.objects.exists()


def test_a_drain_by_command(vault, make_target):
    target = make_target(name="Cloud")
    assert "being drained" in run("drain_target", "Cloud")
    with without_tenant_scope("test"):
        assert Target.objects.get(pk=target.pk).state == "draining"
    with pytest.raises(CommandError, match="active or paused"):
        run("drain_target", "Cloud")


def test_room_is_made_at_once_by_command(pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    tick()
    assert run("unlink_evicted") == "0 files were removed.\n"
    assert run("unlink_evicted", "--now") == "1 files were removed.\n"
    assert not local_files()


@pytest.fixture
def client(vault) -> Client:
    with without_tenant_scope("test data"):
        user = User.objects.create_user("admin-of-north")
        Member.objects.create(user=user, tenant_id=vault.tenant_id, role=Role.ADMIN)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_the_api_tells_where_packs_are(pack, client, make_target, make_rule):
    make_rule(make_target(store=MemoryStore(), name="Cloud"))
    tick()
    answer = client.get("/api/v1/storage/")
    assert answer.status_code == 200
    assert answer.json()["targets"][0] | {"name": "Cloud", "copies": 1} == answer.json()["targets"][0]
    assert Client().get("/api/v1/storage/").status_code in (401, 403)


def test_pages_show_rules_copies_and_shared_targets(pack, client, make_target, make_rule, vault):
    make_rule(make_target(store=MemoryStore(), name="Cloud"), tenant=vault.tenant)
    tick()
    ticking.watch()
    rules = client.get("/admin/tiering/tierrule/")
    assert "Cloud" in rules.content.decode()
    page = client.get(f"/admin/tiering/tierrule/{TierRule.objects.get().pk}/change/")
    assert page.status_code == 200
    assert "Cloud" in page.content.decode()
    assert "Cloud" in client.get("/admin/catalog/copy/").content.decode()
    assert "alpha" in client.get("/admin/catalog/snapshotcopy/").content.decode()
    assert client.get(f"/admin/catalog/copy/{Copy.objects.get().pk}/change/").status_code == 200


def test_a_rule_is_made_and_paused_on_its_page(client, vault, make_target):
    target = make_target(name="Cloud")
    sent = {"where": str(target.pk), "copy_when": "verified", "copy_days": "0", "evict_when": "days",
            "evict_days": "30", "min_copies": "1"}  # fmt: skip
    answer = client.post("/admin/tiering/tierrule/add/", sent)
    assert answer.status_code == 302, answer.content.decode()
    rule = TierRule.objects.get()
    assert (rule.tenant_id, rule.target_id, rule.evict_days) == (vault.tenant_id, target.pk, 30)
    assert client.post("/admin/tiering/tierrule/add/", sent).status_code == 302
    assert TierRule.objects.count() == 1
    changed = client.post(f"/admin/tiering/tierrule/{rule.pk}/change/", {**sent, "evict_days": "60"})
    assert changed.status_code == 302, changed.content.decode()
    rule.refresh_from_db()
    assert rule.evict_days == 60
    client.post(f"/admin/tiering/tierrule/{rule.pk}/pause", {"post": "yes"})


def test_a_member_cannot_drain_a_shared_target(client, vault, make_target, make_rule):
    target = make_target(name="Cloud")
    rule = make_rule(target, tenant=vault.tenant)
    from django.urls import reverse

    url = reverse("admin:tiering_tierrule_drain", args=[rule.pk])
    assert client.post(url, {"post": "yes"}).status_code == 403
    with without_tenant_scope("test"):
        assert Target.objects.get(pk=target.pk).state == "active"


def test_unlinking_waits_for_the_hour(pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    tick()
    assert unlink_due(timezone.now() + GRACE - timedelta(minutes=5)) == 0
