"""Tenants, channels, and real receivers for what is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.fleet.models import Machine
from backup_platform.notifications import channels
from backup_platform.notifications.models import Channel, Delivery
from backup_platform.notifications.words import ChannelKind, Level
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault
from tests.notifications.receivers import MailServer, Receiver, serve, stop


@pytest.fixture(autouse=True)
def quiet_surroundings(settings, strongroom_home):
    """No disk of the test machine, no monitor, no mail server unless a test names one."""
    settings.STRONGROOM_MONITOR_URL = ""
    settings.EMAIL_HOST = ""
    settings.STRONGROOM_WEBHOOK_NETWORKS = ["127.0.0.0/8", "::1/128"]


@pytest.fixture(autouse=True)
def no_disk_is_full(monkeypatch):
    from backup_platform.notifications import disks

    monkeypatch.setattr(disks, "NEARLY", 2.0)


@pytest.fixture(autouse=True)
def the_database_keeps_what_it_commits(monkeypatch):
    """The test run's own is told not to, for speed."""
    from backup_platform.notifications import platform_rules

    monkeypatch.setattr(platform_rules, "unsafe_settings", lambda connection: [])


@pytest.fixture
def mail_server(settings) -> Iterator[MailServer]:
    server = MailServer()
    serve(server)
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", server.port, 10
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.DEFAULT_FROM_EMAIL = "Strongroom <backup@example.org>"
    yield server
    stop(server)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    serve(server)
    yield server
    stop(server)


@pytest.fixture
def everywhere() -> Iterator[None]:
    with without_tenant_scope("tests"):
        yield


@pytest.fixture
def tenant(db, everywhere) -> Tenant:
    return Tenant.objects.create(name="acme")


@pytest.fixture
def other(db, everywhere) -> Tenant:
    return Tenant.objects.create(name="umbrella")


def make_machine(
    tenant: Tenant, name: str, *, seen_hours_ago: float = 0, enrolled_hours_ago: float = 0, **more
) -> Machine:
    now = timezone.now()
    vault = Vault.objects.filter(tenant=tenant).first() or Vault.objects.create(
        id=uuid4(), number=Vault.objects.count() + 1, tenant=tenant, name="main", record=b"", record_number=1,
        signing_key_hash=bytes(32),
    )  # fmt: skip
    machine = Machine.objects.create(
        tenant=tenant, vault=vault, name=name, identity_hash=os.urandom(32), identity_key=b"k", reading_key=b"r",
        certificate=b"c", certificate_until=now, last_seen_at=now - timedelta(hours=seen_hours_ago), **more,
    )  # fmt: skip
    Machine.objects.filter(pk=machine.pk).update(enrolled_at=now - timedelta(hours=enrolled_hours_ago))
    return machine


def make_channel(tenant: Tenant | None, kind: str, address: str, *, name: str = "", **more) -> Channel:
    channel = Channel(tenant=tenant, kind=kind, name=name or f"{kind} {uuid4().hex[:6]}",
                      **{"lowest_level": Level.INFO, **more})  # fmt: skip
    channels.set_way(channel, address)
    channels.save_channel(channel, actor="tests")
    return channel


@pytest.fixture
def hook(tenant, receiver) -> Channel:
    return make_channel(tenant, ChannelKind.WEBHOOK, receiver.url())


@pytest.fixture
def mailbox(tenant, mail_server) -> Channel:
    return make_channel(tenant, ChannelKind.EMAIL, "ops@example.org")


def make_due() -> None:
    """Let the pauses of retries be over, and the claims of dead workers."""
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.update(next_attempt_at=past)
    Delivery.objects.filter(lease_until__isnull=False).update(lease_until=past)
