"""A tenant with a machine that has a history of snapshots, written without the services under test."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pyroaring import BitMap64

from backup_platform.audit.models import Entry
from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.proposals import EPOCH
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import Job
from backup_platform.policies.models import Policy
from backup_platform.retention import running
from backup_platform.retention.models import Expiry
from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord
from tests.policies.conftest import Place, make_place

SEQUENCES = itertools.count(1)
KEEP_4 = {"retention.keep_last": 4}
DAY = timedelta(days=1)


@dataclass
class Past(Place):
    """One tenant's data with snapshots."""

    moment: datetime = field(default_factory=timezone.now)

    def snapshots(self, machine: Machine, count: int, policy: Policy | None = None, **values) -> list[Snapshot]:
        """So many snapshots, one a day, the newest of half an hour ago; newest first."""
        return [self.snapshot(machine, days, policy, **values) for days in range(count)]

    def snapshot(self, machine, days_ago=0.0, policy=None, *, state="verified", chunks=(1,), **values) -> Snapshot:
        received = self.moment - timedelta(minutes=30) - days_ago * DAY
        with tenant_scope(self.tenant):
            return Snapshot.objects.create(
                id=uuid4(), tenant=self.tenant, vault=self.vault, machine=machine, policy=policy, state=state,
                sequence=next(SEQUENCES), statement=b"s", statement_digest=os.urandom(32), root_hash=bytes(32),
                root_bytes=1, recipients=b"", blocks=b"", machine_time=received, received_at=received,
                bitmap=None if state == "received" else BitMap64(chunks).serialize(), **values,
            )  # fmt: skip

    def states(self, snapshots) -> list[str]:
        with tenant_scope(self.tenant):
            found = dict(Snapshot.objects.values_list("pk", "state"))
        return [found[one.pk] for one in snapshots]

    def run(self) -> dict:
        """What a worker does for an expire job of the tenant."""
        job = Job(tenant=self.tenant, kind="expire", subject=f"tenant:{self.tenant.pk}")
        with tenant_scope(self.tenant), pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "renew", lambda *_: True)
            return running.expire_of_tenant(job)

    def in_force(self, policy: Policy, machine: Machine, **settings) -> None:
        """Rules that have been in force for long: no delay, no snapshots that knew others."""
        from backup_platform.retention.models import Term

        with tenant_scope(self.tenant):
            Term.objects.update_or_create(
                tenant=self.tenant, machine=machine, policy=policy, defaults={"in_force": settings, "pending": None}
            )

    def verbs(self) -> list[str]:
        with without_tenant_scope("test"):
            return list(Entry.objects.filter(tenant=self.tenant).order_by("id").values_list("verb", flat=True))

    def expiry(self, snapshot: Snapshot) -> Expiry:
        with tenant_scope(self.tenant):
            return Expiry.objects.filter(snapshot=snapshot).latest("at")

    def put_received(self, *snapshots: Snapshot) -> None:
        """The record that a commit leaves in the home store."""
        for one in snapshots:
            time = (one.received_at - EPOCH) // timedelta(microseconds=1)
            record = LifecycleRecord(one.pk.bytes, LifecycleEvent.RECEIVED, time)
            stores.local_target().put(stores.lifecycle_key(one.tenant_id, one.vault_id, one.pk, 1), record.encode())

    def member(self, name: str, role: str = Role.ADMIN) -> User:
        with without_tenant_scope("test"):
            user = User.objects.create_user(f"{name}@{self.tenant.name}")
            Member.objects.create(user=user, tenant=self.tenant, role=role)
        return user


def make_past(name: str) -> Past:
    place = make_place(name)
    return Past(place.tenant, place.vault)


@pytest.fixture
def ours(db, strongroom_home) -> Past:
    with without_tenant_scope("the store is made before there are snapshots"):
        stores.local_target()
    return make_past("ours")


@pytest.fixture
def theirs(ours) -> Past:
    return make_past("theirs")


@pytest.fixture
def machine(ours) -> Machine:
    return ours.machine(zone="UTC")


@pytest.fixture
def sign_in():
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


@pytest.fixture
def policy(ours, machine):
    """A policy that keeps four, in force for long."""
    policy = ours.policy(**KEEP_4)
    ours.assign(policy)
    ours.in_force(policy, machine, **KEEP_4)
    return policy
