"""Tenants, vaults and machines again, from the records that vouch for themselves."""

from __future__ import annotations

import time
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from backup_platform.fleet.models import Machine, MachineState
from backup_platform.tenants.errors import TenantRefused
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.errors import RegistrationRefused
from backup_platform.vaults.models import Vault, WrappedSecret
from backup_platform.vaults.public_keys import MACHINE_KEY_BITS, PublicKeyRefused, check_public_key, key_hash
from backup_platform.vaults.registration import Registration, check_registration
from backup_platform.vaults.services import next_vault_number
from protocol.stored.errors import FormatError
from protocol.stored.machine_records import decode_machine_record
from protocol.stored.wrapped_secrets import decode_wrapped_secret

from .keeping import Keeper
from .names import Names
from .report import Report
from .survey import VaultFiles


def make_tenant(tenant_id: UUID, names: Names, report: Report) -> Tenant:
    """The tenant of this id, made if it is not there."""
    with without_tenant_scope("a tenant is looked for by its id"):
        found = Tenant.objects.filter(pk=tenant_id).first()
        if found is not None:
            return found
        for name in (names.of("tenant", tenant_id), f"tenant-{tenant_id.hex}"):
            tenant = Tenant(pk=tenant_id, name=name)
            try:
                tenant.full_clean()
            except ValidationError:
                report.notes.append(f"{name!r} is no free name of a tenant; {tenant_id.hex} is named by its id.")
                continue
            tenant.save(force_insert=True)
            report.count("tenants")
            return tenant
    raise TenantRefused(f"No name could be found for the tenant {tenant_id.hex}.")


def make_vault(tenant: Tenant, files: VaultFiles, keeper: Keeper, names: Names, report: Report) -> Vault | None:
    """The vault with its newest sound record and its wrapped secrets; None, reported, when it has no sound record."""
    with tenant_scope(tenant):
        found = Vault.objects.filter(pk=files.vault_id).first()
        if found is not None:
            return found
        secrets = {key: keeper.take(key) for key in sorted(files.secrets)}
        registration = _newest_sound(files, keeper, list(secrets.values()), report)
        if registration is None:
            report.fault("vault", files.vault_id, "It has no sound vault record, so nothing of it could be rebuilt.")
            return None
        with transaction.atomic():
            vault = _insert_vault(tenant, files.vault_id, registration, names)
            _insert_secrets(vault, secrets, report)
        report.count("vaults")
        return vault


def _newest_sound(files: VaultFiles, keeper: Keeper, secrets: list[bytes], report: Report) -> Registration | None:
    """The record of the highest number that verifies, with the secrets of its epoch."""
    for number in sorted(files.records, reverse=True):
        record = keeper.take(files.records[number])
        try:
            registration = check_registration(record, [item for item in secrets if _is_of_its_epoch(item, record)])
            if (registration.vault_id, registration.signed.body.number) != (files.vault_id, number):
                raise RegistrationRefused("It is the record of another vault, or of another number.")
        except RegistrationRefused as fault:
            report.fault("vault record", files.records[number], str(fault))
            continue
        return registration
    return None


def _is_of_its_epoch(secret: bytes, record: bytes) -> bool:
    from protocol.stored.vault_records import decode_vault_record

    try:
        return decode_wrapped_secret(secret).epoch == decode_vault_record(record).body.epoch
    except FormatError:
        return False


def _insert_vault(tenant: Tenant, vault_id: UUID, registration: Registration, names: Names) -> Vault:
    body = registration.signed.body
    vault: Vault = Vault.objects.create(
        id=vault_id,
        number=next_vault_number(),
        tenant=tenant,
        name=names.of("vault", vault_id),
        record=registration.record,
        record_number=body.number,
        signing_key_hash=registration.signing_key_hash,
        epoch=body.epoch,
        # Another one than any before: agents then ask about everything that their caches say is here.
        generation=int(time.time()),
    )
    return vault


def _insert_secrets(vault: Vault, secrets: dict[str, bytes], report: Report) -> None:
    for key, data in secrets.items():
        try:
            secret = decode_wrapped_secret(data)
        except FormatError as fault:
            report.fault("wrapped secret", key, f"It is damaged: {fault.why}.")
            continue
        if secret.vault_id != vault.pk.bytes:
            report.fault("wrapped secret", key, "It belongs to another vault.")
            continue
        WrappedSecret.objects.get_or_create(
            vault=vault, epoch=secret.epoch, recipient_key_hash=secret.key_hash, defaults={"data": data}
        )


def make_machine(vault: Vault, machine_id: UUID, record: bytes, names: Names, report: Report) -> Machine | None:
    """A machine from its record. It waits for approval: whether it had been revoked, no store knows."""
    found = Machine.objects.filter(pk=machine_id).first()
    if found is not None:
        return found
    try:
        said = decode_machine_record(record)
        if (said.vault_id, said.machine_id) != (vault.pk.bytes, machine_id.bytes):
            raise PublicKeyRefused("It is the record of another machine or vault.")
        check_public_key(said.identity_key, MACHINE_KEY_BITS, "The identity key")
        check_public_key(said.reading_key, MACHINE_KEY_BITS, "The reading key")
        with transaction.atomic():
            machine: Machine = Machine.objects.create(
                id=machine_id,
                tenant_id=vault.tenant_id,
                vault=vault,
                name=_free_name(names, machine_id),
                identity_hash=key_hash(said.identity_key),
                identity_key=said.identity_key,
                reading_key=said.reading_key,
                certificate=b"",
                certificate_until=timezone.now(),
                record=record,
                write_only=said.write_only,
                state=MachineState.PENDING,
            )
    except (FormatError, PublicKeyRefused) as fault:
        report.fault("machine", machine_id, f"Its record is not used: {fault}")
        return None
    except IntegrityError:
        report.fault("machine", machine_id, "Its record names the key of another machine, and is not used.")
        return None
    report.count("machines")
    return machine


def _free_name(names: Names, machine_id: UUID) -> str:
    """Of two machines of one name (a computer that was enrolled again), the second carries its id too."""
    name = names.of("machine", machine_id)
    return f"{name[:240]}-{machine_id.hex[:8]}" if Machine.objects.filter(name=name).exists() else name
