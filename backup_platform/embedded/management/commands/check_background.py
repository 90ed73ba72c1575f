"""`manage.py check_background`: whether beat, broker and a worker together still get work done. For health checks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from backup_platform.jobs.models import WorkerBeat


class Command(BaseCommand):
    """A worker writes a row at each tick that beat sends, so a fresh row proves the whole way."""

    help = "Exit 0 if a worker answered a tick of beat within the last seconds, 1 if not."

    def add_arguments(self, parser: CommandParser) -> None:
        """--within."""
        parser.add_argument("--within", type=int, default=60, help="seconds (default 60)")

    def handle(self, *_: Any, **options: Any) -> None:
        """Look at the newest row."""
        newest = WorkerBeat.objects.order_by("-seen_at").first()
        if newest is None:
            raise CommandError("No worker has answered a tick of beat yet.")
        age = timezone.now() - newest.seen_at
        if age > timedelta(seconds=options["within"]):
            raise CommandError(f"The last answer of a worker is {age.total_seconds():.0f} seconds old.")
        self.stdout.write(f"worker '{newest.name}' answered {age.total_seconds():.0f} seconds ago")
