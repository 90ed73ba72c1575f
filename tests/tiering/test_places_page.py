"""Where a tenant's packs are, shared targets among them: seen with the own figures, and without what is not theirs."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from backup_platform.storage.memory import MemoryStore
from backup_platform.targets.models import Target, TargetState
from backup_platform.tenants.models import Member, Role, Tenant, User
from backup_platform.tenants.scope import without_tenant_scope
from tests.tiering.stage import tick

PLACES = reverse("admin:tiering_tierrule_places")
LIST = reverse("admin:targets_target_changelist")


def member_of(tenant: Tenant, role: Role = Role.ADMIN) -> Client:
    with without_tenant_scope("a person of the stage"):
        user = User.objects.create_user(f"{role}-{tenant.name}")
        Member.objects.create(user=user, tenant=tenant, role=role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_what_lies_on_one_disk_only_is_said_with_the_next_step(vault, pack):
    text = member_of(vault.tenant).get(PLACES).content.decode()
    assert "lie in one place only: this server." in text
    assert reverse("admin:targets_target_add") in text
    operator = member_of(vault.tenant, Role.OPERATOR).get(PLACES).content.decode()
    assert reverse("admin:targets_target_add") not in operator, "it would be refused there"


@pytest.mark.defence
def test_a_shared_target_is_seen_without_what_is_the_platforms_or_others(vault, pack, make_target, make_rule):
    shared = make_target(store=MemoryStore(), name="Cloud of the platform")
    make_rule(shared)
    tick()
    with without_tenant_scope("test"):
        secret = {"path": "/mnt/of-the-platform", "bucket": "platform-bucket", "endpoint": "https://s3.example.org"}
        Target.objects.filter(pk=shared.pk).update(capacity_bytes=7 * 2**40, **secret)
        south = Tenant.objects.create(name="south")
    text = member_of(vault.tenant).get(PLACES).content.decode()
    assert "Everything is in two places or more." in text
    assert "Cloud of the platform" in text
    assert "shared by the platform" in text
    for hidden in ("of-the-platform", "platform-bucket", "s3.example.org", "7.0 TiB", str(shared.pk)):
        assert hidden not in text
    with without_tenant_scope("a request of another tenant"):
        others = member_of(south).get(PLACES).content.decode()
    assert "Cloud of the platform" in others
    assert "Nothing is stored yet." in others


def test_a_target_that_is_away_says_so_in_words(vault, pack, make_target, make_rule):
    make_rule(make_target(store=MemoryStore(), name="Cloud"))
    with without_tenant_scope("test"):
        Target.objects.filter(name="Cloud").update(state=TargetState.PAUSED)
    assert ">paused<" in member_of(vault.tenant).get(PLACES).content.decode()


def test_the_list_of_targets_asks_for_it_where_one_tenant_is_shown(vault):
    assert PLACES in member_of(vault.tenant).get(LIST).content.decode()
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"), backend="django.contrib.auth.backends.ModelBackend")
    assert PLACES not in boss.get(LIST).content.decode()
    assert boss.get(PLACES).content == b""


def test_only_who_may_see_targets_sees_it(vault):
    assert member_of(vault.tenant, Role.VIEWER).get(PLACES).status_code == 204
    assert Client().get(PLACES).status_code == 204
