"""Registering vaults. The platform only ever gets public keys and wrapped secrets."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.stores import local_target, secret_key, vault_record_key
from backup_platform.storage.base import AlreadyThere
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

from .errors import RegistrationRefused
from .models import Vault, WrappedSecret
from .registration import Registration

NUMBER_LOCK = 0x5354_564E
"""Advisory lock under which the next vault number is taken."""


def add_vault(
    tenant: Tenant,
    registration: Registration,
    *,
    name: str = "",
    operator_made: bool = False,
    actor: str = "command",
) -> Vault:
    """Register a vault with a tenant: objects in the store first, then the row, in one transaction with its audit.

    `operator_made` says that the keys were made on the server, which was trusted at that moment (create_tenant
    --kit). Raises `RegistrationRefused` when the vault or its name is known already.
    """
    name = name.strip() or f"vault-{registration.vault_id.hex[:8]}"
    try:
        with tenant_scope(tenant), transaction.atomic():
            vault = _insert(tenant, registration, name, operator_made)
            _store(registration, tenant)
            fingerprint = registration.signing_key_hash
            record_audit(
                "vault.added",
                actor=actor,
                object=f"vault:{vault.pk}",
                tenant=tenant,
                name=name,
                signing_key=fingerprint,
                operator_made=operator_made,
            )
    except IntegrityError as fault:
        raise RegistrationRefused(_clash(fault, registration, name)) from None
    except AlreadyThere:
        raise RegistrationRefused("The store already holds another record of this vault; it was not changed.") from None
    return vault


def _insert(tenant: Tenant, registration: Registration, name: str, operator_made: bool) -> Vault:
    body = registration.signed.body
    vault: Vault = Vault.objects.create(
        id=registration.vault_id,
        number=next_vault_number(),
        tenant=tenant,
        name=name,
        record=registration.record,
        record_number=body.number,
        signing_key_hash=registration.signing_key_hash,
        epoch=body.epoch,
        operator_made=operator_made,
    )
    WrappedSecret.objects.bulk_create(
        WrappedSecret(vault=vault, epoch=secret.epoch, recipient_key_hash=secret.key_hash, data=data)
        for secret, data in registration.wrapped_secrets
    )
    return vault


def next_vault_number() -> int:
    """The next vault number; never one that a chunk table may still know, since vaults are never deleted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [NUMBER_LOCK])
    with without_tenant_scope("vault numbers are the platform's"):
        return int(Vault.objects.aggregate(newest=Max("number"))["newest"] or 0) + 1


def _store(registration: Registration, tenant: Tenant) -> None:
    """Put the record and the wrapped secrets into the store; repeating it with the same bytes does nothing."""
    store, vault_id = local_target(), registration.vault_id
    number = registration.signed.body.number
    store.put_same(vault_record_key(tenant.pk, vault_id, number), registration.record)
    for secret, data in registration.wrapped_secrets:
        store.put_same(secret_key(tenant.pk, vault_id, secret.epoch, secret.key_hash), data)


def _clash(fault: Any, registration: Registration, name: str) -> str:
    """Which of two unique indexes the database looks at first is its own affair: the vault's identity counts first."""
    with without_tenant_scope("a vault belongs to one tenant, and is registered once"):
        known = Vault.objects.filter(pk=registration.vault_id).exists()
    if not known and "one_vault_name_per_tenant" in str(fault):
        return f"The tenant already has a vault named {name!r}; choose another name."
    return "This vault is registered already."
