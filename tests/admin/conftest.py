"""Two tenants with one row of everything, and the people who may or may not look at them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from backup_platform.audit.services import record
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.fleet.models import EnrollmentToken, Machine
from backup_platform.jobs.models import Job, WorkerBeat
from backup_platform.tenants.models import Member, Role, Tenant, User
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault

SECRET = b"never-shown-anywhere"


@dataclass
class World:
    tenant: Tenant
    vault: Vault
    machine: Machine
    token: EnrollmentToken
    session: Session
    snapshot: Snapshot
    pack: Pack
    job: Job
    member: Member

    def rows(self):
        return list(vars(self).values())


def make_world(name: str, number: int) -> World:
    now = timezone.now()
    tenant = Tenant.objects.create(name=name)
    vault = Vault.objects.create(id=uuid4(), number=number, tenant=tenant, name=f"{name}-vault", record=SECRET,
                                 record_number=1, signing_key_hash=os.urandom(32))  # fmt: skip
    machine = Machine.objects.create(
        tenant=tenant, vault=vault, name=f"{name}-machine", identity_hash=os.urandom(32), identity_key=b"k",
        reading_key=b"r", certificate=b"c", certificate_until=now, facts={"os": "<script>alert(1)</script>"},
        last_seen_at=now,
    )  # fmt: skip
    token = EnrollmentToken.objects.create(
        tenant=tenant, vault=vault, token_hash=os.urandom(32), blob=SECRET, expires_at=now + timedelta(minutes=5),
        created_by=f"{name}-operator",
    )  # fmt: skip
    session = Session.objects.create(tenant=tenant, vault=vault, machine=machine, generation=1, gateway="g",
                                     lease_until=now)  # fmt: skip
    snapshot = Snapshot.objects.create(
        id=uuid4(), tenant=tenant, vault=vault, machine=machine, session=session, sequence=1, statement=SECRET,
        statement_digest=os.urandom(32), root_hash=os.urandom(32), root_bytes=1, recipients=SECRET, blocks=SECRET,
        machine_time=now, received_at=now, statistics={"bytes": 5 * 2**30, "bytes_sent": 2**30, "files": 12345},
    )  # fmt: skip
    pack = Pack.objects.create(uid=uuid4(), tenant=tenant, vault=vault, spool="s", path="s/x.pack", bytes=2**26)
    job = Job.objects.create(tenant=tenant, kind="verify", subject=f"pack:{pack.pk}", dedupe_key=f"{name}")
    user = User.objects.create_user(f"{name}-admin", password=f"a password of {name}")
    member = Member.objects.create(user=user, tenant=tenant, role=Role.ADMIN)
    record("test.done", actor=f"{name}-actor", object=f"machine:{machine.pk}", tenant=tenant)
    return World(tenant, vault, machine, token, session, snapshot, pack, job, member)


@pytest.fixture
def worlds(db) -> tuple[World, World]:
    with without_tenant_scope("test data"):
        WorkerBeat.objects.create(name="w", seen_at=timezone.now())
        return make_world("ours", 1), make_world("theirs", 2)


@pytest.fixture
def sign_in():
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


@pytest.fixture
def boss(worlds, sign_in) -> Client:
    return sign_in(User.objects.create_superuser("boss", password="x"))


@pytest.fixture
def member(worlds, sign_in) -> Client:
    return sign_in(worlds[0].member.user)


@pytest.fixture
def stranger(worlds, sign_in) -> Client:
    return sign_in(User.objects.create_user("stranger"))
