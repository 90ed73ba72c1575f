"""`manage.py unlink_evicted [--now]`: remove the files of packs that are at targets only."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tiering.evicting import GRACE, MOST_UNLINKED, unlink_due


class Command(OperatorCommand):
    """What the platform does by itself within the hour; for who needs the room at once."""

    help = (
        "Remove local files of evicted packs whose hour is over. With --now: also the others. A restore that looked a"
        " pack up before looks again, so nothing is lost by that. Files whose pack has no good copy any more stay."
    )

    def add_arguments(self, parser):
        parser.add_argument("--now", action="store_true", help="do not wait for the hour")

    def handle(self, *args, now, **options):
        until = timezone.now() + (GRACE if now else timedelta())
        total = gone = unlink_due(until)
        while gone == MOST_UNLINKED:
            gone = unlink_due(until)
            total += gone
        self.stdout.write(f"{total} files were removed.")
