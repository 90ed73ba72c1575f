"""Every way to rows of a tenant, in no scope, in the tenant's, in another's, and platform-wide."""

from __future__ import annotations

import os
from threading import Thread
from uuid import uuid4

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import Count, F, OuterRef, Subquery
from django.utils import timezone

from backup_platform.fleet.models import EnrollmentToken
from backup_platform.tenants.models import Member, Tenant, User
from backup_platform.tenants.scope import (
    ScopeError,
    current_tenant_id,
    tenant_scope,
    without_tenant_scope,
)
from backup_platform.vaults.models import Vault, WrappedSecret

pytestmark = pytest.mark.django_db


def make_vault(tenant: Tenant, number: int) -> Vault:
    vault = Vault.objects.create(
        id=uuid4(), number=number, tenant=tenant, name="main", record=b"r", record_number=1, signing_key_hash=bytes(32)
    )
    WrappedSecret.objects.create(vault=vault, epoch=1, recipient_key_hash=bytes(32), data=b"w")
    return vault


@pytest.fixture
def tenants() -> tuple[Tenant, Tenant]:
    with without_tenant_scope("test data"):
        ours, theirs = Tenant.objects.create(name="ours"), Tenant.objects.create(name="theirs")
        make_vault(ours, 1)
        make_vault(theirs, 2)
        user = User.objects.create_user("someone")
        Member.objects.create(user=user, tenant=theirs)
    return ours, theirs


READS = {
    "iteration": list,
    "iterator": lambda q: list(q.iterator()),
    "count": lambda q: q.count(),
    "exists": lambda q: q.exists(),
    "aggregate": lambda q: q.aggregate(n=Count("pk")),
    "first": lambda q: q.first(),
    "latest": lambda q: q.latest("pk"),
    "get": lambda q: q.get(pk=uuid4()),
    "in_bulk": lambda q: q.in_bulk(),
    "values": lambda q: list(q.values("pk")),
    "values_list": lambda q: list(q.values_list("name", flat=True)),
    "annotate": lambda q: list(q.annotate(n=Count("wrapped_secrets"))),
    "distinct": lambda q: list(q.order_by("name").distinct("name")),
    "dates": lambda q: list(q.datetimes("created_at", "day")),
    "slice": lambda q: list(q.all()[:3]),
    "contains": lambda q: q.contains(Vault(id=uuid4())),
    "union": lambda q: list(q.union(q.filter(name="x"))),
    "explain": lambda q: q.explain(),
    "raw": lambda q: list(q.raw("SELECT * FROM vaults_vault")),
    "lock": lambda q: list(q.select_for_update()),
}
WRITES = {
    "update": lambda q: q.update(name="x"),
    "delete": lambda q: q.delete(),
    "raw delete": lambda q: q._raw_delete("default"),
    "create": lambda q: q.create(id=uuid4(), number=9, tenant_id=uuid4(), record_number=1),
    "bulk_create": lambda q: q.bulk_create([Vault(id=uuid4(), number=9, tenant_id=uuid4(), record_number=1)]),
    "bulk_create of nothing": lambda q: q.bulk_create([]),
    "bulk_update": lambda q: q.bulk_update([Vault(id=uuid4())], ["name"]),
    "get_or_create": lambda q: q.get_or_create(id=uuid4()),
    "update_or_create": lambda q: q.update_or_create(id=uuid4()),
}


@pytest.mark.parametrize("manager", ["objects", "_base_manager", "_default_manager"])
@pytest.mark.parametrize("way", [*READS, *WRITES])
def test_every_way_to_rows_fails_without_a_scope(tenants, manager, way):
    work = (READS | WRITES)[way]
    with pytest.raises(ScopeError):
        work(getattr(Vault, manager).all())


def test_a_queryset_is_narrowed_when_it_runs_and_not_when_it_is_made(tenants):
    everything = Vault.objects.all()
    for tenant in tenants:
        with tenant_scope(tenant):
            assert [vault.tenant_id for vault in everything.all()] == [tenant.pk]


def test_scope_narrows_every_read(tenants):
    ours, _theirs = tenants
    with tenant_scope(ours):
        q = Vault.objects.all()
        assert q.count() == 1
        assert q.aggregate(n=Count("pk"))["n"] == 1
        assert q.aggregate(n=Count("wrapped_secrets"))["n"] == 1
        assert len(q[:10]) == 1
        assert len(q.union(Vault.objects.filter(number=2), all=True)) == 1
        assert len(q | Vault.objects.filter(number=2)) == 1
        assert not q.filter(number=2).exists()
        assert not q.exclude(number=1).exists()
        assert set(q.in_bulk()) == {q.get().pk}
        assert list(q.values_list("number", flat=True).order_by("number")) == [1]
        assert list(q.values("name").annotate(n=Count("pk"))) == [{"name": "main", "n": 1}]
        # An annotation that takes the column's name cannot take its place.
        assert len(q.values("number").annotate(tenant_id=F("number"))) == 1


def test_scope_follows_the_path_to_the_tenant(tenants):
    ours, _theirs = tenants
    with tenant_scope(ours):
        assert [s.vault.tenant_id for s in WrappedSecret.objects.all()] == [ours.pk]
        assert WrappedSecret.objects.filter(data=b"w").update(data=b"v") == 1
        assert [tenant.name for tenant in Tenant.objects.all()] == ["ours"]


def test_subqueries_are_narrowed_too(tenants):
    ours, _theirs = tenants
    with tenant_scope(ours):
        secrets = WrappedSecret.objects.filter(vault=OuterRef("pk")).values("data")[:1]
        assert [bytes(v.secret) for v in Vault.objects.annotate(secret=Subquery(secrets))] == [b"w"]
        users = User.objects.filter(pk__in=Member.objects.values("user"))
        assert not users.exists()
    with pytest.raises(ScopeError):
        list(User.objects.filter(pk__in=Member.objects.values("user")))


def test_related_access_cannot_leave_the_scope(tenants):
    ours, theirs = tenants
    with without_tenant_scope("test"):
        secret = WrappedSecret.objects.get(vault__tenant=theirs)
        vault = Vault.objects.get(tenant=theirs)
        user = User.objects.get()
    secret = WrappedSecret(id=secret.id, vault_id=vault.pk)
    with pytest.raises(ScopeError):
        _ = secret.vault
    with tenant_scope(ours):
        with pytest.raises(ObjectDoesNotExist):
            _ = secret.vault
        with pytest.raises(ObjectDoesNotExist):
            vault.refresh_from_db()
        assert list(vault.wrapped_secrets.all()) == []
        assert list(user.memberships.all()) == []
        prefetched = User.objects.prefetch_related("memberships").get()
        assert list(prefetched.memberships.all()) == []


def test_bulk_writes_touch_the_tenants_rows_only(tenants):
    ours, _theirs = tenants
    with tenant_scope(ours):
        assert Vault.objects.update(epoch=7) == 1
        assert Vault.objects.filter(number=2).update(epoch=7) == 0
        assert WrappedSecret.objects.all()._raw_delete("default") == 1
        foreign = Vault(number=2, id=uuid4())
        assert Vault.objects.bulk_update([foreign], ["epoch"]) == 0
        assert Vault.objects.all().delete()[0] == 1
    with without_tenant_scope("test"):
        assert Vault.objects.get().epoch == 1
        assert WrappedSecret.objects.count() == 1


def test_objects_of_another_tenant_cannot_be_written(tenants):
    ours, theirs = tenants
    with without_tenant_scope("test"):
        vault, secret = Vault.objects.get(tenant=theirs), WrappedSecret.objects.get(vault__tenant=theirs)
    with tenant_scope(ours):
        for write in (vault.save, secret.save, vault.delete, secret.delete, theirs.delete):
            with pytest.raises(ScopeError), transaction.atomic():
                write()
        with pytest.raises(ScopeError):
            Vault.objects.bulk_create([vault])
        with pytest.raises(ScopeError), transaction.atomic():
            WrappedSecret.objects.create(vault_id=vault.pk, epoch=2, recipient_key_hash=b"", data=b"")


def test_rows_cannot_be_given_to_another_tenant(tenants):
    ours, theirs = tenants
    with tenant_scope(ours):
        vault = Vault.objects.get()
        for values in ({"tenant": theirs}, {"tenant_id": theirs.pk}, {"tenant": F("pk")}):
            with pytest.raises(ScopeError):
                Vault.objects.update(**values)
        with pytest.raises(ScopeError):
            Vault.objects.bulk_update([vault], ["tenant"])
        with pytest.raises(ScopeError):
            WrappedSecret.objects.update(vault_id=uuid4())
        assert Vault.objects.update(tenant=ours) == 1
        vault.tenant = theirs
        with pytest.raises(ScopeError), transaction.atomic():
            vault.save()


@pytest.mark.defence
def test_sql_by_hand_needs_the_platforms_scope(tenants):
    """It cannot be narrowed, so in a tenant's scope it would see everybody's rows."""
    ours, _ = tenants
    with tenant_scope(ours), pytest.raises(ScopeError):
        list(Vault.objects.raw("SELECT * FROM vaults_vault"))
    with without_tenant_scope("test"):
        assert len(list(Vault.objects.raw("SELECT * FROM vaults_vault"))) == 2


def test_an_upsert_needs_the_platforms_scope(tenants):
    ours, _ = tenants
    token = EnrollmentToken(tenant=ours, token_hash=os.urandom(32), expires_at=timezone.now())
    with tenant_scope(ours), pytest.raises(ScopeError):
        EnrollmentToken.objects.bulk_create(
            [token], update_conflicts=True, unique_fields=["token_hash"], update_fields=["blob"]
        )


def test_scopes_do_not_nest_across_tenants_and_end_with_their_block(tenants):
    ours, theirs = tenants
    with tenant_scope(ours):
        with pytest.raises(ScopeError), tenant_scope(theirs):
            pass
        with tenant_scope(str(ours.pk)):
            assert current_tenant_id() == ours.pk
        with without_tenant_scope("a visible word"):
            assert current_tenant_id() is None
            with tenant_scope(theirs.pk.bytes):
                assert current_tenant_id() == theirs.pk
        assert current_tenant_id() == ours.pk
    with pytest.raises(ScopeError):
        current_tenant_id()


@pytest.mark.parametrize("nonsense", [None, "", "ours", 5, b"short", object()])
def test_a_scope_needs_a_tenant(nonsense):
    with pytest.raises(ScopeError), tenant_scope(nonsense):
        pass


def test_a_new_thread_has_no_scope(tenants):
    found = []
    with tenant_scope(tenants[0]):
        thread = Thread(target=lambda: found.append(_tenant_or_error()))
        thread.start()
        thread.join(5)
    assert found == ["ScopeError"]


def _tenant_or_error():
    try:
        return current_tenant_id()
    except ScopeError as fault:
        return type(fault).__name__
