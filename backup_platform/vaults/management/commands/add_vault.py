"""`manage.py add_vault --tenant NAME --record FILE`: register a vault whose keys the customer made."""

from __future__ import annotations

from pathlib import Path

from django.core.management.base import CommandError

from backup_platform.storage.base import StoreError
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.vaults.errors import RegistrationRefused
from backup_platform.vaults.registration import MAX_REGISTRATION, read_registration
from backup_platform.vaults.services import add_vault


class Command(OperatorCommand):
    """Takes the vault-registration.json that `strongroom vault create` wrote; it holds nothing secret."""

    help = "Register a vault made by `strongroom vault create` with a tenant."

    def add_arguments(self, parser):
        parser.add_argument("--tenant", required=True, metavar="NAME")
        parser.add_argument("--record", required=True, type=Path, metavar="FILE", help="vault-registration.json")
        parser.add_argument("--name", default="", help="the vault's name (default: from its id)")

    def handle(self, *args, tenant, record, name, **options):
        owner = self.tenant(tenant)
        try:
            with record.open("rb") as file:
                registration = read_registration(file.read(MAX_REGISTRATION + 1))
            vault = add_vault(owner, registration, name=name, actor=self.actor)
        except OSError as fault:
            raise CommandError(f"{record} cannot be read: {fault.strerror}.") from None
        except (RegistrationRefused, StoreError) as fault:
            raise CommandError(str(fault)) from None
        self.stdout.write(f"Registered vault {vault.name} ({vault.pk.hex}) with tenant {tenant}.")
        self.stdout.write(f"Signing key {registration.signing_key_hash.hex()}: compare it with the kit's page.")
