"""`manage.py back_up_platform`: the platform's own backup now, without waiting for its time."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup.contents import NoOperatorKey
from backup_platform.rebuilding.platform_backup.putting import back_up_platform
from backup_platform.storage.base import StoreError
from backup_platform.tenants.commands import OperatorCommand


class Command(OperatorCommand):
    """Makes the backup here, without a worker and without a worker's time limit."""

    help = "Back up the platform's database and configuration to its targets, sealed to the operator's key and signed."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = back_up_platform(self.actor)
        except NoOperatorKey as fault:
            raise CommandError(f"{fault} Make one with create_operator_key --out DIR.") from None
        except (RebuildRefused, StoreError, OSError) as fault:
            raise CommandError(str(fault)) from None
        self.stdout.write(f"{made.name} (number {made.number}, {made.size:,} bytes) is at {', '.join(made.targets)}.")
        for sentence in made.faults:
            self.stderr.write(f"not at {sentence}")
