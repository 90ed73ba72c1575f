"""What the operators' commands about targets share."""

from __future__ import annotations

import getpass
import json
import os
import sys
from typing import Any

from django.core.management.base import CommandError

from backup_platform.settings.environment import read_setting
from backup_platform.targets.credentials import Credentials
from backup_platform.targets.errors import TargetChanged
from backup_platform.targets.findings import Report
from backup_platform.targets.models import Target
from backup_platform.targets.probe import probe_target
from backup_platform.targets.queries import own_and_shared
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.models import Tenant

ACCESS_KEY = "STRONGROOM_TARGET_ACCESS_KEY"
SECRET_KEY = "STRONGROOM_TARGET_SECRET_KEY"  # noqa: S105 - the variable's name


class TargetCommand(OperatorCommand):
    """A command about targets, by name: a tenant's own with --tenant, else the shared ones."""

    def owner(self, name: str | None) -> Tenant | None:
        """The tenant of --tenant; None without it."""
        return None if name is None else self.tenant(name)

    def target(self, name: str, owner: Tenant | None) -> Target:
        """The target of that name: the tenant's own before a shared one. CommandError when there is none."""
        found = [target for target in own_and_shared(owner.pk if owner else None) if target.name == name]
        found.sort(key=lambda target: target.tenant_id is None)
        if not found:
            raise CommandError(f"There is no target named {name!r} here.")
        return found[0]

    def probe(self, target: Target) -> Report:
        """Try a target now. CommandError when somebody changed it meanwhile."""
        try:
            return probe_target(target, actor=self.actor)
        except TargetChanged as changed:
            raise CommandError(str(changed)) from None

    def tell(self, target: Target, report: Report, *, as_json: bool) -> None:
        """The report on standard output. CommandError when packs cannot be kept there."""
        if as_json:
            self.stdout.write(json.dumps({"target": str(target.pk), "name": target.name, **report.flags}))
        else:
            for found in report.findings:
                self.stdout.write(f"{'good' if found.good else 'NOT '}  {found.words}")
        if not report.usable:
            raise CommandError(f"{target.name} cannot be used. {report.fault}")


def ask_credentials() -> Credentials:
    """A bucket's keys: from the environment (or the files that *_FILE name), else asked for. Never arguments."""
    return Credentials(_one(ACCESS_KEY, "Access key: "), _one(SECRET_KEY, "Secret key: "))


def _one(variable: str, question: str) -> str:
    if os.environ.get(variable) or os.environ.get(f"{variable}_FILE"):
        return read_setting(variable)
    if not sys.stdin.isatty():
        raise CommandError(
            f"The bucket needs credentials: set {ACCESS_KEY} and {SECRET_KEY}, or run this on a terminal."
        )
    return getpass.getpass(question)


def add_naming(parser: Any) -> None:
    """The arguments that name a target."""
    parser.add_argument("name")
    parser.add_argument("--tenant", metavar="NAME", help="whose target it is; without it, it is shared by all tenants")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
