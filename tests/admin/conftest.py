"""Two tenants with one row of everything, and the people who may or may not look at them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import ForeignKey, Model
from django.test import Client
from django.utils import timezone

from backup_platform.audit.services import record
from backup_platform.catalog.models import Pack, Session, Snapshot
from backup_platform.fleet.models import EnrollmentToken, GatewayBeat, Machine
from backup_platform.jobs.models import Job, WorkerBeat
from backup_platform.notifications.models import Alert, Channel, Delivery, Snooze, WatchRules
from backup_platform.notifications.secret_box import seal
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
    channel: Channel
    made: dict = field(default_factory=dict)

    def rows(self):
        return [row for row in vars(self).values() if isinstance(row, Model)]

    def row_of(self, model):
        """The world's row of a model. One that nobody has made by hand is made of its fields."""
        for row in [*self.rows(), *self.made.values()]:
            if isinstance(row, model):
                return row
        self.made[model] = make_row(model, self)
        return self.made[model]


def make_row(model, world: World):
    """A row of any model: what has no default is filled in by its kind, and it belongs to the world's other rows."""
    name = world.tenant.name
    if hasattr(model, "tenant") and (there := model.objects.filter(tenant=world.tenant).first()):
        return there
    values = {}
    for column in model._meta.concrete_fields:
        if isinstance(column, ForeignKey):
            if column.name in {"tenant", "machine"} or not column.null:
                values[column.name] = world.row_of(column.related_model)
        elif not (column.has_default() or column.null or column.primary_key or getattr(column, "auto_now_add", False)):
            values[column.name] = value_for(column, name)
    return model.objects.create(**values)


def value_for(column, name: str):
    """A value that fits a column's kind; texts say whose they are."""
    if column.choices:
        return column.choices[0][0]
    kinds = {"UUIDField": uuid4(), "DateTimeField": timezone.now(), "BinaryField": os.urandom(32),
             "BooleanField": False, "JSONField": {}, "EmailField": f"{name}@example.org",
             "URLField": f"https://{name}.example.org"}  # fmt: skip
    kind = column.get_internal_type()
    if kind in kinds:
        return kinds[kind]
    return 1 if "Integer" in kind or kind == "FloatField" else f"{name}-{column.name}"[: column.max_length]


def make_world(name: str, number: int) -> World:
    now = timezone.now()
    tenant = Tenant.objects.create(name=name)
    vault = Vault.objects.create(id=uuid4(), number=number, tenant=tenant, name=f"{name}-vault", record=SECRET,
                                 record_number=1, signing_key_hash=os.urandom(32))  # fmt: skip
    machine = Machine.objects.create(
        tenant=tenant, vault=vault, name=f"{name}-machine", identity_hash=os.urandom(32), identity_key=b"k",
        reading_key=b"r", certificate=b"c", certificate_until=now, facts={"os": "<script>alert(1)</script>"},
        last_seen_at=now, connected_to="gateway",
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
    return World(tenant, vault, machine, token, session, snapshot, pack, job, member, make_alerts(tenant, machine))


def make_alerts(tenant: Tenant, machine: Machine) -> Channel:
    """One alert, told by one channel, and what a tenant may say about such things."""
    number = uuid4()
    channel = Channel.objects.create(
        id=number, tenant=tenant, name=f"{tenant.name}-channel", kind="webhook", settings={"shown": "https://host/…"},
        sealed=seal(number, {"url": SECRET.decode(), "key": SECRET.decode()}),
    )  # fmt: skip
    alert = Alert.objects.create(tenant=tenant, machine=machine, kind="failed", subject=f"machine:{machine.pk}",
                                 level=30, text=f"{tenant.name} failed.", dedupe_key="x")  # fmt: skip
    Delivery.objects.create(tenant=tenant, alert=alert, channel=channel, event="opened")
    Snooze.objects.create(tenant=tenant, until=timezone.now(), by=f"{tenant.name}-operator")
    WatchRules.objects.create(tenant=tenant)
    return channel


@pytest.fixture
def worlds(db) -> tuple[World, World]:
    with without_tenant_scope("test data"):
        WorkerBeat.objects.create(name="w", seen_at=timezone.now())
        GatewayBeat.objects.create(name="gateway", seen_at=timezone.now())
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
