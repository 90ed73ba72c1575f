"""What happens to a machine after enrolment: its record, its connections, its revocation."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.stores import local_target, machine_record_key
from backup_platform.fleet.access import authenticate
from backup_platform.fleet.errors import MachineRevoked, MachineUnknown, RecordRefused
from backup_platform.fleet.models import Machine
from backup_platform.fleet.services import enroll_machine, publish_record, revoke_machine, touch_presence
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.stored.machine_records import MachineRecord
from tests.fleet.conftest import make_csr, make_token, rsa_key, spki


@pytest.fixture
def machine(vault) -> Machine:
    csr = make_csr(rsa_key("identity"))
    return enroll_machine(make_token(vault), csr, spki(rsa_key("reading")), {"hostname": "db01"}).machine


def record_of(machine: Machine) -> MachineRecord:
    return MachineRecord(
        vault_id=machine.vault_id.bytes,
        machine_id=machine.pk.bytes,
        epoch=1,
        write_only=machine.write_only,
        identity_key=bytes(machine.identity_key),
        reading_key=bytes(machine.reading_key),
        mac=b"m" * 32,
    )


def test_a_machine_is_recognised_by_its_key(machine):
    found = authenticate(hashlib.sha256(spki(rsa_key("identity"))).digest())
    assert found == machine
    assert found.vault.tenant_id == found.tenant.pk == machine.tenant_id


def test_another_key_is_nobody(machine):
    for key in (bytes(32), hashlib.sha256(spki(rsa_key("reading"))).digest(), b""):
        with pytest.raises(MachineUnknown):
            authenticate(key)


def test_a_revoked_machine_is_refused_and_stays_refused(machine):
    assert revoke_machine(machine, actor="tests")
    assert not revoke_machine(machine, actor="tests")
    with pytest.raises(MachineRevoked, match="db01"):
        authenticate(bytes(machine.identity_hash))
    with tenant_scope(machine.tenant_id):
        assert Entry.objects.filter(verb="machine.revoked").count() == 1


def test_a_record_is_kept_in_row_and_store(machine):
    record = record_of(machine).encode()
    publish_record(machine, record)
    publish_record(machine, record)  # a lost answer makes agents repeat themselves
    with tenant_scope(machine.tenant_id):
        assert bytes(Machine.objects.get().record) == record
        key = machine_record_key(machine.tenant_id, machine.vault_id, machine.pk)
        assert local_target().get(key) == record
        assert Entry.objects.filter(verb="machine.record_published").count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"vault_id": bytes(16)},
        {"machine_id": bytes(16)},
        {"identity_key": b"other"},
        {"reading_key": b"other"},
        {"write_only": True},
    ],
)
def test_a_record_of_something_else_is_refused(machine, change):
    with pytest.raises(RecordRefused):
        publish_record(machine, replace(record_of(machine), **change).encode())
    with pytest.raises(RecordRefused, match="cannot be read"):
        publish_record(machine, record_of(machine).encode()[:-1])


def test_a_published_record_is_never_replaced(machine):
    publish_record(machine, record_of(machine).encode())
    with pytest.raises(RecordRefused, match="never replaced"):
        publish_record(machine, replace(record_of(machine), mac=b"x" * 32).encode())


def test_presence_is_written_at_most_every_few_seconds(machine, django_assert_num_queries):
    past = timezone.now() - timedelta(hours=1)
    with without_tenant_scope("test"):
        Machine.objects.update(last_seen_at=past)
        touch_presence(machine.pk)
        first = Machine.objects.get().last_seen_at
        assert first > past
        with django_assert_num_queries(1):
            touch_presence(machine.pk)
        assert Machine.objects.get().last_seen_at == first
    touch_presence(uuid4())
