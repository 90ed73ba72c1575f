"""`manage.py create_enrollment --tenant NAME [--kit DIR]`: print an enrolment string.

With a kit, the one-time key in the string's fragment and the blob under it are made here from its enrolment-key.json,
as the operator's own tool; the platform keeps the token's hash and the blob, and can open neither. Without one, the
string ends before its # sign, and the key file is given on each machine: `strongroom enroll - --key FILE`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

from django.core.management.base import CommandError

from agents.keys.enrollment import new_enrollment, server_part
from agents.keys.enrollment_key import EnrollmentKey
from agents.keys.faults import EnrollmentFault
from backup_platform.fleet.errors import AuthorityFault
from backup_platform.fleet.models import MachineGroup
from backup_platform.fleet.reaching import gateway_address
from backup_platform.fleet.services import authority
from backup_platform.fleet.tokens import create_token
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault


class Command(OperatorCommand):
    """Prints strongroom://host:port/?token=…&ca=…#key: one machine and fifteen minutes unless told otherwise."""

    help = "Print an enrolment string for machines of a vault. The string is a secret until it was used."

    def add_arguments(self, parser):
        parser.add_argument("--tenant", required=True, metavar="NAME")
        parser.add_argument(
            "--kit", type=Path, metavar="DIR", help="the kit, or its enrolment-key.json; without: see --vault"
        )
        parser.add_argument("--vault", default="", help="without --kit: the vault's name, if the tenant has several")
        parser.add_argument("--uses", type=int, default=1, metavar="N", help="machines that may use it (default 1)")
        parser.add_argument("--minutes", type=int, default=15, metavar="M", help="how long it is good (default 15)")
        parser.add_argument("--write-only", action="store_true", help="the machine may add snapshots, never read one")
        parser.add_argument("--name", default="", help="the machine's name (default: its host name)")
        parser.add_argument("--group", default="", help="the machine group that its machines join")
        parser.add_argument("--needs-approval", action="store_true", help="its machines wait until they are let in")
        parser.add_argument("--json", action="store_true", help='print {"enrollment": "strongroom://…"}')

    def handle(self, *args, **options):
        vault, key = self._whose(options)
        try:
            host, port = gateway_address()
            made, blob = self._make(host, port, key, write_only=options["write_only"])
            create_token(
                vault,
                made.token,
                blob,
                uses=options["uses"],
                life=timedelta(minutes=min(options["minutes"], 10**7)),
                write_only=options["write_only"],
                machine_name=options["name"],
                group=self._find_group(vault, options["group"]),
                needs_approval=options["needs_approval"],
                actor=self.actor,
            )
        except (ValueError, AuthorityFault) as fault:
            raise CommandError(str(fault)) from None
        text = made.format()
        self.stdout.write(json.dumps({"enrollment": text}) if options["json"] else text)
        if _only_here(host):
            self.stderr.write(
                f"{host} is this computer's own address: no other machine can reach it. Before you enrol others, set"
                " STRONGROOM_GATEWAY_ADDRESS to the name by which they do (docs/operations/settings.md)."
            )
        if key is None:
            more = " --write-only" if options["write_only"] else ""
            self.stderr.write(f"On the machine, with the kit's key file: strongroom enroll - --key FILE{more}")

    def _whose(self, options):
        """The vault, and the kit's key when there is one here."""
        if options["kit"] is None:
            return self._named_vault(options["tenant"], options["vault"]), None
        if options["vault"]:
            raise CommandError("The kit says which vault it is: leave out --vault, or --kit.")
        key = self._read_key(options["kit"])
        return self._find_vault(options["tenant"], key), key

    def _make(self, host, port, key, *, write_only):
        ca = authority().fingerprint
        if key is None:
            return server_part(host, port, ca), b""
        return new_enrollment(host, port, ca, key, write_only=write_only)

    def _named_vault(self, tenant_name, name):
        tenant = self.tenant(tenant_name)
        with tenant_scope(tenant):
            vaults = list(Vault.objects.filter(**({"name": name} if name else {})).order_by("name")[:20])
        if len(vaults) == 1:
            return vaults[0]
        if name or not vaults:
            which = f"no vault named {name!r}" if name else "no vault yet"
            raise CommandError(f"Tenant {tenant_name} has {which}. Register one: add_vault --tenant {tenant_name!r} …")
        names = ", ".join(vault.name for vault in vaults)
        raise CommandError(f"Tenant {tenant_name} has several vaults: say which with --vault NAME ({names}).")

    def _find_group(self, vault, name):
        with tenant_scope(vault.tenant_id):
            group = MachineGroup.objects.filter(name=name).first() if name else None
        if name and group is None:
            raise CommandError(
                f"There is no machine group named {name!r}. Make it first, in the console or so: "
                f"create_group --tenant {vault.tenant.name!r} {name!r}"
            )
        return group

    def _read_key(self, kit):
        try:
            return EnrollmentKey.read(kit)
        except EnrollmentFault as fault:
            raise CommandError(str(fault)) from None

    def _find_vault(self, tenant_name, key):
        tenant = self.tenant(tenant_name)
        with tenant_scope(tenant):
            vault = Vault.objects.filter(pk=UUID(bytes=key.vault_id)).first()
        if vault is None:
            raise CommandError(
                f"Tenant {tenant_name} has no vault with this kit. Register it first: "
                f"add_vault --tenant {tenant_name!r} --record vault-registration.json"
            )
        known = (bytes(vault.signing_key_hash), vault.epoch)
        if known != (key.signing_key_hash, key.epoch):
            raise CommandError("The kit's enrolment key is of another epoch or signing key than the registered vault.")
        return vault


def _only_here(host: str) -> bool:
    """Whether an address is this computer's alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
