"""Quotas: the platform's superusers set them, they say what is used, and they refuse what goes beyond."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Session, Wanted
from backup_platform.fleet.models import MachineState
from backup_platform.tenants.access import actor_of
from backup_platform.tenants.errors import Forbidden, QuotaRefused, QuotaUsedUp
from backup_platform.tenants.models import Member, Role, Tenant, User
from backup_platform.tenants.queries import memberships_of
from backup_platform.tenants.quotas import SMALLEST, check_room_for_machine, set_quotas, usage_of
from backup_platform.tenants.room import check_begin, check_pack
from backup_platform.tenants.scope import without_tenant_scope
from tests.notifications.conftest import make_machine
from tests.tenants.counted import add_pack, make_vault, set_quota

GIB = 2**30


@pytest.fixture
def vault(db):
    return make_vault("north")


@pytest.fixture
def boss(db):
    return actor_of(User.objects.create_superuser("boss", password="x"), [], None, None)


@pytest.fixture
def machine(vault):
    with without_tenant_scope("test data"):
        return make_machine(vault.tenant, "web")


def fill(vault, used: int, quota: int) -> None:
    add_pack(vault, used)
    set_quota(vault.tenant_id, quota)


def tenant_of(vault) -> Tenant:
    with without_tenant_scope("test"):
        return Tenant.objects.get(pk=vault.tenant_id)


# --- who sets them ---------------------------------------------------------------------------------------------------


def test_a_superuser_sets_both_and_the_audit_says_before_and_after(vault, boss):
    set_quotas(boss, vault.tenant, quota_bytes=GIB, quota_machines=5)
    set_quotas(boss, vault.tenant, quota_bytes=2 * GIB, quota_machines=None)
    tenant = tenant_of(vault)
    assert (tenant.quota_bytes, tenant.quota_machines) == (2 * GIB, None)
    with without_tenant_scope("test"):
        line = Entry.objects.filter(tenant=tenant).order_by("id").last()
    assert (line.verb, line.actor) == ("tenant.quota_set", "user boss")
    assert line.detail["before"] == {"quota_bytes": GIB, "quota_machines": 5}
    assert line.detail["after"] == {"quota_bytes": 2 * GIB, "quota_machines": None}


def test_setting_what_is_set_leaves_no_line(vault, boss):
    set_quotas(boss, vault.tenant, quota_bytes=None, quota_machines=None)
    with without_tenant_scope("test"):
        assert not Entry.objects.filter(tenant=vault.tenant).exists()


@pytest.mark.defence
def test_nobody_of_the_tenant_sets_its_quotas_and_neither_does_staff_that_only_looks(vault):
    with without_tenant_scope("test data"):
        admin, staff = User.objects.create_user("anna"), User.objects.create_user("looks", is_staff=True)
        Member.objects.create(user=admin, tenant=vault.tenant, role=Role.ADMIN)
    for user in (admin, staff):
        by = actor_of(user, memberships_of(user), None, None)
        with pytest.raises(Forbidden):
            set_quotas(by, vault.tenant, quota_bytes=GIB, quota_machines=None)
    assert tenant_of(vault).quota_bytes is None


@pytest.mark.parametrize("size", [0, -1, SMALLEST - 1, 2**60 + 1])
def test_figures_that_are_no_quota_are_refused_with_a_sentence(vault, boss, size):
    with pytest.raises(QuotaRefused, match="1 MiB at least"):
        set_quotas(boss, vault.tenant, quota_bytes=size, quota_machines=None)
    with pytest.raises(QuotaRefused, match="quota of machines"):
        set_quotas(boss, vault.tenant, quota_bytes=None, quota_machines=-1)


def test_usage_says_what_is_used_and_counts_machines_that_are_here_or_wait(vault, machine):
    with without_tenant_scope("test data"):
        make_machine(vault.tenant, "waits", state=MachineState.PENDING)
        make_machine(vault.tenant, "gone", state=MachineState.DECOMMISSIONED)
        make_machine(vault.tenant, "revoked", state=MachineState.REVOKED)
    fill(vault, 900, 1000)
    usage = usage_of(tenant_of(vault))
    assert (usage.stored_bytes, usage.quota_bytes, usage.machines, usage.quota_machines) == (900, 1000, 2, None)
    assert (usage.nearly_full, usage.full) == (True, False)


# --- machines --------------------------------------------------------------------------------------------------------


def test_one_machine_more_than_the_quota_is_refused_and_one_that_left_makes_room(vault, machine):
    set_quota(vault.tenant_id, None, machines=1)
    with pytest.raises(QuotaUsedUp, match="may have 1 machine and has as many"):
        check_room_for_machine(vault.tenant_id)
    with without_tenant_scope("test"):
        type(machine).objects.update(state=MachineState.REVOKED)
    check_room_for_machine(vault.tenant_id)


def test_another_tenants_machines_take_no_place(vault, machine):
    other = make_vault("south")
    set_quota(other.tenant_id, None, machines=1)
    check_room_for_machine(other.tenant_id)


# --- backups ---------------------------------------------------------------------------------------------------------


def begins(machine) -> bool:
    try:
        check_begin(machine.tenant_id, machine.pk)
    except QuotaUsedUp:
        return False
    return True


def open_session(machine, minutes_ago: float) -> None:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    with without_tenant_scope("test data"):
        made = Session.objects.create(tenant_id=machine.tenant_id, vault=machine.vault, machine=machine, generation=1,
                                      gateway="g", lease_until=at)  # fmt: skip
        Session.objects.filter(pk=made.pk).update(last_seen_at=at)


def want(machine, *ids: bytes) -> None:
    with without_tenant_scope("test data"):
        Wanted.objects.bulk_create(Wanted(vault=machine.vault, machine=machine, chunk_id=one) for one in ids)


def test_no_new_backup_begins_from_the_quota_on_and_the_sentence_says_what_to_do(vault, machine):
    fill(vault, 999, 1000)
    assert begins(machine)
    add_pack(vault, 1)
    with pytest.raises(QuotaUsedUp) as refused:
        check_begin(machine.tenant_id, machine.pk)
    said = str(refused.value)
    assert "1000 B of 1000 B" in said
    assert "No new backup begins" in said
    assert "restoring works" in said
    assert "larger quota" in said
    set_quota(vault.tenant_id, 2000)
    assert begins(machine)


def test_without_a_quota_nothing_is_refused(vault, machine):
    add_pack(vault, 10**15)
    assert begins(machine)
    assert check_pack(machine.tenant_id, machine.pk, [bytes(32)])


def test_another_tenants_quota_is_nothing_to_this_one(vault, machine):
    other = make_vault("south")
    fill(other, 10, 1)
    add_pack(vault, 10)
    assert begins(machine)


def test_a_session_under_way_may_be_gone_on_with_and_one_left_alone_may_not(vault, machine):
    fill(vault, 2000, 1000)
    open_session(machine, minutes_ago=20)
    assert not begins(machine)
    with without_tenant_scope("test"):
        Session.objects.update(last_seen_at=timezone.now())
    assert begins(machine)


def test_a_machine_that_is_asked_for_chunks_may_begin_whatever_is_used(vault, machine):
    fill(vault, 5000, 1000)
    with without_tenant_scope("test data"):
        neighbour = make_machine(vault.tenant, "db")
    want(neighbour, os.urandom(32))
    assert not begins(machine)
    assert begins(neighbour)


@pytest.mark.parametrize(("used", "goes_on"), [(1000, True), (1050, True), (1051, False)])
def test_sessions_under_way_may_use_a_twentieth_more(vault, machine, used, goes_on):
    fill(vault, used, 1000)
    if goes_on:
        assert check_pack(machine.tenant_id, machine.pk, [bytes(32)])
        return
    with pytest.raises(QuotaUsedUp, match=r"what arrived is kept.*restoring works"):
        check_pack(machine.tenant_id, machine.pk, [bytes(32)])


def test_what_heals_is_taken_whatever_is_used_and_other_data_up_to_a_tenth(vault, machine):
    healing, other = os.urandom(32), os.urandom(32)
    want(machine, healing)
    fill(vault, 1100, 1000)
    assert check_pack(machine.tenant_id, machine.pk, [other, healing]), "it comes in between"
    add_pack(vault, 9000)
    assert check_pack(machine.tenant_id, machine.pk, [healing, healing]) is False, "nothing but what heals"
    with pytest.raises(QuotaUsedUp):
        check_pack(machine.tenant_id, machine.pk, [healing, other])
