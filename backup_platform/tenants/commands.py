"""What operators' commands share: the tenant by name, the passphrase, one clear sentence for every fault we know."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError

from .errors import TenantUnknown
from .models import Tenant
from .queries import tenant_named

PASSPHRASE_VARIABLE = "STRONGROOM_PASSPHRASE"  # noqa: S105 - the variable's name


class OperatorCommand(BaseCommand):
    """A command of the platform's operator: exit code 1 and one sentence for every fault that we know."""

    requires_system_checks: list[str] = []

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run, and turn a database that is away into a sentence."""
        try:
            return super().execute(*args, **options)
        except (OperationalError, InterfaceError):
            raise CommandError(
                "The database does not answer. Is the platform running? Try again in a moment."
            ) from None

    def tenant(self, name: str) -> Tenant:
        """The tenant by name, or one sentence."""
        try:
            return tenant_named(name)
        except TenantUnknown as fault:
            raise CommandError(str(fault)) from None

    @property
    def actor(self) -> str:
        """Who the audit says did it."""
        try:
            return f"command of {getpass.getuser()}"
        except (OSError, KeyError):
            return f"command of uid {os.getuid()}"


def new_passphrase() -> str:
    """A passphrase for a new kit: from the environment, else asked for twice."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given
    if not sys.stdin.isatty():
        raise CommandError(f"The kit needs a passphrase: set {PASSPHRASE_VARIABLE}, or run this on a terminal.")
    first = getpass.getpass("Passphrase for the recovery kit: ")
    if not first:
        raise CommandError("The passphrase is empty; a kit without one would open for whoever finds it.")
    if getpass.getpass("Once more: ") != first:
        raise CommandError("The two passphrases differ; nothing was made.")
    return first
