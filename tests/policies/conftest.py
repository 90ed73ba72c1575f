"""A tenant with a vault, and ways to make machines, groups and policies in it."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.fleet.models import GroupMembership, Machine, MachineGroup
from backup_platform.policies.models import Assignment, Policy
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault

NUMBERS = itertools.count(1)


@dataclass
class Place:
    """One tenant's data, written without the services under test."""

    tenant: Tenant
    vault: Vault

    def machines(self, count: int, **values) -> list[Machine]:
        rows = [
            Machine(
                tenant=self.tenant, vault=self.vault, name=f"m{next(NUMBERS):05}", identity_hash=os.urandom(32),
                identity_key=b"k", reading_key=b"r", certificate=b"c", certificate_until=timezone.now(), **values,
            )
            for _ in range(count)
        ]  # fmt: skip
        with tenant_scope(self.tenant):
            return Machine.objects.bulk_create(rows)

    def machine(self, **values) -> Machine:
        return self.machines(1, **values)[0]

    def group(self, name: str, *machines: Machine, rank: int = 100) -> MachineGroup:
        with tenant_scope(self.tenant):
            group = MachineGroup.objects.create(tenant=self.tenant, name=name, rank=rank)
            GroupMembership.objects.bulk_create(
                GroupMembership(tenant=self.tenant, group=group, machine=machine) for machine in machines
            )
            return group

    def policy(self, name: str = "Documents", **settings) -> Policy:
        with tenant_scope(self.tenant):
            return Policy.objects.create(tenant=self.tenant, name=name, settings=settings)

    def assign(self, policy, *, group=None, machine=None, excluded=False, **overrides) -> Assignment:
        with tenant_scope(self.tenant):
            return Assignment.objects.create(
                tenant=self.tenant, policy=policy, group=group, machine=machine, excluded=excluded, overrides=overrides
            )


def make_place(name: str) -> Place:
    with without_tenant_scope("test data"):
        tenant = Tenant.objects.create(name=name)
        vault = Vault.objects.create(id=uuid4(), number=Vault.objects.count() + 1, tenant=tenant, name="main",
                                     record=b"", record_number=1, signing_key_hash=bytes(32))  # fmt: skip
        return Place(tenant, vault)


@pytest.fixture
def ours(db) -> Place:
    return make_place("ours")


@pytest.fixture
def theirs(db) -> Place:
    return make_place("theirs")
