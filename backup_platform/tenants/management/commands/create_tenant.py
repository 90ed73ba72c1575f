"""`manage.py create_tenant NAME [--kit DIR]`: a tenant, and with --kit its first vault and that vault's kit."""

from __future__ import annotations

from pathlib import Path

from django.core.management.base import CommandError
from django.db import transaction

from agents.keys.faults import KeyFault, KitDamaged, KitFault
from agents.keys.kit import create_kit
from agents.keys.passphrases import weakness_of
from backup_platform.tenants.commands import OperatorCommand, new_passphrase
from backup_platform.tenants.errors import TenantRefused
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tenants.services import create_tenant
from backup_platform.vaults.errors import RegistrationRefused
from backup_platform.vaults.registration import read_registration
from backup_platform.vaults.services import add_vault

FIRST_VAULT = "main"
TRUST_NOTE = (
    "Its keys were made on this server, which was trusted at that moment. A customer of their own makes the vault "
    "with `strongroom vault create` and sends only vault-registration.json."
)


class Command(OperatorCommand):
    """Makes a tenant; with --kit also a vault, for an operator who is the customer too."""

    help = "Make a tenant. With --kit also its first vault, whose recovery kit is written to DIR."

    def add_arguments(self, parser):
        parser.add_argument("name")
        parser.add_argument("--kit", type=Path, metavar="DIR", help="make a vault too and write its kit here")

    def handle(self, *args, name, kit, **options):
        if kit is None:
            self._make(name)
            self.stdout.write(f"Made tenant {name}. Next: add_vault --tenant {name!r} --record vault-registration.json")
            return
        self._make_with_kit(name, kit)
        self.stdout.write(f"Made tenant {name} with vault {FIRST_VAULT}. The recovery kit is in {kit}: print its")
        self.stdout.write("recovery-kit.html, keep it off this machine, and keep the passphrase elsewhere.")
        self.stderr.write(TRUST_NOTE)

    def _make(self, name):
        try:
            return create_tenant(name, actor=self.actor)
        except TenantRefused as fault:
            raise CommandError(str(fault)) from None

    def _make_with_kit(self, name, directory):
        with without_tenant_scope("a new tenant's name is looked up"):
            if Tenant.objects.filter(name=name).exists():
                raise CommandError(f"There is already a tenant named {name!r}.")
        passphrase = new_passphrase()
        if weakness := weakness_of(passphrase):
            self.stderr.write(f"warning: {weakness}")
        try:
            # The tenant first and the kit inside its transaction: a kit that cannot be written leaves no tenant.
            with transaction.atomic():
                tenant = self._make(name)
                made = create_kit(directory, passphrase, f"{name} {FIRST_VAULT}")
                registration = read_registration(made.registration())
                add_vault(tenant, registration, name=FIRST_VAULT, operator_made=True, actor=self.actor)
        except (KitFault, KeyFault, KitDamaged, RegistrationRefused) as fault:
            raise CommandError(str(fault)) from None
        except OSError as fault:
            raise CommandError(f"The kit cannot be written to {directory}: {fault.strerror}.") from None
